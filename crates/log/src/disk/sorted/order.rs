//! The order of all streams: groups of up to 1,024 records or 1 MiB of data, by position.
//!
//! ```text
//! group      number of runs n, then for each of them, by stream id and offset
//!              id, change n │ first offset n │ offset in data, change n << 2 | layout │ sum of the data u32
//!            for each record, by position
//!              run n << 3 | flags │ [count n] │ length n │ [bytes n] │ [time, change n] │ [skipped n]
//!            checksum u64
//! flags      1 it has one message, and no count   2 its time isn't the one of the record before
//!            4 positions are skipped before it
//!
//! directory  for each group: first position, change n │ length n
//!            checksum u64
//! ```
//!
//! A run is records of the group that follow each other in their stream and have the same layout, so
//! their data is contiguous too. A record continues the offsets and the data of the one before in its
//! run. Its time and skipped positions refer to the record before in the group, or to zero. Changes in
//! runs and in the directory refer to the one before, or to zero.
//!
//! A reader of few streams reads the groups, and the data of the runs of these streams.

use std::{iter::Peekable, ops::Range};

use bytes::Bytes;

use super::{
    CHUNK, Item, Section, Seed, Sorted, SortedError,
    entry::{Before, Numbers, take_u32},
};
use crate::disk::format::{
    bytes::{Cursor, Malformed, put_number},
    record::{self, Head, Layout, Record},
};

/// Limits of a group.
pub(super) const GROUP_RECORDS: usize = 1024;
pub(super) const GROUP_BYTES: u64 = 1 << 20;
/// Bytes between wanted runs that are read with them, as that is cheaper than another read.
const GAP: u64 = 4 << 10;

const ONE_MESSAGE: u64 = 1;
const OTHER_TIME: u64 = 2;
const SKIPS: u64 = 4;
const FLAGS: u32 = 3;

/// A run as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The index of its group.
    pub(super) group: usize,
    pub(super) id: u64,
    pub(super) first: u64,
    pub(super) layout: Layout,
    /// The offset of its data in the data section.
    pub(super) at: u64,
    pub(super) sum: u32,
}

/// Encodes a group of at least one record that will be written at an offset. The runs are sorted by
/// stream and offset, the records by position.
pub(super) fn encode_group(runs: &[Run], items: &[Item], seed: Seed, offset: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, runs.len() as u64);
    let (mut id, mut at) = (0, 0);
    for run in runs {
        put_number(&mut out, run.id - id);
        put_number(&mut out, run.first);
        put_number(&mut out, (run.at - at) << 2 | run.layout.number());
        out.extend_from_slice(&run.sum.to_le_bytes());
        (id, at) = (run.id, run.at);
    }
    let mut before = Before::default();
    for Item {
        id, first, head, ..
    } in items
    {
        let after = runs.partition_point(|run| (run.id, run.first) <= (*id, *first));
        let (change, skipped) = (before.change(head.time), before.skipped(head.position));
        let mut tag = (after.saturating_sub(1) as u64) << FLAGS;
        for (flag, is_set) in [
            (ONE_MESSAGE, head.count == 1),
            (OTHER_TIME, change != 0),
            (SKIPS, skipped != 0),
        ] {
            tag |= if is_set { flag } else { 0 };
        }
        put_number(&mut out, tag);
        if head.count != 1 {
            put_number(&mut out, u64::from(head.count));
        }
        put_number(&mut out, u64::from(head.length));
        if head.layout.lists_bytes() {
            put_number(&mut out, u64::from(head.bytes));
        }
        for number in [change, skipped].into_iter().filter(|it| *it != 0) {
            put_number(&mut out, number);
        }
        before = Before::after(head);
    }
    seed.seal(&mut out, offset);
    out
}

/// A run as it was read.
#[derive(Clone, Debug)]
struct FoundRun {
    id: u64,
    layout: Layout,
    /// The range of its data in the data section.
    data: Range<u64>,
    /// The offset in its stream after its last record.
    next: u64,
    /// The position after its last record.
    end: u64,
    sum: u32,
}

/// A record of a group.
#[derive(Clone, Copy, Debug)]
struct Placed {
    /// The index of its run.
    run: usize,
    first: u64,
    head: Head,
    /// The offset of its data in the data section.
    at: u64,
}

fn decode_group(bytes: &[u8]) -> Result<(Vec<FoundRun>, Vec<Placed>), Malformed> {
    let mut cursor = Cursor(bytes);
    let mut runs: Vec<FoundRun> = Vec::new();
    let (mut id, mut at) = (0_u64, 0_u64);
    for _ in 0..cursor.number()? {
        id = id.checked_add(cursor.number()?).ok_or(Malformed)?;
        let next = cursor.number()?;
        let place = cursor.number()?;
        at = at.checked_add(place >> 2).ok_or(Malformed)?;
        runs.push(FoundRun {
            id,
            layout: Layout::from_number(place & 3)?,
            data: at..at,
            next,
            end: 0,
            sum: take_u32(&mut cursor)?,
        });
    }
    let mut records = Vec::new();
    let mut before = Before::default();
    while !cursor.0.is_empty() {
        let tag = cursor.number()?;
        let number_if = |cursor: &mut Cursor<'_>, is_there: bool, otherwise| {
            if is_there {
                cursor.number()
            } else {
                Ok(otherwise)
            }
        };
        let index = usize::try_from(tag >> FLAGS).map_err(|_| Malformed)?;
        let run = runs.get_mut(index).ok_or(Malformed)?;
        let numbers = Numbers {
            count: number_if(&mut cursor, tag & ONE_MESSAGE == 0, 1)?,
            length: cursor.number()?,
            bytes: number_if(&mut cursor, run.layout.lists_bytes(), 0)?,
            change: number_if(&mut cursor, tag & OTHER_TIME != 0, 0)?,
            skipped: number_if(&mut cursor, tag & SKIPS != 0, 0)?,
        };
        let head = before.head(run.layout, &numbers)?;
        let (first, at) = (run.next, run.data.end);
        run.next = first.checked_add(u64::from(head.count)).ok_or(Malformed)?;
        run.data.end = at.checked_add(u64::from(head.length)).ok_or(Malformed)?;
        run.end = before.end;
        records.push(Placed {
            run: index,
            first,
            head,
            at,
        });
    }
    Ok((runs, records))
}

/// The groups from a position on. It ends after an error.
pub(crate) struct Groups<'a> {
    file: &'a Sorted,
    /// Records that end before it are left out.
    from: u64,
    directory: Vec<Listed>,
    /// The index of the next group.
    next: usize,
}

/// A group's entry in the directory.
#[derive(Clone, Debug)]
struct Listed {
    first: u64,
    /// Its range in the order section.
    range: Range<u64>,
}

fn decode_directory(bytes: &[u8]) -> Result<Vec<Listed>, Malformed> {
    let mut cursor = Cursor(bytes);
    let mut groups = Vec::new();
    let (mut first, mut at) = (0_u64, 0_u64);
    while !cursor.0.is_empty() {
        first = first.checked_add(cursor.number()?).ok_or(Malformed)?;
        let end = at.checked_add(cursor.number()?).ok_or(Malformed)?;
        groups.push(Listed {
            first,
            range: at..end,
        });
        at = end;
    }
    Ok(groups)
}

impl Sorted {
    /// Returns the groups of records from a position on. The first group begins with the record that
    /// contains the position, if there is one.
    ///
    /// # Errors
    /// [`SortedError::Damaged`] if the directory isn't what was written.
    pub(crate) fn order_from(&self, position: u64) -> Result<Groups<'_>, SortedError> {
        let what = "the directory";
        let bytes = self.load_section(Section::Directory, what)?;
        let directory = decode_directory(&bytes).map_err(|Malformed| {
            self.damaged(self.footer.section(Section::Directory).start, what)
        })?;
        let after = directory.partition_point(|group| group.first <= position);
        Ok(Groups {
            file: self,
            from: position,
            directory,
            next: after.saturating_sub(1),
        })
    }
}

impl<'a> Groups<'a> {
    fn load(&self, listed: &Listed) -> Result<Group<'a>, SortedError> {
        let Listed { first, range } = listed;
        let what = "a group of the order";
        let length = range.end - range.start;
        let bytes = self
            .file
            .load_sealed(Section::Order, range.start, length, what)?;
        let malformed = || {
            let section = self.file.footer.section(Section::Order);
            self.file.damaged(section.start + range.start, what)
        };
        let (runs, records) = decode_group(&bytes).map_err(|Malformed| malformed())?;
        if records.first().map(|record| record.head.position) != Some(*first) {
            return Err(malformed());
        }
        let before = records.partition_point(|record| end_of(&record.head) <= self.from);
        Ok(Group {
            file: self.file,
            from: self.from,
            runs,
            records: records.get(before..).unwrap_or_default().to_vec(),
        })
    }
}

impl<'a> Iterator for Groups<'a> {
    type Item = Result<Group<'a>, SortedError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(listed) = self.directory.get(self.next) {
            let group = self.load(listed);
            self.next = match group {
                Ok(_) => self.next + 1,
                Err(_) => self.directory.len(),
            };
            // Only the first group can have no record from the position on.
            if !group.as_ref().is_ok_and(|group| group.records.is_empty()) {
                return Some(group);
            }
        }
        None
    }
}

fn end_of(head: &Head) -> u64 {
    head.position + u64::from(head.count)
}

/// Records with their streams.
type Records = Vec<(u64, Record)>;

/// The data of a run.
#[derive(Clone)]
enum Data {
    Unwanted,
    Whole(Bytes),
    Damaged,
}

/// Records that follow each other in the order of all streams. There is at least one. Their data
/// isn't read yet.
pub(crate) struct Group<'a> {
    file: &'a Sorted,
    from: u64,
    runs: Vec<FoundRun>,
    records: Vec<Placed>,
}

impl Group<'_> {
    /// Returns the position of the first record.
    pub(crate) fn first(&self) -> u64 {
        self.records.first().map_or(0, |it| it.head.position)
    }

    /// Returns the position after the last record.
    #[cfg(test)]
    pub(super) fn end(&self) -> u64 {
        self.records.last().map_or(0, |it| end_of(&it.head))
    }

    /// Returns the runs with records from the position on.
    fn live_runs(&self) -> impl Iterator<Item = (usize, &FoundRun)> {
        let runs = self.runs.iter().enumerate();
        runs.filter(|(_, run)| run.end > self.from)
    }

    /// Returns the ids of the records' streams, each once, in ascending order.
    pub(crate) fn streams(&self) -> impl Iterator<Item = u64> + '_ {
        let mut last = None;
        self.live_runs()
            .map(|(_, run)| run.id)
            .filter(move |id| last.replace(*id) != Some(*id))
    }

    /// Returns the stream, the first offset and the head of each record, in position order.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (u64, u64, Head)> + '_ {
        let records = self.records.iter();
        records.filter_map(|it| Some((self.runs.get(it.run)?.id, it.first, it.head)))
    }

    /// Reads the records of the streams that `wanted` selects, in position order. `wanted` is called
    /// once for each of [`streams`](Self::streams). The records may share memory.
    ///
    /// # Errors
    /// [`SortedError::Damaged`] if the data of a wanted stream isn't what was written.
    pub(crate) fn records(&self, wanted: impl FnMut(u64) -> bool) -> Result<Records, SortedError> {
        let (records, damage) = self.records_or_lost(wanted)?;
        damage.map_or(Ok(records), Err)
    }

    /// Reads records as [`records`](Self::records) does, with those of damaged runs as lost ones. Returns
    /// the damage too.
    pub(crate) fn records_or_lost(
        &self,
        mut wanted: impl FnMut(u64) -> bool,
    ) -> Result<(Records, Option<SortedError>), SortedError> {
        let mut answer: Option<(u64, bool)> = None;
        let mut chosen = self
            .live_runs()
            .filter(|(_, run)| match answer {
                Some((id, is_wanted)) if id == run.id => is_wanted,
                _ => answer.insert((run.id, wanted(run.id))).1,
            })
            .peekable();
        let mut damage = None;
        let mut data = vec![Data::Unwanted; self.runs.len()];
        while let Some((index, run)) = chosen.next() {
            let mut extent = vec![(index, run)];
            extend(&mut extent, &mut chosen);
            damage = damage.or(self.load_runs(&extent, &mut data)?);
        }
        let mut records = Vec::new();
        for placed in &self.records {
            let run = &self.runs[placed.run];
            let data = match &data[placed.run] {
                Data::Whole(data) => data,
                Data::Unwanted => continue,
                Data::Damaged => {
                    let record = Record {
                        first: placed.first,
                        head: placed.head.lost(),
                        data: Bytes::new(),
                    };
                    records.push((run.id, record));
                    continue;
                }
            };
            let start = self.file.memory_length(placed.at - run.data.start)?;
            let length = self.file.memory_length(u64::from(placed.head.length))?;
            let record = Record {
                first: placed.first,
                head: placed.head,
                data: Bytes::slice(data, start..start + length),
            };
            records.push((run.id, record));
        }
        Ok((records, damage))
    }

    /// Reads runs and what lies between them, and checks the runs. Returns the first damage.
    fn load_runs(
        &self,
        extent: &[(usize, &FoundRun)],
        data: &mut [Data],
    ) -> Result<Option<SortedError>, SortedError> {
        let ([(_, start), ..], [.., (_, end)]) = (extent, extent) else {
            return Ok(None);
        };
        let mut damage = None;
        let start = start.data.start;
        let length = end.data.end.saturating_sub(start);
        let bytes = Bytes::from(self.file.load(Section::Data, start, length)?);
        for (index, run) in extent {
            let from = self.file.memory_length(run.data.start - start)?;
            let to = self.file.memory_length(run.data.end - start)?;
            data[*index] = match bytes.get(from..to).map(record::sum) == Some(run.sum) {
                true => Data::Whole(bytes.slice(from..to)),
                false => {
                    let error = || self.file.damaged(run.data.start, "the data of a stream");
                    damage.get_or_insert_with(error);
                    Data::Damaged
                }
            };
        }
        Ok(damage)
    }

    /// Returns the records as items for a rewrite.
    pub(super) fn into_items(self, source: u32) -> Vec<Item> {
        let records = self.records.iter();
        records
            .filter_map(|placed| {
                Some(Item {
                    id: self.runs.get(placed.run)?.id,
                    first: placed.first,
                    head: placed.head,
                    sum: None,
                    source,
                    at: placed.at,
                })
            })
            .collect()
    }
}

/// Adds runs that are close to those before them, up to [`CHUNK`].
fn extend<'r>(
    extent: &mut Vec<(usize, &'r FoundRun)>,
    chosen: &mut Peekable<impl Iterator<Item = (usize, &'r FoundRun)>>,
) {
    let Some(start) = extent.first().map(|(_, run)| run.data.start) else {
        return;
    };
    while let Some((_, last)) = extent.last()
        && let Some(next) = chosen.next_if(|(_, next)| {
            next.data.start.saturating_sub(last.data.end) <= GAP
                && next.data.end.saturating_sub(start) <= CHUNK as u64
        })
    {
        extent.push(next);
    }
}

/// The directory as it is written.
#[derive(Default)]
pub(super) struct Directory {
    encoded: Vec<u8>,
    last: u64,
}

impl Directory {
    /// Adds a group.
    pub(super) fn add(&mut self, first: u64, length: usize) {
        put_number(&mut self.encoded, first - self.last);
        put_number(&mut self.encoded, length as u64);
        self.last = first;
    }

    pub(super) fn encode(mut self, seed: Seed, offset: u64) -> Vec<u8> {
        seed.seal(&mut self.encoded, offset);
        self.encoded
    }
}

/// Returns the number of records that form the first group of `items`.
pub(super) fn group_length(items: &[Item]) -> usize {
    let mut bytes = 0;
    let fits = |item: &&Item| {
        bytes += u64::from(item.head.length);
        bytes <= GROUP_BYTES
    };
    let fitting = items.iter().take(GROUP_RECORDS).take_while(fits).count();
    fitting.max(1).min(items.len())
}

#[cfg(test)]
pub(super) fn decode_anything(bytes: &[u8]) {
    let _ = decode_group(bytes);
    let _ = decode_directory(bytes);
}
