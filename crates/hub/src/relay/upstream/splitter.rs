//! Splits the bytes of a response into items. Performs no I/O. The session splits event streams.

mod json;
mod lines;
mod text;

use std::collections::VecDeque;

use bytes::Bytes;
use headwater_wire::Limits;

use self::{json::Json, lines::Lines, text::Text};
use super::{Fault, Kind};
use crate::limits::{JSON_DEPTH, UPSTREAM_CHUNK_BYTES};

/// A splitter that accepts chunks with any boundaries and returns complete items.
pub(super) enum ItemSplitter {
    Ndjson(Lines),
    Json(Json),
    Text(Text),
    Bytes(VecDeque<Bytes>),
}

/// Returns the limits of an item with a maximum size.
pub(super) fn item_limits(item_bytes: usize) -> Limits {
    Limits::default()
        .with_max_item_bytes(item_bytes)
        .with_max_depth(JSON_DEPTH)
}

impl ItemSplitter {
    pub(super) fn new(kind: Kind, item_bytes: usize) -> Self {
        let limits = item_limits(item_bytes);
        match kind {
            Kind::Ndjson => Self::Ndjson(Lines::new(limits)),
            Kind::Json => Self::Json(Json::new(limits)),
            Kind::Text => Self::Text(Text::default()),
            Kind::Sse | Kind::Bytes => Self::Bytes(VecDeque::new()),
        }
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        match self {
            Self::Ndjson(lines) => lines.push(chunk),
            Self::Json(json) => json.push(chunk),
            Self::Text(text) => text.push(chunk),
            Self::Bytes(chunks) => chunks.push_back(chunk),
        }
    }

    /// Marks the body as complete.
    pub(super) fn finish(&mut self) {
        match self {
            Self::Ndjson(lines) => lines.finish(),
            Self::Json(json) => json.finish(),
            Self::Text(text) => text.finish(),
            Self::Bytes(_) => {}
        }
    }

    /// Returns the next item. `None`: more input is needed or, once finished, there are no more.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        match self {
            Self::Ndjson(lines) => lines.next(),
            Self::Json(json) => json.next(),
            Self::Text(text) => Ok(text.next()),
            Self::Bytes(chunks) => Ok(next_chunk(chunks)),
        }
    }
}

/// Returns the next chunk, or the part of it that one item may have.
fn next_chunk(chunks: &mut VecDeque<Bytes>) -> Option<Bytes> {
    loop {
        let chunk = chunks.front_mut()?;
        if chunk.len() > UPSTREAM_CHUNK_BYTES {
            return Some(chunk.split_to(UPSTREAM_CHUNK_BYTES));
        }
        let chunk = chunks.pop_front()?;
        if !chunk.is_empty() {
            return Some(chunk);
        }
    }
}

#[cfg(test)]
mod tests;
