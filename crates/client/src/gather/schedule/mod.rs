//! Which call may be sent when: without clock, sockets or the calls themselves, which are numbers here.
//!
//! ```text
//!  admit() ─► waiting for its host ─► start() ─► running ─► finish() ─► gone
//!                      ▲                            │
//!                      └─────── its time ◄─ paused ◄┘ pause()
//! ```
//!
//! A host with waiting calls is in one of three places: `ready`, if it may be sent one now; `later`, if
//! its rate or its own wish forbid it until then; in neither while as many run as may, until one
//! finishes. So choosing a call takes a time that doesn't grow with those that wait. The call with the
//! lowest number goes first of all that may be sent.
//!
//! A host without calls is forgotten, at the latest when it may be sent one again anyway.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

/// How many hosts without calls are remembered for their rate. Of more, those that may be sent a call
/// the soonest are forgotten, and may be sent one too early.
pub(super) const MAX_REMEMBERED: usize = 65_536;

/// How late a start may be and still count as if it had been in time, so that timers that are late
/// don't lower the rate.
const SLACK: Duration = Duration::from_millis(5);

pub(super) type Host = Arc<str>;

pub(super) struct Schedule {
    per_host: usize,
    /// Between two starts to one host.
    interval: Option<Duration>,
    hosts: HashMap<Host, State>,
    /// By the first call that waits for it.
    ready: BTreeSet<(u64, Host)>,
    later: BTreeSet<(Instant, Host)>,
    /// Without calls; only remembered.
    idle: BTreeSet<(Instant, Host)>,
    paused: BTreeSet<(Instant, u64, Host)>,
    waiting: usize,
    running: usize,
}

#[derive(Default)]
struct State {
    waiting: BinaryHeap<Reverse<u64>>,
    running: usize,
    /// No call starts before.
    free_at: Option<Instant>,
    place: Place,
}

#[derive(Default, Clone, Copy)]
enum Place {
    #[default]
    Nowhere,
    Ready(u64),
    Later(Instant),
    Idle(Instant),
}

impl Schedule {
    /// At most `per_host` calls run to one host, and one starts each `interval`.
    pub(super) fn new(per_host: usize, interval: Option<Duration>) -> Self {
        Self {
            per_host,
            interval,
            hosts: HashMap::new(),
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            idle: BTreeSet::new(),
            paused: BTreeSet::new(),
            waiting: 0,
            running: 0,
        }
    }

    /// How many calls run.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// How many calls wait, to be sent for the first time or again.
    pub(super) fn waiting(&self) -> usize {
        self.waiting + self.paused.len()
    }

    /// Whether a call waits for nothing but its start, as far as was known at the last `start`.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Takes a call in.
    pub(super) fn admit(&mut self, call: u64, host: &str, now: Instant) -> Host {
        let host = match self.hosts.get_key_value(host) {
            Some((host, _)) => Arc::clone(host),
            None => Arc::from(host),
        };
        self.wait(call, &host, now);
        host
    }

    /// The next call to be sent; it runs then. `only`: no other than this one may be.
    pub(super) fn start(&mut self, now: Instant, only: Option<u64>) -> Option<u64> {
        self.advance(now);
        let (call, host) = self.ready.first()?;
        if only.is_some_and(|only| only != *call) {
            return None;
        }
        let (call, host) = (*call, Arc::clone(host));
        let state = self.hosts.get_mut(&host)?;
        state.waiting.pop();
        state.running += 1;
        if let Some(interval) = self.interval {
            let due = state.free_at.unwrap_or(now).max(earlier(now, SLACK));
            state.free_at = Some(due + interval);
        }
        self.waiting -= 1;
        self.running += 1;
        self.place(&host, now);
        Some(call)
    }

    /// A call of this host doesn't run any more.
    pub(super) fn finish(&mut self, host: &Host, now: Instant) {
        if let Some(state) = self.hosts.get_mut(host) {
            state.running -= 1;
            self.running -= 1;
        }
        self.place(host, now);
    }

    /// A call that ran is to be sent again, not before `at`. It has finished.
    pub(super) fn pause(&mut self, call: u64, host: &Host, at: Instant) {
        self.paused.insert((at, call, Arc::clone(host)));
    }

    /// No call to this host starts before `until`.
    pub(super) fn hold(&mut self, host: &Host, until: Instant, now: Instant) {
        if let Some(state) = self.hosts.get_mut(host) {
            state.free_at = state.free_at.max(Some(until));
        }
        self.place(host, now);
    }

    /// When `start` may have something that it hasn't now, though nothing finishes.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let later = self.later.first().map(|(at, _)| *at);
        let paused = self.paused.first().map(|(at, ..)| *at);
        match (later, paused) {
            (Some(later), Some(paused)) => Some(later.min(paused)),
            (later, paused) => later.or(paused),
        }
    }

    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.hosts.len()
    }

    fn wait(&mut self, call: u64, host: &Host, now: Instant) {
        let state = self.hosts.entry(Arc::clone(host)).or_default();
        state.waiting.push(Reverse(call));
        self.waiting += 1;
        self.place(host, now);
    }

    /// Deals with what was due until now.
    fn advance(&mut self, now: Instant) {
        while self.paused.first().is_some_and(|(at, ..)| *at <= now) {
            if let Some((_, call, host)) = self.paused.pop_first() {
                self.wait(call, &host, now);
            }
        }
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, host)) = self.later.pop_first() {
                self.place(&host, now);
            }
        }
        while self.idle.len() > MAX_REMEMBERED
            || self.idle.first().is_some_and(|(at, _)| *at <= now)
        {
            if let Some((_, host)) = self.idle.pop_first() {
                self.hosts.remove(&host);
            }
        }
    }

    /// Puts a host to where it belongs.
    fn place(&mut self, host: &Host, now: Instant) {
        let Some(state) = self.hosts.get_mut(host) else {
            return;
        };
        match state.place {
            Place::Nowhere => {}
            Place::Ready(call) => drop(self.ready.remove(&(call, Arc::clone(host)))),
            Place::Later(at) => drop(self.later.remove(&(at, Arc::clone(host)))),
            Place::Idle(at) => drop(self.idle.remove(&(at, Arc::clone(host)))),
        }
        let blocked_until = state.free_at.filter(|at| *at > now);
        let first = state.waiting.peek().map(|Reverse(call)| *call);
        state.place = match (first, blocked_until) {
            (Some(_), _) if state.running >= self.per_host => Place::Nowhere,
            (Some(_), Some(at)) => Place::Later(at),
            (Some(call), None) => Place::Ready(call),
            (None, _) if state.running > 0 => Place::Nowhere,
            (None, Some(at)) => Place::Idle(at),
            (None, None) => {
                self.hosts.remove(host);
                return;
            }
        };
        match state.place {
            Place::Nowhere => true,
            Place::Ready(call) => self.ready.insert((call, Arc::clone(host))),
            Place::Later(at) => self.later.insert((at, Arc::clone(host))),
            Place::Idle(at) => self.idle.insert((at, Arc::clone(host))),
        };
    }
}

fn earlier(now: Instant, by: Duration) -> Instant {
    now.checked_sub(by).unwrap_or(now)
}
