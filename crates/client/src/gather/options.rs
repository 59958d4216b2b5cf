use std::time::Duration;

use super::Cache;
use crate::{error::Error, session::Backoff};

/// How many calls are made at a time, unless another number is set: 64.
pub const DEFAULT_CONCURRENCY: usize = 64;
/// How many of them to one host: 16.
pub const DEFAULT_PER_HOST: usize = 16;
/// How long a call may take, its attempts in all: 120 s.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// How many times a call is made again: 3.
pub const DEFAULT_RETRIES: u32 = 3;
/// How many calls are read from the source before there's a place for them: 1,024.
pub const DEFAULT_LOOK_AHEAD: usize = 1024;
/// The largest body of an answer: 8 MiB.
pub const DEFAULT_MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// No `Retry-After` is heeded for longer: 5 min.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The settings of async and blocking gather.
pub(crate) struct Options {
    pub(crate) concurrency: usize,
    pub(crate) per_host: usize,
    /// Between two starts to one host.
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
    /// The first thing that was wrong.
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
                base: Duration::from_millis(500),
                cap: Duration::from_secs(30),
                named_cap: MAX_RETRY_AFTER,
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
        /// How many calls are made at a time, in all. A result that wasn't taken yet holds its place.
        /// At least 1; default: 64.
        pub fn concurrency(mut self, calls: usize) -> Self {
            let options = self.options();
            options.concurrency = options.at_least_one("a concurrency of", calls);
            self
        }

        /// How many calls are made at a time to one host, which is a scheme, a name and a port. At
        /// least 1; default: 16.
        pub fn per_host(mut self, calls: usize) -> Self {
            let options = self.options();
            options.per_host = options.at_least_one("a concurrency for each host of", calls);
            self
        }

        /// How many calls a second are sent to one host, evenly spaced. Attempts after the first
        /// count. Default: no limit.
        pub fn rate_per_host(mut self, calls_a_second: f64) -> Self {
            self.options().rate(calls_a_second);
            self
        }

        /// How long a call may take, from when it is first sent, with all its attempts and the pauses
        /// between them. Default: 120 s; zero turns it off.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options().timeout = timeout;
            self
        }

        /// How long all calls may take, from `send` on. Calls that were taken from the source and
        /// aren't done by then fail, each by itself; if there are more, the last result is a failed
        /// one in the place of the next: it and those behind it were not made. Default: no limit,
        /// which zero is too.
        pub fn total_timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options().total_timeout = timeout;
            self
        }

        /// How many times a call is made again when there is no answer, it is cut, or the status is 429,
        /// 502, 503 or 504. Only idempotent methods are (RFC 9110 §9.2.2), and calls that are
        /// [repeatable](crate::gather::Call::repeatable); never another POST. Default: 3.
        pub fn retries(mut self, retries: u32) -> Self {
            self.options().retries = retries;
            self
        }

        /// The time to wait before a call is made again: anything up to `base` the first time, up to
        /// twice as much each time after that, but never more than up to `cap`. A `Retry-After` is
        /// the least, up to 5 minutes; with a 429 all calls to its host wait for it. Default: 500 ms
        /// and 30 s.
        pub fn backoff(mut self, base: std::time::Duration, cap: std::time::Duration) -> Self {
            let backoff = &mut self.options().backoff;
            (backoff.base, backoff.cap) = (base, cap);
            self
        }

        /// Gives the results in the order of the calls, and not as they come. Results that wait for an
        /// earlier one count as looked ahead, and no call but that one is started while they hold
        /// 64 MiB.
        pub fn ordered(mut self) -> Self {
            self.options().ordered = true;
            self
        }

        /// Whether calls that are equal (method, URL, headers and body) while the first of them is
        /// being made get its result and aren't made. Only of safe methods, like GET. Default: yes.
        pub fn share_equal(mut self, share: bool) -> Self {
            self.options().share_equal = share;
            self
        }

        /// Keeps answers in this cache, and takes them from it. Default: none.
        pub fn cache(mut self, cache: $crate::gather::Cache) -> Self {
            self.options().cache = Some(cache);
            self
        }

        /// The largest body of an answer, in bytes; a larger one is an error. Of a body that explains
        /// a status that is no success, so much is kept. Default: 8 MiB.
        pub fn max_body_bytes(mut self, bytes: usize) -> Self {
            self.options().max_body_bytes = bytes;
            self
        }

        /// How many calls are taken from the source, before there's a place for them, to find one
        /// whose host isn't at its limit. At least 1; default: 1,024. So a host at its limit holds up
        /// the others when so many calls wait for it.
        pub fn look_ahead(mut self, calls: usize) -> Self {
            let options = self.options();
            options.look_ahead = options.at_least_one("a look-ahead of", calls);
            self
        }
    };
}

pub(crate) use gather_options;
