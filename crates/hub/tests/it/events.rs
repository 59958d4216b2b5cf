use headwater_wire::Event;
use http::Method;
use serde_json::{Value, json};

use crate::{Server, header};

fn parts(event: Option<Event>) -> (String, String, String) {
    let event = event.expect("an event is due");
    (
        event.event.to_string(),
        event.id.to_string(),
        event.data.to_string(),
    )
}

fn message(server: &Server, number: u64, data: &str) -> (String, String, String) {
    (
        "message".to_owned(),
        server.at("a", number),
        data.to_owned(),
    )
}

#[tokio::test]
async fn an_event_source_receives_old_and_new_messages_with_their_offsets() {
    let server = Server::new();
    server.put_json("a", r#"[{"n": 1}, 2]"#).await;
    let mut events = server.events("a").stream::<Value>().await;
    assert_eq!(
        parts(events.next_event().await),
        message(&server, 1, r#"{"n": 1}"#)
    );
    assert_eq!(parts(events.next_event().await), message(&server, 2, "2"));
    server.post_json("a", "{\n\"n\": 3\n}").await;
    assert_eq!(
        parts(events.next_event().await),
        message(&server, 3, r#"{ "n": 3 }"#)
    );
    server.post_json("a", "[4, [5]]").await;
    assert_eq!(parts(events.next_event().await), message(&server, 4, "4"));
    assert_eq!(parts(events.next_event().await), message(&server, 5, "[5]"));
    events.leave().await;
}

#[tokio::test]
async fn a_disconnect_at_any_message_loses_and_repeats_nothing() {
    let server = Server::new();
    server.put_json("a", "[0,1,2,3,4,5,6,7]").await;
    for seen in 0..8 {
        let mut first = server.events("a").stream::<u64>().await;
        let mut got = first.take(seen).await;
        let request = server.events("a?offset=-1");
        let request = if seen > 0 {
            request.last_event_id(&server.at("a", seen as u64))
        } else {
            request
        };
        let mut second = request.stream::<u64>().await;
        got.extend(second.take(8 - seen).await);
        assert_eq!(got, [0, 1, 2, 3, 4, 5, 6, 7], "cut after {seen}");
    }
}

#[tokio::test]
async fn a_closed_stream_ends_with_a_marker_after_which_readers_get_204() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let mut early = server.events("a").stream::<u64>().await;
    assert_eq!(early.next().await, Some(1));
    let closing = server
        .request(Method::POST, "a")
        .header("stream-closed", "true");
    closing.json(&json!([2])).send().await;
    assert_eq!(early.next().await, Some(2));
    assert_eq!(early.next().await, None);

    let text = server.events("a").send().await.text().await;
    let end = format!(
        "event: headwater:end\nid: headwater:end\ndata: {{\"items\":2,\"offset\":\"{}\"}}\n\n",
        server.at("a", 2)
    );
    assert!(text.ends_with(&end), "{text}");
    let again = server
        .events("a")
        .last_event_id("headwater:end")
        .send()
        .await;
    assert_eq!(again.status(), 204);
}

#[tokio::test]
async fn an_event_source_starts_at_the_requested_offset() {
    let server = Server::new();
    server.put_json("a", "[1,2,3]").await;
    let mut at = server
        .events(&format!("a?offset={}", server.at("a", 2)))
        .stream::<u64>()
        .await;
    assert_eq!(at.next().await, Some(3));
    let mut now = server.events("a?offset=now").stream::<u64>().await;
    server.post_json("a", "4").await;
    assert_eq!(now.next().await, Some(4));
    let mut by_query = server.get("a?format=sse").stream::<u64>().await;
    assert_eq!(by_query.next().await, Some(1));
    let mut tail = server.events("a?live=false").stream::<u64>().await;
    assert_eq!(
        tail.take(9).await,
        [1, 2, 3, 4],
        "it ends at the tail, as complete"
    );
}

#[tokio::test]
async fn text_keeps_its_lines_and_bytes_are_base64() {
    let server = Server::new();
    server.put("t", "text/plain", " one\ntwo\n").await;
    let mut text = server.events("t").stream::<String>().await;
    assert_eq!(parts(text.next_event().await).2, " one\ntwo\n");

    server
        .put("b", "application/octet-stream", "\u{0}\u{1}")
        .await;
    let response = server.events("b?live=false").send().await;
    assert_eq!(header(&response, "stream-sse-data-encoding"), "base64");
    assert!(response.text().await.contains("data: AAE=\n"));
}

#[tokio::test]
async fn the_protocols_own_sse_can_be_resumed_by_an_event_source_and_stops_it_at_the_end() {
    let server = Server::new();
    server.put_json("a", "[1,2]").await;
    server.post_json("a", "3").await;
    server.close("a").await;
    let sse = "a?offset=-1&live=sse";
    let first = server.get(sse).send().await.text().await;
    assert!(
        first.starts_with(&format!(
            "event: data\ndata:[1,2,3]\nid: {}\n\n",
            server.at("a", 3)
        )),
        "{first}"
    );
    assert!(
        first.ends_with("\"streamClosed\":true}\nid: headwater:end\n\n"),
        "{first}"
    );
    let rest = server
        .get(sse)
        .last_event_id(&server.at("a", 2))
        .send()
        .await
        .text()
        .await;
    assert!(rest.starts_with("event: data\ndata:[3]\n"), "{rest}");
    let over = server.get(sse).last_event_id("headwater:end").send().await;
    assert_eq!(over.status(), 204);
}

#[tokio::test]
async fn text_in_the_protocols_sse_keeps_a_space_at_its_start() {
    let server = Server::new();
    server.put("t", "text/plain", " a\n  b").await;
    let mut events = server.get("t?offset=-1&live=sse").stream::<String>().await;
    assert_eq!(parts(events.next_event().await).2, " a\n  b");
}

#[tokio::test]
async fn a_deleted_stream_breaks_off_and_its_successor_is_not_mistaken_for_it() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let mut events = server.events("a").stream::<u64>().await;
    assert_eq!(events.next().await, Some(1));
    server.delete("a").await;
    server.put_json("a", "[7,8,9]").await;
    let last = events.next_event().await.expect("an error is due");
    assert!(last.is_error(), "{last:?}");
    assert!(last.data.contains("410"), "{last:?}");
    events.cut().await;
    let mut new = server.events("a").stream::<u64>().await;
    assert_eq!(new.next().await, Some(7));
}

#[tokio::test]
async fn trimmed_messages_are_reported_and_the_start_is_the_floor() {
    let server = Server::new();
    let put = server
        .request(Method::PUT, "a")
        .header("stream-max-bytes", "200000");
    put.header("content-type", "application/json").send().await;
    let large = format!("\"{}\"", "x".repeat(100_000));
    for _ in 0..10 {
        server.post_json("a", &large).await;
    }
    let head = server.request(Method::HEAD, "a").send().await;
    let floor = header(&head, "stream-floor");
    assert!(floor > server.at("a", 0), "{head:?}");
    let from = format!("a?offset={}", server.at("a", 0));
    for mode in ["", "&live=sse", "&live=long-poll", "&format=ndjson"] {
        let early = server.get(&format!("{from}{mode}")).send().await;
        assert_eq!(early.status(), 410, "{mode:?}");
        let problem = early.json::<Value>().await;
        assert_eq!(problem["floor"], json!(floor), "{mode:?}");
        assert_eq!(problem["reason"], "trimmed", "{mode:?}");
    }
    // An `EventSource` receives a notice, and the rest.
    let mut early = server.events(&from).stream::<String>().await;
    let reset = early.next_event().await.expect("a reset");
    assert_eq!((&*reset.event, &*reset.id), ("headwater:reset", &*floor));
    let told: Value = serde_json::from_str(&reset.data).expect("it is JSON");
    assert_eq!(told["reason"], "trimmed");
    assert!(*early.next_event().await.expect("the rest").id > *floor);
    let mut events = server.events("a?live=false").stream::<String>().await;
    let first = events.next_event().await.expect("there is a rest");
    assert!(*first.id > *floor);
}
