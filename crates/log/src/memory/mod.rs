//! The log in memory. Its data ends with the process.
//!
//! `--data memory` uses it, and the other engines are tested against it, so it is as simple as
//! possible: a [`Machine`] behind one lock, which is held for one operation at a time.

mod expiry;
mod state;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::append::{Append, Outcome};
use crate::block::Block;
use crate::clock::{Clock, Steady, Timestamp};
use crate::error::{Error, Kind};
use crate::follow::{Follower, OrderFollower};
use crate::incarnation::Identity;
use crate::limits::{self, Limits};
use crate::log::{Answer, Log};
use crate::machine::{Machine, Rules};
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::producers::Known;
use crate::read::{Chunk, Created, Extent, Info, Matching, OrderChunk, Page, ReadFrom, Usage};
use crate::restore::{Image, ProducerImage, Restore, Restored};
use crate::settings::Create;

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

/// The state of the streams, and its time.
#[derive(Debug)]
struct Streams {
    machine: Machine<Arc<[Bytes]>>,
    time: Steady,
    /// `true` while a thread sweeps.
    is_reclaimed: bool,
}

impl Streams {
    /// Returns the state at the present time. Time goes back only if the clock was wrong.
    fn at_now(&mut self) -> &mut Machine<Arc<[Bytes]>> {
        let now = self.time.now(self.machine.now().0);
        self.machine.set_now(Timestamp(now));
        if self.time.went_back() {
            self.machine.take_back();
        }
        &mut self.machine
    }

    /// Returns `true` if a sweeping thread has to be started.
    fn needs_reclaiming(&self) -> bool {
        !self.is_reclaimed && self.machine.next_due().is_some() && !self.machine.is_closed()
    }
}

impl MemoryLog {
    /// Creates an empty log.
    #[must_use]
    pub fn new(options: MemoryOptions) -> Self {
        let (head, seen) = watch::channel(Position::START);
        let limits = options.limits.clone();
        let reclaim_every = options.reclaim_every;
        let rules = Rules {
            max_bytes: options.max_bytes,
            limits: options.limits,
            identity: options.identity,
        };
        let streams = Streams {
            machine: Machine::new(rules, head),
            time: Steady::new(options.clock, 0),
            is_reclaimed: false,
        };
        Self {
            identity: options.identity,
            streams: Arc::new(Mutex::new(streams)),
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
        self.streams.lock().at_now().sweep(steps)
    }

    fn with<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut Machine<Arc<[Bytes]>>) -> Result<T, Error> + Send + 'a,
    ) -> Answer<'a, T> {
        Box::pin(async move {
            let mut streams = self.streams.lock();
            if streams.machine.is_closed() {
                return Err(Kind::Closed.into());
            }
            let done = work(streams.at_now());
            let is_wanted = streams.needs_reclaiming();
            streams.is_reclaimed |= is_wanted;
            drop(streams);
            if is_wanted {
                self.start_reclaiming();
            }
            done
        })
    }

    /// Does `work` for one stream, which is ended first if it has expired.
    fn with_stream<'a, T: Send + 'a>(
        &'a self,
        name: &'a StreamName,
        work: impl FnOnce(&mut Machine<Arc<[Bytes]>>) -> Result<T, Error> + Send + 'a,
    ) -> Answer<'a, T> {
        self.with(move |streams| {
            streams.expire(name);
            work(streams)
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
            let messages = create.messages.clone();
            streams.create(name, create, &mut |range| messages[range].into())
        })
    }

    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome> {
        self.with(move |streams| {
            append.check(&self.limits)?;
            streams.sweep(SWEEP);
            let messages = append.messages.clone();
            streams.append(name, append, &mut |range| messages[range].into())
        })
    }

    fn read<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Answer<'a, Chunk> {
        self.with_stream(name, move |streams| {
            let plan = streams.read(name, from, budget)?;
            let blocks = plan.pieces.iter().flat_map(|piece| {
                let first = piece.first.number();
                (first..)
                    .zip(&piece.messages[piece.range.clone()])
                    .map(|(at, bytes)| {
                        let bytes = bytes.slice(..piece.cut.unwrap_or(bytes.len()));
                        Block::message(Offset::new(at), piece.time, bytes)
                    })
            });
            let blocks = blocks.collect();
            Ok(plan.chunk(blocks))
        })
    }

    fn measure<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: u64,
    ) -> Answer<'a, Extent> {
        self.with_stream(name, move |streams| streams.measure(name, from, budget))
    }

    fn follow<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Follower> {
        self.with_stream(name, move |streams| streams.follow(name))
    }

    fn info<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Info> {
        self.with_stream(name, move |streams| streams.info(name))
    }

    fn producer<'a>(
        &'a self,
        name: &'a StreamName,
        producer: &'a str,
    ) -> Answer<'a, Option<Known>> {
        self.with_stream(name, move |streams| streams.producer(name, producer))
    }

    fn image<'a>(&'a self, name: &'a StreamName) -> Answer<'a, (Image, Vec<ProducerImage>)> {
        self.with_stream(name, move |streams| streams.image(name))
    }

    fn restore<'a>(&'a self, name: &'a StreamName, restore: Restore) -> Answer<'a, Restored> {
        self.with(move |streams| {
            restore.check(&self.limits)?;
            streams.sweep(SWEEP);
            let messages = match &restore {
                Restore::Messages { messages, .. } => messages.clone(),
                _ => Vec::new(),
            };
            streams.restore(name, restore, &mut |range| messages[range].into())
        })
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
        self.with(move |streams| {
            let (limit, now) = (limit.min(limits::PAGE), streams.now());
            Ok(streams.list(prefix, after.as_ref(), limit, now))
        })
    }

    fn read_order(
        &self,
        from: Position,
        budget: usize,
        matching: Option<Matching>,
    ) -> Answer<'_, OrderChunk> {
        self.with(move |streams| {
            let plan = streams.read_order(from, budget, matching.as_ref())?;
            Ok(plan.chunk(|entry| entry.messages[entry.index].clone()))
        })
    }

    fn follow_order(&self) -> OrderFollower {
        OrderFollower::new(self.head.clone())
    }

    fn identity(&self) -> Identity {
        self.identity
    }

    fn usage(&self) -> Usage {
        self.streams.lock().machine.usage()
    }

    fn writable(&self) -> Result<(), Error> {
        self.streams.lock().machine.writable()
    }

    fn warnings(&self) -> Vec<String> {
        self.streams.lock().time.warning().into_iter().collect()
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            self.streams.lock().machine.close();
            Ok(())
        })
    }
}
