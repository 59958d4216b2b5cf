//! Connections that one side closes before the other.

mod refused;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::DefaultBodyLimit,
    http::{Request, StatusCode},
    routing::{any, get, post},
};
use futures_util::{StreamExt, stream};
use headwater::Streaming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::serve::{read_all, read_until, start_app};

/// Deadline of a shutdown that a response would delay.
const SHORT: Duration = Duration::from_millis(200);

#[derive(Clone, Default)]
pub(crate) struct Dropped(Arc<AtomicBool>);

struct OnDrop(Dropped);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

impl Dropped {
    pub(crate) async fn within(&self, limit: Duration) {
        let start = Instant::now();
        while !self.0.load(Ordering::SeqCst) {
            assert!(start.elapsed() < limit, "it is not dropped after {limit:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn app(dropped: &Dropped) -> Router {
    let [silent, text, waiting, flood] = [(); 4].map(|()| dropped.clone());
    Router::new()
        .route("/", get(async || "hello"))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .route(
            "/slow",
            post(async |body: Bytes| {
                sleep(Duration::from_millis(700)).await;
                body.len().to_string()
            }),
        )
        .route(
            "/count",
            get(async || {
                let items = stream::iter(1..=3_u64).then(async |n| {
                    sleep(Duration::from_millis(300)).await;
                    n
                });
                Streaming::new(items)
            }),
        )
        .route(
            "/silent",
            get(move || {
                let guard = OnDrop(silent.clone());
                async move {
                    Streaming::new(stream::pending::<u64>().map(move |n| {
                        let _ = &guard;
                        n
                    }))
                }
            }),
        )
        .route(
            "/text",
            get(move || {
                let guard = OnDrop(text.clone());
                async move {
                    Body::from_stream(stream::pending::<Result<Bytes, Infallible>>().map(
                        move |n| {
                            let _ = &guard;
                            n
                        },
                    ))
                }
            }),
        )
        .route(
            "/waiting",
            get(move || {
                let guard = OnDrop(waiting.clone());
                async move {
                    let stream = stream::pending::<u64>().map(move |n| {
                        let _ = &guard;
                        n
                    });
                    Streaming::new(stream).first_item_wait(Duration::from_secs(600))
                }
            }),
        )
        .route(
            "/forbidden",
            post(async || (StatusCode::FORBIDDEN, "no, thank you")),
        )
        .route(
            "/thoughtful",
            post(async |body: Body| {
                drop(body);
                sleep(Duration::from_millis(300)).await;
                (StatusCode::FORBIDDEN, "no, thank you")
            }),
        )
        .route(
            "/unread",
            any(async || Streaming::new(stream::pending::<u64>()).first_item_wait(Duration::ZERO)),
        )
        .route(
            "/flood",
            get(move || {
                let guard = OnDrop(flood.clone());
                async move {
                    let piece = Bytes::from(vec![b'x'; 1 << 20]);
                    Body::from_stream(stream::repeat_with(move || {
                        let _ = &guard;
                        Ok::<_, Infallible>(piece.clone())
                    }))
                }
            }),
        )
        .layer(DefaultBodyLimit::max(1000))
}

async fn half_closed(socket: &mut TcpStream, request: &str) -> String {
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    read_all(socket).await
}

#[tokio::test]
async fn a_complete_request_is_answered_after_a_half_close() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    for (request, end) in [
        ("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", "hello"),
        ("GET / HTTP/1.0\r\n\r\n", "hello"),
        (
            "POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n12345",
            "5",
        ),
        (
            "POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n12345",
            "5",
        ),
        (
            "POST /slow HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "3",
        ),
        (
            "GET /count HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "2\r\n3\n\r\n0\r\n\r\n",
        ),
        // Two pipelined requests: both are answered.
        (
            "POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n12GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "hello",
        ),
    ] {
        let mut socket = server.connect().await;
        let answer = half_closed(&mut socket, request).await;
        assert!(
            answer.contains(" 200 OK\r\n") && answer.ends_with(end),
            "{request}: {answer}"
        );
        if request.contains("12GET") {
            assert_eq!(answer.matches("200 OK").count(), 2, "{answer}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_request_with_a_truncated_body_is_not_accepted() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    let mut socket = server.connect().await;
    let request = "POST /length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n1234";
    let answer = half_closed(&mut socket, request).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_silent_response_continues_for_a_half_closed_peer() {
    // These contain only requested data and the first digit of the next chunk's size.
    let paths = [
        "/silent?format=sse",
        "/silent?format=ndjson",
        "/silent?format=json",
        "/silent?format=json-seq",
        "/waiting?format=ndjson",
        "/text",
    ];
    let tries = paths.map(async |path| {
        for closes_at_once in [true, false] {
            let dropped = Dropped::default();
            let server = start_app(app(&dropped), |serve| serve.shutdown_deadline(SHORT)).await;
            let mut socket = server.connect().await;
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            socket.write_all(request.as_bytes()).await.unwrap();
            if !closes_at_once {
                sleep(Duration::from_millis(200)).await;
            }
            socket.shutdown().await.unwrap();
            let head = read_until(&mut socket, "\r\n\r\n").await;
            let (_, rest) = head.split_once("\r\n\r\n").unwrap();
            let mut rest = rest.to_owned();
            let mut more = [0; 100];
            let silence = Duration::from_secs(6);
            while let Ok(read) = tokio::time::timeout(silence, socket.read(&mut more)).await {
                rest.push_str(std::str::from_utf8(&more[..read.unwrap()]).unwrap());
            }
            let opening = if path.ends_with("=json") {
                "1\r\n[\r\n"
            } else {
                ""
            };
            let rest = rest.strip_prefix(opening).unwrap_or(&rest);
            assert!(["", "0"].contains(&rest), "{path}: {rest:?}");
            assert!(!dropped.0.load(Ordering::SeqCst), "{path}");
            server.stop().await;
        }
    });
    futures_util::future::join_all(tries).await;
}

#[tokio::test]
async fn a_half_closed_reader_receives_heartbeats_and_items() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    let mut socket = server.connect().await;
    let request = b"GET /silent?format=ndjson&heartbeat=1 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.write_all(request).await.unwrap();
    read_until(&mut socket, "\r\n\r\n").await;
    socket.shutdown().await.unwrap();
    read_until(&mut socket, "01\r\n\n\r\n").await;
    let mut socket = server.connect().await;
    let request = b"GET /count?format=ndjson HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let first = read_until(&mut socket, "1\n\r\n").await;
    socket.shutdown().await.unwrap();
    let rest = read_all(&mut socket).await;
    assert_eq!(rest, "02\r\n2\n\r\n2\r\n3\n\r\n0\r\n\r\n", "after {first}");
    server.stop().await;
}

#[tokio::test]
async fn a_disconnect_is_detected_during_a_silent_response() {
    for path in [
        "/silent?format=sse",
        "/silent?format=ndjson",
        "/waiting",
        "/text",
    ] {
        let dropped = Dropped::default();
        let server = start_app(app(&dropped), |serve| serve).await;
        let mut socket = server.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        if path != "/waiting" {
            read_until(&mut socket, "\r\n\r\n").await;
        }
        sleep(Duration::from_millis(100)).await;
        drop(socket);
        dropped.within(Duration::from_secs(2)).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn an_abort_after_the_digit_of_a_chunk_size_is_not_an_end() {
    let server = start_app(app(&Dropped::default()), |serve| {
        serve.shutdown_deadline(SHORT)
    })
    .await;
    let mut socket = server.connect().await;
    let request = b"GET /text HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.write_all(request).await.unwrap();
    read_until(&mut socket, "\r\n\r\n").await;
    socket.shutdown().await.unwrap();
    read_until(&mut socket, "0").await;
    let stopped = tokio::spawn(server.stop());
    let read = socket.read(&mut [0; 10]).await;
    assert!(read.is_err(), "{read:?}");
    stopped.await.unwrap();
}

const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_client_that_does_not_read_a_response_is_disconnected() {
    let dropped = Dropped::default();
    let server = start_app(app(&dropped), |serve| serve.write_timeout(WRITE_TIMEOUT)).await;
    let mut socket = server.connect().await;
    let request = b"GET /flood HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.write_all(request).await.unwrap();
    // A slow reader is not disconnected.
    let mut some = vec![0; 1 << 20];
    for _ in 0..8 {
        socket.read_exact(&mut some).await.unwrap();
        sleep(WRITE_TIMEOUT / 3).await;
    }
    assert!(!dropped.0.load(Ordering::SeqCst));
    dropped.within(Duration::from_secs(5)).await;
    assert_eq!(server.stop().await.as_secs(), 0);
}

#[tokio::test]
async fn a_request_over_http2_has_an_authority() {
    let server = start_app(app(&Dropped::default()), |serve| serve).await;
    let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
    tokio::spawn(connection);
    let status = async |request: http::request::Builder| {
        let mut client = client.clone().ready().await.unwrap();
        let (response, _) = client
            .send_request(request.body(()).unwrap(), true)
            .unwrap();
        response.await.unwrap().status()
    };
    // h2 sends `:authority` for a URL only.
    let without = || Request::get("/").version(http::Version::HTTP_11);
    assert_eq!(status(without()).await, 400);
    assert_eq!(status(without().header("host", "localhost")).await, 200);
    assert_eq!(status(Request::get("http://localhost/")).await, 200);
    server.stop().await;
}

#[tokio::test]
async fn requests_over_http2_are_limited_together() {
    let server = start_app(app(&Dropped::default()), |serve| {
        serve.max_http2_requests(2)
    })
    .await;
    let mut open = Vec::new();
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (client, connection) = h2::client::handshake(server.connect().await).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let request = Request::get("http://localhost/unread").body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let response = response.await.unwrap();
        answers.push(response.status().as_u16());
        if response.status() == 503 {
            assert_eq!(response.headers()["retry-after"], "1");
            // The place of one that is cancelled is free.
            open.pop();
            sleep(Duration::from_millis(200)).await;
            let request = Request::get("http://localhost/").body(()).unwrap();
            let mut client = client.ready().await.unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            answers.push(response.await.unwrap().status().as_u16());
        } else {
            open.push((client, response));
        }
    }
    assert_eq!(answers, [200, 200, 503, 200]);
    server.stop().await;
}

#[tokio::test]
async fn a_stalled_http2_stream_is_reset_and_the_others_continue() {
    let dropped = Dropped::default();
    let server = start_app(app(&dropped), |serve| serve.write_timeout(WRITE_TIMEOUT)).await;
    let (client, connection) = h2::client::Builder::new()
        .initial_connection_window_size(64 << 20)
        .handshake::<_, Bytes>(server.connect().await)
        .await
        .unwrap();
    tokio::spawn(connection);
    let get = async |path: &str| {
        let mut client = client.clone().ready().await.unwrap();
        let request = Request::get(format!("http://localhost{path}"))
            .body(())
            .unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        response.await.unwrap().into_body()
    };
    // A little progress now and then is enough.
    let mut flood = get("/flood").await;
    for _ in 0..8 {
        let piece = flood.data().await.unwrap().unwrap();
        flood.flow_control().release_capacity(piece.len()).unwrap();
        sleep(WRITE_TIMEOUT / 3).await;
    }
    assert!(!dropped.0.load(Ordering::SeqCst));
    // A stream that is silent because it has no data isn't stalled.
    let mut silent = get("/unread").await;
    dropped.within(Duration::from_secs(5)).await;
    let error = loop {
        match flood.data().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));
    let hello = get("/").await.data().await.unwrap().unwrap();
    assert_eq!(hello, "hello");
    let more = tokio::time::timeout(WRITE_TIMEOUT * 2, silent.data()).await;
    assert!(more.is_err(), "{more:?}");
    server.stop().await;
}
