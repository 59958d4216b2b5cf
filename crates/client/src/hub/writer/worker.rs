//! Sends a writer's messages and tracks their acknowledgements.
//!
//! Invariants: appends have consecutive sequences, in the order of their messages. Until the first
//! append is acknowledged it is the only one in flight, because it establishes the producer and its
//! epoch. Acknowledged messages form a run without a gap from the first: an append counts once all
//! earlier ones count.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Method;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    MAX_IN_FLIGHT, Producer, ROOM, Shared, Writer, WriterOptions,
    answer::{Sent, Stored, Verdict, judge},
    batcher::{Body, Gather, cost},
    epoch_after,
    published::{Compared, Earlier, Published, Shape},
};
use crate::{
    error::{Error, Kind},
    hub::{Info, Stream, call::Reply, names},
};

/// A command from a writer to its worker.
pub(super) enum Command {
    Message(Bytes),
    Flush(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// The identity of a writer and its stream: the same for all its requests.
struct Life {
    stream: Stream,
    producer: String,
    epoch: AtomicU64,
    takes_over: bool,
    /// The published messages that the first append continues.
    continues: Option<Published>,
    content_type: String,
}

/// The progress of a writer's appends.
#[derive(Clone, Copy, Debug)]
struct Settled {
    /// All appends below this sequence are acknowledged.
    below: u64,
    /// No append above this sequence can be stored any more.
    failed: u64,
}

/// An append, or a message not yet in one, that couldn't be stored.
struct Failed {
    seq: u64,
    error: Error,
}

/// One append, which may be sent repeatedly.
struct Append {
    seq: u64,
    body: Bytes,
    close: bool,
}

/// An append whose messages don't count as acknowledged yet.
struct Outstanding {
    messages: u64,
    cost: usize,
    is_done: bool,
}

pub(crate) struct Worker {
    life: Arc<Life>,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    gather: Gather,
    max_in_flight: usize,
    linger: Duration,
    /// The comparison with published messages. Messages are compared while it is set, and not sent.
    earlier: Option<Earlier>,
    /// `true` if the stream was closed before the writer was opened.
    is_closed: bool,

    /// The sequence of the next append.
    next_seq: u64,
    /// `true` once the first append is acknowledged.
    confirmed: bool,
    on_the_way: JoinSet<Result<(u64, Stored), Failed>>,
    /// In order of sequence. The first entry has the sequence [`settled.below`](Settled::below).
    outstanding: VecDeque<Outstanding>,
    settled: watch::Sender<Settled>,

    /// The number of messages that were accepted.
    taken: u64,
    /// Waiting flushes, each with the number of acknowledged messages for which it waits.
    flushes: VecDeque<(u64, oneshot::Sender<()>)>,
    close: Option<Close>,
    /// `true` while the writer can still send commands.
    is_open: bool,
    /// The end of the linger time of the waiting messages.
    due: Option<Instant>,
}

struct Close {
    done: oneshot::Sender<()>,
    is_sent: bool,
}

impl Worker {
    pub(super) fn new(
        options: &WriterOptions,
        info: &Info,
        published: Option<Published>,
    ) -> (Writer, Self) {
        let (sender, commands) = mpsc::unbounded_channel();
        let (producer, epoch) = options.identity(published);
        let shape = Shape::of(&info.content_type);
        let shared = Arc::new(Shared {
            acknowledged: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            next: None.into(),
            error: None.into(),
            room: Semaphore::new(ROOM),
            capacity: ROOM,
        });
        let json = info.is_json();
        let writer = Writer {
            commands: sender,
            shared: Arc::clone(&shared),
            json,
            content_type: info.content_type.clone(),
            place: options.stream.plan(Method::POST).place(),
        };
        let life = Life {
            stream: options.stream.clone(),
            producer,
            epoch: AtomicU64::new(epoch),
            takes_over: matches!(options.producer, Producer::Named(_)),
            continues: published,
            content_type: info.content_type.clone(),
        };
        let worker = Self {
            life: Arc::new(life),
            shared,
            commands,
            gather: Gather::new(json, options.max_batch_bytes),
            max_in_flight: options.max_in_flight,
            linger: options.linger,
            earlier: published.and_then(|published| Earlier::new(published, shape)),
            is_closed: info.closed,
            next_seq: 0,
            confirmed: false,
            on_the_way: JoinSet::new(),
            outstanding: VecDeque::new(),
            settled: watch::Sender::new(Settled {
                below: 0,
                failed: u64::MAX,
            }),
            taken: 0,
            flushes: VecDeque::new(),
            close: None,
            is_open: true,
            due: None,
        };
        (writer, worker)
    }

    /// Replaces the worker's HTTP client.
    pub(crate) fn over(mut self, http: reqwest::Client) -> Self {
        if let Some(life) = Arc::get_mut(&mut self.life) {
            life.stream.http = Ok(http);
        }
        self
    }

    /// Runs until the writer is dropped and all its messages are acknowledged, or until a failure.
    pub(crate) async fn run(mut self) {
        if let Err(failed) = self.work().await {
            let error = self.give_up(failed).await;
            let place = self.life.stream.plan(Method::POST).place();
            let mut kept = self.shared.error.lock();
            *kept = Some(error.at(&place));
        }
        // This wakes the tasks that wait for room or for an acknowledgement. They then read the
        // error.
        self.commands.close();
        self.shared.room.close();
    }

    /// Waits for the appends in flight before the failed one; later ones can't be stored either.
    /// The number of stored messages, and the first message that isn't stored, are then known.
    async fn give_up(&mut self, mut failed: Failed) -> Error {
        loop {
            let seq = failed.seq;
            self.settled.send_modify(|settled| settled.failed = seq);
            match self.on_the_way.join_next().await {
                Some(Ok(Ok((seq, stored)))) => self.settle(seq, &stored),
                Some(Ok(Err(earlier))) if earlier.seq < failed.seq => failed = earlier,
                Some(Ok(Err(_)) | Err(_)) => {}
                None => break,
            }
        }
        if failed.error.message_number().is_some() {
            return failed.error;
        }
        // The hub may report which message of the request it refused.
        let within = failed
            .error
            .problem()
            .and_then(|problem| problem.get("index"));
        let within = within.and_then(serde_json::Value::as_u64).unwrap_or(0);
        let before = self.shared.acknowledged.load(Ordering::Acquire);
        failed.error.with_message(before + within + 1)
    }

    async fn work(&mut self) -> Result<(), Failed> {
        loop {
            self.send_ready();
            if self.is_over() {
                return Ok(());
            }
            // While no request slot is free, there is no timer to wait for: a completed request
            // wakes the loop.
            let due = self.due.filter(|_| self.has_turn());
            let linger = async move {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(done) = self.on_the_way.join_next() => {
                    let (seq, stored) = done.unwrap_or_else(|error| {
                        let error = Error::new(Kind::WriterOver).with_source(error);
                        Err(Failed { seq: 0, error })
                    })?;
                    self.settle(seq, &stored);
                }
                command = self.commands.recv(), if self.is_open => match command {
                    Some(command) => self.take_all(command).map_err(|error| Failed {
                        seq: self.next_seq,
                        error,
                    })?,
                    None => self.is_open = false,
                },
                () = linger => {}
            }
        }
    }

    /// Processes a command, and all that are already queued.
    fn take_all(&mut self, command: Command) -> Result<(), Error> {
        self.take(command)?;
        while let Ok(command) = self.commands.try_recv() {
            self.take(command)?;
        }
        Ok(())
    }

    fn take(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Message(message) if self.earlier.is_some() => {
                self.taken += 1;
                return self.compare(&message);
            }
            Command::Message(message) => {
                if self.gather.is_empty() && !self.linger.is_zero() {
                    self.due = Instant::now().checked_add(self.linger);
                }
                self.gather.push(message);
                self.taken += 1;
            }
            Command::Flush(done) => {
                self.flushes.push_back((self.taken, done));
                self.answer_flushes();
                return self.unfinished();
            }
            Command::Close(done) => {
                self.close = Some(Close {
                    done,
                    is_sent: false,
                });
                self.is_open = false;
                return self.unfinished();
            }
        }
        Ok(())
    }

    /// Returns an error if a caller waits although it has passed only a part of the published
    /// messages.
    fn unfinished(&self) -> Result<(), Error> {
        match &self.earlier {
            Some(earlier) if self.taken > 0 => Err(earlier.unfinished().with_message(self.taken)),
            _ => Ok(()),
        }
    }

    /// Consumes a message that may have been published before.
    fn compare(&mut self, message: &Bytes) -> Result<(), Error> {
        let Some(earlier) = &mut self.earlier else {
            return Ok(());
        };
        let compared = earlier
            .compare(message)
            .map_err(|error| error.with_message(self.taken))?;
        let cost = cost(message).min(self.shared.capacity);
        self.shared.room.add_permits(cost);
        if let Compared::Same { given } = compared {
            self.earlier = None;
            self.shared.skipped.store(given, Ordering::Release);
            self.shared.acknowledged.store(given, Ordering::Release);
            self.answer_flushes();
        }
        Ok(())
    }

    /// Sends the appends that may be sent now.
    fn send_ready(&mut self) {
        if self.is_closed
            && let Some(close) = self.close.as_mut()
            && self.gather.is_empty()
        {
            // All messages are already stored, and the stream is already closed.
            close.is_sent = true;
        }
        while self.may_send() {
            let is_closing = self.close.as_ref().is_some_and(|close| !close.is_sent);
            let body = self.gather.take();
            let close = is_closing && self.gather.is_empty();
            let Body {
                bytes,
                messages,
                cost,
            } = match body {
                Some(body) => body,
                None if close => Body {
                    bytes: Bytes::new(),
                    messages: 0,
                    cost: 0,
                },
                None => return,
            };
            if let (Some(state), true) = (&mut self.close, close) {
                state.is_sent = true;
            }
            let append = Append {
                seq: self.next_seq,
                body: bytes,
                close,
            };
            self.next_seq += 1;
            self.outstanding.push_back(Outstanding {
                messages,
                cost,
                is_done: false,
            });
            let life = Arc::clone(&self.life);
            let settled = self.settled.subscribe();
            self.on_the_way.spawn(life.deliver(append, settled));
        }
        if self.gather.is_empty() {
            self.due = None;
        }
    }

    /// Returns `true` if another request may be in flight now. The limit counts from the oldest
    /// unacknowledged append, so that the hub can still tell if that one is a repetition.
    fn has_turn(&self) -> bool {
        let most = match self.confirmed {
            true => self.max_in_flight,
            false => 1,
        };
        self.on_the_way.len() < most && self.outstanding.len() < MAX_IN_FLIGHT
    }

    fn may_send(&self) -> bool {
        let is_due = self.gather.is_full()
            || !self.flushes.is_empty()
            || !self.is_open
            || self.due.is_none_or(|due| due <= Instant::now());
        self.has_turn() && is_due
    }

    /// Marks an append as stored.
    fn settle(&mut self, seq: u64, stored: &Stored) {
        self.confirmed = true;
        let first = self.settled.borrow().below;
        let place = usize::try_from(seq - first).unwrap_or(usize::MAX);
        if let Some(outstanding) = self.outstanding.get_mut(place) {
            outstanding.is_done = true;
        }
        if let Some(next) = &stored.next {
            let mut kept = self.shared.next.lock();
            // Responses may arrive out of order; the tail only grows.
            if kept.as_ref().is_none_or(|kept| kept < next) {
                *kept = Some(next.clone());
            }
        }
        self.count();
    }

    /// Counts the messages that are acknowledged without a gap.
    fn count(&mut self) {
        let before = self.settled.borrow().below;
        let mut settled = before;
        while let Some(done) = self.outstanding.pop_front_if(|append| append.is_done) {
            settled += 1;
            self.shared
                .acknowledged
                .fetch_add(done.messages, Ordering::AcqRel);
            self.shared
                .room
                .add_permits(done.cost.min(self.shared.capacity));
        }
        if settled > before {
            self.settled.send_modify(|now| now.below = settled);
            self.answer_flushes();
        }
    }

    fn answer_flushes(&mut self) {
        let acknowledged = self.shared.acknowledged.load(Ordering::Acquire);
        while let Some((_, done)) = self
            .flushes
            .pop_front_if(|(wanted, _)| *wanted <= acknowledged)
        {
            // The caller may be gone.
            let _ = done.send(());
        }
    }

    /// Returns `true` if no work is left.
    fn is_over(&mut self) -> bool {
        let is_over = !self.is_open
            && self.gather.is_empty()
            && self.outstanding.is_empty()
            && self.close.as_ref().is_none_or(|close| close.is_sent);
        if is_over && let Some(close) = self.close.take() {
            let _ = close.done.send(());
        }
        is_over
    }
}

impl Life {
    /// Sends an append until it is stored, or can't be stored any more.
    async fn deliver(
        self: Arc<Self>,
        append: Append,
        settled: watch::Receiver<Settled>,
    ) -> Result<(u64, Stored), Failed> {
        let seq = append.seq;
        let mut ahead = settled.clone();
        let failed = tokio::select! {
            biased;
            stored = self.attempt(&append, settled) => match stored {
                Ok(stored) => return Ok((seq, stored)),
                Err(error) => error,
            },
            // An earlier append failed.
            _ = ahead.wait_for(|settled| settled.failed < seq) => Error::new(Kind::WriterOver),
        };
        Err(Failed { seq, error: failed })
    }

    async fn attempt(
        &self,
        append: &Append,
        mut settled: watch::Receiver<Settled>,
    ) -> Result<Stored, Error> {
        let settings = &self.stream.settings;
        let most = settings.max_attempts.max(1);
        let mut rng = fastrand::Rng::new();
        let mut failures = 0;
        // `true` while no attempt so far can have stored it.
        let mut is_unsent = true;
        loop {
            let sent = Sent {
                epoch: self.epoch.load(Ordering::Acquire),
                seq: append.seq,
                claims: self.takes_over && append.seq == 0 && is_unsent,
            };
            let all_before = settled.borrow_and_update().below >= append.seq;
            let verdict = match self.send(append, sent.epoch).await {
                Ok(reply) => judge(&reply, sent),
                Err(error) if error.is_passing() => Verdict::Retry { after: None, error },
                Err(error) => Verdict::Fail(error),
            };
            match verdict {
                Verdict::Stored(stored) => return Ok(stored),
                Verdict::Claim { current } => {
                    self.epoch.store(epoch_after(current), Ordering::Release);
                }
                Verdict::Early { expected } if all_before => {
                    let sent = append.seq;
                    return Err(Error::new(Kind::Forgotten { expected, sent }));
                }
                Verdict::Early { .. } => {
                    // The earlier appends are in flight. If one of them fails, this append is
                    // cancelled.
                    let wanted = append.seq;
                    let _ = settled.wait_for(|settled| settled.below >= wanted).await;
                    failures = 0;
                }
                Verdict::Retry { after, error } => {
                    failures += 1;
                    if failures >= most {
                        return Err(error.after_attempts(failures));
                    }
                    // Without a token nothing was sent.
                    is_unsent &= error.is_token();
                    sleep(settings.pause(failures, after, &error, &mut rng)).await;
                }
                Verdict::Fail(error) => return Err(error),
            }
        }
    }

    async fn send(&self, append: &Append, epoch: u64) -> Result<Reply, Error> {
        let mut plan = self.stream.plan(Method::POST);
        if !append.body.is_empty() {
            plan.header("content-type", &self.content_type);
            plan.body = Some(append.body.clone());
        }
        if append.close {
            plan.header(names::CLOSED, "true");
        }
        plan.header(names::PRODUCER_ID, &self.producer);
        plan.header(names::PRODUCER_EPOCH, &epoch.to_string());
        plan.header(names::PRODUCER_SEQ, &append.seq.to_string());
        if let Some(continues) = self.continues.filter(|_| append.seq == 0) {
            plan.header(names::PRODUCER_MESSAGES, &continues.messages.to_string());
            plan.header(names::PRODUCER_DIGEST, &continues.digest.to_string());
        }
        self.stream.send(&plan.checked()?).await
    }
}

#[cfg(test)]
mod tests;
