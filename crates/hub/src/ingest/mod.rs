//! Ingest jobs: background tasks that fill a stream from an upstream, a gather or a handler's
//! stream.
//!
//! An ingest job reads items from a source and appends them to its stream until the source ends.
//! The last append closes the stream. A job needs no reader: the client that started it may
//! disconnect and reconnect. It ends early when it is [cancelled](IngestJobs::cancel), when its
//! stream is deleted or closed by others, when there were no watchers for as long as it is to be
//! kept, or when the hub [stops](IngestJobs::stop). The items that arrived by then are in the stream,
//! and its close reason is a problem document.
//!
//! ```text
//! source ──► collected (bounded) ──► one append at a time, as a producer ──► log
//!   task: polls ready items            writer: retries unknown outcomes
//! ```
//!
//! # Recovery
//!
//! Each job has a record: a stream of the log under `__ds/filling/`, which no path reaches, with
//! the job's recovery record. It is created before the job's stream and deleted after the job's
//! end. Therefore, a record that a hub finds at its start is that of an [interrupted](recovery)
//! job. The job is resumed if its source supports that; otherwise the stream is closed as
//! interrupted. The [note](Settings::note) of the stream contains the record's nonce, so that no
//! other stream of that name is mistaken for it.
//!
//! # Several hubs
//!
//! On a log that hubs share, the owner alone runs jobs. A job of the owner before it
//! may not have noticed yet, and its appends can arrive late. Closing the stream ends it. A job that is
//! resumed continues under the next epoch, and its first append is refused if the one before has
//! appended anything since the resumed one looked; then it is resumed again.

mod outcome;
mod recovery;
mod recovery_record;
mod task;
#[cfg(test)]
mod tests;
mod watchers;
mod writer;

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use headwater::{Problem, StatusCode};
use headwater_log::{Create, Info, Log, Settings, StreamName};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

#[cfg(feature = "relay")]
pub(crate) use self::recovery::Interrupted;
pub(crate) use self::{
    recovery::Resume,
    recovery_record::{is_watched, note},
    watchers::WatchGuard,
};
use self::{
    recovery_record::{Note, RecoveryRecord},
    task::Task,
    watchers::Watchers,
};
use crate::{
    error::{not_owner, problem, temporary},
    permits::{Permit, Permits},
    protocol::path,
};

/// A source of items for an ingest job.
pub(crate) type Source = Pin<Box<dyn Stream<Item = Result<Bytes, Problem>> + Send>>;

/// The configuration of an ingest job.
#[derive(Debug)]
pub(crate) struct IngestRequest {
    name: StreamName,
    settings: Settings,
    note: Value,
    keep_for: Option<Duration>,
    resume: Option<Value>,
    place: Option<Permit>,
}

impl IngestRequest {
    /// Creates a job for a stream with these settings. Their note is replaced. The job runs with or
    /// without watchers.
    pub(crate) fn new(name: StreamName, settings: Settings) -> Self {
        Self {
            name,
            settings,
            note: Value::Null,
            keep_for: None,
            resume: None,
            place: None,
        }
    }

    /// Sets the [`note`] of the stream, of at most about 4,000 bytes of JSON. It must not contain
    /// credentials, as it is written to disk.
    pub(crate) fn note(mut self, note: Value) -> Self {
        self.note = note;
        self
    }

    /// Sets how long the job continues without watchers. Zero: it ends when the last one leaves.
    /// Default: it continues to its end.
    pub(crate) fn keep_for(mut self, time: Option<Duration>) -> Self {
        self.keep_for = time;
        self
    }

    /// Uses a slot that was [reserved](IngestJobs::reserve).
    pub(crate) fn with_permit(mut self, place: Permit) -> Self {
        self.place = Some(place);
        self
    }

    /// Sets the data from which the hub's [`Resume`] resumes the job after a restart. It must not
    /// contain credentials, as it is written to disk. Default: the job can't be resumed, and a
    /// restart ends it.
    pub(crate) fn resume(mut self, data: Option<Value>) -> Self {
        self.resume = data;
        self
    }
}

/// The result of [starting](IngestJobs::start) an ingest job.
#[derive(Debug)]
pub(crate) struct Started {
    /// The stream.
    pub(crate) info: Info,
    /// `true` if the stream was created now. If `false`, it existed: if an ingest job filled it,
    /// its [`note`] identifies it.
    pub(crate) is_new: bool,
    /// Counts as a watcher. `None` if watchers make no difference to the job.
    pub(crate) watch: Option<WatchGuard>,
}

/// The reason for which a job ends before its source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopReason {
    /// It was cancelled.
    Cancelled,
    /// Its stream was deleted, or was closed by others. It can't be written to.
    Over,
    /// The hub stops.
    Interrupted,
}

/// The ingest jobs of one hub. There is at most one instance for a log at a time. Dropping it
/// interrupts all jobs, as [`stop`](Self::stop) does.
#[derive(Debug)]
pub(crate) struct IngestJobs(Arc<Inner>);

struct Inner {
    log: Arc<dyn Log>,
    /// Of the jobs of this process that may have a record.
    permits: Permits,
    running: Mutex<HashMap<StreamName, Arc<RunningJob>>>,
    /// The records of this process. Their jobs were not interrupted.
    own: Mutex<HashSet<StreamName>>,
    stopped: AtomicBool,
    /// Set while another hub may run the jobs of the log. It takes a job of this one for an interrupted
    /// one.
    paused: AtomicBool,
    /// The task that looks for interrupted jobs.
    recovery: Mutex<Option<JoinHandle<()>>>,
    resume: OnceLock<Resume>,
}

/// A job that is running.
#[derive(Debug)]
struct RunningJob {
    /// The stream's number.
    id: u64,
    stop: watch::Sender<Option<StopReason>>,
    watchers: Option<Arc<Watchers>>,
}

impl RunningJob {
    /// Requests a stop. The first reason wins.
    fn end(&self, why: StopReason) {
        self.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(why);
            is_first
        });
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let running = self.running.lock().len();
        f.debug_struct("Inner")
            .field("running", &running)
            .finish_non_exhaustive()
    }
}

impl IngestJobs {
    /// Creates an instance without jobs. At most `limit` of them run at once.
    pub(crate) fn new(log: Arc<dyn Log>, limit: usize) -> Self {
        Self(Arc::new(Inner {
            log,
            permits: Permits::new(limit, "too_many_jobs", |limit| {
                format!("{limit} streams are being filled already")
            }),
            running: Mutex::default(),
            own: Mutex::default(),
            stopped: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            recovery: Mutex::default(),
            resume: OnceLock::new(),
        }))
    }

    /// Sets the function that resumes interrupted jobs. Has to be called before the first job is
    /// started; only the first call has an effect.
    pub(crate) fn resume_with(&self, resume: Resume) {
        let _ = self.0.resume.set(resume);
    }

    /// Looks, in a task of its own, for jobs that an earlier hub left behind.
    pub(crate) fn recover(&self) {
        tokio::spawn(recovery::recover(Arc::clone(&self.0)));
    }

    /// Interrupts all jobs and refuses new ones until it is [resumed](Self::resume), as another hub of
    /// the log may run them.
    pub(crate) fn pause(&self) {
        self.0.interrupt(&self.0.paused);
        if let Some(recovery) = self.0.recovery.lock().take() {
            recovery.abort();
        }
    }

    /// Takes over the jobs of the log from another hub, which may still leave some behind.
    pub(crate) fn resume(&self) {
        self.0.paused.store(false, Ordering::Relaxed);
        let recovery = tokio::spawn(recovery::follow(Arc::downgrade(&self.0)));
        if let Some(before) = self.0.recovery.lock().replace(recovery) {
            before.abort();
        }
    }

    /// Reserves an ingest slot. Call it before a side effect that can't be undone.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub(crate) fn reserve(&self) -> Result<Permit, Problem> {
        self.0.permit()
    }

    /// Creates a stream and starts a job that fills it with the items of the source that `make`
    /// returns. If a stream of that name exists, it is left unchanged and `make` isn't called.
    /// Returns when the stream exists, which is long before it is complete.
    ///
    /// # Errors
    /// - 429: the limit of concurrent jobs is reached.
    /// - 503: the hub is stopping, or another hub runs the jobs of the log.
    /// - Errors of the log.
    ///
    /// # Cancel safety
    /// If the future is dropped early, the stream may or may not have been created. If it was, it
    /// is filled.
    pub(crate) async fn start<M, S>(
        &self,
        mut fill: IngestRequest,
        make: M,
    ) -> Result<Started, Problem>
    where
        M: FnOnce() -> S + Send + 'static,
        S: Stream<Item = Result<Bytes, Problem>> + Send + 'static,
    {
        match self.0.log.info(&fill.name).await {
            Ok(info) => {
                return Ok(Started {
                    watch: self.watch(&info),
                    info,
                    is_new: false,
                });
            }
            Err(error) if error.is_not_found() => path::check_new(&fill.name)?,
            Err(error) => return Err(problem(error)),
        }
        let place = match fill.place.take() {
            Some(place) => place,
            None => self.reserve()?,
        };
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        // In a task of its own: a stream that was created is filled even if the caller is gone.
        tokio::spawn(async move {
            let begun = begin(&shared, fill, place).await;
            match begun {
                Ok(Begin::New(started, task)) => {
                    let _ = answer.send(Ok(started));
                    task.run(move || Box::pin(make()) as Source).await;
                }
                Ok(Begin::Known(started)) => drop(answer.send(Ok(started))),
                Err(problem) => drop(answer.send(Err(problem))),
            }
        });
        answered
            .await
            .unwrap_or_else(|_| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR)))
    }

    /// Cancels the job of a stream and waits until the stream is closed. Its source is dropped at
    /// once. Returns `false` if no job is running. If the future is dropped early, the job is
    /// cancelled nevertheless.
    pub(crate) async fn cancel(&self, name: &StreamName) -> bool {
        self.end(name, StopReason::Cancelled).await
    }

    /// Ends the job of a stream that was deleted, or closed by others, so that its source is
    /// dropped.
    pub(crate) fn over(&self, name: &StreamName) {
        if let Some(running) = self.0.running(name) {
            running.end(StopReason::Over);
        }
    }

    async fn end(&self, name: &StreamName, why: StopReason) -> bool {
        let Some(running) = self.0.running(name) else {
            return false;
        };
        running.end(why);
        running.stop.closed().await;
        true
    }

    #[cfg(test)]
    fn is_running(&self, name: &StreamName) -> bool {
        self.0.running(name).is_some()
    }

    /// Counts as a watcher of the stream until the value is dropped. `None` if watchers make no
    /// difference.
    pub(crate) fn watch(&self, info: &Info) -> Option<WatchGuard> {
        self.0.watch(info)
    }

    /// Interrupts all jobs and waits until they have ended. Jobs that can be resumed leave their
    /// streams open for the next start. Other streams are closed as interrupted. From then on no
    /// job can be started.
    pub(crate) async fn stop(&self) {
        for running in self.0.interrupt(&self.0.stopped) {
            running.stop.closed().await;
        }
    }
}

impl Drop for IngestJobs {
    fn drop(&mut self) {
        self.0.interrupt(&self.0.stopped);
    }
}

impl Inner {
    fn running(&self, name: &StreamName) -> Option<Arc<RunningJob>> {
        self.running.lock().get(name).cloned()
    }

    fn watch(&self, info: &Info) -> Option<WatchGuard> {
        if self.permits.taken() == 0 {
            return None;
        }
        let running = self.running(&info.name);
        let running = running.filter(|running| running.id == info.id)?;
        running.watchers.as_ref().map(Watchers::enter)
    }

    /// Takes an ingest slot.
    fn permit(&self) -> Result<Permit, Problem> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(temporary(StatusCode::SERVICE_UNAVAILABLE, "the hub ends"));
        }
        if self.paused.load(Ordering::Relaxed) {
            return Err(not_owner("relays, stored gathers and durable handlers"));
        }
        self.permits.take()
    }

    /// Returns `true` if no job may run.
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.paused.load(Ordering::Relaxed)
    }

    /// Sets one of the flags that stop jobs, and interrupts those that run.
    fn interrupt(&self, flag: &AtomicBool) -> Vec<Arc<RunningJob>> {
        let running = self.running.lock();
        flag.store(true, Ordering::Relaxed);
        let all: Vec<_> = running.values().cloned().collect();
        drop(running);
        all.iter()
            .for_each(|running| running.end(StopReason::Interrupted));
        all
    }
}

enum Begin {
    New(Started, Box<Task>),
    Known(Started),
}

/// Creates the record and the stream.
async fn begin(shared: &Arc<Inner>, fill: IngestRequest, place: Permit) -> Result<Begin, Problem> {
    let IngestRequest {
        name,
        mut settings,
        note,
        keep_for,
        resume,
        ..
    } = fill;
    let record = RecoveryRecord::new(&name, keep_for, resume)?;
    settings.note = Note::new(&record, note).encode();
    let own_record = OwnRecord::new(shared, &record);
    record.write(&*shared.log, 0).await.map_err(problem)?;
    let created = match shared.log.create(&name, Create::new(settings)).await {
        Ok(created) => created,
        Err(error) => {
            // If the outcome is unknown, the next start finds the record.
            if !error.is_outcome_unknown() {
                record.remove(&*shared.log).await;
            }
            return Err(problem(error));
        }
    };
    if !created.is_new {
        record.remove(&*shared.log).await;
        return Ok(Begin::Known(Started {
            watch: shared.watch(&created.info),
            info: created.info,
            is_new: false,
        }));
    }
    let task = Task::new(shared, &created.info, record, own_record, 0, place);
    let started = Started {
        watch: shared.watch(&created.info),
        info: created.info,
        is_new: true,
    };
    Ok(Begin::New(started, Box::new(task)))
}

/// Registers a record as one of this process until it is dropped.
struct OwnRecord {
    shared: Arc<Inner>,
    name: StreamName,
}

impl OwnRecord {
    fn new(shared: &Arc<Inner>, record: &RecoveryRecord) -> Self {
        let name = record.name().clone();
        shared.own.lock().insert(name.clone());
        Self {
            shared: Arc::clone(shared),
            name,
        }
    }
}

impl Drop for OwnRecord {
    fn drop(&mut self) {
        self.shared.own.lock().remove(&self.name);
    }
}
