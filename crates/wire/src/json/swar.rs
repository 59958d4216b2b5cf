//! Searches of eight bytes at a time. Most strings in JSON are short, so a call to a vectorised
//! search would cost more than it saves.

const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES * 0x80;

/// Returns the number of bytes before the first `"` or `\`.
#[inline]
pub(super) fn until_quote_or_escape(bytes: &[u8]) -> usize {
    until(
        bytes,
        |word| equal(word, b'"') | equal(word, b'\\'),
        |byte| matches!(byte, b'"' | b'\\'),
    )
}

/// Returns the number of bytes before the first `"`, `\` or control character.
#[inline]
pub(super) fn until_special(bytes: &[u8]) -> usize {
    until(
        bytes,
        |word| {
            let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            controls | equal(word, b'"') | equal(word, b'\\')
        },
        |byte| matches!(byte, b'"' | b'\\' | 0..0x20),
    )
}

/// Returns the number of bytes before the first match. `marks` sets the high bit of the first
/// matching byte, and possibly of later ones.
#[inline]
fn until(bytes: &[u8], marks: impl Fn(u64) -> u64, found: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let marks = marks(u64::from_le_bytes(*word));
        if marks != 0 {
            return n * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let rest_len = rest
        .iter()
        .position(|byte| found(*byte))
        .unwrap_or(rest.len());
    words.len() * 8 + rest_len
}

#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    let differences = word ^ (ONES * u64::from(byte));
    differences.wrapping_sub(ONES) & !differences & HIGHS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_match_is_found_at_any_position() {
        for len in 0..20 {
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'!'; len];
                    bytes[at] = byte;
                    // A byte that differs in one bit must neither hide the match nor be mistaken
                    // for it.
                    bytes[at + 1..].fill(byte ^ 1);
                    let first =
                        |found: fn(&u8) -> bool| bytes.iter().position(found).unwrap_or(len);
                    assert_eq!(
                        until_quote_or_escape(&bytes),
                        first(|byte| matches!(byte, b'"' | b'\\')),
                    );
                    assert_eq!(
                        until_special(&bytes),
                        first(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)),
                    );
                }
            }
        }
    }
}
