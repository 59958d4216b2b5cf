//! Requests with compressed bodies, and hubs in apps that run under other servers.

use async_compression::tokio::bufread::GzipEncoder;
use headwater::test::TestRequest;
use headwater_hub::{Hub, Limits, Options};
use headwater_log::{MemoryLog, MemoryOptions};
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Server, header, is_built_in};

async fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = GzipEncoder::new(plain);
    encoder
        .read_to_end(&mut out)
        .await
        .expect("it is in memory");
    out
}

fn with(request: TestRequest, content_type: &str, body: Vec<u8>) -> TestRequest {
    request
        .header("content-type", content_type)
        .header("content-encoding", "gzip")
        .body(body)
}

#[tokio::test]
async fn a_compressed_body_is_stored_decompressed() {
    for server in Server::of_each_kind() {
        for (path, content_type, put, post, all) in [
            ("json", "application/json", "[1]", "[2,3]", "[1,2,3]"),
            ("text", "text/plain", "one ", "two", "one two"),
            (
                "bytes",
                "application/octet-stream",
                "\u{0}a",
                "\u{1}b",
                "\u{0}a\u{1}b",
            ),
        ] {
            let create = with(
                server.request(Method::PUT, path),
                content_type,
                gzip(put.as_bytes()).await,
            );
            assert_eq!(create.send().await.status(), 201, "{path}");
            let append = with(
                server.request(Method::POST, path),
                content_type,
                gzip(post.as_bytes()).await,
            );
            assert_eq!(append.send().await.status(), 204, "{path}");
            assert_eq!(server.get(path).send().await.text().await, all, "{path}");
        }
        let lines = gzip(b"4\n5\n").await;
        let append = with(
            server.request(Method::POST, "json"),
            "application/x-ndjson",
            lines,
        );
        assert_eq!(append.send().await.status(), 200);
        assert_eq!(server.get("json").send().await.text().await, "[1,2,3,4,5]");
    }
}

#[tokio::test]
async fn an_invalid_or_truncated_gzip_body_stores_nothing() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[]").await;
        let whole = gzip(b"[1,2,3]").await;
        let cut = whole[..whole.len() - 9].to_vec();
        for (bad, why) in [(b"[1]".to_vec(), "not valid gzip"), (cut, "ends too early")] {
            for (method, path) in [(Method::POST, "a"), (Method::PUT, "b")] {
                let request = with(
                    server.request(method, path),
                    "application/json",
                    bad.clone(),
                );
                let response = request.send().await;
                assert_eq!(response.status(), 400, "{path} {why}");
                let text = response.text().await;
                assert!(text.contains(why), "{text}");
            }
        }
        assert_eq!(server.get("a").send().await.text().await, "[]");
        assert_eq!(server.get("b").send().await.status(), 404);
        // Complete lines are appended and counted, as with any body that breaks off.
        let mut lines = gzip(b"1\n2\n3").await;
        lines.truncate(lines.len() - 8);
        let append = with(
            server.request(Method::POST, "a"),
            "application/x-ndjson",
            lines,
        );
        let response = append.send().await;
        assert_eq!(response.status(), 400);
        let problem: serde_json::Value = response.json().await;
        let stored: Vec<u32> = server.get("a").send().await.json().await;
        assert_eq!(problem["appended"], stored.len(), "{problem}");
        assert!([&[][..], &[1, 2]].contains(&&*stored), "{stored:?}");
    }
}

#[tokio::test]
async fn an_unknown_coding_is_refused_by_every_endpoint() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    for coding in ["br", "zstd", "compress", "gzip, gzip"] {
        for (method, path) in [
            (Method::POST, "/streams/a"),
            (Method::PUT, "/streams/b"),
            (Method::POST, "/gather"),
            (Method::POST, "/relay"),
            (Method::PUT, "/streams/__ds/subscriptions/s"),
        ]
        .into_iter()
        .filter(|(_, path)| is_built_in(path))
        {
            let request = server.client.request(method, path);
            let request = request.header("content-type", "application/json");
            let response = request
                .header("content-encoding", coding)
                .body("[1]")
                .send()
                .await;
            assert_eq!(response.status(), 415, "{coding} {path}");
            assert_eq!(
                header(&response, "accept-encoding"),
                "gzip, deflate",
                "{coding} {path}"
            );
        }
    }
    assert_eq!(server.get("a").send().await.text().await, "[]");
}

#[tokio::test]
async fn a_decompression_bomb_ends_at_the_limit() {
    let mut limits = Limits::default();
    limits.body_bytes = 1 << 20;
    limits.line_bytes = 1 << 20;
    limits.bodies_bytes = 3 << 20;
    let options = Options::new().limits(limits);
    #[cfg(any(feature = "gather", feature = "relay"))]
    let options = options.upstreams(
        headwater_client::Egress::allow(["http://127.0.0.1:1/"]).expect("it is a pattern"),
    );
    let server = Server::with(options);
    server.put_json("a", "[]").await;
    let bomb = gzip(&vec![b' '; 100 << 20]).await;
    assert!(bomb.len() < 1 << 20);
    for (method, path, content_type) in [
        (Method::POST, "/streams/a", "application/json"),
        (Method::POST, "/streams/a", "application/x-ndjson"),
        (Method::PUT, "/streams/b", "application/json"),
        (Method::POST, "/gather?stream=g", "application/json"),
        (Method::POST, "/gather?stream=g", "application/x-ndjson"),
        (Method::POST, "/relay", "application/json"),
    ]
    .into_iter()
    .filter(|(_, path, _)| is_built_in(path))
    {
        let request = server.client.request(method, path);
        let request = request
            .header("upstream-url", "http://127.0.0.1:1/")
            .header("upstream-method", "POST");
        let response = with(request, content_type, bomb.clone()).send().await;
        let status = response.status();
        let text = response.text().await;
        assert_eq!(status, 413, "{path} {content_type}: {text}");
    }
    // Their bytes are returned to the budget.
    let fits = gzip(format!("\"{}\"", "a".repeat(900_000)).as_bytes()).await;
    let append = with(server.request(Method::POST, "a"), "application/json", fits);
    assert_eq!(append.send().await.status(), 204);
}

/// Serves a hub with axum alone.
async fn in_axum() -> std::net::SocketAddr {
    let hub = Hub::new(std::sync::Arc::new(
        MemoryLog::new(MemoryOptions::default()),
    ));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("there is a port");
    let address = listener.local_addr().expect("it is bound");
    let app = axum::Router::new().nest("/hub", hub.app().into_router());
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn ask(address: std::net::SocketAddr, head: &str, body: &[u8]) -> String {
    let mut socket = tokio::net::TcpStream::connect(address)
        .await
        .expect("it listens");
    let length = body.len();
    let head = format!("{head}content-length: {length}\r\nconnection: close\r\n\r\n");
    socket
        .write_all(&[head.as_bytes(), body].concat())
        .await
        .expect("it reads");
    let mut answer = String::new();
    let read = socket.read_to_string(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(20), read)
        .await
        .expect("in time")
        .expect("it is text");
    answer
}

#[tokio::test]
async fn a_hub_in_an_axum_app_decodes_bodies_and_checks_hosts() {
    let address = in_axum().await;
    let head = "PUT /hub/streams/a HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n";
    let answer = ask(address, head, &gzip(b"[1,2]").await).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(
        answer.contains("location: http://x/hub/streams/a\r\n"),
        "{answer}"
    );
    let answer = ask(address, "GET /hub/streams/a HTTP/1.1\r\nhost: x\r\n", b"").await;
    assert!(answer.ends_with("[1,2]"), "{answer}");
    let answer = ask(address, &head.replace("gzip", "br"), b"[1,2]").await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
    assert!(answer.contains("vary: origin\r\n"), "{answer}");
    for hosts in ["host: x y\r\n", "host: x\r\nhost: y\r\n", "host: u@x\r\n"] {
        let head = format!("PUT /hub/streams/b HTTP/1.1\r\n{hosts}");
        let answer = ask(address, &head, b"").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{hosts}: {answer}");
        assert!(!answer.contains("location:"), "{answer}");
    }
}
