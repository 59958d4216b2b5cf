//! Byte order marks before JSON: "implementations that parse JSON texts MAY ignore the presence of
//! a byte order mark rather than treating it as an error" (RFC 8259 §8.1).

use bytes::{Buf, Bytes};

use crate::input::BOM;

/// Returns the text without a byte order mark at its start. `text` is JSON or lines of JSON.
#[inline]
#[must_use]
pub fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(BOM).unwrap_or(text)
}

/// A filter that removes the byte order mark at the start of JSON that arrives in pieces.
#[derive(Debug, Default)]
pub struct SkipBom {
    /// The expected byte of the mark, or the end of the search.
    next: Next,
}

#[derive(Debug, Default, Clone, Copy)]
enum Next {
    #[default]
    First,
    Second,
    Third,
    Text,
}

impl SkipBom {
    /// Returns the next piece of the text. It is empty while the bytes so far can be the start of a
    /// byte order mark. If they turn out not to be one, they are returned in front of the next
    /// piece.
    pub fn piece(&mut self, mut piece: Bytes) -> Bytes {
        loop {
            let (seen, after) = match self.next {
                Next::First => (0, Next::Second),
                Next::Second => (1, Next::Third),
                Next::Third => (2, Next::Text),
                Next::Text => return piece,
            };
            match piece.first() {
                None => return piece,
                Some(byte) if *byte == BOM[seen] => {
                    piece.advance(1);
                    self.next = after;
                }
                Some(_) => {
                    self.next = Next::Text;
                    if seen > 0 {
                        return [&BOM[..seen], &piece].concat().into();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_removed_for_any_chunking() {
        for (text, expected) in [
            (&b"\xef\xbb\xbf[1]"[..], &b"[1]"[..]),
            (b"\xef\xbb\xbf\xef\xbb\xbf", b"\xef\xbb\xbf"),
            (b" \xef\xbb\xbf", b" \xef\xbb\xbf"),
            (b"\xef\xbb[", b"\xef\xbb["),
            (b"\xef\xef\xbb\xbf", b"\xef\xef\xbb\xbf"),
            (b"1", b"1"),
        ] {
            assert_eq!(without_bom(text).len(), expected.len(), "{text:?}");
            for size in 1..=text.len() {
                let mut skip = SkipBom::default();
                let pieces = text.chunks(size);
                let found: Vec<_> = pieces
                    .flat_map(|piece| skip.piece(Bytes::copy_from_slice(piece)))
                    .collect();
                assert_eq!(found, expected, "{text:?} in pieces of {size}");
            }
        }
    }
}
