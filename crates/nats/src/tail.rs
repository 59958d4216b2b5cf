//! The task that applies the log's records as they are stored.
//!
//! The leader republishes each record when it has stored it. These live records are the quickest way to a hub, but
//! some can be lost. A consumer delivers those that are missing: at the start, and after a gap.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::datetime::{DateTime, parse_rfc3339};
use async_nats::header::{NATS_SEQUENCE, NATS_TIME_STAMP};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::message::Message;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use headwater_log::{Position, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::{Engine, Settled};
use crate::format::part::{NoPart, Part};
use crate::limits::{AHEAD, BEHIND, EARLY_BYTES, IDLE_CHECK, LIVE_STALLED, RETRY_PAUSE, STALLED};
use crate::replica::Applied;
use crate::setup::Live;
use crate::snapshots;

/// A record that the cluster has stored.
struct Record {
    sequence: u64,
    /// The cluster's time of it.
    stored: Timestamp,
    payload: Bytes,
}

impl Record {
    fn of(message: &Message) -> Result<Self, String> {
        let info = message.info().map_err(|error| error.to_string())?;
        Ok(Self::at(
            info.stream_sequence,
            info.published,
            message.payload.clone(),
        ))
    }

    /// Reads a live record. `None` if the message isn't one.
    fn of_live(message: async_nats::Message) -> Option<Self> {
        let headers = message.headers?;
        // The server adds its headers after those of the writer.
        let sequence = headers.get_last(NATS_SEQUENCE)?.as_str().parse().ok()?;
        let stored = parse_rfc3339(headers.get_last(NATS_TIME_STAMP)?.as_str()).ok()?;
        Some(Self::at(sequence, stored, message.payload))
    }

    fn at(sequence: u64, stored: DateTime, payload: Bytes) -> Self {
        let millis = stored.unix_timestamp_nanos() / 1_000_000;
        Self {
            sequence,
            stored: Timestamp(u64::try_from(millis).unwrap_or(0)),
            payload,
        }
    }
}

/// Live records that came before others that precede them: the newest ones, up to a number of bytes.
#[derive(Default)]
struct Early {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Early {
    /// Adds a record, and removes the oldest ones if there are too many. A consumer delivers those.
    fn put(&mut self, mut record: Record) {
        // The message may be a small part of a large buffer.
        record.payload = Bytes::copy_from_slice(&record.payload);
        self.bytes += weight(&record);
        self.records.push_back(record);
        while self.bytes > EARLY_BYTES {
            self.pop();
        }
    }

    /// Takes the record after `applied`, if it is the oldest one.
    fn take_next(&mut self, applied: u64) -> Option<Record> {
        while self.records.front()?.sequence <= applied {
            self.pop();
        }
        let is_next = self.records.front()?.sequence == applied + 1;
        if is_next { self.pop() } else { None }
    }

    fn pop(&mut self) -> Option<Record> {
        let record = self.records.pop_front()?;
        self.bytes -= weight(&record);
        Some(record)
    }
}

fn weight(record: &Record) -> usize {
    record.payload.len() + size_of::<Record>()
}

/// Follows the log until the hub fails or the task is aborted.
pub(crate) async fn follow(engine: Arc<Engine>, mut live: Live) {
    let mut early = Early::default();
    loop {
        let pause = match records(&engine).await {
            Ok(records) => match apply_all(&engine, records, &mut live.records, &mut early).await {
                Ok(Gap) => Duration::ZERO,
                Err(reason) => {
                    tracing::warn!(%reason, "the log's consumer is replaced");
                    RETRY_PAUSE
                }
            },
            Err(reason) => {
                tracing::warn!(%reason, "no consumer of the log");
                RETRY_PAUSE
            }
        };
        if engine.failed.lock().is_some() {
            return;
        }
        sleep(pause).await;
    }
}

/// Live records are missing, and no consumer delivers them yet.
struct Gap;

/// Starts to read after the last record that was applied.
async fn records(engine: &Engine) -> Result<Ordered, String> {
    let start_sequence = engine.next();
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
        max_batch: AHEAD,
        ..OrderedConfig::default()
    };
    let started = timeout(STALLED, async {
        let consumer = engine.cluster.stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| error.to_string())?;
        consumer.messages().await.map_err(|error| error.to_string())
    });
    match started.await {
        Ok(started) => started,
        Err(_) => Err("the cluster doesn't answer".to_owned()),
    }
}

/// Applies records until live ones are missing, or the consumer fails or stalls.
async fn apply_all(
    engine: &Engine,
    records: Ordered,
    live: &mut Subscriber,
    early: &mut Early,
) -> Result<Gap, String> {
    // `None` while the live records are all.
    let mut records = Some(records);
    let mut known = engine.known.subscribe();
    // The time of the last progress.
    let mut since = Instant::now();
    // The time since which the leader knows less of the log than was delivered.
    let mut shorter: Option<Instant> = None;
    loop {
        if engine.failed.lock().is_some() {
            return Err("the hub has failed".to_owned());
        }
        let applied = *engine.applied.borrow();
        let is_behind = *known.borrow_and_update() > applied || !early.records.is_empty();
        let patience = match (is_behind, &records) {
            (true, Some(_)) => STALLED,
            (true, None) => LIVE_STALLED,
            (false, _) => IDLE_CHECK,
        };
        tokio::select! {
            biased;
            message = live.next() => {
                let message = message.ok_or("the connection is closed")?;
                let Some(record) = Record::of_live(message) else { continue };
                if record.sequence <= applied {
                    check_again(engine, &record).await?;
                    continue;
                }
                let is_next = record.sequence == applied + 1;
                if is_next {
                    apply(engine, &record).await?;
                    apply_early(engine, early).await?;
                } else {
                    early.put(record);
                    if records.is_none() {
                        return Ok(Gap);
                    }
                    continue;
                }
                if early.records.is_empty() {
                    records = None;
                }
            }
            message = next(&mut records) => {
                let message = message.ok_or("it has ended")?;
                let message = message.map_err(|error| error.to_string())?;
                engine.delivered.fetch_add(1, Ordering::Relaxed);
                apply(engine, &Record::of(&message)?).await?;
                if apply_early(engine, early).await? && early.records.is_empty() {
                    records = None;
                }
            }
            _ = known.changed() => {
                // The hub had all that was known until now.
                if !is_behind {
                    since = Instant::now();
                }
                continue;
            }
            () = sleep_until(since + patience) => {
                since = Instant::now();
                if is_behind {
                    return match records {
                        Some(_) => Err(format!("no record after {applied}")),
                        None => Ok(Gap),
                    };
                }
                match engine.last().await {
                    Ok(end) if end < applied => {
                        let since = *shorter.get_or_insert(since);
                        if since.elapsed() > BEHIND {
                            engine.fail(format!(
                                "the cluster has lost records: its log ends at {end}, and {applied} was delivered"
                            ));
                        }
                    }
                    Ok(end) => {
                        shorter = None;
                        engine.name_end(end);
                    }
                    Err(reason) => tracing::debug!(%reason, "the end of the log isn't known"),
                }
                continue;
            }
        }
        since = Instant::now();
        shorter = None;
    }
}

/// Applies early records that follow the last one that was applied. Returns `true` if there were some.
async fn apply_early(engine: &Engine, early: &mut Early) -> Result<bool, String> {
    let mut has_some = false;
    loop {
        let applied = *engine.applied.borrow();
        let Some(record) = early.take_next(applied) else {
            return Ok(has_some);
        };
        apply(engine, &record).await?;
        has_some = true;
        if engine.failed.lock().is_some() {
            return Ok(has_some);
        }
    }
}

/// Compares a record that comes again with the one that was applied. They differ if the cluster has
/// lost that one.
async fn check_again(engine: &Engine, record: &Record) -> Result<(), String> {
    let own = engine.replica.lock().hash(record.sequence);
    match own.is_some_and(|own| own != xxh3_64(&record.payload)) {
        true => check_dispute(engine, record.sequence).await,
        false => Ok(()),
    }
}

/// Returns the consumer's next message, if there is a consumer.
async fn next(records: &mut Option<Ordered>) -> Option<<Ordered as Stream>::Item> {
    match records {
        Some(records) => records.next().await,
        None => pending().await,
    }
}

/// Applies a record, and hands the outcome to the writer if it is this hub's.
async fn apply(engine: &Engine, record: &Record) -> Result<(), String> {
    let applied = loop {
        match apply_one(engine, record) {
            Ok(Some(applied)) => break applied,
            Ok(None) => return Ok(()),
            Err(missing) => skip_to_snapshot(engine, missing).await?,
        }
    };
    let (key, settled) = match applied {
        Applied::Batch {
            session,
            number,
            replies,
        } => ((session, number), Settled::Applied(replies)),
        Applied::Unknown { session, number } => ((session, number), Settled::Forgotten),
        Applied::Disputed {
            session,
            number,
            after,
        } => {
            check_dispute(engine, after).await?;
            ((session, number), Settled::Forgotten)
        }
        Applied::Nothing => return Ok(()),
    };
    let sender = engine.pending.lock().remove(&key);
    if let Some(sender) = sender {
        // The writer may have given up.
        let _ = sender.send(settled);
    }
    Ok(())
}

/// Compares a record with that of the cluster, as another hub has another one.
async fn check_dispute(engine: &Engine, sequence: u64) -> Result<(), String> {
    let Some(found) = engine.cluster.record(sequence).await? else {
        // It was removed, so it can't be compared.
        return Ok(());
    };
    let own = engine.replica.lock().hash(sequence);
    if own.is_some_and(|own| own != xxh3_64(&found)) {
        engine.fail(format!(
            "the cluster has lost records: {sequence} is another one than was delivered"
        ));
    }
    Ok(())
}

/// Records are missing before the one with this sequence number.
struct Overtaken {
    before: u64,
}

/// Continues from the newest snapshot, as another hub has removed records that this one hasn't applied. They were
/// dead after that snapshot.
async fn skip_to_snapshot(engine: &Engine, missing: Overtaken) -> Result<(), String> {
    let (head, _) = watch::channel(Position::START);
    let (mut replica, _) = snapshots::load(&engine.cluster, &head)
        .await
        .map_err(|error| error.to_string())?;
    let applied = replica.applied;
    {
        let mut current = engine.replica.lock();
        let after = current.applied;
        if applied + 1 < missing.before {
            drop(current);
            let reason = format!(
                "the records after {after} and before {} of the JetStream stream {} are missing, and the newest \
                 snapshot ends at {applied}",
                missing.before, engine.cluster.name
            );
            engine.fail(reason.clone());
            return Err(reason);
        }
        tracing::warn!(
            after,
            applied,
            "records of the log were removed while this hub was behind; it continues from a snapshot"
        );
        std::mem::swap(&mut *current, &mut replica);
        current.succeed(replica);
        // Their replies can't be known any more.
        let mut pending = engine.pending.lock();
        pending.retain(|&(session, number), _| !current.has_applied(session, number));
    }
    engine.applied.send_replace(applied);
    engine.contact.hear();
    Ok(())
}

/// Applies a record. Returns `None` if it has no effect.
fn apply_one(engine: &Engine, record: &Record) -> Result<Option<Applied>, Overtaken> {
    let &Record {
        sequence,
        stored,
        ref payload,
    } = record;
    let hash = xxh3_64(payload);
    let mut replica = engine.replica.lock();
    if sequence <= replica.applied {
        return Ok(None);
    }
    if sequence != replica.applied + 1 {
        return Err(Overtaken { before: sequence });
    }
    // The message may be a small part of a large buffer.
    let part = match Part::decode(Bytes::copy_from_slice(payload)) {
        Ok(part) => part,
        Err(NoPart::Foreign) => {
            tracing::warn!(
                sequence,
                "a message in the log isn't a record, and is ignored"
            );
            replica.skip(sequence, hash, payload.len());
            drop(replica);
            engine.applied.send_replace(sequence);
            return Ok(None);
        }
        Err(error @ NoPart::Version(_)) => {
            drop(replica);
            engine.fail(format!("record {sequence}: {error}"));
            return Ok(None);
        }
    };
    engine.records.put(sequence, part.data.clone());
    let applied = replica.apply(sequence, hash, part, stored);
    drop(replica);
    match applied {
        Ok(applied) => {
            engine.applied.send_replace(sequence);
            engine.contact.hear();
            Ok(Some(applied))
        }
        Err(error) => {
            engine.fail(format!("record {sequence} can't be read: {error}"));
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64, size: usize) -> Record {
        Record {
            sequence,
            stored: Timestamp(0),
            payload: vec![0; size].into(),
        }
    }

    fn taken(early: &mut Early, mut applied: u64) -> Vec<u64> {
        std::iter::from_fn(|| {
            applied = early.take_next(applied)?.sequence;
            Some(applied)
        })
        .collect()
    }

    #[test]
    fn early_records_wait_for_those_before_them() {
        let mut early = Early::default();
        for sequence in [4, 5, 5, 7] {
            early.put(record(sequence, 10));
        }
        assert_eq!(taken(&mut early, 2), [0; 0]);
        assert_eq!(taken(&mut early, 3), [4, 5]);
        assert_eq!(taken(&mut early, 5), [0; 0]);
        // A consumer has delivered more meanwhile.
        assert_eq!(taken(&mut early, 9), [0; 0]);
        assert!(early.records.is_empty());
        assert_eq!(early.bytes, 0);
    }

    #[test]
    fn the_newest_early_records_are_kept() {
        let mut early = Early::default();
        for sequence in 1..=20 {
            early.put(record(sequence, EARLY_BYTES / 8));
            assert!(early.bytes <= EARLY_BYTES);
        }
        assert_eq!(taken(&mut early, 13), [14, 15, 16, 17, 18, 19, 20]);
        early.put(record(21, EARLY_BYTES));
        assert!(early.records.is_empty());
        // Records without content have a weight too.
        for sequence in 0..1_000_000 {
            early.put(record(sequence, 0));
        }
        assert!(early.records.len() < 1_000_000);
    }
}
