use std::time::Duration;

/// The default limit of a wait that a server may request: 60 s.
pub const DEFAULT_MAX_SERVER_DELAY: Duration = Duration::from_secs(60);

/// The rules for retries and their waits.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// If `true`, a broken SSE stream is resumed.
    pub(crate) reconnect: bool,
    /// If `true`, the request may be sent more than once.
    pub(crate) replayable: bool,
    /// If `true`, the first attempt is retried too.
    pub(crate) retry_first_connect: bool,
    /// Maximum number of failed attempts to connect in a row.
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Backoff,
}

/// Exponential backoff with full jitter.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    pub(crate) base: Duration,
    pub(crate) cap: Duration,
    /// The longest wait that a server may request.
    pub(crate) named_cap: Duration,
}

impl Backoff {
    pub(crate) const DEFAULT: Self = Self {
        base: Duration::from_secs(1),
        cap: Duration::from_secs(30),
        named_cap: DEFAULT_MAX_SERVER_DELAY,
    };

    /// The minimum wait before a reconnect, so that no server can make the client spin.
    pub(crate) const MIN: Duration = Duration::from_millis(10);

    /// The wait that a server requested by `retry:` or `Retry-After`, limited to the cap.
    pub(crate) fn named(&self, wait: Duration) -> Duration {
        wait.min(self.named_cap)
    }

    /// Returns the wait after `barren` connections in a row that yielded no item.
    ///
    /// The server's `retry` is the minimum (WHATWG HTML §9.2.3: "wait a delay equal to the
    /// reconnection time", then "optionally, wait some more") and the exact first wait. Without
    /// one, the first wait is random up to the base. The range doubles with each barren connection,
    /// up to the cap.
    pub(crate) fn delay(
        &self,
        retry: Option<Duration>,
        barren: u32,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        let retry = retry.map(|retry| self.named(retry));
        let least = retry.unwrap_or_default().max(Self::MIN);
        let most = match (retry, barren) {
            (Some(_), 0) => least,
            (retry, barren) => {
                let base = retry.unwrap_or_default().max(self.base);
                base.saturating_mul(1 << barren.min(20)).min(self.cap)
            }
        };
        let span = most.saturating_sub(least);
        least + Duration::from_millis(rng.u64(0..=span.as_millis().try_into().unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(retry: Option<Duration>, barren: u32) -> (u128, u128) {
        let mut rng = fastrand::Rng::with_seed(7);
        let delays: Vec<_> = (0..10_000)
            .map(|_| Backoff::DEFAULT.delay(retry, barren, &mut rng).as_millis())
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
            named_cap: Duration::from_secs(3600),
            ..Backoff::DEFAULT
        };
        assert_eq!(patient.named(Duration::from_secs(3600)).as_secs(), 3600);
        assert_eq!(patient.named(Duration::from_secs(3601)).as_secs(), 3600);
    }

    #[test]
    fn a_server_that_asks_for_no_wait_does_not_make_the_client_spin() {
        let low = range(Some(Duration::ZERO), 0);
        assert_eq!(low, (10, 10));
        assert!(range(Some(Duration::ZERO), 3).1 > 7000);
    }
}
