//! The progress of the log: its last commit and its checkpoint.

use super::bytes::{Malformed, seal_numbers, unseal_numbers};
use super::keys;

/// The state of the whole log after a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of the last commit. The first is 1.
    pub(crate) commit: u64,
    /// The position after the commit's last message or end.
    pub(crate) position: u64,
    /// The id of the next stream.
    pub(crate) next_id: u64,
    /// Number of streams, including those that aren't reclaimed yet.
    pub(crate) streams: u64,
    /// Bytes of messages that aren't reclaimed yet.
    pub(crate) bytes: u64,
    /// The time of the commit, in milliseconds. It goes back only if the clock was wrong.
    pub(crate) time: u64,
}

impl Head {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self {
            commit,
            position,
            next_id,
            streams,
            bytes,
            time,
        } = *self;
        let numbers = [commit, position, next_id, streams, bytes, time];
        seal_numbers(keys::HEAD, &numbers)
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let [commit, position, next_id, streams, bytes, time] = unseal_numbers(keys::HEAD, value)?;
        Ok(Self {
            commit,
            position,
            next_id,
            streams,
            bytes,
            time,
        })
    }
}

/// The commit up to which everything is in tables and nothing depends on the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) commit: u64,
    /// The position after the commit's last message or end.
    pub(crate) position: u64,
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        seal_numbers(keys::CHECKPOINT, &[self.commit, self.position])
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Self, Malformed> {
        let [commit, position] = unseal_numbers(keys::CHECKPOINT, value)?;
        Ok(Self { commit, position })
    }
}

/// Encodes a single number under a key.
pub(crate) fn encode_number(key: &[u8], number: u64) -> Vec<u8> {
    seal_numbers(key, &[number])
}

pub(crate) fn decode_number(key: &[u8], value: &[u8]) -> Result<u64, Malformed> {
    let [number] = unseal_numbers(key, value)?;
    Ok(number)
}

/// Encodes the record of a removed stream: the commit that ended it, and the first offset of its
/// own that it had.
pub(crate) fn encode_garbage(key: &[u8], commit: u64, floor: u64) -> Vec<u8> {
    seal_numbers(key, &[commit, floor])
}

/// Returns the floor of a removed stream, or 0 if an older version wrote the record without one.
pub(crate) fn decode_garbage(key: &[u8], value: &[u8]) -> Result<u64, Malformed> {
    match unseal_numbers(key, value) {
        Ok([_commit, floor]) => Ok(floor),
        Err(_) => decode_number(key, value).map(|_commit| 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn head_checkpoint_and_numbers_round_trip(a: [u64; 6]) {
            let [commit, position, next_id, streams, bytes, time] = a;
            let head = Head { commit, position, next_id, streams, bytes, time };
            prop_assert_eq!(Head::decode(&head.encode()), Ok(head));
            let checkpoint = Checkpoint { commit, position };
            prop_assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
            prop_assert_eq!(decode_number(b"N", &encode_number(b"N", commit)), Ok(commit));
            prop_assert_eq!(decode_garbage(b"G", &encode_garbage(b"G", commit, bytes)), Ok(bytes));
            prop_assert_eq!(decode_garbage(b"G", &encode_number(b"G", commit)), Ok(0));
        }
    }
}
