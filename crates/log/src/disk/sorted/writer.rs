//! Writing a sorted file.
//!
//! The records are visited twice: by stream, which writes the data and gathers blocks and runs, and by
//! position, which writes the groups of the order.

use std::{mem, ops::Range, sync::Arc};

use bytes::Bytes;
use headwater_journal::{Disk, NewFile};
use xxhash_rust::xxh3::Xxh3;

use super::{
    BlockRef, CHUNK, Entry, Footer, Item, Pair, Seed, Sorted, SortedError,
    entry::{BLOCK_BYTES, Before, ENTRY_BLOCKS, put_part},
    lower_half,
    order::{Directory, Run, encode_group, group_length},
    sorted_name,
};
use crate::disk::format::{
    bytes::{put_bytes, put_number},
    record::{self, Layout},
};

/// A written file.
pub(crate) struct Written {
    pub(crate) file: Sorted,
    /// The keys and values for the index, sorted by key.
    pub(crate) entries: Vec<Pair>,
}

/// Writes the file `number` of the log `identity`, and syncs it. `range` are the positions that it
/// covers.
///
/// The items are in position order, and so are those of each stream by offset. `read` returns the bytes
/// of a record; it is called by stream, then by offset. `pace` is called after each write with the number
/// of bytes. An error of either one ends the writing.
///
/// Besides the items, it holds about 12 bytes per record, 40 bytes per run and the entries in memory,
/// but no data beyond one record and one chunk.
///
/// # Errors
/// [`SortedError::Record`] names the record if the items aren't in order, are outside of the range or
/// overlap, or if its bytes aren't those that the item describes. After any error, the caller removes the
/// file. The folder isn't synced.
pub(crate) fn write<E: From<SortedError>>(
    disk: &Arc<dyn Disk>,
    number: u64,
    identity: u64,
    range: Range<u64>,
    items: &[Item],
    mut read: impl FnMut(&Item) -> Result<Bytes, E>,
    pace: impl FnMut(usize) -> Result<(), E>,
) -> Result<Written, E> {
    check_positions(items, &range)?;
    let seed = Seed { number, identity };
    let by_stream = sort_by_stream(items)?;
    let starts = group_starts(items);
    let file = NewFile::create(&**disk, &sorted_name(number));
    let mut out = Out {
        file: file.map_err(SortedError::Io)?,
        buffer: Vec::with_capacity(CHUNK),
        pace,
    };

    let lengths = items.iter().map(|item| u64::from(item.head.length));
    let mut blocks = Blocks::new(seed, lengths.sum());
    let mut runs = Runs::default();
    for index in by_stream {
        let item = &items[index];
        let data = read(item)?;
        let sum = check_data(item, &data)?;
        let group = starts.partition_point(|start| *start <= index);
        blocks.add(item, out.offset(), &data, sum);
        runs.add(item, group.saturating_sub(1), out.offset(), &data, sum);
        out.put(&data)?;
    }
    let mut ends = [out.offset(), 0, 0, 0, 0];
    let (parts, entries) = blocks.finish();
    out.put(&parts)?;
    drop(parts);
    ends[1] = out.offset();

    let mut directory = Directory::default();
    let runs = runs.finish();
    let mut rest = &runs[..];
    for (group, start) in starts.iter().enumerate() {
        let end = starts.get(group + 1).copied().unwrap_or(items.len());
        let (these, later) = rest.split_at(rest.partition_point(|run| run.group == group));
        let records = &items[*start..end];
        let encoded = encode_group(these, records, seed, out.offset());
        directory.add(items[*start].head.position, encoded.len());
        out.put(&encoded)?;
        rest = later;
    }
    ends[2] = out.offset();
    out.put(&encode_entries(&entries, seed, out.offset()))?;
    ends[3] = out.offset();
    out.put(&directory.encode(seed, out.offset()))?;
    ends[4] = out.offset();

    let footer = Footer {
        number,
        identity,
        ends,
        range,
        records: items.len() as u64,
        bytes: items.iter().map(|item| u64::from(item.head.bytes)).sum(),
    };
    out.put(&footer.encode())?;
    out.flush()?;
    let file = out.file.finish().map_err(SortedError::Io)?;
    Ok(Written {
        file: Sorted { file, footer },
        entries,
    })
}

fn refuse(item: &Item, what: &'static str) -> SortedError {
    SortedError::Record {
        id: item.id,
        first: item.first,
        what,
    }
}

/// Checks that the positions ascend within the range, and that each head describes a record.
fn check_positions(items: &[Item], range: &Range<u64>) -> Result<(), SortedError> {
    let mut next = range.start;
    for item in items {
        let head = &item.head;
        let is_record = head.count > 0
            && item.first.checked_add(u64::from(head.count)).is_some()
            && match head.layout {
                Layout::Lines => head.length.checked_sub(head.count) == Some(head.bytes),
                Layout::Lengths => head.length >= head.count && head.length >= head.bytes,
                Layout::Raw => head.length > 0 && head.length == head.bytes && head.count == 1,
                Layout::Lost => head.length == 0,
            };
        if !is_record {
            return Err(refuse(item, "has a head that describes no record"));
        }
        let end = head.position.checked_add(u64::from(head.count));
        match end {
            Some(end) if head.position >= next && end <= range.end => next = end,
            _ => return Err(refuse(item, "isn't in the order of positions")),
        }
    }
    Ok(())
}

/// Returns the indices of the items by stream, then by offset.
fn sort_by_stream(items: &[Item]) -> Result<Vec<usize>, SortedError> {
    let mut indices: Vec<usize> = (0..items.len()).collect();
    indices.sort_unstable_by_key(|index| (items[*index].id, items[*index].first));
    for pair in indices.windows(2) {
        let [before, index] = *pair else { continue };
        let (last, item) = (&items[before], &items[index]);
        if last.id == item.id {
            let end = last.first + u64::from(last.head.count);
            if before > index || end > item.first {
                return Err(refuse(item, "isn't in the order of its stream"));
            }
        }
    }
    Ok(indices)
}

/// Returns the index of each group's first item.
fn group_starts(items: &[Item]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut start = 0;
    while start < items.len() {
        starts.push(start);
        start += group_length(&items[start..]);
    }
    starts
}

/// Checks the bytes of a record. Returns their checksum.
fn check_data(item: &Item, data: &[u8]) -> Result<u32, SortedError> {
    let sum = record::sum(data);
    if data.len() as u64 == u64::from(item.head.length) && item.sum.is_none_or(|it| it == sum) {
        Ok(sum)
    } else {
        Err(refuse(item, "is damaged"))
    }
}

/// The end of the file, which is written in chunks.
struct Out<P> {
    file: NewFile,
    buffer: Vec<u8>,
    pace: P,
}

impl<P, E> Out<P>
where
    P: FnMut(usize) -> Result<(), E>,
    E: From<SortedError>,
{
    /// Returns the offset of the next byte.
    fn offset(&self) -> u64 {
        self.file.written() + self.buffer.len() as u64
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), E> {
        while !bytes.is_empty() {
            let room = CHUNK - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == CHUNK {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), E> {
        self.file.write(&self.buffer).map_err(SortedError::Io)?;
        let length = self.buffer.len();
        self.buffer.clear();
        (self.pace)(length)
    }
}

/// The checksum of data that arrives record by record.
#[derive(Default)]
struct Summing {
    hasher: Box<Xxh3>,
    /// The checksum, while there is one record only.
    single: Option<u32>,
}

impl Summing {
    fn start(&mut self, data: &[u8], sum: u32) {
        self.hasher.reset();
        self.hasher.update(data);
        self.single = Some(sum);
    }

    fn add(&mut self, data: &[u8]) {
        self.hasher.update(data);
        self.single = None;
    }

    fn sum(&self) -> u32 {
        self.single
            .unwrap_or_else(|| lower_half(self.hasher.digest()))
    }
}

/// Gathers blocks. The records arrive by stream, then by offset.
struct Blocks {
    seed: Seed,
    /// The offset of the parts section in the file.
    section: u64,
    /// The parts section.
    parts: Vec<u8>,
    entries: Vec<Pair>,
    /// Number of blocks in the last entry.
    in_entry: usize,
    /// The stream of the last entry.
    id: u64,
    open: Option<BlockRef>,
    /// The end of the last record of the open block.
    before: Before,
    summing: Summing,
}

impl Blocks {
    fn new(seed: Seed, section: u64) -> Self {
        Self {
            seed,
            section,
            parts: Vec::new(),
            entries: Vec::new(),
            in_entry: 0,
            id: 0,
            open: None,
            before: Before::default(),
            summing: Summing::default(),
        }
    }

    /// Adds a record whose data is at an offset in the data section.
    fn add(&mut self, item: &Item, at: u64, data: &[u8], sum: u32) {
        let Item {
            id, first, head, ..
        } = item;
        let continues = self
            .open
            .as_ref()
            .is_some_and(|block| self.id == *id && block.end == *first);
        let block = self.open.as_mut().filter(|block| {
            continues
                && block.layout == head.layout
                && head.layout != Layout::Raw
                && u64::from(block.length) + u64::from(head.length) <= BLOCK_BYTES
        });
        if let Some(block) = block {
            block.end += u64::from(head.count);
            block.length += head.length;
            self.summing.add(data);
        } else {
            self.close();
            if !continues || self.in_entry == ENTRY_BLOCKS {
                self.start_entry(*id, *first, at);
            }
            self.open = Some(BlockRef {
                first: *first,
                end: first + u64::from(head.count),
                layout: head.layout,
                length: head.length,
                at,
                parts_at: self.parts.len() as u64,
                parts: 0,
                sum: 0,
            });
            self.before = Before::default();
            self.summing.start(data, sum);
        }
        put_part(&mut self.parts, self.before, head);
        self.before = Before::after(head);
    }

    fn start_entry(&mut self, id: u64, first: u64, at: u64) {
        let value = Entry::start_value(self.seed.number, at, self.parts.len() as u64);
        self.entries.push((Entry::key(id, first), value));
        self.id = id;
        self.in_entry = 0;
    }

    fn close(&mut self) {
        let Some(mut block) = self.open.take() else {
            return;
        };
        let list = self.list_of(&block);
        let sum = self.seed.half_sum(list, self.section + block.parts_at);
        self.parts.extend_from_slice(&sum.to_le_bytes());
        // A block has at most 64 KiB of data or one record, so its list is short.
        block.parts = u32::try_from(self.list_of(&block).len()).unwrap_or(u32::MAX);
        block.sum = self.summing.sum();
        if let Some((_, value)) = self.entries.last_mut() {
            block.put(value);
        }
        self.in_entry += 1;
    }

    /// Returns the list of the open block, as far as it is written.
    fn list_of(&self, block: &BlockRef) -> &[u8] {
        let start = usize::try_from(block.parts_at).unwrap_or(usize::MAX);
        self.parts.get(start..).unwrap_or_default()
    }

    /// Returns the parts section and the entries.
    fn finish(mut self) -> (Vec<u8>, Vec<Pair>) {
        self.close();
        (self.parts, self.entries)
    }
}

/// Gathers runs. The records arrive by stream, then by offset.
#[derive(Default)]
struct Runs {
    runs: Vec<Run>,
    open: Option<Run>,
    /// The offset after the last record of the open run.
    next: u64,
    summing: Summing,
}

impl Runs {
    /// Adds a record of a group, whose data is at an offset in the data section.
    fn add(&mut self, item: &Item, group: usize, at: u64, data: &[u8], sum: u32) {
        let continues = self.open.as_ref().is_some_and(|run| {
            (run.group, run.id, run.layout) == (group, item.id, item.head.layout)
                && self.next == item.first
        });
        if continues {
            self.summing.add(data);
        } else {
            self.close();
            self.open = Some(Run {
                group,
                id: item.id,
                first: item.first,
                layout: item.head.layout,
                at,
                sum: 0,
            });
            self.summing.start(data, sum);
        }
        self.next = item.first + u64::from(item.head.count);
    }

    fn close(&mut self) {
        if let Some(mut run) = self.open.take() {
            run.sum = self.summing.sum();
            self.runs.push(run);
        }
    }

    /// Returns the runs by group, then by stream and offset.
    fn finish(mut self) -> Vec<Run> {
        self.close();
        let mut runs = mem::take(&mut self.runs);
        runs.sort_unstable_by_key(|run| (run.group, run.id, run.first));
        runs
    }
}

/// Encodes the section of the entries, in the layout that `decode_entries` describes.
fn encode_entries(entries: &[Pair], seed: Seed, offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut last = 0;
    for (key, value) in entries {
        let (id, first) = Entry::key_of(key).unwrap_or_default();
        put_number(&mut out, id - last);
        put_number(&mut out, first);
        put_bytes(&mut out, value);
        last = id;
    }
    seed.seal(&mut out, offset);
    out
}
