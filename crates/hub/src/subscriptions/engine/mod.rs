//! The engine: one task that does all work in turns.

mod catch_up;
mod commands;
mod waking;

use std::sync::Arc;
use std::time::Duration;

use headwater_log::{Clock, Log, Monotonic, OrderFollower, Position, StreamName, Timestamp};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::delivery::Delivered;
use super::journal::{Journal, Unreadable};
use super::keys::Keys;
use super::limits::DELIVERIES;
use super::options::SubscriptionOptions;
use super::refusal::Refusal;
use super::response_bodies::{Claimed, SubscriptionView};
use super::state::{Ack, Config, Link, Registry};
use super::webhooks::{Caller, Url};
use crate::ownership::Lease;

/// Maximum number of requests in one turn.
const TURN: usize = 256;
/// Time that appends are collected before they are read, unless a request arrives.
const GATHER: Duration = Duration::from_millis(2);
/// Wait after the log could not be read or written.
const REST: Duration = Duration::from_secs(1);

/// The sender of a command's response.
pub(super) type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// A request to the engine.
pub(super) enum Command {
    Put {
        id: Arc<str>,
        config: Box<Config>,
        base: String,
        answer: Answer<bool>,
    },
    /// Returns a subscription's configuration.
    Config {
        id: Arc<str>,
        answer: Answer<Arc<Config>>,
    },
    /// Returns a subscription's streams by name, also those that were added later.
    Named {
        id: Arc<str>,
        answer: Answer<Vec<StreamName>>,
    },
    Show {
        id: Arc<str>,
        base: String,
        part: Part,
        answer: Answer<SubscriptionView>,
    },
    Remove {
        id: Arc<str>,
        answer: Answer<()>,
    },
    AddStreams {
        id: Arc<str>,
        streams: Vec<StreamName>,
        answer: Answer<()>,
    },
    RemoveStream {
        id: Arc<str>,
        stream: StreamName,
        answer: Answer<()>,
    },
    Claim {
        id: Arc<str>,
        worker: String,
        answer: Answer<Claimed>,
    },
    /// From a webhook's handler or a worker that claimed.
    Ack {
        id: Arc<str>,
        token: String,
        ack: Ack,
        webhook: bool,
        answer: Answer<bool>,
    },
    Release {
        id: Arc<str>,
        token: String,
        wake_id: String,
        generation: u64,
        answer: Answer<()>,
    },
    #[cfg_attr(
        not(any(feature = "relay", feature = "webhooks")),
        expect(dead_code, reason = "relays and webhooks use the keys")
    )]
    Keys {
        answer: Answer<Arc<Keys>>,
    },
}

/// The part of a subscription's streams that is shown.
pub(super) struct Part {
    /// The streams after this name,
    pub(super) after: Option<StreamName>,
    /// and up to this one,
    pub(super) until: Option<StreamName>,
    /// but at most this many.
    pub(super) limit: usize,
    /// The streams in that range that match the pattern, as if all of each were processed.
    pub(super) matching: Vec<(StreamName, Link)>,
}

/// A response that waits until its content is stored, or for the error.
type Held = Box<dyn FnOnce(Result<(), Refusal>) + Send + Sync>;

/// A wake that is issued and not sent yet.
struct Issued {
    id: Arc<str>,
    wake_id: String,
    body: Vec<u8>,
    /// A webhook, or the stream to write to.
    to: To,
}

enum To {
    Webhook { url: Url, timeout: Duration },
    Stream(StreamName),
}

/// A finished webhook call: its wake and its result.
type Call = (Arc<str>, String, Delivered);

/// An event that starts a turn.
enum Event {
    Command(Command),
    Called(Call),
    /// Time has passed, or messages were appended.
    Turn,
    /// The hub or the log is gone.
    End,
}

pub(super) struct Engine {
    log: Arc<dyn Log>,
    options: SubscriptionOptions,
    commands: mpsc::Receiver<Command>,
    /// The right to write the journal and to send wakes. `None`: no other hub uses the log.
    lease: Option<Lease>,
    order: OrderFollower,
    clock: Monotonic,
    registry: Registry,
    /// The position up to which the log's order was read.
    seen: Position,
    /// Number of cursors that this turn examined.
    cursors: usize,
    /// Number of pieces of work so far.
    pieces: usize,
    /// `true` if work is left for the next turn.
    backlog: bool,
    caller: Caller,
    calls: JoinSet<Call>,
    issued: Vec<Issued>,
    held: Vec<Held>,
    /// Until this time nothing new is started, as the log failed.
    resting: Option<Instant>,
}

impl Engine {
    pub(super) fn new(
        log: Arc<dyn Log>,
        options: SubscriptionOptions,
        commands: mpsc::Receiver<Command>,
        lease: Option<Lease>,
    ) -> Self {
        let mut order = log.follow_order();
        let registry = Registry::with(options.bounds.clone());
        Self {
            seen: order.head(),
            caller: Caller::new(options.loopback_webhooks),
            log,
            options,
            commands,
            lease,
            order,
            clock: Monotonic::new(Clock::system()),
            registry,
            cursors: 0,
            pieces: 0,
            backlog: false,
            calls: JoinSet::new(),
            issued: Vec::new(),
            held: Vec::new(),
            resting: None,
        }
    }

    /// Runs until all senders of commands are gone, or the log is closed. This aborts calls in
    /// progress. Their wakes are stored, and are issued again when their leases have ended.
    pub(super) async fn run(mut self) {
        let Some(mut journal) = self.open().await else {
            return;
        };
        let mut event = Event::Turn;
        while self.turn(event, &mut journal).await {
            event = self.event().await;
        }
    }

    /// Runs one turn. Returns `false` if the engine has to end.
    async fn turn(&mut self, event: Event, journal: &mut Journal) -> bool {
        if self.resting.is_some_and(|until| until <= Instant::now()) {
            self.resting = None;
        }
        self.catch_up().await;
        match event {
            Event::Command(command) => self.command(command, journal).await,
            Event::Called(call) => self.called(&call),
            Event::Turn => {}
            Event::End => return false,
        }
        for _ in 1..TURN {
            let Ok(command) = self.commands.try_recv() else {
                break;
            };
            self.command(command, journal).await;
        }
        while let Some(Ok(call)) = self.calls.try_join_next() {
            self.called(&call);
        }
        self.registry.expire(self.now());
        self.catch_up_unblocked().await;
        self.retire().await;
        if self.resting.is_none() {
            self.issue_due(journal).await;
        }
        self.store(journal).await;
        true
    }

    /// Reads the journal, with retries. Requests are refused until it succeeds. Returns `None` if the log
    /// is closed, or another hub has taken over.
    async fn open(&mut self) -> Option<Journal> {
        let term = self.lease.as_ref().map(Lease::term);
        let mut claimed = None;
        loop {
            let loaded = async {
                let journal = match &mut claimed {
                    Some(journal) => journal,
                    None => claimed.insert(Journal::claim(Arc::clone(&self.log), term).await?),
                };
                journal.load(&mut self.registry).await
            };
            match loaded.await {
                Ok(seen) => {
                    self.seen = seen.unwrap_or(self.seen).min(self.order.head());
                    self.registry.saw(self.seen);
                    self.registry.limit_waits(self.clock.now());
                    if self.refresh_all().await.is_ok() {
                        self.repeat_events();
                        return claimed;
                    }
                }
                Err(Unreadable::Fenced) => return None,
                Err(Unreadable::Log(error)) if error.is_closed() => return None,
                Err(Unreadable::Log(error)) => {
                    tracing::error!(%error, "the journal of the subscriptions can't be read");
                }
                Err(Unreadable::Record(place)) => {
                    tracing::error!(place, "the journal of the subscriptions is damaged");
                }
            }
            self.registry = Registry::with(self.options.bounds.clone());
            let rested = Instant::now() + REST;
            while let Ok(command) = tokio::time::timeout_at(rested, self.commands.recv()).await {
                command?.refuse(Refusal::Log);
            }
        }
    }

    async fn event(&mut self) -> Event {
        let webhooks = self.calls.len() < DELIVERIES;
        let now = self.clock.now();
        let due = self
            .registry
            .next_due(webhooks)
            .map(|at| Duration::from_millis(at.0.saturating_sub(now.0)));
        let rest = self
            .resting
            .map(|until| until.saturating_duration_since(Instant::now()));
        // During a rest, due work can't be done.
        let due = if self.backlog {
            Some(Duration::ZERO)
        } else {
            due
        };
        let wait = rest.or(due).unwrap_or(Duration::MAX);
        let follows = !self.registry.is_empty() && self.resting.is_none();
        let gathered = Instant::now() + GATHER;
        let (order, seen) = (&mut self.order, self.seen);
        tokio::select! {
            biased;
            command = self.commands.recv() => command.map_or(Event::End, Event::Command),
            Some(Ok(call)) = self.calls.join_next() => Event::Called(call),
            () = sleep(wait) => Event::Turn,
            head = async {
                sleep_until(gathered).await;
                order.past(seen).await
            }, if follows => head.map_or(Event::End, |_| Event::Turn),
        }
    }

    /// Stores changes, then sends responses and wakes.
    async fn store(&mut self, journal: &mut Journal) {
        let dirty = self.registry.take_dirty();
        let stored = journal.write(&self.registry, &dirty, self.seen).await;
        match stored {
            Ok(true) => {
                // Messages that were published before the journal's records precede them in the
                // order.
                let head = self.order.head();
                self.registry.settle(head);
            }
            Ok(false) => {}
            Err(_) => {
                self.registry.dirty().merge(dirty);
                self.rest();
            }
        }
        let stored = stored.map(drop);
        for answer in self.held.drain(..) {
            answer(stored.clone());
        }
        if stored.is_ok() {
            self.send_issued(journal).await;
        }
    }

    /// Starts nothing new for a while, as the log fails.
    fn rest(&mut self) {
        self.resting = Some(Instant::now() + REST);
    }

    /// Returns the time for leases and retries. It doesn't follow jumps of the clock.
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the time for what others compare with their clocks.
    fn wall_time(&self) -> Timestamp {
        self.clock.clock().now()
    }

    /// Returns `true` if wakes may be sent: no other hub can do so now.
    fn may_send(&self) -> bool {
        self.lease.as_ref().is_none_or(Lease::is_valid)
    }

    /// Sends a response when its content is stored.
    fn hold<T: Send + Sync + 'static>(&mut self, answer: Answer<T>, with: Result<T, Refusal>) {
        self.held.push(Box::new(move |stored| {
            // The client may be gone.
            let _ = answer.send(stored.and(with));
        }));
    }
}

#[cfg(test)]
mod tests;
