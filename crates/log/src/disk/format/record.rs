//! A record: messages of one stream that were committed together.
//!
//! A record is what is trimmed, checked and moved as a whole. It has up to 64 KiB of messages, or one
//! larger message. Its bytes have one of four layouts:
//!
//! ```text
//! lines     each message and a line feed, if no message contains one
//! lengths   the length of each message as LEB128, then the messages
//! raw       one message larger than 64 KiB, as it is
//! lost      none: the messages were damaged when their segment was rewritten. In sorted files only
//! ```

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::bytes::{Cursor, Malformed, put_number};
use crate::block::Block;
use crate::clock::Timestamp;
use crate::grouping::RECORD_BYTES;
use crate::offset::Offset;

/// The arrangement of a record's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Lines,
    Lengths,
    Raw,
    Lost,
}

impl Layout {
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Lines => 0,
            Self::Lengths => 1,
            Self::Raw => 2,
            Self::Lost => 3,
        }
    }

    /// Returns `true` if the bytes of a record's messages don't follow from its count and length.
    pub(crate) fn lists_bytes(self) -> bool {
        matches!(self, Self::Lengths | Self::Lost)
    }

    pub(crate) fn from_number(number: u64) -> Result<Self, Malformed> {
        match number {
            0 => Ok(Self::Lines),
            1 => Ok(Self::Lengths),
            2 => Ok(Self::Raw),
            3 => Ok(Self::Lost),
            _ => Err(Malformed),
        }
    }
}

/// The description of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The position of its first message in the order of all streams.
    pub(crate) position: u64,
    /// The time of the commit, in milliseconds.
    pub(crate) time: u64,
    /// Number of messages, at least 1.
    pub(crate) count: u32,
    /// Length of its bytes.
    pub(crate) length: u32,
    /// Bytes of its messages. Those of lost messages stay, as the bytes of a stream include them until they
    /// are trimmed.
    pub(crate) bytes: u32,
    pub(crate) layout: Layout,
}

impl Head {
    /// Returns the head without the record's bytes, which are damaged.
    pub(crate) fn lost(self) -> Self {
        Self {
            length: 0,
            layout: Layout::Lost,
            ..self
        }
    }
}

/// A record with its bytes, which are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The offset of its first message.
    pub(crate) first: u64,
    pub(crate) head: Head,
    pub(crate) data: Bytes,
}

/// Returns the checksum of a record's bytes, or of several records' that follow each other.
pub(crate) fn sum(data: &[u8]) -> u32 {
    let [a, b, c, d, ..] = xxh3_64(data).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn length_of(bytes: usize) -> u32 {
    // Limits keep an append far below this.
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Returns messages of so many bytes, each with a line feed. `None` if one contains a line feed.
fn lines(messages: &[Bytes], bytes: usize) -> Option<Bytes> {
    let mut data = Vec::with_capacity(bytes + messages.len());
    for message in messages {
        data.extend_from_slice(message);
        data.push(b'\n');
    }
    // One search is faster than one in each message.
    let found = memchr::memchr_iter(b'\n', &data).count();
    (found == messages.len()).then(|| data.into())
}

/// Returns the lengths of messages of so many bytes, and the messages.
fn with_lengths(messages: &[Bytes], bytes: usize) -> Bytes {
    let mut data = Vec::with_capacity(bytes + 3 * messages.len());
    for message in messages {
        put_number(&mut data, message.len() as u64);
    }
    messages.iter().for_each(|it| data.extend_from_slice(it));
    data.into()
}

impl Record {
    /// Encodes messages, of which there is at least one.
    pub(crate) fn encode(first: u64, position: u64, time: u64, messages: &[Bytes]) -> Self {
        let bytes: usize = messages.iter().map(Bytes::len).sum();
        let (layout, data) = match messages {
            [message] if bytes > RECORD_BYTES => (Layout::Raw, message.clone()),
            _ => match lines(messages, bytes) {
                Some(lines) => (Layout::Lines, lines),
                None => (Layout::Lengths, with_lengths(messages, bytes)),
            },
        };
        let head = Head {
            position,
            time,
            count: length_of(messages.len()),
            length: length_of(data.len()),
            bytes: length_of(bytes),
            layout,
        };
        Self { first, head, data }
    }

    /// Returns the offset after its last message.
    pub(crate) fn end(&self) -> u64 {
        self.first + u64::from(self.head.count)
    }

    /// Returns its messages in blocks: one of lines, or one for each message.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let time = Timestamp(self.head.time);
        let is_lines = self.head.layout == Layout::Lines;
        let lines = is_lines.then(|| {
            let Self { first, head, data } = self;
            Block::of_lines(Offset::new(*first), time, head.count, data.clone())
        });
        let count = if is_lines { 0 } else { usize::MAX };
        let messages = self.messages().take(count);
        let others = messages.map(move |(at, bytes)| Block::message(Offset::new(at), time, bytes));
        lines.into_iter().chain(others)
    }

    /// Returns its messages, each with its offset. They end early if the bytes aren't those that
    /// the head describes, and a lost record has none.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        let mut lengths = Cursor(&self.data);
        let mut start = 0;
        if self.head.layout == Layout::Lengths {
            for _ in 0..self.head.count {
                let _malformed = lengths.number();
            }
            start = self.data.len() - lengths.0.len();
            lengths = Cursor(&self.data);
        }
        (self.first..self.end()).map_while(move |offset| {
            let (end, next) = match self.head.layout {
                Layout::Raw => (self.data.len(), self.data.len()),
                Layout::Lost => return None,
                Layout::Lines => {
                    let end = start + memchr::memchr(b'\n', self.data.get(start..)?)?;
                    (end, end + 1)
                }
                Layout::Lengths => {
                    let length = usize::try_from(lengths.number().ok()?).ok()?;
                    let end = start.checked_add(length)?;
                    (end, end)
                }
            };
            self.data.get(start..end)?;
            let message = self.data.slice(start..end);
            start = next;
            Some((offset, message))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_round_trips(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20),
            lines: bool, first in 0..1_u64 << 50, position: u64, time: u64,
        ) {
            let mut messages = messages;
            if lines {
                messages.iter_mut().for_each(|message| message.retain(|byte| *byte != b'\n'));
            }
            let messages: Vec<Bytes> = messages.into_iter().map(Bytes::from).collect();
            let record = Record::encode(first, position, time, &messages);
            prop_assert!(!lines || record.head.layout == Layout::Lines);
            let offsets: Vec<u64> = record.messages().map(|(offset, _)| offset).collect();
            prop_assert_eq!(offsets, (first..record.end()).collect::<Vec<_>>());
            let back: Vec<Bytes> = record.messages().map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(usize::try_from(record.head.bytes).unwrap(), messages.iter().map(Bytes::len).sum::<usize>());
            prop_assert_eq!(back, messages);
            prop_assert_eq!((record.head.position, record.head.time), (position, time));
            prop_assert_eq!(Layout::from_number(record.head.layout.number()), Ok(record.head.layout));
        }

        #[test]
        fn bytes_of_another_record_make_no_message_panic(
            data in prop::collection::vec(any::<u8>(), 0..99), layout in 0..4_u64, count in 0..99_u32,
        ) {
            let head = Head {
                position: 0,
                time: 0,
                count,
                length: 0,
                bytes: 0,
                layout: Layout::from_number(layout).unwrap(),
            };
            let record = Record { first: 0, head, data: data.into() };
            prop_assert!(record.messages().count() <= 99);
        }
    }

    #[test]
    fn a_large_message_is_stored_without_a_copy() {
        let message = Bytes::from(vec![b'\n'; RECORD_BYTES + 1]);
        let record = Record::encode(0, 0, 0, std::slice::from_ref(&message));
        assert_eq!(record.head.layout, Layout::Raw);
        assert_eq!(record.data.as_ptr(), message.as_ptr());
        assert_eq!(record.messages().collect::<Vec<_>>(), [(0, message)]);
    }
}
