//! §4.3 aborting, §4.5 deleting, §8.2 and 8.3: ends of relays before their upstream ends.

use super::*;

#[tokio::test]
async fn an_abort_closes_the_upstream_at_once_and_keeps_earlier_items() {
    for server in [server(), Server::on_disk(options())] {
        let (upstream, sender) = Upstream::streaming(SSE).await;
        let path = server.relayed("", &upstream.url).await;
        sender.send(Ok("data: 1\n\ndata: 2\n\ndata: 3")).unwrap();
        server.comes_to(&path, "data: 1\n\ndata: 2\n\n").await;
        let start = Instant::now();
        assert_eq!(
            server.patch(&with(&path, "action=abort")).await.status(),
            204
        );
        dropped(&sender).await;
        assert!(
            start.elapsed() < Duration::from_millis(100),
            "{:?}",
            start.elapsed()
        );
        let problem = server.ended(&path).await.expect("it says why");
        assert_eq!(problem["type"], "urn:headwater:cancelled");
        assert_eq!(server.text_of(&path).await, "data: 1\n\ndata: 2\n\n");
        // Repeating it is not an error.
        assert_eq!(
            server.patch(&with(&path, "action=abort")).await.status(),
            204
        );
    }
}

#[tokio::test]
async fn deleting_closes_the_upstream_and_removes_the_stream() {
    let (upstream, sender) = Upstream::streaming(SSE).await;
    let server = server();
    let path = server.relayed("", &upstream.url).await;
    let delete = || server.client.request(Method::DELETE, bare(&path));
    assert_eq!(delete().send().await.status(), 204);
    assert!(dropped(&sender).await < Duration::from_millis(100));
    server.refuses_get(&path, 404, "STREAM_NOT_FOUND").await;
    assert_eq!(delete().send().await.status(), 204);
}

#[tokio::test]
async fn a_failure_is_reported_with_its_reason_and_earlier_items_stay() {
    let server = server();
    // Truncated within an item.
    let (upstream, sender) = Upstream::streaming(SSE).await;
    let path = server.relayed("?feed=false", &upstream.url).await;
    sender.send(Ok("data: 1\n\ndata: 2")).unwrap();
    server.comes_to(&path, "data: 1\n\n").await;
    sender.send(Err(std::io::Error::other("a test's"))).unwrap();
    let problem = server.ended(&path).await.expect("it says why");
    assert_eq!(problem["status"], 502, "{problem}");
    assert_eq!(server.text_of(&path).await, "data: 1\n\n");
    let mut events = server.events_of(&path).await;
    assert_eq!(events.next_event().await.unwrap().data, "1");
    let error = events.next_event().await.unwrap();
    assert_eq!(error.event, "headwater:error");
    // Other data than declared.
    let upstream = Upstream::saying("application/json", "[1, 2, nonsense").await;
    let path = server.relayed("", &upstream.url).await;
    let problem = server.ended(&path).await.expect("it says why");
    assert_eq!(problem["status"], 502, "{problem}");
    assert_eq!(server.text_of(&path).await, "[1,2]");
    // Silent.
    let hasty = Server::with(options().upstream_idle_timeout(Duration::from_millis(50)));
    let (upstream, sender) = Upstream::streaming("text/plain").await;
    let path = hasty.relayed("", &upstream.url).await;
    sender.send(Ok("1")).unwrap();
    let problem = hasty.ended(&path).await.expect("it says why");
    assert_eq!(problem["status"], 504, "{problem}");
    assert_eq!(hasty.text_of(&path).await, "1");
    dropped(&sender).await;
}

#[tokio::test]
async fn a_relay_continues_when_its_client_leaves() {
    let (upstream, sender) = Upstream::streaming(SSE).await;
    let server = server();
    let path = server.relayed("", &upstream.url).await;
    sender.send(Ok("data: 1\n\n")).unwrap();
    let mut events = server.events_of(&path).await;
    assert_eq!(events.next_event().await.unwrap().data, "1");
    events.leave().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    sender.send(Ok("data: 2\n\n")).unwrap();
    server.comes_to(&path, "data: 1\n\ndata: 2\n\n").await;
}

#[tokio::test]
async fn a_relay_without_watchers_yet_waits_for_the_first_longer_than_keep_for() {
    let (upstream, sender) = Upstream::streaming(SSE).await;
    let server = server();
    let path = server.relayed("?keep_for=0", &upstream.url).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!sender.is_closed(), "the call was aborted");
    sender.send(Ok("data: 1\n\n")).unwrap();
    let mut events = server.events_of(&path).await;
    assert_eq!(events.next_event().await.unwrap().data, "1");
    events.leave().await;
    let left = Instant::now();
    dropped(&sender).await;
    assert!(left.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_relay_without_watchers_continues_for_keep_for() {
    let (upstream, sender) = Upstream::streaming(SSE).await;
    let server = server();
    let path = server.relayed("?keep_for=1", &upstream.url).await;
    sender.send(Ok("data: 1\n\n")).unwrap();
    let mut events = server.events_of(&path).await;
    assert_eq!(events.next_event().await.unwrap().data, "1");
    // With a watcher, it continues.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    sender.send(Ok("data: 2\n\n")).unwrap();
    assert_eq!(events.next_event().await.unwrap().data, "2");
    events.leave().await;
    let left = Instant::now();
    dropped(&sender).await;
    let kept = left.elapsed();
    assert!(
        (Duration::from_millis(900)..Duration::from_secs(3)).contains(&kept),
        "{kept:?}"
    );
    let problem = server.ended(&path).await.expect("it says why");
    assert_eq!(problem["type"], "urn:headwater:unwatched");
}

#[test]
fn a_relay_interrupted_by_a_restart_has_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let mut settings = headwater_log::DiskOptions::default();
        settings.durability = headwater_log::Durability::Os;
        std::sync::Arc::new(headwater_log::DiskLog::open(folder.path(), settings).unwrap())
    };
    let run = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let over = |log| Server::over(log, headwater_log::Clock::system(), None, options());
    let (path, left) = run().block_on(async {
        let server = over(open());
        let (upstream, sender) = Upstream::streaming("text/plain").await;
        let path = server.relayed("?key=k", &upstream.url).await;
        sender.send(Ok("1")).unwrap();
        server.comes_to(&path, "1").await;
        (path, (server, sender))
    });
    // All tasks were aborted.
    drop(left);
    run().block_on(async {
        let server = over(open());
        while server.client.get(&path).send().await.status() == 503 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let problem = server.ended(&path).await.expect("it says why");
        assert_eq!(problem["type"], "urn:headwater:interrupted");
        assert_eq!(server.text_of(&path).await, "1");
    });
}
