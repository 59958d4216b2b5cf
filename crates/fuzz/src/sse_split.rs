//! The splitter of an SSE stream into blocks.

use bytes::Bytes;
use headwater_wire::{DecodeError, Format, Limits, sse::Block, sse::Splitter};

use crate::chunking::{Cuts, decode};
use crate::memory::Meter;

/// Checks that the blocks of a stream are the same for any chunking, add up to the stream, and dispatch its events.
///
/// # Panics
/// If they don't.
pub fn sse_split(input: &[u8]) {
    let Some((cuts, stream)) = Cuts::parse(input) else {
        return;
    };
    check_memory(cuts.limits, stream);
    let (whole, fault) = split(cuts.limits, vec![Bytes::copy_from_slice(stream)]);
    let bytes = stream.chunks(1).map(Bytes::copy_from_slice).collect();
    for chunks in [cuts.chunks(stream), bytes] {
        let (blocks, error) = split(cuts.limits, chunks);
        assert_eq!(error, fault);
        assert_eq!(without_lf(&blocks), without_lf(&whole));
        if error.is_none() {
            let all: Vec<u8> = blocks
                .iter()
                .flat_map(|block| block.bytes.to_vec())
                .collect();
            assert_eq!(all, stream);
            let events: Vec<_> = blocks.into_iter().filter_map(|block| block.event).collect();
            let outcome = decode(Format::Sse, Limits::default(), cuts.chunks(stream));
            let expected: Vec<_> = outcome.results.into_iter().flatten().collect();
            assert_eq!(events, expected);
        }
    }
}

/// Returns all blocks of a stream that ends cleanly, and the error.
fn split(limits: Limits, chunks: Vec<Bytes>) -> (Vec<Block>, Option<DecodeError>) {
    let mut splitter = Splitter::new(limits);
    let mut blocks = Vec::new();
    for chunk in chunks {
        splitter.push(chunk);
        while let Some(block) = match splitter.next() {
            Ok(block) => block,
            Err(error) => return (blocks, Some(error)),
        } {
            blocks.push(block);
        }
    }
    splitter.finish();
    match splitter.next() {
        Ok(block) => blocks.extend(block),
        Err(error) => return (blocks, Some(error)),
    }
    (blocks, None)
}

/// Bounds the memory for a stream of which no block is kept.
fn check_memory(limits: Limits, stream: &[u8]) {
    let chunks: Vec<_> = stream.chunks(1).map(Bytes::copy_from_slice).collect();
    let meter = Meter::start();
    let mut splitter = Splitter::new(limits);
    for chunk in chunks {
        splitter.push(chunk);
        while splitter.next().is_ok_and(|block| block.is_some()) {}
    }
    meter.check(stream.len(), 1 << 10, 8);
}

/// Returns the blocks without the LF of a CRLF that ends one. Depending on the chunks it is in that block or the next.
fn without_lf(blocks: &[Block]) -> Vec<&[u8]> {
    let mut after_cr = false;
    let mut found = Vec::new();
    for block in blocks {
        let mut bytes = &block.bytes[..];
        if after_cr {
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        after_cr = bytes.ends_with(b"\r");
        if bytes.ends_with(b"\r\n") {
            bytes = &bytes[..bytes.len() - 1];
        }
        if !bytes.is_empty() {
            found.push(bytes);
        }
    }
    found
}
