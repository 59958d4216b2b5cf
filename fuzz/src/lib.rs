//! What the fuzz targets share: streams that are cut into chunks, and what a decoder says of them.
//!
//! Of an input the first [`HEAD`] bytes say how the stream behind them is cut and limited.

use std::time::Duration;

use bytes::Bytes;
use headwater_wire::{DecodeError, Decoder, Event, Format, Limits};

/// How many bytes say how the stream is cut.
pub const HEAD: usize = 4;

/// How a stream is cut into chunks, and the limits of its decoder.
#[derive(Debug)]
pub struct Cuts {
    /// The decoder's limits.
    pub limits: Limits,
    sizes: [usize; 3],
}

impl Cuts {
    /// Reads the head of `input`; gives it and the stream.
    #[must_use]
    pub fn parse(input: &[u8]) -> Option<(Self, &[u8])> {
        let ([limits, sizes @ ..], stream) = input.split_first_chunk::<HEAD>()?;
        // The letters from `a` on make for small limits, digits for the default ones.
        let limits = match limits.checked_sub(b'a') {
            Some(n) => Limits::default()
                .with_max_item_bytes(usize::from(n))
                .with_max_depth(usize::from(n % 5)),
            None => Limits::default(),
        };
        let sizes = sizes.map(|size| 1 + usize::from(size.wrapping_sub(b'0') % 32));
        Some((Self { limits, sizes }, stream))
    }

    /// Cuts `stream`.
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

/// All that a decoder says of a stream.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// What it gave, in order.
    pub results: Vec<Result<Event, DecodeError>>,
    /// How many items it counted.
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

/// Takes all that there is; false if the decoder gives nothing more.
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

/// Checks that the stream in `input` means the same in one piece, byte by byte and as it is cut,
/// and that no item exceeds the limits.
pub fn any_chunking_means_the_same(format: Format, input: &[u8]) {
    let Some((cuts, stream)) = Cuts::parse(input) else {
        return;
    };
    let whole = decode(format, cuts.limits, [Bytes::copy_from_slice(stream)]);
    assert_eq!(decode(format, cuts.limits, cuts.chunks(stream)), whole);
    let bytes = stream.chunks(1).map(Bytes::copy_from_slice);
    assert_eq!(decode(format, cuts.limits, bytes), whole);
    // What isn't UTF-8 in SSE becomes a character of three bytes for each byte at most.
    let factor = if format == Format::Sse { 3 } else { 1 };
    for event in whole.results.iter().flatten() {
        assert!(event.data.len() <= factor * cuts.limits.max_item_bytes);
    }
}
