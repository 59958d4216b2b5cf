//! Streams that are cut into chunks, and what a decoder returns for them.
//!
//! The first [`HEAD`] bytes of an input set the chunk sizes and the limits for the stream that follows.

use std::time::Duration;

use bytes::Bytes;
use headwater_wire::{
    DecodeError, Decoder, Event, Format, Limits, json::without_bom, ndjson::Splitter,
};

use crate::memory::Meter;

/// Bytes that set the chunk sizes and limits.
pub(crate) const HEAD: usize = 4;

/// The chunk sizes of a stream, and the limits of its decoder.
#[derive(Debug)]
pub(crate) struct Cuts {
    /// The decoder's limits.
    pub(crate) limits: Limits,
    sizes: [usize; 3],
}

impl Cuts {
    /// Splits `input` into its head and the stream.
    #[must_use]
    pub(crate) fn parse(input: &[u8]) -> Option<(Self, &[u8])> {
        let ([limits, sizes @ ..], stream) = input.split_first_chunk::<HEAD>()?;
        // Letters from `a` on set small limits, digits the default ones.
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
    pub(crate) fn chunks(&self, stream: &[u8]) -> Vec<Bytes> {
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

/// All that a decoder returns for a stream.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// Its events and errors, in order.
    pub(crate) results: Vec<Result<Event, DecodeError>>,
    /// Its count of items.
    pub(crate) items: u64,
    /// SSE: the reconnection time.
    pub(crate) retry: Option<Duration>,
    /// SSE: the last event id.
    pub(crate) last_event_id: String,
}

/// Decodes a stream that ends cleanly.
pub(crate) fn decode(
    format: Format,
    limits: Limits,
    chunks: impl IntoIterator<Item = Bytes>,
) -> Outcome {
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

/// Takes all events so far. Returns `false` if the decoder is at its end.
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

/// Bounds the memory for a stream of which no event is kept.
fn check_memory(format: Format, limits: Limits, chunks: Vec<Bytes>) {
    let input = chunks.iter().map(Bytes::len).sum();
    let meter = Meter::start();
    let mut decoder = Decoder::new(format, limits);
    for chunk in chunks {
        decoder.push(chunk);
        while decoder.next().is_ok_and(|event| event.is_some()) {}
    }
    decoder.finish();
    while decoder.next().is_ok_and(|event| event.is_some()) {}
    // A copy of what is incomplete. In SSE each byte that isn't UTF-8 becomes three, twice while a buffer grows.
    let per_byte = if format == Format::Sse { 8 } else { 4 };
    meter.check(input, 1 << 10, per_byte);
}

/// Checks that the stream in `input` decodes to the same events in one piece, byte by byte and in its chunks, and that
/// no item exceeds the limits.
pub(crate) fn any_chunking_means_the_same(format: Format, input: &[u8]) {
    let Some((cuts, stream)) = Cuts::parse(input) else {
        return;
    };
    let whole = decode(format, cuts.limits, [Bytes::copy_from_slice(stream)]);
    assert_eq!(decode(format, cuts.limits, cuts.chunks(stream)), whole);
    let bytes = stream.chunks(1).map(Bytes::copy_from_slice);
    assert_eq!(decode(format, cuts.limits, bytes.clone()), whole);
    check_memory(format, cuts.limits, vec![Bytes::copy_from_slice(stream)]);
    check_memory(format, cuts.limits, bytes.collect());
    // In SSE each byte that isn't UTF-8 becomes a character of three bytes.
    let factor = if format == Format::Sse { 3 } else { 1 };
    for event in whole.results.iter().flatten() {
        assert!(event.data.len() <= factor * cuts.limits.max_item_bytes);
    }
}

/// Checks that any chunking of SSE means the same.
///
/// # Panics
/// If it doesn't.
pub fn sse(input: &[u8]) {
    any_chunking_means_the_same(Format::Sse, input);
}

/// Checks that any chunking of NDJSON means the same, and leads to the same unchanged lines.
///
/// # Panics
/// If it doesn't.
pub fn ndjson(input: &[u8]) {
    any_chunking_means_the_same(Format::Ndjson, input);
    let Some((cuts, stream)) = Cuts::parse(input) else {
        return;
    };
    let (whole, fault) = lines(cuts.limits, vec![Bytes::copy_from_slice(stream)]);
    assert_eq!(
        lines(cuts.limits, cuts.chunks(stream)),
        (whole.clone(), fault.clone())
    );
    if fault.is_none() {
        assert_eq!(whole.concat(), without_bom(stream));
    }
    let bytes: Vec<_> = stream.chunks(1).map(Bytes::copy_from_slice).collect();
    let meter = Meter::start();
    let mut splitter = Splitter::new(cuts.limits);
    for byte in bytes {
        splitter.push(byte);
        while splitter.next().is_ok_and(|line| line.is_some()) {}
    }
    meter.check(stream.len(), 1 << 10, 4);
}

/// Returns all lines of a stream that ends cleanly, and the error.
fn lines(limits: Limits, chunks: Vec<Bytes>) -> (Vec<Bytes>, Option<DecodeError>) {
    let mut splitter = Splitter::new(limits);
    let mut lines = Vec::new();
    for chunk in chunks {
        splitter.push(chunk);
        while let Ok(Some(line)) = splitter.next() {
            lines.push(line);
        }
    }
    splitter.finish();
    loop {
        match splitter.next() {
            Ok(Some(line)) => lines.push(line),
            Ok(None) => return (lines, None),
            Err(error) => return (lines, Some(error)),
        }
    }
}

/// Checks that any chunking of a JSON text sequence means the same.
///
/// # Panics
/// If it doesn't.
pub fn json_seq(input: &[u8]) {
    any_chunking_means_the_same(Format::JsonSeq, input);
}

/// Checks that any chunking of a JSON array means the same.
///
/// # Panics
/// If it doesn't.
pub fn json_array(input: &[u8]) {
    any_chunking_means_the_same(Format::JsonArray, input);
}
