//! Jobs of hubs that share a log, of which one at a time may run them.

use futures_util::future;
use tokio::sync::Notify;

use super::*;

/// Resumes with one item, once `gate` is open: "again from" and the number of messages that the stream had.
fn resume_when(gate: &Arc<Notify>) -> Resume {
    let gate = Arc::clone(gate);
    Box::new(move |interrupted| {
        let gate = Arc::clone(&gate);
        let text = format!("again from {}", interrupted.info.tail.number());
        let item = async move {
            gate.notified().await;
            Ok(text.into())
        };
        Box::pin(future::ready(Some(Box::pin(stream::once(item)) as Source)))
    })
}

fn feed() -> IngestRequest {
    fill("feed").resume(Some(serde_json::json!({})))
}

async fn reaches(log: &dyn Log, stream: &str, tail: u64) {
    let mut follower = log.follow(&name(stream)).await.unwrap();
    let past = follower.past(headwater_log::Offset::new(tail - 1));
    let reached = tokio::time::timeout(Duration::from_secs(5), past).await;
    assert_eq!(reached.unwrap().tail.number(), tail);
}

#[tokio::test(start_paused = true)]
async fn a_paused_hub_refuses_jobs_and_runs_them_again_after() {
    let log = Gated::new(None, MemoryOptions::default());
    let (one, other) = (over(&log), over(&log));
    other.pause();
    let (plain, source) = channel();
    one.start(fill("a"), || source).await.unwrap();
    let refused = other.start(fill("b"), || items(&[])).await.unwrap_err();
    let refused = serde_json::to_value(&refused).unwrap();
    assert_eq!(
        (&refused["status"], &refused["code"]),
        (&503.into(), &"not_owner".into())
    );
    // A stream that is there is joined all the same.
    assert!(!other.start(fill("a"), || items(&[])).await.unwrap().is_new);
    one.pause();
    plain.closed().await;
    assert_eq!(
        one.reserve().unwrap_err().status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    other.resume();
    let interrupted = Some(outcome::INTERRUPTED.into());
    assert_eq!(whole(&other, "a").await, (String::new(), interrupted));
    other.start(fill("b"), || items(&["1"])).await.unwrap();
    assert_eq!(whole(&other, "b").await, ("1".to_owned(), None));
    other.pause();
    one.resume();
    one.start(fill("c"), || items(&["1"])).await.unwrap();
    assert_eq!(whole(&one, "c").await, ("1".to_owned(), None));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_an_earlier_owner_still_runs_is_resumed_without_a_repetition() {
    let log = Gated::new(None, MemoryOptions::default());
    let (one, other) = (over(&log), over(&log));
    let gate = Arc::new(Notify::new());
    other.resume_with(resume_when(&gate));
    let (late, source) = channel();
    one.start(feed(), || source).await.unwrap();
    late.send(Ok("1,".into())).unwrap();
    reaches(&*log, "feed", 1).await;
    // The other hub takes over, and looks at the stream.
    other.pause();
    other.resume();
    while !other.is_running(&name("feed")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // An append of the first one arrives late.
    late.send(Ok("2,".into())).unwrap();
    reaches(&*log, "feed", 2).await;
    gate.notify_one();
    while other.is_running(&name("feed")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(text(&*log, &name("feed")).await, "1,2,");
    gate.notify_one();
    assert_eq!(
        whole(&other, "feed").await,
        ("1,2,again from 2".to_owned(), None)
    );
    // Even later ones are refused.
    late.send(Ok("3,".into())).unwrap();
    late.closed().await;
    assert_eq!(text(&*log, &name("feed")).await, "1,2,again from 2");
}

#[tokio::test(start_paused = true)]
async fn an_append_after_the_job_was_resumed_elsewhere_is_refused_and_leaves_the_stream_open() {
    let log = Gated::new(None, MemoryOptions::default());
    let (one, other) = (over(&log), over(&log));
    let (resumed, source) = channel();
    let source = Mutex::new(Some(Box::pin(source) as Source));
    other.resume_with(Box::new(move |_| {
        Box::pin(future::ready(source.lock().take()))
    }));
    let (late, source) = channel();
    one.start(feed(), || source).await.unwrap();
    other.resume();
    resumed.send(Ok("1,".into())).unwrap();
    reaches(&*log, "feed", 1).await;
    late.send(Ok("late,".into())).unwrap();
    late.closed().await;
    resumed.send(Ok("2,".into())).unwrap();
    reaches(&*log, "feed", 2).await;
    drop(resumed);
    assert_eq!(whole(&other, "feed").await, ("1,2,".to_owned(), None));
}

#[tokio::test(start_paused = true)]
async fn a_record_without_its_stream_is_kept_until_that_cannot_arrive_any_more() {
    use crate::limits::INGEST_RECOVERY;
    let log = Gated::new(None, MemoryOptions::default());
    let record = RecoveryRecord::new(&name("a"), None, None).unwrap();
    record.write(&*log, 0).await.unwrap();
    let ingest_jobs = over(&log);
    ingest_jobs.resume();
    let is_there = async || log.info(record.name()).await.is_ok();
    tokio::time::sleep(INGEST_RECOVERY - Duration::from_secs(1)).await;
    assert!(is_there().await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!is_there().await);
}

#[tokio::test]
async fn a_stream_says_whether_its_watchers_count() {
    let log = Gated::new(None, MemoryOptions::default());
    let ingest_jobs = over(&log);
    let (_sender, source) = channel();
    let watched = fill("a").keep_for(Some(Duration::from_secs(9)));
    let started = ingest_jobs.start(watched, || source).await.unwrap();
    assert!(is_watched(&started.info));
    let started = ingest_jobs.start(fill("b"), || items(&[])).await.unwrap();
    assert!(!is_watched(&started.info));
    ingest_jobs.cancel(&name("a")).await;
    assert!(
        !is_watched(&log.info(&name("a")).await.unwrap()),
        "it is closed"
    );
}
