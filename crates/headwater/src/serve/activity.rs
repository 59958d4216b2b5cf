//! What a connection is doing, so that one that does nothing, or too slowly, can be closed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Shared by the parts of one connection, all of which run in one task but for its handlers' bodies;
/// the orderings need no more than that each value is seen eventually.
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    in_flight: AtomicU32,
    /// Whether a request's head is on its way.
    in_head: AtomicBool,
    /// When the present wait began, in milliseconds after `start`.
    since: AtomicU64,
    /// How far a body is whose only end is the connection's: see [`Activity::ends_by_reset`].
    closing_body: AtomicU8,
}

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
        })
    }

    fn mark(&self) {
        let elapsed = self.start.elapsed().as_millis();
        self.since.store(
            u64::try_from(elapsed).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
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
        InFlight(Arc::clone(self))
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

    /// Whether a close at this moment would pass a cut body off as a complete one.
    pub(super) fn ends_by_reset(&self) -> bool {
        self.closing_body.load(Ordering::Relaxed) != NONE
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

#[derive(Debug)]
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
