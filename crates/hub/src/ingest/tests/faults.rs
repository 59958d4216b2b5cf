//! Failures of sources and of the storage.

use super::*;

#[tokio::test]
async fn a_source_error_becomes_the_close_reason_and_earlier_items_stay() {
    let ingest_jobs = plain();
    let failing = || {
        items(&["1", "2"]).chain(stream::once(async {
            Err(Problem::new(StatusCode::BAD_GATEWAY).detail("the upstream broke off"))
        }))
    };
    ingest_jobs.start(fill("a"), failing).await.unwrap();
    assert_eq!(
        whole(&ingest_jobs, "a").await,
        ("12".to_owned(), Some(502.into()))
    );
}

#[tokio::test]
async fn a_source_that_panics_fails_the_job() {
    let ingest_jobs = plain();
    let panics = || items(&["1"]).chain(stream::once(async { panic!("a test's") }));
    ingest_jobs.start(fill("a"), panics).await.unwrap();
    assert_eq!(
        whole(&ingest_jobs, "a").await,
        ("1".to_owned(), Some(500.into()))
    );

    let never_made = || -> stream::Empty<Item> { panic!("a test's") };
    ingest_jobs.start(fill("b"), never_made).await.unwrap();
    assert_eq!(
        whole(&ingest_jobs, "b").await,
        (String::new(), Some(500.into()))
    );

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a test's");
        }
    }
    let bomb = Bomb;
    let explodes = move || {
        stream::poll_fn(move |_| {
            let _bomb = &bomb;
            Poll::Ready(None::<Item>)
        })
    };
    ingest_jobs.start(fill("c"), explodes).await.unwrap();
    assert_eq!(whole(&ingest_jobs, "c").await, (String::new(), None));
}

#[tokio::test(start_paused = true)]
async fn an_append_with_unknown_outcome_is_retried_and_stored_once() {
    let log = Gated::new(None, MemoryOptions::default());
    log.unknown.store(3, Ordering::Relaxed);
    let ingest_jobs = over(&log);
    let (sender, source) = channel();
    ingest_jobs.start(fill("a"), || source).await.unwrap();
    for item in ["1", "2", "3"] {
        sender.send(Ok(item.into())).unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    drop(sender);
    assert_eq!(whole(&ingest_jobs, "a").await, ("123".to_owned(), None));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_retried_for_a_bounded_time() {
    let log = Gated::new(None, MemoryOptions::default());
    let ingest_jobs = over(&log);
    log.full.store(true, Ordering::Relaxed);
    ingest_jobs
        .start(fill("a"), || items(&["1"]))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    log.full.store(false, Ordering::Relaxed);
    assert_eq!(whole(&ingest_jobs, "a").await, ("1".to_owned(), None));

    log.full.store(true, Ordering::Relaxed);
    let (sender, source) = channel();
    ingest_jobs.start(fill("b"), || source).await.unwrap();
    sender.send(Ok("1".into())).unwrap();
    sender.closed().await;
    // By the time of the closing append there is room.
    log.full.store(false, Ordering::Relaxed);
    assert_eq!(
        whole(&ingest_jobs, "b").await,
        (String::new(), Some(507.into()))
    );
}

#[tokio::test]
async fn an_item_over_the_limit_ends_the_stream_before_it() {
    let mut options = MemoryOptions::default();
    options.limits.message_bytes = 3;
    options.limits.append_messages = 2;
    let ingest_jobs = over(&Gated::new(None, options));
    // The record is a message, too.
    let started = ingest_jobs.start(fill("a"), || items(&["1"])).await;
    assert_eq!(started.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);

    let mut options = MemoryOptions::default();
    options.limits.message_bytes = 100;
    options.limits.append_messages = 2;
    let ingest_jobs = over(&Gated::new(None, options));
    let long: &'static str = String::leak("x".repeat(101));
    let source = move || items(&["1", "2", "3", "4", "5", long, "6"]);
    ingest_jobs.start(fill("a"), source).await.unwrap();
    assert_eq!(
        whole(&ingest_jobs, "a").await,
        ("12345".to_owned(), Some(413.into()))
    );
}
