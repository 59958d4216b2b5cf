//! Bodies that arrive slowly, over sockets.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use headwater_hub::{Hub, Limits, Options};
use headwater_log::{MemoryLog, MemoryOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep, timeout},
};

const BODY: usize = 1 << 20;
const GRACE: Duration = Duration::from_secs(2);

async fn start() -> SocketAddr {
    let mut limits = Limits::default();
    limits.body_bytes = BODY;
    limits.bodies_bytes = 4 * BODY;
    let log = Arc::new(MemoryLog::new(MemoryOptions::default()));
    let hub = Hub::with_options(log, Options::new().limits(limits));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = headwater::serve(hub.app(), listener)
        .body_grace(GRACE)
        .quiet();
    tokio::spawn(server.into_future());
    let put = request(address, "PUT", "/streams/a", "text/plain", "x").await;
    assert!(put.starts_with("HTTP/1.1 201 "), "{put}");
    address
}

fn head(method: &str, path: &str, content_type: &str, framing: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n"
    )
}

async fn answer(socket: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(Duration::from_secs(20), socket.read_to_end(&mut text)).await;
    let _ = read.expect("it hung");
    String::from_utf8(text).unwrap()
}

async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    content_type: &str,
    body: &str,
) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = format!("content-length: {}", body.len());
    let text = head(method, path, content_type, &length) + body;
    socket.write_all(text.as_bytes()).await.unwrap();
    answer(&mut socket).await
}

/// Sends most of a body at once, and the rest byte by byte.
async fn stall(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let length = format!("content-length: {BODY}");
    let head = head("POST", "/streams/a", "text/plain", &length);
    let most = vec![b'x'; BODY - 100];
    let _ = socket.write_all(&[head.as_bytes(), &most].concat()).await;
    let mut first = [0; 12];
    loop {
        let refused = timeout(Duration::from_millis(300), socket.read_exact(&mut first)).await;
        match refused {
            Ok(read) => {
                read.unwrap();
                return String::from_utf8(first.to_vec()).unwrap();
            }
            Err(_) => socket.write_all(b"x").await.unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_bodies_leave_room_for_small_ones_and_time_out() {
    let address = start().await;
    let stalled: Vec<_> = (0..16).map(|_| tokio::spawn(stall(address))).collect();
    sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < GRACE * 2 {
        let before = Instant::now();
        let small = request(address, "POST", "/streams/a", "text/plain", "small").await;
        assert!(small.starts_with("HTTP/1.1 204 "), "{small}");
        assert!(before.elapsed() < Duration::from_secs(2));
        count += 1;
        sleep(Duration::from_millis(20)).await;
    }
    assert!(count > 10, "{count}");
    let mut late = 0;
    for stalled in stalled {
        let status = timeout(Duration::from_secs(5), stalled).await;
        match &*status.expect("it is held for ever").unwrap() {
            "HTTP/1.1 408" => late += 1,
            status => assert_eq!(status, "HTTP/1.1 503"),
        }
    }
    assert!((1..=3).contains(&late), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_and_occasional_lines_are_accepted() {
    let address = start().await;
    let upload = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let length = format!("content-length: {BODY}");
        let head = head("POST", "/streams/a", "text/plain", &length);
        socket.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..16 {
            socket.write_all(&vec![b'x'; BODY / 16]).await.unwrap();
            sleep(Duration::from_millis(200)).await;
        }
        answer(&mut socket).await
    };
    let lines = async {
        let made = request(address, "PUT", "/streams/lines", "application/json", "[]").await;
        assert!(made.starts_with("HTTP/1.1 201 "), "{made}");
        let mut socket = TcpStream::connect(address).await.unwrap();
        let chunked = "transfer-encoding: chunked";
        let head = head("POST", "/streams/lines", "application/x-ndjson", chunked);
        socket.write_all(head.as_bytes()).await.unwrap();
        for chunk in ["2\r\n1\n\r\n", "1\r\n2\r\n", "2\r\n3\n\r\n", "0\r\n\r\n"] {
            sleep(GRACE + GRACE / 2).await;
            socket.write_all(chunk.as_bytes()).await.unwrap();
        }
        answer(&mut socket).await
    };
    let (upload, lines) = tokio::join!(upload, lines);
    assert!(upload.starts_with("HTTP/1.1 204 "), "{upload}");
    assert!(lines.contains("\"appended\":2"), "{lines}");
}
