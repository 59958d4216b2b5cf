//! One request and its responses, without I/O and without a clock. The caller feeds it the
//! network's events, and the session returns the next step.
//!
//! ```text
//!             head()                chunk(), end()
//!  Connect ───────────► Body ───────────────────────► next() returns the items
//!     ▲  ▲                │ end(), lost()
//!     │  └── may retry ───┤
//!     │                   ▼
//!     │ may retry       Over: next() returns the error, if there is one, then the end
//!     │                   ▲
//!     └── head() ── Refused (reads the body for the server's error message)
//! ```
//!
//! If a refused token can be renewed, `Refused` leads to `Connect`, and a body that ends because the
//! token has expired does so, too. `Renewal` limits the former.
//!
//! Invariants: received bytes are decoded up to the last complete item before the session requests
//! more I/O, so the last event id that a reconnect sends is that of the last item that the caller
//! received. Each item is yielded once.

mod encoding;
mod policy;
mod reader;
mod refused;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use headwater_wire::{Decoder, Event, Format, Str};
use http::StatusCode;

pub(crate) use self::encoding::{check_unencoded, encoded, readable_type};
pub use self::{
    encoding::content_encoding,
    policy::Policy,
    reader::{Piece, Reading},
};
pub(crate) use self::{
    policy::{asks_to_wait, is_unavailable},
    refused::refusal,
};
use self::{
    reader::Reader,
    refused::{Refused, expiry},
};
use crate::{
    error::{Error, Kind, Wanted},
    problem::Problem,
    token::Renewal,
};

/// The parts of a response's head that the session needs.
#[derive(Debug, Default, Clone)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The content type.
    pub content_type: Option<String>,
    /// The content codings of the body, if it is encoded.
    pub content_encoding: Option<String>,
    /// The wait that the server requests.
    pub retry_after: Option<Duration>,
    /// `true` if the request had a token whose source can be asked for another one.
    pub is_renewable: bool,
}

/// The next step for the caller.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Yield this piece.
    Piece(Piece),
    /// Read more of the body, then call `chunk`, `end` or `lost`.
    Read,
    /// Wait this long, send the request with [`Session::last_event_id`], then call `head` or
    /// `lost`. An old body is no longer needed.
    Connect(Duration),
    /// The stream has ended completely.
    End,
}

/// The state of one request and its responses.
pub struct Session {
    reading: Reading,
    policy: Policy,
    state: State,
    /// The id to resume from. While an SSE body is open, only the decoder has the newest one.
    last_event_id: Str,
    retry: Option<Duration>,
    /// The number of responses that were accepted.
    connections: u32,
    /// `true` if the responses can be resumed: they are SSE and, if the body is read unchanged, have
    /// sent an id.
    resumable: bool,
    /// `true` if the open connection has sent an id.
    has_id: bool,
    /// The number of failed attempts to connect in a row.
    attempts: u32,
    /// The number of connections in a row without progress.
    barren: u32,
    items: u64,
    /// `true` if the token of the open body can be renewed.
    is_renewable: bool,
    renewal: Renewal<Error>,
    rng: fastrand::Rng,
}

enum State {
    Connect(Duration),
    Body {
        reader: Reader,
        /// The number of bytes that the body may still have if it can't be resumed.
        room: usize,
        /// Set once there are no more chunks.
        end: Option<Result<(), Error>>,
    },
    Refused(Refused),
    Over(Option<Error>),
}

impl Session {
    /// `seed` is for the jitter.
    pub fn new(reading: Reading, policy: Policy, last_event_id: Str, seed: u64) -> Self {
        Self {
            reading,
            policy,
            state: State::Connect(Duration::ZERO),
            last_event_id,
            retry: None,
            connections: 0,
            resumable: false,
            has_id: false,
            attempts: 0,
            barren: 0,
            items: 0,
            is_renewable: false,
            renewal: Renewal::default(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Creates a session that resumes a stream after an earlier session's last event.
    pub fn resume(reading: Reading, policy: Policy, last_event_id: Str, seed: u64) -> Self {
        Self {
            connections: 1,
            resumable: true,
            ..Self::new(reading, policy, last_event_id, seed)
        }
    }

    /// The number of responses that were accepted, including that of an earlier session.
    pub fn connections(&self) -> u32 {
        self.connections
    }

    /// Returns `true` if the open body is resumed when it breaks or ends.
    pub fn resumes(&self) -> bool {
        self.resumable && self.may_retry(false)
    }

    /// Returns `true` if the server has refused the last token. Before the next request the caller
    /// asks the source for another one, and reports it by [`renewed`](Self::renewed).
    pub(crate) fn is_refused(&self) -> bool {
        self.renewal.is_pending()
    }

    /// Returns `true` while the body of a response is read that isn't a success.
    pub(crate) fn reads_refusal(&self) -> bool {
        matches!(self.state, State::Refused(_))
    }

    /// Handles the token that the source returned after a refused one. If it is the same, the
    /// session ends with the server's error. If it differs, returns that error.
    pub(crate) fn renewed(&mut self, is_same: bool) -> Option<Error> {
        let refusal = self.renewal.take();
        if !is_same {
            return refusal;
        }
        self.over(refusal);
        None
    }

    /// Returns `true` if the next request is due without a wait.
    pub(crate) fn connects_at_once(&self) -> bool {
        matches!(self.state, State::Connect(Duration::ZERO))
    }

    /// Resets the backoff, because the connection has brought something new. The session does so
    /// itself with each event, but not with blocks, which may be repetitions.
    pub fn progressed(&mut self) {
        self.barren = 0;
    }

    /// The number of pieces that were yielded, which is the number of the last one.
    pub(crate) fn items(&self) -> u64 {
        self.items
    }

    /// Returns `true` if a response was accepted and its body is being read.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Body { .. })
    }

    /// The format of the open body; `None` for lines, chunks and raw bytes.
    pub(crate) fn format(&self) -> Option<Format> {
        match (&self.state, &self.reading) {
            (State::Body { reader, .. }, Reading::Items { .. }) => reader.format(),
            _ => None,
        }
    }

    /// The id of the last event that was yielded; `""` if there is none.
    pub fn last_event_id(&self) -> &Str {
        if let State::Body { reader, .. } = &self.state
            && let Some(decoder) = reader.sse()
            && (self.has_id || !decoder.last_event_id().is_empty())
        {
            return decoder.last_event_id();
        }
        &self.last_event_id
    }

    /// Returns the next step. An `Err` is for the caller; afterwards the session continues, or is
    /// over.
    #[allow(clippy::should_implement_trait, reason = "a step isn't an item")]
    #[inline]
    pub fn next(&mut self) -> Result<Step, Error> {
        loop {
            match &mut self.state {
                State::Body { reader, end, .. } => match reader.next() {
                    Ok(Some(Piece::Event(event))) => {
                        if let Some(step) = self.event(event) {
                            return step;
                        }
                    }
                    Ok(Some(piece)) => {
                        if let Piece::Block(block) = &piece
                            && let Some(id) = &block.id
                        {
                            // A slice of a chunk would keep the whole chunk alive.
                            self.last_event_id = Str::from(&**id);
                            self.resumable |= !id.is_empty();
                        }
                        self.items += 1;
                        return Ok(Step::Piece(piece));
                    }
                    Ok(None) => match end.take() {
                        None => return Ok(Step::Read),
                        Some(Ok(())) => self.ended(),
                        Some(Err(error)) => self.over(Some(error)),
                    },
                    Err(error) => {
                        if !reader.goes_on_after_an_error() {
                            self.over(None);
                        }
                        return Err(error);
                    }
                },
                State::Connect(after) => return Ok(Step::Connect(*after)),
                State::Refused(_) => return Ok(Step::Read),
                State::Over(error) => return error.take().map_or(Ok(Step::End), Err),
            }
        }
    }

    /// Returns the next item if it has already been received and consists only of its JSON, as most
    /// items do. This is the fast path; [`next`](Self::next) handles all other cases.
    #[inline]
    pub(crate) fn next_json(&mut self) -> Option<Str> {
        let State::Body { reader, .. } = &mut self.state else {
            return None;
        };
        let json = reader.next_json()?;
        self.items += 1;
        Some(json)
    }

    /// Handles an event. Returns `None` if it isn't for the caller; the state then determines the
    /// next step.
    #[inline]
    fn event(&mut self, mut event: Event) -> Option<Result<Step, Error>> {
        if self.resumable
            && let Some(problem) = expiry(&event)
            && self.is_control(&event)
        {
            self.expired(problem);
            return None;
        }
        if !event.id.is_empty() {
            self.has_id = true;
            if event.is_end() && self.resumable {
                self.over(None);
                return None;
            }
            if self.resumable && event.is_position() {
                // A reconnect sends its id.
                return None;
            }
            if self.resumable && event.is_reset() {
                let detail = Problem::from_json(event.data.as_bytes())
                    .and_then(|told| told.detail().map(str::to_owned))
                    .unwrap_or_else(|| "its position is none of the stream".to_owned());
                return Some(Err(Error::new(Kind::Reset(detail))));
            }
        } else if !self.has_id && !self.last_event_id.is_empty() {
            // As in EventSource, the id outlives the connection that sent it.
            event.id = self.last_event_id.clone();
        }
        if event.is_error() && self.resumable {
            let problem = Problem::from_json(event.data.as_bytes());
            let problem = problem.unwrap_or_else(|| Problem::from_detail(&event.data));
            self.over(Some(Error::new(Kind::Problem(problem))));
            return None;
        }
        self.items += 1;
        self.barren = 0;
        Some(Ok(Step::Piece(Piece::Event(event))))
    }

    /// Returns `true` if an event is the server's own: of a reserved type, or without an id in a
    /// stream whose items have ids.
    fn is_control(&self, event: &Event) -> bool {
        let State::Body { reader, .. } = &self.state else {
            return false;
        };
        let before = reader.sse().map(Decoder::id_before);
        event.is_error() || before.is_some_and(|before| *before == event.id)
    }

    /// Handles the event by which the server ends the body because the token has expired.
    fn expired(&mut self, problem: Problem) {
        let error = Error::new(Kind::Problem(problem));
        // The event may have an id, which is not that of an item.
        let id = match &self.state {
            State::Body { reader, .. } => reader
                .sse()
                .map(|decoder| decoder.id_before().clone())
                .filter(|id| self.has_id || !id.is_empty()),
            _ => None,
        };
        let id = id.unwrap_or_else(|| self.last_event_id.clone());
        if self.is_renewable && self.resumes() {
            self.renewal.expired(error);
            self.reconnect();
        } else {
            self.over(Some(error));
        }
        self.last_event_id = id;
    }

    /// Handles a response's head.
    pub fn head(&mut self, head: &Head) {
        let status = head.status;
        self.is_renewable = head.is_renewable;
        let is_refused = status == StatusCode::UNAUTHORIZED && head.is_renewable;
        if !is_refused {
            self.renewal.not_refused();
        }
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT) {
            return self.over(None);
        }
        let any_status = match self.reading {
            Reading::Answer => true,
            Reading::Unchanged { .. } => self.connections == 0,
            _ => false,
        };
        if status.is_success() || any_status {
            return match self.open(head) {
                Ok(()) => {}
                Err(error) => self.over(Some(error)),
            };
        }
        self.attempts += 1;
        let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        let is_stream = matches!(self.reading, Reading::Items { .. });
        let waiting_helps = asks_to_wait(status, head.retry_after)
            || (is_stream && is_unavailable(status) && self.policy.reconnect);
        if passing && self.may_retry(waiting_helps) {
            self.state = State::Connect(self.delay(head.retry_after));
        } else {
            self.state = State::Refused(Refused::new(head, self.attempts, is_refused));
        }
    }

    fn open(&mut self, head: &Head) -> Result<(), Error> {
        let reader = Reader::open(&self.reading, head)?;
        if self.resumable && reader.format() != Some(Format::Sse) {
            let (found, wanted) = (head.content_type.clone(), Wanted::Format(Format::Sse));
            return Err(Error::new(Kind::ContentType { found, wanted }));
        }
        if self.resumable
            && let Some(codings) = &head.content_encoding
        {
            return Err(encoded(codings.clone()));
        }
        self.resumable |= reader.sse().is_some();
        self.connections = self.connections.saturating_add(1);
        self.has_id = false;
        self.attempts = 0;
        self.state = State::Body {
            reader,
            room: self.reading.max_bytes(),
            end: None,
        };
        Ok(())
    }

    /// Handles a piece of the body.
    pub fn chunk(&mut self, mut chunk: Bytes) {
        match &mut self.state {
            State::Body { reader, room, end } => {
                if chunk.len() > *room && !self.resumable {
                    chunk.truncate(*room);
                    let limit = self.reading.max_bytes();
                    *end = Some(Err(Error::new(Kind::BodyTooLarge { limit })));
                }
                *room = room.saturating_sub(chunk.len());
                reader.push(chunk);
            }
            State::Refused(refused) => {
                if refused.push(&chunk) {
                    self.refused();
                }
            }
            State::Connect(_) | State::Over(_) => {}
        }
    }

    /// Handles the proper end of the body.
    pub fn end(&mut self) {
        let resumes = self.resumes();
        match &mut self.state {
            State::Body { reader, end, .. } => {
                // If the stream is resumed, an incomplete event is repeated.
                if !resumes {
                    reader.finish();
                }
                end.get_or_insert(Ok(()));
            }
            State::Refused(_) => self.refused(),
            State::Connect(_) | State::Over(_) => {}
        }
    }

    /// Handles a failed attempt to connect, or a broken body.
    pub fn lost(&mut self, error: Error) {
        match &mut self.state {
            State::Refused(_) => return self.refused(),
            State::Over(_) => return,
            State::Body { .. } => {}
            State::Connect(_) => {
                self.attempts += 1;
                self.renewal.not_refused();
            }
        }
        if error.is_passing() && self.may_retry(false) {
            self.reconnect();
        } else {
            let attempts = self.attempts;
            self.over(Some(error.after_attempts(attempts)));
        }
    }

    /// Handles the end of a body after its last item. A finished SSE stream has an end mark; this
    /// one had none.
    fn ended(&mut self) {
        if self.resumes() {
            self.reconnect();
        } else {
            self.over(None);
        }
    }

    /// Handles a refusal whose body was read. A request with a refused token was not applied (RFC
    /// 9110 §15.5.2), so it may be sent again whatever its method is.
    fn refused(&mut self) {
        let State::Refused(refused) = &self.state else {
            return;
        };
        let error = refused.error();
        if !refused.is_renewable {
            return self.over(Some(error));
        }
        match self.renewal.refused(error) {
            None => self.state = State::Connect(Duration::ZERO),
            error => self.over(error),
        }
    }

    /// Returns `true` if another attempt is allowed. `waiting_helps`: the server, or a proxy before it, has
    /// answered, and another attempt is due even if the first one has failed.
    fn may_retry(&self, waiting_helps: bool) -> bool {
        let wanted = if self.connections > 0 {
            self.resumable && self.policy.reconnect
        } else {
            self.policy.retry_first_connect || waiting_helps
        };
        wanted && self.policy.replayable && self.attempts < self.policy.max_attempts.max(1)
    }

    fn reconnect(&mut self) {
        self.remember();
        self.state = State::Connect(self.delay(None));
    }

    fn delay(&mut self, retry_after: Option<Duration>) -> Duration {
        let backoff = &self.policy.backoff;
        let delay = backoff.delay(self.retry, retry_after, self.barren, &mut self.rng);
        self.barren = self.barren.saturating_add(1);
        delay
    }

    fn over(&mut self, error: Option<Error>) {
        self.remember();
        self.state = State::Over(error);
    }

    /// Keeps the decoder's state that the next connection needs.
    fn remember(&mut self) {
        self.last_event_id = self.last_event_id().clone();
        if let State::Body { reader, .. } = &self.state {
            self.retry = reader.retry().or(self.retry);
        }
    }
}
