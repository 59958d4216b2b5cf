//! Starting positions of readers, and resuming.

use futures_util::StreamExt;
use headwater::Format;
use serde_json::{Value, json};

use super::event;
use crate::{Server, header};

/// Returns the event with a reader's position.
fn position(server: &Server, at: u64) -> String {
    let at = server.order(at);
    format!("event: headwater:position\nid: {at}\ndata: {{\"offset\":\"{at}\"}}\n\n")
}

#[tokio::test]
async fn a_disconnect_at_any_event_loses_and_repeats_nothing() {
    for server in Server::of_each_kind() {
        lose_and_repeat_nothing(&server).await;
    }
}

async fn lose_and_repeat_nothing(server: &Server) {
    server.put_json("x", "[]").await;
    for n in 0..4 {
        server.put_json(&format!("s/{n}"), "[]").await;
    }
    for n in 0..12 {
        server
            .post_json(&format!("s/{}", n * 7 % 4), &format!("[{n}]"))
            .await;
        server.post_json("x", "0").await;
    }
    let number = |event: &Value| event["data"].as_u64().expect("it is a number");
    for seen in 0..=12 {
        for format in [Format::Sse, Format::Ndjson] {
            let mut first = server.many("stream=s/*", format).stream::<Value>().await;
            let mut got = first.take(seen).await;
            let last = got.last().map_or(server.order(0), |event| {
                event["id"].as_str().expect("it is text").to_owned()
            });
            let request = match format {
                // The last id takes precedence over the URL.
                Format::Sse => server
                    .many("stream=s/*&after=-1", format)
                    .last_event_id(&last),
                _ => server.many(&format!("stream=s/*&after={last}"), format),
            };
            let mut second = request.stream::<Value>().await;
            got.extend(second.take(12 - seen).await);
            let numbers: Vec<_> = got.iter().map(number).collect();
            assert_eq!(
                numbers,
                Vec::from_iter(0..12),
                "{format:?} cut after {seen}"
            );
        }
    }
}

#[tokio::test]
async fn later_streams_are_followed_from_their_first_message() {
    let server = Server::new();
    let query = "stream=exact&stream=new/**";
    let mut events = server.many(query, Format::Sse).stream::<Value>().await;
    server.put_json("unasked", "[0]").await;
    server.put_json("new/a/b", "[1]").await;
    server.put_json("exact", "[2]").await;
    assert_eq!(
        events.next().await,
        Some(event(&server, 2, "new/a/b", 1, &json!(1)))
    );
    assert_eq!(
        events.next().await,
        Some(event(&server, 3, "exact", 1, &json!(2)))
    );
}

#[tokio::test]
async fn a_reader_that_starts_now_receives_its_position_and_resumes_there() {
    let server = Server::new();
    server.put_json("a", "[1,2]").await;
    let response = server.many("stream=a&after=now", Format::Sse).send().await;
    assert_eq!(header(&response, "stream-next-offset"), server.order(2));
    let mut chunks = response.into_data_stream();
    let first = chunks.next().await.expect("a chunk").expect("no cut");
    assert_eq!(first, position(&server, 2));
    server.post_json("a", "3").await;
    let second = chunks.next().await.expect("a chunk").expect("no cut");
    assert!(
        second.starts_with(format!("id: {}\ndata: {{", server.order(3)).as_bytes()),
        "{second:?}"
    );
    drop(chunks);

    let response = server
        .many("stream=a&after=now", Format::Ndjson)
        .send()
        .await;
    assert_eq!(header(&response, "stream-next-offset"), server.order(3));
    let mut lines = response.stream::<Value>().await;
    server.post_json("a", "4").await;
    assert_eq!(
        lines.next().await,
        Some(event(&server, 4, "a", 4, &json!(4)))
    );
}

#[tokio::test]
async fn without_live_the_response_ends_with_a_marker_after_which_readers_get_204() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let query = "stream=**&live=false";
    let text = server.many(query, Format::Sse).send().await.text().await;
    let end = format!(
        "event: headwater:end\nid: headwater:end\ndata: {{\"items\":1,\"id\":\"{}\"}}\n\n",
        server.order(1)
    );
    assert!(text.ends_with(&end), "{text}");
    let again = server
        .many(query, Format::Sse)
        .last_event_id("headwater:end")
        .send()
        .await;
    assert_eq!(again.status(), 204);
    assert_eq!(server.all("stream=nothing").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_reader_receives_its_position_after_many_other_messages() {
    let server = Server::new();
    let items: Vec<_> = (0..12_000).collect();
    let items = serde_json::to_string(&items).expect("it is JSON");
    server.put_json("noise", &items).await;
    let response = server.many("stream=a", Format::Sse).send().await;
    let mut chunks = response.into_data_stream();
    let place = chunks.next().await.expect("a chunk").expect("no cut");
    assert_eq!(place, position(&server, 12_000));
    server.put_json("a", "[1]").await;
    let event = chunks.next().await.expect("a chunk").expect("no cut");
    assert!(
        event.starts_with(format!("id: {}\n", server.order(12_001)).as_bytes()),
        "{event:?}"
    );
    // Also while it waits.
    let post = server.post("noise", "application/json", &items).await;
    assert_eq!(post.status(), 204);
    let place = chunks.next().await.expect("a chunk").expect("no cut");
    assert_eq!(place, position(&server, 24_001));
}

#[tokio::test]
async fn the_last_id_takes_precedence_over_the_url() {
    for server in Server::of_each_kind() {
        server.put_json("a", "[1,2,3]").await;
        for query in ["after", "offset"].map(|name| format!("{name}={}", server.order(1))) {
            let found = server.all(&format!("stream=a&{query}")).await;
            assert_eq!(found.len(), 2, "{query}");
            let again = server.many(&format!("stream=a&live=false&{query}"), Format::Ndjson);
            let mut again = again
                .last_event_id(&server.order(2))
                .stream::<Value>()
                .await;
            assert_eq!(
                again.next().await,
                Some(event(&server, 3, "a", 3, &json!(3)))
            );
            assert_eq!(again.next().await, None);
        }
        let both = format!("stream=a&after={0}&offset={0}", server.order(1));
        let since = "stream=a&since=2099-01-01T00:00:00Z";
        for refused in [&both, since] {
            let response = server.many(refused, Format::Sse).send().await;
            assert_eq!(response.status(), 400, "{refused}");
        }
    }
}

#[tokio::test]
async fn streams_come_and_go_while_they_are_followed() {
    for server in Server::of_each_kind() {
        let query = "stream=kept&stream=gone/**";
        let mut events = server.many(query, Format::Sse).stream::<Value>().await;
        server.put_json("kept", "[0]").await;
        server.put_json("gone/a", "[1]").await;
        assert_eq!(
            events.next().await,
            Some(event(&server, 1, "kept", 1, &json!(0)))
        );
        let gone = event(&server, 2, "gone/a", 1, &json!(1));
        assert_eq!(events.next().await, Some(gone));
        server.delete("gone/a").await;
        server.post_json("kept", "2").await;
        let told = events.next().await.expect("it is live");
        assert_eq!(
            (&told["stream"], &told["deleted"]),
            (&json!("gone/a"), &json!(true))
        );
        assert_eq!(
            events.next().await,
            Some(event(&server, 4, "kept", 2, &json!(2)))
        );
        // A new stream of the name has its own offsets and its own type.
        server.put("gone/a", "text/plain", "3").await;
        let next = events.next().await.expect("it is live");
        assert_eq!(next["offset"], server.at("gone/a", 1));
        assert_eq!(next["content_type"], "text/plain");
        let late = server.all(query).await;
        let ids: Vec<_> = late.iter().map(|event| event["id"].clone()).collect();
        assert_eq!(
            ids,
            [1, 4, 5].map(|id| server.order(id)),
            "of what is deleted nothing is sent"
        );
    }
}

#[tokio::test]
async fn changing_readers_receive_their_events_while_others_follow() {
    for server in Server::of_each_kind() {
        for path in ["a", "b", "c"] {
            server.put_json(path, "[]").await;
        }
        let mut a = server.many("stream=a", Format::Sse).stream::<Value>().await;
        server.post_json("a", "1").await;
        server.post_json("b", "2").await;
        assert_eq!(a.next().await, Some(event(&server, 1, "a", 1, &json!(1))));
        // A later reader also receives messages that no reader wanted at the time.
        let mut b = server.many("stream=b", Format::Sse).stream::<Value>().await;
        assert_eq!(b.next().await, Some(event(&server, 2, "b", 1, &json!(2))));
        let both = server.many("stream=b&stream=a", Format::Ndjson);
        let mut both = both.stream::<Value>().await;
        server.post_json("c", "3").await;
        server.post_json("b", "4").await;
        server.post_json("a", "5").await;
        assert_eq!(a.next().await, Some(event(&server, 5, "a", 2, &json!(5))));
        assert_eq!(b.next().await, Some(event(&server, 4, "b", 2, &json!(4))));
        let ids: Vec<_> = both
            .take(4)
            .await
            .into_iter()
            .map(|event| event["id"].clone())
            .collect();
        assert_eq!(ids, [1, 2, 4, 5].map(|id| server.order(id)));
        b.leave().await;
        a.leave().await;
        server.post_json("b", "6").await;
        assert_eq!(
            both.next().await,
            Some(event(&server, 6, "b", 3, &json!(6)))
        );
        both.leave().await;
        // The last reader left; another one starts a new tail.
        let mut c = server.many("stream=c", Format::Sse).stream::<Value>().await;
        assert_eq!(c.next().await, Some(event(&server, 3, "c", 1, &json!(3))));
    }
}
