//! Background work on files: segments are prepared, the index is written out, full segments are
//! sorted, and disk space is [freed](super::give_back).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use headwater_journal::Spares;

use super::engine::Engine;
use super::give_back::{self, Effort};
use super::pace::{Paced, Why};
use super::queue::Request;
use super::rewrite;
use super::segments::Sealed;
use super::sorted::Sorted;
use super::store::Store;
use super::writer::is_full;
use super::{failure, maintenance, priority};
use crate::error::{Error, Kind};

/// Interval between checks for work.
const POLL: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 100 });
/// Wait after a failure.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 2000 });
/// Time without a full segment, and bytes of messages appended per second, below which the prepared segments
/// are short. More than that fills a segment at some time, and a shorter one in its place would cost zeros.
const IDLE: Duration = Duration::from_secs(5);
const SLOW_BYTES: u64 = 64 << 10;
/// Bytes of frames that aren't sorted, and unused bytes of the newest segment, for which an idle log
/// sorts its segments.
const IDLE_BYTES: u64 = if cfg!(test) { 2 << 10 } else { 8 << 20 };
const UNUSED_BYTES: u64 = 16 << 20;
/// Bytes of messages appended per second from which on a log is busy.
const BUSY_BYTES: u64 = 1 << 20;
/// Minimum period over which appended bytes are counted.
const LOAD_PERIOD: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });
/// Minimum rest between two passes, in multiples of
/// [`reclaim_every`](crate::DiskOptions::reclaim_every): 2 s by default.
const REST: u32 = 8;
/// Number and bytes of full segments at which they are sorted.
const SORT_AT: usize = 4;
const SORT_BYTES: u64 = 128 << 20;
/// Maximum number of records and bytes of segments in one sorted file. Each record takes about 80 bytes
/// of memory while it is sorted.
const FILE_RECORDS: usize = 512 << 10;
const FILE_BYTES: u64 = 256 << 20;
/// Bytes of messages below which a sorted file is small, and the number of small ones at which they are
/// joined.
const SMALL_BYTES: u64 = 32 << 20;
const JOIN_AT: usize = 8;

/// Keeps a segment prepared until the log is closed. Prepared segments are short if the log is closed, if
/// little is appended to it, or if the disk is full.
pub(crate) fn prepare(engine: &Engine, spares: &Spares) {
    let mut used = Instant::now();
    let mut load = Load::new(engine);
    let mut wait = Duration::ZERO;
    loop {
        if engine.spares.wait(wait) {
            used = Instant::now();
        }
        if engine.is_closing() {
            if let Err(error) = spares.shrink() {
                tracing::warn!(%error, "unused segments could not be removed");
            }
            return;
        }
        wait = RETRY;
        load.observe(engine);
        let is_idle = used.elapsed() >= IDLE && load.is_below(SLOW_BYTES);
        let shrunk = match is_idle || is_full(engine) {
            true => spares.shrink(),
            false => Ok(()),
        };
        if let Err(error) = shrunk.and_then(|()| spares.fill(1)) {
            tracing::warn!(%error, "a segment could not be prepared; it is retried");
        }
    }
}

/// Works until the log is closed.
pub(crate) fn run(engine: &Engine, store: &Store, spares: &Spares) {
    priority::run_behind_others();
    let mut work = Work::new(engine, store);
    let mut wait = POLL;
    loop {
        engine.files.wait(wait);
        if engine.is_closing() {
            return;
        }
        wait = match work.step(spares) {
            Ok(true) => Duration::ZERO,
            Ok(false) => POLL,
            Err(error) => {
                if !error.is_closed() {
                    engine.note_damage(&error);
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "work on the log's files failed; it is retried");
                }
                std::thread::sleep(POLL);
                RETRY
            }
        };
    }
}

/// Writes out all changes of the index. If `rotates`, it also ends the current segment.
pub(crate) fn write_out(engine: &Engine, store: &Store, rotates: bool) -> Result<(), Error> {
    // Older changes may be frozen still.
    store.checkpoint()?;
    maintenance::ask(engine, |reply| Request::Checkpoint { rotates, reply })?;
    store.checkpoint().map(|_| ())
}

struct Work<'a> {
    engine: &'a Engine,
    store: &'a Store,
    rest: Duration,
    /// The earliest time of the next pass.
    not_before: Instant,
    /// The last commit, and the time since which that is so.
    last: (u64, Instant),
    load: Load,
    /// Bytes that were removed while the log was busy, and that files still have.
    put_off: u64,
    /// `false` once a sorted file couldn't be joined with others because it is damaged.
    joins: bool,
}

impl<'a> Work<'a> {
    fn new(engine: &'a Engine, store: &'a Store) -> Self {
        // The amount removed by an earlier process isn't stored. It is the size of the files beyond the
        // messages.
        let sorted: u64 = store.sorted.read().iter().map(|file| file.bytes()).sum();
        let segments = store.segments.read().bytes();
        let kept = engine.committed().bytes;
        let removed = (sorted + segments).saturating_sub(kept);
        engine.removed.store(removed, Ordering::Relaxed);
        let rest = engine.options.reclaim_every * REST;
        Self {
            engine,
            store,
            rest,
            not_before: Instant::now() + rest,
            last: (engine.committed().commit, Instant::now()),
            load: Load::new(engine),
            put_off: 0,
            joins: true,
        }
    }

    /// Performs the work that is due. Returns `true` if there may be more. A part that fails doesn't keep
    /// the others from their work.
    fn step(&mut self, spares: &Spares) -> Result<bool, Error> {
        self.load.observe(self.engine);
        let stop = || self.engine.is_closing();
        let parts = [
            self.store.checkpoint(),
            self.store.merge_tables(&stop),
            self.sort_due(),
            self.sort_idle(),
            self.join_small(),
            self.free(),
            retire(self.store, spares).map(|()| false),
        ];
        let mut more = false;
        for part in parts {
            more |= part?;
        }
        Ok(more)
    }

    /// Frees the space of removed data, if enough was removed.
    fn free(&mut self) -> Result<bool, Error> {
        if Instant::now() < self.not_before {
            return Ok(false);
        }
        let effort = match self.load.is_below(BUSY_BYTES) {
            _ if is_full(self.engine) => Effort::All,
            true => Effort::Half,
            false => Effort::Least,
        };
        if !self.is_due(effort) {
            return Ok(false);
        }
        self.not_before = Instant::now() + self.rest;
        if effort != Effort::Least {
            let put_off = std::mem::take(&mut self.put_off);
            self.engine.removed.fetch_add(put_off, Ordering::Relaxed);
        }
        self.put_off += give_back::free_space(self.engine, self.store, effort)?;
        // A pass takes some time.
        self.not_before = Instant::now() + self.rest;
        Ok(false)
    }

    /// Sorts full segments, if there are enough. Returns `true` if it did.
    fn sort_due(&self) -> Result<bool, Error> {
        let _alone = self.engine.giving.lock();
        let due = sort_due(self.store);
        if due.is_empty() {
            return Ok(false);
        }
        sort(self.engine, self.store, &due, Why::Due)
    }

    /// Sorts the segments of an idle log early, if they have enough, or if the newest one is largely
    /// unused. Returns `true` if it did.
    fn sort_idle(&mut self) -> Result<bool, Error> {
        let commit = self.engine.committed().commit;
        if self.last.0 != commit {
            self.last = (commit, Instant::now());
        }
        if self.last.1.elapsed() < self.engine.options.sort_idle_after {
            return Ok(false);
        }
        let (frames, unused) = self.store.segments.read().unsorted();
        if frames < IDLE_BYTES && unused < UNUSED_BYTES {
            return Ok(false);
        }
        let _alone = self.engine.giving.lock();
        if self.store.segments.read().open_file().is_some() {
            write_out(self.engine, self.store, true)?;
        }
        let some = take_some(self.store.segments.read().sealed());
        let sorted = sort(self.engine, self.store, &some, Why::Idle)?;
        if !sorted {
            // There is no space.
            self.last.1 = Instant::now();
        }
        Ok(sorted)
    }

    /// Joins small sorted files that follow each other. Returns `true` if it did.
    fn join_small(&mut self) -> Result<bool, Error> {
        if !self.joins {
            return Ok(false);
        }
        let _alone = self.engine.giving.lock();
        let sorted = Arc::clone(&self.store.sorted.read());
        let is_small = |file: &Arc<Sorted>| file.bytes() < SMALL_BYTES;
        let small = |one: &Arc<Sorted>, next: &Arc<Sorted>| is_small(one) && is_small(next);
        let Some(run) = sorted.chunk_by(small).find(|run| run.len() >= JOIN_AT) else {
            return Ok(false);
        };
        let mut records = 0;
        let fits = |file: &&Arc<Sorted>| {
            records += file.records();
            records <= FILE_RECORDS as u64
        };
        let some = &run[..run.iter().take_while(fits).count().max(2)];
        let terms = Paced::new(self.engine, self.store, Why::Due);
        let joined = rewrite::again(self.store, some, &terms);
        // One that is damaged would be read in vain again and again.
        self.joins = !joined.as_ref().is_err_and(Error::is_damaged);
        joined
    }

    /// Returns `true` if enough was removed for a pass.
    fn is_due(&self, effort: Effort) -> bool {
        let removed = self.engine.removed.load(Ordering::Relaxed);
        let put_off = self.put_off + removed;
        let share = self.engine.committed().bytes / 4;
        let enough = self.engine.options.give_back_bytes.max(share).max(1);
        match effort {
            Effort::All => put_off > 0,
            Effort::Half => put_off >= enough,
            Effort::Least => removed >= enough,
        }
    }
}

/// The rate of appends.
struct Load {
    /// The bytes that had been appended at the start of the period.
    appended: u64,
    since: Instant,
    /// The rate in the period before.
    bytes_per_second: f64,
}

impl Load {
    fn new(engine: &Engine) -> Self {
        Self {
            appended: engine.counters.written().appended,
            since: Instant::now(),
            bytes_per_second: 0.0,
        }
    }

    fn observe(&mut self, engine: &Engine) {
        let took = self.since.elapsed();
        if took >= LOAD_PERIOD {
            let appended = engine.counters.written().appended;
            self.bytes_per_second = (appended - self.appended) as f64 / took.as_secs_f64();
            (self.appended, self.since) = (appended, Instant::now());
        }
    }

    fn is_below(&self, bytes_per_second: u64) -> bool {
        self.bytes_per_second < bytes_per_second as f64
    }
}

/// Returns the oldest full segments if they are to be sorted.
fn sort_due(store: &Store) -> Vec<Arc<Sealed>> {
    let segments = store.segments.read();
    let (records, bytes) = segments.backlog();
    if segments.sealed().len() < SORT_AT && bytes < SORT_BYTES && records < FILE_RECORDS {
        return Vec::new();
    }
    take_some(segments.sealed())
}

/// Returns the first segments, as many as one sorted file has.
pub(crate) fn take_some<'a>(sealed: impl Iterator<Item = &'a Arc<Sealed>>) -> Vec<Arc<Sealed>> {
    let mut taken: Vec<Arc<Sealed>> = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    for segment in sealed {
        records += segment.runs().len();
        bytes += segment.file().bytes;
        if !taken.is_empty() && (records > FILE_RECORDS || bytes > FILE_BYTES) {
            break;
        }
        taken.push(Arc::clone(segment));
    }
    taken
}

/// Rewrites full segments into a sorted file. Returns `false` if there is no space for it.
pub(crate) fn sort(
    engine: &Engine,
    store: &Store,
    segments: &[Arc<Sealed>],
    why: Why,
) -> Result<bool, Error> {
    // Opening the log doesn't read these segments any more, so the index must have all of their changes.
    let is_in_tables = |commit| commit <= store.manifest.lock().head.commit;
    let last = segments.last().map_or(0, |it| it.after().next - 1);
    if !is_in_tables(last) {
        write_out(engine, store, false)?;
    }
    if !is_in_tables(last) {
        return Err(Kind::Storage("the index isn't written out".into()).into());
    }
    rewrite::sort(store, segments, &Paced::new(engine, store, why))
}

/// Makes the files of segments that are sorted, and that no reader has, available for new ones.
fn retire(store: &Store, spares: &Spares) -> Result<(), Error> {
    let mut retired = store.retired.lock();
    let free: Vec<_> = retired
        .extract_if(.., |file| Arc::strong_count(file) == 1)
        .collect();
    drop(retired);
    for file in free {
        spares
            .retire(file.number, file.bytes)
            .map_err(failure::io_failure)?;
    }
    Ok(())
}
