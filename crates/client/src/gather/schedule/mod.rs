//! Decides which call starts when, without clock, sockets or the calls themselves, which are
//! numbers here.
//!
//! ```text
//!  admit() ─► waiting for its host ─► start() ─► running ─► finish() ─► gone
//!                      ▲                            │
//!                      └─────── its time ◄─ paused ◄┘ pause()
//! ```
//!
//! A host with waiting calls is in one of three states: `ready` if a call may start now; `later` if
//! its rate or its own `Retry-After` forbid a start until then; in neither set while the maximum
//! number of its calls run, until one finishes. The time to choose a call therefore doesn't grow
//! with the number of waiting calls. Of all calls that may start, the one with the lowest number
//! starts first.
//!
//! A host without calls is forgotten, at the latest when its rate allows a call again.

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

/// Maximum number of hosts without calls whose rate is remembered. Beyond it, the hosts whose rate
/// allows a call the soonest are forgotten, and may receive a call too early.
pub(super) const MAX_REMEMBERED: usize = 65_536;

/// Maximum delay of a start that still counts as on time, so that late timers don't lower the rate.
const SLACK: Duration = Duration::from_millis(5);

pub(super) type Host = Arc<str>;

pub(super) struct Schedule {
    per_host: usize,
    /// The minimum time between two starts to one host.
    interval: Option<Duration>,
    hosts: HashMap<Host, State>,
    /// Ordered by the first call that waits for the host.
    ready: BTreeSet<(u64, Host)>,
    later: BTreeSet<(Instant, Host)>,
    /// Hosts without calls, remembered for their rate.
    idle: BTreeSet<(Instant, Host)>,
    paused: BTreeSet<(Instant, u64, Host)>,
    waiting: usize,
    running: usize,
}

#[derive(Default)]
struct State {
    waiting: BinaryHeap<Reverse<u64>>,
    running: usize,
    /// No call starts before this time.
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
    /// At most `per_host` calls run to one host, and one starts in each `interval`.
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

    /// The number of running calls.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// The number of calls that wait for their first attempt or a retry.
    pub(super) fn waiting(&self) -> usize {
        self.waiting + self.paused.len()
    }

    /// Returns `true` if a call can start at once, as of the last `start`.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Accepts a call.
    pub(super) fn admit(&mut self, call: u64, host: &str, now: Instant) -> Host {
        let host = match self.hosts.get_key_value(host) {
            Some((host, _)) => Arc::clone(host),
            None => Arc::from(host),
        };
        self.wait(call, &host, now);
        host
    }

    /// Returns the next call to send, which then counts as running. With `only`, no other call may
    /// start.
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

    /// Marks a call of this host as no longer running.
    pub(super) fn finish(&mut self, host: &Host, now: Instant) {
        if let Some(state) = self.hosts.get_mut(host) {
            state.running -= 1;
            self.running -= 1;
        }
        self.place(host, now);
    }

    /// Schedules a finished call for a retry, not before `at`.
    pub(super) fn pause(&mut self, call: u64, host: &Host, at: Instant) {
        self.paused.insert((at, call, Arc::clone(host)));
    }

    /// Delays all calls to this host until `until`.
    pub(super) fn hold(&mut self, host: &Host, until: Instant, now: Instant) {
        if let Some(state) = self.hosts.get_mut(host) {
            state.free_at = state.free_at.max(Some(until));
        }
        self.place(host, now);
    }

    /// The time at which `start` may return a call without another one finishing.
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

    /// Processes everything that is due by `now`.
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

    /// Moves a host to the set in which it belongs.
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
