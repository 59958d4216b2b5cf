//! Background cleanup, in bounded steps on a thread of its own. The thread only reads; the writer
//! makes the changes, so cleanup can't conflict with concurrent appends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fjall::AbstractTree;
use tokio::sync::oneshot;

use super::engine::Engine;
use super::format::commit::Commit;
use super::format::keys;
use super::format::log_head::Checkpoint;
use super::queue::{Dropped, Reply, Request, Sweep, Tend};
use super::store::{Store, failure};
use super::stream::Stream;
use crate::clock::{JUMP, Timestamp};
use crate::error::{Error, Kind};

/// Maximum number of records, keys, commits or streams in one step.
const STEP: usize = 256;
/// Maximum number of records of a removed stream in one step, and of their bytes.
const SWEEP: usize = 2048;
const SWEEP_BYTES: u64 = 16 << 20;
/// Number of commits after which a checkpoint is due, however small they are.
const COMMITS: u64 = 20_000;
/// Maximum time to write out tables for a checkpoint. After it, the checkpoint is postponed.
const FLUSH: Duration = Duration::from_secs(60);
/// Wait after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Cleans up until the log is closed.
pub(crate) fn run(engine: &Engine, marker: &std::fs::File) {
    let every = engine.options.reclaim_every.max(Duration::from_millis(1));
    let mut synced = (engine.committed().commit, Instant::now());
    while !engine.closing.load(Ordering::Acquire) {
        match step(engine).and_then(|more| Ok(more | checkpoint(engine)?)) {
            Ok(true) => continue,
            Ok(false) => engine.sleep(every),
            Err(error) => {
                if !error.is_closed() && !error.is_storage_full() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the cleanup failed; it is retried");
                }
                engine.sleep(RETRY);
            }
        }
        // The sync makes damage to the end of the journal detectable even after a crash of the
        // machine.
        let commit = engine.committed().commit;
        if commit != synced.0 && synced.1.elapsed() >= RETRY {
            synced = (commit, Instant::now());
            if let Err(error) = marker.sync_data() {
                tracing::warn!(%error, "the marker of the last commit could not be synced");
            }
        }
    }
}

/// Performs one step of everything that is due. Returns `true` if more is due.
pub(crate) fn step(engine: &Engine) -> Result<bool, Error> {
    let _alone = engine.tidying.lock();
    Ok(tend_due(engine)? | trim_over(engine)? | sweep_garbage(engine)?)
}

/// Sends a request to the writer and waits until it is done. The caller must hold nothing of the
/// database, because the writer may have to reopen it.
pub(super) fn ask(
    engine: &Engine,
    request: impl FnOnce(Reply<()>) -> Request,
) -> Result<(), Error> {
    let (reply, answer) = oneshot::channel();
    engine.queue.push_now(request(reply))?;
    match answer.blocking_recv() {
        Ok(answer) => answer.map(|_| ()),
        Err(_) => Err(Kind::Closed.into()),
    }
}

/// Processes the streams that are due in the timetable.
fn tend_due(engine: &Engine) -> Result<bool, Error> {
    let now = engine.now();
    if engine.time.went_back() {
        *engine.remade.lock() = Some(keys::due(0, 0));
    }
    let remade = engine.remade.lock().clone();
    let (from, to) = match &remade {
        Some(from) => (from.clone(), keys::due(u64::MAX, u64::MAX)),
        None => (keys::due(0, 0), keys::due(now.saturating_add(1), 0)),
    };
    let found = engine.store()?.meta_keys(from, to, STEP)?;
    if remade.is_some() {
        let next = found.last().filter(|_| found.len() == STEP);
        *engine.remade.lock() = next.map(|last| [last.as_slice(), &[0]].concat());
    }
    let more = found.len() == STEP;
    let mut entries = Vec::with_capacity(found.len());
    for key in found {
        let Some((due, id)) = keys::due_of(&key) else {
            return Err(Error::damaged("an entry of the timetable"));
        };
        entries.push((id, due, key));
    }
    // Of the streams that are due together, the oldest is first.
    entries.sort_unstable();
    for (id, due, key) in entries {
        let store = engine.store()?;
        let Some(stream) = engine.cache.load_by_id(&store, id)? else {
            drop(store);
            let sweep = Sweep {
                keys: vec![key],
                ..Sweep::default()
            };
            ask(engine, |reply| Request::Sweep(sweep, reply))?;
            continue;
        };
        let tend = trim(engine, &store, &stream, Some(due))?;
        drop(store);
        take_away(engine, tend)?;
    }
    Ok(more)
}

/// Has the writer trim a stream.
fn take_away(engine: &Engine, tend: Tend) -> Result<(), Error> {
    let bytes = tend.dropped.iter().map(|record| record.bytes).sum();
    ask(engine, |reply| Request::Tend(tend, reply))?;
    engine.swept.fetch_add(bytes, Ordering::Relaxed);
    Ok(())
}

/// Trims streams that exceed their size cap.
fn trim_over(engine: &Engine) -> Result<bool, Error> {
    let Some(name) = engine.next_over() else {
        return Ok(false);
    };
    let store = engine.store()?;
    let Some(stream) = engine.cache.load(&store, &name)? else {
        return Ok(true);
    };
    // Cleared first, so that later appends queue the stream again.
    stream.over.store(false, Ordering::Release);
    let tend = trim(engine, &store, &stream, None)?;
    drop(store);
    if !tend.dropped.is_empty() {
        take_away(engine, tend)?;
        let state = stream.state();
        let most = stream.birth.settings.max_bytes;
        if most.is_some_and(|most| state.bytes > most) && !stream.has_ended() {
            engine.over(&stream);
        }
    }
    Ok(true)
}

/// Returns the records that a stream's caps require to be removed, at most one step's worth.
fn trim(
    engine: &Engine,
    store: &Store,
    stream: &Arc<Stream>,
    due: Option<u64>,
) -> Result<Tend, Error> {
    let now = Timestamp(engine.now());
    let is_corrected = stream.correct_use(now.0);
    let settings = &stream.birth.settings;
    let state = stream.state();
    let mut bytes = state.bytes;
    let mut dropped = Vec::new();
    let mut oldest = None;
    if settings.max_age.is_some() || settings.max_bytes.is_some_and(|most| bytes > most) {
        // A record with a time in the future is at least as old as the records after it.
        let mut undated = Vec::new();
        for record in store.view().records(stream.id, state.floor, state.tail) {
            let record = record?;
            let time = Timestamp(record.head.time);
            let too_old = settings.max_age.is_some_and(|age| time.after(age) <= now);
            let last = record.end() == state.tail;
            let too_much = settings.max_bytes.is_some_and(|most| bytes > most) && !last;
            let is_undated = !too_old && time > now.after(JUMP);
            if dropped.len() + undated.len() == STEP || !(too_old || too_much || is_undated) {
                oldest = oldest.or(Some(record.head.time));
                break;
            }
            if !too_old && !too_much {
                oldest = oldest.or(Some(now.0));
            }
            let record = Dropped {
                id: stream.id,
                first: record.first,
                count: record.head.count.into(),
                bytes: record.head.bytes,
                position: record.head.position,
            };
            if too_old || too_much {
                undated.push(record);
                bytes -= undated.iter().map(|record| record.bytes).sum::<u64>();
                dropped.append(&mut undated);
                oldest = None;
            } else {
                undated.push(record);
            }
        }
    }
    let commits = without(store, &dropped)?;
    Ok(Tend {
        stream: Arc::clone(stream),
        dropped,
        commits,
        due,
        oldest,
        is_corrected,
    })
}

/// Returns the commits that wrote these records, without them.
fn without(store: &Store, dropped: &[Dropped]) -> Result<Vec<Commit>, Error> {
    let mut commits: BTreeMap<u64, Commit> = BTreeMap::new();
    let view = store.view();
    for record in dropped {
        let known = commits.range_mut(..=record.position).next_back();
        let commit = match known {
            Some((_, commit)) if record.position < commit.position + commit.count => commit,
            _ => {
                let found = view.commits(record.position).next().transpose()?;
                let found = found.filter(|commit| record.position < commit.position + commit.count);
                let Some(commit) = found else { continue };
                commits.entry(commit.position).or_insert(commit)
            }
        };
        // Records are removed from the front of the messages that the commit added to the stream.
        for part in &mut commit.parts {
            if part.id == record.id && part.first == record.first {
                part.first += record.count;
                part.before += record.count;
                part.count = part.count.saturating_sub(record.count);
            }
        }
    }
    let mut commits: Vec<Commit> = commits.into_values().collect();
    for commit in &mut commits {
        // A part that lost all its messages records nothing about the stream's state that the
        // commit that removed them doesn't record.
        commit
            .parts
            .retain(|part| part.count > 0 || part.first == 0);
    }
    Ok(commits)
}

/// Removes some of the data that removed streams left.
fn sweep_garbage(engine: &Engine) -> Result<bool, Error> {
    let store = engine.store()?;
    let found = store.meta_keys(keys::garbage(0), keys::garbage(u64::MAX), 1)?;
    let Some(key) = found.into_iter().next() else {
        return Ok(false);
    };
    let Some(id) = keys::garbage_of(&key) else {
        return Err(Error::damaged("an entry of the garbage"));
    };
    let mut sweep = Sweep::default();
    // Trimmed records are counted already, and the records that were swept before are skipped.
    let floor = store.garbage(id)?.unwrap_or_default();
    let from = match *engine.sweeping.lock() {
        (last, next) if last == id => next,
        _ => floor,
    };
    let mut next = from;
    let first = store
        .records
        .range(keys::record(id, from)..=keys::record(id, u64::MAX))
        .next();
    if let Some(first) = first {
        let found = first.key().map_err(|error| failure(error, "a record"))?;
        let (_, first) = keys::record_of(&found).unwrap_or_default();
        let mut bytes = 0;
        for record in store.view().records(id, first, u64::MAX).take(SWEEP) {
            // Damage to data that is being removed ends with the stream.
            let Ok(record) = record else { break };
            next = record.end();
            sweep.records.push(Dropped {
                id,
                first: record.first,
                count: record.head.count.into(),
                bytes: record.head.bytes,
                position: record.head.position,
            });
            bytes += record.head.bytes;
            if bytes > SWEEP_BYTES {
                break;
            }
        }
        if sweep.records.is_empty() {
            // The record can't be read, so it is removed by its key alone.
            next = first + 1;
            sweep.records.push(Dropped {
                id,
                first,
                count: 0,
                bytes: 0,
                position: u64::MAX,
            });
        }
        sweep.commits = without(&store, &sweep.records)?;
    } else {
        let producers = store.producers(id, None, STEP)?;
        let all = producers.len() < STEP;
        sweep.keys = producers
            .iter()
            .map(|(name, _)| keys::producer(id, name))
            .collect();
        if all {
            sweep.keys.push(key);
        }
    }
    drop(store);
    let bytes = sweep.records.iter().map(|record| record.bytes).sum();
    ask(engine, |reply| Request::Sweep(sweep, reply))?;
    engine.swept.fetch_add(bytes, Ordering::Relaxed);
    *engine.sweeping.lock() = (id, next);
    Ok(true)
}

/// Advances the checkpoint, if one is due: the tables in memory are written out, so that opening
/// the log needn't check what comes before. Commits before it that have no messages left are
/// removed.
fn checkpoint(engine: &Engine) -> Result<bool, Error> {
    let head = engine.committed();
    let last = engine.checkpoint();
    let bytes = engine.since_checkpoint.load(Ordering::Relaxed);
    let _alone = engine.tidying.lock();
    if bytes < engine.options.checkpoint_bytes && head.commit < last.commit + COMMITS {
        return Ok(false);
    }
    if !flush(engine)? {
        return Ok(false);
    }
    engine.since_checkpoint.fetch_sub(bytes, Ordering::Relaxed);
    let mut reached = last;
    while reached.commit < head.commit && !engine.closing.load(Ordering::Acquire) {
        let mut sweep = Sweep::default();
        let store = engine.store()?;
        for commit in store
            .view()
            .commits_after(reached.position, reached.commit + 1)
            .take(STEP)
        {
            let commit = commit?;
            if commit.number > head.commit {
                break;
            }
            reached.commit = commit.number;
            reached.position += commit.count;
            if commit.is_spent() {
                sweep.spent.push(commit.key());
            }
        }
        drop(store);
        let checkpoint = Checkpoint { ..reached };
        sweep.checkpoint = Some(checkpoint);
        ask(engine, |reply| Request::Sweep(sweep, reply))?;
        engine.set_checkpoint(checkpoint);
    }
    Ok(true)
}

/// Writes out the tables in memory. Returns `false` if that takes too long.
pub(super) fn flush(engine: &Engine) -> Result<bool, Error> {
    let started = Instant::now();
    let store = engine.store()?;
    let keyspaces = [&store.meta, &store.order, &store.records];
    for keyspace in keyspaces {
        keyspace
            .rotate_memtable()
            .map_err(|error| failure(error, "a table"))?;
    }
    while keyspaces
        .iter()
        .any(|keyspace| keyspace.tree.sealed_memtable_count() > 0)
    {
        if engine.closing.load(Ordering::Acquire) || started.elapsed() > FLUSH {
            return Ok(false);
        }
        // Fails if the disk has failed.
        store
            .db
            .persist(fjall::PersistMode::Buffer)
            .map_err(|error| failure(error, "a table"))?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}
