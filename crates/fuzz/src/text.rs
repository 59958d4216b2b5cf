//! The decoder of plain text.

use headwater_wire::{Format, text::ChunkDecoder};

use crate::chunking::{Cuts, any_chunking_means_the_same};

/// Checks that any chunking of a text means the same, and that the decoder stops at bytes that aren't UTF-8.
///
/// # Panics
/// If it doesn't.
pub fn text(input: &[u8]) {
    any_chunking_means_the_same(Format::Text, input);

    let Some((cuts, stream)) = Cuts::parse(input) else {
        return;
    };
    let mut decoder = ChunkDecoder::new(cuts.limits);
    for chunk in cuts.chunks(stream) {
        decoder.push(chunk);
    }
    decoder.finish();
    let mut text = String::new();
    let error = loop {
        match decoder.next() {
            Ok(Some(event)) => {
                assert!(!event.data.is_empty());
                assert!(event.data.len() <= cuts.limits.max_item_bytes.max(4));
                text += &event.data;
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    match (std::str::from_utf8(stream), error) {
        (Ok(stream), None) => assert_eq!(text, stream),
        (Err(fault), Some(error)) => {
            assert_eq!(text.as_bytes(), &stream[..fault.valid_up_to()]);
            assert_eq!(error.offset(), fault.valid_up_to() as u64);
            assert_eq!(error.is_truncated(), fault.error_len().is_none());
        }
        (utf8, error) => panic!("{utf8:?}, but the decoder says {error:?}"),
    }
}
