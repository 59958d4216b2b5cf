//! Recovery of ingest jobs by the next process.

use headwater_log::{DiskLog, DiskOptions, Durability};

use super::*;

/// Runs `work` in a runtime and then drops the runtime with all its tasks, as a crash does. Returns
/// the result of `work`.
fn process<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work())
}

fn open(folder: &std::path::Path) -> Arc<dyn Log> {
    let mut options = DiskOptions::default();
    options.durability = Durability::Os;
    Arc::new(DiskLog::open(folder, options).unwrap())
}

/// Resumes with one item: "again from" and the number of messages in the stream.
fn resume() -> Resume {
    Box::new(|interrupted| {
        Box::pin(async move {
            assert_eq!(interrupted.data["url"], "http://feed");
            let text = format!("again from {}", interrupted.info.tail.number());
            Some(Box::pin(stream::iter([Ok(text.into())])) as Source)
        })
    })
}

/// Starts a job for "a" and a resumable one for "feed", appends one item to each, and returns their
/// senders.
async fn fill_two(ingest_jobs: &IngestJobs) -> [mpsc::UnboundedSender<Item>; 2] {
    ingest_jobs.resume_with(resume());
    let (plain, source) = channel();
    ingest_jobs.start(fill("a"), || source).await.unwrap();
    let (feed, source) = channel();
    let data = serde_json::json!({"url": "http://feed"});
    ingest_jobs
        .start(fill("feed").resume(Some(data)), || source)
        .await
        .unwrap();
    for (sender, stream) in [(&plain, "a"), (&feed, "feed")] {
        sender.send(Ok("1,".into())).unwrap();
        let mut follower = ingest_jobs.0.log.follow(&name(stream)).await.unwrap();
        follower.past(headwater_log::Offset::START).await;
    }
    [plain, feed]
}

/// Checks the streams after a recovery by the next process.
async fn check_after(log: Arc<dyn Log>) {
    let ingest_jobs = IngestJobs::new(log, 4);
    ingest_jobs.resume_with(resume());
    ingest_jobs.recover();
    assert_eq!(
        whole(&ingest_jobs, "feed").await,
        ("1,again from 1".to_owned(), None)
    );
    assert_eq!(
        whole(&ingest_jobs, "a").await,
        ("1,".to_owned(), Some(outcome::INTERRUPTED.into()))
    );
}

#[test]
fn jobs_of_a_killed_process_are_closed_as_interrupted_or_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let left = process(async || {
        let ingest_jobs = IngestJobs::new(open(folder.path()), 4);
        let senders = fill_two(&ingest_jobs).await;
        (ingest_jobs, senders)
    });
    drop(left);
    process(async || check_after(open(folder.path())).await);
}

#[test]
fn a_stopped_hub_closes_its_streams_except_resumable_ones() {
    let folder = tempfile::tempdir().unwrap();
    process(async || {
        let log = open(folder.path());
        let ingest_jobs = IngestJobs::new(Arc::clone(&log), 4);
        let [plain, feed] = fill_two(&ingest_jobs).await;
        feed.send(Ok("".into())).unwrap();
        ingest_jobs.stop().await;
        assert!(plain.is_closed() && feed.is_closed());
        assert_eq!(
            reason(&*log, &name("a")).await,
            Some(outcome::INTERRUPTED.into())
        );
        assert!(!log.info(&name("feed")).await.unwrap().closed);
        let refused = ingest_jobs
            .start(fill("b"), || items(&[]))
            .await
            .unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        // A recovery after the stop leaves the rest to the next process.
        recovery::recover(Arc::clone(&ingest_jobs.0)).await;
        assert!(!log.info(&name("feed")).await.unwrap().closed);
        log.close().await.unwrap();
    });
    process(async || {
        let ingest_jobs = IngestJobs::new(open(folder.path()), 4);
        ingest_jobs.resume_with(resume());
        ingest_jobs.recover();
        let (text, reason) = whole(&ingest_jobs, "feed").await;
        assert!(
            text == "1,again from 1" || text == "1,again from 2",
            "{text}"
        );
        assert_eq!(reason, None);
    });
}

#[tokio::test]
async fn a_marker_without_its_stream_does_not_affect_another_of_that_name() {
    let log = Gated::new(None, MemoryOptions::default());
    for stream in ["a", "b"] {
        let record = RecoveryRecord::new(&name(stream), None, None).unwrap();
        record.write(&*log, 0).await.unwrap();
    }
    let create = Create::new(Settings::of_type("text/plain"));
    log.create(&name("a"), create).await.unwrap();
    let ingest_jobs = over(&log);
    ingest_jobs.recover();
    let gone = async {
        while !log
            .list(recovery_record::PREFIX, None, 9)
            .await
            .unwrap()
            .streams
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone)
        .await
        .unwrap();
    assert!(
        !log.info(&name("a")).await.unwrap().closed,
        "it is somebody's own"
    );
}

#[tokio::test]
async fn jobs_end_with_their_hub() {
    let log = Gated::new(None, MemoryOptions::default());
    let ingest_jobs = over(&log);
    let (sender, source) = channel();
    ingest_jobs.start(fill("a"), || source).await.unwrap();
    drop(ingest_jobs);
    tokio::time::timeout(Duration::from_secs(5), sender.closed())
        .await
        .expect("it is dropped");
}
