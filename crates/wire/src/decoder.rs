use std::time::Duration;

use bytes::Bytes;

use crate::{DecodeError, Event, Format, Limits, Str, json_array, json_seq, ndjson, sse, text};

/// Reads a stream in any one of the formats: bytes in, complete items out.
///
/// Chunks may be cut anywhere, inside a character too: the items are the same. An item that lies in
/// one chunk shares its memory, and so keeps it; only what is cut by the end of a chunk is copied.
/// Call [`next`](Self::next) until it gives `None` after each [`push`](Self::push), and the decoder
/// holds no more than one unfinished item and the chunk itself.
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

/// Does the same with the decoder of whatever format it is.
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
    /// A decoder at the start of a stream.
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

    /// The format that it reads.
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

    /// Says that no more bytes will come; what is pushed after this is ignored.
    ///
    /// Only a clean end may be told so. After a broken connection, drop the decoder: what it still
    /// holds is not complete.
    pub fn finish(&mut self) {
        each!(&mut self.0, decoder => decoder.finish());
    }

    /// The next item. `None`: more input is needed or, after [`finish`](Self::finish), this was
    /// all.
    ///
    /// # Errors
    /// The stream breaks the format or a limit. Every later call says the same, but for
    /// [`Format::JsonSeq`], which goes on with the next element.
    #[allow(clippy::should_implement_trait, reason = "`None` may not be the end")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<Event>, DecodeError> {
        each!(&mut self.0, decoder => decoder.next())
    }

    /// How many items it has given.
    #[must_use]
    pub fn items(&self) -> u64 {
        each!(&self.0, decoder => decoder.items())
    }

    /// SSE: the time to wait before a reconnect, if the stream has named one.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        match &self.0 {
            Inner::Sse(decoder) => decoder.retry(),
            _ => None,
        }
    }

    /// SSE: the last event id, which persists; empty until the stream sets one.
    #[must_use]
    pub fn last_event_id(&self) -> &Str {
        static NONE: Str = Str::from_static("");
        match &self.0 {
            Inner::Sse(decoder) => decoder.last_event_id(),
            _ => &NONE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items of each format, and the start of one that is broken or too large for a limit of 10.
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
    fn a_chunk_that_is_read_is_let_go() {
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
    fn what_comes_after_a_fatal_error_takes_no_memory() {
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
    fn nothing_is_read_after_the_end() {
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
