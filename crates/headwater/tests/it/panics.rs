//! Panics of handlers and streams.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::FromRequestParts,
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use headwater::{Format, Raw, Streaming, test::TestClient};
use serde::{Serialize, Serializer};
use tokio::io::AsyncWriteExt;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::serve::{read_all, read_until, start_app};

/// Collects all events that are logged on a thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let mut text = self.0.lock().unwrap();
        write!(text, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Refuses;

impl<S: Sync> FromRequestParts<S> for Refuses {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        _: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        panic!("in an extractor");
    }
}

/// A number that serialises below 3 and panics otherwise, in the middle of its serialisation.
#[derive(Clone)]
struct Number(u64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut seq = serializer.serialize_seq(None)?;
        seq.serialize_element(&self.0)?;
        assert!(self.0 < 3, "in the middle of an item");
        seq.end()
    }
}

fn below_three(n: u64) -> u64 {
    assert!(n < 3, "at item {n}");
    n
}

fn app() -> Router {
    Router::new()
        .route("/fine", get(async || "fine"))
        .route(
            "/handler",
            get(async || -> String { panic!("in a handler") }),
        )
        .route("/extractor", post(async |_: Refuses| "never"))
        .route(
            "/first",
            get(async || Streaming::new(stream::iter([9_u64]).map(below_three))),
        )
        .route(
            "/stream",
            get(async || Streaming::new(stream::iter(1_u64..).map(below_three))),
        )
        .route(
            "/item",
            get(async || Streaming::new(stream::iter(1_u64..).map(Number))),
        )
        .route(
            "/blocking",
            get(async || Streaming::blocking((1_u64..).map(below_three))),
        )
        .route(
            "/channel",
            get(async || {
                let (sender, stream) = Streaming::channel(8);
                tokio::spawn(async move {
                    for n in 1_u64.. {
                        sender.send(below_three(n)).await.unwrap();
                    }
                });
                stream
            }),
        )
        .route(
            "/raw",
            get(async || Raw::text(stream::iter(1_u64..).map(|n| format!("{}\n", below_three(n))))),
        )
        .route(
            "/axum",
            get(async || {
                let pieces = stream::iter(1_u64..).map(|n| format!("{}\n", below_three(n)));
                Body::from_stream(pieces.then(async |piece| {
                    // Sends each piece separately.
                    tokio::task::yield_now().await;
                    Ok::<_, std::convert::Infallible>(Bytes::from(piece))
                }))
            }),
        )
}

#[tokio::test]
async fn a_panicking_handler_is_a_500_and_its_location_is_logged() {
    for (method, path, message) in [
        (http::Method::GET, "/handler", "in a handler"),
        (http::Method::POST, "/extractor", "in an extractor"),
        (http::Method::GET, "/first", "at item 9"),
    ] {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let response = TestClient::new(app()).request(method, path).send().await;
        assert_eq!(response.status(), 500, "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let text = response.text().await;
        assert!(
            !text.contains(message) && text.contains("\"status\":500"),
            "{path}: {text}"
        );
        let log = log.0.lock().unwrap();
        assert!(
            log.contains(message) && log.contains("panics.rs:"),
            "{path}: {log}"
        );
    }
}

#[tokio::test]
async fn a_connection_survives_a_panic_of_its_handler() {
    let server = start_app(app(), |serve| serve).await;
    let mut socket = server.connect().await;
    for _ in 0..2 {
        socket
            .write_all(b"GET /handler HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let head = read_until(&mut socket, "\"status\":500}").await;
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
    }
    socket
        .write_all(b"GET /fine HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut socket, "fine").await;
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_panics_is_aborted_after_its_items_in_every_format() {
    let server = start_app(app(), |serve| serve).await;
    for path in ["/stream", "/item", "/blocking", "/channel"] {
        for format in Format::ALL {
            let log = Log::default();
            let _guard = tracing::subscriber::set_default(log.clone());
            let mut socket = server.connect().await;
            let name = format.name();
            let request = format!("GET {path}?format={name} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            socket.write_all(request.as_bytes()).await.unwrap();
            let body = read_all(&mut socket).await;
            assert!(body.starts_with("HTTP/1.1 200 "), "{path} {name}: {body}");
            let (one, two) = match path {
                "/item" => ("[1]", "[2]"),
                _ => ("1", "2"),
            };
            let items = body.split_once("\r\n\r\n").unwrap().1;
            let at = items.find(one).and_then(|at| items[at..].find(two));
            assert!(at.is_some(), "{path} {name}: {body}");
            assert!(!items.contains("[3"), "{path} {name}: {body}");
            assert!(
                !body.ends_with("0\r\n\r\n"),
                "{path} {name}: it ended as complete: {body}"
            );
            let is_told = body.contains("\"status\":500");
            assert_eq!(is_told, format == Format::Sse, "{path} {name}: {body}");
            let log = log.0.lock().unwrap();
            assert!(log.contains("panics.rs:"), "{path} {name}: {log}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_panics_is_aborted_after_its_earlier_data() {
    let server = start_app(app(), |serve| serve).await;
    for path in ["/raw", "/axum"] {
        let mut socket = server.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let body = read_all(&mut socket).await;
        assert!(body.contains("1\n"), "{path}: {body}");
        assert!(!body.ends_with("0\r\n\r\n"), "{path}: {body}");
    }
    server.stop().await;
}
