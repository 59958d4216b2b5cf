//! The task that writes operations to the log.
//!
//! All operations that wait are one batch. While it is on its way, the next ones gather. A batch
//! whose acknowledgement is lost is sent again under its number: every hub applies one copy and
//! ignores the others, however late they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use headwater_log::{Error, Identity};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::engine::{Engine, Settled};
use crate::format::batch::{Encoder, Op};
use crate::format::part::Part;
use crate::limits::{
    ACK_TIMEOUT, BATCH_BYTES, BATCH_OPS, FULL_CHECK, FULL_PATIENCE, LARGEST_BATCH, PARTS,
    RETRY_PAUSE, WRITE_DEADLINE,
};
use crate::replica::{Replies, Reply};

/// An operation that waits for the log.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) op: Op,
    pub(crate) reply: oneshot::Sender<Result<Reply, Error>>,
    pub(crate) room: OwnedSemaphorePermit,
    /// The time at which it fails.
    pub(crate) deadline: Instant,
}

/// An operation that was sent.
struct Sent {
    reply: oneshot::Sender<Result<Reply, Error>>,
    _room: OwnedSemaphorePermit,
}

/// Writes batches until the queue is closed.
pub(crate) async fn write(engine: Arc<Engine>, mut queue: mpsc::UnboundedReceiver<Queued>) {
    let mut session = Session::new();
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(queued) => queued,
            None => match wait(&engine, &mut session, &mut queue).await {
                Some(queued) => queued,
                None => return,
            },
        };
        // The first one has waited longest.
        let deadline = first.deadline;
        let mut encoder = Encoder::new(engine.head());
        let mut sent = Vec::new();
        let mut take = |queued: Queued| {
            encoder.put(&queued.op);
            sent.push(Sent {
                reply: queued.reply,
                _room: queued.room,
            });
            encoder.len() < BATCH_BYTES && sent.len() < BATCH_OPS
        };
        let mut has_room = take(first);
        while has_room && let Ok(queued) = queue.try_recv() {
            // A large operation has a batch of its own, as only whole batches are sent again.
            if is_large(&queued.op) {
                next = Some(queued);
                break;
            }
            has_room = take(queued);
        }
        let batch = encoder.finish();
        match session.send(&engine, batch, deadline).await {
            Ok(replies) => {
                for (sent, reply) in sent.into_iter().zip(replies) {
                    // The caller may have given up.
                    let _ = sent.reply.send(reply);
                }
            }
            Err(error) => {
                for sent in sent {
                    let _ = sent.reply.send(Err(error.error()));
                }
            }
        }
    }
}

/// Waits for an operation. A cluster that was full is tried meanwhile, as a hub that isn't ready may get no requests
/// which would show that there is space again.
async fn wait(
    engine: &Engine,
    session: &mut Session,
    queue: &mut mpsc::UnboundedReceiver<Queued>,
) -> Option<Queued> {
    while engine.full.load(Ordering::Relaxed) {
        match timeout(FULL_CHECK, queue.recv()).await {
            Ok(queued) => return queued,
            Err(_) => {
                let empty = Encoder::new(engine.head()).finish();
                // An error leaves it full.
                let _ = session
                    .send(engine, empty, Instant::now() + WRITE_DEADLINE)
                    .await;
            }
        }
    }
    queue.recv().await
}

fn is_large(op: &Op) -> bool {
    match op {
        Op::Append(_, append) => append.bytes() >= BATCH_BYTES,
        Op::Create(_, create) => {
            create.messages.iter().map(Bytes::len).sum::<usize>() >= BATCH_BYTES
        }
        Op::Restore(_, restore) => restore.bytes() >= BATCH_BYTES,
        _ => false,
    }
}

/// The reason for which a batch has no replies.
enum Unsent {
    /// It isn't in the log, and won't be.
    Refused(String),
    Full {
        unknown: bool,
    },
    TooLarge,
    /// The log has ignored it, and ignores every copy of it, as its session is forgotten.
    Forgotten,
    Unknown(String),
}

impl Unsent {
    fn error(&self) -> Error {
        match self {
            Self::Refused(reason) => Error::unavailable(reason.clone()),
            Self::Full { unknown } => Error::full(*unknown),
            Self::TooLarge => Error::storage("the operation is too large for one batch"),
            Self::Forgotten => Error::unavailable("the log forgets the sessions of this hub"),
            Self::Unknown(reason) => Error::unknown(reason.clone()),
        }
    }
}

/// The numbering of batches.
struct Session {
    id: u64,
    /// The number of the last batch.
    last: u64,
}

impl Session {
    fn new() -> Self {
        Self {
            id: Identity::random().number(),
            last: 0,
        }
    }

    /// Sends a batch, and returns the replies once it is in the log.
    ///
    /// If the log has forgotten the session, for example because no batch was written for a day, it
    /// has not applied the batch. The batch is sent again in a new session.
    async fn send(
        &mut self,
        engine: &Engine,
        batch: Bytes,
        deadline: Instant,
    ) -> Result<Replies, Unsent> {
        loop {
            match self.send_in_session(engine, &batch, deadline).await {
                Err(Unsent::Forgotten) if Instant::now() < deadline => {
                    tracing::debug!("the log has forgotten the session, and a new one starts");
                }
                sent => return sent,
            }
        }
    }

    async fn send_in_session(
        &mut self,
        engine: &Engine,
        batch: &Bytes,
        deadline: Instant,
    ) -> Result<Replies, Unsent> {
        if self.last == 0 {
            // The first batch of a session has no operations. If the log has forgotten a session,
            // it ignores all its batches, so that none is applied twice.
            let opened = Encoder::new(engine.head()).finish();
            let opened = self.deliver(engine, opened, deadline).await;
            if let Err(failure) = opened {
                *self = Self::new();
                // Nothing of the batch was sent.
                return Err(match failure {
                    Unsent::Unknown(reason) => Unsent::Refused(reason),
                    Unsent::Full { .. } => Unsent::Full { unknown: false },
                    other => other,
                });
            }
        }
        self.deliver(engine, batch.clone(), deadline).await
    }

    async fn deliver(
        &mut self,
        engine: &Engine,
        batch: Bytes,
        deadline: Instant,
    ) -> Result<Replies, Unsent> {
        let size = engine.cluster.part_bytes;
        if batch.len() > LARGEST_BATCH || batch.len().div_ceil(size) > PARTS {
            return Err(Unsent::TooLarge);
        }
        self.last += 1;
        let key = (self.id, self.last);
        let (sender, settled) = oneshot::channel();
        engine.pending.lock().insert(key, sender);
        let delivered = self.attempts(engine, &batch, settled, deadline).await;
        engine.pending.lock().remove(&key);
        let full = &engine.full;
        match &delivered {
            Ok(_) | Err(Unsent::Forgotten) => {
                if full.swap(false, Ordering::Relaxed) {
                    tracing::info!("the cluster has space again");
                }
            }
            Err(Unsent::Full { .. }) => {
                if !full.swap(true, Ordering::Relaxed) {
                    tracing::warn!("the cluster is full, and refuses appends");
                }
            }
            // It stays full until it has stored something: servers at their limit elect no leader.
            Err(_) => {}
        }
        delivered
    }

    async fn attempts(
        &mut self,
        engine: &Engine,
        batch: &Bytes,
        mut settled: oneshot::Receiver<Settled>,
        deadline: Instant,
    ) -> Result<Replies, Unsent> {
        // `true` once a copy may be on its way to the log.
        let mut is_out = false;
        let was_full = engine.full.load(Ordering::Relaxed);
        // The time since which the cluster counts as full.
        let mut full = was_full.then(Instant::now);
        loop {
            let attempt = self.attempt(engine, batch);
            let failure = tokio::select! {
                biased;
                settled = &mut settled => return self.settle(engine, settled),
                sent = attempt => match sent {
                    // It is in the log, and on its way to here.
                    Ok(()) => {
                        is_out = true;
                        let pause = Instant::now() + ACK_TIMEOUT;
                        match timeout_at(pause.min(deadline), &mut settled).await {
                            Ok(settled) => return self.settle(engine, settled),
                            Err(_) => "the cluster doesn't deliver it".to_owned(),
                        }
                    }
                    Err(failure) => match failure {
                        Failure::Full { unknown } if unknown || (was_full && !is_out) => {
                            return Err(Unsent::Full { unknown });
                        }
                        Failure::Refused(reason) if !is_out => return Err(Unsent::Refused(reason)),
                        // A leader without space steps down, and another one may have some.
                        Failure::Full { .. } => {
                            full.get_or_insert_with(Instant::now);
                            "the cluster's storage is full".to_owned()
                        }
                        Failure::Refused(reason) => reason,
                        Failure::Lost(reason) => {
                            is_out = true;
                            reason
                        }
                        Failure::NotSent(reason) => reason,
                    },
                },
            };
            tracing::debug!(%failure, "a batch is sent again");
            let until = match full {
                Some(since) if !is_out => deadline.min(since + FULL_PATIENCE),
                _ => deadline,
            };
            if engine.failed.lock().is_some() || Instant::now() >= until {
                return Err(match (full, is_out) {
                    (Some(_), unknown) => Unsent::Full { unknown },
                    (None, true) => Unsent::Unknown(failure),
                    (None, false) => Unsent::Refused(failure),
                });
            }
            tokio::select! {
                settled = &mut settled => return self.settle(engine, settled),
                () = sleep(RETRY_PAUSE) => {}
            }
        }
    }

    fn settle(
        &mut self,
        engine: &Engine,
        settled: Result<Settled, oneshot::error::RecvError>,
    ) -> Result<Replies, Unsent> {
        match settled {
            Ok(Settled::Applied(replies)) => Ok(replies),
            Ok(Settled::Forgotten) => {
                *self = Self::new();
                Err(Unsent::Forgotten)
            }
            Err(_) => {
                let reason = engine.failed.lock().clone();
                let behind = "this hub was behind, and has read a snapshot, which has no outcomes";
                let reason =
                    reason.unwrap_or_else(|| match engine.closed.load(Ordering::Acquire) {
                        true => "the log is closed".to_owned(),
                        false => behind.to_owned(),
                    });
                Err(Unsent::Unknown(reason))
            }
        }
    }

    /// Sends all parts of a batch once, and awaits their acknowledgements.
    async fn attempt(&self, engine: &Engine, batch: &Bytes) -> Result<(), Failure> {
        let size = engine.cluster.part_bytes;
        let of = batch.len().div_ceil(size).max(1);
        let applied = *engine.applied.borrow();
        let mut acks: Vec<PublishAckFuture> = Vec::with_capacity(of);
        for index in 0..of {
            let start = index * size;
            let part = Part {
                session: self.id,
                number: self.last,
                index: u16::try_from(index).unwrap_or(u16::MAX),
                of: u16::try_from(of).unwrap_or(u16::MAX),
                data: batch.slice(start..batch.len().min(start + size)),
            };
            let subject = engine.cluster.subject.clone();
            let publish = engine
                .cluster
                .context
                .publish(subject, part.encode().into());
            match publish.await {
                Ok(ack) => acks.push(ack),
                Err(error) if index == 0 => return Err(Failure::of(&error)),
                Err(error) => return Err(Failure::Lost(error.to_string())),
            }
        }
        let mut outcome = Ok(());
        for ack in acks {
            match ack.await {
                Ok(ack) if ack.sequence <= applied => engine.fail(format!(
                    "the cluster has lost records: it gave a new one the number {}, and {applied} was delivered",
                    ack.sequence
                )),
                Ok(ack) => engine.name_end(ack.sequence),
                // Without one of its parts, a batch does nothing.
                Err(error) => outcome = outcome.and(Err(Failure::of(&error))),
            }
        }
        outcome
    }
}

/// The reason for which an attempt wasn't acknowledged.
enum Failure {
    Full {
        unknown: bool,
    },
    /// The cluster has refused it, and will refuse it again.
    Refused(String),
    /// It didn't reach the cluster, or the cluster had no leader to store it.
    NotSent(String),
    /// It may or may not be stored.
    Lost(String),
}

impl Failure {
    fn of(error: &PublishError) -> Self {
        let source = std::error::Error::source(error);
        let refusal = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
        if let Some(refusal) = refusal {
            return match refusal.error_code() {
                // Other replicas may have stored it.
                ErrorCode::STREAM_STORE_FAILED => Self::Full { unknown: true },
                ErrorCode::STORAGE_RESOURCES_EXCEEDED
                | ErrorCode::MEMORY_RESOURCES_EXCEEDED
                | ErrorCode::INSUFFICIENT_RESOURCES
                | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => Self::Full { unknown: false },
                _ => Self::Lost(refusal.to_string()),
            };
        }
        match error.kind() {
            PublishErrorKind::StreamNotFound => {
                Self::NotSent("the JetStream stream has no leader, or was deleted".to_owned())
            }
            PublishErrorKind::MaxPayloadExceeded => Self::Refused(error.to_string()),
            PublishErrorKind::MaxAckPending => Self::NotSent(error.to_string()),
            _ => Self::Lost(error.to_string()),
        }
    }
}
