//! Sources of items, and their end when the client disconnects.

use super::*;

#[tokio::test]
async fn a_disconnect_drops_the_handlers_stream() {
    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dropped);
    let client = client(async move || {
        let guard = Guard(flag);
        Streaming::new(stream::iter(0..).map(move |n: u64| {
            let _held = &guard;
            n
        }))
    });
    let mut items = client.get("/").stream::<u64>().await;
    assert_eq!(items.take(1000).await.len(), 1000);
    assert!(!dropped.load(Ordering::Relaxed));
    items.leave().await;
    assert!(dropped.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_blocking_iterator_runs_on_its_own_thread_and_stops_on_disconnect() {
    let running = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&running);
    let client = client(async move || {
        struct Counter(u64, Arc<AtomicBool>);
        impl Iterator for Counter {
            type Item = u64;
            fn next(&mut self) -> Option<u64> {
                std::thread::sleep(Duration::from_millis(1));
                self.0 += 1;
                Some(self.0)
            }
        }
        impl Drop for Counter {
            fn drop(&mut self) {
                self.1.store(false, Ordering::Relaxed);
            }
        }
        Streaming::blocking(Counter(0, flag))
    });
    let mut items = client.get("/").stream::<u64>().await;
    assert_eq!(items.take(3).await, [1, 2, 3]);
    items.leave().await;
    for _ in 0..1000 {
        if !running.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the iterator still runs");
}

#[tokio::test]
async fn a_blocking_iterators_end_completes_the_stream_and_its_panic_aborts_it() {
    let good = client(async || Streaming::blocking(1..=100));
    assert_eq!(
        good.get("/").stream::<u64>().await.take(1000).await.len(),
        100
    );
    let bad = client(async || {
        Streaming::blocking((1..).map(|n: u64| if n < 3 { n } else { panic!("on purpose") }))
    });
    let mut items = bad.get("/").stream::<u64>().await;
    assert_eq!(items.take(2).await, [1, 2]);
    assert_eq!(items.cut().await, "the stream failed");
}

#[tokio::test]
async fn a_sender_completes_its_stream_and_a_dropped_one_aborts_it() {
    enum Ending {
        Finish,
        Fail,
        Drop,
    }
    let with = |ending: fn() -> Ending| {
        client(async move || {
            let (sender, stream) = Streaming::channel(1);
            tokio::spawn(async move {
                sender.send(1).await.unwrap();
                sender.send(Item::new(2).id("x")).await.unwrap();
                match ending() {
                    Ending::Finish => sender.finish().await,
                    Ending::Fail => sender.fail(Problem::new(StatusCode::GONE)).await,
                    Ending::Drop => drop(sender),
                }
            });
            stream
        })
    };
    let mut items = with(|| Ending::Finish).get("/").stream::<u64>().await;
    assert_eq!(items.take(9).await, [1, 2]);
    for (ending, status) in [
        ((|| Ending::Fail) as fn() -> Ending, "410"),
        (|| Ending::Drop, "500"),
    ] {
        let mut items = with(ending)
            .get("/")
            .accept(Format::Sse)
            .stream::<u64>()
            .await;
        assert_eq!(items.take(2).await, [1, 2]);
        let error = items.next_event().await.expect("the error event");
        assert!(error.is_error() && error.data.contains(status), "{error:?}");
        assert_eq!(items.cut().await, "the stream failed");
    }
}

#[tokio::test]
async fn a_sender_detects_that_its_stream_has_no_reader() {
    let (report, reported) = tokio::sync::oneshot::channel();
    let report = Arc::new(std::sync::Mutex::new(Some(report)));
    let client = client(async move || {
        let (sender, stream) = Streaming::channel(1);
        tokio::spawn(async move {
            sender.send(1).await.unwrap();
            sender.closed().await;
            let refused = sender.send(2).await.is_err();
            let _ = report
                .lock()
                .unwrap()
                .take()
                .map(|report| report.send(refused));
        });
        stream
    });
    let mut items = client.get("/").stream::<u64>().await;
    assert_eq!(items.next().await, Some(1));
    items.leave().await;
    assert_eq!(reported.await, Ok(true));
}

#[tokio::test]
async fn results_are_items_until_the_first_error_in_all_constructors() {
    fn results() -> [Result<u64, std::io::Error>; 4] {
        [Ok(1), Ok(2), Err(std::io::Error::other("torn")), Ok(3)]
    }
    let made: [fn() -> Streaming<u64>; 4] = [
        || Streaming::new(stream::iter(results())),
        || Streaming::try_new(stream::iter(results())),
        || Streaming::blocking(results()),
        || {
            let items = [
                Ok(Item::new(1)),
                Ok(Item::new(2).id("b")),
                Err(Problem::not_found("torn")),
            ];
            Streaming::new(stream::iter(items))
        },
    ];
    for made in made {
        let client = client(async move || made());
        let mut items = client.get("/").stream::<u64>().await;
        assert_eq!(items.take(2).await, [1, 2]);
        assert_eq!(items.cut().await, "the stream failed");
    }
}
