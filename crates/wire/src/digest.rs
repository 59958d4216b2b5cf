//! A running digest of messages: one number for everything that a producer has published.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_128;

/// The digest of a sequence of messages: 128 bits of XXH3.
///
/// It depends only on the messages, their boundaries and their order, not on the batching. Equal
/// digests mean equal sequences, except for an accident with a probability of about 1 in 2^64. It
/// doesn't protect against a deliberate search for two sequences with the same digest.
///
/// Its text is 32 hexadecimal digits.
///
/// ```
/// use headwater_wire::Digest;
///
/// let mut digest = Digest::EMPTY;
/// digest.add(b"one");
/// digest.add(b"two");
/// assert_eq!(digest.to_string().parse(), Ok(digest));
/// assert_ne!(digest, Digest::EMPTY);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(u128);

/// The error for a text that isn't a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 32 hexadecimal digits")]
pub struct NoDigest;

impl Digest {
    /// The digest of an empty sequence.
    pub const EMPTY: Self = Self(0);

    /// Creates a digest from its bytes, lowest first, as returned by [`to_bytes`](Self::to_bytes).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    /// Returns the bytes, lowest first.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// Adds the next message. The new digest is the hash of the previous digest, the hash of the
    /// message, and its length in bytes.
    pub fn add(&mut self, message: &[u8]) {
        let mut chained = [0; 40];
        chained[..16].copy_from_slice(&self.0.to_le_bytes());
        chained[16..32].copy_from_slice(&xxh3_128(message).to_le_bytes());
        chained[32..].copy_from_slice(&(message.len() as u64).to_le_bytes());
        self.0 = xxh3_128(&chained);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Digest {
    type Err = NoDigest;

    /// # Errors
    ///
    /// If the text isn't exactly 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, NoDigest> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoDigest);
        }
        u128::from_str_radix(text, 16)
            .map(Self)
            .map_err(|_| NoDigest)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(messages: &[&[u8]]) -> Digest {
        let mut digest = Digest::EMPTY;
        for message in messages {
            digest.add(message);
        }
        digest
    }

    #[test]
    fn digests_depend_on_messages_boundaries_and_order() {
        let all = [
            of(&[]),
            of(&[b""]),
            of(&[b"", b""]),
            of(&[b"ab"]),
            of(&[b"a", b"b"]),
            of(&[b"b", b"a"]),
            of(&[b"a", b"b", b""]),
        ];
        for (at, digest) in all.iter().enumerate() {
            assert!(!all[..at].contains(digest), "{at}");
        }
    }

    #[test]
    fn a_digest_is_the_same_in_every_version() {
        // The digest is stored, and compared with the result of other programs.
        assert_eq!(of(&[]).to_string(), "0".repeat(32));
        assert_eq!(
            of(&[b"{\"order\":1}", b"2"]).to_string(),
            "eb63f78a72806930a72d255e403b9b07"
        );
    }

    proptest! {
        #[test]
        fn bytes_and_text_round_trip(bytes: [u8; 16]) {
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(digest.to_bytes(), bytes);
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        for bad in [
            "",
            "0",
            "+0000000000000000000000000000000",
            &"g".repeat(32),
            &"0".repeat(33),
        ] {
            assert_eq!(bad.parse::<Digest>(), Err(NoDigest), "{bad}");
        }
    }
}
