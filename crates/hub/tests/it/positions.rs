//! Positions of other streams, of the past and of the future: none of them skips messages silently.

use std::{path::Path, sync::Arc};

use headwater::Format;
use headwater_hub::{Hub, Options};
use headwater_log::{Clock, DiskLog, DiskOptions, Durability, Log, MemoryLog};
use headwater_wire::Event;
use http::Method;
use serde_json::{Value, json};

use crate::{Server, header};

/// Checks an event for a restart from the beginning, and returns its data.
#[track_caller]
fn told(event: Option<Event>) -> Value {
    let event = event.expect("an event is due");
    assert_eq!(&*event.event, "headwater:reset", "{event:?}");
    let told: Value = serde_json::from_str(&event.data).expect("it is JSON");
    assert!(told["detail"].is_string(), "{told}");
    let start = told.get("id").or(told.get("offset"));
    assert_eq!(start, Some(&json!(&*event.id)), "{told}");
    told
}

/// Checks all readers of `a`, which has these numbers, with a position that it can't be read from.
async fn starts_over(server: &Server, asked: &str, reason: &str, status: u16, all: &[u64]) {
    let case = format!("{asked:?} {reason}");
    // By header, by a polyfill's parameter, and in the URL itself.
    let mut requests = vec![
        server.events("a?live=false").last_event_id(asked),
        server.events("a?live=false&offset=-1").last_event_id(asked),
        server.events(&format!("a?live=false&lastEventId={asked}")),
        server.get(&format!("a?format=sse&live=false&Last-Event-ID={asked}")),
        server.get("a?live=sse&offset=-1").last_event_id(asked),
    ];
    // A text of another form is not a valid offset in a URL.
    let is_ours = asked.starts_with("0000");
    if is_ours {
        requests.push(server.events(&format!("a?live=false&offset={asked}")));
    }
    for (index, request) in requests.into_iter().enumerate() {
        let response = request.send().await;
        assert_eq!(response.status(), 200, "{case}, {index}");
        assert_eq!(header(&response, "stream-next-offset"), server.at("a", 0));
        let mut events = response.stream::<Value>().await;
        let told = told(events.next_event().await);
        assert_eq!(told["reason"], reason, "{case}, {index}");
        assert_eq!(told["asked"], asked, "{case}, {index}");
        assert_eq!(told["offset"], server.at("a", 0), "{case}, {index}");
        let found = if index == 4 {
            let batch = events.next_event().await.expect("a batch is due");
            assert_eq!(&*batch.event, "data");
            serde_json::from_str::<Vec<u64>>(&batch.data).expect("it is an array")
        } else {
            let numbers = events.take(99).await;
            numbers.iter().filter_map(Value::as_u64).collect()
        };
        assert_eq!(found, all, "{case}, {index}");
    }
    let modes = [
        "",
        "&live=sse",
        "&live=long-poll",
        "&format=ndjson&live=false",
    ];
    for mode in modes.into_iter().filter(|_| is_ours) {
        let response = server.get(&format!("a?offset={asked}{mode}")).send().await;
        assert_eq!(response.status(), status, "{case}, {mode:?}");
        let problem = response.json::<Value>().await;
        assert_eq!(problem["reason"], reason, "{problem}");
        assert_eq!(problem["floor"], server.at("a", 0), "{problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("offset=-1"), "{problem}");
    }
}

#[tokio::test]
async fn a_position_of_another_stream_or_the_future_resets_the_reader() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[90,91,92,93,94]").await;
        server.put_json("b", "[80,81,82]").await;
        let before = server.at("a", 5);
        server.delete("a").await;
        server.put_json("a", "[0,1,2,3,4,5,6,7,8,9]").await;
        let all: Vec<u64> = (0..10).collect();
        for asked in [
            &*before,
            &server.at("b", 2),
            &server.order(3),
            "0000000000000003",
            "an-id-of-ours-it-is-not",
            "3",
        ] {
            starts_over(&server, asked, "other_stream", 410, &all).await;
        }
        starts_over(&server, &server.at("a", 11), "beyond_tail", 400, &all).await;
        // The stream's own position is accepted.
        let own = server
            .events("a?live=false")
            .last_event_id(&server.at("a", 7));
        assert_eq!(own.stream::<u64>().await.take(9).await, [7, 8, 9]);
    }
}

/// Runs `work` on a hub over the log in this folder, with `a` of five messages, and ends the hub.
fn process(folder: &Path, work: impl AsyncFnOnce(&Server)) {
    // A runtime simulates a process: dropping it aborts all its tasks.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut options = DiskOptions::default();
    options.durability = Durability::Os;
    let log: Arc<dyn Log> = Arc::new(DiskLog::open(folder, options).expect("it opens"));
    runtime.block_on(async {
        let server = Server::over(log, Clock::system(), None, Options::new());
        if server.get("a").send().await.status() == 404 {
            server.put_json("a", "[0,1,2,3,4]").await;
        }
        work(&server).await;
    });
}

#[test]
fn positions_are_valid_after_a_restart_but_not_after_the_data_were_wiped() {
    let folder = tempfile::tempdir().unwrap();
    let (mut at, mut order) = (String::new(), String::new());
    process(folder.path(), async |server| {
        (at, order) = (server.at("a", 3), server.order(3));
    });
    process(folder.path(), async |server| {
        assert_eq!(
            (server.at("a", 3), server.order(3)),
            (at.clone(), order.clone())
        );
        let rest = server.events("a?live=false").last_event_id(&at);
        assert_eq!(rest.stream::<u64>().await.take(9).await, [3, 4]);
    });
    std::fs::remove_dir_all(folder.path()).unwrap();
    process(folder.path(), async |server| {
        starts_over(server, &at, "other_stream", 410, &[0, 1, 2, 3, 4]).await;
        let events = server.many("stream=a&live=false", Format::Sse);
        let mut events = events.last_event_id(&order).stream::<Value>().await;
        assert_eq!(told(events.next_event().await)["reason"], "other_order");
        assert_eq!(events.take(9).await.len(), 5);
    });
}

#[test]
fn a_position_after_messages_that_were_lost_says_so() {
    let (folder, earlier) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let options = DiskOptions::default;
    let over = |log: DiskLog| Server::over(Arc::new(log), Clock::system(), None, Options::new());
    let copy = |name: &Path| {
        let (from, to) = (folder.path().join("log"), earlier.path().join("log"));
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    };
    runtime.block_on(async {
        let server = over(DiskLog::open(folder.path(), options()).expect("it opens"));
        server.put_json("a", "[0,1]").await;
        for file in std::fs::read_dir(folder.path().join("log")).unwrap() {
            copy(Path::new(&file.unwrap().file_name()));
        }
        server.post_json("a", "[2]").await;
        let lost = server.at("a", 3);
        // The file that says which commits were acknowledged.
        copy(Path::new("commits"));
        let mut options = options();
        options.accept_missing_end = true;
        let log = DiskLog::open(earlier.path(), options).expect("it opens");
        assert_eq!(log.recovery().missing, 1);
        let server = over(log);
        starts_over(&server, &lost, "lost", 410, &[0, 1]).await;
        server.post_json("a", "[3,4]").await;
        starts_over(&server, &lost, "lost", 410, &[0, 1, 3, 4]).await;
        let kept = server
            .events("a?live=false")
            .last_event_id(&server.at("a", 1));
        assert_eq!(kept.stream::<u64>().await.take(9).await, [1, 3, 4]);
    });
}

#[tokio::test]
async fn an_entity_tag_of_an_earlier_stream_does_not_match() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[1,2,3,4,5]").await;
        let tag = header(&server.get("a").send().await, "etag");
        let ask = || server.get("a").header("if-none-match", &tag).send();
        assert_eq!(ask().await.status(), 304);
        server.delete("a").await;
        server.put_json("a", "[6,7,8,9,10]").await;
        let response = ask().await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.text().await, "[6,7,8,9,10]");
    }
    // Nor is a tag of another log, even with the same numbers.
    let tag = async || {
        let client = Hub::new(Arc::new(MemoryLog::default()));
        let client = headwater::test::TestClient::new(client.app());
        let put = client.request(Method::PUT, "/streams/a");
        let put = put.header("content-type", "application/json").body("[1]");
        put.send().await;
        header(&client.get("/streams/a").send().await, "etag")
    };
    assert_ne!(tag().await, tag().await);
}

#[tokio::test]
async fn a_fork_and_its_source_share_positions_up_to_the_fork_point() {
    for server in Server::of_each_kind() {
        server.put_json("source", "[0,1,2]").await;
        let fork = async |path: &str, at: &str| {
            let put = server.request(Method::PUT, path);
            let put = put.header("stream-forked-from", "/streams/source");
            put.header("stream-fork-offset", at).send().await.status()
        };
        let at = |number| server.at("source", number);
        assert_eq!(fork("a", &at(2)).await, 201);
        assert_eq!(fork("a", &at(2)).await, 200, "it is there");
        assert_eq!(server.at("a", 2), at(2));
        server.post_json("a", "[12,13]").await;
        server.post_json("source", "[3]").await;
        let rest = server.events("a?live=false").last_event_id(&at(1));
        assert_eq!(rest.stream::<u64>().await.take(9).await, [1, 12, 13]);
        let own = server
            .events("source?live=false")
            .last_event_id(&server.at("a", 1));
        assert_eq!(own.stream::<u64>().await.take(9).await, [1, 2, 3]);
        starts_over(&server, &at(3), "other_stream", 410, &[0, 1, 12, 13]).await;
        let foreign = server
            .events("source?live=false")
            .last_event_id(&server.at("a", 3));
        let mut foreign = foreign.stream::<u64>().await;
        assert_eq!(told(foreign.next_event().await)["reason"], "other_stream");
        assert_eq!(foreign.take(9).await, [0, 1, 2, 3]);
        // A position that isn't one of the source is refused as a fork point.
        for other in [server.at("a", 3), "0000000000000001".to_owned(), at(9)] {
            assert_eq!(fork("b", &other).await, 400, "{other}");
        }
    }
}

#[tokio::test]
async fn a_reader_that_starts_now_or_in_the_future_receives_its_position_at_once() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[1,2]").await;
        let (tail, order) = (server.at("a", 2), server.order(2));
        for query in [
            "a?offset=now",
            "a?since=2099-01-01T00:00:00Z",
            "a?offset=now&lastEventId=",
        ] {
            let mut events = server.events(query).stream::<u64>().await;
            let first = events.next_event().await.expect("a position");
            assert!(first.is_position(), "{first:?}");
            assert_eq!(&*first.data, format!("{{\"offset\":\"{tail}\"}}"));
            assert_eq!(&*first.id, tail, "{query}");
        }
        // The protocol's own SSE has the position in its first control event, as its id.
        let mut events = server.get("a?offset=now&live=sse").stream::<Value>().await;
        let first = events.next_event().await.expect("a control event");
        assert_eq!((&*first.event, &*first.id), ("control", &*tail));
        let many = server.many("stream=a&after=now", Format::Sse);
        let first = many.stream::<Value>().await.next_event().await.expect("it");
        assert!(first.is_position(), "{first:?}");
        assert_eq!(&*first.id, order);

        // The connection breaks before any message arrives.
        server.post_json("a", "[3,4,5]").await;
        for query in [
            "a?offset=now&live=false",
            "a?since=2099-01-01T00:00:00Z&live=false",
        ] {
            let rest = server.events(query).last_event_id(&tail);
            assert_eq!(
                rest.stream::<u64>().await.take(9).await,
                [3, 4, 5],
                "{query}"
            );
        }
        let rest = server.get("a?offset=now&live=sse").last_event_id(&tail);
        let mut rest = rest.stream::<Value>().await;
        let data = loop {
            // The stream's shared tail may not have got there yet, and then sends a control event
            // first.
            let event = rest.next_event().await.expect("data");
            if &*event.event == "data" {
                break event.data;
            }
        };
        assert_eq!(data, "[3,4,5]");
        let rest = server.many("stream=a&after=now&live=false", Format::Sse);
        let rest = rest
            .last_event_id(&order)
            .stream::<Value>()
            .await
            .take(9)
            .await;
        assert_eq!(rest.len(), 3);
        server.delete("a").await;
    }
}

#[tokio::test]
async fn an_id_of_another_order_resets_the_reader_in_every_format() {
    let other = Server::new();
    for server in Server::of_each_kind() {
        server.put_json("a", "[0,1]").await;
        server.put_json("b", "[2]").await;
        for (asked, reason) in [
            (other.order(1), "other_order"),
            (server.at("a", 1), "other_order"),
            ("0000000000000001".to_owned(), "other_order"),
            (server.order(9), "beyond_tail"),
        ] {
            let query = "stream=*&live=false";
            let by_query = format!("{query}&after={asked}");
            let polyfill = format!("{query}&after=now&last-event-id={asked}");
            for request in [
                server.many(query, Format::Sse).last_event_id(&asked),
                server.many(&by_query, Format::Sse),
                server.many(&polyfill, Format::Sse),
            ] {
                let mut events = request.stream::<Value>().await;
                let told = told(events.next_event().await);
                assert_eq!(told["reason"], reason, "{asked}");
                assert_eq!(told["asked"], asked);
                assert_eq!(events.take(9).await.len(), 3, "{asked}");
            }
            let lines = server.all(&format!("stream=*&after={asked}")).await;
            assert_eq!(lines[0]["reset"], true, "{asked}");
            assert_eq!(lines[0]["reason"], reason, "{asked}");
            assert_eq!(lines[0]["id"], server.order(0), "{asked}");
            assert_eq!(lines.len(), 4, "{asked}");
        }
    }
}

#[tokio::test]
async fn a_polyfill_resumes_by_its_query_and_stops_at_the_end() {
    let server = Server::new();
    server.put_json("a", "[1,2,3]").await;
    server.close("a").await;
    let second = server.at("a", 2);
    for name in ["lastEventId", "last-event-id", "Last-Event-ID"] {
        let by_query = server.events(&format!("a?{name}={second}&offset=-1"));
        assert_eq!(by_query.stream::<u64>().await.take(9).await, [3], "{name}");
        // In the protocol's own SSE it sets the start, too.
        let protocol = server.get(&format!("a?live=sse&{name}={second}"));
        let protocol = protocol.send().await;
        assert_eq!(protocol.status(), 200, "{name}");
        let text = protocol.text().await;
        assert!(text.contains("[3]") && !text.contains("[1"), "{text}");
        let over = server.events(&format!("a?{name}=headwater:end"));
        assert_eq!(over.send().await.status(), 204, "{name}");
        let over = server.many(&format!("stream=a&{name}=headwater:end"), Format::Sse);
        assert_eq!(over.send().await.status(), 204, "{name}");
    }
    // The header is newer.
    let both = server.events(&format!("a?lastEventId={second}"));
    let both = both.last_event_id(&server.at("a", 1));
    assert_eq!(both.stream::<u64>().await.take(9).await, [2, 3]);
}

#[tokio::test]
async fn an_append_returns_an_offset_of_its_own_stream() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[]").await;
        let old = server.at("a", 1);
        server.delete("a").await;
        server.put_json("a", "[]").await;
        let post = server.post("a", "application/json", "1").await;
        assert_eq!(header(&post, "stream-next-offset"), server.at("a", 1));
        assert_ne!(header(&post, "stream-next-offset"), old);
        let lines = server.post("a", "application/x-ndjson", "2\n3\n").await;
        let count = lines.json::<Value>().await;
        assert_eq!(count["next_offset"], server.at("a", 3));
        server.close("a").await;
        let closed = server.post("a", "application/json", "4").await;
        assert_eq!(closed.status(), 409);
        assert_eq!(header(&closed, "stream-next-offset"), server.at("a", 3));
    }
}
