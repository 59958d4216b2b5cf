//! Ingest jobs over a log whose appends can be held up and fail.

mod faults;
mod owners;
mod restarts;

use std::{
    sync::atomic::{AtomicBool, AtomicUsize},
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use headwater_log::{Answer, Append, Error, MemoryLog, MemoryOptions, Outcome, ReadFrom};
use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::limits::{INGEST_BYTES, INGEST_MESSAGES};

/// An in-memory log whose appends to users' streams wait and fail on request.
struct Gated {
    log: MemoryLog,
    /// Each append needs one. `None`: appends don't wait.
    permits: Option<Semaphore>,
    /// Number of appends that happen and then report an unknown outcome.
    unknown: AtomicUsize,
    full: AtomicBool,
    appends: Mutex<Vec<usize>>,
}

impl Gated {
    fn new(permits: Option<usize>, options: MemoryOptions) -> Arc<Self> {
        Arc::new(Self {
            log: MemoryLog::new(options),
            permits: permits.map(Semaphore::new),
            unknown: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            appends: Mutex::default(),
        })
    }

    fn open(&self, appends: usize) {
        self.permits.as_ref().unwrap().add_permits(appends);
    }

    /// Returns the number of messages of each append.
    fn appends(&self) -> Vec<usize> {
        self.appends.lock().clone()
    }
}

/// Returns an error for a full log, produced by filling one.
async fn full() -> Error {
    let mut options = MemoryOptions::default();
    options.max_bytes = 1;
    let log = MemoryLog::new(options);
    let create = Create::new(Settings::of_type("x"));
    log.create(&name("a"), create).await.unwrap_err()
}

impl Log for Gated {
    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome> {
        Box::pin(async move {
            if name.as_str().starts_with("__ds") {
                return self.log.append(name, append).await;
            }
            if let Some(permits) = &self.permits {
                permits.acquire().await.unwrap().forget();
            }
            if self.full.load(Ordering::Relaxed) {
                return Err(full().await);
            }
            let messages = append.messages.len();
            let outcome = self.log.append(name, append).await;
            if outcome.is_ok() {
                self.appends.lock().push(messages);
            }
            if self.unknown.load(Ordering::Relaxed) > 0 {
                self.unknown.fetch_sub(1, Ordering::Relaxed);
                return Err(full().await);
            }
            outcome
        })
    }

    pass_on!(create read measure follow info producer image restore touch delete list read_order follow_order identity usage writable close);
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn fill(text: &str) -> IngestRequest {
    IngestRequest::new(name(text), Settings::of_type("text/plain"))
}

type Item = Result<Bytes, Problem>;

fn items(texts: &[&'static str]) -> impl Stream<Item = Item> + Send + use<> {
    let items: Vec<Item> = texts
        .iter()
        .map(|text| Ok(Bytes::from_static(text.as_bytes())))
        .collect();
    stream::iter(items)
}

/// Returns a source with the items that are sent. Dropping the source closes the channel.
fn channel() -> (mpsc::UnboundedSender<Item>, impl Stream<Item = Item> + Send) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    (
        sender,
        stream::poll_fn(move |cx: &mut Context<'_>| receiver.poll_recv(cx)),
    )
}

/// Waits until a stream is closed, no job runs for it and no record is left. Returns its messages,
/// joined, and the type of its close reason.
async fn whole(ingest_jobs: &IngestJobs, stream: &str) -> (String, Option<Value>) {
    let log = &ingest_jobs.0.log;
    let stream = name(stream);
    let closed = async {
        let mut follower = log.follow(&stream).await.unwrap();
        while !follower.progress().closed {
            assert!(follower.changed().await);
        }
        while ingest_jobs.is_running(&stream) || ingest_jobs.0.permits.taken() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Recovery deletes a record after it has closed the stream.
        while !log
            .list(recovery_record::PREFIX, None, 1)
            .await
            .unwrap()
            .streams
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), closed)
        .await
        .expect("it is closed and its record deleted");
    (text(&**log, &stream).await, reason(&**log, &stream).await)
}

async fn text(log: &dyn Log, stream: &StreamName) -> String {
    let chunk = log.read(stream, ReadFrom::Start, 1 << 30).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    chunk
        .messages()
        .map(|message| text(&message.bytes))
        .collect()
}

async fn reason(log: &dyn Log, stream: &StreamName) -> Option<Value> {
    let info = log.info(stream).await.unwrap();
    let reason: Option<Value> = info
        .reason
        .map(|reason| serde_json::from_slice(&reason).unwrap());
    reason.map(|reason| reason.get("type").unwrap_or(&reason["status"]).clone())
}

fn over(log: &Arc<Gated>) -> IngestJobs {
    IngestJobs::new(Arc::clone(log) as Arc<dyn Log>, 4)
}

fn plain() -> IngestJobs {
    over(&Gated::new(None, MemoryOptions::default()))
}

#[tokio::test]
async fn items_are_in_the_stream_in_order_and_it_is_closed_with_the_last_of_them() {
    let log = Gated::new(None, MemoryOptions::default());
    let ingest_jobs = over(&log);
    let started = ingest_jobs
        .start(fill("a"), || items(&["1", "2", "3"]))
        .await
        .unwrap();
    assert!(started.is_new);
    assert_eq!(whole(&ingest_jobs, "a").await, ("123".to_owned(), None));
    assert_eq!(log.appends(), [3], "what is ready together is one append");
    // A stream without items is closed too.
    ingest_jobs.start(fill("b"), || items(&[])).await.unwrap();
    assert_eq!(whole(&ingest_jobs, "b").await, (String::new(), None));
}

#[tokio::test]
async fn an_item_is_appended_as_soon_as_it_is_there() {
    let ingest_jobs = plain();
    let (sender, source) = channel();
    ingest_jobs.start(fill("a"), || source).await.unwrap();
    let mut follower = ingest_jobs.0.log.follow(&name("a")).await.unwrap();
    for n in 1..=3 {
        sender.send(Ok(Bytes::from_static(b"x"))).unwrap();
        let past = follower.past(headwater_log::Offset::new(n - 1));
        let progress = tokio::time::timeout(Duration::from_secs(5), past)
            .await
            .unwrap();
        assert_eq!(progress.tail.number(), n);
    }
    drop(sender);
    assert_eq!(whole(&ingest_jobs, "a").await, ("xxx".to_owned(), None));
}

#[tokio::test]
async fn items_that_arrive_during_an_append_are_batched_up_to_the_bound() {
    let log = Gated::new(Some(0), MemoryOptions::default());
    let ingest_jobs = over(&log);
    let taken = Arc::new(AtomicUsize::new(0));
    let source = stream::repeat_with({
        let taken = Arc::clone(&taken);
        move || {
            taken.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(vec![b'x'; 1000]))
        }
    });
    ingest_jobs
        .start(fill("a"), || source.take(1000))
        .await
        .unwrap();
    let most = INGEST_BYTES.div_ceil(1000).min(INGEST_MESSAGES);
    while taken.load(Ordering::Relaxed) < 2 * most {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(taken.load(Ordering::Relaxed), 2 * most);
    log.open(1000);
    let (text, reason) = whole(&ingest_jobs, "a").await;
    assert_eq!((text.len(), reason), (1_000_000, None));
    assert_eq!(log.appends()[..2], [most, most]);
}

#[tokio::test]
async fn concurrent_and_later_starts_for_one_name_run_one_job() {
    let ingest_jobs = Arc::new(plain());
    let made = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let (ingest_jobs, made) = (Arc::clone(&ingest_jobs), Arc::clone(&made));
        tokio::spawn(async move {
            let make = move || {
                made.fetch_add(1, Ordering::Relaxed);
                items(&["x"])
            };
            ingest_jobs.start(fill("a").note("mine".into()), make).await
        })
    };
    let all: Vec<_> = (0..4).map(|_| ask()).collect();
    let mut new = 0;
    for asked in all {
        let started = asked.await.unwrap().unwrap();
        new += usize::from(started.is_new);
        assert_eq!(note(&started.info), Some("mine".into()));
    }
    assert_eq!(new, 1);
    assert_eq!(whole(&ingest_jobs, "a").await.0, "x");
    assert!(!ask().await.unwrap().unwrap().is_new);
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_dropped_start_still_fills_the_stream() {
    let ingest_jobs = plain();
    let start = ingest_jobs.start(fill("a"), || items(&["1", "2"]));
    let mut start = std::pin::pin!(start);
    // Polls once: that is enough to spawn the job's task.
    assert!(start.as_mut().now_or_never().is_none());
    while ingest_jobs.0.log.info(&name("a")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(whole(&ingest_jobs, "a").await, ("12".to_owned(), None));
}

#[tokio::test]
async fn cancelling_drops_the_source_at_once_and_keeps_earlier_items() {
    let log = Gated::new(Some(1), MemoryOptions::default());
    let ingest_jobs = Arc::new(over(&log));
    let (sender, source) = channel();
    ingest_jobs.start(fill("a"), || source).await.unwrap();
    sender.send(Ok("1".into())).unwrap();
    let mut follower = ingest_jobs.0.log.follow(&name("a")).await.unwrap();
    follower.past(headwater_log::Offset::START).await;
    // This item's append is held up.
    sender.send(Ok("2".into())).unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    sender.send(Ok("3".into())).unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let cancel = tokio::spawn({
        let ingest_jobs = Arc::clone(&ingest_jobs);
        async move { ingest_jobs.cancel(&name("a")).await }
    });
    tokio::time::timeout(Duration::from_millis(100), sender.closed())
        .await
        .expect("it is dropped");
    log.open(10);
    assert!(cancel.await.unwrap());
    assert_eq!(
        whole(&ingest_jobs, "a").await,
        ("123".to_owned(), Some(outcome::CANCELLED.into()))
    );
    assert!(!ingest_jobs.cancel(&name("a")).await, "it is over");
}

#[tokio::test]
async fn a_stream_that_is_deleted_or_closed_by_others_drops_the_source() {
    let ingest_jobs = plain();
    let (sender, source) = channel();
    ingest_jobs.start(fill("a"), || source).await.unwrap();
    ingest_jobs.0.log.delete(&name("a")).await.unwrap();
    ingest_jobs.over(&name("a"));
    tokio::time::timeout(Duration::from_millis(100), sender.closed())
        .await
        .expect("it is dropped");

    let (sender, source) = channel();
    ingest_jobs.start(fill("b"), || source).await.unwrap();
    ingest_jobs
        .0
        .log
        .append(&name("b"), Append::closing())
        .await
        .unwrap();
    // Without a notification, the job finds out by its next append.
    sender.send(Ok("1".into())).unwrap();
    tokio::time::timeout(Duration::from_secs(5), sender.closed())
        .await
        .expect("it is dropped");
    assert_eq!(whole(&ingest_jobs, "b").await, (String::new(), None));
}

#[tokio::test(start_paused = true)]
async fn a_job_without_watchers_ends_after_keep_for() {
    let ingest_jobs = plain();
    let (sender, source) = channel();
    let keep = Some(Duration::from_secs(10));
    let started = ingest_jobs
        .start(fill("a").keep_for(keep), || source)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(100)).await;
    sender.send(Ok("1".into())).unwrap();
    drop(started.watch);
    tokio::time::sleep(Duration::from_secs(9)).await;
    drop(ingest_jobs.watch(&started.info).expect("it matters"));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(!sender.is_closed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(sender.is_closed());
    assert_eq!(
        whole(&ingest_jobs, "a").await,
        ("1".to_owned(), Some(outcome::UNWATCHED.into()))
    );

    // A job without `keep_for` continues.
    let (sender, source) = channel();
    let started = ingest_jobs.start(fill("b"), || source).await.unwrap();
    assert!(ingest_jobs.watch(&started.info).is_none());
    tokio::time::sleep(Duration::from_secs(1_000_000)).await;
    assert!(!sender.is_closed());
}

#[tokio::test]
async fn concurrent_jobs_are_limited() {
    let ingest_jobs = plain();
    let mut senders = Vec::new();
    for n in 0..4 {
        let (sender, source) = channel();
        ingest_jobs
            .start(fill(&n.to_string()), || source)
            .await
            .unwrap();
        senders.push(sender);
    }
    let refused = ingest_jobs
        .start(fill("more"), || items(&[]))
        .await
        .unwrap_err();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(
        !ingest_jobs
            .start(fill("0"), || items(&[]))
            .await
            .unwrap()
            .is_new,
        "it is there"
    );
    ingest_jobs.cancel(&name("0")).await;
    while ingest_jobs.0.permits.taken() == 4 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(ingest_jobs.start(fill("more"), || items(&[])).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_idle_expiry_stays_while_its_source_is_silent() {
    let mut options = MemoryOptions::default();
    options.clock = headwater_log::Clock::by_hand(headwater_log::Timestamp(1));
    let clock = options.clock.clone();
    let log = Gated::new(None, options);
    let ingest_jobs = over(&log);
    let (sender, source) = channel();
    let mut settings = Settings::of_type("text/plain");
    settings.expiry = Some(headwater_log::Expiry::Idle(Duration::from_secs(30)));
    ingest_jobs
        .start(IngestRequest::new(name("a"), settings), || source)
        .await
        .unwrap();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(15)).await;
        clock.advance(Duration::from_secs(15));
    }
    sender.send(Ok("1".into())).unwrap();
    drop(sender);
    assert_eq!(whole(&ingest_jobs, "a").await, ("1".to_owned(), None));
}
