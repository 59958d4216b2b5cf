//! Sends what a writer was given, and keeps the account.
//!
//! Invariants: appends have numbers without a gap, in the order of their messages. Until the first is
//! acknowledged it is the only one on the way: it says who writes, and in which epoch. What is
//! acknowledged is a run from the first message on: an append counts when all before it do.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError,
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
    earlier::{Compared, Earlier, Published, Shape},
    epoch_after,
    gather::{Body, Gather, cost},
};
use crate::{
    error::{Error, Kind},
    hub::{Info, Stream, call::Reply, names},
    plan::Plan,
};

/// What a writer asks of its worker.
pub(super) enum Command {
    Message(Bytes),
    Flush(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// Who appends to what: the same for all requests of a writer.
struct Life {
    stream: Stream,
    producer: String,
    epoch: AtomicU64,
    takes_over: bool,
    /// What the first append continues.
    continues: Option<Published>,
    content_type: String,
}

/// How far the appends of a writer are.
#[derive(Clone, Copy, Debug)]
struct Settled {
    /// All appends below are acknowledged.
    below: u64,
    /// No append above can be stored any more.
    failed: u64,
}

/// An append, or a message before it is one, that couldn't be stored.
struct Failed {
    seq: u64,
    error: Error,
}

/// One append: sent as often as it must be.
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
    /// What was published before and is given again: messages are compared with it, and not sent.
    earlier: Option<Earlier>,
    /// The stream was closed before the writer was opened.
    is_closed: bool,

    /// The number of the next append.
    next_seq: u64,
    /// The first append is acknowledged.
    confirmed: bool,
    on_the_way: JoinSet<Result<(u64, Stored), Failed>>,
    /// In order; the first is the one that [`settled`](Self::settled) says.
    outstanding: VecDeque<Outstanding>,
    settled: watch::Sender<Settled>,

    /// Messages that were taken.
    taken: u64,
    /// Who waits for how many of them to be acknowledged.
    flushes: VecDeque<(u64, oneshot::Sender<()>)>,
    close: Option<Close>,
    /// The writer may still give something.
    is_open: bool,
    /// When the messages that wait have waited long enough.
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

    /// Makes the worker use these connections.
    pub(crate) fn over(mut self, http: reqwest::Client) -> Self {
        if let Some(life) = Arc::get_mut(&mut self.life) {
            life.stream.http = Ok(http);
        }
        self
    }

    /// Works until the writer is gone and all that it gave is acknowledged, or something failed.
    pub(crate) async fn run(mut self) {
        if let Err(failed) = self.work().await {
            let error = self.give_up(failed).await;
            let place = self.life.stream.plan(Method::POST).place();
            let mut kept = self
                .shared
                .error
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *kept = Some(error.at(&place));
        }
        // Whoever waits for room or for an acknowledgement looks for the error then.
        self.commands.close();
        self.shared.room.close();
    }

    /// Waits for what is on the way before the append that couldn't be stored; what comes behind it can't be stored either.
    /// So it is known how much is, and which message is the first that isn't.
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
        // Of a request, the hub may say which of its messages it is.
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
            // While all requests are on the way there is nothing to wake up for: one that comes back does.
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

    /// Takes a command, and those that are there already.
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

    /// An error where somebody waits for messages of which only a part of those that were published before are given.
    fn unfinished(&self) -> Result<(), Error> {
        match &self.earlier {
            Some(earlier) if self.taken > 0 => Err(earlier.unfinished().with_message(self.taken)),
            _ => Ok(()),
        }
    }

    /// Takes a message off that may have been published before.
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

    /// Sends what may be sent now.
    fn send_ready(&mut self) {
        if self.is_closed
            && let Some(close) = self.close.as_mut()
            && self.gather.is_empty()
        {
            // All that was given is there, and so is the end.
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

    /// Whether another request may be on the way now. None goes so far ahead of one that is still without an answer that the
    /// hub could not tell any more whether that is a repetition.
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

    /// An append is stored.
    fn settle(&mut self, seq: u64, stored: &Stored) {
        self.confirmed = true;
        let first = self.settled.borrow().below;
        let place = usize::try_from(seq - first).unwrap_or(usize::MAX);
        if let Some(outstanding) = self.outstanding.get_mut(place) {
            outstanding.is_done = true;
        }
        if let Some(next) = &stored.next {
            let mut kept = self
                .shared
                .next
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // Answers may overtake one another; the end only grows.
            if kept.as_ref().is_none_or(|kept| kept < next) {
                *kept = Some(next.clone());
            }
        }
        self.count();
    }

    /// Counts what is acknowledged without a gap.
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
            // Who asked may have gone.
            let _ = done.send(());
        }
    }

    /// Whether there is nothing more to do.
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
    /// Sends an append until it is stored, or can't be any more.
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
            // One before it failed.
            _ = ahead.wait_for(|settled| settled.failed < seq) => Error::new(Kind::WriterOver),
        };
        Err(Failed { seq, error: failed })
    }

    async fn attempt(
        &self,
        append: &Append,
        mut settled: watch::Receiver<Settled>,
    ) -> Result<Stored, Error> {
        let backoff = self.stream.settings.backoff.clone();
        let most = self.stream.settings.max_attempts.max(1);
        let mut rng = fastrand::Rng::new();
        let mut failures = 0;
        // Whether it can't have been stored by what was sent so far.
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
                    // Those before it are on the way; if one of them fails, all is over.
                    let wanted = append.seq;
                    let _ = settled.wait_for(|settled| settled.below >= wanted).await;
                    failures = 0;
                }
                Verdict::Retry { after, error } => {
                    failures += 1;
                    if failures >= most {
                        return Err(error.after_attempts(failures));
                    }
                    is_unsent = false;
                    let delay = backoff.delay(None, failures - 1, &mut rng);
                    sleep(
                        delay.max(
                            after
                                .unwrap_or_default()
                                .min(crate::session::Backoff::MAX_ASKED),
                        ),
                    )
                    .await;
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

/// Sends a request that changes nothing when it is sent again: more than once if the client says so.
pub(super) async fn patiently(stream: &Stream, plan: &Plan) -> Result<Reply, Error> {
    let settings = &plan.settings;
    let most = match settings.retry_first_connect {
        true => settings.max_attempts.max(1),
        false => 1,
    };
    let mut rng = fastrand::Rng::new();
    let mut failures = 0;
    loop {
        let reply = stream.send(plan).await;
        failures += 1;
        let (is_passing, after) = match &reply {
            Ok(reply) => (
                reply.status.is_server_error()
                    || reply.status == http::StatusCode::TOO_MANY_REQUESTS,
                reply.retry_after(),
            ),
            Err(error) => (error.is_passing(), None),
        };
        if !is_passing || failures >= most {
            return reply.map_err(|error| error.after_attempts(failures));
        }
        let delay = settings.backoff.delay(None, failures - 1, &mut rng);
        sleep(delay.max(after.unwrap_or_default())).await;
    }
}

#[cfg(test)]
mod tests;
