//! A commit: the head of a frame of the journal.
//!
//! ```text
//! n = a number as LEB128
//! position n │ positions n │ time n │ parts n << 1 │ [next id n │ streams n │ bytes n] │ part … │ change …
//!            │             │        │  │ counts    │                                  │
//!
//! part    id n │ messages n << 3 │ gap << 2 │ layout │ [layout u8 │ time n] │ [gap n] │ first offset n │ length n
//!         │ [bytes n] │ sum u32
//! change  key (length n, bytes) │ length n + 1, or 0 for a deletion │ value
//! ```
//!
//! - *position* is that of the first message, *positions* the number that the commit takes: one for each
//!   message, and one for each stream that ended. A *gap* is the number of positions before a part
//!   that ends take.
//! - *next id*, *streams* and *bytes* are the log's numbers after the commit. Without them, only *bytes*
//!   has changed, by those of the messages.
//! - The bytes of the parts are the data of the frame, in the same order. *bytes*, those of the messages
//!   alone, is written for the layout *lengths* only.
//! - If the first layout is 3, the part's messages have a time of their own, and their layout follows: they were restored
//!   from another log.
//! - A change of the index. The state of a stream isn't written if it follows from the parts: more
//!   messages and bytes, and a later time.

use super::bytes::{Cursor, Malformed, put_bytes, put_number};
use super::log_head::Head;
use super::record::{self, Layout};

/// A record that a commit added to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) id: u64,
    /// The offset of the first message.
    pub(crate) first: u64,
    pub(crate) head: record::Head,
    pub(crate) sum: u32,
}

impl Part {
    /// Returns the offset after its last message.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.head.count)
    }
}

/// A key of the index, and its new value, or `None` if it is removed.
pub(crate) type IndexChange = (Vec<u8>, Option<Vec<u8>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) position: u64,
    /// Number of positions that it takes.
    pub(crate) count: u64,
    pub(crate) time: u64,
    /// Next id, number of streams, and bytes of messages.
    pub(crate) counts: Option<[u64; 3]>,
    /// In the order of the messages.
    pub(crate) parts: Vec<Part>,
    pub(crate) changes: Vec<IndexChange>,
}

const GAP: u64 = 4;
const LAYOUT: u64 = 3;
/// In the place of a layout: the time of the part follows, and its layout.
const OWN_TIME: u64 = 3;

impl Commit {
    /// Returns the state of the log after the commit with this number, if `before` was the one before.
    pub(crate) fn head(&self, number: u64, before: Head) -> Head {
        let added = self.parts.iter().map(|part| u64::from(part.head.bytes));
        let [next_id, streams, bytes] = self.counts.unwrap_or_else(|| {
            let bytes = before.bytes + added.sum::<u64>();
            [before.next_id, before.streams, bytes]
        });
        Head {
            commit: number,
            position: self.position + self.count,
            next_id,
            streams,
            bytes,
            time: self.time,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + 20 * self.parts.len());
        for number in [self.position, self.count, self.time] {
            put_number(&mut out, number);
        }
        let parts = self.parts.len() as u64;
        put_number(&mut out, parts << 1 | u64::from(self.counts.is_some()));
        for number in self.counts.into_iter().flatten() {
            put_number(&mut out, number);
        }
        let mut next = self.position;
        for part in &self.parts {
            let gap = part.head.position - next;
            let layout = part.head.layout.number();
            let has_time = part.head.time != self.time;
            let flags = if has_time { OWN_TIME } else { layout } | if gap > 0 { GAP } else { 0 };
            put_number(&mut out, part.id);
            put_number(&mut out, u64::from(part.head.count) << 3 | flags);
            if has_time {
                put_number(&mut out, layout);
                put_number(&mut out, part.head.time);
            }
            if gap > 0 {
                put_number(&mut out, gap);
            }
            put_number(&mut out, part.first);
            put_number(&mut out, part.head.length.into());
            if part.head.layout.lists_bytes() {
                put_number(&mut out, part.head.bytes.into());
            }
            out.extend_from_slice(&part.sum.to_le_bytes());
            next = part.head.position + u64::from(part.head.count);
        }
        for (key, value) in &self.changes {
            put_bytes(&mut out, key);
            match value {
                None => put_number(&mut out, 0),
                Some(value) => {
                    put_number(&mut out, value.len() as u64 + 1);
                    out.extend_from_slice(value);
                }
            }
        }
        out
    }

    /// Decodes all of it.
    pub(crate) fn decode(head: &[u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(head);
        let mut commit = Self::without_changes(&mut cursor)?;
        while !cursor.0.is_empty() {
            let key = cursor.bytes()?.to_vec();
            let value = match cursor.number()?.checked_sub(1) {
                None => None,
                Some(length) => {
                    let length = usize::try_from(length).map_err(|_| Malformed)?;
                    Some(cursor.take(length)?.to_vec())
                }
            };
            commit.changes.push((key, value));
        }
        Ok(commit)
    }

    /// Decodes it without the changes of the index.
    pub(crate) fn decode_parts(head: &[u8]) -> Result<Self, Malformed> {
        Self::without_changes(&mut Cursor(head))
    }

    fn without_changes(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let (position, count, time) = (cursor.number()?, cursor.number()?, cursor.number()?);
        let parts = cursor.number()?;
        let counts = match parts & 1 {
            0 => None,
            _ => Some([cursor.number()?, cursor.number()?, cursor.number()?]),
        };
        let mut commit = Self {
            position,
            count,
            time,
            counts,
            parts: Vec::new(),
            changes: Vec::new(),
        };
        let mut next = position;
        for _ in 0..parts >> 1 {
            let id = cursor.number()?;
            let tag = cursor.number()?;
            let count = small(tag >> 3)?;
            let (layout, time) = match tag & LAYOUT {
                OWN_TIME => (cursor.number()?, cursor.number()?),
                layout => (layout, time),
            };
            let layout = Layout::from_number(layout)?;
            if tag & GAP != 0 {
                next = next.checked_add(cursor.number()?).ok_or(Malformed)?;
            }
            let (first, length) = (cursor.number()?, small(cursor.number()?)?);
            let bytes = match layout {
                Layout::Lines => length.checked_sub(count).ok_or(Malformed)?,
                Layout::Raw => length,
                Layout::Lengths => small(cursor.number()?)?,
                Layout::Lost => return Err(Malformed),
            };
            let sum = cursor.take(4)?.try_into().map_err(|_| Malformed)?;
            let head = record::Head {
                position: next,
                time,
                count,
                length,
                bytes,
                layout,
            };
            next = next.checked_add(count.into()).ok_or(Malformed)?;
            first.checked_add(count.into()).ok_or(Malformed)?;
            commit.parts.push(Part {
                id,
                first,
                head,
                sum: u32::from_le_bytes(sum),
            });
        }
        Ok(commit)
    }
}

fn small(number: u64) -> Result<u32, Malformed> {
    u32::try_from(number).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Numbers = (u64, u64, u32, u32, u64, u32, Option<u64>);

    fn part(time: u64, next: &mut u64, gap: u64, numbers: Numbers) -> Part {
        let (id, first, count, length, layout, sum, own) = numbers;
        let time = own.unwrap_or(time);
        let layout = Layout::from_number(layout).unwrap();
        let bytes = match layout {
            Layout::Lines => length,
            _ => length + count,
        };
        let head = record::Head {
            position: *next + gap,
            time,
            count,
            length: length + count,
            bytes,
            layout,
        };
        *next = head.position + u64::from(count);
        Part {
            id,
            first,
            head,
            sum,
        }
    }

    proptest! {
        #[test]
        fn a_commit_round_trips(
            position in 0..1_u64 << 50, count in 0..99_u64, time: u64, counts: Option<[u64; 3]>,
            parts in prop::collection::vec(
                (0..3_u64, (any::<u64>(), 0..1_u64 << 50, 1..99_u32, 0..9999_u32, 0..3_u64, any::<u32>(), any::<Option<u64>>())), 0..9),
            changes in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..9), any::<Option<Vec<u8>>>()), 0..5),
        ) {
            let mut next = position;
            let parts = parts.into_iter().map(|(gap, numbers)| part(time, &mut next, gap, numbers));
            let parts: Vec<Part> = parts.collect();
            let mut commit = Commit { position, count, time, counts, parts, changes };
            let encoded = commit.encode();
            prop_assert_eq!(Commit::decode(&encoded), Ok(commit.clone()));
            commit.changes.clear();
            prop_assert_eq!(Commit::decode_parts(&encoded), Ok(commit));
        }

        #[test]
        fn no_bytes_make_decoding_panic(head in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = Commit::decode(&head);
        }
    }
}
