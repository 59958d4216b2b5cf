//! Streams as responses.

mod ends;
mod flow;
mod json;
mod layers;
mod raw;
#[cfg(feature = "openapi")]
mod single_values;
mod sources;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use futures_util::{StreamExt, stream};
use headwater::{Format, Item, LastEventId, Problem, Raw, StatusCode, Streaming, test::TestClient};
use http::Method;
use tokio::time::Instant;

fn client<H, T>(handler: H) -> TestClient
where
    H: axum::handler::Handler<T, ()>,
    T: 'static,
{
    TestClient::new(Router::new().route("/", get(handler)))
}

/// Returns an endless stream without items.
fn silent() -> Streaming<u64> {
    Streaming::new(stream::pending::<u64>())
}

#[tokio::test]
async fn every_format_carries_the_items_and_the_same_headers() {
    let client = client(async || Streaming::new(stream::iter(["a", "b\nc"])));
    for (name, content_type, body) in [
        ("ndjson", "application/x-ndjson", "\"a\"\n\"b\\nc\"\n"),
        (
            "sse",
            "text/event-stream",
            "data: \"a\"\n\ndata: \"b\\nc\"\n\nevent: headwater:end\nid: headwater:end\ndata: {\"items\":2}\n\n",
        ),
        (
            "json-seq",
            "application/json-seq",
            "\x1e\"a\"\n\x1e\"b\\nc\"\n",
        ),
        ("json", "application/json", "[\"a\"\n,\"b\\nc\"\n]\n"),
        ("text", "text/plain; charset=utf-8", "a\nb\nc\n"),
    ] {
        let response = client.get(&format!("/?format={name}")).send().await;
        assert_eq!(response.status(), StatusCode::OK);
        for (header, value) in [
            ("content-type", content_type),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no"),
            ("x-content-type-options", "nosniff"),
            ("vary", "accept"),
        ] {
            assert_eq!(response.headers()[header], value, "{name}: {header}");
        }
        assert_eq!(response.text().await, body, "{name}");
    }
}

#[tokio::test]
async fn an_empty_stream_is_complete_in_every_format() {
    let client = client(async || Streaming::new(stream::empty::<u64>()));
    for format in Format::ALL {
        let mut items = client.get("/").accept(format).stream::<u64>().await;
        assert_eq!(items.next().await, None, "{format}");
    }
    let body = client.get("/?format=json").send().await.text().await;
    assert_eq!(body, "[]\n");
}

#[tokio::test]
async fn an_unacceptable_format_is_refused_with_the_list() {
    let client = client(async || silent());
    let response = client.get("/").header("accept", "image/png").send().await;
    assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let problem: serde_json::Value = response.json().await;
    assert_eq!(problem["formats"][1], "sse");
    assert_eq!(problem["media_types"][1], "text/event-stream");
}

#[tokio::test]
async fn the_handlers_headers_and_status_are_kept() {
    let client = client(async || {
        let headers = [("cache-control", "no-store"), ("x-mine", "1")];
        (
            StatusCode::ACCEPTED,
            headers,
            Streaming::new(stream::iter([1])),
        )
    });
    let response = client.get("/?format=json").send().await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-mine"], "1");
    assert_eq!(response.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn a_head_request_has_the_headers_and_no_body() {
    let client = client(async || silent());
    let response = client.request(Method::HEAD, "/?format=sse").send().await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.text().await, "");
}

#[tokio::test]
async fn ids_names_and_retry_times_reach_sse_clients() {
    let client = client(async || {
        let retry = Duration::from_millis(2500);
        let items = [Item::new(1).id("a").event("one"), Item::new(2).retry(retry)];
        Streaming::new(stream::iter(items)).retry(Duration::from_secs(3))
    });
    let body = client.get("/?format=sse").send().await.text().await;
    assert!(
        body.starts_with(
            "retry: 3000\n\nevent: one\nid: a\ndata: 1\n\nretry: 2500\ndata: 2\n\nevent: headwater:end"
        ),
        "{body}"
    );
    assert_eq!(client.get("/").send().await.text().await, "1\n2\n");
}
