//! The waits between attempts: the only such computation in the workspace.

use std::time::Duration;

/// The default limit of a wait that a server may request: 60 s.
pub const DEFAULT_MAX_SERVER_DELAY: Duration = Duration::from_secs(60);

/// Exponential backoff with full jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    /// The upper bound of the first wait.
    pub base: Duration,
    /// The maximum of the growing bound.
    pub cap: Duration,
    /// The minimum wait, so that no server can make the client spin.
    pub min: Duration,
    /// The longest wait that a server may request.
    pub max_server_delay: Duration,
}

impl Backoff {
    /// The default of clients.
    pub const DEFAULT: Self = Self::new(Duration::from_secs(1), Duration::from_secs(30));

    /// The default minimum.
    pub const MIN: Duration = Duration::from_millis(10);

    /// Creates a backoff with the default minimum and maximum of a server's request.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap,
            min: Self::MIN,
            max_server_delay: DEFAULT_MAX_SERVER_DELAY,
        }
    }

    /// Limits a wait that a server requested by `retry:` or `Retry-After`.
    pub fn limited(&self, wait: Duration) -> Duration {
        wait.min(self.max_server_delay)
    }

    /// Returns the upper bound of the wait after `failures` earlier failures in a row: the base,
    /// doubled for each, up to the cap.
    pub fn bound(&self, failures: u32) -> Duration {
        doubled(self.base, failures, self.cap)
    }

    /// Returns the wait after `failures` earlier failures in a row, such as connections that
    /// yielded no item.
    ///
    /// The server's `retry` is the minimum (WHATWG HTML §9.2.3: "wait a delay equal to the
    /// reconnection time", then "optionally, wait some more") and the exact first wait. Without
    /// one, the first wait is random up to the base. The range doubles with each failure, up to the
    /// cap. `Retry-After` is a minimum too.
    pub fn delay(
        &self,
        retry: Option<Duration>,
        retry_after: Option<Duration>,
        failures: u32,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        let retry = retry.map(|retry| self.limited(retry));
        let least = retry.unwrap_or_default().max(self.min);
        let most = match (retry, failures) {
            (Some(_), 0) => least,
            (Some(retry), _) => doubled(retry.max(self.base), failures, self.cap),
            (None, _) => self.bound(failures),
        };
        let span = most.saturating_sub(least).as_millis();
        let delay = least + Duration::from_millis(rng.u64(0..=span.try_into().unwrap_or(u64::MAX)));
        delay.max(self.limited(retry_after.unwrap_or_default()))
    }
}

fn doubled(base: Duration, failures: u32, cap: Duration) -> Duration {
    base.saturating_mul(1 << failures.min(20)).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(retry: Option<Duration>, barren: u32) -> (u128, u128) {
        let mut rng = fastrand::Rng::with_seed(7);
        let delays: Vec<_> = (0..10_000)
            .map(|_| {
                Backoff::DEFAULT
                    .delay(retry, None, barren, &mut rng)
                    .as_millis()
            })
            .collect();
        (*delays.iter().min().unwrap(), *delays.iter().max().unwrap())
    }

    #[test]
    fn the_range_doubles_up_to_the_cap_and_starts_near_zero() {
        for (barren, most) in [
            (0, 1000),
            (1, 2000),
            (4, 16_000),
            (5, 30_000),
            (4_000_000, 30_000),
        ] {
            let (low, high) = range(None, barren);
            assert!(low < most / 50, "{barren}: {low}");
            assert!(high <= most && high > most * 49 / 50, "{barren}: {high}");
        }
    }

    #[test]
    fn the_servers_retry_is_the_exact_first_wait_and_then_the_minimum() {
        let retry = Some(Duration::from_millis(2500));
        assert_eq!(range(retry, 0), (2500, 2500));
        let (low, high) = range(retry, 2);
        assert!((2500..2600).contains(&low), "{low}");
        assert!((9900..=10_000).contains(&high), "{high}");
        let minute = Duration::from_secs(60);
        assert_eq!(range(Some(minute), 9), (60_000, 60_000));
    }

    #[test]
    fn no_server_makes_the_client_wait_longer_than_the_cap() {
        for long in [61, 86_400, 2_147_483, u64::MAX] {
            let long = Some(Duration::from_secs(long));
            assert_eq!(range(long, 0), (60_000, 60_000));
            assert_eq!(range(long, 9), (60_000, 60_000));
        }
        let patient = Backoff {
            max_server_delay: Duration::from_secs(3600),
            ..Backoff::DEFAULT
        };
        let limited = |secs| patient.limited(Duration::from_secs(secs)).as_secs();
        assert_eq!((limited(3600), limited(3601)), (3600, 3600));
    }

    #[test]
    fn a_server_that_asks_for_no_wait_does_not_make_the_client_spin() {
        let low = range(Some(Duration::ZERO), 0);
        assert_eq!(low, (10, 10));
        assert!(range(Some(Duration::ZERO), 3).1 > 7000);
    }
}
