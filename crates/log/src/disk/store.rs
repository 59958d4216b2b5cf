//! The data on the disk: the index, the segments of the journal and the sorted files. Only this module
//! and [`rewrite`](super::rewrite) read them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use headwater_journal::{
    Disk, Index, Install, Table, TableError, TableRef, TableWriter, table_name,
};
use parking_lot::{Mutex, RwLock};

use super::catalog::{self, CatalogDisk, catalog_name};
use super::failure::io_failure;
use super::format::bytes::Malformed;
use super::format::commit::IndexChange;
use super::format::ended::Ends;
use super::format::keys;
use super::format::log_head::{self, Head};
use super::format::manifest::Manifest;
use super::format::record::{self, Record};
use super::parting::{self, Parting};
use super::segments::{Located, SegmentFile, Segments, Size};
use super::sorted::{Entry, Sorted};
use crate::append_rules::State;
use crate::encoding::birth::{self, Birth};
use crate::encoding::{ended, producer, state};
use crate::error::Error;
use crate::incarnation::Identity;
use crate::name::StreamName;
use crate::producers::ProducerState;
use crate::read::Ended;

/// Bytes that are read at once if records are close to each other.
const WINDOW: u64 = 256 << 10;
/// Bytes between two records that are read and thrown away rather than skipped by another read.
const SKIP: u64 = 16 << 10;
/// Maximum number of records that one read returns.
const MOST: usize = 4096;
/// Number of times that a location is looked up again because files were rewritten meanwhile.
const AGAIN: usize = 16;

pub(crate) struct Store {
    /// The log's identity. It is written once, when the folder is opened for the first time.
    pub(crate) identity: Identity,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) index: Index,
    /// The tables of the catalog. It has no changes in memory.
    catalog: Index,
    pub(crate) segments: RwLock<Segments>,
    /// In the order of their positions.
    pub(crate) sorted: RwLock<Arc<[Arc<Sorted>]>>,
    /// The same files by number. A new one is here before a location names it.
    pub(crate) files: RwLock<HashMap<u64, Arc<Sorted>>>,
    pub(crate) manifest: Mutex<Manifest>,
    /// Held while frozen changes of the index are written out.
    checkpointing: Mutex<()>,
    /// The state of the log at the end of the frozen changes of the index.
    frozen: Mutex<Option<Head>>,
    /// Segments that are in sorted files and that readers may still have.
    pub(crate) retired: Mutex<Vec<Arc<SegmentFile>>>,
}

/// A gap that a stream's caps left.
pub(crate) struct Gap {
    /// The position of the newest removed message.
    pub(crate) position: u64,
    pub(crate) id: u64,
    /// The first own offset that the stream still has.
    pub(crate) floor: u64,
}

impl Store {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        manifest: Manifest,
        index: Index,
        catalog: Index,
        sorted: Vec<Arc<Sorted>>,
    ) -> Self {
        let files = sorted.iter().map(|file| (file.number(), Arc::clone(file)));
        let files = files.collect();
        Self {
            identity: Identity::new(manifest.identity),
            disk,
            index,
            catalog,
            segments: RwLock::default(),
            files: RwLock::new(files),
            sorted: RwLock::new(sorted.into()),
            manifest: Mutex::new(manifest),
            checkpointing: Mutex::default(),
            frozen: Mutex::default(),
            retired: Mutex::default(),
        }
    }

    fn meta<T>(
        &self,
        key: &[u8],
        what: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Error> {
        let value = self.index.get(key)?;
        let decoded = value.map(|value| decode(&value)).transpose();
        decoded.map_err(|Malformed| malformed(what, key))
    }

    /// Applies changes to the index.
    pub(crate) fn apply(&self, changes: Vec<IndexChange>) {
        let changes = changes.into_iter();
        self.index.apply(
            changes
                .map(|(key, it)| (key, it.map(Bytes::from)))
                .collect(),
        );
    }

    pub(crate) fn ends(&self) -> Result<Ends, Error> {
        let ends = self.meta(keys::ENDS, "the number of ends", Ends::decode)?;
        Ok(ends.unwrap_or_default())
    }

    pub(crate) fn id_of(&self, name: &StreamName) -> Result<Option<u64>, Error> {
        let key = keys::name(name.as_str());
        self.meta(&key, "a stream's name", log_head::decode_number)
    }

    pub(crate) fn birth(&self, id: u64) -> Result<Option<Birth>, Error> {
        self.meta(&keys::settings(id), "a stream's settings", birth::decode)
    }

    pub(crate) fn state(&self, id: u64) -> Result<Option<State>, Error> {
        self.meta(&keys::state(id), "a stream's state", state::decode)
    }

    pub(crate) fn partings(&self, id: u64) -> Result<Vec<Parting>, Error> {
        let partings = self.meta(
            &keys::partings(id),
            "a stream's incarnations",
            parting::decode,
        )?;
        Ok(partings.unwrap_or_default())
    }

    pub(crate) fn producer(&self, id: u64, name: &str) -> Result<Option<ProducerState>, Error> {
        let key = keys::producer(id, name);
        self.meta(&key, "a producer's state", producer::decode)
    }

    /// Returns the states of at most `most` producers of a stream whose ids come after `after`, in
    /// the order of the ids.
    pub(crate) fn producers(
        &self,
        id: u64,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, ProducerState)>, Error> {
        let mut from = keys::producer(id, after.unwrap_or_default());
        if after.is_some() {
            from.push(0);
        }
        let Some(next) = id.checked_add(1) else {
            return Ok(Vec::new());
        };
        let found = self.index.range(&from, &keys::producer(next, ""), most)?;
        let decode = |(key, value): (Vec<u8>, Bytes)| {
            let name = keys::producer_of(&key).map(str::to_owned);
            match (name, producer::decode(&value)) {
                (Some(name), Ok(state)) => Ok((name, state)),
                _ => Err(malformed("a producer's state", &key)),
            }
        };
        found.into_iter().map(decode).collect()
    }

    /// Returns at most `most` keys of the index in `from..to`.
    pub(crate) fn keys(&self, from: &[u8], to: &[u8], most: usize) -> Result<Vec<Vec<u8>>, Error> {
        let found = self.index.range(from, to, most)?;
        Ok(found.into_iter().map(|(key, _)| key).collect())
    }

    /// Returns at most `most` streams whose newest trimmed message has a position in `from..to`, in
    /// the order of the positions.
    pub(crate) fn trimmed(&self, from: u64, to: u64, most: usize) -> Result<Vec<Gap>, Error> {
        // The keys contain the position after the message.
        let (from, to) = (keys::trimmed(from + 1, 0), keys::trimmed(to + 1, 0));
        let decode = |(key, value): (Vec<u8>, Bytes)| {
            let place = keys::trimmed_of(&key);
            let floor = log_head::decode_number(&value).ok();
            let found = place.zip(floor).map(|((position, id), floor)| Gap {
                position: position - 1,
                id,
                floor,
            });
            found.ok_or_else(|| malformed("a notice of trimming", &key))
        };
        let found = self.index.range(&from, &to, most)?;
        found.into_iter().map(decode).collect()
    }

    /// Returns at most `most` streams that ended in `from..to`, in the order of the positions.
    pub(crate) fn ended(&self, from: u64, to: u64, most: usize) -> Result<Vec<Ended>, Error> {
        let found = self.index.range(&keys::end(from), &keys::end(to), most)?;
        let decode = |(key, value): (Vec<u8>, Bytes)| {
            let position = keys::end_of(&key).ok_or(Malformed);
            let end = position.and_then(|position| ended::decode(position, &value));
            end.map_err(|Malformed| malformed("a stream's end", &key))
        };
        found.into_iter().map(decode).collect()
    }

    /// Returns consecutive records of a stream from the one that contains `at`, of about `budget`
    /// bytes. The last ones may be after `until`. Damage is an error only in the first record or block;
    /// otherwise they end before it.
    pub(crate) fn records(
        &self,
        id: u64,
        at: u64,
        until: u64,
        budget: usize,
    ) -> Result<Vec<Record>, Error> {
        self.locate(
            id,
            at,
            |segments| segments.find(id, at, until, budget, MOST),
            |located| self.read_located(id, &located),
            |file, entry| Ok(file.read(entry, at, budget)?),
        )
    }

    /// Returns the sizes of consecutive records of a stream from the one that contains `at`, of about
    /// `budget` bytes. In a sorted file, they are those of whole blocks.
    pub(crate) fn sizes(
        &self,
        id: u64,
        at: u64,
        until: u64,
        budget: u64,
    ) -> Result<Vec<Size>, Error> {
        self.locate(
            id,
            at,
            |segments| segments.sizes(id, at, until, budget, MOST),
            Ok,
            |file, entry| Ok(file.sizes(entry, at, budget)?),
        )
    }

    /// Returns the first offsets and the heads of at most `most` consecutive records of a stream from
    /// the one that contains `at`.
    pub(crate) fn heads(
        &self,
        id: u64,
        at: u64,
        most: usize,
    ) -> Result<Vec<(u64, record::Head)>, Error> {
        self.locate(
            id,
            at,
            |segments| segments.find(id, at, u64::MAX, usize::MAX, most),
            |located| {
                let heads = located.iter().map(|it| (it.first, it.run.head));
                Ok(heads.collect())
            },
            |file, entry| Ok(file.heads(entry, at, most)?),
        )
    }

    /// Finds the file that contains a message: a segment, or a sorted file.
    fn locate<L, T>(
        &self,
        id: u64,
        at: u64,
        find: impl Fn(&Segments) -> Vec<L>,
        in_segments: impl Fn(Vec<L>) -> Result<Vec<T>, Error>,
        in_sorted: impl Fn(&Sorted, &Entry) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        for _ in 0..AGAIN {
            let located = find(&self.segments.read());
            if !located.is_empty() {
                return in_segments(located);
            }
            let (first, last) = (Entry::key(id, 0), Entry::key(id, at));
            let Some((key, value)) = self.index.last_at_most(&first, &last)? else {
                break;
            };
            let entry = Entry::decode(&key, &value);
            let entry = entry.map_err(|Malformed| malformed("a location", &key))?;
            if at >= entry.end() {
                break;
            }
            let Some(file) = self.files.read().get(&entry.file).cloned() else {
                // It was rewritten meanwhile.
                continue;
            };
            let found = in_sorted(&file, &entry)?;
            if !found.is_empty() {
                return Ok(found);
            }
            break;
        }
        Err(Error::damaged(format!("stream {id} lacks offset {at}")))
    }

    /// Reads records of segments. Neighbouring records are read at once. After the first
    /// one, it stops at a damaged one.
    fn read_located(&self, id: u64, located: &[Located]) -> Result<Vec<Record>, Error> {
        let start = |it: &Located| u64::from(it.run.offset);
        let end = |it: &Located| start(it) + u64::from(it.run.head.length);
        let mut records = Vec::with_capacity(located.len());
        let mut rest = located;
        while let Some(first) = rest.first() {
            let mut count = 1;
            while let Some(next) = rest.get(count)
                && next.file.number == first.file.number
                && (end(&rest[count - 1])..=end(&rest[count - 1]) + SKIP).contains(&start(next))
                && end(next) - start(first) <= WINDOW
            {
                count += 1;
            }
            let (near, later) = rest.split_at(count);
            let from = start(first);
            let length = end(&near[count - 1]) - from;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let bytes = first.file.file.read(from, length);
            let bytes = Bytes::from(bytes.map_err(io_failure)?);
            for it in near {
                let at = usize::try_from(start(it) - from).unwrap_or(usize::MAX);
                let length = usize::try_from(it.run.head.length).unwrap_or(usize::MAX);
                let data = bytes.slice(at..at + length);
                if record::sum(&data) != it.run.sum {
                    if !records.is_empty() {
                        return Ok(records);
                    }
                    let segment = it.file.number;
                    return Err(Error::damaged(format!(
                        "segment {segment} at byte {}: stream {id} at offset {}",
                        it.run.offset, it.first
                    )));
                }
                records.push(Record {
                    first: it.first,
                    head: it.run.head,
                    data,
                });
            }
            rest = later;
        }
        Ok(records)
    }

    /// Returns the number of a new table or sorted file.
    pub(crate) fn next_file(&self) -> u64 {
        let mut manifest = self.manifest.lock();
        manifest.next_file += 1;
        manifest.next_file - 1
    }

    /// Freezes the changes of the index up to `head`, for the next [checkpoint](Self::checkpoint).
    /// Called by the writer, between commits. Returns `false` if older ones aren't written yet.
    pub(crate) fn freeze(&self, head: Head) -> bool {
        let mut frozen = self.frozen.lock();
        let is_frozen = frozen.is_none() && self.index.freeze();
        if is_frozen {
            *frozen = Some(head);
        }
        is_frozen
    }

    /// Writes the frozen changes of the index into a table, and another one of the catalog. Returns
    /// `true` if there were any.
    pub(crate) fn checkpoint(&self) -> Result<bool, Error> {
        let _alone = self.checkpointing.lock();
        let Some(head) = *self.frozen.lock() else {
            return Ok(false);
        };
        let mut tables = Tables::default();
        let write = |disk| self.index.write_frozen(disk, self.next_file());
        if let Some(table) = write(&self.disk).map_err(io_failure)? {
            let number = table.number();
            tables.index = Some(Install::Checkpoint(table));
            let table = write(&CatalogDisk::of(&self.disk));
            let table = table.inspect_err(|_| self.remove(&table_name(number)));
            tables.catalog = table.map_err(io_failure)?.map(Install::Add);
        }
        self.install(tables, |manifest| manifest.head = head)?;
        *self.frozen.lock() = None;
        Ok(true)
    }

    /// Changes the list of files: first in the manifest, then in memory. `change` is made to the manifest
    /// besides. If nothing was changed, a new table is removed.
    pub(crate) fn install(
        &self,
        tables: Tables,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<(), NotInstalled> {
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        if let Some(table) = &tables.index {
            next.tables = self.index.after(table);
        }
        if let Some(table) = &tables.catalog {
            next.catalog = self.catalog.after(table);
        }
        change(&mut next);
        if let Err(error) = next.prepare(&*self.disk) {
            tables.names().for_each(|name| self.remove(&name));
            return Err(NotInstalled {
                error: io_failure(error),
                is_unchanged: true,
            });
        }
        Manifest::replace(&*self.disk).map_err(|error| NotInstalled {
            error: io_failure(error),
            is_unchanged: false,
        })?;
        *manifest = next;
        let removed = tables.index.map(|table| self.index.install(table));
        let of_catalog = tables.catalog.map(|table| self.catalog.install(table));
        drop(manifest);
        let removed = removed.into_iter().flatten().map(table_name);
        let of_catalog = of_catalog.into_iter().flatten().map(catalog_name);
        removed
            .chain(of_catalog)
            .for_each(|name| self.remove(&name));
        Ok(())
    }

    /// Removes a file that the manifest doesn't name. If that fails, opening the log removes it.
    pub(crate) fn remove(&self, name: &str) {
        if let Err(error) = self.disk.remove(name) {
            tracing::warn!(name, %error, "a file that isn't needed could not be removed");
        }
    }

    /// Merges tables of the index and of the catalog, if there are many. Returns `true` if it did.
    pub(crate) fn merge_tables(&self, stop: &dyn Fn() -> bool) -> Result<bool, Error> {
        let merge = |index: &Index| -> Result<Option<Install>, TableError> {
            let Some(old) = index.plan_merge() else {
                return Ok(None);
            };
            let merged = index.merge(&old, self.next_file(), stop)?;
            Ok(
                merged.map(|(table, TableRef { level, .. })| Install::Replace {
                    old,
                    table,
                    level,
                }),
            )
        };
        let tables = Tables {
            index: merge(&self.index)?,
            catalog: None,
        };
        let mut is_merged = self.install_some(tables)?;
        let tables = Tables {
            index: None,
            catalog: merge(&self.catalog).map_err(catalog::failed)?,
        };
        is_merged |= self.install_some(tables)?;
        Ok(is_merged)
    }

    /// Changes the list of tables, if there is a change.
    fn install_some(&self, tables: Tables) -> Result<bool, Error> {
        let is_some = tables.names().next().is_some();
        if is_some {
            self.install(tables, |_| {})?;
        }
        Ok(is_some)
    }

    /// Writes pairs into a table, in the order of their keys.
    pub(crate) fn write_table(
        &self,
        pairs: impl IntoIterator<Item = IndexChange>,
    ) -> Result<Table, Error> {
        let number = self.next_file();
        let write = || {
            let mut writer = TableWriter::create(&self.disk, number)?;
            for (key, value) in pairs {
                writer.put(&key, value.as_deref())?;
            }
            writer.finish()
        };
        write().map_err(io_failure)
    }
}

/// New tables.
#[derive(Default)]
pub(crate) struct Tables {
    pub(crate) index: Option<Install>,
    pub(crate) catalog: Option<Install>,
}

impl Tables {
    /// Returns the names of their files.
    fn names(&self) -> impl Iterator<Item = String> + '_ {
        let index = self.index.iter().map(|table| table_name(table.number()));
        let catalog = self.catalog.iter();
        index.chain(catalog.map(|table| catalog_name(table.number())))
    }
}

/// The error of a change of the list of files.
pub(crate) struct NotInstalled {
    error: Error,
    /// `true` if the old manifest is valid, so that the new files aren't needed.
    pub(crate) is_unchanged: bool,
}

impl From<NotInstalled> for Error {
    fn from(failed: NotInstalled) -> Self {
        failed.error
    }
}

fn malformed(what: &str, key: &[u8]) -> Error {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    Error::damaged(format!("{what} (key {hex} of the index)"))
}
