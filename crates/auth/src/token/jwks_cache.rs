//! When to fetch a JWK Set, and for how long to use it.

use std::time::{Duration, Instant};

use super::Jwks;
use crate::limits::{
    JWKS_FETCH_INTERVAL, JWKS_FETCH_PATIENCE, JWKS_FRESH, JWKS_FRESH_MAX, JWKS_FRESH_MIN,
    JWKS_STALE,
};

/// The occasion of a possible fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchReason {
    /// The regular check, once a second or so, and at the start.
    Tick,
    /// A token has a key id that isn't in the set ([`UnknownKey`](crate::AuthError::UnknownKey)).
    UnknownKey,
}

/// Decides when an issuer's JWK Set is fetched. It does no I/O and reads no clock.
///
/// - A set is fetched when it isn't fresh any more: after the `max-age` of its response, within
///   [`JWKS_FRESH_MIN`] and [`JWKS_FRESH_MAX`], or after [`JWKS_FRESH`].
/// - For an unknown key id it is fetched at most once per [`JWKS_FETCH_INTERVAL`], so that tokens with
///   made-up ids cause no load. A fetch that found other keys doesn't count towards it, nor does a regular
///   one, so that a key that is new then is found at once. After a failure it is fetched again after the
///   same time.
/// - One fetch runs at a time. One without a result for [`JWKS_FETCH_PATIENCE`] is taken for lost.
/// - While fetches fail, the last set stays in force for [`JWKS_STALE`] after it was fetched.
///
/// ```
/// use std::time::Instant;
///
/// use headwater_auth::{FetchReason, Jwks, JwksCache};
///
/// let now = Instant::now();
/// let mut cache = JwksCache::new();
/// assert!(cache.should_fetch(now, FetchReason::Tick));
/// // The caller fetches the set, and tells the result.
/// let jwks = Jwks::parse(br#"{"keys": []}"#)?;
/// cache.update(Some((jwks, None)), now);
/// assert!(!cache.should_fetch(now, FetchReason::Tick));
/// # Ok::<(), headwater_auth::KeyError>(())
/// ```
#[derive(Debug, Default)]
pub struct JwksCache {
    jwks: Jwks,
    /// The time of the last success, and for how long its set is fresh.
    fetched: Option<(Instant, Duration)>,
    /// The time of the last start of a fetch.
    started: Option<Instant>,
    /// The time of the last start of a fetch for an unknown key id that found no other keys.
    started_for_unknown: Option<Instant>,
    /// The time of the last result, if it was a failure.
    failed: Option<Instant>,
    in_flight: bool,
}

impl JwksCache {
    /// Makes a cache without a set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns `true` if the caller has to fetch the set now and pass the result to
    /// [`update`](Self::update).
    pub fn should_fetch(&mut self, now: Instant, reason: FetchReason) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        if self.in_flight
            && self
                .started
                .is_some_and(|then| since(then) < JWKS_FETCH_PATIENCE)
        {
            return false;
        }
        let is_fresh = self
            .fetched
            .is_some_and(|(then, fresh)| since(then) < fresh);
        let for_unknown = reason == FetchReason::UnknownKey;
        let last = self.started_for_unknown.filter(|_| for_unknown);
        let is_pause = [last, self.failed]
            .into_iter()
            .flatten()
            .any(|then| since(then) < JWKS_FETCH_INTERVAL);
        let fetch = (for_unknown || !is_fresh) && !is_pause;
        if fetch {
            self.in_flight = true;
            self.started = Some(now);
            if for_unknown {
                self.started_for_unknown = Some(now);
            }
        }
        fetch
    }

    /// Takes the result of a fetch: the set with the `max-age` of its response, or `None` if it
    /// couldn't be fetched or parsed.
    pub fn update(&mut self, result: Option<(Jwks, Option<Duration>)>, now: Instant) {
        self.in_flight = false;
        self.failed = result.is_none().then_some(now);
        if let Some((jwks, max_age)) = result {
            let fresh = max_age.unwrap_or(JWKS_FRESH);
            let fresh = fresh.clamp(JWKS_FRESH_MIN, JWKS_FRESH_MAX);
            if jwks != self.jwks {
                self.started_for_unknown = None;
                self.jwks = jwks;
            }
            self.fetched = Some((now, fresh));
        }
    }

    /// Returns the set that is in force. It is empty before the first success, and
    /// [`JWKS_STALE`] after the last one.
    #[must_use]
    pub fn current(&self, now: Instant) -> Jwks {
        match self.is_in_force(now) {
            true => self.jwks.clone(),
            false => Jwks::default(),
        }
    }

    /// Returns `true` if a set is in force, perhaps one without keys. Otherwise nothing is known of any
    /// token.
    #[must_use]
    pub fn is_in_force(&self, now: Instant) -> bool {
        let since = |then| now.saturating_duration_since(then);
        self.fetched
            .is_some_and(|(then, _)| since(then) <= JWKS_STALE)
    }

    /// Returns `true` if a fetch runs whose result isn't known yet.
    #[must_use]
    pub fn is_fetching(&self) -> bool {
        self.in_flight
    }
}

#[cfg(test)]
mod tests {
    use FetchReason::{Tick, UnknownKey};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn set() -> Jwks {
        set_of(&["a"])
    }

    /// A set with a key under each of these ids.
    fn set_of(ids: &[&str]) -> Jwks {
        let keys = ids.iter().map(|kid| {
            format!(
                r#"{{"kty": "EC", "crv": "P-256", "kid": "{kid}",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}"#
            )
        });
        let keys = keys.collect::<Vec<_>>().join(",");
        Jwks::parse(format!("{{\"keys\": [{keys}]}}").as_bytes()).unwrap()
    }

    /// A cache that fetched the set just now.
    fn fetched(max_age: Option<Duration>) -> (JwksCache, Instant) {
        let now = Instant::now();
        let mut cache = JwksCache::new();
        assert!(cache.current(now).is_empty());
        assert!(cache.should_fetch(now, Tick));
        cache.update(Some((set(), max_age)), now);
        (cache, now)
    }

    #[test]
    fn a_set_is_fetched_again_when_it_isnt_fresh_any_more() {
        for (max_age, fresh) in [
            (None, JWKS_FRESH),
            (Some(300 * SECOND), 300 * SECOND),
            (Some(Duration::ZERO), JWKS_FRESH_MIN),
            (Some(Duration::MAX), JWKS_FRESH_MAX),
        ] {
            let (mut cache, now) = fetched(max_age);
            assert!(!cache.should_fetch(now + fresh - SECOND, Tick));
            assert!(cache.should_fetch(now + fresh, Tick));
        }
    }

    #[test]
    fn an_unknown_key_causes_one_fetch_in_an_interval() {
        let (mut cache, start) = fetched(None);
        let mut fetches = Vec::new();
        for second in 1..=30 {
            let now = start + second * SECOND;
            // Ten tokens each second.
            for _ in 0..10 {
                if cache.should_fetch(now, UnknownKey) {
                    fetches.push(second);
                    cache.update(Some((set(), None)), now);
                }
            }
        }
        assert_eq!(fetches, [1, 11, 21]);
    }

    #[test]
    fn a_key_that_is_unknown_right_after_a_regular_fetch_causes_another_one() {
        let (mut cache, now) = fetched(None);
        assert!(cache.should_fetch(now, UnknownKey));
        assert!(cache.is_fetching() && !cache.should_fetch(now, UnknownKey));
        cache.update(Some((set(), None)), now);
        let soon = now + JWKS_FETCH_INTERVAL;
        assert!(!cache.is_fetching() && !cache.should_fetch(soon - SECOND, UnknownKey));
        assert!(cache.should_fetch(soon, UnknownKey));
    }

    #[test]
    fn a_key_that_is_new_after_a_fetch_that_found_others_causes_another_one() {
        let now = Instant::now();
        let mut cache = JwksCache::new();
        // The first token arrives before the first regular fetch.
        for found in [set(), Jwks::default(), set()] {
            assert!(cache.should_fetch(now, UnknownKey));
            cache.update(Some((found, None)), now);
        }
        assert!(cache.should_fetch(now, UnknownKey));
        cache.update(Some((set(), None)), now);
        assert!(!cache.should_fetch(now, UnknownKey));
    }

    #[test]
    fn the_same_keys_in_another_order_are_not_other_keys() {
        let now = Instant::now();
        let mut cache = JwksCache::new();
        for (found, fetches_again) in [(["a", "b"], true), (["b", "a"], false)] {
            assert!(cache.should_fetch(now, UnknownKey));
            cache.update(Some((set_of(&found), None)), now);
            assert_eq!(cache.started_for_unknown.is_none(), fetches_again);
        }
        assert!(!cache.should_fetch(now, UnknownKey));
    }

    #[test]
    fn a_set_without_keys_is_in_force_and_none_is_before_the_first_fetch() {
        let now = Instant::now();
        let mut cache = JwksCache::new();
        assert!(!cache.is_in_force(now));
        cache.update(Some((Jwks::default(), None)), now);
        assert!(cache.is_in_force(now + JWKS_STALE));
        assert!(!cache.is_in_force(now + JWKS_STALE + SECOND));
    }

    #[test]
    fn one_fetch_runs_at_a_time_and_a_lost_one_is_repeated() {
        let now = Instant::now();
        let mut cache = JwksCache::new();
        assert!(cache.should_fetch(now, Tick));
        for reason in [Tick, UnknownKey] {
            assert!(!cache.should_fetch(now + JWKS_FETCH_PATIENCE - SECOND, reason));
        }
        assert!(cache.should_fetch(now + JWKS_FETCH_PATIENCE, Tick));
        assert!(!cache.should_fetch(now + JWKS_FETCH_PATIENCE, Tick));
    }

    #[test]
    fn a_failed_fetch_is_repeated_after_an_interval() {
        let now = Instant::now();
        let mut cache = JwksCache::new();
        assert!(cache.should_fetch(now, Tick));
        cache.update(None, now);
        for reason in [Tick, UnknownKey] {
            assert!(!cache.should_fetch(now + JWKS_FETCH_INTERVAL - SECOND, reason));
        }
        assert!(cache.should_fetch(now + JWKS_FETCH_INTERVAL, Tick));
    }

    #[test]
    fn the_last_set_stays_in_force_for_a_day_while_fetches_fail() {
        let (mut cache, start) = fetched(None);
        let mut now = start;
        let mut fetches = 0;
        while now <= start + JWKS_STALE {
            if cache.should_fetch(now, Tick) {
                fetches += 1;
                cache.update(None, now);
            }
            assert_eq!(cache.current(now), set());
            now += 5 * SECOND;
        }
        assert!((8500..8600).contains(&fetches), "{fetches}");
        assert!(cache.current(start + JWKS_STALE + SECOND).is_empty());

        cache.update(Some((set(), None)), now);
        assert_eq!(cache.current(now), set());
    }
}
