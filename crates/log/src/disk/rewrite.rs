//! Rewriting of files: segments into a sorted file, and sorted files without their dead records.
//!
//! The new file and the table with its locations are written and synced first. Then the manifest is
//! replaced, which names them instead of the old ones. A crash before that leaves files that no manifest
//! names, and one after it leaves the old files. Opening the log removes both.
//!
//! The new file lacks the messages that were removed, so the commits that removed them must be durable
//! before the manifest is replaced. With [`Durability::Os`](crate::Durability::Os), commits are visible
//! before that.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use headwater_journal::{Checkpoint, Install, Tail, Window};

use super::failure::io_failure;
use super::format::commit::IndexChange;
use super::format::manifest::Manifest;
use super::format::record::{self, Layout};
use super::segments::{Sealed, SegmentFile};
use super::sorted::{self, Entry, Item, Sorted, sorted_name};
use super::store::{Store, Tables};
use crate::error::Error;

/// Bytes that are read at once if records follow each other closely.
const WINDOW: u64 = 256 << 10;
/// Distance of two records up to which they count as close.
const CLOSE: u64 = 32 << 10;

/// The removed messages, as far as they were looked up.
pub(crate) struct Liveness<'a> {
    store: &'a Store,
    /// The floor of each stream, or `None` if it has ended.
    floors: HashMap<u64, Option<u64>>,
}

impl<'a> Liveness<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            floors: HashMap::new(),
        }
    }

    /// Returns `true` if a record that ends at an offset has messages that aren't removed.
    pub(crate) fn is_live(&mut self, id: u64, end: u64) -> Result<bool, Error> {
        let floor = match self.floors.get(&id) {
            Some(known) => *known,
            None => {
                let floor = self.store.state(id)?.map(|state| state.floor);
                self.floors.insert(id, floor);
                floor
            }
        };
        Ok(floor.is_some_and(|floor| end > floor))
    }
}

/// Reads the locations that a sorted file contains of its own blocks.
pub(crate) fn each_entry(
    file: &Sorted,
    mut each: impl FnMut(Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    for (key, value) in file.entries()? {
        let entry = Entry::decode(&key, &value);
        each(entry.map_err(|_| {
            Error::damaged(format!("a location in {}", sorted_name(file.number())))
        })?)?;
    }
    Ok(())
}

/// The conditions of a rewrite.
pub(crate) trait Terms {
    /// Makes all commits that are visible durable.
    fn sync(&self) -> Result<(), Error>;

    /// Returns `true` if there is space for this many bytes.
    fn fits(&self, bytes: u64) -> bool;

    /// Called after a part of the new file was written.
    fn wrote(&self, bytes: usize) -> Result<(), Error>;
}

/// The conditions while the log is opened.
struct Opening;

impl Terms for Opening {
    fn sync(&self) -> Result<(), Error> {
        // All commits that were found are durable.
        Ok(())
    }

    fn fits(&self, _: u64) -> bool {
        true
    }

    fn wrote(&self, _: usize) -> Result<(), Error> {
        Ok(())
    }
}

/// Rewrites the oldest full segments into a sorted file. Records that are damaged stay without their bytes,
/// so that a reader learns of them. Returns `false` if there is no space for it.
pub(crate) fn sort(
    store: &Store,
    segments: &[Arc<Sealed>],
    terms: &dyn Terms,
) -> Result<bool, Error> {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
        return Ok(true);
    };
    let mut liveness = Liveness::new(store);
    let mut items = Vec::new();
    for (source, segment) in (0..).zip(segments) {
        for (id, first, run) in segment.runs() {
            if liveness.is_live(*id, first + u64::from(run.head.count))? {
                items.push(Item {
                    id: *id,
                    first: *first,
                    head: run.head,
                    sum: Some(run.sum),
                    source,
                    at: run.offset.into(),
                });
            }
        }
    }
    if !terms.fits(length_of(&items)) {
        return Ok(false);
    }
    items.sort_unstable_by_key(|item| item.head.position);
    let mut readers: Vec<Reader<'_>> = segments.iter().map(|it| Reader::new(it.file())).collect();
    let mut read = |item: &Item| {
        if item.head.layout == Layout::Lost {
            return Ok(Bytes::new());
        }
        let source = usize::try_from(item.source).unwrap_or(usize::MAX);
        let read = readers[source].read(item.at, item.head.length);
        read.map_err(io_failure)
    };
    let range = first.range().start..last.range().end;
    let mut new = write(store, range.clone(), &items, &mut read, terms);
    if new.as_ref().is_err_and(Error::is_damaged) {
        for item in &mut items {
            if Some(record::sum(&read(item)?)) != item.sum {
                tracing::error!(
                    segment = segments[usize::try_from(item.source).unwrap_or(0)]
                        .file()
                        .number,
                    byte = item.at,
                    stream = item.id,
                    offset = item.first,
                    "messages are damaged; their bytes aren't kept when the segment is rewritten"
                );
                (item.head, item.sum) = (item.head.lost(), None);
            }
        }
        new = write(store, range, &items, &mut read, terms);
    }
    drop(items);
    let after = Checkpoint {
        segment: last.file().number + 1,
        tail: last.after(),
    };
    replace(store, new?, &[], terms, |manifest| {
        manifest.segments = after;
    })?;
    let removed = store.segments.write().remove(segments.len());
    let files = removed.iter().map(|segment| Arc::clone(segment.file()));
    store.retired.lock().extend(files);
    Ok(true)
}

/// Rewrites all segments into a sorted file, so that opening the log doesn't read them again. `after` is
/// the position of the next frame, which doesn't follow the last one.
pub(crate) fn close_gap(store: &Store, after: Tail) -> Result<(), Error> {
    let sealed: Vec<_> = store.segments.read().sealed().cloned().collect();
    sort(store, &sealed, &Opening)?;
    store.install(Tables::default(), |manifest| {
        manifest.segments.tail = after;
    })?;
    Ok(())
}

/// Rewrites sorted files that follow each other into one, without the records that were removed.
/// Returns `false` if there is no space for it.
pub(crate) fn again(store: &Store, old: &[Arc<Sorted>], terms: &dyn Terms) -> Result<bool, Error> {
    let (Some(first), Some(last)) = (old.first(), old.last()) else {
        return Ok(true);
    };
    let range = first.range().start..last.range().end;
    let mut liveness = Liveness::new(store);
    let mut items = Vec::new();
    let mut readers = Vec::new();
    for (source, file) in (0..).zip(old) {
        for item in file.items(source)? {
            let item = item?;
            if liveness.is_live(item.id, item.first + u64::from(item.head.count))? {
                items.push(item);
            }
        }
        readers.push(file.data()?);
    }
    if !terms.fits(length_of(&items)) {
        return Ok(false);
    }
    let read = |item: &Item| {
        let source = usize::try_from(item.source).unwrap_or(usize::MAX);
        Ok(readers[source].read(item.at, item.head.length)?)
    };
    let new = write(store, range, &items, read, terms)?;
    drop(items);
    replace(store, new, old, terms, |_| {})?;
    for file in old {
        store.remove(&sorted_name(file.number()));
    }
    Ok(true)
}

/// Returns the bytes of records.
fn length_of(items: &[Item]) -> u64 {
    items.iter().map(|item| u64::from(item.head.length)).sum()
}

/// A new sorted file, if there is one, and its locations.
type New = Option<(Arc<Sorted>, Vec<IndexChange>)>;

/// Writes a sorted file, unless there are no items.
fn write(
    store: &Store,
    range: Range<u64>,
    items: &[Item],
    read: impl FnMut(&Item) -> Result<Bytes, Error>,
    terms: &dyn Terms,
) -> Result<New, Error> {
    if items.is_empty() {
        return Ok(None);
    }
    let number = store.next_file();
    let identity = store.identity.number();
    let pace = |bytes: usize| terms.wrote(bytes);
    let written = sorted::write(&store.disk, number, identity, range, items, read, pace);
    let written = written.inspect_err(|_: &Error| store.remove(&sorted_name(number)))?;
    let entries = written.entries.into_iter();
    let changes = entries.map(|(key, value)| (key, Some(value)));
    Ok(Some((Arc::new(written.file), changes.collect())))
}

/// Replaces sorted files that follow each other by a new one, or adds one at the end. Without a new
/// one, it removes them.
fn replace(
    store: &Store,
    new: New,
    old: &[Arc<Sorted>],
    terms: &dyn Terms,
    change: impl FnOnce(&mut Manifest),
) -> Result<(), Error> {
    let (file, mut changes) = new.unzip();
    let undo = || {
        if let Some(file) = &file {
            store.files.write().remove(&file.number());
            store.remove(&sorted_name(file.number()));
        }
    };
    let mut prepare = || -> Result<Tables, Error> {
        let mut changes = changes.take().unwrap_or_default();
        for file in old {
            changes.extend(file.entries()?.into_iter().map(|(key, _)| (key, None)));
        }
        // Of two changes of a key, the new value is first and stays.
        changes.sort_unstable_by(|(a, new), (b, old)| a.cmp(b).then_with(|| old.cmp(new)));
        changes.dedup_by(|(later, _), (key, _)| later == key);
        terms.sync()?;
        match changes.is_empty() {
            true => Ok(Tables::default()),
            false => Ok(Tables {
                index: Some(Install::Add(store.write_table(changes)?)),
                catalog: None,
            }),
        }
    };
    let tables = prepare().inspect_err(|_| undo())?;
    let mut list = store.sorted.read().to_vec();
    let is_old = |file: &Arc<Sorted>| old.iter().any(|it| it.number() == file.number());
    let place = list.iter().position(is_old).unwrap_or(list.len());
    list.retain(|file| !is_old(file));
    list.splice(place..place, file.clone());
    if let Some(file) = &file {
        store.files.write().insert(file.number(), Arc::clone(file));
    }
    let numbers = list.iter().map(|file| file.number()).collect();
    let installed = store.install(tables, |manifest| {
        manifest.sorted = numbers;
        change(manifest);
    });
    installed.inspect_err(|failed| {
        if failed.is_unchanged {
            undo();
        }
    })?;
    *store.sorted.write() = list.into();
    let mut files = store.files.write();
    for file in old {
        files.remove(&file.number());
    }
    Ok(())
}

/// Reads records of a segment, at once if they follow each other closely.
struct Reader<'a> {
    file: &'a SegmentFile,
    window: Window,
    /// The end of the last record.
    last: u64,
}

impl<'a> Reader<'a> {
    fn new(file: &'a SegmentFile) -> Self {
        Self {
            file,
            window: Window::default(),
            last: 0,
        }
    }

    fn read(&mut self, at: u64, length: u32) -> std::io::Result<Bytes> {
        let is_close = (self.last..self.last + CLOSE).contains(&at);
        self.last = at + u64::from(length);
        let ahead = if is_close {
            WINDOW.min(self.file.bytes - at)
        } else {
            0
        };
        let size = |bytes: u64| usize::try_from(bytes).map_err(std::io::Error::other);
        let (length, ahead) = (size(length.into())?, size(ahead)?);
        self.window.read(&*self.file.file, at, length, ahead)
    }
}
