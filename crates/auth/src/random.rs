//! Random text from the operating system.

use ring::rand::{SecureRandom as _, SystemRandom};

/// The operating system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandom;

/// Lower-case letters and digits.
pub(crate) const BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Letters and digits.
pub(crate) const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Number of base 62 characters that have the entropy of 32 bytes: 43 · log₂ 62 > 256.
pub(crate) const SECRET_CHARS: usize = 43;

/// Returns independent, equally probable characters of an alphabet of at most 256.
pub(crate) fn text(alphabet: &[u8], chars: usize) -> Result<String, NoRandom> {
    let random = SystemRandom::new();
    // Bytes beyond the largest multiple of the alphabet's size would make some characters more
    // probable.
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(chars);
    let mut bytes = [0; 64];
    while text.len() < chars {
        random.fill(&mut bytes).map_err(|_| NoRandom)?;
        let fair = bytes
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < fair);
        let left = chars - text.len();
        text.extend(
            fair.take(left)
                .map(|byte| char::from(alphabet[byte % alphabet.len()])),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_the_requested_length_and_every_character_of_its_alphabet() {
        for (alphabet, chars) in [(BASE36, 12), (BASE62, SECRET_CHARS), (BASE62, 10_000)] {
            let text = text(alphabet, chars).unwrap();
            assert_eq!(text.len(), chars);
            assert!(text.bytes().all(|byte| alphabet.contains(&byte)));
            if chars > 1000 {
                assert!(alphabet.iter().all(|byte| text.contains(char::from(*byte))));
            }
        }
        assert_ne!(text(BASE62, 43), text(BASE62, 43));
    }
}
