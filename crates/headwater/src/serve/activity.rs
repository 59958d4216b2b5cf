//! The state of a connection, by which idle and slow connections are closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use parking_lot::Mutex;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::stream::{Accepted, Stream};

/// Minimum and maximum interval between two checks of a peer that has half-closed its connection.
const LOOK: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Time limit for the handler of a request whose peer has half-closed its connection.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// Shared by the parts of one connection. They run in one task, except its handlers' bodies.
/// Relaxed ordering suffices because each value only needs to become visible eventually.
pub(crate) struct Activity {
    start: Instant,
    in_flight: AtomicU32,
    /// If `true`, a request's head is being received.
    in_head: AtomicBool,
    /// Start of the current wait, in milliseconds after `start`.
    since: AtomicU64,
    /// Progress of a body that only the connection's close ends. See [`Activity::ends_by_reset`].
    closing_body: AtomicU8,
    /// If `true`, part of the last request's body was not read.
    unread_body: AtomicBool,
    /// If `true`, the response to the request in flight has begun.
    answered: AtomicBool,
    /// If `true`, its body is sent in chunks (RFC 9112 §7.1).
    chunked: AtomicBool,
    /// State of a peer that has half-closed its connection. See [`Activity::half_close`].
    half_closed: AtomicU8,
    /// Time of the half-close, in milliseconds after `start`.
    half_closed_since: AtomicU64,
    /// Time since which the peer accepts no data, in milliseconds after `start`, plus one. 0 if the
    /// peer accepts data.
    blocked_since: AtomicU64,
    /// If `true`, the peer accepted no data for too long.
    stalled: AtomicBool,
    /// If `true`, the connection was idle for too long.
    expired: AtomicBool,
    /// Status with which hyper refuses an unreadable request. 0 if it doesn't.
    refused: AtomicU16,
    /// The connection, if HTTP is done with it and the peer may still be sending.
    leftover: Mutex<Option<Box<Stream>>>,
}

/// The peer sends nothing more, and the response to its request has not begun.
const AWAITED: u8 = 1;
/// The response has begun.
const ANSWERED: u8 = 2;

const NONE: u8 = 0;
const OPEN: u8 = 1;
const ENDED: u8 = 2;

impl Activity {
    /// Creates the state of a new connection, which waits for a request.
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
            expired: AtomicBool::new(false),
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

    /// Records received bytes. Between requests, they begin a head.
    pub(super) fn read(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0
            && !self.in_head.swap(true, Ordering::Relaxed)
        {
            self.mark();
        }
    }

    /// Records a complete request head. The guard lives as long as the response.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.in_head.store(false, Ordering::Relaxed);
        self.unread_body.store(false, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
        self.chunked.store(false, Ordering::Relaxed);
        if self.is_half_closed() {
            // One of several pipelined requests.
            self.set_half_closed(AWAITED);
        }
        InFlight(Arc::clone(self), None)
    }

    /// Keeps the connection from being idle while work continues after a response.
    pub(super) fn hold(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self), None)
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Records that the current request has a body.
    pub(super) fn open_upload(&self) {
        self.unread_body.store(true, Ordering::Relaxed);
    }

    /// Records that the whole body was read.
    pub(super) fn end_upload(&self) {
        self.unread_body.store(false, Ordering::Relaxed);
    }

    /// Returns `true` if the body of the request in flight, or of the last one, was not read to its
    /// end.
    pub(super) fn has_unread_body(&self) -> bool {
        self.unread_body.load(Ordering::Relaxed)
    }

    /// Returns `true` if the peer may be sending a request when the connection ends. It then reads
    /// the response only if its data is still accepted (RFC 9112 §9.6).
    pub(super) fn is_sent_to(&self) -> bool {
        self.has_unread_body() || self.in_head.load(Ordering::Relaxed)
    }

    /// Records that hyper refuses an unreadable request. hyper's own response was not written.
    pub(super) fn refuse(&self, status: StatusCode) {
        self.refused.store(status.as_u16(), Ordering::Relaxed);
    }

    /// Returns the status with which hyper has refused a request.
    pub(super) fn refused(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.refused.load(Ordering::Relaxed)).ok()
    }

    /// Keeps the connection for [`take_leftover`](Self::take_leftover).
    pub(super) fn leave(&self, stream: Stream) {
        *self.leftover.lock() = Some(Box::new(stream));
    }

    pub(super) fn take_leftover(&self) -> Option<Box<Stream>> {
        self.leftover.lock().take()
    }

    /// Records that the peer sends nothing more while its request is in flight. Returns `true` if
    /// the response has begun.
    ///
    /// The peer may be gone, or it may have half-closed the connection after its last request and
    /// wait for the response (RFC 9112 §9.6 and TCP allow that). Only a write shows which: a peer
    /// that is gone answers it with a reset. So the request continues, but its handler has
    /// [`ANSWER_PATIENCE`]. The head of the response is such a write. After the head, `Io` sends a
    /// part of a chunk's size instead. A peer that leaves later is detected by the next write or by
    /// TCP keep-alive.
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

    /// Records that the response to the request in flight has begun.
    pub(super) fn answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
        if self.is_half_closed() {
            self.set_half_closed(ANSWERED);
        }
    }

    /// Records that the response in flight has a chunked body, and that its head is written next.
    pub(super) fn open_chunks(&self) {
        self.chunked.store(true, Ordering::Relaxed);
    }

    /// Returns `true` if the next write of the response in flight is a chunk, given that nothing
    /// else is pending.
    pub(super) fn is_between_chunks(&self) -> bool {
        self.chunked.load(Ordering::Relaxed) && self.is_in_flight()
    }

    /// Records the result of a write.
    pub(super) fn wrote(&self, accepted: Accepted) {
        let since = self.blocked_since.load(Ordering::Relaxed);
        match (accepted, since) {
            (Accepted::None, 0) | (Accepted::Some, _) => {
                self.blocked_since.store(self.now() + 1, Ordering::Relaxed);
            }
            (Accepted::All, 1..) => self.blocked_since.store(0, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Returns the deadline by which the peer must accept some of the pending data. After it, the
    /// connection is abandoned.
    pub(super) fn write_deadline(&self, timeout: Duration) -> Option<Instant> {
        let since = self.blocked_since.load(Ordering::Relaxed).checked_sub(1)?;
        let since = self.start.checked_add(Duration::from_millis(since))?;
        since.checked_add(timeout).filter(|_| !timeout.is_zero())
    }

    /// Abandons the connection with all pending data.
    pub(super) fn stall(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    /// Closes a connection that was idle for too long. Its end is intended.
    pub(super) fn expire(&self) {
        self.expired.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_expired(&self) -> bool {
        self.expired.load(Ordering::Relaxed) && !self.is_in_flight()
    }

    /// Returns the time of the next check of a half-closed connection, or `Err` if it is to be
    /// abandoned.
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

    /// Clears the head that a new connection waits for: HTTP/2 has other frames between requests.
    pub(super) fn forget_head(&self) {
        if self.in_head.swap(false, Ordering::Relaxed) {
            self.mark();
        }
    }

    /// Records that the response's body ends with the connection. HTTP/1.0 has no chunks, so a
    /// close in the middle of a body without a known length looks like a complete response. Only a
    /// reset shows that it is incomplete.
    pub(super) fn open_closing_body(&self) {
        self.closing_body.store(OPEN, Ordering::Relaxed);
    }

    /// Records that the body is complete, except for pending data.
    pub(super) fn end_closing_body(&self) {
        let _ =
            self.closing_body
                .compare_exchange(OPEN, ENDED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records that all pending data is written.
    pub(super) fn flushed(&self) {
        let _ =
            self.closing_body
                .compare_exchange(ENDED, NONE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns `true` if a close at this moment would make a cut body look complete, or leave
    /// pending data to the system.
    pub(super) fn ends_by_reset(&self) -> bool {
        self.closing_body.load(Ordering::Relaxed) != NONE || self.stalled.load(Ordering::Relaxed)
    }

    /// Returns the time at which the connection is closed if nothing happens until then.
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

/// The permit is that of a request over HTTP/2.
pub(super) struct InFlight(Arc<Activity>, Option<OwnedSemaphorePermit>);

impl InFlight {
    /// Keeps the permit as long as the response.
    pub(super) fn keep(&mut self, permit: OwnedSemaphorePermit) {
        self.1 = Some(permit);
    }

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
