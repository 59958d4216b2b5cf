use std::time::Duration;

use bytes::Bytes;

use crate::{DecodeError, Event, Format, Limits, Str, json_array, json_seq, ndjson, sse, text};

/// A decoder for any one of the formats: bytes in, complete items out.
///
/// Chunks can be cut anywhere, even inside a character, without a change to the items. An item that
/// lies in one chunk shares, and so keeps, the chunk's memory. Only an item that is cut by the end
/// of a chunk is copied. After each [`push`](Self::push), call [`next`](Self::next) until it
/// returns `None`; the decoder then holds at most one unfinished item and the chunk itself.
///
/// For [`Format::Text`] the items are the lines; for chunks see [`text::ChunkDecoder`].
#[derive(Debug)]
pub struct Decoder(Inner);

#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one lives per connection, and is rarely moved"
)]
enum Inner {
    Ndjson(ndjson::Decoder),
    Sse(sse::Decoder),
    JsonSeq(json_seq::Decoder),
    JsonArray(json_array::Decoder),
    Text(text::LineDecoder),
}

/// Runs the same code with the decoder of any format.
macro_rules! each {
    ($inner:expr, $decoder:ident => $do:expr) => {
        match $inner {
            Inner::Ndjson($decoder) => $do,
            Inner::Sse($decoder) => $do,
            Inner::JsonSeq($decoder) => $do,
            Inner::JsonArray($decoder) => $do,
            Inner::Text($decoder) => $do,
        }
    };
}

impl Decoder {
    /// Creates a decoder at the start of a stream.
    #[must_use]
    pub fn new(format: Format, limits: Limits) -> Self {
        Self(match format {
            Format::Ndjson => Inner::Ndjson(ndjson::Decoder::new(limits)),
            Format::Sse => Inner::Sse(sse::Decoder::new(limits)),
            Format::JsonSeq => Inner::JsonSeq(json_seq::Decoder::new(limits)),
            Format::JsonArray => Inner::JsonArray(json_array::Decoder::new(limits)),
            Format::Text => Inner::Text(text::LineDecoder::new(limits)),
        })
    }

    /// Returns the format that the decoder reads.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.0 {
            Inner::Ndjson(_) => Format::Ndjson,
            Inner::Sse(_) => Format::Sse,
            Inner::JsonSeq(_) => Format::JsonSeq,
            Inner::JsonArray(_) => Format::JsonArray,
            Inner::Text(_) => Format::Text,
        }
    }

    /// Adds the next bytes of the stream, cut anywhere.
    pub fn push(&mut self, chunk: Bytes) {
        each!(&mut self.0, decoder => decoder.push(chunk));
    }

    /// Marks the end of the stream. Chunks that are pushed later are ignored.
    ///
    /// Call it only after a clean end. After a broken connection, drop the decoder: the rest that
    /// it holds isn't complete.
    pub fn finish(&mut self) {
        each!(&mut self.0, decoder => decoder.finish());
    }

    /// Returns the next item. `None` means that more input is needed or, after
    /// [`finish`](Self::finish), that there are no more items.
    ///
    /// # Errors
    ///
    /// If the stream violates the format or a limit. Later calls return the same error, except for
    /// [`Format::JsonSeq`], which continues with the next element.
    #[allow(clippy::should_implement_trait, reason = "`None` may not be the end")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Event>, DecodeError> {
        each!(&mut self.0, decoder => decoder.next())
    }

    /// Returns the number of items that were returned.
    #[must_use]
    pub fn items(&self) -> u64 {
        each!(&self.0, decoder => decoder.items())
    }

    /// Returns the SSE reconnection time, if the stream has set one.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        match &self.0 {
            Inner::Sse(decoder) => decoder.retry(),
            _ => None,
        }
    }

    /// Returns the SSE last event id, which persists between events. Empty until the stream sets
    /// one.
    #[must_use]
    pub fn last_event_id(&self) -> &Str {
        static NONE: Str = Str::from_static("");
        match &self.0 {
            Inner::Sse(decoder) => decoder.last_event_id(),
            _ => &NONE,
        }
    }

    /// Returns the SSE last event id before the event that was returned last. It is valid until the
    /// next call of [`next`](Self::next).
    #[must_use]
    pub fn id_before(&self) -> &Str {
        static NONE: Str = Str::from_static("");
        match &self.0 {
            Inner::Sse(decoder) => decoder.id_before(),
            _ => &NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of each format, and the start of an item that is malformed or exceeds a limit of 10.
    const STREAMS: [(Format, &str, &str); 5] = [
        (Format::Ndjson, "[1]\n[2]\n", "1234567890123"),
        (
            Format::Sse,
            "id: 1\ndata: 1\n\ndata: 2\n\n",
            "data: 1234567890123",
        ),
        (Format::JsonSeq, "\x1e[1]\n\x1e[2]\n", "\x1e1234567890123"),
        (Format::JsonArray, "[[1],[2]", ",1234567890123"),
        (Format::Text, "1\n2\n", "1234567890123"),
    ];

    fn decoder(format: Format) -> Decoder {
        Decoder::new(format, Limits::default().with_max_item_bytes(10))
    }

    #[test]
    fn the_decoder_of_a_format_reads_that_format() {
        for (format, items, _) in STREAMS {
            let mut decoder = decoder(format);
            assert_eq!(decoder.format(), format);
            decoder.push(Bytes::from(items));
            assert!(decoder.next().unwrap().is_some() && decoder.next().unwrap().is_some());
            assert_eq!((decoder.next(), decoder.items()), (Ok(None), 2));
            assert_eq!(
                decoder.last_event_id(),
                if format == Format::Sse { "1" } else { "" }
            );
        }
    }

    #[test]
    fn a_chunk_is_released_once_it_is_read() {
        for (format, items, _) in STREAMS {
            let mut decoder = decoder(format);
            let chunk = Bytes::from(items.as_bytes().to_vec());
            decoder.push(chunk.clone());
            let event = decoder.next().unwrap().unwrap();
            while decoder.next().unwrap().is_some() {}
            assert!(!chunk.is_unique(), "{format}: the event shares its chunk");
            drop(event);
            assert!(chunk.is_unique(), "{format}: nothing else does");
        }
    }

    #[test]
    fn input_after_a_fatal_error_uses_no_memory() {
        for (format, items, broken) in STREAMS {
            let mut decoder = decoder(format);
            let chunk = Bytes::from([items, broken].concat());
            decoder.push(chunk.clone());
            let error = loop {
                match decoder.next() {
                    Ok(event) => assert!(event.is_some(), "{format}: the error comes at once"),
                    Err(error) => break error,
                }
            };
            assert!(
                error.is_too_large() && error.item() == 3,
                "{format}: {error}"
            );
            let more = Bytes::from(b"more".to_vec());
            decoder.push(more.clone());
            if format == Format::JsonSeq {
                assert_eq!(decoder.next(), Ok(None));
            } else {
                assert_eq!(decoder.next(), Err(error));
            }
            assert!(more.is_unique(), "{format}");
        }
    }

    #[test]
    fn input_after_the_end_is_ignored() {
        for (format, items, _) in STREAMS {
            let mut decoder = decoder(format);
            let mut results = Vec::new();
            decoder.push(Bytes::from(items));
            decoder.finish();
            decoder.push(Bytes::from(items));
            while let Ok(Some(event)) = decoder.next() {
                results.push(event.data);
            }
            assert_eq!(results.len(), 2, "{format}");
        }
    }
}
