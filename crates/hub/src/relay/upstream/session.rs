//! The state machine of one upstream's responses, without I/O or a clock. Its inputs are network
//! events; its output is the next step.
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
    dedup_window::DedupWindow,
    splitter::{ItemSplitter, Piece},
};
use crate::limits::{FEED_LEAST_WAIT, FEED_MOST_WAIT, UpstreamLimits};

/// The marker by which APIs of language models end a response.
const DONE: &str = "[DONE]";

/// The next step.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Return this item. If it is the last one, the upstream isn't needed any more: see
    /// [`Session::is_over`].
    Give(Item),
    /// Read on, and report the result: `chunk`, `end` or `lost`.
    Read,
    /// After this wait, reconnect and resume after [`Session::last_event_id`]. Report the result:
    /// `head` or `lost`.
    Connect(Duration),
    /// The response is complete.
    End,
    /// The response is incomplete, and there won't be more.
    Fail(Fault),
}

/// The reason for which a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// It broke.
    Cut,
    /// It was silent for too long.
    Idle(Duration),
    /// It could not be established.
    Unreachable(String),
}

/// The part of a feed's response head that the session needs.
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
    /// `true` if it may reconnect if it is a feed.
    reconnect: bool,
    state: State,
    cutter: ItemSplitter,
    received: u64,
    /// `true` if an event had an id, or it was a feed before.
    is_feed: bool,
    /// The id from which to resume.
    last_event_id: Str,
    /// The ids of earlier connections' events.
    seen: DedupWindow,
    /// The ids of this connection's events. Several may have the same id.
    fresh: DedupWindow,
    /// The wait that the upstream requested.
    retry: Option<Duration>,
    /// Number of consecutive attempts that were refused or didn't reach the server.
    attempts: u32,
    /// Number of consecutive connections without an item.
    barren: u32,
    rng: fastrand::Rng,
}

#[derive(Debug)]
enum State {
    /// If `over` is set, the response ends when all received items are returned, with a fault or
    /// without.
    Body {
        #[allow(clippy::option_option, reason = "the end may be one without a fault")]
        over: Option<Option<Fault>>,
    },
    Connect(Duration),
    Over(Option<Fault>),
}

impl Session {
    /// Creates a session for a response whose head has arrived. `seed` is for the jitter.
    pub(super) fn new(kind: Kind, reconnect: bool, limits: UpstreamLimits, seed: u64) -> Self {
        Self {
            cutter: ItemSplitter::new(kind, limits.item_bytes),
            kind,
            reconnect: reconnect && kind == Kind::Sse,
            limits,
            state: State::Body { over: None },
            received: 0,
            is_feed: false,
            last_event_id: Str::default(),
            seen: DedupWindow::default(),
            fresh: DedupWindow::default(),
            retry: None,
            attempts: 0,
            barren: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Creates a session for a feed that resumes.
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

    /// Returns the kind of items that the body is split into.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the id of the last event that was returned or skipped. Empty if there is none.
    pub(super) fn last_event_id(&self) -> &Str {
        &self.last_event_id
    }

    /// Returns `true` if the upstream isn't needed any more.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// Returns the next step.
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

    /// Receives a chunk of the body.
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

    /// Receives the regular end of the body. A feed doesn't end by it, only by an end marker.
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

    /// Receives a broken body, or the failure of a feed's reconnect.
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

    /// Receives the head of a response, after [`Step::Connect`].
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
        // The rest in the old cutter is truncated, and will be repeated.
        self.cutter = ItemSplitter::new(self.kind, self.limits.item_bytes);
        self.seen.append(&mut self.fresh);
        self.attempts = 0;
        self.state = State::Body { over: None };
    }

    /// Returns `true` if the upstream can resume.
    fn goes_on(&self) -> bool {
        self.reconnect && self.is_feed
    }

    fn reconnect(&mut self) {
        self.state = State::Connect(self.delay(None));
    }

    /// Counts a failed attempt of a feed.
    fn failed(&mut self, last: String, retry_after: Option<Duration>) {
        self.attempts += 1;
        let attempts = self.attempts;
        self.state = if attempts >= self.limits.attempts {
            State::Over(Some(Fault::GaveUp { attempts, last }))
        } else {
            State::Connect(self.delay(retry_after))
        };
    }

    /// Returns the next wait. It is at least the one that the upstream requested, and exactly that
    /// for the first attempt. Otherwise it is random up to a bound that doubles with each
    /// connection without an item (WHATWG HTML §9.2.3).
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

    /// Returns the item for a block of an event stream, or `None` if it is skipped.
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
        if let ItemSplitter::Sse(splitter, _) = &self.cutter {
            self.retry = splitter.retry().or(self.retry);
        }
        match &block.event {
            Some(event) if reserved.is_some() => match end(event) {
                Some(end) => self.state = State::Over(end),
                // It contains the position, which is stored.
                None if &*event.event == sse::POSITION_EVENT => return None,
                None => {
                    let fault = Fault::Control(event.event.to_string());
                    self.state = State::Over(Some(fault));
                    return None;
                }
            },
            // It is repeated after a disconnect.
            Some(_) if known && self.goes_on() => return None,
            // Heartbeats of a feed, which may run for years, are not stored.
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

/// Returns the end, with or without a fault, if an event is the last one. An `end` or `error` event
/// of the upstream's own is an ordinary event.
#[allow(clippy::option_option, reason = "the end may be one without a fault")]
fn end(event: &Event) -> Option<Option<Fault>> {
    if event.is_error() {
        return Some(Some(Fault::Reported(problem(&event.data))));
    }
    let is_done = event.event == Event::DEFAULT_TYPE && event.data.trim() == DONE;
    (event.is_end() || is_done).then_some(None)
}

/// Parses the problem that a Headwater server reports.
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
