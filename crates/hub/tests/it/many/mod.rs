//! `GET /events`: many streams on one connection.

mod any_order;
mod bounds;
mod deleted;
mod resuming;
mod trimmed;

use std::{sync::Arc, time::Duration};

use headwater::{Format, OpenApi, test::TestRequest};
use http::Method;
use serde_json::{Value, json};

use crate::Server;

impl Server {
    pub(crate) fn many(&self, query: &str, format: Format) -> TestRequest {
        self.client.get(&format!("/events?{query}")).accept(format)
    }

    /// Returns all existing events for a query.
    pub(crate) async fn all(&self, query: &str) -> Vec<Value> {
        let request = self.many(&format!("{query}&live=false"), Format::Ndjson);
        request.stream::<Value>().await.take(usize::MAX).await
    }
}

fn event(server: &Server, id: u64, stream: &str, at: u64, data: &Value) -> Value {
    let (id, offset) = (server.order(id), server.at(stream, at));
    json!({"id": id, "stream": stream, "offset": offset, "data": data})
}

#[tokio::test]
async fn messages_of_many_streams_arrive_in_the_global_order_with_positions() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    server.put_json("orders/7", "[]").await;
    server.put_json("other", "[0]").await;
    server.post_json("orders/7", r#"[{"n": 1}, [2]]"#).await;
    server.post_json("a", "2").await;
    let expected = [
        event(&server, 1, "a", 1, &json!(1)),
        event(&server, 3, "orders/7", 1, &json!({"n": 1})),
        event(&server, 4, "orders/7", 2, &json!([2])),
        event(&server, 5, "a", 2, &json!(2)),
    ];
    assert_eq!(server.all("stream=a&stream=orders/*").await, expected);

    let mut events = server
        .many("stream=a&stream=orders/*", Format::Sse)
        .stream::<Value>()
        .await;
    for expected in &expected {
        let event = events.next_event().await.expect("an event is due");
        assert_eq!(&*event.event, "message", "a browser's onmessage gets it");
        assert_eq!(event.id.to_string(), expected["id"]);
        let data: Value = serde_json::from_str(&event.data).expect("it is JSON");
        assert_eq!(data, *expected);
    }
    server.post_json("other", "1").await;
    server.post_json("a", "3").await;
    assert_eq!(
        events.next().await,
        Some(event(&server, 7, "a", 3, &json!(3)))
    );
    events.leave().await;
}

#[tokio::test]
async fn text_is_a_string_and_bytes_are_base64_with_their_type() {
    let server = Server::new();
    server.put("t", "text/plain", "a\nb").await;
    server
        .put("b", "application/octet-stream", "\u{0}\u{1}")
        .await;
    let found = server.all("stream=**").await;
    assert_eq!(found[0]["data"], "a\nb");
    assert_eq!(found[0]["content_type"], "text/plain");
    assert_eq!(found[0].get("encoding"), None);
    assert_eq!(found[1]["data"], "AAE=");
    assert_eq!(found[1]["encoding"], "base64");
    assert_eq!(found[1]["content_type"], "application/octet-stream");
}

#[tokio::test]
async fn nothing_of_a_deleted_stream_is_sent_and_its_successor_has_its_own_type() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    server.put_json("b", "[2]").await;
    server.delete("a").await;
    server.clock.advance(Duration::from_millis(1));
    server.put("a", "text/plain", "3").await;
    let found = server.all("stream=*").await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], event(&server, 2, "b", 1, &json!(2)));
    assert_eq!(found[1]["data"], "3");
    assert_eq!(found[1]["content_type"], "text/plain");
}

#[tokio::test]
async fn reserved_streams_are_neither_followed_nor_listed() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    server.put_json("wakes", "[]").await;
    let subscription = json!({
        "type": "pull-wake", "pattern": "**", "wake_stream": "wakes", "lease_ttl_ms": 30_000,
    });
    let put = server
        .request(Method::PUT, "__ds/subscriptions/s")
        .json(&subscription)
        .send()
        .await;
    assert_eq!(put.status(), 201, "{}", put.text().await);
    server.post_json("a", "1").await;
    let usage = server.log.usage();
    assert!(
        usage.head.number() > 1,
        "the hub wrote something of its own"
    );
    for event in server.all("stream=**").await {
        let stream = event["stream"].as_str().expect("it is text").to_owned();
        assert!(!stream.starts_with("__ds"), "{stream}");
    }
    let listing = server
        .client
        .get("/streams")
        .send()
        .await
        .json::<Value>()
        .await;
    assert!(!listing.to_string().contains("__ds"), "{listing}");
}

#[test]
fn the_document_describes_events() {
    let hub = headwater_hub::Hub::new(Arc::new(headwater_log::MemoryLog::default()));
    let document = hub.app().openapi(OpenApi::V3_2);
    let operation = &document["paths"]["/events"]["get"];
    let content = &operation["responses"]["200"]["content"];
    assert!(
        content["application/x-ndjson"]["itemSchema"].is_object(),
        "{content}"
    );
    assert!(
        content["text/event-stream"]["itemSchema"].is_object(),
        "{content}"
    );
    let event = &document["components"]["schemas"]["Event"];
    assert_eq!(
        event["required"],
        json!(["id", "stream", "offset", "data"]),
        "{event}"
    );
    for parameter in operation["parameters"].as_array().expect("there are some") {
        assert!(parameter["description"].is_string(), "{parameter}");
    }
    assert!(document["paths"]["/streams"]["get"]["responses"]["200"].is_object());
}
