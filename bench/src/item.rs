//! The item that every row of the benchmark sends: one typed struct, 93 bytes as a JSON line.

use serde::{Deserialize, Serialize};

/// The size of an item as a JSON line, its line feed included.
pub const LINE_BYTES: usize = 93;
/// The size of an item as an SSE event: `data: `, the JSON, an empty line.
pub const EVENT_BYTES: usize = 100;
/// The number of the first item. Numbers have seven digits, so that all items have one size.
pub const FIRST: u64 = 1_000_000;
/// The most items that one request may ask for.
pub const MAX_COUNT: u64 = 9_000_000;

const SYMBOLS: [&str; 8] = [
    "ALFA", "BRAV", "CHAR", "DELT", "ECHO", "FOXT", "GOLF", "HOTE",
];
const NOTE: &str = "last trade, regular session, venue one";

/// One item as a server has it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Item {
    /// Its number; in `/paced`, when it was sent: nanoseconds of `CLOCK_MONOTONIC`.
    pub n: u64,
    /// A ticker symbol.
    pub symbol: &'static str,
    /// A price with two decimals, the last of them not 0.
    pub price: f64,
    /// A remark.
    pub note: &'static str,
}

impl Item {
    /// The item at `index`, counted from 0.
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

    /// An item that carries the time of its sending in place of its number.
    #[must_use]
    pub fn sent_at(now_ns: u64, index: u64) -> Self {
        Self {
            n: now_ns,
            ..Self::at(index)
        }
    }
}

/// The first `count` items.
pub fn items(count: u64) -> impl Iterator<Item = Item> + Send + 'static {
    (0..count.min(MAX_COUNT)).map(Item::at)
}

/// One item as a typed client gets it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Received {
    /// As [`Item::n`].
    pub n: u64,
    /// As [`Item::symbol`].
    pub symbol: String,
    /// As [`Item::price`].
    pub price: f64,
    /// As [`Item::note`].
    pub note: String,
}

/// How items are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-Sent Events.
    Sse,
    /// One JSON value a line.
    Ndjson,
}

impl Framing {
    /// The path that serves it.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Sse => "/sse",
            Self::Ndjson => "/ndjson",
        }
    }

    /// The media type, for `Accept` and `Content-Type`.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    /// How it is called in the tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sse => "SSE",
            Self::Ndjson => "NDJSON",
        }
    }

    /// How many line feeds one item takes.
    #[must_use]
    pub fn lines_per_item(self) -> u64 {
        match self {
            Self::Sse => 2,
            Self::Ndjson => 1,
        }
    }

    /// Appends one framed item, as a hand-written server would.
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
