//! The keys of an issuer, followed by URL.
//!
//! [`JwksCache`] decides when they are fetched, and one task fetches them. A request waits for a fetch
//! only if its token has a key id that isn't known, for at most [`JWKS_WAIT`].

mod fetch;

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use headwater_auth::{Authenticator, FetchReason, JwksCache};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};

pub use self::fetch::JwksUrlError;
pub(super) use self::fetch::Source;
use super::Access;
use crate::limits::{JWKS_FETCH_TIMEOUT, JWKS_WAIT, JWKS_WAITERS};

/// Interval at which the task looks whether it has to fetch.
const TICK: Duration = Duration::from_secs(1);

/// Minimum interval between warnings about fetches that fail.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// A clock that may run faster than time does, for tests.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    began: Instant,
    speed: u32,
}

impl Clock {
    pub(super) fn new(speed: u32) -> Self {
        Self {
            began: Instant::now(),
            speed,
        }
    }

    fn now(self) -> Instant {
        self.began + self.began.elapsed() * self.speed
    }

    /// Returns the time that a duration of this clock takes.
    fn real(self, duration: Duration) -> Duration {
        duration / self.speed
    }
}

/// The keys of one URL.
pub(super) struct Follower {
    source: Arc<Source>,
    authenticator: Arc<Authenticator>,
    clock: Clock,
    cache: Mutex<JwksCache>,
    /// `true` if a request has decided that the keys are fetched.
    is_claimed: AtomicBool,
    /// Wakes the task after that.
    claimed: Notify,
    /// Number of results. It changes after the keys of the result are in force.
    results: watch::Sender<u64>,
    /// `true` after the first success.
    has_keys: AtomicBool,
    waiters: Semaphore,
    warned: Mutex<Option<Instant>>,
}

impl Follower {
    pub(super) fn new(
        source: Arc<Source>,
        authenticator: Arc<Authenticator>,
        clock: Clock,
    ) -> Self {
        Self {
            source,
            authenticator,
            clock,
            cache: Mutex::new(JwksCache::new()),
            is_claimed: AtomicBool::new(false),
            claimed: Notify::new(),
            results: watch::Sender::new(0),
            has_keys: AtomicBool::new(false),
            waiters: Semaphore::new(JWKS_WAITERS),
            warned: Mutex::default(),
        }
    }

    /// Returns `true` after keys have been fetched once.
    pub(super) fn has_keys(&self) -> bool {
        self.has_keys.load(Ordering::Acquire)
    }

    /// Returns `true` if keys are in force, or the issuer has none.
    pub(super) fn is_in_force(&self) -> bool {
        self.cache.lock().is_in_force(self.clock.now())
    }

    /// Has the keys fetched for an unknown key id, if it is time, and waits for the result, at most for
    /// [`JWKS_WAIT`]. Returns `false`, at once, if no fetch runs or too many requests wait for it.
    pub(super) async fn look_again(&self) -> bool {
        let mut results = self.results.subscribe();
        let is_fetching = {
            let mut cache = self.cache.lock();
            let fetch = cache.should_fetch(self.clock.now(), FetchReason::UnknownKey);
            if fetch {
                self.is_claimed.store(true, Ordering::Release);
                self.claimed.notify_one();
            }
            cache.is_fetching()
        };
        if !is_fetching {
            return false;
        }
        // Beyond the limit, requests are refused without a wait.
        let Ok(_permit) = self.waiters.try_acquire() else {
            return false;
        };
        let _ = tokio::time::timeout(self.clock.real(JWKS_WAIT), results.changed()).await;
        true
    }

    /// Fetches the keys if it is time. Returns `false` if it isn't.
    async fn fetch_if_due(&self) -> bool {
        let is_due = self.is_claimed.swap(false, Ordering::AcqRel)
            || (self.cache.lock()).should_fetch(self.clock.now(), FetchReason::Tick);
        if !is_due {
            // A set that is too old loses its force.
            let jwks = self.cache.lock().current(self.clock.now());
            return self.authenticator.set_jwks(jwks);
        }
        let patience = self.clock.real(JWKS_FETCH_TIMEOUT);
        let result = match tokio::time::timeout(patience, self.source.fetch()).await {
            Ok(result) => result,
            Err(_) => Err(format!("no response within {patience:?}")),
        };
        self.report(result.as_ref().err());
        let has_changed;
        {
            // A request that sees the end of the fetch also sees its keys.
            let mut cache = self.cache.lock();
            let now = self.clock.now();
            let is_first = result.is_ok() && !self.has_keys.swap(true, Ordering::AcqRel);
            cache.update(result.ok(), now);
            let jwks = cache.current(now);
            let (keys, skipped) = (jwks.len(), jwks.skipped().to_vec());
            has_changed = self.authenticator.set_jwks(jwks);
            if has_changed || is_first {
                tracing::info!(url = %self.source, keys, "the keys of tokens have changed");
                if keys == 0 {
                    tracing::warn!(url = %self.source, "the JWK Set has no usable key: all tokens are refused");
                }
                for reason in skipped {
                    tracing::warn!(url = %self.source, "a key is skipped: {reason}");
                }
            }
            self.results.send_modify(|results| *results += 1);
        }
        has_changed
    }

    /// Logs a failure, unless one was logged a short time ago, and the first success after one.
    fn report(&self, error: Option<&String>) {
        let mut warned = self.warned.lock();
        match error {
            None if warned.take().is_some() => {
                tracing::info!(url = %self.source, "the keys of tokens are fetched again");
            }
            None => {}
            Some(error) if warned.is_none_or(|then| then.elapsed() >= WARN_EVERY) => {
                *warned = Some(Instant::now());
                let until = match self.is_in_force() {
                    true => "the keys of before stay valid for a day",
                    false => "tokens are answered with 503 until there are keys",
                };
                tracing::warn!(url = %self.source, error, "the keys of tokens can't be fetched: {until}");
            }
            Some(error) => {
                tracing::debug!(url = %self.source, error, "the keys of tokens can't be fetched");
            }
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Follower").field(&self.source).finish()
    }
}

/// Follows the keys until the hub is dropped, and has open responses checked when they change.
pub(super) async fn follow(follower: Arc<Follower>, access: Weak<Access>) {
    loop {
        let has_changed = follower.fetch_if_due().await;
        let Some(access) = access.upgrade() else {
            return;
        };
        if has_changed {
            access.announce_changes();
        }
        drop(access);
        tokio::select! {
            () = follower.claimed.notified() => {}
            () = tokio::time::sleep(follower.clock.real(TICK)) => {}
        }
    }
}
