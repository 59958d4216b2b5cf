//! One rate of one sender.

use std::{
    num::NonZeroU32,
    ops::Add,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, Reference},
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::StateStore,
};
use headwater_auth::Rate;
use tokio::time::Instant;

/// Least time, in nanoseconds, that one cell of governor's stands for. Above a rate of a million a
/// second, a cell is several units, as governor counts in whole nanoseconds.
const LEAST_CELL: u64 = 1000;

/// Longest time, in nanoseconds, that a burst stands for: about 30 years. governor adds such times.
const LONGEST_BURST: u64 = 1_000_000_000_000_000_000;

/// The rest of a rate that a sender has. It refills all the time, up to the burst.
///
/// governor decides (GCRA). It knows only amounts up to the burst, and here an amount is often known only
/// after it was used. Therefore a bucket may be overdrawn: anything is allowed while at least one cell is
/// left, and then nothing is until what was used beyond has been refilled.
pub(super) struct Bucket {
    limiter: RateLimiter<Charge, Account, Uptime, StateInformationMiddleware>,
    rate: Rate,
    /// Units in a cell.
    unit: u32,
    cells: NonZeroU32,
}

/// There is nothing left for this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent(pub(super) Duration);

impl Bucket {
    /// Creates a full bucket.
    pub(super) fn new(rate: Rate) -> Self {
        let least = u128::from(LEAST_CELL) * u128::from(rate.amount().get());
        let unit = least.div_ceil(rate.period().as_nanos());
        let unit = u32::try_from(unit).unwrap_or(u32::MAX);
        let cell = cost(rate, u64::from(unit)).max(1);
        let cells = u32::try_from(LONGEST_BURST / cell).unwrap_or(u32::MAX);
        let cells = cells.min(rate.max_burst().get() / unit);
        let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_nanos(cell));
        // A cell isn't zero.
        let quota = quota.unwrap_or(Quota::per_hour(NonZeroU32::MIN));
        let account = Account {
            used_until: AtomicU64::new(0),
            cell,
        };
        let limiter = RateLimiter::new(quota.allow_burst(cells), account, Uptime);
        Self {
            limiter,
            rate,
            unit,
            cells,
        }
    }

    /// Uses `amount` if there is something left.
    ///
    /// # Errors
    /// There is nothing left. Nothing is used.
    pub(super) fn take(&self, amount: u64) -> Result<(), Spent> {
        self.change(Charge::Take(cost(self.rate, amount))).map(drop)
    }

    /// Uses `amount`, even if there is less left.
    pub(super) fn owe(&self, amount: u64) {
        let _ = self.change(Charge::Owe(cost(self.rate, amount)));
    }

    /// Takes back the use of `amount`.
    pub(super) fn give_back(&self, amount: u64) {
        let _ = self.change(Charge::GiveBack(cost(self.rate, amount)));
    }

    /// Returns how much is left, in whole cells.
    ///
    /// # Errors
    /// Nothing is.
    pub(super) fn left(&self) -> Result<u32, Spent> {
        let cells = self.change(Charge::Look)?;
        Ok(cells.min(self.cells.get()).saturating_mul(self.unit))
    }

    /// Returns `true` if the burst is available.
    pub(super) fn is_full(&self) -> bool {
        self.change(Charge::Look)
            .is_ok_and(|cells| cells >= self.cells.get())
    }

    /// Returns the time after which the burst is available if `left` is left now.
    pub(super) fn refill(&self, left: u32) -> Duration {
        let missing = self.rate.max_burst().get().saturating_sub(left);
        Duration::from_nanos(cost(self.rate, u64::from(missing)))
    }

    /// Returns the number of cells that were left before a charge.
    fn change(&self, charge: Charge) -> Result<u32, Spent> {
        match self.limiter.check_key(&charge) {
            // As governor sees it, one cell was taken.
            Ok(state) => Ok(state.remaining_burst_capacity().saturating_add(1)),
            Err(until) => Err(Spent(until.wait_time_from(Uptime.now()))),
        }
    }
}

/// Returns the time in nanoseconds in which a rate allows an amount.
fn cost(rate: Rate, amount: u64) -> u64 {
    let time = u128::from(amount) * rate.period().as_nanos() / u128::from(rate.amount().get());
    u64::try_from(time).unwrap_or(u64::MAX)
}

/// A change of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Charge {
    /// None.
    Look,
    /// A cost in nanoseconds, if there is something left.
    Take(u64),
    /// A cost in nanoseconds, in any case.
    Owe(u64),
    /// A cost in nanoseconds that was charged before.
    GiveBack(u64),
}

/// The time until which the sender has used its rate, in nanoseconds.
#[derive(Debug, Default)]
struct Account {
    used_until: AtomicU64,
    /// The cost of the one cell that governor adds itself.
    cell: u64,
}

impl StateStore for Account {
    type Key = Charge;

    fn measure_and_replace<T, F, E>(&self, charge: &Charge, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut used = self.used_until.load(Ordering::Relaxed);
        loop {
            let decision = decide(Some(used.into()));
            let next = match (&decision, *charge) {
                (_, Charge::Look) | (Err(_), Charge::Take(_)) => return decision.map(|(it, _)| it),
                (Ok((_, next)), Charge::Take(cost) | Charge::Owe(cost)) => {
                    (next.as_u64() - self.cell).saturating_add(cost)
                }
                (_, Charge::GiveBack(cost)) => used.saturating_sub(cost),
                // It is overdrawn, so `used` is in the future.
                (Err(_), Charge::Owe(cost)) => used.saturating_add(cost),
            };
            let changed = self.used_until.compare_exchange_weak(
                used,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match changed {
                Ok(_) => return decision.map(|(it, _)| it),
                Err(now) => used = now,
            }
        }
    }
}

/// The time since the first use of a rate in this process, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, time: Nanos) -> Self {
        Self(self.0.saturating_add(time.as_u64()))
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, time: Nanos) -> Self {
        Self(self.0.checked_sub(time.as_u64()).unwrap_or(self.0))
    }
}

/// Tokio's clock, which tests can pause.
#[derive(Clone, Copy, Debug)]
struct Uptime;

impl Clock for Uptime {
    type Instant = Moment;

    fn now(&self) -> Moment {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let start = *START;
        let time = Instant::now().saturating_duration_since(start);
        Moment(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use headwater_auth::Rates;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bucket(text: &str) -> Bucket {
        let rates: Rates = format!("requests={text}").parse().unwrap();
        Bucket::new(rates.requests.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_burst_is_available_at_once_and_refills_at_the_rate() {
        let bucket = bucket("10:20");
        for left in (1..=20).rev() {
            assert_eq!(bucket.left(), Ok(left));
            assert_eq!(bucket.take(1), Ok(()));
        }
        assert_eq!(bucket.take(1), Err(Spent(SECOND / 10)));
        advance(SECOND / 10 - Duration::from_millis(1)).await;
        assert_eq!(bucket.take(1), Err(Spent(Duration::from_millis(1))));
        advance(Duration::from_millis(1)).await;
        assert_eq!(bucket.take(1), Ok(()));
        assert!(bucket.take(1).is_err());
        assert_eq!(bucket.refill(0), 2 * SECOND);
        advance(2 * SECOND - SECOND / 10).await;
        assert!(!bucket.is_full());
        advance(100 * SECOND).await;
        assert!(bucket.is_full());
        assert_eq!(bucket.left(), Ok(20));
    }

    #[tokio::test(start_paused = true)]
    async fn an_amount_beyond_the_burst_is_paid_afterwards() {
        let bucket = bucket("10");
        assert_eq!(bucket.take(1000), Ok(()));
        // 990 of them are owed, and one more has to be there.
        assert_eq!(bucket.take(1), Err(Spent(SECOND / 10 * 991)));
        bucket.owe(10);
        assert_eq!(bucket.left(), Err(Spent(SECOND / 10 * 1001)));
        advance(SECOND / 10 * 1001).await;
        assert_eq!(bucket.take(1), Ok(()));
        assert!(bucket.take(1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_back_can_be_used_again() {
        let bucket = bucket("1/h");
        assert_eq!(bucket.take(1), Ok(()));
        assert_eq!(bucket.take(1), Err(Spent(3600 * SECOND)));
        bucket.give_back(1);
        assert!(bucket.is_full());
        assert_eq!(bucket.take(1), Ok(()));
        assert!(bucket.take(1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_above_what_governor_counts_is_kept() {
        for text in ["4294967295", "700000000", "1000001", "1GiB:4294967295"] {
            let bucket = bucket(text);
            let amount = u64::from(bucket.rate.amount().get());
            let mut used = 0;
            // Small amounts, as those of many small messages.
            for _ in 0..20 {
                for _ in 0..100 {
                    while bucket.take(amount / 1000).is_ok() {
                        used += amount / 1000;
                    }
                    advance(SECOND / 100).await;
                }
            }
            let most = 20 * amount + u64::from(bucket.rate.max_burst().get());
            assert!(used <= most + amount / 100, "{text}: {used} of {most}");
            assert!(used >= 19 * amount, "{text}: {used} of {most}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn extreme_rates_and_amounts_do_not_overflow() {
        for text in ["1/h:4294967295", "4294967295:1", "1/h"] {
            let bucket = bucket(text);
            assert!(bucket.is_full());
            assert_eq!(bucket.take(u64::MAX), Ok(()));
            bucket.owe(u64::MAX);
            bucket.owe(u64::MAX);
            let Err(Spent(wait)) = bucket.take(1) else {
                panic!("{text}")
            };
            assert!(wait > 3600 * SECOND, "{wait:?}");
            (0..3).for_each(|_| bucket.give_back(u64::MAX));
            assert!(bucket.is_full());
        }
    }

    #[test]
    fn concurrent_takes_never_exceed_the_burst() {
        let bucket = bucket("1/h:1000");
        let taken = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take(1).is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|it| it.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(taken, 1000);
    }
}
