//! The end of a table: the places of its blocks and of its filter.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::block::{take_bytes, take_number};

const MAGIC: [u8; 4] = *b"HWX1";
const VERSION: u32 = 1;
/// Length of the footer.
pub(super) const FOOTER: usize = 48;
/// Bytes of the seal at its end.
pub(super) const SEAL: usize = 8;
/// The lengths of a table's parts in bytes, and its number of pairs.
#[derive(Clone, Copy)]
pub(super) struct Footer {
    pub(super) blocks: u64,
    pub(super) directory: u64,
    pub(super) filter: u64,
    pub(super) pairs: u64,
}

impl Footer {
    /// Appends the footer to directory and filter.
    pub(super) fn seal(&self, tail: &mut Vec<u8>, number: u64) {
        for length in [self.blocks, self.directory, self.filter, self.pairs] {
            tail.extend_from_slice(&length.to_le_bytes());
        }
        tail.extend_from_slice(&VERSION.to_le_bytes());
        tail.extend_from_slice(&MAGIC);
        let seal = xxh3_64_with_seed(tail, number);
        tail.extend_from_slice(&seal.to_le_bytes());
    }

    /// Decodes the footer of a file of this length. Its seal isn't checked.
    pub(super) fn decode(bytes: &[u8; FOOTER], file: u64) -> Option<Self> {
        let mut rest = &bytes[..];
        let mut number = || {
            let (eight, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_le_bytes(*eight))
        };
        let footer = Self {
            blocks: number()?,
            directory: number()?,
            filter: number()?,
            pairs: number()?,
        };
        let rest = rest.strip_prefix(&VERSION.to_le_bytes())?;
        rest.strip_prefix(&MAGIC)?;
        let parts = [footer.directory, footer.filter, FOOTER as u64];
        let add = |sum: u64, part| sum.checked_add(part);
        let length = parts.into_iter().try_fold(footer.blocks, add)?;
        (length == file).then_some(footer)
    }
}

/// The place of a block.
pub(super) struct Block {
    pub(super) offset: u64,
    /// Its first key in the table's `tail`.
    pub(super) first: Range<usize>,
}

/// Returns the blocks, the last key and the filter. `None` if the directory is malformed.
pub(super) fn places(
    tail: &[u8],
    footer: Footer,
) -> Option<(Vec<Block>, Range<usize>, Range<usize>)> {
    let directory = usize::try_from(footer.directory).ok()?;
    let filter = directory..directory.checked_add(usize::try_from(footer.filter).ok()?)?;
    tail.get(filter.clone())?;
    let mut rest = &tail[..directory];
    let take_key = |rest: &mut &[u8]| {
        let length = take_number(rest)?;
        let start = directory - rest.len();
        let key = take_bytes(rest, length)?;
        Some(start..start + key.len())
    };
    let last = take_key(&mut rest)?;
    let mut blocks = Vec::new();
    let mut offset = 0_u64;
    while !rest.is_empty() {
        let length = take_number(&mut rest)?;
        let first = take_key(&mut rest)?;
        blocks.push(Block { offset, first });
        offset = offset.checked_add(length)?;
    }
    (offset == footer.blocks).then_some((blocks, last, filter))
}
