//! The state that the parts of an open log share.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use super::format::log_head::{Checkpoint, Head};
use super::options::FjallOptions;
use super::queue::Queue;
use super::store::Store;
use super::stream::{Cache, Stream};
use crate::clock::Steady;
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::offset::Position;

pub(crate) struct Engine {
    pub(crate) options: FjallOptions,
    pub(crate) folder: PathBuf,
    /// `None` during a reopening after a failure, and once the log is closed.
    store: RwLock<Option<Arc<Store>>>,
    pub(crate) cache: Cache,
    pub(crate) queue: Queue,
    pub(crate) time: Steady,
    /// The timetable key from which on every entry is rewritten because the clock was wrong.
    pub(crate) remade: Mutex<Option<Vec<u8>>>,
    committed: Mutex<Head>,
    checkpoint: Mutex<Checkpoint>,
    /// `None` once the log is closed.
    position: Mutex<Option<watch::Sender<Position>>>,
    /// Bytes appended since the last checkpoint.
    pub(crate) since_checkpoint: AtomicU64,
    pub(crate) closing: AtomicBool,
    /// `true` after a commit failed, until the database is reopened.
    pub(crate) failed: AtomicBool,
    /// `true` once a read found data that differs from what was written.
    pub(crate) damage_met: AtomicBool,
    /// Bytes of removed messages that may still use disk space.
    pub(crate) swept: AtomicU64,
    /// Held while disk space is freed.
    pub(crate) giving: Mutex<()>,
    /// The id of the stream that is being swept, and the next offset.
    pub(crate) sweeping: Mutex<(u64, u64)>,
    /// `true` while tables pile up because there is no space to merge them.
    pub(crate) cramped: AtomicBool,
    /// Held during cleanup, so that the data that a step reads doesn't change before it is written.
    pub(crate) tidying: Mutex<()>,
    /// Streams above their size cap.
    over: Mutex<VecDeque<StreamName>>,
    /// Wakes the cleanup thread.
    woken: Condvar,
    asleep: Mutex<bool>,
    /// Wakes the thread that frees disk space, when the log closes.
    closed: (Mutex<bool>, Condvar),
}

impl Engine {
    pub(crate) fn new(
        folder: &Path,
        options: FjallOptions,
        store: Store,
        head: Head,
        checkpoint: Checkpoint,
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            cache: Cache::new(options.hot_streams, store.identity),
            store: RwLock::new(Some(Arc::new(store))),
            queue: Queue::new(options.limits.queued_bytes),
            time: Steady::new(options.clock.clone(), head.time),
            remade: Mutex::default(),
            committed: Mutex::new(head),
            checkpoint: Mutex::new(checkpoint),
            position: Mutex::new(Some(watch::Sender::new(Position::new(head.position)))),
            since_checkpoint: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            damage_met: AtomicBool::new(false),
            swept: AtomicU64::new(0),
            giving: Mutex::default(),
            sweeping: Mutex::default(),
            cramped: AtomicBool::new(false),
            closed: (Mutex::new(false), Condvar::new()),
            tidying: Mutex::default(),
            over: Mutex::default(),
            woken: Condvar::new(),
            asleep: Mutex::new(false),
            options,
        }
    }

    /// Returns the database's folder.
    pub(crate) fn database(folder: &Path) -> PathBuf {
        folder.join("db")
    }

    /// Returns the file that records the last commit.
    pub(crate) fn marker(folder: &Path) -> PathBuf {
        folder.join("commits")
    }

    pub(crate) fn store(&self) -> Result<Arc<Store>, Error> {
        let store = self.store.read();
        match &*store {
            Some(store) => Ok(Arc::clone(store)),
            None if self.closing.load(Ordering::Acquire) => Err(Kind::Closed.into()),
            None => Err(Kind::Storage("the database is being reopened".into()).into()),
        }
    }

    pub(crate) fn replace_store(&self, store: Option<Store>) -> Option<Arc<Store>> {
        let mut current = self.store.write();
        std::mem::replace(&mut *current, store.map(Arc::new))
    }

    /// Records that damage was found, if `error` reports it.
    pub(crate) fn note_damage(&self, error: &Error) {
        if error.is_damaged() && !self.damage_met.swap(true, Ordering::Relaxed) {
            let folder = self.folder.display();
            let error = error as &dyn std::error::Error;
            tracing::error!(%folder, error, "data of the log is damaged; streams without damage are served");
        }
    }

    pub(crate) fn committed(&self) -> Head {
        *self.committed.lock()
    }

    /// Returns the time. It is earlier than the last commit's only if the clock was wrong.
    pub(crate) fn now(&self) -> u64 {
        self.time.now(self.committed().time)
    }

    pub(crate) fn publish(&self, head: Head) {
        *self.committed.lock() = head;
        let position = Position::new(head.position);
        if let Some(sender) = &*self.position.lock() {
            sender.send_if_modified(|old| std::mem::replace(old, position) != position);
        }
    }

    pub(crate) fn follow(&self) -> watch::Receiver<Position> {
        match &*self.position.lock() {
            Some(sender) => sender.subscribe(),
            None => watch::channel(Position::new(self.committed().position)).1,
        }
    }

    /// Notifies followers that nothing more will come.
    pub(crate) fn end(&self) {
        self.position.lock().take();
        for stream in self.cache.all() {
            stream.publish(stream.state(), true);
        }
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        *self.checkpoint.lock()
    }

    pub(crate) fn set_checkpoint(&self, checkpoint: Checkpoint) {
        *self.checkpoint.lock() = checkpoint;
    }

    /// Queues a stream for trimming.
    pub(crate) fn over(&self, stream: &Stream) {
        if !stream.over.swap(true, Ordering::AcqRel) {
            self.over.lock().push_back(stream.name().clone());
            self.wake();
        }
    }

    pub(crate) fn next_over(&self) -> Option<StreamName> {
        self.over.lock().pop_front()
    }

    /// Waits for the log to close, for at most `patience`. Returns `true` if it is closed.
    pub(crate) fn wait_closed(&self, patience: Duration) -> bool {
        let (closed, told) = &self.closed;
        let mut closed = closed.lock();
        told.wait_while_for(&mut closed, |closed| !*closed, patience);
        *closed
    }

    /// Requests the threads to stop.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        *self.closed.0.lock() = true;
        self.closed.1.notify_all();
        self.wake();
    }

    pub(crate) fn wake(&self) {
        *self.asleep.lock() = false;
        self.woken.notify_all();
    }

    /// Waits to be woken, for at most `patience`.
    pub(crate) fn sleep(&self, patience: Duration) {
        let mut asleep = self.asleep.lock();
        if self.closing.load(Ordering::Acquire) {
            return;
        }
        self.woken
            .wait_while_for(&mut asleep, |asleep| *asleep, patience);
        *asleep = true;
    }
}
