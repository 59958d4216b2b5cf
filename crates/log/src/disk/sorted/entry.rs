//! Blocks, the lists of their records, and the entries that describe them.
//!
//! A block is consecutive records of one stream with the same layout: up to 64 KiB of data, or one larger
//! record. A raw record is a block of its own. In the data section nothing separates blocks.
//!
//! ```text
//! key       F │ stream id u64 │ first offset u64                                          big-endian
//! value     file number n │ offset in data n │ offset in parts n │ block … up to 64 blocks
//! block     count of messages n │ length of data n << 2 | layout │ length in parts n │ sum of the data u32
//!
//! parts     for each record of the block:
//!             count n │ length n │ [bytes n] │ time, change n │ positions skipped before it n
//!           checksum u32
//! ```
//!
//! The bytes of messages are listed for the layouts `lengths` and `lost` only, as they follow from count and length in
//! the others. A change is zigzag-encoded. It and the skipped positions refer to the record before in
//! the block, or to zero.
//!
//! An entry's blocks continue each other's offsets and data. A gap in the offsets starts another
//! entry.

use super::Seed;
use crate::disk::format::{
    bytes::{Cursor, Malformed, put_number},
    record::{Head, Layout},
};

/// First byte of the keys of entries.
const TAG: u8 = b'F';
/// Maximum bytes of data in a block of several records.
pub(super) const BLOCK_BYTES: u64 = 64 << 10;
/// Maximum number of blocks in an entry.
pub(super) const ENTRY_BLOCKS: usize = 64;
/// Number of bytes of the checksum of a list of records.
pub(super) const LIST_SUM: usize = 4;

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// An entry of the index: the place of consecutive blocks of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: u64,
    /// The number of the sorted file.
    pub(crate) file: u64,
    /// The offset of the first message.
    pub(crate) first: u64,
    /// At least one.
    pub(crate) blocks: Vec<BlockRef>,
}

/// A block's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockRef {
    /// The offset of its first message.
    pub(crate) first: u64,
    /// The offset after its last message.
    pub(crate) end: u64,
    pub(crate) layout: Layout,
    /// Length of its data.
    pub(crate) length: u32,
    /// The offset of its data in the data section.
    pub(super) at: u64,
    /// The offset and length of its list in the parts section, with the checksum.
    pub(super) parts_at: u64,
    pub(super) parts: u32,
    /// The checksum of its data.
    pub(super) sum: u32,
}

impl BlockRef {
    /// Appends it to the value of an entry.
    pub(super) fn put(&self, value: &mut Vec<u8>) {
        put_number(value, self.end - self.first);
        put_number(value, u64::from(self.length) << 2 | self.layout.number());
        put_number(value, u64::from(self.parts));
        value.extend_from_slice(&self.sum.to_le_bytes());
    }
}

impl Entry {
    /// Returns the key of the entry that begins at an offset of a stream.
    pub(crate) fn key(id: u64, first: u64) -> Vec<u8> {
        let mut key = vec![TAG];
        key.extend_from_slice(&id.to_be_bytes());
        key.extend_from_slice(&first.to_be_bytes());
        key
    }

    /// Returns the stream and the first offset of a key, or `None` for a key of another kind.
    pub(crate) fn key_of(key: &[u8]) -> Option<(u64, u64)> {
        let (id, first) = key.strip_prefix(&[TAG])?.split_first_chunk()?;
        let first = first.try_into().ok()?;
        Some((u64::from_be_bytes(*id), u64::from_be_bytes(first)))
    }

    pub(super) fn start_value(file: u64, at: u64, parts_at: u64) -> Vec<u8> {
        let mut value = Vec::new();
        for number in [file, at, parts_at] {
            put_number(&mut value, number);
        }
        value
    }

    pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Self, Malformed> {
        let (id, first) = Self::key_of(key).ok_or(Malformed)?;
        let mut cursor = Cursor(value);
        let file = cursor.number()?;
        let (mut next, mut at, mut parts_at) = (first, cursor.number()?, cursor.number()?);
        let mut blocks = Vec::new();
        while blocks.len() < ENTRY_BLOCKS && (blocks.is_empty() || !cursor.0.is_empty()) {
            let count = cursor.number()?;
            let length = cursor.number()?;
            let block = BlockRef {
                first: next,
                end: next.checked_add(count).ok_or(Malformed)?,
                layout: Layout::from_number(length & 3)?,
                length: small(length >> 2)?,
                at,
                parts_at,
                parts: small(cursor.number()?)?,
                sum: take_u32(&mut cursor)?,
            };
            next = block.end;
            at = at.checked_add(u64::from(block.length)).ok_or(Malformed)?;
            parts_at = parts_at
                .checked_add(u64::from(block.parts))
                .ok_or(Malformed)?;
            blocks.push(block);
        }
        cursor.end()?;
        Ok(Self {
            id,
            file,
            first,
            blocks,
        })
    }

    /// Returns the offset after the last message.
    pub(crate) fn end(&self) -> u64 {
        self.blocks.last().map_or(self.first, |block| block.end)
    }

    /// Returns the blocks from the one that contains an offset.
    pub(super) fn blocks_from(&self, offset: u64) -> &[BlockRef] {
        let before = self.blocks.partition_point(|block| block.end <= offset);
        &self.blocks[before..]
    }
}

/// The time and the end position of a record, which the next one's encoding refers to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    pub(super) time: u64,
    pub(super) end: u64,
}

impl Before {
    pub(super) fn after(head: &Head) -> Self {
        Self {
            time: head.time,
            end: head.position + u64::from(head.count),
        }
    }

    /// Returns the change of the time, zigzag-encoded. It is 0 if the time is the same.
    pub(super) fn change(self, time: u64) -> u64 {
        let change = time.wrapping_sub(self.time).cast_signed();
        (change << 1 ^ change >> 63).cast_unsigned()
    }

    fn time(self, change: u64) -> u64 {
        self.time
            .wrapping_add(change >> 1 ^ (change & 1).wrapping_neg())
    }

    /// Returns the number of positions between the record before and this position, which isn't
    /// lower.
    pub(super) fn skipped(self, position: u64) -> u64 {
        position - self.end
    }

    /// Builds a head from the numbers of its encoding, and continues behind its record.
    pub(super) fn head(&mut self, layout: Layout, numbers: &Numbers) -> Result<Head, Malformed> {
        let head = Head {
            position: self.end.checked_add(numbers.skipped).ok_or(Malformed)?,
            time: self.time(numbers.change),
            count: small(numbers.count)?,
            length: small(numbers.length)?,
            bytes: small(match layout {
                Layout::Lines => numbers.length.checked_sub(numbers.count).ok_or(Malformed)?,
                Layout::Lengths | Layout::Lost => numbers.bytes,
                Layout::Raw => numbers.length,
            })?,
            layout,
        };
        head.position.checked_add(numbers.count).ok_or(Malformed)?;
        *self = Self::after(&head);
        Ok(head)
    }
}

/// The numbers of a record's encoding.
pub(super) struct Numbers {
    pub(super) count: u64,
    pub(super) length: u64,
    /// Used if the layout [lists](Layout::lists_bytes) them.
    pub(super) bytes: u64,
    pub(super) change: u64,
    pub(super) skipped: u64,
}

/// Appends a record to the list of its block.
pub(super) fn put_part(list: &mut Vec<u8>, before: Before, head: &Head) {
    put_number(list, u64::from(head.count));
    put_number(list, u64::from(head.length));
    if head.layout.lists_bytes() {
        put_number(list, u64::from(head.bytes));
    }
    put_number(list, before.change(head.time));
    put_number(list, before.skipped(head.position));
}

fn take_part(
    cursor: &mut Cursor<'_>,
    layout: Layout,
    before: &mut Before,
) -> Result<Head, Malformed> {
    let numbers = Numbers {
        count: cursor.number()?,
        length: cursor.number()?,
        bytes: match layout.lists_bytes() {
            true => cursor.number()?,
            false => 0,
        },
        change: cursor.number()?,
        skipped: cursor.number()?,
    };
    before.head(layout, &numbers)
}

/// Decodes the list of a block, which begins at an offset of the file. The records have the
/// messages and the data of the block.
pub(super) fn decode_list(
    list: &[u8],
    block: &BlockRef,
    seed: Seed,
    offset: u64,
) -> Result<Vec<(u64, Head)>, Malformed> {
    let (list, sum) = list.split_last_chunk::<LIST_SUM>().ok_or(Malformed)?;
    if seed.half_sum(list, offset) != u32::from_le_bytes(*sum) {
        return Err(Malformed);
    }
    let mut cursor = Cursor(list);
    let (mut before, mut next, mut length) = (Before::default(), block.first, 0);
    let mut heads = Vec::new();
    while !cursor.0.is_empty() {
        let head = take_part(&mut cursor, block.layout, &mut before)?;
        heads.push((next, head));
        next = next.checked_add(u64::from(head.count)).ok_or(Malformed)?;
        length += u64::from(head.length);
    }
    if next == block.end && length == u64::from(block.length) {
        Ok(heads)
    } else {
        Err(Malformed)
    }
}

pub(super) fn small(number: u64) -> Result<u32, Malformed> {
    u32::try_from(number).map_err(|_| Malformed)
}

pub(super) fn take_u32(cursor: &mut Cursor<'_>) -> Result<u32, Malformed> {
    let bytes = cursor.take(4)?.first_chunk().ok_or(Malformed)?;
    Ok(u32::from_le_bytes(*bytes))
}
