//! The state that the parts of an open log share.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::watch;

use super::damage::DamageMet;
use super::format::log_head::Head;
use super::options::DiskOptions;
use super::queue::Queue;
use super::store::Store;
use super::stream::{Cache, Stream};
use super::written::Counters;
use crate::clock::Steady;
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::offset::Position;

pub(crate) struct Engine {
    pub(crate) options: DiskOptions,
    /// `None` for a log that isn't in a folder of the operating system.
    pub(crate) folder: Option<PathBuf>,
    /// `None` once the log is closed.
    store: RwLock<Option<Arc<Store>>>,
    pub(crate) cache: Cache,
    pub(crate) queue: Queue,
    pub(crate) time: Steady,
    /// The timetable key from which on every entry is rewritten because the clock was wrong.
    pub(crate) remade: Mutex<Option<Vec<u8>>>,
    committed: Mutex<Head>,
    /// `None` once the log is closed.
    position: Mutex<Option<watch::Sender<Position>>>,
    pub(crate) closing: AtomicBool,
    /// The result of the writer's end, until the log is closed. `Ok` if everything is in the journal.
    pub(crate) ended: Mutex<Option<Result<(), Error>>>,
    /// `true` after a commit failed, until the disk works again.
    pub(crate) failed: AtomicBool,
    /// `true` once a read found data that differs from what was written.
    pub(crate) damage_met: AtomicBool,
    /// The places of damage in messages.
    pub(crate) damage: DamageMet,
    /// Bytes of removed messages since the files were last searched for space to free.
    pub(crate) removed: AtomicU64,
    /// Held while files are rewritten.
    pub(crate) giving: Mutex<()>,
    /// Held while a commit is written, so that what is read meanwhile is of one moment.
    pub(crate) committing: Mutex<()>,
    /// Held during cleanup, so that the data that a step reads doesn't change before it is written.
    pub(crate) tidying: Mutex<()>,
    /// Streams above their size cap.
    over: Mutex<VecDeque<StreamName>>,
    /// Wakes the thread that cleans up.
    pub(crate) cleanup: Bell,
    /// Wakes the thread that prepares segments.
    pub(crate) spares: Bell,
    /// Wakes the thread that writes out the index, and sorts and removes files.
    pub(crate) files: Bell,
    /// The bytes that were written.
    pub(crate) counters: Arc<Counters>,
}

/// Wakes a thread that waits for work.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    ringing: Condvar,
}

impl Bell {
    pub(crate) fn wake(&self) {
        *self.rung.lock() = true;
        self.ringing.notify_all();
    }

    /// Waits to be woken, for at most `patience`. A call of [`wake`](Self::wake) since the last wait
    /// ends it at once. Returns `true` if it was woken.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let mut rung = self.rung.lock();
        self.ringing
            .wait_while_for(&mut rung, |rung| !*rung, patience);
        std::mem::take(&mut *rung)
    }
}

impl Engine {
    pub(crate) fn new(
        folder: Option<&Path>,
        options: DiskOptions,
        store: Arc<Store>,
        head: Head,
        counters: Arc<Counters>,
        damage: DamageMet,
    ) -> Self {
        Self {
            folder: folder.map(Path::to_owned),
            cache: Cache::new(options.hot_streams, store.identity),
            store: RwLock::new(Some(store)),
            queue: Queue::new(options.limits.queued_bytes),
            time: Steady::new(options.clock.clone(), head.time),
            remade: Mutex::default(),
            committed: Mutex::new(head),
            position: Mutex::new(Some(watch::Sender::new(Position::new(head.position)))),
            closing: AtomicBool::new(false),
            ended: Mutex::new(None),
            failed: AtomicBool::new(false),
            damage_met: AtomicBool::new(false),
            damage,
            removed: AtomicU64::new(0),
            giving: Mutex::default(),
            committing: Mutex::default(),
            tidying: Mutex::default(),
            over: Mutex::default(),
            cleanup: Bell::default(),
            spares: Bell::default(),
            files: Bell::default(),
            counters,
            options,
        }
    }

    pub(crate) fn store(&self) -> Result<Arc<Store>, Error> {
        let store = self.store.read();
        match &*store {
            Some(store) => Ok(Arc::clone(store)),
            None => Err(Kind::Closed.into()),
        }
    }

    /// Releases the data. Reads that began earlier still have it.
    pub(crate) fn drop_store(&self) {
        self.store.write().take();
    }

    /// Records that damage was found, if `error` reports it.
    pub(crate) fn note_damage(&self, error: &Error) {
        if error.is_damaged() && !self.damage_met.swap(true, Ordering::Relaxed) {
            let folder = self.folder.as_deref().unwrap_or(Path::new("")).display();
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

    /// Queues a stream for trimming.
    pub(crate) fn over(&self, stream: &Stream) {
        if !stream.over.swap(true, Ordering::AcqRel) {
            self.over.lock().push_back(stream.name().clone());
            self.cleanup.wake();
        }
    }

    pub(crate) fn next_over(&self) -> Option<StreamName> {
        self.over.lock().pop_front()
    }

    /// Counts bytes of messages that were removed.
    pub(crate) fn count_removed(&self, bytes: u64) {
        self.removed.fetch_add(bytes, Ordering::Relaxed);
        self.files.wake();
    }

    /// Requests the threads to stop.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        for bell in [&self.cleanup, &self.spares, &self.files] {
            bell.wake();
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}
