//! Shared code of the fuzz targets: streams that are cut into chunks, and the output of a decoder
//! for them.
//!
//! The first [`HEAD`] bytes of an input determine the chunking and the limits of the stream after
//! them.

use std::time::Duration;

use bytes::Bytes;
use headwater_wire::{DecodeError, Decoder, Event, Format, Limits};

/// Number of bytes that determine the chunking and the limits.
pub const HEAD: usize = 4;

/// The chunking of a stream, and the limits of its decoder.
#[derive(Debug)]
pub struct Cuts {
    /// The decoder's limits.
    pub limits: Limits,
    sizes: [usize; 3],
}

impl Cuts {
    /// Reads the head of `input`. Returns it with the stream.
    #[must_use]
    pub fn parse(input: &[u8]) -> Option<(Self, &[u8])> {
        let ([limits, sizes @ ..], stream) = input.split_first_chunk::<HEAD>()?;
        // The letters from `a` on select small limits, digits the default ones.
        let limits = match limits.checked_sub(b'a') {
            Some(n) => Limits::default()
                .with_max_item_bytes(usize::from(n))
                .with_max_depth(usize::from(n % 5)),
            None => Limits::default(),
        };
        let sizes = sizes.map(|size| 1 + usize::from(size.wrapping_sub(b'0') % 32));
        Some((Self { limits, sizes }, stream))
    }

    /// Cuts `stream` into chunks.
    pub fn chunks(&self, stream: &[u8]) -> Vec<Bytes> {
        let mut rest = Bytes::copy_from_slice(stream);
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

/// The complete output of a decoder for a stream.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// The results, in order.
    pub results: Vec<Result<Event, DecodeError>>,
    /// Number of items that it counted.
    pub items: u64,
    /// SSE: the reconnection time.
    pub retry: Option<Duration>,
    /// SSE: the last event id.
    pub last_event_id: String,
}

/// Decodes a stream that ends cleanly.
pub fn decode(format: Format, limits: Limits, chunks: impl IntoIterator<Item = Bytes>) -> Outcome {
    let mut decoder = Decoder::new(format, limits);
    let mut results = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        if !drain(&mut decoder, &mut results) {
            break;
        }
    }
    decoder.finish();
    drain(&mut decoder, &mut results);
    results.dedup_by(|a, b| a.is_err() && a == b);
    Outcome {
        results,
        items: decoder.items(),
        retry: decoder.retry(),
        last_event_id: decoder.last_event_id().to_string(),
    }
}

/// Takes all available results. Returns `false` if the decoder returns no more.
fn drain(decoder: &mut Decoder, results: &mut Vec<Result<Event, DecodeError>>) -> bool {
    loop {
        match decoder.next() {
            Ok(Some(event)) => results.push(Ok(event)),
            Ok(None) => return true,
            Err(error) => {
                results.push(Err(error));
                if decoder.format() != Format::JsonSeq {
                    return false;
                }
            }
        }
    }
}

/// Checks that the stream in `input` decodes the same in one piece, byte by byte and in its chunks,
/// and that no item exceeds the limits.
pub fn any_chunking_means_the_same(format: Format, input: &[u8]) {
    let Some((cuts, stream)) = Cuts::parse(input) else {
        return;
    };
    let whole = decode(format, cuts.limits, [Bytes::copy_from_slice(stream)]);
    assert_eq!(decode(format, cuts.limits, cuts.chunks(stream)), whole);
    let bytes = stream.chunks(1).map(Bytes::copy_from_slice);
    assert_eq!(decode(format, cuts.limits, bytes), whole);
    // In SSE, each invalid byte becomes at most one character of three bytes.
    let factor = if format == Format::Sse { 3 } else { 1 };
    for event in whole.results.iter().flatten() {
        assert!(event.data.len() <= factor * cuts.limits.max_item_bytes);
    }
}
