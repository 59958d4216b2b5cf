//! Freeing of disk space. The space of deleted, trimmed and expired data is freed within seconds,
//! even while the disk is full or nothing is written. This runs on a thread of its own.
//!
//! Removing records adds deletion markers. The records stay in tables and journals until those are
//! rewritten or deleted. So once enough was removed, or anything while the disk is full, a pass
//!
//! 1. writes out the tables in memory, so that all state is in tables and older journals can be
//!    deleted;
//! 2. deletes the tables in which every record is dead, which needs no space;
//! 3. merges the remaining tables, as far as the merge is small and has space;
//! 4. writes out again, which releases the merged tables and journals;
//! 5. fills up the journal in use, if it is large, so that fjall starts another.
//!
//! A pass writes at most a few times what it frees, and the thread rests four times as long as the
//! pass took. The same thread does the ordinary merges of tables as they pile up. A merge therefore
//! never starts without space, which would fill the disk and fail the database.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::{AbstractTree, Keyspace};
use lsm_tree::compaction::{CompactionStrategy, PullDown};

use super::dead_records::Fates;
use super::engine::Engine;
use super::format::keys;
use super::maintenance::{ask, flush};
use super::queue::{Request, Sweep};
use super::store::{Store, failure};
use super::writer::{free, is_full};
use crate::error::Error;

/// Interval between checks for work.
const POLL: Duration = Duration::from_millis(100);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// Minimum rest between two passes, in multiples of
/// [`reclaim_every`](crate::FjallOptions::reclaim_every): 2 s by default.
const REST: u32 = 8;
/// Rest after a pass, in multiples of the time that it took.
const SHARE: u32 = 4;
/// Number of new tables at which they are merged with the older ones. Records are never replaced,
/// so a merge only reduces the number of tables, and rewrites everything for it. fjall slows
/// writers down at 20.
const MERGED_AT: u8 = 8;
/// Number of new tables at which large appends, which are what fills tables, wait for merges. If
/// there is no space to merge, all appends are refused.
pub(super) const BEHIND_AT: usize = 12;
/// Maximum bytes that a merge of a pass reads.
const MERGE_BYTES: u64 = 640 << 20;
/// Approximate maximum of bytes that an ordinary merge reads besides the new tables.
const ORDINARY: u64 = 640 << 20;
/// Bytes that a merge leaves free.
const SLACK: u64 = 16 << 20;
/// Approximate bytes of a record besides its messages.
const OVERHEAD: u64 = 64;
/// Size of all journals above which filling up the journal in use is worth the writes.
const JOURNALS: u64 = 16 << 20;
/// Length of a journal above which fjall starts another when it writes out tables.
const JOURNAL: u64 = 64_000_000;
/// Bytes of filler in one commit.
const FILL: u64 = 1 << 20;
/// Maximum of zeros that may already be written ahead of a journal's end.
const AHEAD: u64 = 2 << 20;
/// The deepest level of tables.
const DEEPEST: usize = 6;

/// Frees disk space until the log is closed.
pub(crate) fn run(engine: &Engine) {
    let mut space = Space::new(engine);
    let mut wait = POLL;
    while !engine.wait_closed(wait) {
        // fjall panics on some malformed data.
        let step = catch_unwind(AssertUnwindSafe(|| space.step()));
        wait = match step {
            Ok(Ok(true)) => Duration::ZERO,
            Ok(Ok(false)) => POLL,
            Ok(Err(error)) if error.is_closed() => POLL,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "freeing disk space failed; it is retried");
                RETRY
            }
            Err(_) => {
                tracing::error!("freeing disk space panicked; it is retried");
                RETRY
            }
        };
    }
}

struct Space<'a> {
    engine: &'a Engine,
    rest: Duration,
    /// The earliest time of the next pass.
    not_before: Instant,
    /// Bytes that earlier passes freed, except for what the journal in use still holds of them.
    passed: u64,
    /// The time since which enough was removed for a pass.
    due: Option<Instant>,
    /// The version of the tables in which there was nothing to merge.
    merged: Option<u64>,
    /// The position of the newest message, and the time since which it is that.
    head: (u64, Instant),
}

impl<'a> Space<'a> {
    fn new(engine: &'a Engine) -> Self {
        // The amount removed by an earlier process isn't stored. It is the size of the tables
        // beyond the messages.
        if let Ok(store) = engine.store() {
            let kept = engine.committed().bytes + OVERHEAD * store.records.approximate_len() as u64;
            let more = store.records.disk_space().saturating_sub(kept);
            engine.swept.store(more, Ordering::Relaxed);
        }
        let now = Instant::now();
        let rest = engine.options.reclaim_every * REST;
        Self {
            engine,
            rest,
            not_before: now + rest,
            passed: 0,
            due: None,
            merged: None,
            head: (0, now),
        }
    }

    /// Performs the work that is due. Returns `true` if there may be more.
    fn step(&mut self) -> Result<bool, Error> {
        let store = self.engine.store()?;
        let now = Instant::now();
        let position = self.engine.committed().position;
        if position != self.head.0 {
            self.head = (position, now);
        }
        if self.engine.failed.load(Ordering::Acquire) {
            return Ok(false);
        }
        if self.is_due(&store, now)? {
            let swept = self.engine.swept.swap(0, Ordering::Relaxed);
            let before = held(self.engine, &store);
            drop(store);
            // Evaluated before the pass, which can last longer than the quiet time.
            let is_quiet = self.is_quiet();
            let passed = pass(self.engine, is_quiet);
            let took = now.elapsed();
            self.not_before = Instant::now() + self.rest.max(took * SHARE);
            if passed.is_err() {
                self.engine.swept.fetch_add(swept, Ordering::Relaxed);
            }
            passed?;
            self.passed = match is_quiet {
                true => 0,
                false => self.passed + swept,
            };
            let after = held(self.engine, &*self.engine.store()?);
            tracing::debug!(swept, before, after, ?took, "disk space was freed");
            return Ok(true);
        }
        self.merge(&store)
    }

    fn is_due(&mut self, store: &Store, now: Instant) -> Result<bool, Error> {
        let swept = self.engine.swept.load(Ordering::Relaxed);
        let with_journal = match self.is_quiet() {
            true => swept + self.passed,
            false => swept,
        };
        if with_journal == 0 || now < self.not_before {
            self.due = None;
            return Ok(false);
        }
        let is_full = is_full(self.engine);
        let least = self.engine.options.give_back_bytes;
        if !(is_full && swept > 0)
            && (with_journal < least || with_journal < held(self.engine, store) / 4)
        {
            return Ok(false);
        }
        // When all data to remove was swept and nothing is written, the pass starts at once and
        // includes the journal.
        let waiting = store.meta_keys(keys::garbage(0), keys::garbage(u64::MAX), 1)?;
        let is_over = waiting.is_empty() && (is_full || self.is_quiet());
        let since = *self.due.get_or_insert(now);
        Ok(is_over || now > since + self.rest * SHARE)
    }

    fn is_quiet(&self) -> bool {
        self.head.1.elapsed() > self.rest / 2
    }

    /// Merges tables as they pile up, if there is space. Returns `true` if any were merged.
    fn merge(&mut self, store: &Store) -> Result<bool, Error> {
        let tree = &store.records.tree;
        let version = tree.current_version().id();
        let waiting = tree.l0_run_count();
        let new = level(&store.records, 0);
        if self.merged == Some(version) && waiting < BEHIND_AT {
            return Ok(false);
        }
        let has_room = room(self.engine, store, new + ORDINARY.min(tree.disk_space()));
        self.engine
            .cramped
            .store(!has_room && waiting >= BEHIND_AT, Ordering::Relaxed);
        if !has_room {
            return Ok(false);
        }
        // A concurrent pass uses the same slot for its dead records.
        let Some(_alone) = self.engine.giving.try_lock() else {
            return Ok(false);
        };
        // Dead records aren't rewritten. Otherwise there might be too little space after all.
        let _emptied = store.dead.put(Fates::of(store)?);
        let ordinary = Leveled::default().with_l0_threshold(MERGED_AT);
        let merged = compact(&store.records, store, Arc::new(ordinary))?;
        if !merged {
            self.merged = Some(tree.current_version().id());
        }
        Ok(merged)
    }
}

/// Frees the disk space of removed records. If `is_quiet`, nothing is written, so the journal in
/// use isn't replaced by itself.
pub(super) fn pass(engine: &Engine, is_quiet: bool) -> Result<(), Error> {
    let _alone = engine.giving.lock();
    touch_and_flush(engine)?;
    {
        let store = engine.store()?;
        delete_dead(&store)?;
        merge_whole(engine, &store)?;
    }
    touch_and_flush(engine)?;
    fill_journal(engine, is_quiet)
}

/// Writes out every keyspace, including the empty ones. From its last write-outs, fjall determines
/// which journals can be deleted, and which tables have no readers.
fn touch_and_flush(engine: &Engine) -> Result<(), Error> {
    let touch = Sweep {
        touch: true,
        ..Sweep::default()
    };
    ask(engine, |reply| Request::Sweep(touch, reply))?;
    flush(engine)?;
    Ok(())
}

/// Merges the tables of neighbouring levels from the newest on, as long as they are small, so that
/// dead records in tables with live ones are dropped too.
fn merge_whole(engine: &Engine, store: &Store) -> Result<(), Error> {
    let _emptied = store.dead.put(Fates::of(store)?);
    let records = &store.records;
    for source in 0..=DEEPEST {
        let size = level(records, source);
        if size == 0 {
            continue;
        }
        let below = (source + 1..=DEEPEST).find(|below| level(records, *below) > 0);
        // The deepest level is rewritten by itself if there is nothing above it.
        let target = below.unwrap_or(DEEPEST);
        let read = if target == source {
            size
        } else {
            size + level(records, target)
        };
        if read > MERGE_BYTES || !room(engine, store, read) {
            break;
        }
        let pull = PullDown(small(source), small(target));
        if !compact(records, store, Arc::new(pull))? || target == DEEPEST {
            break;
        }
    }
    for keyspace in [&store.meta, &store.order] {
        let read = keyspace.disk_space();
        if read > 0 && read < MERGE_BYTES / 4 && free_beyond(engine, read) {
            let leveled = Leveled::default().with_l0_threshold(1);
            compact(keyspace, store, Arc::new(leveled))?;
        }
    }
    Ok(())
}

/// Returns `true` if there is space for a merge that reads this many bytes. It writes at most all
/// live data.
fn room(engine: &Engine, store: &Store, read: u64) -> bool {
    let items = store.records.approximate_len() as u64;
    let alive = engine.committed().bytes + OVERHEAD * items;
    free_beyond(engine, read.min(alive))
}

/// Fills up the journal in use, if the journals are large and nothing else will.
fn fill_journal(engine: &Engine, is_quiet: bool) -> Result<(), Error> {
    let database = Engine::database(&engine.folder);
    let journals = Journals::of(&database).unwrap_or_default();
    if journals.bytes < JOURNALS || !(is_quiet || is_full(engine)) {
        return Ok(());
    }
    let missing = JOURNAL.saturating_sub(journals.end.saturating_sub(AHEAD));
    // The filler briefly exists twice: in the journal, and in a table in memory that may be written
    // out.
    if !free_beyond(engine, 2 * missing) {
        return Ok(());
    }
    let mut left = missing + FILL;
    while left > 0 {
        let part = left.min(FILL);
        let fill = Sweep {
            filler: usize::try_from(part).unwrap_or_default(),
            ..Sweep::default()
        };
        ask(engine, |reply| Request::Sweep(fill, reply))?;
        left -= part;
    }
    let fill = Sweep {
        keys: vec![keys::FILLER.to_vec()],
        ..Sweep::default()
    };
    ask(engine, |reply| Request::Sweep(fill, reply))?;
    touch_and_flush(engine)
}
/// Deletes the tables of `records` in which every record is dead.
fn delete_dead(store: &Store) -> Result<(), Error> {
    let fates = Fates::of(store)?;
    let mut ranges: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for table in store.records.tree.current_version().iter_tables() {
        let range = &table.metadata.key_range;
        if fates.are_dead(range.min(), range.max()) {
            ranges.push((range.min().to_vec(), range.max().to_vec()));
        }
    }
    ranges.sort_unstable();
    let mut joined: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for (min, max) in ranges {
        match joined.last_mut() {
            Some((first, last)) if fates.are_dead(first, last.as_slice().max(&max)) => {
                if max > *last {
                    *last = max;
                }
            }
            _ => joined.push((min, max)),
        }
    }
    for (min, max) in joined {
        let dropped = store.records.tree.drop_range(min..=max);
        dropped.map_err(|error| failure(error.into(), "a table"))?;
    }
    Ok(())
}

/// Runs one merge in a keyspace. Returns `true` if any tables were merged. The output of a failed
/// merge is deleted.
fn compact(
    keyspace: &Keyspace,
    store: &Store,
    strategy: Arc<dyn CompactionStrategy + Send + Sync>,
) -> Result<bool, Error> {
    let before = keyspace.tree.current_version().id();
    let files = Files::of(keyspace);
    let tracker = &store.db.supervisor.snapshot_tracker;
    let done = keyspace
        .tree
        .compact(strategy, tracker.get_seqno_safe_to_gc());
    if let Err(error) = done {
        // fjall's thread merges the other two keyspaces too.
        if store.db.active_compactions() == 0 {
            remove_newer(keyspace, &files);
        }
        return Err(failure(error.into(), "a table"));
    }
    Ok(keyspace.tree.current_version().id() != before)
}

/// A set of table files.
struct Files(HashSet<PathBuf>);

impl Files {
    fn of(keyspace: &Keyspace) -> Self {
        Self(tables(keyspace).into_iter().map(|(_, path)| path).collect())
    }
}

/// Returns the files of a keyspace's tables, each with its number.
fn tables(keyspace: &Keyspace) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs::read_dir(keyspace.path().join("tables")) else {
        return Vec::new();
    };
    let number = |path: PathBuf| {
        let number = path.file_name()?.to_str()?.parse().ok()?;
        Some((number, path))
    };
    entries
        .filter_map(|entry| number(entry.ok()?.path()))
        .collect()
}

/// Deletes the tables that a failed database could not finish, unless tables are still being merged.
pub(super) fn remove_unfinished(engine: &Engine, store: &Store) {
    let Some(_nothing_is_merged_here) = engine.giving.try_lock() else {
        return;
    };
    if store.db.active_compactions() > 0 {
        return;
    }
    for keyspace in [&store.meta, &store.order, &store.records] {
        remove_newer(keyspace, &Files(HashSet::new()));
    }
}

/// Deletes the tables of a keyspace that are newer than all in use, except those that existed `before`.
///
/// Numbers only grow, and the flush lock prevents concurrent writing out: these tables are unfinished.
fn remove_newer(keyspace: &Keyspace, before: &Files) {
    let _nothing_is_written_out = keyspace.tree.get_flush_lock();
    let version = keyspace.tree.current_version();
    let newest = version.iter_tables().map(|table| table.metadata.id).max();
    for (number, path) in tables(keyspace) {
        if newest.is_some_and(|newest| number <= newest) || before.0.contains(&path) {
            continue;
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, ?path, "an unfinished table could not be deleted");
        }
    }
}

/// Returns the bytes of a level's tables.
fn level(keyspace: &Keyspace, level: usize) -> u64 {
    let version = keyspace.tree.current_version();
    version.level(level).map_or(0, |level| level.size())
}

fn small(level: usize) -> u8 {
    u8::try_from(level).unwrap_or_default()
}

/// Returns `true` if the disk has space for this many bytes despite concurrent appends. Appends
/// don't touch the reserve, and don't use half of the free space during a merge.
fn free_beyond(engine: &Engine, bytes: u64) -> bool {
    let reserve = engine.options.reserve_bytes;
    free(engine).is_none_or(|free| {
        bytes.saturating_add(SLACK) <= free.min(reserve) || bytes.saturating_add(SLACK) <= free / 2
    })
}

/// Returns about how many bytes the log uses on the disk.
fn held(engine: &Engine, store: &Store) -> u64 {
    let journals = Journals::of(&Engine::database(&engine.folder)).unwrap_or_default();
    let tables = [&store.meta, &store.order, &store.records];
    journals.bytes + tables.iter().map(|it| it.disk_space()).sum::<u64>()
}

/// The sizes of the journals on the disk.
#[derive(Default)]
struct Journals {
    /// Bytes of all journals.
    bytes: u64,
    /// The end of the one in use, including zeros written ahead.
    end: u64,
}

impl Journals {
    fn of(database: &Path) -> std::io::Result<Self> {
        let mut found = Self::default();
        let mut newest = None;
        for entry in fs::read_dir(database)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "jnl") {
                continue;
            }
            let file = fs::metadata(&path)?;
            found.bytes += file.blocks() * 512;
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            newest = newest.max(Some((number, path)));
        }
        if let Some((_, path)) = newest {
            let file = fs::File::open(path)?;
            found.end = rustix::fs::seek(&file, rustix::fs::SeekFrom::Hole(0))?;
        }
        Ok(found)
    }
}
