//! The task that applies the log's records as they are stored.
//!
//! The leader republishes each record when it has stored it. These live records are the quickest way to a hub, but
//! some can be lost. A consumer delivers those that are missing: at the start, and after a gap.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::Subscriber;
use async_nats::datetime::{DateTime, parse_rfc3339};
use async_nats::header::{NATS_SEQUENCE, NATS_TIME_STAMP};
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::message::Message;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use headwater_log::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::{Engine, Settled};
use crate::format::part::{NoPart, Part};
use crate::limits::{AHEAD, BEHIND, EARLY_BYTES, IDLE_CHECK, LIVE_STALLED, RETRY_PAUSE, STALLED};
use crate::replica::Applied;

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

    /// Reads a record that the leader has published again. `None` if the message isn't one.
    fn of_live(message: async_nats::Message) -> Option<Self> {
        let headers = message.headers?;
        let sequence = headers.get(NATS_SEQUENCE)?.as_str().parse().ok()?;
        let stored = parse_rfc3339(headers.get(NATS_TIME_STAMP)?.as_str()).ok()?;
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

/// Live records that came before those that precede them.
#[derive(Default)]
struct Early {
    records: VecDeque<Record>,
    bytes: usize,
}

impl Early {
    /// Adds a record. Without room, the consumer delivers it.
    fn put(&mut self, record: Record) {
        if self.bytes + record.payload.len() <= EARLY_BYTES {
            self.bytes += record.payload.len();
            self.records.push_back(record);
        }
    }

    /// Takes the oldest record, if it is this one or one before.
    fn take(&mut self, up_to: u64) -> Option<Record> {
        let record = self
            .records
            .pop_front_if(|record| record.sequence <= up_to)?;
        self.bytes -= record.payload.len();
        Some(record)
    }
}

/// Follows the log until the hub fails or the task is aborted.
pub(crate) async fn follow(engine: Arc<Engine>, mut live: Subscriber) {
    loop {
        match records(&engine).await {
            Ok(records) => {
                if let Err(reason) = apply_all(&engine, records, &mut live).await {
                    tracing::debug!(%reason, "the log needs a new consumer");
                }
            }
            Err(reason) => tracing::warn!(%reason, "no consumer of the log"),
        }
        if engine.failed.lock().is_some() {
            return;
        }
        sleep(RETRY_PAUSE).await;
    }
}

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

/// Applies records until some are missing and no consumer delivers them.
async fn apply_all(engine: &Engine, records: Ordered, live: &mut Subscriber) -> Result<(), String> {
    let mut records = Some(records);
    let mut early = Early::default();
    let mut known = engine.known.subscribe();
    // The time since which a record is missing.
    let mut missing: Option<Instant> = None;
    // The time since which the leader knows less of the log than was delivered.
    let mut shorter: Option<Instant> = None;
    loop {
        if engine.failed.lock().is_some() {
            return Err("the hub has failed".to_owned());
        }
        let applied = *engine.applied.borrow();
        let is_behind = *known.borrow_and_update() > applied;
        let now = Instant::now();
        missing = is_behind.then(|| missing.unwrap_or(now));
        let patience = if records.is_some() {
            STALLED
        } else {
            LIVE_STALLED
        };
        let wake = match missing {
            Some(since) => since + patience,
            None => now + IDLE_CHECK,
        };
        tokio::select! {
            biased;
            message = live.next() => {
                let message = message.ok_or("the connection is closed")?;
                let Some(record) = Record::of_live(message) else { continue };
                if record.sequence <= applied + 1 {
                    apply(engine, &record).await?;
                    // From here on, the live records are all.
                    records = None;
                    missing = None;
                    shorter = None;
                } else if records.is_some() {
                    early.put(record);
                } else {
                    engine.name_end(record.sequence);
                    return Err(format!("record {} came after {applied}", record.sequence));
                }
            }
            message = next(&mut records) => {
                let message = message.ok_or("it has ended")?;
                let message = message.map_err(|error| error.to_string())?;
                engine.delivered.fetch_add(1, Ordering::Relaxed);
                apply(engine, &Record::of(&message)?).await?;
                while let Some(record) = early.take(engine.next()) {
                    apply(engine, &record).await?;
                    records = None;
                }
                missing = None;
                shorter = None;
            }
            _ = known.changed() => {}
            () = tokio::time::sleep_until(wake) => {
                if is_behind {
                    return Err(format!("no record after {applied}"));
                }
                match engine.last().await {
                    Ok(end) if end < applied => {
                        let since = *shorter.get_or_insert(now);
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
            }
        }
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
    let Some(applied) = apply_one(engine, record) else {
        return Ok(());
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

/// Applies a record. Returns `None` if it has no effect.
fn apply_one(engine: &Engine, record: &Record) -> Option<Applied> {
    let &Record {
        sequence,
        stored,
        ref payload,
    } = record;
    let hash = xxh3_64(payload);
    let mut replica = engine.replica.lock();
    if sequence <= replica.applied {
        return None;
    }
    if sequence != replica.applied + 1 {
        let after = replica.applied;
        drop(replica);
        // Only records before the last snapshots are removed. A hub that has applied less can't go on.
        engine.fail(format!(
            "the records after {after} and before {sequence} of the JetStream stream {} are missing: they were \
             removed after a snapshot while this hub was behind, or lost. Start the hub again, to read the snapshot",
            engine.cluster.name
        ));
        return None;
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
            return None;
        }
        Err(error @ NoPart::Version(_)) => {
            drop(replica);
            engine.fail(format!("record {sequence}: {error}"));
            return None;
        }
    };
    engine.records.put(sequence, part.data.clone());
    let applied = replica.apply(sequence, hash, part, stored);
    drop(replica);
    match applied {
        Ok(applied) => {
            engine.applied.send_replace(sequence);
            engine.contact.hear();
            Some(applied)
        }
        Err(error) => {
            engine.fail(format!("record {sequence} can't be read: {error}"));
            None
        }
    }
}
