//! Giving room back: what was deleted, trimmed or has expired leaves the disk within seconds, also while that is full
//! and while nothing is written. On a thread of its own.
//!
//! Sweeping leaves tombstones; the records stay in tables and journals until those are rewritten or deleted. So after
//! enough was swept, or anything while the disk is full, a pass
//!
//! 1. writes the tables in memory out, so that all that is known is in tables and the journals before can go;
//! 2. deletes the tables in which every record is dead, which takes no room;
//! 3. merges those that are left, as far as the merge is small and has room;
//! 4. writes out once more: that lets go of the merged tables, and of journals;
//! 5. fills up the journal in use, if it holds much, so that fjall starts another.
//!
//! A pass writes no more than a few times what it frees, and the thread rests four times as long as a pass took. The
//! same thread merges tables as they pile up: so a merge never starts without room, which would fill the disk and
//! fail the database.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, TryLockError};
use std::time::{Duration, Instant};

use fjall::compaction::Leveled;
use fjall::{AbstractTree, Keyspace};
use lsm_tree::compaction::{CompactionStrategy, PullDown};

use super::engine::Engine;
use super::fates::Fates;
use super::format::keys;
use super::queue::{Request, Sweep};
use super::reclaim::{ask, flush};
use super::store::{Store, failure};
use super::stream::lock;
use super::writer::{free, is_full};
use crate::error::Error;

/// How often it is looked whether something is to be done.
const POLL: Duration = Duration::from_millis(100);
/// How long to leave it alone after something failed.
const RETRY: Duration = Duration::from_secs(5);
/// The shortest rest between two passes, in times that something is looked for that has expired: 2 s.
const REST: u32 = 8;
/// How many times as long as a pass took it rests.
const SHARE: u32 = 4;
/// How many new tables there may be before they are merged with the older ones. Records are never replaced, so merging
/// only makes fewer tables of many, at the price of writing everything again. fjall slows writers down at 20.
const MERGED_AT: u8 = 8;
/// Appends are refused where this many new tables wait for room.
const CRAMPED_AT: usize = 14;
/// The most that one merge for the sake of room reads.
const MERGE_BYTES: u64 = 640 << 20;
/// About the most that an ordinary merge reads besides the new tables.
const ORDINARY: u64 = 640 << 20;
/// What a merge leaves free.
const SLACK: u64 = 16 << 20;
/// About how much of a record isn't messages.
const OVERHEAD: u64 = 64;
/// Journals that take more than this are worth writing one full.
const JOURNALS: u64 = 16 << 20;
/// fjall starts another journal when it writes tables out and the one in use is longer than this.
const JOURNAL: u64 = 64_000_000;
/// How much of a journal is filled up in one commit.
const FILL: u64 = 1 << 20;
/// Zeros that may stand behind a journal's end already.
const AHEAD: u64 = 2 << 20;
/// The deepest level of tables.
const DEEPEST: usize = 6;

/// Gives room back until the log is closed.
pub(crate) fn run(engine: &Engine) {
    let mut space = Space::new(engine);
    let mut wait = POLL;
    while !engine.wait_closed(wait) {
        // fjall panics at some of what it can't make sense of.
        let step = catch_unwind(AssertUnwindSafe(|| space.step()));
        wait = match step {
            Ok(Ok(true)) => Duration::ZERO,
            Ok(Ok(false)) => POLL,
            Ok(Err(error)) if error.is_closed() => POLL,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "giving room back failed; it is tried again");
                RETRY
            }
            Err(_) => {
                tracing::error!("giving room back panicked; it is tried again");
                RETRY
            }
        };
    }
}

struct Space<'a> {
    engine: &'a Engine,
    rest: Duration,
    /// No pass before this.
    not_before: Instant,
    /// Bytes swept that passes gave back, but for what the journal in use has of them.
    passed: u64,
    /// Since when there is enough to give back.
    due: Option<Instant>,
    /// The version of the tables in which there was nothing to merge.
    merged: Option<u64>,
    /// The position of the newest message, and since when it is that.
    head: (u64, Instant),
}

impl<'a> Space<'a> {
    fn new(engine: &'a Engine) -> Self {
        // What an earlier process swept isn't written down: it is what the tables have beyond the messages.
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

    /// Does what is to be done; says whether more may be.
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
            // As it was before the pass, which may take longer than it takes to look quiet.
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
            tracing::debug!(swept, before, after, ?took, "room was given back");
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
        // Once all is swept that is to be, and nothing is written: it goes at once then, and so does the journal.
        let waiting = store.meta_keys(keys::garbage(0), keys::garbage(u64::MAX), 1)?;
        let is_over = waiting.is_empty() && (is_full || self.is_quiet());
        let since = *self.due.get_or_insert(now);
        Ok(is_over || now > since + self.rest * SHARE)
    }

    fn is_quiet(&self) -> bool {
        self.head.1.elapsed() > self.rest / 2
    }

    /// Merges tables as they pile up, where there is room. Says whether something was merged.
    fn merge(&mut self, store: &Store) -> Result<bool, Error> {
        let tree = &store.records.tree;
        let version = tree.current_version().id();
        let waiting = tree.l0_run_count();
        let new = level(&store.records, 0);
        if self.merged == Some(version) && waiting < CRAMPED_AT {
            return Ok(false);
        }
        let has_room = room(self.engine, store, new + ORDINARY.min(tree.disk_space()));
        self.engine
            .cramped
            .store(!has_room && waiting >= CRAMPED_AT, Ordering::Relaxed);
        if !has_room {
            return Ok(false);
        }
        // One who gives room back at the same time has what is dead in the same place.
        let _alone = match self.engine.giving.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(false),
        };
        // What is dead isn't written again, or there might be no room after all.
        let _emptied = store.dead.put(Fates::of(store)?);
        let ordinary = Leveled::default().with_l0_threshold(MERGED_AT);
        let merged = compact(&store.records, store, Arc::new(ordinary))?;
        if !merged {
            self.merged = Some(tree.current_version().id());
        }
        Ok(merged)
    }
}

/// Gives back the room of what was swept. `is_quiet`: nothing is written, so that the journal in use holds what it does.
pub(super) fn pass(engine: &Engine, is_quiet: bool) -> Result<(), Error> {
    let _alone = lock(&engine.giving);
    touch_and_flush(engine)?;
    {
        let store = engine.store()?;
        delete_dead(&store)?;
        merge_whole(engine, &store)?;
    }
    touch_and_flush(engine)?;
    fill_journal(engine, is_quiet)
}

/// Has every keyspace written out, the empty ones too: by what it has written out last, fjall judges which
/// journals can go, and which tables nobody reads any more.
fn touch_and_flush(engine: &Engine) -> Result<(), Error> {
    let touch = Sweep {
        touch: true,
        ..Sweep::default()
    };
    ask(engine, |reply| Request::Sweep(touch, reply))?;
    flush(engine)?;
    Ok(())
}

/// Merges the tables of neighbouring levels from the newest on, as far as that is little, so that what is dead in
/// tables that aren't dead as a whole goes too.
fn merge_whole(engine: &Engine, store: &Store) -> Result<(), Error> {
    let _emptied = store.dead.put(Fates::of(store)?);
    let records = &store.records;
    for source in 0..=DEEPEST {
        let size = level(records, source);
        if size == 0 {
            continue;
        }
        let below = (source + 1..=DEEPEST).find(|below| level(records, *below) > 0);
        // The deepest level is rewritten by itself where nothing is above it.
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

/// Returns whether a merge of this many bytes has room. What it writes is at most all that is alive.
fn room(engine: &Engine, store: &Store, read: u64) -> bool {
    let items = store.records.approximate_len() as u64;
    let alive = engine.committed().bytes + OVERHEAD * items;
    free_beyond(engine, read.min(alive))
}

/// Fills up the journal in use, if the journals hold much and nothing else is about to.
fn fill_journal(engine: &Engine, is_quiet: bool) -> Result<(), Error> {
    let database = Engine::database(&engine.folder);
    let journals = Journals::of(&database).unwrap_or_default();
    if journals.bytes < JOURNALS || !(is_quiet || is_full(engine)) {
        return Ok(());
    }
    let missing = JOURNAL.saturating_sub(journals.end.saturating_sub(AHEAD));
    // It is held twice for a moment, in the journal and in a table in memory that may be written out.
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
/// Deletes the tables of `records` in which everything is dead.
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

/// Merges tables of a keyspace once. Says whether any were. What a merge that failed has written is deleted.
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
        // The other two are merged by fjall's thread also.
        if store.db.active_compactions() == 0 {
            remove_newer(keyspace, &files);
        }
        return Err(failure(error.into(), "a table"));
    }
    Ok(keyspace.tree.current_version().id() != before)
}

/// Files of tables.
struct Files(HashSet<PathBuf>);

impl Files {
    fn of(keyspace: &Keyspace) -> Self {
        Self(tables(keyspace).into_iter().map(|(_, path)| path).collect())
    }
}

/// The files of a keyspace's tables, each with its number.
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

/// Deletes the tables that a failed database could not finish, unless tables are being merged still.
pub(super) fn remove_unfinished(engine: &Engine, store: &Store) {
    let Ok(_nothing_is_merged_here) = engine.giving.try_lock() else {
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
/// Numbers only grow, and nothing is written out meanwhile: these are tables that could not be finished.
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

/// Bytes of a level's tables.
fn level(keyspace: &Keyspace, level: usize) -> u64 {
    let version = keyspace.tree.current_version();
    version.level(level).map_or(0, |level| level.size())
}

fn small(level: usize) -> u8 {
    u8::try_from(level).unwrap_or_default()
}

/// Returns whether the disk has room for this many bytes, whatever is appended meanwhile: appends leave the reserve alone, and
/// don't take half of what is free in the time of a merge.
fn free_beyond(engine: &Engine, bytes: u64) -> bool {
    let reserve = engine.options.reserve_bytes;
    free(engine).is_none_or(|free| {
        bytes.saturating_add(SLACK) <= free.min(reserve) || bytes.saturating_add(SLACK) <= free / 2
    })
}

/// About how many bytes the log takes on the disk.
fn held(engine: &Engine, store: &Store) -> u64 {
    let journals = Journals::of(&Engine::database(&engine.folder)).unwrap_or_default();
    let tables = [&store.meta, &store.order, &store.records];
    journals.bytes + tables.iter().map(|it| it.disk_space()).sum::<u64>()
}

/// The journals, as they are on the disk.
#[derive(Default)]
struct Journals {
    /// What all of them take.
    bytes: u64,
    /// Where the one in use ends, zeros written ahead included.
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
