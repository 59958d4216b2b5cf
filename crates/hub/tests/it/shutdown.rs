//! Readers during a shutdown, over sockets.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{sync::Arc, time::Duration};

use headwater_hub::{Hub, Options};
use headwater_log::{MemoryLog, MemoryOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{Instant, sleep, timeout},
};

const POLLS: usize = 200;

#[tokio::test]
async fn an_upload_of_lines_is_told_what_was_stored_when_the_server_shuts_down() {
    let log = Arc::new(MemoryLog::new(MemoryOptions::default()));
    let hub = Hub::with_options(log, Options::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let app = hub.app().into_router();
    let client = headwater::test::TestClient::new(app.clone());
    let server = headwater::serve(app, listener)
        .quiet()
        .shutdown_on(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "POST /streams/a HTTP/1.1\r\nhost: localhost\r\nstream-create: true\r\n\
                content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(b"5\r\n1\n2\n3\r\n").await.unwrap();
    while client.get("/streams/a").send().await.text().await != "[1,2]" {
        sleep(Duration::from_millis(5)).await;
    }
    let start = Instant::now();
    stop.send(()).unwrap();
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(5), socket.read_to_string(&mut answer));
    read.await.expect("it hung").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    for part in ["\"shutting_down\"", "\"appended\":2", "retry-after: 1"] {
        assert!(answer.contains(part), "{answer}");
    }
    server.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn long_polls_are_answered_when_the_server_shuts_down() {
    let log = Arc::new(MemoryLog::new(MemoryOptions::default()));
    let hub = Hub::with_options(log, Options::new().long_poll(Duration::from_secs(60)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = headwater::serve(hub.app(), listener)
        .quiet()
        .shutdown_on(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());
    let ask = async |request: &str| {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    };
    let mut made = ask("PUT /streams/a").await;
    assert!(made.read(&mut [0; 1000]).await.unwrap() > 0);
    drop(made);
    let mut polls = Vec::new();
    for _ in 0..POLLS {
        polls.push(ask("GET /streams/a?live=long-poll&offset=now").await);
    }
    sleep(Duration::from_millis(500)).await;
    let start = Instant::now();
    stop.send(()).unwrap();
    for mut poll in polls {
        let mut answer = String::new();
        let read = timeout(Duration::from_secs(5), poll.read_to_string(&mut answer));
        read.await.expect("it hung").unwrap();
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        assert!(answer.contains("stream-next-offset: "), "{answer}");
    }
    server.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}
