//! An ordered key-value store: changes in memory over tables.
//!
//! ```text
//! active changes  ─ freeze → frozen changes  ─ write_frozen, install → newest table … oldest table
//! ```
//!
//! Each layer hides the ones after it, and a deletion is a value that hides. A neighbouring run of
//! tables can be replaced by its merge.

use std::{
    io,
    ops::Bound::{self, Excluded, Included},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::RwLock;

use self::{
    install::run,
    merged::{Changes, Merged, Source, is_range, last_live},
};
use crate::{
    disk::Disk,
    table::{BlockCache, KeyHash, Table, TableError, TableWriter},
};

mod install;
mod merged;

pub use self::install::{Install, TableRef};

/// Number of neighbouring tables of one level that are merged into one of the next.
const WIDTH: usize = 8;
/// Most changes that are copied from the active map while its lock is held.
const COPIED: usize = 1024;
/// Approximate memory for a change besides the bytes of its key and value.
const CHANGE: usize = 100;

/// A key-value store. It is used by one thread that applies changes, any number that read, and one that
/// writes tables.
///
/// No lock is held while the disk is read or written. Each read sees one state of the index, unless it
/// passes more than 1,024 keys of the active changes: then each part sees one state.
pub struct Index {
    disk: Arc<dyn Disk>,
    cache: BlockCache,
    state: RwLock<State>,
}

struct State {
    active: Changes,
    active_bytes: usize,
    below: Below,
}

/// The layers that never change: they are replaced as a whole.
#[derive(Clone)]
struct Below {
    frozen: Option<Arc<Changes>>,
    /// The oldest first.
    tables: Arc<[Member]>,
}

#[derive(Clone)]
struct Member {
    table: Arc<Table>,
    level: u8,
}

impl Below {
    /// Returns all layers, the newest first.
    fn sources<'a>(&'a self, active: &'a Changes) -> Vec<Source<'a>> {
        let changes = [Some(active), self.frozen.as_deref()];
        let changes = changes.into_iter().flatten().map(Source::Changes);
        let table = |member: &'a Member| Source::Table(&member.table);
        changes.chain(self.tables.iter().rev().map(table)).collect()
    }

    fn tables(&self) -> Vec<TableRef> {
        let name = |member: &Member| TableRef {
            number: member.table.number(),
            level: member.level,
        };
        self.tables.iter().map(name).collect()
    }
}

impl Index {
    /// Opens an index of these tables, the oldest first, with a cache of this number of bytes.
    ///
    /// # Errors
    /// A table is missing or damaged. Blocks aren't read.
    pub fn open(
        disk: Arc<dyn Disk>,
        tables: &[TableRef],
        cache_bytes: u64,
    ) -> Result<Self, TableError> {
        let member = |table: &TableRef| {
            Ok(Member {
                table: Arc::new(Table::open(&disk, table.number)?),
                level: table.level,
            })
        };
        let tables = tables.iter().map(member).collect::<Result<_, _>>()?;
        let below = Below {
            frozen: None,
            tables,
        };
        Ok(Self {
            disk,
            cache: BlockCache::new(cache_bytes),
            state: RwLock::new(State {
                active: Changes::new(),
                active_bytes: 0,
                below,
            }),
        })
    }

    /// Returns the value of a key.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, TableError> {
        let below = {
            let state = self.state.read();
            if let Some(change) = state.active.get(key) {
                return Ok(change.clone());
            }
            state.below.clone()
        };
        if let Some(change) = below.frozen.as_ref().and_then(|frozen| frozen.get(key)) {
            return Ok(change.clone());
        }
        let hash = KeyHash::new(key);
        for Member { table, .. } in below.tables.iter().rev() {
            if let Some(change) = table.get_hashed(key, hash, &self.cache)? {
                return Ok(change);
            }
        }
        Ok(None)
    }

    /// Returns the pair with the greatest key in `from..=to`.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn last_at_most(
        &self,
        from: &[u8],
        to: &[u8],
    ) -> Result<Option<(Vec<u8>, Bytes)>, TableError> {
        let mut end = Included(to.to_vec());
        loop {
            let to = end.as_ref().map(Vec::as_slice);
            if !is_range(from, to) {
                return Ok(None);
            }
            let (changes, is_whole, below) = self.changes_before(from, to);
            // The answer isn't below the first key of an incomplete copy, or is found in a later turn.
            let start = changes.first_key_value().filter(|_| !is_whole);
            let start = start.map_or(from, |(key, _)| key);
            let sources = below.sources(&changes);
            let last = last_live(&sources, start, to, &self.cache)?;
            if last.is_some() || is_whole {
                return Ok(last);
            }
            end = Excluded(start.to_vec());
        }
    }

    /// Copies active changes in descending order, up to the first that isn't a deletion. Also returns
    /// `true` if none is left.
    fn changes_before(&self, from: &[u8], to: Bound<&[u8]>) -> (Changes, bool, Below) {
        let state = self.state.read();
        let mut range = state.active.range::<[u8], _>((Included(from), to)).rev();
        let mut copy = Changes::new();
        let mut is_whole = false;
        while copy.len() < COPIED {
            let Some((key, change)) = range.next() else {
                is_whole = true;
                break;
            };
            copy.insert(key.clone(), change.clone());
            if change.is_some() {
                break;
            }
        }
        (copy, is_whole, state.below.clone())
    }

    /// Returns up to `most` pairs with keys of at least `from` and less than `to`, in ascending order.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn range(
        &self,
        from: &[u8],
        to: &[u8],
        most: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, TableError> {
        let mut found = Vec::new();
        let mut start = from.to_vec();
        while found.len() < most && is_range(&start, Excluded(to)) {
            let (changes, next, below) = self.changes_from(&start, to, most - found.len());
            let end = next.as_deref().unwrap_or(to);
            let sources = below.sources(&changes);
            let mut merged = Merged::range(&sources, &start, end, &self.cache)?;
            while found.len() < most {
                match merged.take()? {
                    Some((key, Some(value))) => found.push((key, value)),
                    Some((_, None)) => {}
                    None => break,
                }
            }
            drop(merged);
            match next {
                Some(next) => start = next,
                None => break,
            }
        }
        Ok(found)
    }

    /// Copies active changes in ascending order, with up to `most` that aren't deletions. Returns the
    /// first key that isn't in the copy.
    fn changes_from(
        &self,
        from: &[u8],
        to: &[u8],
        most: usize,
    ) -> (Changes, Option<Vec<u8>>, Below) {
        let state = self.state.read();
        let range = (Included(from), Excluded(to));
        let mut copy = Changes::new();
        let mut live = 0;
        let mut next = None;
        for (key, change) in state.active.range::<[u8], _>(range) {
            if copy.len() == COPIED || live == most {
                next = Some(key.clone());
                break;
            }
            live += usize::from(change.is_some());
            copy.insert(key.clone(), change.clone());
        }
        (copy, next, state.below.clone())
    }

    /// Applies changes: values or, with `None`, deletions. No read sees a part of them.
    pub fn apply(&self, changes: Vec<(Vec<u8>, Option<Bytes>)>) {
        let mut state = self.state.write();
        for (key, change) in changes {
            let size = |change: &Option<Bytes>| change.as_ref().map_or(0, Bytes::len);
            let (fixed, added) = (key.len() + CHANGE, size(&change));
            let removed = match state.active.insert(key, change) {
                Some(old) => fixed + size(&old),
                None => 0,
            };
            state.active_bytes = state.active_bytes + fixed + added - removed;
        }
    }

    /// Returns the approximate memory of the active changes in bytes.
    pub fn changed_bytes(&self) -> usize {
        self.state.read().active_bytes
    }

    /// Freezes the active changes and starts with none. Returns `false`, and changes nothing, if a
    /// checkpoint of earlier ones isn't installed yet.
    pub fn freeze(&self) -> bool {
        let mut state = self.state.write();
        if state.below.frozen.is_some() {
            return false;
        }
        let active = std::mem::take(&mut state.active);
        state.active_bytes = 0;
        state.below.frozen = Some(Arc::new(active));
        true
    }

    /// Writes the frozen changes into a table and syncs it, for [`Install::Checkpoint`]. Its name is
    /// durable after [`Disk::sync`]. If there are no changes, it writes nothing and the next
    /// [`freeze`](Self::freeze) succeeds. The table of a second call can be on another disk, for
    /// another index.
    ///
    /// # Errors
    /// The disk failed. The table is removed and the changes stay frozen. Another attempt needs
    /// another number.
    pub fn write_frozen(&self, disk: &Arc<dyn Disk>, number: u64) -> io::Result<Option<Table>> {
        let Some(frozen) = self.state.read().below.frozen.clone() else {
            return Ok(None);
        };
        if frozen.is_empty() {
            self.state.write().below.frozen = None;
            return Ok(None);
        }
        let mut writer = TableWriter::create(disk, number)?;
        for (key, change) in &*frozen {
            writer.put(key, change.as_deref())?;
        }
        writer.finish().map(Some)
    }

    /// Returns the tables, the oldest first.
    pub fn tables(&self) -> Vec<TableRef> {
        self.state.read().below.tables()
    }

    /// Returns the tables as they will be after a change, for the manifest that must be durable before
    /// [`install`](Self::install). If the list doesn't contain the inputs of a merge as neighbours, it
    /// doesn't change.
    pub fn after(&self, change: &Install) -> Vec<TableRef> {
        let mut tables = self.tables();
        if let Some(place) = change.place(&tables) {
            let (table, level) = change.table();
            let number = table.number();
            tables.splice(place, [TableRef { number, level }]);
        }
        tables
    }

    /// Changes the tables, as [`after`](Self::after) says. Returns the numbers of tables whose files
    /// can be removed. Reads that began earlier still have them open.
    pub fn install(&self, change: Install) -> Vec<u64> {
        let is_checkpoint = matches!(change, Install::Checkpoint(_));
        let mut state = self.state.write();
        let names = state.below.tables();
        let Some(place) = change.place(&names) else {
            debug_assert!(false, "the inputs of a merge are neighbours");
            return Vec::new();
        };
        let removed = names[place.clone()].iter().map(|old| old.number).collect();
        let level = change.table().1;
        let (Install::Checkpoint(table) | Install::Add(table) | Install::Replace { table, .. }) =
            change;
        let mut members = state.below.tables.to_vec();
        let table = Arc::new(table);
        members.splice(place, [Member { table, level }]);
        let before = state.below.clone();
        state.below.tables = members.into();
        if is_checkpoint {
            state.below.frozen = None;
        }
        // Readers don't wait for memory to be freed.
        drop(state);
        drop(before);
        removed
    }

    /// Returns eight neighbouring tables of one level that are worth merging, the oldest first. The
    /// lowest such level is merged first.
    pub fn plan_merge(&self) -> Option<Vec<TableRef>> {
        let tables = self.tables();
        let runs = tables.chunk_by(|one, next| one.level == next.level);
        let is_due = |run: &&[TableRef]| run.len() >= WIDTH;
        let run = runs.filter(is_due).min_by_key(|run| run[0].level)?;
        Some(run[..WIDTH].to_vec())
    }

    /// Writes the merge of neighbouring tables and syncs it, for [`Install::Replace`]. It asks `stop`
    /// before each pair. Deletions are dropped if the oldest of all tables is among the inputs.
    ///
    /// Returns `None`, and removes the new table, if `stop` returns `true`. It also returns `None` if
    /// the index doesn't contain the inputs as neighbours.
    ///
    /// # Errors
    /// An input is damaged, or the disk failed. The new table is removed. Another attempt needs
    /// another number.
    pub fn merge(
        &self,
        inputs: &[TableRef],
        number: u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<(Table, TableRef)>, TableError> {
        let below = self.state.read().below.clone();
        let Some(place) = run(&below.tables(), inputs) else {
            return Ok(None);
        };
        let keeps_deletions = place.start > 0;
        let members = &below.tables[place];
        let failed = |source| TableError::Disk { number, source };
        let mut merged = Merged::whole(members.iter().rev().map(|member| &*member.table))?;
        let mut writer = TableWriter::create(&self.disk, number).map_err(failed)?;
        loop {
            if stop() {
                return Ok(None);
            }
            let Some((key, change)) = merged.take()? else {
                break;
            };
            if change.is_some() || keeps_deletions {
                writer.put(&key, change.as_deref()).map_err(failed)?;
            }
        }
        let table = writer.finish().map_err(failed)?;
        let level = inputs.iter().map(|input| input.level).max().unwrap_or(0);
        let level = level.saturating_add(1);
        Ok(Some((table, TableRef { number, level })))
    }
}
