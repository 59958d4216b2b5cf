//! One call for all equal requests.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_concurrent_requests_are_one_call() {
    for server in [server(), Server::on_disk(options())] {
        for query in ["?key=k", "?join=request", "?stream=a", "?stream=b&key=k"] {
            let upstream = Upstream::new(|_| {
                std::thread::sleep(Duration::from_millis(30));
                reply(200, "text/plain", "ok")
            });
            let upstream = upstream.await;
            let all = (0..100).map(|_| server.relay(query, "POST", &upstream.url).body("b").send());
            let all = futures_util::future::join_all(all).await;
            let new = all
                .iter()
                .filter(|response| response.status() == 201)
                .count();
            let joined = all
                .iter()
                .filter(|response| response.status() == 200)
                .count();
            assert_eq!((new, joined), (1, 99), "{query}");
            assert_eq!(upstream.calls().len(), 1, "{query}");
            let paths: std::collections::BTreeSet<_> = all
                .iter()
                .map(|response| bare(&location(response)).to_owned())
                .collect();
            assert_eq!(paths.len(), 1);
            // And later.
            assert_eq!(server.ended(&location(&all[0])).await, None);
            let later = server
                .relay(query, "POST", &upstream.url)
                .body("b")
                .send()
                .await;
            assert_eq!(later.status(), 200);
            assert_eq!(header(&later, "upstream-content-type"), "text/plain");
            assert_eq!(server.text_of(&location(&later)).await, "ok");
            assert_eq!(upstream.calls().len(), 1);
            let id = bare(&location(&later)).to_owned();
            let delete = server.client.request(Method::DELETE, &id).send().await;
            assert_eq!(delete.status(), 204);
        }
    }
}

#[tokio::test]
async fn a_failed_call_is_reported_to_all_and_made_again_later() {
    let upstream = Upstream::new(|call| match call.headers.contains_key("x-good") {
        true => reply(200, "text/plain", "ok"),
        false => {
            std::thread::sleep(Duration::from_millis(30));
            reply(503, "text/plain", "no")
        }
    });
    let (upstream, server) = (upstream.await, server());
    let all = (0..10).map(|_| server.relay("?key=k", "GET", &upstream.url).send());
    for response in futures_util::future::join_all(all).await {
        assert_eq!(response.status(), 502);
        assert_eq!(header(&response, "upstream-status"), "503");
        assert_eq!(response.text().await, "no");
    }
    assert_eq!(upstream.calls().len(), 1);
    let next = server
        .relay("?key=k", "GET", &upstream.url)
        .header("x-good", "1")
        .send()
        .await;
    assert_eq!(next.status(), 201);
}

#[tokio::test]
async fn a_key_is_valid_for_one_request() {
    let (server, upstream) = (server(), Upstream::saying("text/plain", "ok").await);
    let ask = || {
        server
            .relay("", "POST", &upstream.url)
            .header("idempotency-key", "k")
            .body("1")
    };
    assert_eq!(ask().send().await.status(), 201);
    assert_eq!(ask().send().await.status(), 200);
    assert_eq!(upstream.calls()[0].headers["idempotency-key"], "k");
    // The client and the route don't matter; the request and its credentials do.
    assert_eq!(
        ask().header("user-agent", "another").send().await.status(),
        200
    );
    refused(ask().body("2").send().await, 422, "KEY_REUSED").await;
    let other = ask()
        .header("upstream-authorization", "Bearer another")
        .send()
        .await;
    refused(other, 422, "KEY_REUSED").await;
    let other = server
        .relay("?key=k", "POST", &format!("{}/other", upstream.url))
        .body("1")
        .send()
        .await;
    refused(other, 422, "KEY_REUSED").await;
    assert_eq!(upstream.calls().len(), 1);
    for bad in [
        "?key=",
        &format!("?key={}", "k".repeat(256)),
        "?join=all",
        "?ttl=x",
        "?stream=../x",
    ] {
        let response = server.relay(bad, "GET", &upstream.url).send().await;
        refused(response, 400, "BAD_REQUEST").await;
    }
}

#[tokio::test]
async fn an_equal_request_is_joined_on_request_only() {
    let (server, upstream) = (server(), Upstream::saying("text/plain", "ok").await);
    let one = server.relayed("?join=request", &upstream.url).await;
    assert_eq!(
        bare(&server.relayed("?join=request", &upstream.url).await),
        bare(&one)
    );
    let other = server
        .relay("?join=request", "GET", &upstream.url)
        .header("accept", "x")
        .send()
        .await;
    assert_eq!(other.status(), 201);
    assert_ne!(
        bare(&server.relayed("", &upstream.url).await),
        bare(&server.relayed("", &upstream.url).await)
    );
    assert_eq!(upstream.calls().len(), 4);
}

#[tokio::test]
async fn a_public_stream_belongs_to_one_request() {
    let (server, upstream) = (server(), Upstream::saying("text/plain", "ok").await);
    let one = server.relayed("?stream=a", &upstream.url).await;
    assert_eq!(
        bare(&server.relayed("?stream=a", &upstream.url).await),
        bare(&one)
    );
    let other = server
        .relay("?stream=a", "POST", &upstream.url)
        .send()
        .await;
    refused(other, 409, "STREAM_EXISTS").await;
    let keyed = server
        .relay("?stream=a&key=k", "GET", &upstream.url)
        .send()
        .await;
    refused(keyed, 409, "STREAM_EXISTS").await;
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn a_key_is_remembered_across_restarts_until_the_relay_ends() {
    let upstream = Upstream::saying("text/plain", "ok").await;
    let server = Server::on_disk(options());
    let path = server.relayed("?key=k&ttl=60", &upstream.url).await;
    assert_eq!(server.ended(&path).await, None);
    let server = server.restarted(options());
    let start = Instant::now();
    let again = loop {
        let again = server
            .relay("?key=k&ttl=60", "GET", &upstream.url)
            .send()
            .await;
        if again.status() != 503 {
            break again;
        }
        assert!(start.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(again.status(), 200);
    assert_eq!(bare(&location(&again)), bare(&path));
    assert_eq!(upstream.calls().len(), 1);
    server.clock.advance(Duration::from_secs(61));
    assert_eq!(
        server
            .relay("?key=k", "GET", &upstream.url)
            .send()
            .await
            .status(),
        201
    );
    assert_eq!(upstream.calls().len(), 2);
}

#[tokio::test]
async fn a_shared_call_continues_when_its_client_leaves_and_a_private_one_ends() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = server();
    for (query, goes_on) in [("?key=k", true), ("", false)] {
        let ask = server.relay(query, "GET", &url).send();
        let left = tokio::time::timeout(Duration::from_millis(100), ask).await;
        assert!(left.is_err(), "it has no response yet");
        let (socket, _) = listener.accept().await.unwrap();
        let mut sent = Vec::new();
        let mut buffer = [0; 4096];
        let read = async {
            loop {
                socket.readable().await.unwrap();
                match socket.try_read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => sent.extend_from_slice(&buffer[..n]),
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
            }
        };
        let closed = tokio::time::timeout(Duration::from_millis(200), read)
            .await
            .is_ok();
        assert_eq!(closed, !goes_on, "{query}");
    }
}
