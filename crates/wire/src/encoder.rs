use std::time::Duration;

use serde::Serialize;

use crate::{EncodeError, Format, json_array, json_seq, ndjson, sse, text};

/// The SSE metadata of an item. The other formats omit it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta<'a> {
    /// The event's id. A reconnecting client sends the last one that it received.
    pub id: Option<&'a str>,
    /// The event's type. Defaults to `message`.
    pub event: Option<&'a str>,
    /// The time for which a client should wait before it reconnects. Sent in whole milliseconds.
    pub retry: Option<Duration>,
}

impl<'a> Meta<'a> {
    crate::setters! {
        /// Sets the id.
        id(id: &'a str) => id = Some(id);
        /// Sets the event type.
        event(event: &'a str) => event = Some(event);
        /// Sets the reconnection time.
        retry(retry: Duration) => retry = Some(retry);
    }
}

/// An encoder of items in one format, including the framing.
#[derive(Debug, Clone)]
pub struct Encoder {
    format: Format,
    items: u64,
}

impl Encoder {
    /// Creates an encoder at the start of a stream.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, items: 0 }
    }

    /// Returns the format that the encoder writes.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Returns the number of items that were written.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Appends one item to `out`.
    ///
    /// # Errors
    ///
    /// If the item can't be serialised, or `meta` can't be represented in SSE. `out` and the
    /// encoder are then unchanged.
    #[inline]
    pub fn item<T: Serialize + ?Sized>(
        &mut self,
        meta: &Meta<'_>,
        item: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let written = match self.format {
            Format::Ndjson => ndjson::encode(item, out),
            Format::Sse => sse::encode_json(meta, item, out),
            Format::JsonSeq => json_seq::encode(item, out),
            Format::JsonArray => json_array::encode(self.items == 0, item, out),
            Format::Text => text::encode_line(item, out),
        };
        match written {
            Ok(()) => self.items += 1,
            Err(_) => out.truncate(start),
        }
        written
    }

    /// Appends the end of a complete stream: the bracket of an array, nothing in the other formats.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if self.format == Format::JsonArray {
            json_array::encode_end(self.items == 0, out);
        }
    }
}
