use std::{sync::Arc, time::Duration};

use serde_json::Value;

use crate::Server;

/// Readers of every form start at every position while others write. Each must receive all messages
/// after its position, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_at_any_position_in_any_form_receive_everything_in_order() {
    const MESSAGES: u64 = 1500;
    let server = Arc::new(Server::new());
    server.put_json("a", "[]").await;
    let writer = tokio::spawn({
        let server = Arc::clone(&server);
        async move {
            let mut next = 0;
            while next < MESSAGES {
                let count = fastrand::u64(1..=20).min(MESSAGES - next);
                let pad = "x".repeat(fastrand::usize(0..2000));
                let batch: Vec<_> = (next..next + count).map(|n| (n, &pad)).collect();
                server
                    .post_json("a", &serde_json::to_string(&batch).expect("it is JSON"))
                    .await;
                next += count;
                if fastrand::u8(..) < 40 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            server.close("a").await;
        }
    });
    let mut readers = tokio::task::JoinSet::new();
    for n in 0..24_u64 {
        let server = Arc::clone(&server);
        readers.spawn(async move {
            tokio::time::sleep(Duration::from_millis(n * 7)).await;
            let (form, from) = (n % 3, if n % 2 == 0 { 0 } else { n });
            // The position doesn't exist yet: the reader is too early.
            while server
                .get(&format!("a?offset={}", server.at("a", from)))
                .send()
                .await
                .status()
                != 200
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let at = server.at("a", from);
            let mut seen = from;
            match form {
                0 | 1 => {
                    let request = match form {
                        0 => server.events(&format!("a?offset={at}")),
                        _ => server.lines(&format!("a?offset={at}")),
                    };
                    let mut items = request.stream::<(u64, String)>().await;
                    while let Some((number, _)) = items.next().await {
                        assert_eq!(number, seen);
                        seen += 1;
                        if seen % 97 == n {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
                _ => {
                    let mut events = server
                        .get(&format!("a?offset={at}&live=sse"))
                        .stream::<Value>()
                        .await;
                    let mut closed = false;
                    while let Some(event) = events.next_event().await {
                        let value: Value = serde_json::from_str(&event.data).expect("it is JSON");
                        match &*event.event {
                            "data" => {
                                for item in value.as_array().expect("a batch") {
                                    assert_eq!(item[0], seen);
                                    seen += 1;
                                }
                            }
                            _ => {
                                assert_eq!(
                                    value["streamNextOffset"],
                                    Value::from(server.at("a", seen))
                                );
                                closed = value["streamClosed"] == true;
                            }
                        }
                        if closed {
                            break;
                        }
                    }
                    // The decoder treats the last control event, which has the end's id, as the
                    // end.
                    assert!(closed || seen == MESSAGES);
                }
            }
            assert_eq!(seen, MESSAGES, "reader {n}");
        });
    }
    let all = async {
        writer.await.expect("the writer ends");
        while let Some(reader) = readers.join_next().await {
            reader.expect("a reader ends");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("all of it ends");
}

#[tokio::test]
async fn a_reader_that_stalls_gets_everything_when_it_goes_on() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    let pad = "x".repeat(50_000);
    let mut events = server.events("a").stream::<(u64, String)>().await;
    for n in 0..60_u64 {
        server
            .post_json(
                "a",
                &serde_json::to_string(&[(n, &pad)]).expect("it is JSON"),
            )
            .await;
        tokio::task::yield_now().await;
    }
    for n in 0..60 {
        assert_eq!(events.next().await.map(|(number, _)| number), Some(n));
    }
}

#[tokio::test]
async fn a_long_poll_returns_new_messages_or_times_out() {
    let server = Arc::new(Server::new());
    server.put_json("a", "[1]").await;
    let poll = format!("a?offset={}&live=long-poll", server.at("a", 1));
    assert_eq!(server.get(&poll).send().await.status(), 204);
    let waiting = tokio::spawn({
        let (server, poll) = (Arc::clone(&server), poll.clone());
        async move { server.get(&poll).send().await.text().await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.post_json("a", "[2,3]").await;
    assert_eq!(waiting.await.expect("it answers"), "[2,3]");
}

#[tokio::test]
async fn the_protocols_sse_ends_after_its_cycle_and_resumes() {
    let options = headwater_hub::Options::new().sse_cycle(Duration::from_millis(80));
    let server = Server::with(options);
    server.put_json("a", "[1]").await;
    let text = server.get("a?offset=-1&live=sse").send().await.text().await;
    assert!(text.contains("\"upToDate\":true"), "{text}");
    assert!(!text.contains("streamClosed"), "{text}");
    let rest = format!("a?offset={}&live=sse", server.at("a", 1));
    let text = server.get(&rest).send().await.text().await;
    assert!(text.starts_with("event: control\n"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn following_a_stream_counts_as_use() {
    let server = Server::new();
    let put = server
        .request(http::Method::PUT, "a")
        .header("stream-ttl", "1");
    put.header("content-type", "application/json").send().await;
    let mut events = server.events("a").stream::<u64>().await;
    for _ in 0..4 {
        server.clock.advance(Duration::from_millis(600));
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    server.post_json("a", "1").await;
    assert_eq!(events.next().await, Some(1));
}

#[tokio::test]
async fn readers_of_a_stream_that_expires_are_disconnected() {
    for server in Server::of_each_kind() {
        let put = server
            .request(http::Method::PUT, "a")
            .header("stream-expires-at", "2027-01-15T08:00:10Z");
        let put = put.header("content-type", "application/json");
        assert_eq!(put.body("[1]").send().await.status(), 201);
        let mut events = server.events("a").stream::<u64>().await;
        let mut lines = server.lines("a").stream::<u64>().await;
        assert_eq!(events.next().await, Some(1));
        assert_eq!(lines.next().await, Some(1));
        server.clock.advance(Duration::from_secs(11));
        let over = async { (events.cut().await, lines.cut().await) };
        let over = tokio::time::timeout(Duration::from_secs(10), over).await;
        assert!(over.is_ok(), "they end by themselves");
    }
}
