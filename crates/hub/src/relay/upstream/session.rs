//! The answers of one upstream, without I/O and without a clock: fed with what the network says, it tells
//! what to do next.
//!
//! ```text
//!   Body ── end(), lost() ──► Connect ── head() ──► Body …
//!    │        of a feed          │
//!    └───────► Over ◄────────────┘
//! ```

use std::{fmt, time::Duration};

use bytes::Bytes;
use headwater::StatusCode;
use headwater_wire::{
    Event, Str,
    sse::{self, Block},
};
use serde_json::{Value, json};

use super::{
    Fault, Item, Kind, Resume,
    cut::{Cutter, Piece},
    seen::Seen,
};
use crate::limits::{FEED_LEAST_WAIT, FEED_MOST_WAIT, UpstreamLimits};

/// By this, APIs of language models say that their answer is complete.
const DONE: &str = "[DONE]";

/// What to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Give this. After the last one, nothing more of the upstream is needed: see [`Session::is_over`].
    Give(Item),
    /// Read on, and say what came: `chunk`, `end` or `lost`.
    Read,
    /// After so long, ask again for what follows [`Session::last_event_id`], and say what came: `head` or `lost`.
    Connect(Duration),
    /// That was all.
    End,
    /// That was not all, and there won't be more.
    Fail(Fault),
}

/// Why nothing more comes on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It was cut.
    Cut,
    /// It was silent for too long.
    Idle(Duration),
    /// It didn't come about.
    Unreachable(String),
}

/// What the session needs to know of the head of a feed's answer.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) content_type: String,
    pub(super) encoding: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

pub(super) struct Session {
    kind: Kind,
    limits: UpstreamLimits,
    /// Whether it may be asked again, if it turns out to be a feed.
    reconnect: bool,
    state: State,
    cutter: Cutter,
    received: u64,
    /// Whether an event had an id, or it was a feed before.
    is_feed: bool,
    /// The id to go on from.
    last_event_id: Str,
    /// The ids of earlier connections' events.
    seen: Seen,
    /// And of this one's, of which several may have the same.
    fresh: Seen,
    /// The time to wait that the upstream named.
    retry: Option<Duration>,
    /// How often in a row it refused or could not be reached.
    attempts: u32,
    /// How many connections in a row brought no item.
    barren: u32,
    rng: fastrand::Rng,
}

#[derive(Debug)]
enum State {
    /// Once all of what came is given, it is over if something says so: with a fault or without.
    Body {
        #[allow(clippy::option_option, reason = "the end may be one without a fault")]
        over: Option<Option<Fault>>,
    },
    Connect(Duration),
    Over(Option<Fault>),
}

impl Session {
    /// The session of an answer whose head came. `seed` is for the jitter.
    pub(super) fn new(kind: Kind, reconnect: bool, limits: UpstreamLimits, seed: u64) -> Self {
        Self {
            cutter: Cutter::new(kind, limits.item_bytes),
            kind,
            reconnect: reconnect && kind == Kind::Sse,
            limits,
            state: State::Body { over: None },
            received: 0,
            is_feed: false,
            last_event_id: Str::default(),
            seen: Seen::default(),
            fresh: Seen::default(),
            retry: None,
            attempts: 0,
            barren: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// The session of a feed that is taken up again.
    pub(super) fn resume(resume: &Resume, limits: UpstreamLimits, seed: u64) -> Self {
        let mut session = Self::new(Kind::Sse, true, limits, seed);
        for id in resume.seen.iter().chain([&resume.last_event_id]) {
            session.seen.insert(id);
        }
        session.is_feed = true;
        session.last_event_id = resume.last_event_id.clone();
        session.state = State::Connect(Duration::ZERO);
        session
    }

    /// How the body is cut.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The id of the last event that was given or passed over; empty if there's none.
    pub(super) fn last_event_id(&self) -> &Str {
        &self.last_event_id
    }

    /// Whether the upstream is of no more use.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// What to do next.
    pub(super) fn next(&mut self) -> Step {
        loop {
            let over = match &mut self.state {
                State::Connect(after) => return Step::Connect(*after),
                State::Over(fault) => return fault.take().map_or(Step::End, Step::Fail),
                State::Body { over } => over,
            };
            match self.cutter.next() {
                Ok(Some(Piece::Bytes(bytes))) => return Step::Give(Item { bytes, id: None }),
                Ok(Some(Piece::Block(block))) => {
                    if let Some(item) = self.block(block) {
                        return Step::Give(item);
                    }
                }
                Ok(None) => match over.take() {
                    Some(fault) => self.state = State::Over(fault),
                    None => return Step::Read,
                },
                Err(fault) => self.state = State::Over(Some(fault)),
            }
        }
    }

    /// A piece of the body came.
    pub(super) fn chunk(&mut self, mut chunk: Bytes) {
        let State::Body { over } = &mut self.state else {
            return;
        };
        let limit = self.limits.total_bytes;
        let room = usize::try_from(limit.saturating_sub(self.received)).unwrap_or(usize::MAX);
        if !self.is_feed && chunk.len() > room {
            chunk.truncate(room);
            *over = Some(Some(Fault::BodyTooLarge { limit }));
        }
        self.received = self.received.saturating_add(chunk.len() as u64);
        self.cutter.push(chunk);
    }

    /// The body ended as it should. Of a feed that says nothing: it is over only if it says so.
    pub(super) fn end(&mut self) {
        let goes_on = self.goes_on();
        match &mut self.state {
            State::Body { .. } if goes_on => self.reconnect(),
            State::Body { over } => {
                self.cutter.finish();
                over.get_or_insert(None);
            }
            State::Connect(_) | State::Over(_) => {}
        }
    }

    /// The body broke, or a feed could not be asked again.
    pub(super) fn lost(&mut self, lost: Lost) {
        match (&self.state, lost) {
            (State::Over(_), _) => {}
            (State::Connect(_), lost) => self.failed(lost.to_string(), None),
            (State::Body { .. }, _) if self.goes_on() => self.reconnect(),
            (State::Body { .. }, Lost::Idle(time)) => {
                self.state = State::Over(Some(Fault::Idle(time)));
            }
            (State::Body { .. }, _) => self.state = State::Over(Some(Fault::Truncated)),
        }
    }

    /// The head of an answer came, after [`Step::Connect`].
    pub(super) fn head(&mut self, head: &Head) {
        let status = head.status;
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
            self.state = State::Over(None);
        } else if status.is_success() {
            self.opened(head);
        } else if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            self.failed(status.to_string(), head.retry_after);
        } else {
            self.state = State::Over(Some(Fault::Status(status)));
        }
    }

    fn opened(&mut self, head: &Head) {
        let changed = if let Some(encoding) = &head.encoding {
            Some(format!("a body compressed as {encoding:?}"))
        } else if Kind::of(&head.content_type) != self.kind {
            Some(format!("content of the type {:?}", head.content_type))
        } else {
            None
        };
        if let Some(changed) = changed {
            self.state = State::Over(Some(Fault::Changed(changed)));
            return;
        }
        // What the old one still holds was cut, and comes again.
        self.cutter = Cutter::new(self.kind, self.limits.item_bytes);
        self.seen.append(&mut self.fresh);
        self.attempts = 0;
        self.state = State::Body { over: None };
    }

    /// Whether the upstream can be asked for what follows.
    fn goes_on(&self) -> bool {
        self.reconnect && self.is_feed
    }

    fn reconnect(&mut self) {
        self.state = State::Connect(self.delay(None));
    }

    /// A feed refused, or could not be reached.
    fn failed(&mut self, last: String, retry_after: Option<Duration>) {
        self.attempts += 1;
        let attempts = self.attempts;
        self.state = if attempts >= self.limits.attempts {
            State::Over(Some(Fault::GaveUp { attempts, last }))
        } else {
            State::Connect(self.delay(retry_after))
        };
    }

    /// How long to wait: at least what the upstream wants, and for the first time no more if it wants something;
    /// then anything up to a bound that doubles with each connection that brought nothing (WHATWG HTML §9.2.3).
    fn delay(&mut self, retry_after: Option<Duration>) -> Duration {
        let wanted = retry_after.max(self.retry);
        let least = wanted
            .unwrap_or_default()
            .clamp(FEED_LEAST_WAIT, FEED_MOST_WAIT);
        let most = if wanted.is_some() && self.barren == 0 {
            least
        } else {
            let doubled = self.limits.backoff.saturating_mul(1 << self.barren.min(20));
            doubled.min(self.limits.most_backoff).max(least)
        };
        self.barren = self.barren.saturating_add(1);
        let span = u64::try_from((most - least).as_millis()).unwrap_or(u64::MAX);
        least + Duration::from_millis(self.rng.u64(0..=span))
    }

    /// The item that a block of an event stream is, unless it is passed over.
    fn block(&mut self, block: Block) -> Option<Item> {
        let known = block.id.as_ref().is_some_and(|id| self.seen.contains(id));
        let reserved = block
            .event
            .as_ref()
            .filter(|event| sse::is_reserved(&event.event));
        if let Some(id) = &block.id {
            self.last_event_id = Str::from(&**id);
            self.is_feed |= !id.is_empty();
            if self.goes_on() && block.event.is_some() && reserved.is_none() {
                self.fresh.insert(id);
            }
        }
        if let Cutter::Sse(splitter, _) = &self.cutter {
            self.retry = splitter.retry().or(self.retry);
        }
        match &block.event {
            Some(event) if reserved.is_some() => match end(event) {
                Some(end) => self.state = State::Over(end),
                // It named the position, which is kept.
                None if &*event.event == sse::POSITION_EVENT => return None,
                None => {
                    let fault = Fault::Control(event.event.to_string());
                    self.state = State::Over(Some(fault));
                    return None;
                }
            },
            // It comes again after a break.
            Some(_) if known && self.goes_on() => return None,
            // Of a feed, which may go on for years, a sign of life is not kept.
            None if self.goes_on() => return None,
            None => {}
            Some(event) => {
                self.barren = 0;
                if let Some(end) = end(event) {
                    self.state = State::Over(end);
                }
            }
        }
        let id = Some(self.last_event_id.clone()).filter(|id| !id.is_empty());
        Some(Item {
            bytes: block.bytes,
            id,
        })
    }
}

/// Whether an event is the last one, and if it is, whether it tells of a failure. An `end` or `error` of the upstream's
/// own is one of its events.
#[allow(clippy::option_option, reason = "the end may be one without a fault")]
fn end(event: &Event) -> Option<Option<Fault>> {
    if event.is_error() {
        return Some(Some(Fault::Reported(problem(&event.data))));
    }
    let is_done = event.event == Event::DEFAULT_TYPE && event.data.trim() == DONE;
    (event.is_end() || is_done).then_some(None)
}

/// The problem that a Headwater server tells of.
fn problem(data: &str) -> Value {
    let problem = serde_json::from_str(data).ok().filter(Value::is_object);
    problem.unwrap_or_else(|| json!({"detail": data}))
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the connection broke"),
            Self::Idle(time) => write!(f, "no answer within {} s", time.as_secs_f32()),
            Self::Unreachable(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests;
