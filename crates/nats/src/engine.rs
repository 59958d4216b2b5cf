//! The state that the tasks of a log share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headwater_log::{Clock, Error, Limits, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::cache::Records;
use crate::format::batch::{Head, Op};
use crate::leader::Contact;
use crate::limits::{READ_DEADLINE, RETRY_PAUSE, WRITE_DEADLINE};
use crate::replica::{Replica, Replies, Reply};
use crate::setup::Cluster;
use crate::snapshots::Keeper;
use crate::writer::Queued;

/// The end of a batch of this hub.
#[derive(Debug)]
pub(crate) enum Settled {
    Applied(Replies),
    /// It was ignored, as its session is forgotten. No earlier copy was applied: its replies would
    /// have been handed over before. Later copies are ignored too.
    Forgotten,
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) cluster: Cluster,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) contact: Contact,
    pub(crate) replica: Mutex<Replica>,
    pub(crate) records: Records,
    /// The sequence number of the last record that was applied.
    pub(crate) applied: watch::Sender<u64>,
    /// The greatest sequence number that the cluster has named.
    pub(crate) known: watch::Sender<u64>,
    /// This hub's batches that weren't seen in the log yet, by session and number.
    pub(crate) pending: Mutex<HashMap<(u64, u64), oneshot::Sender<Settled>>>,
    pub(crate) queue: mpsc::UnboundedSender<Queued>,
    /// Bytes that may wait in the queue.
    pub(crate) room: Arc<Semaphore>,
    /// Reads that wait for the end of the log.
    pub(crate) syncs: mpsc::UnboundedSender<oneshot::Sender<Result<u64, String>>>,
    /// Set once this hub can't go on: the log has something that it can't read.
    pub(crate) failed: Mutex<Option<String>>,
    pub(crate) closed: AtomicBool,
    /// Set while the cluster refuses records for want of space.
    pub(crate) full: AtomicBool,
    /// Held while a snapshot is stored or records are removed.
    pub(crate) keeper: tokio::sync::Mutex<Keeper>,
    /// Number of records that a consumer has delivered.
    pub(crate) delivered: AtomicU64,
}

impl Engine {
    /// Returns the time: that of this hub, but never before that of the log.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().max(self.replica.lock().machine.now())
    }

    /// Returns the head of a batch that is written now.
    pub(crate) fn head(&self) -> Head {
        let now = self.now();
        self.replica.lock().head(now, self.clock.is_by_hand())
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        match &*self.failed.lock() {
            Some(reason) => Err(Error::damaged(reason.clone())),
            None => Ok(()),
        }
    }

    /// Stops this hub's use of the log.
    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(%reason, "the log can't be followed any more");
        self.failed.lock().get_or_insert(reason);
        // Reads and writes that wait find the failure.
        self.pending.lock().clear();
        self.applied.send_modify(|_| ());
    }

    /// Requests the end of the log from the leader.
    pub(crate) async fn last(&self) -> Result<u64, String> {
        let end = self.cluster.last().await?;
        self.contact.hear();
        Ok(end)
    }

    /// Returns the sequence number of the first record that wasn't applied.
    pub(crate) fn next(&self) -> u64 {
        *self.applied.borrow() + 1
    }

    pub(crate) fn name_end(&self, sequence: u64) {
        self.known.send_if_modified(|known| {
            let is_newer = *known < sequence;
            *known = (*known).max(sequence);
            is_newer
        });
    }

    /// Waits until everything is applied that was in the log when this was called. Returns an error
    /// if the cluster doesn't name the end of the log in time, at once if it hasn't answered for as long.
    pub(crate) async fn sync(&self) -> Result<(), Error> {
        self.check()?;
        let (sender, end) = oneshot::channel();
        if self.syncs.send(sender).is_err() {
            return Err(Error::closed());
        }
        if self.contact.is_silent() {
            return Err(Error::unavailable("the log's leader doesn't answer"));
        }
        let synced = tokio::time::timeout(READ_DEADLINE, async {
            let end = end.await.map_err(|_| Error::closed())?;
            let end = end.map_err(Error::unavailable)?;
            let mut applied = self.applied.subscribe();
            let failed = |_: &u64| self.failed.lock().is_some();
            let waited = applied.wait_for(|applied| *applied >= end || failed(applied));
            waited.await.map_err(|_| Error::closed())?;
            self.check()
        });
        match synced.await {
            Ok(synced) => synced,
            Err(_) => Err(Error::unavailable(
                "the cluster doesn't deliver the end of the log in time",
            )),
        }
    }

    /// Performs an operation through the log.
    pub(crate) async fn perform(&self, op: Op, bytes: usize) -> Result<Reply, Error> {
        self.check()?;
        let most = self.limits.queued_bytes.clamp(1, u32::MAX as usize);
        let wanted = u32::try_from(bytes.clamp(1, most)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(wanted).await;
        let room = room.map_err(|_| Error::closed())?;
        let (reply, replied) = oneshot::channel();
        let queued = Queued {
            op,
            reply,
            room,
            deadline: Instant::now() + WRITE_DEADLINE,
        };
        self.queue.send(queued).map_err(|_| Error::closed())?;
        match replied.await {
            Ok(reply) => reply,
            Err(_) => {
                self.check()?;
                Err(Error::unknown("the writer has ended"))
            }
        }
    }
}

/// Answers reads with the end of the log. Reads that wait share one request, which starts after all
/// of them.
pub(crate) async fn name_ends(
    engine: Arc<Engine>,
    mut waiting: mpsc::UnboundedReceiver<oneshot::Sender<Result<u64, String>>>,
) {
    while let Some(first) = waiting.recv().await {
        let mut asked = vec![first];
        while let Ok(next) = waiting.try_recv() {
            asked.push(next);
        }
        let end = end(&engine).await;
        if let Ok(end) = end {
            engine.name_end(end);
        }
        for sender in asked {
            // The read may have given up.
            let _ = sender.send(end.clone());
        }
    }
}

/// Requests the end of the log from the leader until it answers.
async fn end(engine: &Engine) -> Result<u64, String> {
    let deadline = Instant::now() + READ_DEADLINE;
    loop {
        match engine.last().await {
            Ok(end) => return Ok(end),
            Err(error) if Instant::now() >= deadline => {
                return Err(format!("the end of the log isn't known: {error}"));
            }
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// Pause that differs from hub to hub, so that they don't all do the same at once.
pub(crate) fn jitter(span: Duration) -> Duration {
    let part = headwater_log::Identity::random().number() % 1000;
    span.mul_f64(0.75 + 0.5 * f64::from(u32::try_from(part).unwrap_or(0)) / 1000.0)
}
