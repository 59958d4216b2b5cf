//! Streams whose messages are themselves events or lines.

use headwater_log::{Append, StreamName};
use serde_json::{Value, json};

use crate::{Server, header};

const SSE: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";

#[tokio::test]
async fn an_event_source_receives_events_with_their_names_and_the_hubs_ids() {
    let server = Server::new();
    let token = "event: token\nid: 7\ndata: {\"n\":1}\n\n";
    server.put("a", SSE, token).await;
    for message in [
        ": alive\n\n",
        "data: two\ndata: lines\n\n",
        "data: [DONE]\n\n",
    ] {
        assert_eq!(server.post("a", SSE, message).await.status(), 204);
    }
    server.close("a").await;
    let body = server.events("a").send().await.text().await;
    let end = format!("{{\"items\":4,\"offset\":\"{}\"}}", server.at("a", 4));
    assert_eq!(
        body,
        format!(
            "id: {}\nevent: token\ndata: {{\"n\":1}}\n\nid: {}\ndata: two\ndata: lines\n\nevent: headwater:end\nid: \
             headwater:end\ndata: {end}\n\n",
            server.at("a", 1),
            server.at("a", 3)
        )
    );
    // A plain read returns the bytes that were published.
    let raw = server.get("a").send().await;
    assert_eq!(header(&raw, "content-type"), SSE);
    let raw = raw.text().await;
    assert!(
        raw.starts_with(token) && raw.ends_with("data: [DONE]\n\n"),
        "{raw}"
    );
}

#[tokio::test]
async fn an_event_with_a_reserved_name_or_id_refuses_the_whole_body() {
    let server = Server::new();
    let own = "event: end\ndata: 1\n\nevent: error\ndata: 2\n\nevent: trimmed\ndata: 3\n\n";
    server.put("a", SSE, own).await;
    for (n, bad) in [
        "event: headwater:end\nid: headwater:end\ndata: {}\n\n",
        "event: headwater:error\ndata: {}\n\n",
        "\u{feff}event:headwater:mine\ndata: 1\n\n",
        "id: headwater:end\n\n",
        "event: x\rid: headwater:end\rdata: 1\r\r",
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!("data: ok\n\n{bad}");
        for (body, index) in [(bad, 0), (&*body, 1)] {
            let put = server.put("b", SSE, body).await;
            for refused in [server.post("a", SSE, body).await, put] {
                assert_eq!(refused.status(), 422, "{body:?}");
                let problem: Value = refused.json().await;
                let detail = problem["detail"].as_str().unwrap_or_default();
                assert!(detail.contains("headwater:"), "{problem}");
                assert_eq!(problem["index"], index, "{problem}");
            }
        }
        assert_eq!(server.get("b").send().await.status(), 404);
        // In other streams it is text.
        assert_eq!(
            server
                .put(&format!("text/{n}"), "text/plain", bad)
                .await
                .status(),
            201
        );
    }
    server.close("a").await;
    let mut events = server.events("a").stream::<Value>().await;
    for (event, data) in [("end", "1"), ("error", "2"), ("trimmed", "3")] {
        let found = events.next_event().await.expect("an event");
        assert_eq!((&*found.event, &*found.data), (event, data));
    }
    assert!(events.next_event().await.is_none());
    assert_eq!(server.get("a").send().await.text().await, own);
}

#[tokio::test]
async fn events_as_lines_are_objects_and_live_ones_follow() {
    let server = Server::new();
    server
        .put("a", SSE, "event: token\nid: 7\ndata: {\"n\":1}\n\n")
        .await;
    let mut lines = server.lines("a").stream::<Value>().await;
    let first = json!({"event": "token", "id": "7", "data": {"n": 1}});
    assert_eq!(lines.next().await, Some(first));
    server.post("a", SSE, ": alive\n\n").await;
    server.post("a", SSE, "data: text\n\n").await;
    assert_eq!(lines.next().await, Some(json!({"data": "text"})));
    server.close("a").await;
    assert_eq!(lines.next().await, None);
}

#[tokio::test]
async fn each_event_and_each_line_of_a_body_is_a_message() {
    let server = Server::new();
    server.put("a", SSE, "data: 1\n\ndata: 2\n\n").await;
    server.post("a", SSE, "data: 3\n\ndata: 4\n\n").await;
    let from = format!("a?live=false&offset={}", server.at("a", 1));
    let body = server.events(&from).send().await.text().await;
    let events = [2, 3, 4].map(|n| format!("id: {}\ndata: {n}\n\n", server.at("a", n)));
    assert!(body.starts_with(&events.concat()), "{body}");
    server.put("b", NDJSON, "1\n2\n").await;
    let from = format!("b?live=false&offset={}", server.at("b", 1));
    assert_eq!(server.lines(&from).send().await.text().await, "2\n");
}

#[tokio::test]
async fn several_events_of_one_message_have_one_id_at_the_last() {
    let server = Server::new();
    server.put("a", SSE, "").await;
    let name = StreamName::new("a").unwrap();
    let message = Append::new(vec!["data: 1\n\ndata: 2\n\n".into()]);
    server.log.append(&name, message).await.unwrap();
    let body = server.events("a?live=false").send().await.text().await;
    let expected = format!("data: 1\n\nid: {}\ndata: 2\n\n", server.at("a", 1));
    assert!(body.starts_with(&expected), "{body}");
}

#[tokio::test]
async fn ndjson_streams_are_read_as_lines_and_as_events() {
    let server = Server::new();
    server.put("a", NDJSON, "{\"n\":1}\n").await;
    server.post("a", NDJSON, "oops\n").await;
    server.close("a").await;
    let lines = server.lines("a").send().await.text().await;
    assert_eq!(lines, "{\"n\":1}\n\"oops\"\n");
    let events = server.events("a").send().await.text().await;
    let expected = format!(
        "id: {}\ndata: {{\"n\":1}}\n\nid: {}\ndata: oops\n\n",
        server.at("a", 1),
        server.at("a", 2)
    );
    assert!(events.starts_with(&expected), "{events}");
    assert_eq!(
        server.get("a").send().await.text().await,
        "{\"n\":1}\noops\n"
    );
    let protocol = server.get("a?offset=-1&live=sse").send().await;
    assert_eq!(header(&protocol, "stream-sse-data-encoding"), "base64");
}
