//! The item that every row of the benchmark sends: a typed struct, 93 bytes as a JSON line.

use serde::{Deserialize, Serialize};

/// Size of an item as a JSON line, including its line feed, in bytes.
pub const LINE_BYTES: usize = 93;
/// Size of an item as an SSE event (`data: `, the JSON, an empty line), in bytes.
pub const EVENT_BYTES: usize = 100;
/// Number of the first item. All numbers have seven digits, so that all items have the same size.
pub const FIRST: u64 = 1_000_000;
/// Maximum number of items of one request.
pub const MAX_COUNT: u64 = 9_000_000;

const SYMBOLS: [&str; 8] = [
    "ALFA", "BRAV", "CHAR", "DELT", "ECHO", "FOXT", "GOLF", "HOTE",
];
const NOTE: &str = "last trade, regular session, venue one";

/// An item on the server's side.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Item {
    /// Number of the item. In `/paced`, the time of its sending in nanoseconds of
    /// `CLOCK_MONOTONIC`.
    pub n: u64,
    /// A ticker symbol.
    pub symbol: &'static str,
    /// A price with two decimals, of which the last is not 0.
    pub price: f64,
    /// Free text.
    pub note: &'static str,
}

impl Item {
    /// Creates the item at `index`, counted from 0.
    #[must_use]
    #[inline]
    pub fn at(index: u64) -> Self {
        let cents = 10_000 + index % 8_999 * 10 + 1 + index % 9;
        Self {
            n: FIRST + index,
            symbol: SYMBOLS[(index % 8) as usize],
            #[allow(clippy::cast_precision_loss, reason = "less than 100,000")]
            price: cents as f64 / 100.0,
            note: NOTE,
        }
    }

    /// Creates an item with the time of its sending in place of its number.
    #[must_use]
    pub fn sent_at(now_ns: u64, index: u64) -> Self {
        Self {
            n: now_ns,
            ..Self::at(index)
        }
    }
}

/// Returns the first `count` items.
pub fn items(count: u64) -> impl Iterator<Item = Item> + Send + 'static {
    (0..count.min(MAX_COUNT)).map(Item::at)
}

/// An item on a typed client's side.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Received {
    /// See [`Item::n`].
    pub n: u64,
    /// See [`Item::symbol`].
    pub symbol: String,
    /// See [`Item::price`].
    pub price: f64,
    /// See [`Item::note`].
    pub note: String,
}

/// The framing of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-Sent Events.
    Sse,
    /// One JSON value per line.
    Ndjson,
}

impl Framing {
    /// Returns the path that serves this framing.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Sse => "/sse",
            Self::Ndjson => "/ndjson",
        }
    }

    /// Returns the media type, for `Accept` and `Content-Type`.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// Returns the name in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sse => "SSE",
            Self::Ndjson => "NDJSON",
        }
    }

    /// Returns the number of line feeds per item.
    #[must_use]
    pub fn lines_per_item(self) -> u64 {
        match self {
            Self::Sse => 2,
            Self::Ndjson => 1,
        }
    }

    /// Appends a framed item, like a hand-written server.
    ///
    /// # Errors
    /// The item can't be serialised.
    #[inline]
    pub fn write(self, item: &Item, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match self {
            Self::Sse => {
                out.extend_from_slice(b"data: ");
                serde_json::to_writer(&mut *out, item)?;
                out.extend_from_slice(b"\n\n");
            }
            Self::Ndjson => {
                serde_json::to_writer(&mut *out, item)?;
                out.push(b'\n');
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_the_size_that_the_tables_name() {
        let mut out = Vec::new();
        for index in (0..MAX_COUNT).step_by(997) {
            for (framing, size) in [(Framing::Ndjson, LINE_BYTES), (Framing::Sse, EVENT_BYTES)] {
                out.clear();
                framing
                    .write(&Item::at(index), &mut out)
                    .expect("plain fields");
                assert_eq!(
                    out.len(),
                    size,
                    "item {index}: {}",
                    String::from_utf8_lossy(&out)
                );
            }
        }
    }
}
