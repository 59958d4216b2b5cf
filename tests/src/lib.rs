//! The application under test in the fault tests, and the item that it streams.
//!
//! This crate contains no tests. They are in:
//!
//! - `integration/`: Rust, against this application and the hub;
//! - `e2e/`: pytest, against the tour and the hub, with curl, Python, Node.js, Chromium and nginx;
//! - `conformance/`: the Durable Streams protocol's own suite, against `headwater serve`.

use std::{iter, time::Duration};

use axum::{Router, body::Bytes, extract::Query, routing::get};
use futures_util::{Stream, StreamExt as _, stream};
use headwater::{Item, Raw, Streaming};
use serde::{Deserialize, Serialize};

/// The item of all streams of this application, except `/flood-of-bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Number of the item, from 1.
    pub n: u64,
    /// Padding, or text that exercises parsers.
    pub text: String,
}

impl Numbered {
    /// Creates item number `n`. Its text has characters of one to four bytes in UTF-8, and
    /// characters that JSON escapes.
    #[must_use]
    pub fn new(n: u64) -> Self {
        Self {
            n,
            text: format!("{n}: é € 😀 \"quoted\"\nsecond line"),
        }
    }
}

/// Maximum time that a response head waits for the first item. It is short because streams that
/// send no item must still respond at once.
pub const FIRST_ITEM_WAIT: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
struct Count {
    /// Number of items. 0 disables the limit.
    #[serde(default)]
    count: u64,
    /// Interval between items, in milliseconds.
    #[serde(default)]
    every_ms: u64,
}

/// Returns the application, with these routes:
///
/// - `/idle` never sends an item.
/// - `/items?count=&every_ms=` sends [`Numbered`] items, with the number as their id.
/// - `/last-words?count=&every_ms=` sends the same items, and may finish during a shutdown.
/// - `/flood` sends items of 64 KiB without end, as fast as the client reads.
/// - `/flood-of-bytes` sends chunks of 64 KiB in the same way. They need no encoding.
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
