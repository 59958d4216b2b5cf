//! Freeing of disk space.
//!
//! Removing messages writes nothing but a floor or an end. So once enough was removed, a pass looks for
//! files with removed messages, which are dead. Files without live messages are removed.
//!
//! Rewriting a file that is half dead writes a byte for each that it frees, and in a log with caps the
//! other half is dead soon. So while a log is busy, dead messages stay where they are as long as they are
//! few beside the live ones. Once it isn't busy, or the disk is full, their space is freed within seconds.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::engine::Engine;
use super::files::{sort, take_some, write_out};
use super::pace::{Paced, Why};
use super::rewrite::{self, Liveness};
use super::sorted::Sorted;
use super::store::Store;
use crate::error::Error;

/// Bytes of dead messages that the sorted files of a busy log may have, unless half of the bytes of all
/// messages are more.
const DEAD_BYTES: u64 = if cfg!(test) { 16 << 10 } else { 256 << 20 };

/// The files that a pass rewrites. It removes files without live messages in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As few of the half-dead files as keep the dead messages within bounds.
    Least,
    /// The files that are half dead.
    Half,
    /// All files with dead messages.
    All,
}

/// Bytes of messages in a file: those that are live, and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    live: u64,
    all: u64,
}

impl Content {
    fn dead(self) -> u64 {
        self.all - self.live
    }

    /// Returns the share of the live messages, in thousandths.
    fn live_share(self) -> u64 {
        self.live.saturating_mul(1000) / self.all.max(1)
    }

    fn is_worth(self, effort: Effort) -> bool {
        self.live < self.all && (effort == Effort::All || self.live <= self.all / 2)
    }
}

/// Returns the files that a pass rewrites or removes, by their index, the most dead first. Files keep at most
/// `most_dead` dead bytes if the effort is the least.
fn choose(files: &[Content], effort: Effort, most_dead: u64) -> Vec<usize> {
    let mut worth: Vec<usize> = (0..files.len()).collect();
    worth.retain(|at| files[*at].is_worth(effort));
    worth.sort_by_key(|at| files[*at].live_share());
    let mut dead: u64 = files.iter().map(|file| file.dead()).sum();
    worth.retain(|at| {
        let file = files[*at];
        let is_chosen = effort != Effort::Least || file.live == 0 || dead > most_dead;
        if is_chosen {
            dead -= file.dead();
        }
        is_chosen
    });
    worth
}

/// Frees the space of everything that was removed.
pub(crate) fn give_back(engine: &Engine) -> Result<(), Error> {
    let store = engine.store()?;
    write_out(engine, &store, true)?;
    free_space(engine, &store, Effort::All).map(|_| ())
}

/// Frees the space of removed data. Returns the removed bytes for which another pass is needed once the log
/// isn't busy.
pub(crate) fn free_space(engine: &Engine, store: &Store, effort: Effort) -> Result<u64, Error> {
    let _alone = engine.giving.lock();
    let removed = engine.removed.swap(0, Ordering::Relaxed);
    let rewritten = rewrite_worth(engine, store, removed, effort);
    if !matches!(rewritten, Ok(false)) {
        engine.removed.fetch_add(removed, Ordering::Relaxed);
    }
    let is_put_off = !rewritten? && effort == Effort::Least;
    Ok(if is_put_off { removed } else { 0 })
}

/// Rewrites the files of which enough is removed. Returns `true` if there was no space for some.
fn rewrite_worth(
    engine: &Engine,
    store: &Store,
    removed: u64,
    effort: Effort,
) -> Result<bool, Error> {
    if effort != Effort::Least && removed > 0 && store.segments.read().is_open_worth() {
        // The removed data may be in the newest segment.
        write_out(engine, store, true)?;
    }
    let why = match effort {
        Effort::All => Why::Space,
        Effort::Least | Effort::Half => Why::Due,
    };
    let mut liveness = Liveness::new(store);
    let mut skipped = rewrite_sorted(engine, store, &mut liveness, effort, why)?;
    // The segments of a busy log are sorted soon anyway.
    if effort != Effort::Least && !engine.is_closing() {
        skipped |= sort_segments(engine, store, &mut liveness, effort, why)?;
    }
    Ok(skipped)
}

/// Rewrites the sorted files of which enough is removed, the most dead first. Returns `true` if there was no
/// space for some.
fn rewrite_sorted(
    engine: &Engine,
    store: &Store,
    liveness: &mut Liveness<'_>,
    effort: Effort,
    why: Why,
) -> Result<bool, Error> {
    let sorted = Arc::clone(&store.sorted.read());
    let (mut files, mut contents) = (Vec::new(), Vec::new());
    for file in sorted.iter() {
        if let Some(content) = unless_damaged(engine, content(liveness, file))? {
            files.push(file);
            contents.push(content);
        }
    }
    let most_dead = DEAD_BYTES.max(engine.committed().bytes / 2);
    let mut skipped = false;
    for at in choose(&contents, effort, most_dead) {
        if engine.is_closing() {
            return Ok(true);
        }
        let terms = Paced::new(engine, store, why);
        let rewritten = rewrite::again(store, std::slice::from_ref(files[at]), &terms);
        skipped |= unless_damaged(engine, rewritten)? == Some(false);
    }
    Ok(skipped)
}

/// Returns `None` if a file is damaged. It stays as it is, and other files can be freed.
fn unless_damaged<T>(engine: &Engine, result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(error) if error.is_damaged() => {
            engine.note_damage(&error);
            Ok(None)
        }
        result => result.map(Some),
    }
}

/// Sorts the segments up to the last one of which enough is removed: one in the middle can't be removed
/// alone. Returns `true` if there was no space for some.
fn sort_segments(
    engine: &Engine,
    store: &Store,
    liveness: &mut Liveness<'_>,
    effort: Effort,
    why: Why,
) -> Result<bool, Error> {
    let sealed: Vec<_> = store.segments.read().sealed().cloned().collect();
    let mut wanted = 0;
    for (at, segment) in sealed.iter().enumerate() {
        let mut content = Content { live: 0, all: 0 };
        for (id, first, run) in segment.runs() {
            content.all += u64::from(run.head.bytes);
            if liveness.is_live(*id, first + u64::from(run.head.count))? {
                content.live += u64::from(run.head.bytes);
            }
        }
        if content.is_worth(effort) {
            wanted = at + 1;
        }
    }
    let mut rest = &sealed[..wanted];
    while !rest.is_empty() && !engine.is_closing() {
        let some = take_some(rest.iter());
        if !sort(engine, store, &some, why)? {
            return Ok(true);
        }
        rest = &rest[some.len()..];
    }
    Ok(false)
}

/// Returns the bytes of messages in a sorted file, those that are live only about.
fn content(liveness: &mut Liveness<'_>, file: &Sorted) -> Result<Content, Error> {
    let (mut live, all) = (0, file.bytes());
    rewrite::each_entry(file, |entry| {
        for block in &entry.blocks {
            if liveness.is_live(entry.id, block.end)? {
                live += u64::from(block.length);
            }
        }
        Ok(())
    })?;
    let live = live.min(all);
    Ok(Content { live, all })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(live: &[u64]) -> Vec<Content> {
        let file = |live: &u64| Content {
            live: *live,
            all: 100,
        };
        live.iter().map(file).collect()
    }

    #[test]
    fn a_busy_log_rewrites_only_what_keeps_the_dead_messages_within_bounds() {
        let files = files(&[100, 50, 0, 10, 60, 30]);
        let least = |most_dead| choose(&files, Effort::Least, most_dead);
        // 350 bytes are dead. Freeing the third file costs nothing.
        assert_eq!(least(1000), [2]);
        assert_eq!(least(250), [2]);
        assert_eq!(least(249), [2, 3]);
        assert_eq!(least(160), [2, 3]);
        assert_eq!(least(159), [2, 3, 5]);
        // The fifth isn't half dead.
        assert_eq!(least(0), [2, 3, 5, 1]);
    }

    #[test]
    fn a_log_that_is_not_busy_rewrites_what_is_half_dead_and_a_full_one_everything() {
        let files = files(&[100, 50, 0, 10, 60, 30]);
        assert_eq!(choose(&files, Effort::Half, 1000), [2, 3, 5, 1]);
        assert_eq!(choose(&files, Effort::All, 1000), [2, 3, 5, 1, 4]);
    }
}
