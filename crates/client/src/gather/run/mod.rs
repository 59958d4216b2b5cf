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
    prepared::Prepared,
    result_buffer::Outbox,
    schedule::{Host, Schedule},
};
use crate::{Client, error::Error};

/// The results of calls as they arrive.
///
/// It ends with `None` when the source has ended and every call has yielded its result. Dropping it
/// cancels all calls at once: their connections, or HTTP/2 streams, are closed.
pub struct GatherResults {
    source: Option<Calls>,
    /// The calls that were read from the source and have no result yet, by index.
    calls: HashMap<u64, Underway>,
    /// The calls that equal calls may share, by hash.
    shared: HashMap<u64, u64>,
    /// The number of calls that wait for the result of an equal one.
    following: usize,
    schedule: Schedule,
    outbox: Outbox,
    attempts: JoinSet<(u64, Attempt)>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The time limit of all calls.
    deadline: Option<Instant>,
    deadline_timer: Option<Pin<Box<Sleep>>>,
    client: Client,
    options: Options,
    hashes: RandomState,
    /// A buffer that is reused for the host of each call.
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
    /// The hash by which equal calls share it.
    shared: Option<u64>,
    followers: Vec<Named>,
    attempts: u32,
    sent: Option<Instant>,
    head: Option<Duration>,
    deadline: Option<Deadline>,
    cacheable: bool,
    /// The stored response that the server is asked to confirm.
    stored: Option<Arc<Stored>>,
}

/// The members of a result that identify its call.
struct Named {
    index: u64,
    key: Option<String>,
    url: String,
    read: Instant,
}

/// The progress of the calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Results that were yielded, including failed ones.
    pub done: u64,
    /// Failed results that were yielded.
    pub failed: u64,
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls that wait: for their host, for their next attempt, or for an equal call.
    pub waiting: usize,
    /// Calls that were read from the source.
    pub read: u64,
}

impl GatherResults {
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

    /// Returns the next result, or `None` at the end.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped, no result is lost.
    pub async fn next(&mut self) -> Option<GatherResult> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The progress of the calls.
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

    /// Starts calls that may start, and reads more while those could start.
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

    /// Accepts a call from the source. Its result may be available at once.
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
        // If two different calls have one hash, only the first can be shared.
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

    /// Starts the calls that may start now.
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
                // An earlier call may have stored the response meanwhile.
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

    /// Yields a call's result, and copies of it for the calls that share it.
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
        // Created lazily, because it needs a runtime.
        let timer = self
            .deadline_timer
            .get_or_insert_with(|| Box::pin(sleep_until(at)));
        timer.as_mut().poll(cx)
    }

    /// Waits for the time at which a call may start.
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

impl Stream for GatherResults {
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
            // Polling an empty set doesn't register a waker for tasks that are spawned later.
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
            // Only the shutdown of the runtime cancels an attempt, and then the result isn't
            // needed.
            if let Ok(panic) = error.try_into_panic() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl std::fmt::Debug for GatherResults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatherResults")
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
