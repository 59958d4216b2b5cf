//! The task that applies the log's records as they are stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::message::Message;
use bytes::Bytes;
use futures_util::StreamExt as _;
use headwater_log::Timestamp;
use tokio::time::{Instant, sleep, timeout};
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::{Engine, Settled};
use crate::format::part::{NoPart, Part};
use crate::limits::{AHEAD, BEHIND, IDLE_CHECK, RETRY_PAUSE, STALLED};
use crate::replica::Applied;

/// Follows the log until the hub fails or the task is aborted.
pub(crate) async fn follow(engine: Arc<Engine>) {
    loop {
        match records(&engine).await {
            Ok(mut records) => {
                if let Err(reason) = apply_all(&engine, &mut records).await {
                    tracing::warn!(%reason, "the log's consumer is replaced");
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
    let start_sequence = *engine.applied.borrow() + 1;
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

/// Applies records until the consumer fails or stalls.
async fn apply_all(engine: &Engine, records: &mut Ordered) -> Result<(), String> {
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
        let wake = match missing {
            Some(since) => since + STALLED,
            None => now + IDLE_CHECK,
        };
        tokio::select! {
            biased;
            message = records.next() => {
                let message = message.ok_or("it has ended")?;
                let message = message.map_err(|error| error.to_string())?;
                engine.delivered.fetch_add(1, Ordering::Relaxed);
                apply(engine, &message).await?;
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

/// Applies a record, and hands the outcome to the writer if it is this hub's.
async fn apply(engine: &Engine, message: &Message) -> Result<(), String> {
    let Some(applied) = apply_one(engine, message)? else {
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
fn apply_one(engine: &Engine, message: &Message) -> Result<Option<Applied>, String> {
    let info = message.info().map_err(|error| error.to_string())?;
    let sequence = info.stream_sequence;
    let millis = info.published.unix_timestamp_nanos() / 1_000_000;
    let stored = Timestamp(u64::try_from(millis).unwrap_or(0));
    let hash = xxh3_64(&message.payload);
    let mut replica = engine.replica.lock();
    if sequence <= replica.applied {
        return Ok(None);
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
        return Ok(None);
    }
    // The message may be a small part of a large buffer.
    let part = match Part::decode(Bytes::copy_from_slice(&message.payload)) {
        Ok(part) => part,
        Err(NoPart::Foreign) => {
            tracing::warn!(
                sequence,
                "a message in the log isn't a record, and is ignored"
            );
            replica.skip(sequence, hash, message.payload.len());
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
