use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::ConnectInfo,
};
use headwater_hub::{Hub, Limits, Options};
use headwater_log::MemoryLog;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::{Server, header};

#[tokio::test]
async fn a_time_whose_plus_became_a_space_is_refused_with_a_hint() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    for (query, expected) in [
        (
            "since=2030-01-01T00:00:00+02:00",
            &[
                "\"2030-01-01T00:00:00 02:00\"",
                "since=2030-01-01T00:00:00%2B02:00",
            ][..],
        ),
        (
            "since=2030-01-01+00:00:00.5+02:00",
            &["since=2030-01-01 00:00:00.5%2B02:00"],
        ),
        (
            "since=yesterday",
            &["\"yesterday\"", "2030-01-31T12:00:00%2B02:00"],
        ),
        ("since=", &["\"\""]),
    ] {
        for path in [
            "a",
            "a?live=long-poll",
            "a?live=sse",
            "a?format=ndjson",
            "a?format=sse",
        ] {
            let join = if path.contains('?') { '&' } else { '?' };
            let refused = server.get(&format!("{path}{join}{query}")).send().await;
            assert_eq!(refused.status(), 400, "{path} {query}");
            let problem = refused.json::<serde_json::Value>().await;
            let detail = problem["detail"].as_str().unwrap_or_default();
            assert!(
                expected.iter().all(|part| detail.contains(part)),
                "{detail}"
            );
        }
    }
    for query in [
        "since=2020-01-01T00:00:00%2B02:00",
        "since=2020-01-01T00:00:00-02:00",
    ] {
        assert_eq!(
            server.get(&format!("a?{query}")).send().await.text().await,
            "[1]"
        );
    }
}

#[tokio::test]
async fn only_the_last_chunk_of_a_read_is_up_to_date() {
    let mut limits = Limits::default();
    limits.response_bytes = 8;
    let server = Server::with(Options::new().limits(limits));
    server.put("t", "text/plain", "1234").await;
    for text in ["5678", "9", "longer than a chunk", "."] {
        server.post("t", "text/plain", text).await;
    }
    server.close("t").await;
    let (mut next, mut whole, mut chunks) = ("-1".to_owned(), String::new(), Vec::new());
    loop {
        let response = server.get(&format!("t?offset={next}")).send().await;
        assert_eq!(response.status(), 200);
        let is_last = header(&response, "stream-up-to-date") == "true";
        assert_eq!(header(&response, "stream-closed") == "true", is_last);
        assert!(header(&response, "cache-control").contains("max-age=60"));
        next = header(&response, "stream-next-offset");
        let text = response.text().await;
        chunks.push(text.len());
        whole += &text;
        if is_last {
            break;
        }
    }
    assert_eq!(whole, "123456789longer than a chunk.");
    assert_eq!(chunks, [8, 1, 19, 1]);
    assert_eq!(next, server.at("t", 5));
}

#[tokio::test]
async fn a_long_catch_up_read_is_one_response_of_known_length() {
    let server = Server::new();
    let message = format!("\"{}\"", "x".repeat(100));
    let messages = vec![message.as_str(); 50_000].join(",");
    server.put_json("a", &format!("[{messages}]")).await;
    let response = server.get("a").send().await;
    assert_eq!(header(&response, "stream-up-to-date"), "true");
    assert_eq!(
        header(&response, "stream-next-offset"),
        server.at("a", 50_000)
    );
    let length = messages.len() + 2;
    assert_eq!(header(&response, "content-length"), length.to_string());
    assert_eq!(response.text().await, format!("[{messages}]"));
    // A long-poll stays short.
    let polled = server.get("a?offset=-1&live=long-poll").send().await;
    assert!(header(&polled, "stream-up-to-date").is_empty());
    assert!(polled.text().await.len() <= (1 << 20) + (1 << 15));
}

#[tokio::test]
async fn a_response_ends_at_the_last_message_that_fits() {
    for (limit, messages) in [(1000, 10), (999, 9), (100, 1), (99, 1)] {
        let mut limits = Limits::default();
        limits.response_bytes = limit;
        let server = Server::with(Options::new().limits(limits));
        let line = "x".repeat(100);
        server.put("t", "text/plain", &line).await;
        for _ in 1..12 {
            server.post("t", "text/plain", &line).await;
        }
        let response = server.get("t").send().await;
        let next = header(&response, "stream-next-offset");
        assert_eq!(next, server.at("t", messages), "{limit}");
        assert!(header(&response, "stream-up-to-date").is_empty());
        assert_eq!(response.text().await.len() as u64, messages * 100);
    }
}

#[tokio::test]
async fn identical_large_reads_share_their_memory() {
    let mut limits = Limits::default();
    limits.outgoing_bytes = 1 << 20;
    let server = Server::with(Options::new().limits(limits));
    let large = format!("[\"{}\"]", "x".repeat(400 << 10));
    server.put_json("a", &large).await;
    let messages = vec!["1234567890"; 20_000].join(",");
    server.put_json("b", &format!("[{messages}]")).await;
    let mut unread = Vec::new();
    for _ in 0..10 {
        for path in ["a", "a?offset=-1&live=long-poll"] {
            let response = server.get(path).send().await;
            assert_eq!(response.status(), 200, "{path}");
            unread.push(response);
        }
    }
    // Small messages need no memory of the budget: without it, they are read in small pieces.
    let other = server.get("b").send().await;
    assert_eq!(header(&other, "stream-up-to-date"), "true");
    assert_eq!(other.text().await, format!("[{messages}]"));
    for response in unread {
        assert_eq!(response.text().await, large);
    }
}

#[tokio::test]
async fn readers_that_read_nothing_leave_room_for_those_of_other_addresses() {
    let mut limits = Limits::default();
    limits.outgoing_bytes = 4 << 20;
    let options = Options::new().limits(limits);
    let hub = Hub::with_options(Arc::new(MemoryLog::default()), options);
    let app = hub.app().into_router();
    let send = |method: Method, path: &str, address: &str, body: String| {
        let address: SocketAddr = address.parse().expect("it is an address");
        let request = Request::builder()
            .method(method)
            .uri(format!("/streams/{path}"))
            .header("content-type", "text/plain")
            .extension(ConnectInfo(address))
            .body(Body::from(body))
            .expect("it is a request");
        app.clone().oneshot(request)
    };
    for (name, bytes) in [("a", 1_000_000), ("b", 1_000_001), ("c", 1_000_002)] {
        let put = send(Method::PUT, name, "192.0.2.1:1", "x".repeat(bytes));
        assert_eq!(put.await.expect("it never fails").status(), 201);
    }
    let read = |path: &str, address: &str| send(Method::GET, path, address, String::new());
    let held = read("a", "192.0.2.1:1").await.expect("it never fails");
    assert_eq!(held.status(), 200);
    // A message and its encoding take twice its size, which is the whole share.
    let mut waiting = Box::pin(read("b?live=sse&offset=-1", "192.0.2.1:2"));
    let response = (&mut waiting).await.expect("it never fails");
    let mut events = response.into_body();
    let first = tokio::time::timeout(Duration::from_millis(200), frame(&mut events));
    assert!(first.await.is_err(), "the share is used up");
    for path in ["c", "a", "b"] {
        let other = read(path, "192.0.2.2:1").await.expect("it never fails");
        let whole = to_bytes(other.into_body(), 2 << 20).await;
        assert!(whole.is_ok_and(|body| body.len() >= 1_000_000), "{path}");
    }
    drop(held);
    assert!(frame(&mut events).await > 1_000_000);
}

/// Returns the length of the next part of a body.
async fn frame(body: &mut Body) -> usize {
    let frame = body.frame().await.expect("it goes on");
    frame
        .expect("it is not cut")
        .data_ref()
        .map_or(0, bytes::Bytes::len)
}

#[tokio::test]
async fn a_read_in_no_offered_format_is_refused() {
    let server = Server::new();
    server.put("a", "text/csv", "1,2").await;
    let read = async |query: &str, accept: &str| {
        let request = server.get(&format!("a{query}")).header("accept", accept);
        let response = request.send().await;
        (response.status().as_u16(), response.text().await)
    };
    for accept in ["text/csv", "text/*", "image/png, */*;q=0.1", ""] {
        assert_eq!(read("", accept).await, (200, "1,2".to_owned()), "{accept}");
    }
    for accept in ["image/png", "application/json", "text/csv;q=0"] {
        let (status, problem) = read("", accept).await;
        assert_eq!(status, 406, "{accept}");
        let offered = r#"["text/csv","text/event-stream","application/x-ndjson"]"#;
        assert!(problem.contains(offered), "{problem}");
    }
    // The query precedes the header.
    for (query, expected) in [
        ("?format=sse&live=false", 200),
        ("?live=long-poll&offset=-1", 200),
        ("?format=xml", 400),
        ("?format=sse&format=ndjson", 400),
        ("?format=sse&live=false&heartbeat=1&heartbeat=1", 400),
    ] {
        let (status, text) = read(query, "image/png").await;
        assert_eq!(status, expected, "{query}: {text}");
    }
}

#[tokio::test]
async fn a_read_can_start_at_a_time() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    server.clock.advance(Duration::from_secs(60));
    server.post_json("a", "[2,3]").await;
    server.clock.advance(Duration::from_secs(60));
    server.post_json("a", "[4]").await;
    // The clock started at 2027-01-15T08:00:00Z.
    for (time, expected) in [
        ("2027-01-15T07:00:00Z", "[1,2,3,4]"),
        ("2027-01-15T08:00:00Z", "[1,2,3,4]"),
        ("2027-01-15T08:00:00.001Z", "[2,3,4]"),
        ("2027-01-15T09:01:00%2B01:00", "[2,3,4]"),
        ("2027-01-15T08:01:30Z", "[4]"),
        ("2027-01-15T08:02:01Z", "[]"),
    ] {
        let response = server.get(&format!("a?since={time}")).send().await;
        assert_eq!(header(&response, "stream-next-offset"), server.at("a", 4));
        assert_eq!(response.text().await, expected, "{time}");
    }
    let past = "a?since=2027-01-15T08:01:30Z&live=long-poll";
    let response = server.get(past).send().await;
    assert_eq!(header(&response, "cache-control"), "no-store");
    assert_eq!(response.text().await, "[4]");
    let follower = server.events("a?since=2027-01-15T08:00:30Z").send().await;
    assert_eq!(header(&follower, "stream-next-offset"), server.at("a", 1));
    // The last id takes precedence over the start.
    let again = server
        .lines("a?since=2027-01-15T08:00:30Z&live=false")
        .send()
        .await;
    assert_eq!(again.text().await, "2\n3\n4\n");
    let resumed = server.events("a?since=2027-01-15T08:00:30Z&live=false");
    let resumed = resumed
        .header("last-event-id", &server.at("a", 3))
        .send()
        .await;
    let text = resumed.text().await;
    assert!(
        text.contains("data: 4") && !text.contains("data: 3"),
        "{text}"
    );
    for bad in ["a?since=10m", "a?since=2027-01-15T08:00:00Z&offset=-1"] {
        assert_eq!(server.get(bad).send().await.status(), 400, "{bad}");
    }
    let missing = server.get("b?since=2027-01-15T08:00:00Z").send().await;
    assert_eq!(missing.status(), 404);
}

#[tokio::test]
async fn an_unchanged_response_is_a_304() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let first = server.get("a").send().await;
    assert!(
        header(&first, "cache-control").ends_with("no-cache"),
        "the stream may go on"
    );
    let etag = header(&first, "etag");
    let again = async || server.get("a").header("if-none-match", &etag).send().await;
    let known = again().await;
    assert_eq!(known.status(), 304);
    assert_eq!(header(&known, "stream-next-offset"), server.at("a", 1));
    server.close("a").await;
    assert_eq!(again().await.status(), 200, "that it is closed is news");
    server.delete("a").await;
    server.put_json("a", "[2]").await;
    assert_eq!(again().await.status(), 200, "another stream is");
}

#[tokio::test]
async fn a_change_under_a_false_condition_is_refused() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let etag = header(&server.get("a").send().await, "etag");
    for (method, name, value) in [
        (Method::POST, "if-match", "\"nope\""),
        (Method::POST, "if-none-match", "*"),
        (Method::PUT, "if-match", "*"),
        (Method::DELETE, "if-match", "\"nope\""),
        (Method::DELETE, "if-match", &etag),
        (Method::DELETE, "if-none-match", "\"nope\""),
    ] {
        let request = server.request(method.clone(), "a").header(name, value);
        let request = request.header("content-type", "application/json");
        let response = request.body("[2]").send().await;
        assert_eq!(response.status(), 412, "{method} {name}: {value}");
        let problem: serde_json::Value = response.json().await;
        assert_eq!(problem["code"], "precondition_failed");
    }
    assert_eq!(server.get("a").send().await.text().await, "[1]");
    let read = server.get("a").header("if-match", "\"nope\"").send().await;
    assert_eq!(read.status(), 412);
    let read = server.get("a").header("if-match", &etag).send().await;
    assert_eq!(read.status(), 200);
    let delete = server.request(Method::DELETE, "a").header("if-match", "*");
    assert_eq!(delete.send().await.status(), 204);
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_refused_whatever_its_condition() {
    let server = Server::new();
    for (name, value) in [("if-match", "\"nope\""), ("if-none-match", "*")] {
        let patch = server.request(Method::PATCH, "a").header(name, value);
        assert_eq!(patch.send().await.status(), 405);
    }
}

#[tokio::test]
async fn a_put_under_if_none_match_only_creates() {
    let server = Server::new();
    let put = || {
        let put = server
            .request(Method::PUT, "a")
            .header("if-none-match", "*");
        put.header("content-type", "application/json").send()
    };
    assert_eq!(put().await.status(), 201);
    assert_eq!(put().await.status(), 412);
}

#[tokio::test]
async fn private_responses_are_not_for_shared_caches() {
    let server = Server::with(Options::new().private());
    server.put_json("a", "[1]").await;
    assert!(header(&server.get("a").send().await, "cache-control").starts_with("private"));
    let head = server.request(Method::HEAD, "a").send().await;
    assert_eq!(header(&head, "cache-control"), "no-store");
    let now = server.get("a?offset=now").send().await;
    assert_eq!(header(&now, "cache-control"), "no-store");
}

#[tokio::test]
async fn the_location_of_a_new_stream_is_as_its_client_reaches_it() {
    let put = async |options: Options| {
        let server = Server::with(options);
        let put = server
            .request(Method::PUT, "a%20b/c")
            .header("host", "hub.example:8000");
        header(&put.send().await, "location")
    };
    assert_eq!(
        put(Options::new()).await,
        "http://hub.example:8000/streams/a%20b/c"
    );
    let public = Options::new().public_url("https://example.com/");
    assert_eq!(put(public).await, "https://example.com/streams/a%20b/c");
    let server = Server::new();
    server.put_json("a", "[]").await;
    // Only those of trusted proxies count.
    let forged = server.request(Method::PUT, "b");
    let forged = forged
        .header("host", "hub.example")
        .header("x-forwarded-proto", "https");
    let put = forged.send().await;
    assert_eq!(header(&put, "location"), "http://hub.example/streams/b");
    let fork = server.request(Method::PUT, "c");
    let fork = fork
        .header("host", "hub.example")
        .header("stream-forked-from", "/streams/a");
    let fork = fork.send().await;
    assert_eq!(header(&fork, "location"), "http://hub.example/streams/c");
}

#[tokio::test]
async fn what_a_browser_would_run_is_an_attachment() {
    let server = Server::new();
    for (path, content_type, is_attached) in [
        ("html", "text/html; charset=utf-8", true),
        ("svg", "image/svg+xml", true),
        ("xml", "application/xml", true),
        ("text", "text/plain", false),
        ("json", "application/json", false),
        ("png", "image/png", false),
    ] {
        let body = if path == "json" { "[1]" } else { "<script>" };
        let put = server.put(path, content_type, body).await;
        assert_eq!(put.status(), 201, "{path}");
        let attachment = if is_attached { "attachment" } else { "" };
        for query in ["", "?offset=now", "?live=long-poll&offset=-1"] {
            let response = server.get(&format!("{path}{query}")).send().await;
            assert_eq!(response.status(), 200, "{path}{query}");
            let disposition = header(&response, "content-disposition");
            assert_eq!(disposition, attachment, "{path}{query}");
            assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        }
        let head = server.request(Method::HEAD, path).send().await;
        assert_eq!(header(&head, "content-disposition"), attachment, "{path}");
        // Events and lines are of another type.
        let events = server.events(path).send().await;
        assert_eq!(header(&events, "content-disposition"), "", "{path}");
    }
}
