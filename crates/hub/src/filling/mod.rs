//! Streams that the hub fills by itself, in the background: from an upstream, from calls, from a handler's stream.
//!
//! A filling takes items from a source and appends them to its stream until the source ends; the last append closes the
//! stream. It needs nobody to read: whoever asked for it may leave, and come back. It ends early when it is
//! [cancelled](Fillings::cancel), when its stream is deleted or closed by others, when nobody has watched for as long as
//! it is to be kept, or when the hub [stops](Fillings::stop). What had come by then is in the stream, and the stream
//! says why it ended: its reason is a problem document.
//!
//! ```text
//! source ──► gathered (bounded) ──► one append at a time, as a producer ──► log
//!   task: takes what is ready           writer: repeats what may not have happened
//! ```
//!
//! # What is stored
//!
//! Each filling has a marker, a stream of the log under `__ds/filling/` which no path reaches. It is created before the
//! stream and deleted after its end, so that what a hub that starts finds of them was [interrupted](recovery): such a
//! stream is closed with a reason that says so, or taken up again if its source can be. The [note](Settings::note) of
//! the stream has the marker's name, so that no other stream is ever taken for it.

mod end;
mod marker;
mod presence;
mod recovery;
mod task;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_core::Stream;
use headwater::{Problem, StatusCode};
use headwater_log::{Create, Info, Log, Settings, StreamName};
use serde_json::Value;
use tokio::sync::{oneshot, watch};

pub(crate) use self::{
    marker::note,
    presence::Watch,
    recovery::{Interrupted, Resume},
};
use self::{
    marker::{Marker, Note},
    presence::Presence,
    task::Task,
};
use crate::error::problem;

/// What a filling takes its items from.
pub(crate) type Source = Pin<Box<dyn Stream<Item = Result<Bytes, Problem>> + Send>>;

/// Which stream is to be filled, and how.
#[derive(Debug)]
pub(crate) struct Fill {
    name: StreamName,
    settings: Settings,
    note: Value,
    keep_for: Option<Duration>,
    resume: Option<Value>,
    place: Option<Place>,
}

impl Fill {
    /// A stream that is created with these settings, but for their note, and filled whoever watches.
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

    /// Sets what the stream's [`note`] says, at most about 4,000 bytes of JSON. No credentials: it is written to the disk.
    pub(crate) fn note(mut self, note: Value) -> Self {
        self.note = note;
        self
    }

    /// Sets for how long it goes on with nobody watching. Zero: it ends when the last one leaves. Default: it goes on.
    pub(crate) fn keep_for(mut self, time: Option<Duration>) -> Self {
        self.keep_for = time;
        self
    }

    /// Gives it a place that was [reserved](Fillings::reserve).
    pub(crate) fn in_place(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    /// Sets what the hub's [`Resume`] needs to take it up again after a restart. No credentials: it is written to the
    /// disk. Default: it can't be taken up, and a restart ends it.
    pub(crate) fn resume(mut self, data: Option<Value>) -> Self {
        self.resume = data;
        self
    }
}

/// What came of [starting](Fillings::start) a filling.
#[derive(Debug)]
pub(crate) struct Started {
    /// The stream.
    pub(crate) info: Info,
    /// Whether it was created now. If not, it was there: its [`note`] says what it is, if it is one that was filled.
    pub(crate) is_new: bool,
    /// Counts as one who watches, if that matters to the filling.
    pub(crate) watch: Option<Watch>,
}

/// Why a filling is to end before its source does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Somebody said so.
    Cancelled,
    /// Its stream is gone, or was closed by others: there is nothing to write to.
    Over,
    /// The hub ends.
    Interrupted,
}

/// The fillings of one hub. There is one for a log at a time. They end with it, as if it were [stopped](Self::stop).
#[derive(Debug)]
pub(crate) struct Fillings(Arc<Shared>);

struct Shared {
    log: Arc<dyn Log>,
    limit: usize,
    running: Mutex<HashMap<StreamName, Arc<Running>>>,
    /// How many markers of this process there may be.
    count: AtomicUsize,
    /// The markers of this process: what they mark was not interrupted.
    own: Mutex<HashSet<StreamName>>,
    stopped: AtomicBool,
    looked: OnceLock<()>,
    resume: OnceLock<Resume>,
}

/// A filling that is under way.
#[derive(Debug)]
struct Running {
    /// The stream's number.
    id: u64,
    stop: watch::Sender<Option<Stop>>,
    presence: Option<Arc<Presence>>,
}

impl Running {
    /// Says that it is to end. Who says so first is who is believed.
    fn end(&self, why: Stop) {
        self.stop.send_if_modified(|stop| {
            let is_first = stop.is_none();
            stop.get_or_insert(why);
            is_first
        });
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let running = locked(&self.running).len();
        f.debug_struct("Shared")
            .field("running", &running)
            .finish_non_exhaustive()
    }
}

/// Nothing is left half changed by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Fillings {
    /// Does nothing yet. At most `limit` streams are filled at once.
    pub(crate) fn new(log: Arc<dyn Log>, limit: usize) -> Self {
        Self(Arc::new(Shared {
            log,
            limit,
            running: Mutex::default(),
            count: AtomicUsize::new(0),
            own: Mutex::default(),
            stopped: AtomicBool::new(false),
            looked: OnceLock::new(),
            resume: OnceLock::new(),
        }))
    }

    /// Sets what takes up again what can be. To be set before anything is started; what is set later doesn't count.
    pub(crate) fn resume_with(&self, resume: Resume) {
        let _ = self.0.resume.set(resume);
    }

    /// Looks, once, for what a hub before this one left behind, in a task of its own. Does nothing outside of a
    /// runtime: the first start of a filling does it then.
    pub(crate) fn recover(&self) {
        if tokio::runtime::Handle::try_current().is_ok() && self.0.looked.set(()).is_ok() {
            tokio::spawn(recovery::recover(Arc::clone(&self.0)));
        }
    }

    /// Reserves a place among those that are filled, for who has to do something before that can't be taken back.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub(crate) fn reserve(&self) -> Result<Place, Problem> {
        Place::take(&self.0)
    }

    /// Creates a stream and fills it with what `make` makes, which is called only then. Where there is a stream of that
    /// name it is left as it is. Answers when the stream is there, long before it is full.
    ///
    /// Dropped early, it has happened or not; a stream that was created is filled.
    ///
    /// # Errors
    /// 429: as many streams as the limit allows are being filled. 503: the hub ends. What the log says.
    pub(crate) async fn start<M, S>(&self, mut fill: Fill, make: M) -> Result<Started, Problem>
    where
        M: FnOnce() -> S + Send + 'static,
        S: Stream<Item = Result<Bytes, Problem>> + Send + 'static,
    {
        self.recover();
        match self.0.log.info(&fill.name).await {
            Ok(info) => {
                return Ok(Started {
                    watch: self.watch(&info),
                    info,
                    is_new: false,
                });
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(problem(error)),
        }
        let place = match fill.place.take() {
            Some(place) => place,
            None => self.reserve()?,
        };
        let (answer, answered) = oneshot::channel();
        let shared = Arc::clone(&self.0);
        // In a task of its own: a stream that was created is filled, whoever is left to be told so.
        tokio::spawn(async move {
            let begun = begin(&shared, fill, place).await;
            match begun {
                Ok(Begun::New(started, task)) => {
                    let _ = answer.send(Ok(started));
                    task.run(move || Box::pin(make()) as Source).await;
                }
                Ok(Begun::Known(started)) => drop(answer.send(Ok(started))),
                Err(problem) => drop(answer.send(Err(problem))),
            }
        });
        answered
            .await
            .unwrap_or_else(|_| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR)))
    }

    /// Ends the filling of a stream, and waits until the stream is closed; `false` where none is under way. Its source
    /// is dropped at once. Dropped early, it is cancelled nevertheless.
    pub(crate) async fn cancel(&self, name: &StreamName) -> bool {
        self.end(name, Stop::Cancelled).await
    }

    /// Says that a stream was deleted, or closed by others, so that its source is dropped.
    pub(crate) fn over(&self, name: &StreamName) {
        if let Some(running) = self.0.running(name) {
            running.end(Stop::Over);
        }
    }

    async fn end(&self, name: &StreamName, why: Stop) -> bool {
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

    /// Counts somebody as watching a stream, until that is dropped; `None` where it makes no difference.
    pub(crate) fn watch(&self, info: &Info) -> Option<Watch> {
        self.0.watch(info)
    }

    /// Ends all fillings, and waits until they have. What can be taken up again stays open for the next start; other
    /// streams are closed with a reason that says that they were interrupted. From then on none can be started.
    pub(crate) async fn stop(&self) {
        for running in self.0.interrupt() {
            running.stop.closed().await;
        }
    }
}

impl Drop for Fillings {
    fn drop(&mut self) {
        self.0.interrupt();
    }
}

impl Shared {
    fn running(&self, name: &StreamName) -> Option<Arc<Running>> {
        locked(&self.running).get(name).cloned()
    }

    fn watch(&self, info: &Info) -> Option<Watch> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let running = self.running(&info.name);
        let running = running.filter(|running| running.id == info.id)?;
        running.presence.as_ref().map(Presence::enter)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn interrupt(&self) -> Vec<Arc<Running>> {
        let running = locked(&self.running);
        self.stopped.store(true, Ordering::Relaxed);
        let all: Vec<_> = running.values().cloned().collect();
        drop(running);
        all.iter()
            .for_each(|running| running.end(Stop::Interrupted));
        all
    }
}

/// One of as many fillings as there may be, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Result<Self, Problem> {
        if shared.is_stopped() {
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail("the hub ends"));
        }
        let place = Self(Arc::clone(shared));
        let limit = shared.limit;
        if shared.count.fetch_add(1, Ordering::Relaxed) >= limit {
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS)
                .detail(format!("{limit} streams are being filled already"))
                .with("limit", limit));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Begun {
    New(Started, Box<Task>),
    Known(Started),
}

/// Creates the marker and the stream.
async fn begin(shared: &Arc<Shared>, fill: Fill, place: Place) -> Result<Begun, Problem> {
    let Fill {
        name,
        mut settings,
        note,
        keep_for,
        resume,
        ..
    } = fill;
    let marker = Marker::new(&name, keep_for, resume)?;
    settings.note = Note::new(&marker, note).encode();
    let marking = Marking::new(shared, &marker);
    marker.write(&*shared.log, 0).await.map_err(problem)?;
    let created = match shared.log.create(&name, Create::new(settings)).await {
        Ok(created) => created,
        Err(error) => {
            // Where the outcome isn't known, the next start finds the marker.
            if !error.is_outcome_unknown() {
                marker.remove(&*shared.log).await;
            }
            return Err(problem(error));
        }
    };
    if !created.is_new {
        marker.remove(&*shared.log).await;
        return Ok(Begun::Known(Started {
            watch: shared.watch(&created.info),
            info: created.info,
            is_new: false,
        }));
    }
    let task = Task::new(shared, &created.info, marker, marking, 0, place);
    let started = Started {
        watch: shared.watch(&created.info),
        info: created.info,
        is_new: true,
    };
    Ok(Begun::New(started, Box::new(task)))
}

/// Keeps a marker known as one of this process until it is dropped.
struct Marking {
    shared: Arc<Shared>,
    name: StreamName,
}

impl Marking {
    fn new(shared: &Arc<Shared>, marker: &Marker) -> Self {
        let name = marker.name().clone();
        locked(&shared.own).insert(name.clone());
        Self {
            shared: Arc::clone(shared),
            name,
        }
    }
}

impl Drop for Marking {
    fn drop(&mut self) {
        locked(&self.shared.own).remove(&self.name);
    }
}
