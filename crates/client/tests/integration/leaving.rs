//! Leaving, sharing and abandoning, in the way of each client.

use std::{sync::mpsc, thread, time::Duration};

use headwater_client::{Client, blocking};

use crate::server::Server;

/// A server that sends one item and then waits. It reports if the client has closed the connection.
fn one_and_wait() -> (Server, mpsc::Receiver<bool>) {
    let (closed, was_closed) = mpsc::channel();
    let server = Server::start(move |call| {
        call.start("application/x-ndjson");
        call.chunk("1\n");
        closed.send(call.wait_for_close()).unwrap();
    });
    (server, was_closed)
}

const SOON: Duration = Duration::from_secs(5);

#[test]
fn the_server_notices_at_once_that_a_blocking_reader_is_dropped() {
    let (server, closed) = one_and_wait();
    let client = blocking::Client::new().unwrap();
    let mut items = client.get(server.url("/")).stream::<u32>().unwrap();
    assert_eq!(items.next().unwrap().unwrap(), 1);
    drop(items);
    assert!(
        closed.recv_timeout(SOON).unwrap(),
        "while the client is alive"
    );
    drop(client);
}

#[test]
fn a_blocking_client_can_be_dropped_on_a_thread_that_runs_async_tasks() {
    let (server, closed) = one_and_wait();
    let client = blocking::Client::new().unwrap();
    let mut first = client.get(server.url("/")).stream::<u32>().unwrap();
    let mut second = client.get(server.url("/")).stream::<u32>().unwrap();
    assert_eq!(first.next().unwrap().unwrap(), 1);
    assert_eq!(second.next().unwrap().unwrap(), 1);
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(async {
            drop(first);
            assert!(closed.recv_timeout(SOON).unwrap());
            drop(client);
            drop(second);
            assert!(closed.recv_timeout(SOON).unwrap());
            drop(blocking::get(server.url("/")));
        });
}

#[test]
fn a_blocking_client_can_be_dropped_while_its_thread_ends_or_panics() {
    let (server, closed) = one_and_wait();
    thread_local! {
        static KEPT: std::cell::RefCell<Option<blocking::Items<u32>>> =
            const { std::cell::RefCell::new(None) };
    }
    let url = server.url("/");
    let ended = thread::spawn(move || {
        let client = blocking::Client::new().unwrap();
        let mut items = client.get(url).stream::<u32>().unwrap();
        items.next().unwrap().unwrap();
        KEPT.set(Some(items));
    });
    ended.join().unwrap();
    assert!(closed.recv_timeout(SOON).unwrap());

    let url = server.url("/");
    let panicked = thread::spawn(move || {
        let client = blocking::Client::new().unwrap();
        let mut items = client.get(url).stream::<u32>().unwrap();
        items.next().unwrap().unwrap();
        panic!("on purpose");
    });
    panicked.join().unwrap_err();
    assert!(closed.recv_timeout(SOON).unwrap());
}

#[test]
fn several_threads_share_a_blocking_client() {
    let server = Server::start(|call| {
        call.start("application/x-ndjson");
        for n in 0..20 {
            call.chunk(format!("{n}\n"));
            thread::sleep(Duration::from_millis(2));
        }
        call.end();
    });
    let client = blocking::Client::new().unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let items = client.get(server.url("/")).stream::<u32>().unwrap();
                let items: Vec<_> = items.map(Result::unwrap).collect();
                assert_eq!(items, (0..20).collect::<Vec<_>>());
            });
        }
    });
}

#[tokio::test]
async fn an_abandoned_next_loses_nothing() {
    let server = Server::start(|call| {
        call.start("text/event-stream");
        for n in 0..30 {
            for part in [
                format!("id: {n}\nda"),
                format!("ta: {n}\n"),
                "\n".to_owned(),
            ] {
                call.chunk(part);
                thread::sleep(Duration::from_millis(1));
            }
        }
        call.chunk("event: headwater:end\nid: headwater:end\ndata: {}\n\n");
    });
    let mut items = Client::new()
        .unwrap()
        .get(server.url("/"))
        .stream::<u32>()
        .await
        .unwrap();
    let mut seen = Vec::new();
    let mut given_up = 0;
    loop {
        match tokio::time::timeout(Duration::from_micros(300), items.next()).await {
            Ok(Some(item)) => seen.push(item.unwrap()),
            Ok(None) => break,
            Err(_) => given_up += 1,
        }
    }
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    assert!(given_up > 10, "only {given_up}");
}

#[tokio::test]
async fn the_server_notices_at_once_that_an_async_reader_is_dropped() {
    let (server, closed) = one_and_wait();
    let client = Client::new().unwrap();
    let mut items = client.get(server.url("/")).stream::<u32>().await.unwrap();
    assert_eq!(items.next().await.unwrap().unwrap(), 1);
    drop(items);
    let closed = tokio::task::spawn_blocking(move || closed.recv_timeout(SOON).unwrap());
    assert!(closed.await.unwrap());
}

#[test]
fn items_can_be_sent_to_other_threads() {
    fn send<T: Send>() {}
    send::<headwater_client::Items<u32>>();
    send::<blocking::Items<u32>>();
    fn send_and_sync<T: Send + Sync>() {}
    send_and_sync::<Client>();
    send_and_sync::<blocking::Client>();
    send_and_sync::<headwater_client::Error>();
}

#[test]
fn an_idle_connection_that_the_server_has_closed_is_not_used() {
    // The server closes the connection without announcing it.
    let server = Server::start(|call| call.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    let client = blocking::Client::new().unwrap();
    for _ in 0..50 {
        assert_eq!(client.post(server.url("/")).body("x").text().unwrap(), "ok");
        thread::sleep(Duration::from_millis(3));
    }
    assert_eq!(server.requests().len(), 50);
}
