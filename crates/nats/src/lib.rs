//! The log's engine on a cluster: several hubs, one log, on NATS `JetStream`.
//!
//! [`NatsLog`] implements [`Log`](headwater_log::Log) with the guarantees of the engine on a disk,
//! for any number of hubs on one cluster. [`cluster_format`] documents the layout in the
//! cluster, and why it is so.
//!
//! ```no_run
//! # async fn open() -> Result<(), Box<dyn std::error::Error>> {
//! use headwater_nats::{NatsLog, NatsOptions};
//!
//! let servers = ["nats://a:4222", "nats://b:4222", "nats://c:4222"];
//! let log = NatsLog::open(NatsOptions::new(servers)).await?;
//! # Ok(()) }
//! ```
//!
//! This crate knows nothing of HTTP. The rules of streams are not here either: they are
//! [`headwater_log::machine`], which this crate applies to the records of one `JetStream` stream.
//!
//! # Where the tests are
//!
//! Units are next to the code. `tests/nats` starts servers, and compares one hub and two hubs on a
//! cluster with the model, also with snapshots and restarts, and ends servers and hubs, cuts their network, and slows
//! and fills their disks while producers and readers check every message. They need the program `nats-server` (`HEADWATER_NATS_SERVER`, `.venv/bin`, or `PATH`).

mod cache;
mod connect;
mod engine;
mod format;
mod leader;
mod limits;
mod located;
mod log;
mod open_error;
mod options;
mod replica;
mod servers;
mod setup;
mod snapshots;
mod tail;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headwater_log::{Error, Position};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

pub use open_error::OpenError;
#[doc(hidden)]
pub use options::Snapshots;
pub use options::{Credentials, Durability, NatsOptions, Tls};

use cache::Records;
use engine::Engine;
use format::batch::Op;
use leader::Contact;
use limits::{ACK_TIMEOUT, REPLAY_STALLED, SNAPSHOT_SYNC, SWEEP_STEP, WRITE_DEADLINE};
use open_error::Why;
use replica::Reply;
use setup::{Cluster, Live};
use snapshots::Keeper;

#[doc = include_str!("format.md")]
pub mod cluster_format {}

/// A log on a cluster of NATS servers with `JetStream`.
///
/// It runs tasks on the runtime on which it was opened. Dropping it ends them, and loses nothing
/// that was acknowledged. [`close`](headwater_log::Log::close) also waits for operations in
/// progress.
#[derive(Debug)]
pub struct NatsLog {
    engine: Arc<Engine>,
    head: watch::Receiver<Position>,
    tasks: Vec<AbortHandle>,
}

impl NatsLog {
    /// Connects to the cluster, checks its settings, creates the log if there is none, and reads it.
    ///
    /// # Errors
    ///
    /// If the cluster can't be reached, is too old, or offers less than
    /// [`NatsOptions::durability`]; or if records were removed, and no snapshot has taken their place.
    pub async fn open(options: NatsOptions) -> Result<Self, OpenError> {
        let cluster = Cluster::connect(&options).await?;
        let live = Live::subscribe(&options).await?;
        let (head, seen) = watch::channel(Position::START);
        let (replica, snapshot) = snapshots::load(&cluster, &head).await?;
        let pause = match options.durability {
            Durability::Replicated => SNAPSHOT_SYNC,
            Durability::Synced | Durability::Memory => Duration::ZERO,
        };
        let pause = options.snapshots.pause.unwrap_or(pause);
        let keeper = Keeper::new(
            cluster.snapshots.clone(),
            options.snapshots.clone(),
            pause,
            snapshot,
        );
        let (queue, queued) = mpsc::unbounded_channel();
        let (syncs, waiting) = mpsc::unbounded_channel();
        let room = options.limits.queued_bytes.clamp(1, u32::MAX as usize);
        let engine = Arc::new(Engine {
            records: Records::new(cluster.stream.clone(), options.cache_bytes),
            applied: watch::Sender::new(replica.applied),
            replica: Mutex::new(replica),
            cluster,
            limits: options.limits,
            clock: options.clock,
            contact: Contact::new(),
            known: watch::Sender::new(0),
            pending: Mutex::new(HashMap::new()),
            queue,
            room: Arc::new(Semaphore::new(room)),
            syncs,
            failed: Mutex::new(None),
            closed: AtomicBool::new(false),
            full: AtomicBool::new(false),
            keeper: tokio::sync::Mutex::new(keeper),
            delivered: AtomicU64::new(0),
        });
        let tasks = vec![
            tokio::spawn(tail::follow(Arc::clone(&engine), live)).abort_handle(),
            tokio::spawn(engine::name_ends(Arc::clone(&engine), waiting)).abort_handle(),
            tokio::spawn(writer::write(Arc::clone(&engine), queued)).abort_handle(),
            tokio::spawn(leader::watch(Arc::clone(&engine))).abort_handle(),
        ];
        let mut log = Self {
            engine,
            head: seen,
            tasks,
        };
        log.replay().await.map_err(Why::Read)?;
        let sweeping = sweep(Arc::clone(&log.engine), options.reclaim_every);
        log.tasks.push(tokio::spawn(sweeping).abort_handle());
        let keeping = snapshots::keep(Arc::clone(&log.engine));
        log.tasks.push(tokio::spawn(keeping).abort_handle());
        Ok(log)
    }

    /// Reads the log, and sets the limits of the state if they differ.
    async fn replay(&self) -> Result<(), Error> {
        let engine = &self.engine;
        let start = Instant::now();
        let mut applied = engine.applied.subscribe();
        loop {
            let before = *applied.borrow_and_update();
            match engine.sync().await {
                Ok(()) => break,
                Err(error) => {
                    engine.check()?;
                    let progress = timeout(REPLAY_STALLED, applied.wait_for(|now| *now > before));
                    if progress.await.is_err() {
                        return Err(error);
                    }
                }
            }
        }
        let records = engine.delivered.load(Ordering::Relaxed);
        let milliseconds = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(records, milliseconds, "the log was read");
        let wanted = &engine.limits;
        let differs = {
            let limits = &engine.replica.lock().limits;
            (limits.streams, limits.producers, limits.ended)
                != (wanted.streams, wanted.producers, wanted.ended)
        };
        if differs {
            engine.perform(Op::Limit(wanted.clone()), 1).await?;
        }
        Ok(())
    }

    /// Waits until this hub has applied everything that was in the log when this was called.
    ///
    /// Operations do this by themselves. It is for [`usage`](headwater_log::Log::usage) and
    /// [`follow_order`](headwater_log::Log::follow_order), which return what this hub knows.
    ///
    /// # Errors
    ///
    /// Storage, closed.
    pub async fn catch_up(&self) -> Result<(), Error> {
        self.engine.sync().await
    }

    /// Ends expired streams and trims messages that are too old. This also happens in the
    /// background.
    ///
    /// # Errors
    ///
    /// Storage, closed.
    pub async fn reclaim(&self) -> Result<(), Error> {
        self.engine.sync().await?;
        while self.engine.is_due() {
            self.engine.perform(Op::Sweep(SWEEP_STEP), 1).await?;
        }
        Ok(())
    }

    /// Stores a snapshot now, and removes the records that it replaces. Returns `false` if another hub has
    /// stored one meanwhile.
    ///
    /// # Errors
    ///
    /// The cluster doesn't answer, or another hub stores one.
    #[doc(hidden)]
    pub async fn snapshot(&self) -> Result<bool, Error> {
        let stored = snapshots::store_now(&self.engine).await;
        stored.map_err(Error::unavailable)
    }

    /// Returns the number of records that a consumer has delivered since the start. Live records don't count.
    #[doc(hidden)]
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.engine.delivered.load(Ordering::Relaxed)
    }

    /// Waits for operations in progress, and ends the tasks.
    async fn finish(&self) {
        let room = self.engine.limits.queued_bytes.clamp(1, u32::MAX as usize);
        let all = u32::try_from(room).unwrap_or(u32::MAX);
        let finished = timeout(WRITE_DEADLINE, self.engine.room.acquire_many(all)).await;
        if finished.is_err() {
            tracing::warn!("operations in progress at the close may be unfinished");
        }
        self.engine.room.close();
        self.tasks.iter().for_each(AbortHandle::abort);
        self.engine.replica.lock().machine.close();
        // A message that was sent isn't lost by closing the connection. Without a connection, the flush waits for the next one.
        let _ = timeout(ACK_TIMEOUT, self.engine.cluster.client.flush()).await;
    }
}

impl Drop for NatsLog {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Engine {
    /// Returns `true` if a stream has expired or has messages that are too old.
    fn is_due(&self) -> bool {
        let due = self.replica.lock().machine.next_due();
        due.is_some_and(|due| due <= self.now())
    }
}

/// Ends what expires. All hubs do, and the first of them has the effect.
async fn sweep(engine: Arc<Engine>, every: Duration) {
    loop {
        sleep(engine::jitter(every)).await;
        while engine.is_due() {
            match engine.perform(Op::Sweep(SWEEP_STEP), 1).await {
                Ok(Reply::Swept(true)) => {}
                Ok(_) => break,
                Err(error) if error.is_closed() => return,
                Err(error) => {
                    tracing::debug!(%error, "what has expired is ended later");
                    break;
                }
            }
        }
    }
}
