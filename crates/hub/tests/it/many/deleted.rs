//! Streams that are deleted or expire, as reported to their readers.

use std::{sync::Arc, time::Duration};

use headwater::Format;
use headwater_hub::Options;
use headwater_log::{Clock, MemoryLog, MemoryOptions, Offset, Restore, StreamName};
use http::Method;
use serde_json::{Value, json};

use super::event;
use crate::{START, Server};

/// Returns the notice of the end of a stream whose last message was the one before `offset`.
fn notice(server: &Server, id: u64, stream: &str, offset: &str, reason: &str) -> Value {
    let (id, time) = (server.order(id), "2027-01-15T08:00:00Z");
    json!({"id": id, "stream": stream, "offset": offset, "deleted": true, "reason": reason, "time": time})
}

#[tokio::test]
async fn a_resuming_reader_receives_deletions_in_order() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[1]").await;
        server.put_json("b", "[2]").await;
        let gone = notice(&server, 3, "a", &server.at("a", 1), "deleted");
        server.delete("a").await;
        server.post_json("b", "3").await;
        // A new stream of the name is not the deleted one.
        server.put_json("a", "[4]").await;
        let rest = [
            gone,
            event(&server, 4, "b", 2, &json!(3)),
            event(&server, 5, "a", 1, &json!(4)),
        ];
        let after = |n| format!("stream=*&after={}", server.order(n));
        assert_eq!(server.all(&after(2)).await, rest);
        assert_eq!(server.all(&after(3)).await, rest[1..]);
        // A reader that had received nothing yet resumes as any other.
        assert_eq!(server.all(&after(0)).await[1..], rest);
        let only = |stream| format!("stream={stream}&after={}", server.order(2));
        assert_eq!(server.all(&only("b")).await, rest[1..2]);
        assert_eq!(
            server.all(&only("a")).await,
            [rest[0].clone(), rest[2].clone()]
        );
    }
}

#[tokio::test]
async fn a_reader_from_the_start_only_receives_later_deletions() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[1]").await;
        server.put_json("b", "[2]").await;
        server.delete("a").await;
        let here = event(&server, 2, "b", 1, &json!(2));
        for query in ["stream=*", "stream=*&after=-1"] {
            assert_eq!(
                server.all(query).await,
                std::slice::from_ref(&here),
                "{query}"
            );
        }
        // The same applies to a reader that starts over.
        let reset = server.all("stream=*&after=0000000000000009").await;
        assert_eq!(reset.len(), 2, "{reset:?}");
        assert_eq!((&reset[0]["reset"], &reset[1]), (&json!(true), &here));
        for format in [Format::Sse, Format::Ndjson] {
            let mut live = server.many("stream=*", format).stream::<Value>().await;
            assert_eq!(live.next().await, Some(here.clone()));
            let id = server.log.usage().head.number() + 1;
            server.put_json("c", "[]").await;
            let gone = notice(&server, id, "c", &server.at("c", 0), "deleted");
            server.delete("c").await;
            assert_eq!(live.next().await, Some(gone), "{format:?}");
        }
    }
}

#[tokio::test]
async fn in_sse_a_deletion_is_an_event_with_an_id_to_resume_from() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[1]").await;
        server.put_json("b", "[]").await;
        let mut live = server
            .many("stream=*&after=now", Format::Sse)
            .stream::<Value>()
            .await;
        let place = live.next_event().await.expect("it is due");
        assert_eq!(&*place.event, "headwater:position");
        let expected = notice(&server, 2, "a", &server.at("a", 1), "deleted");
        server.delete("a").await;
        let told = live.next_event().await.expect("it is due");
        assert_eq!(&*told.event, "headwater:deleted");
        assert_eq!(&*told.id, server.order(2));
        let data: Value = serde_json::from_str(&told.data).expect("it is JSON");
        assert_eq!(data, expected);
        server.post_json("b", "1").await;
        let again = server.many("stream=*", Format::Sse).last_event_id(&told.id);
        let mut again = again.stream::<Value>().await;
        for reader in [&mut live, &mut again] {
            let next = reader.next_event().await.expect("it is due");
            assert_eq!(&*next.event, "message");
            assert_eq!(&*next.id, server.order(3));
        }
    }
}

#[tokio::test]
async fn an_expiry_is_reported_live_without_access_to_the_stream() {
    for server in Server::of_each_kind() {
        let put = server
            .request(Method::PUT, "short")
            .header("stream-ttl", "60");
        let put = put
            .header("content-type", "application/json")
            .body("[1]".to_owned());
        assert_eq!(put.send().await.status(), 201);
        let offset = server.at("short", 1);
        let mut live = server
            .many("stream=short", Format::Ndjson)
            .stream::<Value>()
            .await;
        let mut other = server
            .many("stream=other&after=now", Format::Ndjson)
            .stream::<Value>()
            .await;
        let first = live.next().await.expect("it is due");
        assert_eq!(first["data"], 1);
        server.clock.advance(Duration::from_secs(61));
        let told = live.next().await.expect("it is due");
        assert_eq!(told["reason"], "expired");
        assert_eq!(told["offset"], offset);
        assert_eq!(told["time"], "2027-01-15T08:01:01Z");
        // A reader of other streams doesn't receive it.
        server.put_json("other", "[7]").await;
        assert_eq!(other.next().await.expect("it is due")["data"], 7);
    }
}

#[tokio::test]
async fn a_tombstone_is_reported_as_deleted() {
    for server in Server::of_each_kind() {
        server.put_json("source", "[1]").await;
        let fork = server
            .request(Method::PUT, "fork")
            .header("stream-forked-from", "/streams/source")
            .header("content-type", "application/json");
        assert_eq!(fork.send().await.status(), 201);
        let gone = notice(&server, 2, "source", &server.at("source", 1), "deleted");
        server.delete("source").await;
        let after = format!("stream=*&after={}", server.order(1));
        assert_eq!(server.all(&after).await, std::slice::from_ref(&gone));
        let last = notice(&server, 3, "fork", &server.at("fork", 1), "deleted");
        server.delete("fork").await;
        assert_eq!(server.all(&after).await, [gone, last]);
    }
}

#[tokio::test]
async fn forgotten_deletions_are_reported_as_forgotten() {
    let clock = Clock::by_hand(START);
    let mut settings = MemoryOptions::default();
    settings.clock = clock.clone();
    settings.limits.ended = 2;
    let log = Arc::new(MemoryLog::new(settings));
    let server = Server::over(log, clock, None, Options::new());
    server.put_json("here", "[0]").await;
    for stream in ["a", "b", "c"] {
        server.put_json(stream, "[]").await;
        server.delete(stream).await;
    }
    let forgotten = json!({"id": server.order(2), "deleted": true, "reason": "forgotten"});
    let found = server
        .all(&format!("stream=*&after={}", server.order(1)))
        .await;
    assert_eq!(found[0], forgotten);
    let rest: Vec<_> = found[1..].iter().map(|event| &event["stream"]).collect();
    assert_eq!(rest, ["b", "c"]);
    // Also if the reader follows none of the known ones.
    let found = server
        .all(&format!("stream=here&after={}", server.order(1)))
        .await;
    assert_eq!(found, [forgotten]);
    for query in [
        "stream=here".to_owned(),
        format!("stream=here&after={}", server.order(2)),
    ] {
        assert!(
            server
                .all(&query)
                .await
                .iter()
                .all(|event| event.get("deleted").is_none())
        );
    }
}

#[tokio::test]
async fn many_concurrent_deletions_are_reported_in_order() {
    for server in Server::of_each_kind() {
        server.put_json("here", "[0]").await;
        let from = server.order(1);
        for n in 0..1500 {
            let stream = format!("passing/{n:04}");
            server.put_json(&stream, "[]").await;
            server.delete(&stream).await;
        }
        for format in [Format::Sse, Format::Ndjson] {
            let query = format!("stream=passing/*&after={from}");
            let mut events = server.many(&query, format).stream::<Value>().await;
            let found = events.take(1500).await;
            for (n, event) in found.iter().enumerate() {
                assert_eq!(event["stream"], format!("passing/{n:04}"));
                assert_eq!(event["id"], server.order(n as u64 + 2));
            }
        }
    }
}

#[tokio::test]
async fn a_reader_is_told_of_an_import_that_it_was_past() {
    let source = Server::new();
    source.put_json("moved", "[1,2]").await;
    let name: StreamName = "moved".parse().expect("it is a name");
    let (image, _) = source.log.image(&name).await.expect("it is there");
    for server in Server::of_each_kind() {
        server.put_json("here", "[0]").await;
        let live = server.many("stream=*&after=now", Format::Ndjson);
        let mut live = live.stream::<Value>().await;
        let restore = async |step| server.log.restore(&name, step).await.expect("it is right");
        restore(Restore::Begin(Box::new(image.clone()))).await;
        restore(Restore::Messages {
            at: Offset::START,
            times: vec![START; 2],
            messages: vec!["1".into(), "2".into()],
        })
        .await;
        server.post_json("here", "9").await;
        let here = event(&server, 4, "here", 2, &json!(9));
        assert_eq!(live.take(1).await, std::slice::from_ref(&here));
        restore(Restore::End).await;
        server.post_json("moved", "3").await;
        let notice = json!({
            "id": server.order(5), "stream": "moved", "offset": server.at("moved", 2), "imported": true,
            "time": "2027-01-15T08:00:00Z",
        });
        let new = event(&server, 6, "moved", 3, &json!(3));
        assert_eq!(live.take(2).await, [notice.clone(), new.clone()]);
        // One that resumes from before the import has all, and its messages have the stream's type.
        let after = |stream, n| format!("stream={stream}&after={}", server.order(n));
        let message = |n: u64| event(&server, 1 + n, "moved", n, &json!(n));
        let all = [message(1), message(2), here, notice, new.clone()];
        assert_eq!(server.all(&after("*", 1)).await, all);
        assert_eq!(server.all(&after("*", 4)).await, all[3..]);
        assert_eq!(server.all(&after("here", 1)).await, all[2..3]);
        // From the start, nothing is missing.
        let all = server.all("stream=moved").await;
        assert_eq!(all, [message(1), message(2), new]);
        // Of a stream that is gone, only the end is sent.
        server.delete("moved").await;
        let rest = server.all(&after("moved", 1)).await;
        assert_eq!(rest.len(), 1, "{rest:?}");
        assert_eq!(rest[0]["deleted"], true);
    }
}
