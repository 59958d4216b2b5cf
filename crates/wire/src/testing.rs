//! Functions that the tests of all decoders share.

use std::time::Duration;

use bytes::Bytes;

use crate::{DecodeError, Decoder, Event, Format, Limits, text::ChunkDecoder};

/// The complete output of a decoder for a stream.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) results: Vec<Result<Event, DecodeError>>,
    pub(crate) items: u64,
    pub(crate) retry: Option<Duration>,
    pub(crate) last_event_id: String,
}

impl Outcome {
    /// Returns the data of the events, up to the first error.
    pub(crate) fn data(&self) -> Vec<&str> {
        self.results
            .iter()
            .map_while(|result| result.as_ref().ok())
            .map(|event| &*event.data)
            .collect()
    }

    /// Returns the first error as text.
    pub(crate) fn error(&self) -> Option<String> {
        self.results
            .iter()
            .find_map(|result| result.as_ref().err())
            .map(ToString::to_string)
    }
}

/// The chunking of a stream, and the time of the calls to the decoder.
#[derive(Debug, Clone)]
pub(crate) struct Cuts {
    /// The sizes of the chunks, repeated; none of them is 0.
    pub(crate) sizes: Vec<usize>,
    /// `true` if all chunks are pushed before the first event is requested.
    pub(crate) push_all_first: bool,
}

impl Cuts {
    pub(crate) fn every(size: usize) -> Self {
        Self {
            sizes: vec![size],
            push_all_first: false,
        }
    }

    pub(crate) fn chunks(&self, bytes: &[u8]) -> Vec<Bytes> {
        let mut rest = Bytes::copy_from_slice(bytes);
        let mut chunks = Vec::new();
        for size in self.sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            chunks.push(rest.split_to(rest.len().min(*size)));
        }
        chunks
    }
}

/// Decodes a whole stream that ends cleanly.
pub(crate) fn decode(format: Format, limits: Limits, bytes: &[u8], cuts: &Cuts) -> Outcome {
    let mut decoder = Decoder::new(format, limits);
    let mut results = Vec::new();
    for chunk in cuts.chunks(bytes) {
        decoder.push(chunk);
        decoder.push(Bytes::new());
        if !cuts.push_all_first {
            drain(&mut decoder, &mut results);
        }
    }
    decoder.finish();
    drain(&mut decoder, &mut results);
    Outcome {
        items: decoder.items(),
        retry: decoder.retry(),
        last_event_id: decoder.last_event_id().to_string(),
        results,
    }
}

/// Decodes a stream in one piece and in many other chunkings, and compares the results: the data of
/// each event, or `error: ` and the message.
#[track_caller]
pub(crate) fn check(format: Format, limits: Limits, bytes: &[u8], expected: &[&str]) -> Outcome {
    let whole = decode(format, limits, bytes, &Cuts::every(usize::MAX));
    let found: Vec<String> = whole
        .results
        .iter()
        .map(|result| match result {
            Ok(event) => event.data.to_string(),
            Err(error) => format!("error: {error}"),
        })
        .collect();
    assert_eq!(found, expected, "in one piece: {}", bytes.escape_ascii());
    for size in 1..=bytes.len().min(12) {
        let cut = decode(format, limits, bytes, &Cuts::every(size));
        assert_eq!(cut, whole, "in pieces of {size}: {}", bytes.escape_ascii());
    }
    whole
}

fn drain(decoder: &mut Decoder, results: &mut Vec<Result<Event, DecodeError>>) {
    let goes_on = decoder.format() == Format::JsonSeq;
    loop {
        match decoder.next() {
            Ok(Some(event)) => results.push(Ok(event)),
            Ok(None) => return,
            Err(error) if goes_on => results.push(Err(error)),
            Err(error) => {
                assert_eq!(decoder.next(), Err(error.clone()), "an error stays");
                // Chunks after an error don't repeat it.
                if !matches!(results.last(), Some(Err(_))) {
                    results.push(Err(error));
                }
                return;
            }
        }
    }
}

/// Returns the texts and the error of a [`ChunkDecoder`].
pub(crate) fn decode_chunks(
    limits: Limits,
    bytes: &[u8],
    cuts: &Cuts,
) -> (Vec<String>, Option<DecodeError>) {
    let mut decoder = ChunkDecoder::new(limits);
    let mut texts = Vec::new();
    let mut chunks = cuts.chunks(bytes).into_iter();
    loop {
        match decoder.next() {
            Ok(Some(event)) => texts.push(event.data.into()),
            Err(error) => return (texts, Some(error)),
            Ok(None) => match chunks.next() {
                Some(chunk) => decoder.push(chunk),
                None => {
                    decoder.finish();
                    return match decoder.next() {
                        Ok(None) => (texts, None),
                        Ok(Some(event)) => panic!("the end brings nothing new, but {event:?}"),
                        Err(error) => (texts, Some(error)),
                    };
                }
            },
        }
    }
}
