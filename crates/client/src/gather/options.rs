use std::time::Duration;

use super::Cache;
use headwater_wire::Backoff;

use crate::error::Error;

/// The default maximum number of calls in flight: 64.
pub const DEFAULT_CONCURRENCY: usize = 64;
/// The default maximum number of calls in flight to one host: 16.
pub const DEFAULT_PER_HOST: usize = 16;
/// The default time limit of a call with all its attempts: 120 s.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// The default maximum number of retries of a call: 3.
pub const DEFAULT_RETRIES: u32 = 3;
/// The default maximum number of calls that are read from the source before they can start: 1,024.
pub const DEFAULT_LOOK_AHEAD: usize = 1024;
/// The default maximum size of a response's body: 8 MiB.
pub const DEFAULT_MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// The longest `Retry-After` that is followed: 5 min. A longer one is reduced to it.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The settings of async and blocking gather.
pub(crate) struct Options {
    pub(crate) concurrency: usize,
    pub(crate) per_host: usize,
    /// The minimum time between two starts to one host.
    pub(crate) interval: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) total_timeout: Duration,
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
    pub(crate) ordered: bool,
    pub(crate) share_equal: bool,
    pub(crate) cache: Option<Cache>,
    pub(crate) max_body_bytes: usize,
    pub(crate) look_ahead: usize,
    /// The first error.
    pub(crate) error: Option<Error>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            concurrency: DEFAULT_CONCURRENCY,
            per_host: DEFAULT_PER_HOST,
            interval: None,
            timeout: DEFAULT_TIMEOUT,
            total_timeout: Duration::ZERO,
            retries: DEFAULT_RETRIES,
            backoff: Backoff {
                max_server_delay: MAX_RETRY_AFTER,
                ..Backoff::new(Duration::from_millis(500), Duration::from_secs(30))
            },
            ordered: false,
            share_equal: true,
            cache: None,
            max_body_bytes: DEFAULT_MAX_BODY_BYTES,
            look_ahead: DEFAULT_LOOK_AHEAD,
            error: None,
        }
    }
}

impl Options {
    pub(crate) fn at_least_one(&mut self, what: &str, number: usize) -> usize {
        if number == 0 {
            let what = format!("{what} 0 makes no call; the least is 1");
            self.error.get_or_insert(Error::request(what));
        }
        number
    }

    pub(crate) fn rate(&mut self, calls_a_second: f64) {
        match Duration::try_from_secs_f64(calls_a_second.recip()) {
            Ok(interval) if calls_a_second > 0.0 => self.interval = Some(interval),
            _ => {
                let what = "a rate is a number of calls a second above 0, like 20 or 0.5";
                self.error.get_or_insert(Error::request(what));
            }
        }
    }
}

/// The methods that configure a gather. The type has `fn options(&mut self) -> &mut Options`.
macro_rules! gather_options {
    () => {
        /// Sets the maximum number of calls in flight. A result that hasn't been consumed counts as
        /// one. At least 1. Default: 64.
        pub fn concurrency(mut self, calls: usize) -> Self {
            let options = self.options();
            options.concurrency = options.at_least_one("a concurrency of", calls);
            self
        }

        /// Sets the maximum number of calls in flight to one host, which is a scheme, a name and a
        /// port. At least 1. Default: 16.
        pub fn per_host(mut self, calls: usize) -> Self {
            let options = self.options();
            options.per_host = options.at_least_one("a concurrency for each host of", calls);
            self
        }

        /// Sets how many calls per second are sent to one host, evenly spaced. Retries count.
        /// Default: no limit.
        pub fn rate_per_host(mut self, calls_a_second: f64) -> Self {
            self.options().rate(calls_a_second);
            self
        }

        /// Sets the time limit of a call from its first attempt on, including all retries and the
        /// waits between them. Default: 120 s. Zero disables it.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options().timeout = timeout;
            self
        }

        /// Sets the time limit of all calls, from `send` on. Each unfinished call that was read
        /// from the source then fails. If the source has more calls, a last failed result
        /// represents the next call: that one and all later ones were not made. Default: zero,
        /// which is no limit.
        pub fn total_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options().total_timeout = timeout;
            self
        }

        /// Sets how many times a call is retried if there is no response, if the response is
        /// truncated, or if its status is 429, 502, 503 or 504. Only idempotent methods (RFC 9110
        /// §9.2.2) and [repeatable](crate::gather::Call::repeatable) calls are retried; never
        /// another POST. Default: 3.
        pub fn retries(mut self, retries: u32) -> Self {
            self.options().retries = retries;
            self
        }

        /// Sets the backoff before a retry. The wait is random: up to `base` the first time, and up
        /// to twice the previous bound each further time, but at most `cap`. A `Retry-After` is the
        /// minimum, up to 5 minutes; with a 429 it delays all calls to the host. Default: 500 ms
        /// and 30 s.
        pub fn backoff(mut self, base: std::time::Duration, cap: std::time::Duration) -> Self {
            let backoff = &mut self.options().backoff;
            (backoff.base, backoff.cap) = (base, cap);
            self
        }

        /// Yields the results in the order of the calls, instead of as they arrive. Results that
        /// wait for an earlier one count against the look-ahead. While they hold 64 MiB, only the
        /// earlier call may start.
        pub fn ordered(mut self) -> Self {
            self.options().ordered = true;
            self
        }

        /// If `true`, calls that are equal (method, URL, headers and body) to one in flight share
        /// its result and aren't made. Applies only to safe methods, such as GET. Default: `true`.
        pub fn share_equal(mut self, share: bool) -> Self {
            self.options().share_equal = share;
            self
        }

        /// Stores answers in this cache, and reuses them from it. Default: no cache.
        pub fn cache(mut self, cache: $crate::gather::Cache) -> Self {
            self.options().cache = Some(cache);
            self
        }

        /// Sets the maximum size of a response's body, in bytes. A larger one is an error. If the
        /// status isn't a success, the body is cut to this size. Default: 8 MiB.
        pub fn max_body_bytes(mut self, bytes: usize) -> Self {
            self.options().max_body_bytes = bytes;
            self
        }

        /// Sets how many calls are read ahead from the source, to find one whose host isn't at its
        /// limit. At least 1. Default: 1,024. A host at its limit blocks the other hosts only when
        /// this many calls wait for it.
        pub fn look_ahead(mut self, calls: usize) -> Self {
            let options = self.options();
            options.look_ahead = options.at_least_one("a look-ahead of", calls);
            self
        }
    };
}

pub(crate) use gather_options;
