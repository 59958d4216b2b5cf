//! The log in memory. Its data ends with the process.
//!
//! `--data memory` uses it, and the other engines are tested against it, so it is as simple as
//! possible: everything is in ordered maps behind one lock, which is held for one operation at a
//! time.

mod expiry;
mod streams;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::append::{Append, Outcome};
use crate::clock::Clock;
use crate::error::{Error, Kind};
use crate::follow::{Follower, OrderFollower};
use crate::incarnation::Identity;
use crate::limits::{self, Limits};
use crate::log::{Answer, Log};
use crate::name::StreamName;
use crate::offset::Position;
use crate::producers::Known;
use crate::read::{Chunk, Created, Extent, Info, Matching, OrderChunk, Page, ReadFrom, Usage};
use crate::settings::Create;
use streams::Streams;

/// Maximum number of due streams that a mutating operation processes.
const SWEEP: usize = 16;

/// Options of a log in memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemoryOptions {
    /// Maximum bytes, including about 64 for each message, 320 for each producer and 512 for each
    /// stream besides their data. Defaults to 256 MiB. Above it, appends and creations are refused
    /// as [full](Error::is_storage_full). The kept [ends](crate::Limits::ended) take at most an
    /// eighth of it.
    pub max_bytes: u64,
    /// The limits.
    pub limits: Limits,
    /// Interval at which expired streams are ended and old messages are trimmed while nothing is
    /// written. Defaults to 250 ms. A thread does it while there is a stream with an expiry or a
    /// `max_age`.
    pub reclaim_every: Duration,
    /// The source of time.
    pub clock: Clock,
    /// The identity from which its streams' incarnations are derived. Defaults to a random one.
    pub identity: Identity,
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            limits: Limits::default(),
            reclaim_every: Duration::from_millis(250),
            clock: Clock::system(),
            identity: Identity::random(),
        }
    }
}

/// A log in memory.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use headwater_log::{Append, Create, Log, MemoryLog, ReadFrom, Settings, StreamName};
///
/// let log = MemoryLog::default();
/// let name = StreamName::new("prices")?;
/// log.create(&name, Create::new(Settings::of_type("application/json"))).await?;
/// log.append(&name, Append::new(vec!["42".into()])).await?;
/// let chunk = log.read(&name, ReadFrom::Start, 1 << 16).await?;
/// assert_eq!(chunk.messages().next().unwrap().bytes, "42");
/// assert_eq!(chunk.next.to_string(), "0000000000000001");
/// # Ok::<(), headwater_log::Error>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct MemoryLog {
    streams: Arc<Mutex<Streams>>,
    limits: Limits,
    reclaim_every: Duration,
    /// Dropped with the log, which ends the reclaiming thread.
    alive: Mutex<Option<mpsc::Sender<()>>>,
    head: watch::Receiver<Position>,
    identity: Identity,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new(MemoryOptions::default())
    }
}

impl MemoryLog {
    /// Creates an empty log.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Self {
        let (head, seen) = watch::channel(Position::START);
        let limits = options.limits.clone();
        let reclaim_every = options.reclaim_every;
        Self {
            identity: options.identity,
            streams: Arc::new(Mutex::new(Streams::new(options, head))),
            limits,
            reclaim_every,
            alive: Mutex::new(None),
            head: seen,
        }
    }

    /// Ends expired streams and trims messages that are too old, for at most `steps` streams.
    /// Returns `true` if more is due. This also happens in the background, and a bounded part of it
    /// with every append and creation.
    pub fn reclaim(&self, steps: usize) -> bool {
        self.streams.lock().sweep(steps)
    }

    fn with<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut Streams) -> Result<T, Error> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let mut streams = self.streams.lock();
            if streams.closed {
                return Err(Kind::Closed.into());
            }
            let done = work(&mut streams);
            let is_wanted = streams.needs_reclaiming();
            streams.is_reclaimed |= is_wanted;
            drop(streams);
            if is_wanted {
                self.start_reclaiming();
            }
            done
        })
    }

    fn start_reclaiming(&self) {
        let (alive, ended) = mpsc::channel();
        // An earlier thread has ended or is about to.
        *self.alive.lock() = Some(alive);
        expiry::start(Arc::clone(&self.streams), self.reclaim_every, ended);
    }
}

impl Log for MemoryLog {
    fn create<'a>(&'a self, name: &'a StreamName, create: Create) -> Answer<'a, Created> {
        self.with(move |streams| {
            create.check(&self.limits)?;
            streams.sweep(SWEEP);
            streams.create(name, create)
        })
    }

    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome> {
        self.with(move |streams| {
            append.check(&self.limits)?;
            streams.sweep(SWEEP);
            streams.append(name, append)
        })
    }

    fn read<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Answer<'a, Chunk> {
        self.with(move |streams| streams.read(name, from, budget))
    }

    fn measure<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: u64,
    ) -> Answer<'a, Extent> {
        self.with(move |streams| streams.measure(name, from, budget))
    }

    fn follow<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Follower> {
        self.with(move |streams| streams.follow(name))
    }

    fn info<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Info> {
        self.with(move |streams| streams.info(name))
    }

    fn producer<'a>(
        &'a self,
        name: &'a StreamName,
        producer: &'a str,
    ) -> Answer<'a, Option<Known>> {
        self.with(move |streams| streams.producer(name, producer))
    }

    fn touch<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()> {
        self.with(move |streams| streams.touch(name))
    }

    fn delete<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()> {
        self.with(move |streams| streams.delete(name))
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<StreamName>,
        limit: usize,
    ) -> Answer<'a, Page> {
        self.with(move |streams| Ok(streams.list(prefix, after.as_ref(), limit.min(limits::PAGE))))
    }

    fn read_order(
        &self,
        from: Position,
        budget: usize,
        matching: Option<Matching>,
    ) -> Answer<'_, OrderChunk> {
        self.with(move |streams| streams.read_order(from, budget, matching.as_ref()))
    }

    fn follow_order(&self) -> OrderFollower {
        OrderFollower::new(self.head.clone())
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn usage(&self) -> Usage {
        self.streams.lock().usage()
    }

    fn writable(&self) -> Result<(), Error> {
        self.streams.lock().writable()
    }

    fn warnings(&self) -> Vec<String> {
        self.streams.lock().warning().into_iter().collect()
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.streams.lock().close();
            Ok(())
        })
    }
}
