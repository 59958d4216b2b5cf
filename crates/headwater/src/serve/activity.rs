//! What a connection is doing, so that one that does nothing, or too slowly, can be closed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::time::Instant;

use super::address::Stream;

/// The shortest and the longest time between two looks at a peer that has half-closed its connection.
const LOOK: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How long the handler of a request may take to answer a peer that has half-closed its connection.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// Shared by the parts of one connection, all of which run in one task but for its handlers' bodies;
/// the orderings need no more than that each value is seen eventually.
pub(crate) struct Activity {
    start: Instant,
    in_flight: AtomicU32,
    /// Whether a request's head is on its way.
    in_head: AtomicBool,
    /// When the present wait began, in milliseconds after `start`.
    since: AtomicU64,
    /// How far a body is whose only end is the connection's: see [`Activity::ends_by_reset`].
    closing_body: AtomicU8,
    /// Whether part of the last request's body was not read.
    unread_body: AtomicBool,
    /// Whether the response to the request in flight has begun.
    answered: AtomicBool,
    /// True if its body goes out in chunks (RFC 9112 §7.1).
    chunked: AtomicBool,
    /// How far a peer is that has half-closed its connection: see [`Activity::half_close`].
    half_closed: AtomicU8,
    /// Time at which that began, in milliseconds after `start`.
    half_closed_since: AtomicU64,
    /// Since when nothing that is to be written is taken, in milliseconds after `start`, and one more; 0 if it is.
    blocked_since: AtomicU64,
    /// True if that took too long.
    stalled: AtomicBool,
    /// With which status hyper refuses a request that it can't read; 0 if it doesn't.
    refused: AtomicU16,
    /// The connection, when HTTP is done with it and the peer may still be sending.
    leftover: Mutex<Option<Box<Stream>>>,
}

/// The peer sends nothing more, and its request has no response yet.
const AWAITED: u8 = 1;
/// The response has begun.
const ANSWERED: u8 = 2;

const NONE: u8 = 0;
const OPEN: u8 = 1;
const ENDED: u8 = 2;

impl Activity {
    /// A new connection owes a request.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            in_flight: AtomicU32::new(0),
            in_head: AtomicBool::new(true),
            since: AtomicU64::new(0),
            closing_body: AtomicU8::new(NONE),
            unread_body: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            chunked: AtomicBool::new(false),
            half_closed: AtomicU8::new(NONE),
            half_closed_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            refused: AtomicU16::new(0),
            leftover: Mutex::new(None),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn mark(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    /// Bytes came in. Between requests that is the beginning of a head.
    pub(super) fn read(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0
            && !self.in_head.swap(true, Ordering::Relaxed)
        {
            self.mark();
        }
    }

    /// A request is complete enough to be handled; the guard lives as long as its response.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_head.store(false, Ordering::Relaxed);
        self.unread_body.store(false, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
        self.chunked.store(false, Ordering::Relaxed);
        if self.is_half_closed() {
            // One of several requests that were sent at once.
            self.set_half_closed(AWAITED);
        }
        InFlight(Arc::clone(self))
    }

    /// Keeps the connection from being idle while work continues after a response.
    pub(super) fn hold(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// The request that has begun has a body.
    pub(super) fn open_upload(&self) {
        self.unread_body.store(true, Ordering::Relaxed);
    }

    /// All of it was read.
    pub(super) fn end_upload(&self) {
        self.unread_body.store(false, Ordering::Relaxed);
    }

    /// Whether the body of the request in flight, or of the last one, was not read to its end.
    pub(super) fn has_unread_body(&self) -> bool {
        self.unread_body.load(Ordering::Relaxed)
    }

    /// Whether the peer may be in the middle of a request when the connection ends: then it reads the response only if
    /// what it sends is still taken (RFC 9112 §9.6).
    pub(super) fn is_sent_to(&self) -> bool {
        self.has_unread_body() || self.in_head.load(Ordering::Relaxed)
    }

    /// hyper refuses a request that it can't read. What it says of it was not written.
    pub(super) fn refuse(&self, status: StatusCode) {
        self.refused.store(status.as_u16(), Ordering::Relaxed);
    }

    /// With which status hyper has refused a request.
    pub(super) fn refused(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.refused.load(Ordering::Relaxed)).ok()
    }

    /// Keeps the connection for [`take_leftover`](Self::take_leftover).
    pub(super) fn leave(&self, stream: Stream) {
        *self.leftover() = Some(Box::new(stream));
    }

    pub(super) fn take_leftover(&self) -> Option<Box<Stream>> {
        self.leftover().take()
    }

    fn leftover(&self) -> std::sync::MutexGuard<'_, Option<Box<Stream>>> {
        self.leftover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer will send nothing more, while a request of its is in flight. Returns whether the response has begun.
    ///
    /// It may be gone, or it may have half-closed the connection after its last request and wait for the response (RFC
    /// 9112 §9.6 and TCP allow that). Only a write tells: one to a peer that is gone is answered with a reset. So the
    /// request goes on, but its handler has [`ANSWER_PATIENCE`]. The head of the response is such a write, and so is the
    /// part of a chunk's size that `Io` sends where the head is out. A peer that leaves later is noticed by the next
    /// write, or by TCP's keep-alive.
    pub(super) fn half_close(&self) -> bool {
        let is_answered = self.answered.load(Ordering::Relaxed);
        if !self.is_half_closed() {
            self.set_half_closed(if is_answered { ANSWERED } else { AWAITED });
        }
        is_answered
    }

    fn set_half_closed(&self, state: u8) {
        self.half_closed_since.store(self.now(), Ordering::Relaxed);
        self.half_closed.store(state, Ordering::Relaxed);
    }

    pub(crate) fn is_half_closed(&self) -> bool {
        self.half_closed.load(Ordering::Relaxed) != NONE
    }

    /// The response to the request in flight has begun.
    pub(super) fn answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
        if self.is_half_closed() {
            self.set_half_closed(ANSWERED);
        }
    }

    /// The response to the request in flight has a body of chunks, and its head is what is written next.
    pub(super) fn open_chunks(&self) {
        self.chunked.store(true, Ordering::Relaxed);
    }

    /// Returns whether the next write of the response in flight is a chunk, if nothing else is pending.
    pub(super) fn is_between_chunks(&self) -> bool {
        self.chunked.load(Ordering::Relaxed) && self.is_in_flight()
    }

    /// Something was written, or could not be.
    pub(super) fn wrote(&self, is_blocked: bool) {
        let since = self.blocked_since.load(Ordering::Relaxed);
        match (is_blocked, since) {
            (true, 0) => self.blocked_since.store(self.now() + 1, Ordering::Relaxed),
            (false, 1..) => self.blocked_since.store(0, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Deadline at which the connection is given up, if the peer takes none of the pending data until then.
    pub(super) fn write_deadline(&self, timeout: Duration) -> Option<Instant> {
        let since = self.blocked_since.load(Ordering::Relaxed).checked_sub(1)?;
        let since = self.start.checked_add(Duration::from_millis(since))?;
        since.checked_add(timeout).filter(|_| !timeout.is_zero())
    }

    /// Gives the connection up, with all that is still to be written.
    pub(super) fn stall(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    /// When to look at a half-closed connection again; `Err` when it is to be given up.
    pub(super) fn next_look(&self) -> Result<Option<Instant>, GivenUp> {
        let patience = match self.half_closed.load(Ordering::Relaxed) {
            NONE => return Ok(None),
            _ if !self.is_in_flight() => return Ok(None),
            AWAITED => ANSWER_PATIENCE,
            _ => Duration::MAX,
        };
        let since = self.half_closed_since.load(Ordering::Relaxed);
        let passed = Duration::from_millis(self.now().saturating_sub(since));
        let Some(left) = patience.checked_sub(passed).filter(|left| !left.is_zero()) else {
            return Err(GivenUp);
        };
        let (shortest, longest) = LOOK;
        let look = (passed / 4).clamp(shortest, longest);
        Ok(Some(Instant::now() + look.min(left)))
    }

    /// HTTP/2 has frames between requests that are no request's head.
    pub(super) fn forget_head(&self) {
        if self.in_head.swap(false, Ordering::Relaxed) {
            self.mark();
        }
    }

    /// HTTP/1.0 has no chunks: a body whose length isn't known ends when the connection is closed, so a
    /// close in the middle reads as a complete response. Only a reset says that it isn't one.
    pub(super) fn open_closing_body(&self) {
        self.closing_body.store(OPEN, Ordering::Relaxed);
    }

    /// The body is complete, but for what is still to be written.
    pub(super) fn end_closing_body(&self) {
        let _ =
            self.closing_body
                .compare_exchange(OPEN, ENDED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// All that was to be written is.
    pub(super) fn flushed(&self) {
        let _ =
            self.closing_body
                .compare_exchange(ENDED, NONE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns whether a close at this moment would pass a cut body off as complete, or leave untaken data to the system.
    pub(super) fn ends_by_reset(&self) -> bool {
        self.closing_body.load(Ordering::Relaxed) != NONE || self.stalled.load(Ordering::Relaxed)
    }

    /// When the connection is to be closed, if nothing happens until then.
    pub(super) fn deadline(&self, head: Duration, idle: Duration) -> Option<Instant> {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let patience = if self.in_head.load(Ordering::Relaxed) {
            head
        } else {
            idle
        };
        if patience.is_zero() {
            return None;
        }
        let since = Duration::from_millis(self.since.load(Ordering::Relaxed));
        self.start.checked_add(since)?.checked_add(patience)
    }
}

/// The handler of a half-closed connection's request took too long.
pub(super) struct GivenUp;

pub(super) struct InFlight(Arc<Activity>);

impl InFlight {
    pub(super) fn activity(&self) -> &Activity {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.mark();
        }
    }
}
