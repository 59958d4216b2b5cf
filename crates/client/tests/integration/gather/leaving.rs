use std::{sync::mpsc, time::Instant};

use headwater_client::blocking;

use super::*;

/// A server that never responds. It reports each request, and the close of its connection.
fn silent() -> (Server, mpsc::Receiver<()>, mpsc::Receiver<Instant>) {
    let (come, has_come) = mpsc::channel();
    let (closed, was_closed) = mpsc::channel();
    let server = Server::start(move |call| {
        come.send(()).unwrap();
        if call.wait_for_close() {
            closed.send(Instant::now()).unwrap();
        }
    });
    (server, has_come, was_closed)
}

const AT_ONCE: Duration = Duration::from_millis(100);

fn all_closed_since(start: Instant, closed: &mpsc::Receiver<Instant>) {
    for _ in 0..20 {
        let at = closed.recv_timeout(SOON).unwrap();
        assert!(
            at.duration_since(start) < AT_ONCE,
            "{:?}",
            at.duration_since(start)
        );
    }
}

fn calls(server: &Server) -> Vec<String> {
    (0..100).map(|n| server.url(&format!("/{n}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_notices_at_once_that_the_results_are_dropped() {
    let (server, come, closed) = silent();
    let results = headwater_client::gather(calls(&server))
        .concurrency(20)
        .per_host(20);
    let mut results = results.send().unwrap();
    tokio::time::timeout(AT_ONCE, results.next())
        .await
        .unwrap_err();
    tokio::task::spawn_blocking(move || {
        for _ in 0..20 {
            come.recv_timeout(SOON).unwrap();
        }
        let start = Instant::now();
        drop(results);
        all_closed_since(start, &closed);
        assert_eq!(server.requests().len(), 20);
    })
    .await
    .unwrap();
}

#[test]
fn the_server_notices_at_once_that_the_iterator_is_dropped() {
    let (server, come, closed) = silent();
    let results = blocking::gather(calls(&server))
        .concurrency(20)
        .per_host(20);
    let results = results.send().unwrap();
    for _ in 0..20 {
        come.recv_timeout(SOON).unwrap();
    }
    let start = Instant::now();
    drop(results);
    all_closed_since(start, &closed);
    assert_eq!(server.requests().len(), 20);
}

#[tokio::test]
async fn an_abandoned_next_loses_nothing() {
    let server = echo();
    let calls: Vec<_> = (0..60).map(|n| server.url(&format!("/{n}"))).collect();
    let mut results = headwater_client::gather(calls)
        .concurrency(4)
        .send()
        .unwrap();
    let (mut seen, mut given_up) = (Vec::new(), 0);
    loop {
        match tokio::time::timeout(Duration::from_micros(300), results.next()).await {
            Ok(Some(result)) => seen.push(result.outcome.unwrap().json::<u64>().unwrap()),
            Ok(None) => break,
            Err(_) => given_up += 1,
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..60).collect::<Vec<_>>());
    assert!(given_up > 10, "only {given_up}");
}

#[test]
fn calls_are_made_while_the_source_blocks() {
    let server = echo();
    let (sender, receiver) = mpsc::channel();
    let mut results = blocking::gather(receiver).send().unwrap();
    for n in 0..3 {
        sender.send(server.url(&format!("/{n}"))).unwrap();
        assert_eq!(results.next().unwrap().index, n);
    }
    assert_eq!((results.progress().done, results.progress().failed), (3, 0));
    drop(sender);
    assert!(results.next().is_none() && results.next().is_none());
}

#[test]
fn a_panic_of_the_source_is_a_failed_result() {
    let server = echo();
    let url = server.url("/0");
    let source = (0..3).map(move |n| {
        if n < 2 {
            url.clone()
        } else {
            panic!("on purpose")
        }
    });
    let results: Vec<_> = blocking::gather(source)
        .share_equal(false)
        .ordered()
        .send()
        .unwrap()
        .collect();
    assert!(results[0].outcome.is_ok() && results[1].outcome.is_ok());
    assert!(results[2].outcome.as_ref().unwrap_err().is_source());
    assert_eq!(results.len(), 3);
}

#[tokio::test]
async fn progress_counts_finished_and_unfinished_calls() {
    let (server, ..) = silent();
    let calls = std::iter::once("no url".to_owned()).chain(calls(&server));
    let mut results = headwater_client::gather(calls)
        .concurrency(4)
        .per_host(2)
        .look_ahead(5)
        .send()
        .unwrap();
    results.next().await.unwrap().outcome.unwrap_err();
    let progress = results.progress();
    assert_eq!((progress.done, progress.failed), (1, 1));
    assert_eq!(
        (progress.in_flight, progress.waiting, progress.read),
        (2, 5, 8)
    );
}

#[test]
fn results_can_be_sent_to_other_threads() {
    fn send<T: Send>() {}
    send::<headwater_client::gather::GatherResults>();
    send::<headwater_client::gather::Gather>();
    send::<blocking::gather::GatherResults>();
    fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<headwater_client::gather::Cache>();
    send_and_sync::<GatherResult>();
}
