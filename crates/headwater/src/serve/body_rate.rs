//! The minimum rate of request bodies.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::extract::FromRequestParts;
use headwater_wire::causes;
use http::{StatusCode, request::Parts};
use tokio::time::{Instant, Sleep};

use crate::{Problem, negotiate::Asked};

/// The minimum rate of request bodies.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// In bytes per second. 0 disables the limit.
    pub(super) rate: u32,
    /// Maximum silence of a body that is otherwise fast enough.
    pub(super) grace: Duration,
    /// Total time that a handler may wait for a body. Zero disables the limit.
    pub(super) total: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rate: 1024,
            grace: Duration::from_secs(10),
            total: Duration::from_secs(3600),
        }
    }
}

/// The error of a request's body that is too slow. Bodies read behind [`serve`](crate::serve)
/// return it. See [`Serve::min_body_rate`](crate::Serve::min_body_rate).
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("{}", fault(*rate, *total))]
pub struct SlowBody {
    rate: u32,
    /// The limit, if the whole body took too long.
    total: Option<Duration>,
}

impl SlowBody {
    /// Returns the `SlowBody` among a body's error and its sources, if there is one.
    #[must_use]
    pub fn of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        causes::find(error)
    }

    /// Returns the response to such a request, a 408.
    pub(super) fn problem(self) -> Problem {
        Problem::new(StatusCode::REQUEST_TIMEOUT).detail(self.to_string())
    }
}

fn fault(rate: u32, total: Option<Duration>) -> String {
    match total {
        Some(total) => format!("the body was not complete after {total:?}"),
        None => format!("the body arrived too slowly: the minimum is {rate} bytes per second"),
    }
}

/// The clock of a request's body, for a handler that reads an endless one.
///
/// [`serve`](crate::serve) fails a slow body with [`SlowBody`]. A handler whose clients send only
/// occasionally suspends that. The extractor never fails. Under another server it has no effect.
///
/// ```
/// use axum::body::{Body, Bytes};
/// use futures_util::StreamExt;
/// use headwater::BodyClock;
///
/// async fn sensor(clock: BodyClock, body: Body) -> String {
///     clock.suspend();
///     let mut readings = body.into_data_stream();
///     let mut count = 0;
///     while let Some(Ok(_)) = readings.next().await {
///         count += 1;
///     }
///     count.to_string()
/// }
/// # let _ = sensor;
/// ```
#[derive(Debug, Clone, Default)]
pub struct BodyClock(Option<Arc<AtomicU32>>);

impl BodyClock {
    pub(super) fn start() -> Self {
        Self(Some(Arc::default()))
    }

    /// Stops the clock: the body may be silent.
    pub fn suspend(&self) {
        // The state is odd while the clock is suspended.
        self.change(|state| state | 1);
    }

    /// Restarts the clock if it is suspended.
    pub fn resume(&self) {
        self.change(|state| state.wrapping_add(state & 1));
    }

    fn change(&self, to: impl Fn(u32) -> u32) {
        if let Some(state) = &self.0 {
            state.store(to(state.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
    }

    fn state(&self) -> u32 {
        self.0
            .as_ref()
            .map_or(0, |state| state.load(Ordering::Relaxed))
    }
}

impl<S: Sync> FromRequestParts<S> for BodyClock {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let asked = parts.extensions.get::<Asked>();
        Ok(asked.map_or_else(Self::default, |asked| asked.clock.clone()))
    }
}

/// Measures one body.
pub(super) struct Meter {
    pace: Pace,
    clock: BodyClock,
    /// State of the clock when it was last read.
    seen: u32,
    /// Time that the body may still be silent.
    allowance: Duration,
    /// Total time that the handler has waited for the body.
    waited: Duration,
    /// Start of the current wait.
    waiting: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Meter {
    pub(super) fn new(pace: Pace, clock: BodyClock) -> Self {
        Self {
            allowance: pace.grace,
            pace,
            clock,
            seen: 0,
            waited: Duration::ZERO,
            waiting: None,
            timer: None,
        }
    }

    /// Records received bytes.
    pub(super) fn came(&mut self, bytes: usize) {
        self.count_wait();
        if self.pace.rate > 0 {
            let bought = Duration::from_secs_f64(bytes as f64 / f64::from(self.pace.rate));
            self.allowance = self.allowance.saturating_add(bought).min(self.pace.grace);
        }
    }

    fn count_wait(&mut self) {
        if let Some(since) = self.waiting.take() {
            let wait = since.elapsed();
            self.waited += wait;
            self.allowance = self.allowance.saturating_sub(wait);
        }
    }

    /// Completes when the handler has waited too long for a body without available data.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<SlowBody> {
        let state = self.clock.state();
        if state != self.seen {
            self.seen = state;
            self.waiting = None;
            self.waited = Duration::ZERO;
            self.allowance = self.pace.grace;
        }
        if state % 2 == 1 {
            self.timer = None;
            return Poll::Pending;
        }
        let now = Instant::now();
        let since = *self.waiting.get_or_insert(now);
        let Pace { rate, total, .. } = self.pace;
        let late = (rate > 0).then(|| since.checked_add(self.allowance));
        let over = (!total.is_zero()).then(|| since.checked_add(total.saturating_sub(self.waited)));
        let (late, over) = (late.flatten(), over.flatten());
        loop {
            let Some(deadline) = late.into_iter().chain(over).min() else {
                return Poll::Pending;
            };
            if Instant::now() >= deadline {
                let total = over.filter(|over| *over == deadline).map(|_| total);
                return Poll::Ready(SlowBody { rate, total });
            }
            // The timer isn't moved while data arrives, because the deadline only moves later.
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            std::task::ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn late(meter: &mut Meter, within: Duration) -> Option<SlowBody> {
        let late = std::future::poll_fn(|cx| meter.poll_late(cx));
        tokio::time::timeout(within, late).await.ok()
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn meter(total: u32) -> (Meter, BodyClock) {
        let pace = Pace {
            rate: 100,
            grace: 10 * SECOND,
            total: total * SECOND,
        };
        let clock = BodyClock::start();
        (Meter::new(pace, clock.clone()), clock)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_be_as_slow_as_the_rate_and_no_slower() {
        let (mut even, _) = meter(0);
        for _ in 0..100 {
            assert!(late(&mut even, SECOND).await.is_none());
            even.came(100);
        }
        // A fast start earns no more than the grace.
        even.came(1_000_000);
        assert!(late(&mut even, 9 * SECOND).await.is_none());
        assert!(late(&mut even, 2 * SECOND).await.is_some());
        let (mut slow, _) = meter(0);
        let mut seconds = 0;
        while late(&mut slow, SECOND).await.is_none() {
            slow.came(50);
            seconds += 1;
        }
        assert!((18..=20).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_counts_only_while_the_handler_waits() {
        let (mut meter, _) = meter(0);
        assert!(late(&mut meter, 9 * SECOND).await.is_none());
        meter.came(100);
        tokio::time::sleep(100 * SECOND).await;
        assert!(late(&mut meter, SECOND).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_whole_body_has_a_time_limit() {
        let (mut meter, _) = meter(30);
        let mut seconds = 0;
        let slow = loop {
            meter.came(1000);
            match late(&mut meter, SECOND).await {
                Some(slow) => break slow,
                None => seconds += 1,
            }
        };
        assert!((29..=30).contains(&seconds), "{seconds}");
        assert!(slow.to_string().contains("30s"), "{slow}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_resumed_clock_restarts() {
        let (mut meter, clock) = meter(30);
        assert!(late(&mut meter, 9 * SECOND).await.is_none());
        clock.suspend();
        assert!(late(&mut meter, 100 * SECOND).await.is_none());
        clock.resume();
        clock.resume();
        assert!(late(&mut meter, 9 * SECOND).await.is_none());
        assert!(late(&mut meter, 2 * SECOND).await.is_some());
    }
}
