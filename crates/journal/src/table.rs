//! A table: an immutable file of sorted pairs.
//!
//! ```text
//! ├───────┬───────┬───┬───────────┬────────┬────────┤
//! │ block │ block │ … │ directory │ filter │ footer │
//! ├───────┴───────┴───┴───────────┴────────┴────────┤
//! block      pairs … │ checksum u64
//! pair       shared n │ rest n │ tag n │ rest of the key │ value
//!            shared   number of bytes that the key shares with the one before it in the block
//!            rest     number of its other bytes
//!            tag      0 for a deletion, otherwise length of the value + 1
//! directory  last key of the table │ for each block: length n │ first key
//!            key = length n │ bytes
//! filter     10 bits for each key
//! footer     length of the blocks u64 │ of the directory u64 │ of the filter u64 │ number of pairs u64 │
//!            version u32 │ HWX1 │ seal u64
//! ```
//!
//! Numbers are little-endian, `n` is LEB128. A block has up to 4 KiB, or one larger pair. Its checksum is
//! the XXH3-64 of its pairs, seeded with the number of the table and the offset of the block. The seal
//! is the XXH3-64 of directory, filter and footer, seeded with the number of the table. So a table under
//! another number is damaged.

use std::{
    io::{self, ErrorKind},
    ops::{Bound, Range},
    sync::Arc,
};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) use self::filter::KeyHash;
use self::{
    block::Pairs,
    filter::may_contain,
    footer::{Block, FOOTER, Footer, SEAL, places},
};
use crate::disk::{Disk, DiskFile};

mod block;
mod cache;
mod filter;
mod footer;
mod writer;

pub use self::{cache::BlockCache, writer::TableWriter};

/// End of a table's file name.
const SUFFIX: &str = ".idx";
/// A key with its value, or with `None` for a deletion.
pub type Pair = (Vec<u8>, Option<Bytes>);

/// The error of a table that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file differs from what was written.
    #[error("{} is damaged at byte {offset}", table_name(*number))]
    Damaged {
        /// The number of the table.
        number: u64,
        /// The offset of the damaged part: a block, the directory or the footer.
        offset: u64,
    },
    /// The disk failed.
    #[error("the disk failed at {}", table_name(*number))]
    Disk {
        /// The number of the table.
        number: u64,
        /// The error of the disk.
        source: io::Error,
    },
}

/// Returns the name of a table's file.
#[must_use]
pub fn table_name(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

/// Returns the number of a table's file, or `None` for another file.
#[must_use]
pub fn table_number(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (table_name(number) == name).then_some(number)
}

/// A table that is complete. It keeps its first keys and its filter in memory.
pub struct Table {
    file: Arc<dyn DiskFile>,
    number: u64,
    footer: Footer,
    blocks: Vec<Block>,
    /// Directory, filter and footer.
    tail: Vec<u8>,
    /// In `tail`.
    last: Range<usize>,
    filter: Range<usize>,
}

impl Table {
    /// Opens a table. It reads all but the blocks.
    ///
    /// # Errors
    /// [`TableError`]. A missing file is an error of the disk.
    pub fn open(disk: &Arc<dyn Disk>, number: u64) -> Result<Self, TableError> {
        let failed = |source| TableError::Disk { number, source };
        let file = disk.open(&table_name(number)).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        let damaged = TableError::Damaged { number, offset: 0 };
        let at = length.checked_sub(FOOTER as u64).ok_or(damaged)?;
        let mut bytes = [0; FOOTER];
        read(&*file, number, &mut bytes, at)?;
        let footer =
            Footer::decode(&bytes, length).ok_or(TableError::Damaged { number, offset: at })?;
        let offset = footer.blocks;
        let damaged = || TableError::Damaged { number, offset };
        let mut tail = vec![0; usize::try_from(length - offset).map_err(|_| damaged())?];
        read(&*file, number, &mut tail, offset)?;
        let (sealed, seal) = tail.split_at(tail.len() - SEAL);
        if seal != xxh3_64_with_seed(sealed, number).to_le_bytes() {
            return Err(damaged());
        }
        Self::new(file, number, footer, tail)
    }

    /// Creates a table from directory, filter and footer.
    fn new(
        file: Arc<dyn DiskFile>,
        number: u64,
        footer: Footer,
        tail: Vec<u8>,
    ) -> Result<Self, TableError> {
        let (blocks, last, filter) = places(&tail, footer).ok_or(TableError::Damaged {
            number,
            offset: footer.blocks,
        })?;
        Ok(Self {
            file,
            number,
            footer,
            blocks,
            tail,
            last,
            filter,
        })
    }

    /// Returns the number in the name of the file.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the length of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.footer.blocks + self.tail.len() as u64
    }

    /// Returns the number of pairs, with deletions.
    #[must_use]
    pub fn pairs(&self) -> u64 {
        self.footer.pairs
    }

    /// Returns the value of a key: `Some(None)` for a deletion, and `None` if the table doesn't
    /// contain the key.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn get(&self, key: &[u8], cache: &BlockCache) -> Result<Option<Option<Bytes>>, TableError> {
        self.get_hashed(key, KeyHash::new(key), cache)
    }

    pub(crate) fn get_hashed(
        &self,
        key: &[u8],
        hash: KeyHash,
        cache: &BlockCache,
    ) -> Result<Option<Option<Bytes>>, TableError> {
        if !may_contain(&self.tail[self.filter.clone()], hash) {
            return Ok(None);
        }
        let Some(at) = self.block_before(|first| first <= key) else {
            return Ok(None);
        };
        let mut pairs = self.read_block(at, Some(cache))?;
        while self.advance(&mut pairs, at)? {
            if pairs.key() >= key {
                let is_found = pairs.key() == key;
                return Ok(is_found.then(|| pairs.value(pairs.place())));
            }
        }
        Ok(None)
    }

    /// Returns the pairs from a key on, in ascending order, with deletions. It reads one block at a
    /// time. It ends after an error.
    pub fn iter_from<'a>(&'a self, key: &'a [u8], cache: &'a BlockCache) -> TablePairs<'a> {
        self.range(key, Bound::Unbounded, Some(cache))
    }

    /// Returns the pairs in a range. Without a cache it neither uses nor displaces cached blocks.
    pub(crate) fn range<'a>(
        &'a self,
        from: &'a [u8],
        to: Bound<&'a [u8]>,
        cache: Option<&'a BlockCache>,
    ) -> TablePairs<'a> {
        let is_below = self.last_key() < from;
        TablePairs {
            table: self,
            cache,
            from,
            to,
            at: if is_below {
                self.blocks.len()
            } else {
                self.block_before(|first| first <= from).unwrap_or(0)
            },
            pairs: None,
        }
    }

    /// Returns the pair with the greatest key in `from..=to`, which may be a deletion.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn last_at_most(
        &self,
        from: &[u8],
        to: &[u8],
        cache: &BlockCache,
    ) -> Result<Option<Pair>, TableError> {
        self.last_within(from, Bound::Included(to), cache)
    }

    pub(crate) fn last_within(
        &self,
        from: &[u8],
        to: Bound<&[u8]>,
        cache: &BlockCache,
    ) -> Result<Option<Pair>, TableError> {
        if self.last_key() < from {
            return Ok(None);
        }
        let Some(at) = self.block_before(|first| is_within(first, to)) else {
            return Ok(None);
        };
        let mut pairs = self.read_block(at, Some(cache))?;
        let mut key = Vec::new();
        let mut place = None;
        while self.advance(&mut pairs, at)? && is_within(pairs.key(), to) {
            key.clear();
            key.extend_from_slice(pairs.key());
            place = pairs.place();
        }
        let value = pairs.value(place);
        Ok((key.as_slice() >= from).then_some((key, value)))
    }

    fn last_key(&self) -> &[u8] {
        &self.tail[self.last.clone()]
    }

    /// Returns the last block whose first key `is_before`.
    fn block_before(&self, is_before: impl Fn(&[u8]) -> bool) -> Option<usize> {
        let is_before = |block: &Block| is_before(&self.tail[block.first.clone()]);
        self.blocks.partition_point(is_before).checked_sub(1)
    }

    fn read_block(&self, at: usize, cache: Option<&BlockCache>) -> Result<Pairs, TableError> {
        let offset = self.blocks[at].offset;
        let id = (self.number, offset);
        if let Some(block) = cache.and_then(|cache| cache.get(id)) {
            return Ok(Pairs::new(block));
        }
        let next = self.blocks.get(at + 1);
        let end = next.map_or(self.footer.blocks, |next| next.offset);
        let damaged = || TableError::Damaged {
            number: self.number,
            offset,
        };
        let mut block = vec![0; usize::try_from(end - offset).map_err(|_| damaged())?];
        read(&*self.file, self.number, &mut block, offset)?;
        let block = block::verified(block.into(), self.number, offset).ok_or_else(damaged)?;
        if let Some(cache) = cache {
            cache.insert(id, block.clone());
        }
        Ok(Pairs::new(block))
    }

    /// Moves to the next pair of a block. Returns `false` at its end.
    fn advance(&self, pairs: &mut Pairs, at: usize) -> Result<bool, TableError> {
        pairs.advance().ok_or_else(|| TableError::Damaged {
            number: self.number,
            offset: self.blocks[at].offset,
        })
    }
}

/// Reads a part of a table's file. A file that ends before it is damaged.
fn read(file: &dyn DiskFile, number: u64, out: &mut [u8], offset: u64) -> Result<(), TableError> {
    file.read_at(out, offset)
        .map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => TableError::Damaged { number, offset },
            _ => TableError::Disk { number, source },
        })
}

fn is_within(key: &[u8], to: Bound<&[u8]>) -> bool {
    match to {
        Bound::Included(to) => key <= to,
        Bound::Excluded(to) => key < to,
        Bound::Unbounded => true,
    }
}

/// Ascending pairs of a [`Table`], with deletions.
pub struct TablePairs<'a> {
    table: &'a Table,
    cache: Option<&'a BlockCache>,
    from: &'a [u8],
    to: Bound<&'a [u8]>,
    /// The block of `pairs`, or the next one.
    at: usize,
    pairs: Option<Pairs>,
}

impl TablePairs<'_> {
    fn step(&mut self) -> Result<Option<Pair>, TableError> {
        while let Some(block) = self.table.blocks.get(self.at) {
            let pairs = match &mut self.pairs {
                Some(pairs) => pairs,
                none => {
                    if !is_within(&self.table.tail[block.first.clone()], self.to) {
                        return Ok(None);
                    }
                    none.insert(self.table.read_block(self.at, self.cache)?)
                }
            };
            while self.table.advance(pairs, self.at)? {
                if !is_within(pairs.key(), self.to) {
                    return Ok(None);
                }
                if pairs.key() >= self.from {
                    return Ok(Some((pairs.key().to_vec(), pairs.value(pairs.place()))));
                }
            }
            self.pairs = None;
            self.at += 1;
        }
        Ok(None)
    }
}

impl Iterator for TablePairs<'_> {
    type Item = Result<Pair, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.step().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.at = self.table.blocks.len();
        }
        next
    }
}
