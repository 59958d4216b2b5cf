mod outcome;

use std::{
    collections::HashMap,
    future::Future as _,
    hash::RandomState,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, Sleep, sleep_until},
};

use self::outcome::judge;
use super::{
    Answer, Call, Calls, GatherResult, Options, Timing,
    attempt::{self, Attempt, Deadline},
    cache::{self, Found, Stored},
    outbox::Outbox,
    prepared::Prepared,
    schedule::{Host, Schedule},
};
use crate::{Client, error::Error};

/// The results of calls, as they come.
///
/// It ends with `None` when the source has ended and every call has given its result. Dropping it cancels
/// all calls at once: their connections are closed, or for HTTP/2 their streams.
pub struct Gathered {
    source: Option<Calls>,
    /// Those that were taken from the source and have no result yet.
    calls: HashMap<u64, Underway>,
    /// Calls that others may share, by their hash.
    shared: HashMap<u64, u64>,
    /// How many wait for the result of another.
    following: usize,
    schedule: Schedule,
    outbox: Outbox,
    attempts: JoinSet<(u64, Attempt)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the time for all calls is over.
    deadline: Option<Instant>,
    deadline_timer: Option<Pin<Box<Sleep>>>,
    client: Client,
    options: Options,
    hashes: RandomState,
    /// Only to be written anew for each call.
    host: String,
    read: u64,
    done: u64,
    failed: u64,
}

/// A call without a result.
struct Underway {
    call: Arc<Prepared>,
    host: Host,
    named: Named,
    /// The hash by which others share it.
    shared: Option<u64>,
    followers: Vec<Named>,
    attempts: u32,
    sent: Option<Instant>,
    head: Option<Duration>,
    deadline: Option<Deadline>,
    cacheable: bool,
    /// What the server is asked to confirm.
    stored: Option<Arc<Stored>>,
}

/// What a result says of its call.
struct Named {
    index: u64,
    key: Option<String>,
    url: String,
    read: Instant,
}

/// How far the calls are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Results that were given, the failed ones among them.
    pub done: u64,
    /// Failed results that were given.
    pub failed: u64,
    /// Calls that are being made.
    pub in_flight: usize,
    /// Calls that wait to be made: for their host, for their next attempt, or for an equal one.
    pub waiting: usize,
    /// Calls that were taken from the source.
    pub read: u64,
}

impl Gathered {
    pub(super) fn new(source: Calls, client: Client, options: Options) -> Self {
        let limit = options.total_timeout;
        let deadline = (!limit.is_zero())
            .then(|| Instant::now().checked_add(limit))
            .flatten();
        Self {
            source: Some(source),
            calls: HashMap::new(),
            shared: HashMap::new(),
            following: 0,
            schedule: Schedule::new(options.per_host, options.interval),
            outbox: Outbox::new(options.ordered),
            attempts: JoinSet::new(),
            timer: None,
            deadline,
            deadline_timer: None,
            client,
            options,
            hashes: RandomState::new(),
            host: String::new(),
            read: 0,
            done: 0,
            failed: 0,
        }
    }

    /// The next result; `None` at the end.
    ///
    /// Cancel-safe: if the future is dropped, nothing is lost.
    pub async fn next(&mut self) -> Option<GatherResult> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// How far the calls are.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress {
            done: self.done,
            failed: self.failed,
            in_flight: self.schedule.running(),
            waiting: self.schedule.waiting() + self.following,
            read: self.read,
        }
    }

    /// Starts what may start, and reads on where that could start.
    fn fill(&mut self, cx: &mut Context<'_>) {
        loop {
            self.start(Instant::now());
            if !self.has_room() {
                return;
            }
            let Some(source) = &mut self.source else {
                return;
            };
            match source.as_mut().poll_next(cx) {
                Poll::Ready(Some(call)) => self.admit(call),
                Poll::Ready(None) => self.source = None,
                Poll::Pending => return,
            }
        }
    }

    fn has_place(&self) -> bool {
        self.schedule.running() + self.outbox.places() < self.options.concurrency
    }

    fn has_room(&self) -> bool {
        let ahead = self.schedule.waiting() + self.following + self.outbox.parked();
        self.has_place()
            && !self.schedule.has_ready()
            && ahead < self.options.look_ahead
            && self.outbox.only(self.options.look_ahead).is_none()
    }

    /// Takes a call in. It may have its result at once.
    fn admit(&mut self, call: Result<Call, Error>) {
        let now = Instant::now();
        let mut named = Named {
            index: self.read,
            key: None,
            url: String::new(),
            read: now,
        };
        self.read += 1;
        let mut call = match call {
            Ok(call) => call,
            Err(error) => return self.give(named, 0, Timing::default(), Err(error)),
        };
        named.key = call.key.take();
        named.url = call.public_url().into_owned();
        let call = match Prepared::new(call, &self.client.settings.headers) {
            Ok(call) => call,
            Err(error) => return self.give(named, 0, Timing::default(), Err(error)),
        };
        let cacheable =
            self.options.cache.is_some() && cache::is_cacheable(&call.method, &call.headers);
        if cacheable
            && let Some(cache) = &self.options.cache
            && let Found::Fresh(answer) = cache.look(&call.url, &call.headers, now)
        {
            return self.give(named, 0, Timing::default(), judge(&call, answer));
        }
        let hash =
            (self.options.share_equal && call.is_shareable()).then(|| call.hash(&self.hashes));
        if let Some(hash) = hash
            && let Some(leader) = self.shared.get(&hash)
            && let Some(leader) = self.calls.get_mut(leader)
            && leader.call.is_equal(&call)
        {
            leader.followers.push(named);
            self.following += 1;
            return;
        }
        // Of two that differ and have one hash, the first is shared.
        let shared = hash.filter(|hash| !self.shared.contains_key(hash));
        let index = named.index;
        self.shared.extend(shared.map(|hash| (hash, index)));
        call.write_host(&mut self.host);
        let host = self.schedule.admit(index, &self.host, now);
        let underway = Underway {
            call: Arc::new(call),
            host,
            named,
            shared,
            followers: Vec::new(),
            attempts: 0,
            sent: None,
            head: None,
            deadline: None,
            cacheable,
            stored: None,
        };
        self.calls.insert(index, underway);
    }

    /// Makes the calls that may be made now.
    fn start(&mut self, now: Instant) {
        while self.has_place() {
            let only = self.outbox.only(self.options.look_ahead);
            let Some(index) = self.schedule.start(now, only) else {
                return;
            };
            let limit = self.options.timeout;
            let Some(underway) = self.calls.get_mut(&index) else {
                continue;
            };
            if underway.sent.is_none() {
                underway.sent = Some(now);
                underway.deadline = (!limit.is_zero())
                    .then(|| now.checked_add(limit))
                    .flatten()
                    .map(|at| Deadline { at, limit });
            }
            if underway.cacheable
                && let Some(cache) = &self.options.cache
            {
                // An earlier call may have brought it meanwhile.
                match cache.look(&underway.call.url, &underway.call.headers, now) {
                    Found::Fresh(answer) => {
                        let outcome = judge(&underway.call, answer);
                        let host = Arc::clone(&underway.host);
                        self.schedule.finish(&host, now);
                        self.finish(index, outcome, now);
                        continue;
                    }
                    Found::Stale(stored) => underway.stored = Some(stored),
                    Found::Nothing => underway.stored = None,
                }
            }
            underway.attempts += 1;
            let settings = &self.client.settings;
            let plan = underway.call.plan(settings, underway.stored.as_deref());
            let http = self.client.http.clone();
            let (max_body, deadline) = (self.options.max_body_bytes, underway.deadline);
            self.attempts.spawn(async move {
                let attempt = attempt::attempt(http, plan, max_body, deadline).await;
                (index, attempt)
            });
        }
    }

    /// Gives a call's result, and the same to those that share it.
    fn finish(&mut self, index: u64, outcome: Result<Answer, Error>, now: Instant) {
        let Some(underway) = self.calls.remove(&index) else {
            return;
        };
        if let Some(hash) = underway.shared {
            self.shared.remove(&hash);
        }
        let timing = Timing {
            queued: underway
                .sent
                .unwrap_or(now)
                .duration_since(underway.named.read),
            head: underway.head,
            total: now.duration_since(underway.sent.unwrap_or(now)),
        };
        let followers = underway.followers;
        let copies = vec![outcome.clone(); followers.len()];
        self.give(underway.named, underway.attempts, timing, outcome);
        self.following -= followers.len();
        for (follower, outcome) in followers.into_iter().zip(copies) {
            let timing = Timing {
                total: now.duration_since(follower.read),
                ..Timing::default()
            };
            self.give(follower, 0, timing, outcome);
        }
    }

    fn give(
        &mut self,
        named: Named,
        attempts: u32,
        timing: Timing,
        outcome: Result<Answer, Error>,
    ) {
        self.outbox.push(GatherResult {
            index: named.index,
            key: named.key,
            url: named.url,
            attempts,
            timing,
            outcome,
        });
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.deadline else {
            return Poll::Pending;
        };
        // Not before there's a runtime.
        let timer = self
            .deadline_timer
            .get_or_insert_with(|| Box::pin(sleep_until(at)));
        timer.as_mut().poll(cx)
    }

    /// Waits for the time at which something may start.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.schedule.wake_at().filter(|_| self.has_place()) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at || timer.is_elapsed() {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }

    fn take(&mut self, result: &GatherResult) {
        self.done += 1;
        self.failed += u64::from(result.outcome.is_err());
    }
}

impl Stream for Gathered {
    type Item = GatherResult;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<GatherResult>> {
        let run = &mut *self;
        loop {
            while let Poll::Ready(Some(joined)) = run.attempts.poll_join_next(cx) {
                joined_attempt(joined, |index, attempt| run.attempted(index, attempt));
            }
            if run.poll_deadline(cx).is_ready() {
                run.expire(cx);
            }
            let first = run.outbox.pop();
            run.fill(cx);
            if let Some(result) = first.or_else(|| run.outbox.pop()) {
                run.take(&result);
                return Poll::Ready(Some(result));
            }
            if run.source.is_none() && run.calls.is_empty() && run.outbox.is_empty() {
                return Poll::Ready(None);
            }
            // A set that was empty wakes nobody for what was put into it since.
            match run.attempts.poll_join_next(cx) {
                Poll::Ready(Some(joined)) => {
                    joined_attempt(joined, |index, attempt| run.attempted(index, attempt));
                }
                Poll::Ready(None) | Poll::Pending => match run.poll_timer(cx) {
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }
}

fn joined_attempt(joined: Result<(u64, Attempt), JoinError>, attempted: impl FnOnce(u64, Attempt)) {
    match joined {
        Ok((index, attempt)) => attempted(index, attempt),
        Err(error) => {
            // Only the end of the runtime cancels an attempt, and then nobody asks for its result.
            if let Ok(panic) = error.try_into_panic() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl std::fmt::Debug for Gathered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathered")
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
