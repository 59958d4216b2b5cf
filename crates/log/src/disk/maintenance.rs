//! Background cleanup, in bounded steps on a thread of its own. The thread only reads; the writer
//! makes the changes, so cleanup can't conflict with concurrent appends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use headwater_journal::DiskFile;
use tokio::sync::oneshot;

use super::engine::Engine;
use super::format::{keys, record};
use super::queue::{Dropped, Reply, Request, Tend};
use super::store::Store;
use super::stream::Stream;
use crate::clock::{JUMP, Timestamp};
use crate::error::{Error, Kind};

/// Maximum number of records, keys or streams in one step.
const STEP: usize = 256;
/// Wait after a failure.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });

/// Cleans up until the log is closed.
pub(crate) fn run(engine: &Engine, marker: &dyn DiskFile) {
    let every = engine.options.reclaim_every.max(Duration::from_millis(1));
    let mut synced = (engine.committed().commit, Instant::now());
    while !engine.is_closing() {
        let wait = match step(engine) {
            Ok(true) => Duration::ZERO,
            Ok(false) => every,
            Err(error) => {
                if !error.is_closed() && !error.is_storage_full() {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the cleanup failed; it is retried");
                }
                RETRY
            }
        };
        // The sync makes damage to the end of the journal detectable even after a crash of the
        // machine.
        let commit = engine.committed().commit;
        if commit != synced.0 && synced.1.elapsed() >= RETRY {
            synced = (commit, Instant::now());
            if let Err(error) = marker.sync() {
                tracing::warn!(%error, "the marker of the last commit could not be synced");
            }
        }
        engine.cleanup.wait(wait);
    }
}

/// Performs one step of everything that is due. Returns `true` if more is due.
pub(crate) fn step(engine: &Engine) -> Result<bool, Error> {
    let _alone = engine.tidying.lock();
    Ok(tend_due(engine)? | trim_over(engine)? | sweep_garbage(engine)?)
}

/// Sends a request to the writer and waits until it is done.
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
    let store = engine.store()?;
    let found = store.keys(&from, &to, STEP)?;
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
        match tend(engine, &store, id, due, key) {
            // Other streams can be processed.
            Err(error) if error.is_damaged() => engine.note_damage(&error),
            tended => tended?,
        }
    }
    Ok(more)
}

/// Processes a stream of the timetable.
fn tend(engine: &Engine, store: &Store, id: u64, due: u64, key: Vec<u8>) -> Result<(), Error> {
    match engine.cache.load_by_id(store, id)? {
        Some(stream) => take_away(engine, trim(engine, store, &stream, Some(due))?),
        None => ask(engine, |reply| Request::Sweep(vec![key], reply)),
    }
}

/// Has the writer trim a stream.
fn take_away(engine: &Engine, tend: Tend) -> Result<(), Error> {
    let bytes: u64 = tend.dropped.iter().map(|record| record.bytes).sum();
    ask(engine, |reply| Request::Tend(tend, reply))?;
    if bytes > 0 {
        engine.count_removed(bytes);
    }
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
        for (first, head) in heads(store, stream.id, state.floor, state.tail)? {
            let time = Timestamp(head.time);
            let too_old = settings.max_age.is_some_and(|age| time.after(age) <= now);
            let last = first + u64::from(head.count) == state.tail;
            let too_much = settings.max_bytes.is_some_and(|most| bytes > most) && !last;
            let is_undated = !too_old && time > now.after(JUMP);
            if dropped.len() + undated.len() == STEP || !(too_old || too_much || is_undated) {
                oldest = oldest.or(Some(head.time));
                break;
            }
            if !too_old && !too_much {
                oldest = oldest.or(Some(now.0));
            }
            let record = Dropped {
                first,
                count: head.count.into(),
                bytes: head.bytes.into(),
                position: head.position,
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
    Ok(Tend {
        stream: Arc::clone(stream),
        dropped,
        due,
        oldest,
        is_corrected,
    })
}

/// Returns the records of a stream from its floor on: one more than a step has, or up to the tail.
fn heads(store: &Store, id: u64, floor: u64, tail: u64) -> Result<Vec<(u64, record::Head)>, Error> {
    let mut found = Vec::new();
    let mut next = floor;
    while next < tail && found.len() <= STEP {
        let more = store.heads(id, next, STEP + 1 - found.len())?;
        next = more
            .last()
            .map_or(tail, |(first, head)| first + u64::from(head.count));
        found.extend(more);
    }
    Ok(found)
}

/// Removes some of the producers that removed streams left.
fn sweep_garbage(engine: &Engine) -> Result<bool, Error> {
    let store = engine.store()?;
    let found = store.keys(&keys::garbage(0), &keys::garbage(u64::MAX), 1)?;
    let Some(key) = found.into_iter().next() else {
        return Ok(false);
    };
    let Some(id) = keys::garbage_of(&key) else {
        return Err(Error::damaged("an entry of the garbage"));
    };
    let producers = store.producers(id, None, STEP)?;
    let all = producers.len() < STEP;
    let producers = producers.iter();
    let mut swept: Vec<_> = producers
        .map(|(name, _)| keys::producer(id, name))
        .collect();
    if all {
        swept.push(key);
    }
    ask(engine, |reply| Request::Sweep(swept, reply))?;
    Ok(true)
}
