//! Readers during a shutdown, over sockets.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{sync::Arc, time::Duration};

use headwater::test::TestClient;
use headwater_hub::{Hub, Options};
use headwater_log::{MemoryLog, MemoryOptions};
use http::Method;
use serde_json::Value;
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
    let client = TestClient::new(app.clone());
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
async fn an_import_is_told_what_was_stored_when_the_server_shuts_down_and_continues_after_it() {
    let start = || {
        let log = Arc::new(MemoryLog::new(MemoryOptions::default()));
        let app = Hub::with_options(Arc::clone(&log) as _, Options::new()).app();
        let app = app.into_router();
        (log, TestClient::new(app.clone()), app)
    };
    let (_, source, _) = start();
    let messages: Vec<u32> = (0..10_000).collect();
    for (path, body) in [("a", "[1,2]".to_owned()), ("b", format!("{messages:?}"))] {
        let path = format!("/streams/{path}");
        let put = source.request(Method::PUT, &path);
        let put = put.header("content-type", "application/json").body(body);
        assert_eq!(put.send().await.status(), 201);
    }
    let export = source.get("/export").send().await.text().await;
    let half = export.lines().take(8000);
    let half: String = half.flat_map(|line| [line, "\n"]).collect();

    let (log, client, app) = start();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = headwater::serve(app, listener)
        .quiet()
        .shutdown_on(async { drop(stopped.await) });
    let server = tokio::spawn(server.into_future());
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /import HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
        half.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(half.as_bytes()).await.unwrap();
    socket.write_all(b"\r\n").await.unwrap();
    // It is reserved once a part of it is stored.
    while client.get("/streams/b").send().await.status() != 503 {
        sleep(Duration::from_millis(5)).await;
    }
    stop.send(()).unwrap();
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(5), socket.read_to_string(&mut answer));
    read.await.expect("it hung").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    for part in ["\"shutting_down\"", "\"imported\":1", "retry-after: 1"] {
        assert!(answer.contains(part), "{answer}");
    }
    server.await.unwrap().unwrap();

    let hub = Hub::with_options(log, Options::new());
    let client = TestClient::new(hub.app().into_router());
    let again = client.request(Method::POST, "/import").body(export);
    let summary: Value = again.send().await.json().await;
    assert_eq!(
        (&summary["imported"], &summary["unchanged"]),
        (&1.into(), &1.into()),
        "{summary}"
    );
    let copy: Vec<u32> = client.get("/streams/b").send().await.json().await;
    assert_eq!(copy, messages);
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
