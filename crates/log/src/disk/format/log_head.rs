//! The state of the log as a whole.

use super::bytes::{Malformed, decode_numbers, encode_numbers};

/// The state of the whole log after a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of the last commit. The first is 1.
    pub(crate) commit: u64,
    /// The position after the commit's last message or end.
    pub(crate) position: u64,
    /// The id of the next stream.
    pub(crate) next_id: u64,
    /// Number of streams, including hidden ones.
    pub(crate) streams: u64,
    /// Bytes of the messages of these streams, without trimmed ones.
    pub(crate) bytes: u64,
    /// The time of the commit, in milliseconds. It goes back only if the clock was wrong.
    pub(crate) time: u64,
}

impl Head {
    /// The state of an empty log.
    pub(crate) const EMPTY: Self = Self {
        commit: 0,
        position: 0,
        next_id: 1,
        streams: 0,
        bytes: 0,
        time: 0,
    };

    /// Returns the numbers in the order in which they are stored.
    pub(crate) fn numbers(self) -> [u64; 6] {
        [
            self.commit,
            self.position,
            self.next_id,
            self.streams,
            self.bytes,
            self.time,
        ]
    }

    pub(crate) fn from_numbers(
        [commit, position, next_id, streams, bytes, time]: [u64; 6],
    ) -> Self {
        Self {
            commit,
            position,
            next_id,
            streams,
            bytes,
            time,
        }
    }
}

/// Encodes a single number.
pub(crate) fn encode_number(number: u64) -> Vec<u8> {
    encode_numbers(&[number])
}

pub(crate) fn decode_number(value: &[u8]) -> Result<u64, Malformed> {
    let [number] = decode_numbers(value)?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(number: u64) {
            prop_assert_eq!(decode_number(&encode_number(number)), Ok(number));
        }
    }
}
