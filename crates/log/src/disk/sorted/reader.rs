//! Reading one stream, and everything for a rewrite.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{BlockRef, CHUNK, Entry, Item, Pair, Section, Sorted, SortedError, entry::decode_list};
use crate::disk::format::{
    bytes::{Cursor, Malformed},
    record::{self, Head, Layout, Record},
};
use crate::disk::segments::Size;

/// Bytes of lists of records that are read at once, unless one list is longer.
const LIST_CHUNK: u64 = 16 << 10;

impl Sorted {
    /// Reads the records of an entry from the one that contains the offset `from`, in whole
    /// blocks, until they have `budget` bytes. Returns at least one record if `from` is before the end
    /// of the entry. After the first block, it stops at a damaged one. The records share memory.
    ///
    /// # Errors
    /// [`SortedError::Damaged`] if the data or the description of the first block isn't what was written,
    /// or if the entry is one of another file.
    pub(crate) fn read(
        &self,
        entry: &Entry,
        from: u64,
        budget: usize,
    ) -> Result<Vec<Record>, SortedError> {
        self.check_owner(entry)?;
        let mut records = Vec::new();
        let mut rest = entry.blocks_from(from);
        let mut budget = budget as u64;
        while let Some((chunk, later)) = split_chunk(rest, budget.min(CHUNK as u64)) {
            match self.read_chunk(chunk, from, &mut records) {
                Ok(()) => {}
                Err(SortedError::Damaged { .. }) if !records.is_empty() => break,
                Err(error) => return Err(error),
            }
            budget = budget.saturating_sub(length_of(chunk));
            rest = if budget == 0 { &[] } else { later };
        }
        Ok(records)
    }

    /// Appends the records of blocks that follow each other, from the one that contains `from`. After an
    /// error, the records of the blocks before the damaged one are appended.
    fn read_chunk(
        &self,
        blocks: &[BlockRef],
        from: u64,
        records: &mut Vec<Record>,
    ) -> Result<(), SortedError> {
        let Some(start) = blocks.first() else {
            return Ok(());
        };
        let data = Bytes::from(self.load(Section::Data, start.at, length_of(blocks))?);
        let mut rest = data.clone();
        let mut damaged = None;
        let mut whole = 0;
        for block in blocks {
            if block.layout == Layout::Lost {
                damaged = Some(self.lost(block));
                break;
            }
            let length = self.memory_length(u64::from(block.length))?;
            if record::sum(&rest.split_to(length)) != block.sum {
                damaged = Some(self.damaged(block.at, "the data of a block"));
                break;
            }
            whole += 1;
        }
        let mut rest = data;
        self.each_list(&blocks[..whole], |heads| {
            for (first, head) in heads {
                let length = self.memory_length(u64::from(head.length))?;
                // The list has the length of the block.
                let data = rest.split_to(length);
                let record = Record { first, head, data };
                if record.end() > from {
                    records.push(record);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        damaged.map_or(Ok(()), Err)
    }

    /// Returns the offset and the head of up to `most` records of an entry, from the one that
    /// contains the offset `from`. Their data isn't read.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub(crate) fn heads(
        &self,
        entry: &Entry,
        from: u64,
        most: usize,
    ) -> Result<Vec<(u64, Head)>, SortedError> {
        self.check_owner(entry)?;
        let mut found = Vec::new();
        self.each_list(entry.blocks_from(from), |heads| {
            let is_wanted = |(first, head): &(u64, Head)| first + u64::from(head.count) > from;
            let room = most - found.len();
            found.extend(heads.into_iter().filter(is_wanted).take(room));
            Ok(if found.len() < most {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        Ok(found)
    }

    /// Returns the sizes of blocks of an entry, from the one that contains the offset `from`, until they
    /// have `budget` bytes. After the first block, it stops at lost messages. Lists of records are read only of blocks whose layout requires it.
    ///
    /// # Errors
    /// See [`read`](Self::read).
    pub(crate) fn sizes(
        &self,
        entry: &Entry,
        from: u64,
        budget: u64,
    ) -> Result<Vec<Size>, SortedError> {
        self.check_owner(entry)?;
        let mut sizes = Vec::new();
        let mut left = Some(budget);
        for block in entry.blocks_from(from) {
            let length = u64::from(block.length);
            let bytes = match block.layout {
                Layout::Raw => length,
                Layout::Lost if sizes.is_empty() => return Err(self.lost(block)),
                Layout::Lost => break,
                // Each message has a line feed.
                Layout::Lines => length
                    .checked_sub(block.end - block.first)
                    .ok_or_else(|| self.damaged(block.at, "the length of a block"))?,
                Layout::Lengths => {
                    let mut bytes = 0;
                    self.each_list(std::slice::from_ref(block), |heads| {
                        bytes = heads.iter().map(|(_, head)| u64::from(head.bytes)).sum();
                        Ok(ControlFlow::Break(()))
                    })?;
                    bytes
                }
            };
            let (first, end) = (block.first, block.end);
            sizes.push(Size { first, end, bytes });
            left = left.and_then(|left| left.checked_sub(bytes));
            if left.is_none() {
                break;
            }
        }
        Ok(sizes)
    }

    /// Reads the list of each block, several at a time.
    fn each_list(
        &self,
        blocks: &[BlockRef],
        mut each: impl FnMut(Vec<(u64, Head)>) -> Result<ControlFlow<()>, SortedError>,
    ) -> Result<(), SortedError> {
        let section = self.footer.section(Section::Parts).start;
        let mut rest = blocks;
        while let [start, ..] = rest {
            let mut length = u64::from(start.parts);
            let mut taken = 1;
            while let Some(block) = rest.get(taken)
                && length + u64::from(block.parts) <= LIST_CHUNK
            {
                length += u64::from(block.parts);
                taken += 1;
            }
            let bytes = self.load(Section::Parts, start.parts_at, length)?;
            let (chunk, later) = rest.split_at(taken);
            let mut cursor = Cursor(&bytes);
            for block in chunk {
                let offset = section + block.parts_at;
                let heads = self
                    .memory_length(u64::from(block.parts))
                    .and_then(|length| {
                        let list = cursor.take(length);
                        list.and_then(|list| decode_list(list, block, self.footer.seed(), offset))
                            .map_err(|Malformed| self.damaged(offset, "the records of a block"))
                    })?;
                if each(heads)?.is_break() {
                    return Ok(());
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// Returns all entries as the writer returned them, sorted by key.
    ///
    /// # Errors
    /// [`SortedError::Damaged`] if they aren't what was written.
    pub(crate) fn entries(&self) -> Result<Vec<Pair>, SortedError> {
        let what = "the entries";
        let bytes = self.load_section(Section::Entries, what)?;
        decode_entries(&bytes)
            .map_err(|Malformed| self.damaged(self.footer.section(Section::Entries).start, what))
    }

    /// Returns all records in position order, for a rewrite. Each is given the number `source`,
    /// and the offset that [`DataReader::read`] takes.
    ///
    /// # Errors
    /// The directory isn't what was written. The iterator ends after an error.
    pub(crate) fn items(
        &self,
        source: u32,
    ) -> Result<impl Iterator<Item = Result<Item, SortedError>> + '_, SortedError> {
        let mut groups = self.order_from(0)?;
        let mut current = Vec::new().into_iter();
        Ok(std::iter::from_fn(move || {
            loop {
                if let Some(item) = current.next() {
                    return Some(Ok(item));
                }
                match groups.next()? {
                    Ok(group) => current = group.into_items(source).into_iter(),
                    Err(error) => return Some(Err(error)),
                }
            }
        }))
    }

    /// Returns a reader of records' bytes by their place, for a rewrite. It holds 16 to 24 bytes
    /// per block.
    ///
    /// # Errors
    /// The entries aren't what was written.
    pub(crate) fn data(&self) -> Result<DataReader<'_>, SortedError> {
        let mut blocks = Vec::new();
        for (key, value) in self.entries()? {
            let entry = Entry::decode(&key, &value).map_err(|Malformed| {
                self.damaged(self.footer.section(Section::Entries).start, "an entry")
            })?;
            blocks.extend(entry.blocks.iter().map(|block| Checked {
                at: block.at,
                length: block.length,
                sum: block.sum,
            }));
        }
        Ok(DataReader {
            file: self,
            blocks,
            chunk: Bytes::new(),
            chunk_at: 0,
            checked: None,
        })
    }

    fn lost(&self, block: &BlockRef) -> SortedError {
        self.damaged(
            block.at,
            "messages were damaged before they were moved into it",
        )
    }

    fn check_owner(&self, entry: &Entry) -> Result<(), SortedError> {
        if entry.file == self.footer.number {
            Ok(())
        } else {
            Err(self.damaged(0, "an entry of another file refers to it"))
        }
    }

    pub(super) fn memory_length(&self, length: u64) -> Result<usize, SortedError> {
        usize::try_from(length).map_err(|_| self.damaged(0, "a length exceeds the memory"))
    }
}

fn length_of(blocks: &[BlockRef]) -> u64 {
    blocks.iter().map(|block| u64::from(block.length)).sum()
}

/// Splits off at least one block, and more while they have fewer than `most` bytes and stay within
/// [`CHUNK`]. Returns `None` if there is no block.
fn split_chunk(blocks: &[BlockRef], most: u64) -> Option<(&[BlockRef], &[BlockRef])> {
    let mut length = u64::from(blocks.first()?.length);
    let mut taken = 1;
    while let Some(block) = blocks.get(taken)
        && length < most
        && length + u64::from(block.length) <= CHUNK as u64
    {
        length += u64::from(block.length);
        taken += 1;
    }
    Some(blocks.split_at(taken))
}

/// Decodes the section of the entries.
///
/// ```text
/// for each entry: stream id, change n │ first offset n │ length of the value n │ value
/// ```
fn decode_entries(bytes: &[u8]) -> Result<Vec<Pair>, Malformed> {
    let mut cursor = Cursor(bytes);
    let mut entries = Vec::new();
    let mut id = 0_u64;
    while !cursor.0.is_empty() {
        id = id.checked_add(cursor.number()?).ok_or(Malformed)?;
        let key = Entry::key(id, cursor.number()?);
        entries.push((key, cursor.bytes()?.to_vec()));
    }
    Ok(entries)
}

/// The place and the checksum of a block.
struct Checked {
    at: u64,
    length: u32,
    sum: u32,
}

/// A reader of records' bytes by their place in the data section. Each block is read and checked once if
/// the places ascend, as they do for records sorted by stream and offset. Blocks without wanted records
/// aren't checked.
pub(crate) struct DataReader<'a> {
    file: &'a Sorted,
    /// All blocks, by place.
    blocks: Vec<Checked>,
    /// Bytes of the data section, and their place.
    chunk: Bytes,
    chunk_at: u64,
    /// The block that was checked last. It is in the chunk.
    checked: Option<usize>,
}

impl DataReader<'_> {
    /// Returns the bytes of a record that [`Sorted::items`] returned, by `at` and `head.length`.
    ///
    /// # Errors
    /// [`SortedError::Damaged`] if the record's block isn't what was written. Other blocks can be read
    /// after that.
    pub(crate) fn read(&mut self, at: u64, length: u32) -> Result<Bytes, SortedError> {
        if length == 0 {
            // Of a lost record.
            return Ok(Bytes::new());
        }
        let index = self.blocks.partition_point(|block| block.at <= at);
        let end = at.saturating_add(u64::from(length));
        let found = index
            .checked_sub(1)
            .and_then(|index| Some((index, self.blocks.get(index)?)))
            .filter(|(_, block)| end <= block.at + u64::from(block.length));
        let Some((index, block)) = found else {
            return Err(self.file.damaged(at, "no block has the data of a record"));
        };
        let (block_at, sum) = (block.at, block.sum);
        let block_end = block_at + u64::from(block.length);
        if self.checked != Some(index) {
            if self.slice(block_at, block_end).is_none() {
                self.load(index)?;
            }
            let data = self.slice(block_at, block_end);
            if data.is_none_or(|data| record::sum(&data) != sum) {
                self.checked = None;
                return Err(self.file.damaged(block_at, "the data of a block"));
            }
            self.checked = Some(index);
        }
        self.slice(at, end)
            .ok_or_else(|| self.file.damaged(at, "the data of a record"))
    }

    /// Returns bytes if they are in the chunk.
    fn slice(&self, start: u64, end: u64) -> Option<Bytes> {
        let start = usize::try_from(start.checked_sub(self.chunk_at)?).ok()?;
        let end = usize::try_from(end.checked_sub(self.chunk_at)?).ok()?;
        (end <= self.chunk.len()).then(|| self.chunk.slice(start..end))
    }

    /// Loads a block and the ones after it.
    fn load(&mut self, index: usize) -> Result<(), SortedError> {
        let mut length = 0;
        let mut at = None;
        for block in &self.blocks[index..] {
            let more = length + u64::from(block.length);
            if at.is_some() && more > CHUNK as u64 {
                break;
            }
            at.get_or_insert(block.at);
            length = more;
        }
        let at = at.unwrap_or_default();
        self.chunk = self.file.load(Section::Data, at, length)?.into();
        self.chunk_at = at;
        Ok(())
    }
}

#[cfg(test)]
pub(super) fn decode_anything(bytes: &[u8]) {
    let _ = decode_entries(bytes);
}
