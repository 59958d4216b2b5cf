//! Requests that are refused while their clients are still sending.

use std::{future::poll_fn, time::Duration};

use axum::{
    body::Bytes,
    http::{Request, StatusCode},
};
use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep},
};

use super::{Dropped, app};
use crate::serve::{Server, read_until, start_app};

/// More bytes than the buffers of both sockets.
const LARGE: usize = 24 << 20;

#[tokio::test]
async fn a_refusal_is_read_by_a_client_that_is_still_sending() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    for path in ["/forbidden", "/length", "/nowhere", "/count"] {
        for framing in ["content-length", "chunked"] {
            for _ in 0..5 {
                let mut socket = server.connect().await;
                let body = vec![b'x'; LARGE];
                let (head, end) = match framing {
                    "chunked" => (
                        format!("transfer-encoding: chunked\r\n\r\n{LARGE:x}\r\n"),
                        "\r\n0\r\n\r\n",
                    ),
                    _ => (format!("content-length: {LARGE}\r\n\r\n"), ""),
                };
                let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{head}");
                // Like a client that reads the response only after it has sent everything.
                socket.write_all(head.as_bytes()).await.unwrap();
                let sent = async {
                    socket.write_all(&body).await?;
                    socket.write_all(end.as_bytes()).await?;
                    let mut answer = String::new();
                    socket.read_to_string(&mut answer).await?;
                    Ok::<_, std::io::Error>(answer)
                };
                let answer = tokio::time::timeout(Duration::from_secs(20), sent)
                    .await
                    .expect("it hung");
                let answer = answer.unwrap_or_else(|error| panic!("{path} {framing}: {error}"));
                let status = match path {
                    "/forbidden" => "403",
                    "/length" => "413",
                    "/nowhere" => "404",
                    _ => "405",
                };
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {status} ")),
                    "{path} {framing}: {answer}"
                );
                assert!(
                    answer.contains("connection: close\r\n"),
                    "{path} {framing}: {answer}"
                );
            }
        }
    }
    server.stop().await;
}

async fn http2(server: &Server) -> h2::client::SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// Sends a request over HTTP/2 and reads the response only after the whole body is sent.
async fn post_over_http2(server: &Server, path: &str, mut body: Bytes) -> (StatusCode, Bytes) {
    let mut client = http2(server).await;
    let request = Request::post(format!("http://localhost{path}"))
        .body(())
        .unwrap();
    let (response, mut upload) = client.send_request(request, false).unwrap();
    while !body.is_empty() {
        upload.reserve_capacity(body.len());
        let room = poll_fn(|cx| upload.poll_capacity(cx)).await;
        let room = room.expect("it is reset").expect("it is reset");
        upload
            .send_data(body.split_to(room.min(body.len())), false)
            .unwrap();
    }
    upload.send_data(Bytes::new(), true).unwrap();
    let response = response.await.unwrap();
    let status = response.status();
    let mut body = response.into_body();
    let mut text = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        text.extend_from_slice(&data);
    }
    (status, text.freeze())
}

#[tokio::test]
async fn a_refusal_over_http2_is_read_by_a_client_that_is_still_sending() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    let body = Bytes::from(vec![b'x'; LARGE]);
    for (path, status, text) in [
        ("/forbidden", StatusCode::FORBIDDEN, "no, thank you"),
        ("/length", StatusCode::PAYLOAD_TOO_LARGE, "length limit"),
        ("/nowhere", StatusCode::NOT_FOUND, "404"),
        ("/count", StatusCode::METHOD_NOT_ALLOWED, "405"),
        ("/thoughtful", StatusCode::FORBIDDEN, "no, thank you"),
    ] {
        let asked = post_over_http2(&server, path, body.clone());
        let (got, answer) = tokio::time::timeout(Duration::from_secs(20), asked)
            .await
            .unwrap_or_else(|_| panic!("{path} hung"));
        let answer = String::from_utf8_lossy(&answer);
        assert!(got == status && answer.contains(text), "{path}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn reading_from_a_client_that_never_stops_sending_over_http2_is_bounded() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    let mut client = http2(&server).await;
    let request = Request::post("http://localhost/forbidden")
        .body(())
        .unwrap();
    let (response, mut upload) = client.send_request(request, false).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::FORBIDDEN);
    let reset = poll_fn(|cx| upload.poll_reset(cx));
    let reset = tokio::time::timeout(Duration::from_secs(15), reset).await;
    assert_eq!(
        reset.expect("it still reads").unwrap(),
        h2::Reason::NO_ERROR
    );
    server.stop().await;
}

#[tokio::test]
async fn an_unread_body_does_not_block_other_requests_of_the_connection() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    let mut client = http2(&server).await;
    // More than the connection's window, before the response is complete.
    let request = Request::post("http://localhost/unread").body(()).unwrap();
    let (response, mut upload) = client.send_request(request, false).unwrap();
    response.await.unwrap();
    let mut left = 4 << 20;
    while left > 0 {
        upload.reserve_capacity(left);
        let room = poll_fn(|cx| upload.poll_capacity(cx));
        let room = tokio::time::timeout(Duration::from_secs(10), room).await;
        let room = room.expect("no window").unwrap().unwrap().min(left);
        upload.send_data(vec![b'x'; room].into(), false).unwrap();
        left -= room;
    }
    let mut client = client.ready().await.unwrap();
    let request = Request::post("http://localhost/length").body(()).unwrap();
    let (response, mut upload) = client.send_request(request, false).unwrap();
    upload.send_data("12345".into(), true).unwrap();
    let response = tokio::time::timeout(Duration::from_secs(10), response).await;
    assert_eq!(
        response.expect("no window").unwrap().status(),
        StatusCode::OK
    );
    server.stop().await;
}

#[tokio::test]
async fn the_refusal_of_a_large_head_reaches_its_client() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    for _ in 0..5 {
        let mut socket = server.connect().await;
        let head = format!(
            "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
            "a".repeat(4 << 20)
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 431 ") && answer.contains("32768 bytes"),
            "{answer}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn the_response_to_an_unreadable_request_explains_the_fault() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    let headers: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let refused = async |request: &str, status: u16, what: &str| {
        let answer = server.ask(request).await;
        // Separates the response to this request from those to earlier ones.
        let (before, refusal) = answer.split_at(answer.rfind("HTTP/1.1 ").unwrap());
        let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
        for header in [
            "content-type: application/problem+json",
            "connection: close",
            "date: ",
        ] {
            assert!(head.contains(header), "{request}: {answer}");
        }
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{answer}"
        );
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], status, "{answer}");
        assert!(
            problem["detail"].as_str().unwrap().contains(what),
            "{answer}"
        );
        before.to_owned()
    };
    for (request, status, what) in [
        ("nonsense\r\n\r\n", 400, "method"),
        ("G@T / HTTP/1.1\r\n\r\n", 400, "method"),
        ("GET /\u{1} HTTP/1.1\r\n\r\n", 400, "URI"),
        ("GET / HTTP/3.0\r\n\r\n", 400, "version"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", 400, "version"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400, "header"),
        (
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: five\r\n\r\n",
            400,
            "content-length",
        ),
        (
            "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: quick\r\n\r\n",
            400,
            "transfer-encoding",
        ),
        ("\u{16}\u{3}\u{1}\r\n\r\n", 400, "method"),
        (
            &format!("GET / HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n"),
            431,
            "100 headers",
        ),
        (
            &format!("GET /{} HTTP/1.1\r\n", "x".repeat(40_000)),
            431,
            "32768 bytes",
        ),
    ] {
        let before = refused(request, status, what).await;
        assert_eq!(before, "");
        // After another request, in the same write and in a separate one.
        let request = format!("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n{request}");
        let before = refused(&request, status, what).await;
        assert!(before.ends_with("\r\n\r\nhello"), "{before}");
    }
    // The handler refuses this one.
    let chunked =
        "POST /length HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let answer = server.ask(chunked).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("\r\n\r\nF"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_for_http2_is_refused_with_a_problem() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    let client = http2(&server).await;
    for (method, has_body) in [("GET", true), ("HEAD", false)] {
        let mut client = client.clone().ready().await.unwrap();
        let request = Request::builder().method(method).uri("http://localhost/");
        let request = request.header("x", "a".repeat(33_000)).body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 431);
        let body = response.into_body().data().await;
        assert_eq!(body.is_some(), has_body);
        if let Some(body) = body {
            let body = String::from_utf8(body.unwrap().to_vec()).unwrap();
            assert!(body.contains("32768 bytes"), "{body}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn refusing_a_small_unread_body_keeps_the_connection() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    let mut socket = server.connect().await;
    for _ in 0..3 {
        socket
            .write_all(
                b"POST /forbidden HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n12345",
            )
            .await
            .unwrap();
        let answer = read_until(&mut socket, "thank you").await;
        assert!(!answer.contains("connection: close"), "{answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_expects_100_continue_can_be_refused_without_it() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    for path in ["/forbidden", "/nowhere", "/count"] {
        let mut socket = server.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 5000\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let answer = read_until(&mut socket, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        assert!(answer.contains("connection: close"), "{path}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn reading_from_a_client_that_never_stops_sending_is_bounded() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    // A silent client: the connection is closed after a short time.
    let mut socket = server.connect().await;
    socket
        .write_all(
            b"POST /forbidden HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\nabc",
        )
        .await
        .unwrap();
    read_until(&mut socket, "thank you").await;
    let start = Instant::now();
    loop {
        sleep(Duration::from_millis(500)).await;
        // A write to a closed connection fails, at the second attempt at the latest.
        if start.elapsed() > Duration::from_secs(3) && socket.write_all(b"more").await.is_err() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "it still reads");
    }
    server.stop().await;
}
