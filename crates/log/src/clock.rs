use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Returns the time `span` later. Saturates at the maximum.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl From<SystemTime> for Timestamp {
    /// Times before 1970 become 1970.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Maximum deviation of the clock from the expected time. A larger one is a jump.
pub const JUMP: Duration = Duration::from_secs(3600);
/// Time for which a clock must run steadily after a jump before its new time is accepted.
pub const SETTLED_AFTER: Duration = Duration::from_secs(600);

/// The source of an engine's time. Tests use one that is advanced by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<ByHand>>);

#[derive(Debug, Default)]
struct ByHand {
    time: AtomicU64,
    /// Milliseconds that have elapsed, whatever the clock was set to.
    gone: AtomicU64,
}

impl Clock {
    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// Creates a clock that stands still at `start` until it is [advanced](Self::advance) or
    /// [set](Self::set).
    #[must_use]
    pub fn by_hand(start: Timestamp) -> Self {
        let clock = ByHand::default();
        clock.time.store(start.0, Ordering::Relaxed);
        Self(Some(Arc::new(clock)))
    }

    /// Advances a manual clock by `span`, as elapsed time. Has no effect on the system's clock.
    pub fn advance(&self, span: Duration) {
        if let Some(clock) = &self.0 {
            let span = u64::try_from(span.as_millis()).unwrap_or(0);
            clock.time.fetch_add(span, Ordering::Relaxed);
            clock.gone.fetch_add(span, Ordering::Relaxed);
        }
    }

    /// Sets a manual clock without elapsed time. Has no effect on the system's clock.
    pub fn set(&self, time: Timestamp) {
        if let Some(clock) = &self.0 {
            clock.time.store(time.0, Ordering::Relaxed);
        }
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(clock) => Timestamp(clock.time.load(Ordering::Relaxed)),
            None => SystemTime::now().into(),
        }
    }

    /// Returns `true` if the clock is advanced by hand.
    #[must_use]
    pub fn is_by_hand(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the milliseconds that have elapsed since `start`, whatever the clock was set to.
    fn gone(&self, start: Instant) -> u64 {
        match &self.0 {
            Some(clock) => clock.gone.load(Ordering::Relaxed),
            None => u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// The time that a clock showed at first, plus the time that has elapsed since, whatever the clock was set to. For
/// spans such as leases, which no jump of the clock should end or prolong.
///
/// ```
/// use headwater_log::{Clock, Monotonic, Timestamp};
/// use std::time::Duration;
///
/// let clock = Clock::by_hand(Timestamp(1_000));
/// let time = Monotonic::new(clock.clone());
/// clock.advance(Duration::from_millis(5));
/// clock.set(Timestamp(9_000_000));
/// assert_eq!((time.now(), time.clock().now()), (Timestamp(1_005), Timestamp(9_000_000)));
/// ```
#[derive(Clone, Debug)]
pub struct Monotonic {
    clock: Clock,
    start: Instant,
    first: Timestamp,
    /// What had elapsed at first.
    gone: u64,
}

impl Monotonic {
    /// Begins with the present time of a clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let start = Instant::now();
        Self {
            first: clock.now(),
            gone: clock.gone(start),
            clock,
            start,
        }
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let gone = self.clock.gone(self.start).saturating_sub(self.gone);
        self.first.after(Duration::from_millis(gone))
    }

    /// Returns the clock, which can have jumped.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// A clock without jumps. After the underlying clock has jumped by more than [`JUMP`], it continues
/// as if that clock hadn't, until that clock has run steadily for [`SETTLED_AFTER`]. A clock that
/// is wrong for some minutes therefore expires no stream and timestamps no message.
#[derive(Debug)]
pub(crate) struct Steady {
    clock: Clock,
    start: Instant,
    state: Mutex<Going>,
}

/// The time that the clock showed, and the milliseconds that had elapsed then.
type Seen = (u64, u64);

#[derive(Debug)]
struct Going {
    last: Seen,
    /// The reading right after a jump.
    jumped: Option<Seen>,
    /// `true` if the clock was set back, or was behind the stored times at the start.
    went_back: bool,
    /// Milliseconds by which the clock was behind the newest stored time at the start. 0 if that is
    /// within [`JUMP`].
    behind: u64,
}

impl Steady {
    /// Creates a steady clock. `newest` is the newest stored time.
    pub(crate) fn new(clock: Clock, newest: u64) -> Self {
        let start = Instant::now();
        let now = clock.now().0;
        let behind = newest.saturating_sub(now);
        let is_behind = behind > millis(JUMP);
        if is_behind {
            tracing::warn!(
                hours = behind / 3_600_000,
                "the clock is behind the newest message: it is wrong now, or was when that was written; times continue from it"
            );
        }
        let state = Going {
            last: (now, clock.gone(start)),
            jumped: None,
            went_back: is_behind,
            behind: if is_behind { behind } else { 0 },
        };
        Self {
            clock,
            start,
            state: Mutex::new(state),
        }
    }

    /// Returns the time, at least `newest` unless the clock was set back.
    pub(crate) fn now(&self, newest: u64) -> u64 {
        let now = self.read();
        match newest.saturating_sub(now) <= millis(JUMP) {
            true => now.max(newest),
            false => now,
        }
    }

    fn read(&self) -> u64 {
        let mut state = self.state.lock();
        let seen = (self.clock.now().0, self.clock.gone(self.start));
        let expected = after(state.last, seen.1);
        if seen.0.abs_diff(expected) <= millis(JUMP) {
            state.last = seen;
            if state.jumped.take().is_some() {
                tracing::info!("the clock is right again");
            }
            return seen.0;
        }
        match state.jumped {
            Some(jumped) if seen.0.abs_diff(after(jumped, seen.1)) <= millis(JUMP) => {
                if seen.1 - jumped.1 < millis(SETTLED_AFTER) {
                    return expected;
                }
                tracing::warn!("the clock has run steadily since it jumped, and is trusted");
                state.went_back |= seen.0 < expected;
                state.last = seen;
                state.jumped = None;
                seen.0
            }
            _ => {
                let (hours, minutes) = (
                    seen.0.abs_diff(expected) / 3_600_000,
                    SETTLED_AFTER.as_secs() / 60,
                );
                let is_ahead = seen.0 > expected;
                tracing::warn!(
                    hours,
                    is_ahead,
                    "the clock jumped; it is trusted after {minutes} minutes without another jump"
                );
                state.jumped = Some(seen);
                expected
            }
        }
    }

    /// Returns `true` if the clock was set back since the last call.
    pub(crate) fn went_back(&self) -> bool {
        let mut state = self.state.lock();
        std::mem::take(&mut state.went_back)
    }

    pub(crate) fn warning(&self) -> Option<String> {
        let state = self.state.lock();
        if let Some((time, gone)) = state.jumped {
            let hours = time.abs_diff(after(state.last, gone)) / 3_600_000;
            return Some(format!(
                "the clock has jumped by {hours} hours, and isn't trusted yet"
            ));
        }
        (state.behind > 0).then(|| {
            let hours = state.behind / 3_600_000;
            format!("at the start, the clock was {hours} hours behind the newest message")
        })
    }
}

/// Returns the expected time for a clock that was read as `(time, gone)`, once `now` milliseconds
/// have elapsed.
fn after((time, gone): Seen, now: u64) -> u64 {
    time.saturating_add(now.saturating_sub(gone))
}

/// Returns a duration in milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;
    const DAYS: u64 = 400 * 24 * 3_600_000;

    fn steady() -> (Clock, Steady) {
        let clock = Clock::by_hand(Timestamp(START));
        (clock.clone(), Steady::new(clock, 0))
    }

    #[test]
    fn a_jump_that_is_undone_has_no_effect() {
        let (clock, steady) = steady();
        clock.set(Timestamp(START + DAYS));
        assert_eq!(steady.now(0), START);
        assert!(steady.warning().unwrap().contains("9600 hours"));
        clock.advance(SETTLED_AFTER / 2);
        assert_eq!(steady.now(0), START + 300_000);
        clock.set(Timestamp(START + 300_000));
        assert_eq!(steady.now(0), START + 300_000);
        assert_eq!(steady.warning(), None);
        assert!(!steady.went_back());
    }

    #[test]
    fn a_steady_clock_is_accepted_after_a_jump_in_either_direction() {
        let (clock, steady) = steady();
        clock.set(Timestamp(START + DAYS));
        assert_eq!(steady.now(START), START);
        clock.advance(SETTLED_AFTER);
        let ahead = steady.now(START);
        assert_eq!(ahead, START + DAYS + 600_000);
        assert!(!steady.went_back());
        clock.set(Timestamp(START + 600_000));
        assert_eq!(steady.now(ahead), ahead);
        clock.advance(SETTLED_AFTER);
        assert_eq!(
            steady.now(ahead),
            START + 1_200_000,
            "what is written doesn't hold it"
        );
        assert!(steady.went_back() && !steady.went_back());
    }

    #[test]
    fn small_steps_are_followed_and_never_make_times_go_back() {
        let (clock, steady) = steady();
        clock.set(Timestamp(START + 60_000));
        assert_eq!(steady.now(0), START + 60_000);
        clock.set(Timestamp(START));
        assert_eq!(steady.now(START + 60_000), START + 60_000);
        assert_eq!(steady.warning(), None);
    }

    #[test]
    fn stored_times_in_the_future_cause_a_warning_and_are_ignored() {
        let clock = Clock::by_hand(Timestamp(START));
        let steady = Steady::new(clock, START + DAYS);
        assert_eq!(steady.now(START + DAYS), START);
        assert!(steady.warning().unwrap().contains("behind"));
        assert!(steady.went_back());
    }
}
