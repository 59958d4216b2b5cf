//! The application that the fault tests read, and the item that it sends.
//!
//! The tests themselves are in `integration/` (Rust, against this application and the hub), in `e2e/`
//! (pytest, against the tour and the hub: curl, Python, Node.js, Chromium, nginx), and in `conformance/` (the Durable
//! Streams protocol's own suite, against the hub).

use std::{iter, time::Duration};

use axum::{Router, body::Bytes, extract::Query, routing::get};
use futures_util::{Stream, StreamExt as _, stream};
use headwater::{Item, Raw, Streaming};
use serde::{Deserialize, Serialize};

/// One item of every stream here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Counts from 1.
    pub n: u64,
    /// Padding, or text that is hard on parsers.
    pub text: String,
}

impl Numbered {
    /// Item number `n`, with characters of one to four bytes in UTF-8 and with what JSON escapes.
    #[must_use]
    pub fn new(n: u64) -> Self {
        Self {
            n,
            text: format!("{n}: é € 😀 \"quoted\"\nsecond line"),
        }
    }
}

/// How long a response head waits for the first item: the streams here that send nothing are to
/// answer at once.
pub const FIRST_ITEM_WAIT: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
struct Count {
    /// How many items; 0 for no end.
    #[serde(default)]
    count: u64,
    #[serde(default)]
    every_ms: u64,
}

/// The application:
///
/// - `/idle` never sends an item;
/// - `/items?count=&every_ms=` sends [`Numbered`] items, with the number as their id;
/// - `/last-words?count=&every_ms=` is the same, and may finish while the server shuts down;
/// - `/flood` sends items of 64 KiB without end, as fast as they are read;
/// - `/flood-of-bytes` does so with bytes that cost nothing to encode.
pub fn app() -> Router {
    Router::new()
        .route("/idle", get(idle))
        .route(
            "/items",
            get(|query| async { Streaming::new(items(query)) }),
        )
        .route(
            "/last-words",
            get(|query| async { Streaming::new(items(query)).finish_on_shutdown() }),
        )
        .route("/flood", get(flood))
        .route("/flood-of-bytes", get(flood_of_bytes))
}

async fn idle() -> Streaming<Numbered> {
    Streaming::new(stream::pending::<Numbered>()).first_item_wait(FIRST_ITEM_WAIT)
}

fn items(
    Query(Count { count, every_ms }): Query<Count>,
) -> impl Stream<Item = Item<Numbered>> + Send + 'static {
    let last = if count == 0 { u64::MAX } else { count };
    stream::iter(1..=last).then(move |n| async move {
        if every_ms > 0 {
            tokio::time::sleep(Duration::from_millis(every_ms)).await;
        }
        Item::new(Numbered::new(n)).id(n)
    })
}

async fn flood() -> Streaming<Numbered> {
    let text = "x".repeat(64 * 1024);
    let items = (1..)
        .zip(iter::repeat(text))
        .map(|(n, text)| Numbered { n, text });
    Streaming::new(stream::iter(items))
}

async fn flood_of_bytes() -> Raw {
    Raw::bytes(stream::repeat(Bytes::from_static(&[b'x'; 64 * 1024])))
}
