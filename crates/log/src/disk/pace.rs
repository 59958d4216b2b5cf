//! The conditions under which files of an open log are rewritten. While commits are made, a rewrite is
//! slow, so that it doesn't take the disk from them.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::maintenance;
use super::options::Durability;
use super::queue::Request;
use super::rewrite::Terms;
use super::store::Store;
use super::writer::free;
use crate::error::{Error, Kind};

/// Time without a commit after which a rewrite is as fast as it can be.
const QUIET: Duration = Duration::from_secs(1);
/// Records and bytes of segments that wait to be sorted above which sorting is as fast as it can be.
const BEHIND_RECORDS: usize = 1 << 20;
const BEHIND_BYTES: u64 = 512 << 20;
/// Longest sleep at once.
const NAP: Duration = Duration::from_millis(20);
/// Bytes that a rewrite leaves free.
const SLACK: u64 = 16 << 20;

/// The reason for a rewrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There is much to rewrite.
    Due,
    /// The log is idle.
    Idle,
    /// Space is needed now.
    Space,
}

/// The conditions of one rewrite.
pub(crate) struct Paced<'a> {
    engine: &'a Engine,
    store: &'a Store,
    why: Why,
    progress: Cell<Progress>,
}

#[derive(Clone, Copy)]
struct Progress {
    /// The last commit that was seen, and when. `None` if there was none since the start.
    commit: u64,
    committed: Option<Instant>,
    /// The start of the period that has a rate, and the bytes written since.
    since: Instant,
    bytes: u64,
}

impl<'a> Paced<'a> {
    pub(crate) fn new(engine: &'a Engine, store: &'a Store, why: Why) -> Self {
        let now = Instant::now();
        Self {
            engine,
            store,
            why,
            progress: Cell::new(Progress {
                commit: engine.committed().commit,
                committed: (why == Why::Due).then_some(now),
                since: now,
                bytes: 0,
            }),
        }
    }

    /// Returns `true` if nothing suffers from a fast rewrite, or more from a slow one.
    fn is_unlimited(&self, last_commit: Option<Instant>) -> bool {
        let (records, bytes) = self.store.segments.read().backlog();
        self.why == Why::Space
            || self.engine.options.sort_rate == 0
            || last_commit.is_none_or(|at| at.elapsed() >= QUIET)
            || records >= BEHIND_RECORDS
            || bytes >= BEHIND_BYTES
    }

    fn stops(&self) -> bool {
        self.engine.is_closing()
    }

    /// Sleeps until a time, or until the log is closed. Meanwhile the index is written out: commits may
    /// depend on it.
    fn sleep_until(&self, due: Instant) -> Result<(), Error> {
        while let Some(left) = due.checked_duration_since(Instant::now())
            && !self.stops()
        {
            if !self.store.checkpoint()? {
                thread::sleep(left.min(NAP));
            }
        }
        Ok(())
    }
}

impl Terms for Paced<'_> {
    fn sync(&self) -> Result<(), Error> {
        match self.engine.options.durability {
            // Commits are visible once they are durable.
            Durability::Fsync => Ok(()),
            Durability::Os => {
                let rotates = false;
                maintenance::ask(self.engine, |reply| Request::Checkpoint { rotates, reply })
            }
        }
    }

    fn fits(&self, bytes: u64) -> bool {
        bytes == 0 || free(self.engine).is_none_or(|free| free >= bytes + SLACK)
    }

    fn wrote(&self, bytes: usize) -> Result<(), Error> {
        if self.stops() {
            return Err(Kind::Closed.into());
        }
        let mut progress = self.progress.get();
        let (commit, now) = (self.engine.committed().commit, Instant::now());
        if commit != progress.commit {
            (progress.commit, progress.committed) = (commit, Some(now));
        }
        progress.bytes += bytes as u64;
        if self.is_unlimited(progress.committed) {
            (progress.since, progress.bytes) = (now, 0);
        }
        self.progress.set(progress);
        let rate = self.engine.options.sort_rate.max(1);
        let time = Duration::from_millis(progress.bytes.saturating_mul(1000) / rate);
        self.sleep_until(progress.since + time)
    }
}
