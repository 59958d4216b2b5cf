//! A commit: the effect of one atomic, synced write, and its place in the order of all streams.

use super::bytes::{Cursor, Malformed, put_number, seal, unseal};
use super::keys;

/// The effect of a commit on one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) id: u64,
    /// `true` if the commit left a state of the stream, `false` if it removed the stream.
    pub(crate) lives: bool,
    /// Number of messages that it added.
    pub(crate) count: u64,
    /// The offset of the first message.
    pub(crate) first: u64,
    /// Number of the commit's positions before the part.
    pub(crate) before: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The position of its first message.
    pub(crate) position: u64,
    pub(crate) number: u64,
    /// Number of positions of the commit: one for each message that it added, including those
    /// reclaimed since, and one for each stream that ended.
    pub(crate) count: u64,
    /// In the order of the messages. A part is removed when its messages are reclaimed.
    pub(crate) parts: Vec<Part>,
}

impl Commit {
    pub(crate) fn key(&self) -> [u8; 16] {
        keys::commit(self.position, self.number)
    }

    /// Returns `true` if no message of the commit is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.parts.iter().all(|part| part.count == 0)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 12 * self.parts.len());
        put_number(&mut out, self.count);
        for part in &self.parts {
            put_number(&mut out, part.id);
            put_number(&mut out, part.count << 1 | u64::from(part.lives));
            if part.count > 0 {
                put_number(&mut out, part.first);
                put_number(&mut out, part.before);
            }
        }
        seal(&self.key(), out)
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self, Malformed> {
        let (position, number) = keys::commit_of(key).ok_or(Malformed)?;
        let mut cursor = Cursor(unseal(key, value)?);
        let count = cursor.number()?;
        let mut parts = Vec::new();
        while !cursor.0.is_empty() {
            let id = cursor.number()?;
            let flags = cursor.number()?;
            let (count, lives) = (flags >> 1, flags & 1 == 1);
            let (first, before) = if count > 0 {
                (cursor.number()?, cursor.number()?)
            } else {
                (0, 0)
            };
            parts.push(Part {
                id,
                lives,
                count,
                first,
                before,
            });
        }
        Ok(Self {
            position,
            number,
            count,
            parts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_commit_round_trips(
            position: u64, number: u64, count: u64,
            parts in prop::collection::vec((any::<u64>(), any::<bool>(), 0..9_u64, any::<u64>()), 0..9),
        ) {
            let parts = parts.into_iter().map(|(id, lives, count, first)| {
                let (first, before) = if count > 0 { (first, first / 2) } else { (0, 0) };
                Part { id, lives, count, first, before }
            });
            let commit = Commit { position, number, count, parts: parts.collect() };
            prop_assert_eq!(Commit::decode(&commit.key(), &commit.encode()), Ok(commit));
        }
    }
}
