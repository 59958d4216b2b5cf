//! One stored response: the requests that it answers, its freshness, and its revalidation.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::control::{Control, seconds};
use crate::gather::Answer;

/// The times at which a request was sent and its response received.
#[derive(Debug, Clone, Copy)]
pub(in crate::gather) struct Times {
    pub(in crate::gather) sent: Instant,
    pub(in crate::gather) received: Instant,
    /// The wall clock at `received`.
    pub(in crate::gather) date: SystemTime,
}

#[derive(Debug)]
pub(in crate::gather) struct Stored {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// The request's values of the headers that `Vary` names.
    varied: Vec<(HeaderName, Vec<HeaderValue>)>,
    /// The age of the response when it was received.
    initial_age: Duration,
    lifetime: Duration,
    received: Instant,
    /// If `true`, every use requires revalidation.
    no_cache: bool,
}

impl Stored {
    /// Returns the response, if it may be stored (RFC 9111 §3) and can be reused.
    pub(super) fn new(request: &HeaderMap, answer: &Answer, times: Times) -> Option<Self> {
        let control = Control::of(&answer.headers);
        let is_understood = match answer.status {
            StatusCode::PARTIAL_CONTENT => false,
            StatusCode::NOT_FOUND | StatusCode::GONE => true,
            status => status.is_success(),
        };
        if !is_understood || control.no_store {
            return None;
        }
        let stored = Self {
            status: answer.status,
            varied: varied(request, &answer.headers)?,
            initial_age: initial_age(&answer.headers, times),
            lifetime: lifetime(&control, &answer.headers, times.date),
            received: times.received,
            no_cache: control.no_cache,
            headers: answer.headers.clone(),
            body: answer.body.clone(),
        };
        let is_of_use = (!stored.no_cache && stored.lifetime > stored.initial_age)
            || (stored.status.is_success() && stored.has_validator());
        is_of_use.then_some(stored)
    }

    /// The size that counts against the cache's limit.
    pub(super) fn bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 64)
            .sum();
        self.body.len() + headers + 256
    }

    /// Returns `true` if it is the response to a request with these headers (§4.1).
    pub(super) fn is_for(&self, request: &HeaderMap) -> bool {
        let same = |(name, values): &(HeaderName, Vec<HeaderValue>)| {
            request.get_all(name).iter().eq(values.iter())
        };
        self.varied.iter().all(same)
    }

    /// Returns `true` if it replaces the other response.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        self.varied == other.varied
    }

    /// Returns `true` if it answers such a request without revalidation (§4.2).
    pub(super) fn is_fresh(&self, request: &Control, now: Instant) -> bool {
        let age = self.age(now);
        !self.no_cache
            && !request.no_cache
            && age.saturating_add(request.min_fresh.unwrap_or_default()) < self.lifetime
            && request
                .max_age
                .is_none_or(|most| age <= most && !most.is_zero())
    }

    /// Returns the response as an answer, with its current age.
    pub(super) fn answer(&self, now: Instant) -> Answer {
        let mut headers = self.headers.clone();
        headers.insert(header::AGE, HeaderValue::from(self.age(now).as_secs()));
        self.answer_with(headers)
    }

    fn answer_with(&self, headers: HeaderMap) -> Answer {
        Answer {
            status: self.status,
            headers,
            body: self.body.clone(),
            cached: true,
        }
    }

    /// Adds the conditions of a revalidation (§4.3.1). Returns `true` if there is a validator.
    pub(in crate::gather) fn conditions(&self, request: &mut HeaderMap) -> bool {
        if let Some(tag) = self.headers.get(header::ETAG) {
            request.insert(header::IF_NONE_MATCH, tag.clone());
        }
        if let Some(date) = self.headers.get(header::LAST_MODIFIED) {
            request.insert(header::IF_MODIFIED_SINCE, date.clone());
        }
        self.has_validator()
    }

    /// Returns the response updated by the headers of a 304 (§3.2, §4.3.4).
    pub(super) fn confirmed(&self, confirmation: &HeaderMap) -> Answer {
        let mut headers = self.headers.clone();
        // The old age is outdated.
        headers.remove(header::AGE);
        for name in confirmation.keys().filter(|name| !is_of_the_message(name)) {
            headers.remove(name);
            for value in confirmation.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        self.answer_with(headers)
    }

    fn has_validator(&self) -> bool {
        self.headers.contains_key(header::ETAG) || self.headers.contains_key(header::LAST_MODIFIED)
    }

    fn age(&self, now: Instant) -> Duration {
        self.initial_age + now.duration_since(self.received)
    }
}

/// Returns `true` for headers that describe one message and not the representation.
fn is_of_the_message(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::CONTENT_ENCODING
            | header::CONTENT_LENGTH
            | header::CONTENT_RANGE
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || name == "keep-alive"
        || name == "proxy-connection"
}

/// The headers that `Vary` names, with the request's values. `None` if no other request can match
/// (`Vary: *`).
fn varied(
    request: &HeaderMap,
    response: &HeaderMap,
) -> Option<Vec<(HeaderName, Vec<HeaderValue>)>> {
    let mut varied = Vec::new();
    for value in response.get_all(header::VARY) {
        for name in value.to_str().ok()?.split(',').map(str::trim) {
            if name.is_empty() {
                continue;
            }
            // `*` is a valid token, but not the name of a header.
            if name == "*" {
                return None;
            }
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let values = request.get_all(&name).iter().cloned().collect();
            varied.push((name, values));
        }
    }
    Some(varied)
}

/// The freshness lifetime in a private cache (§4.2.1). There is no heuristic: a response without an
/// explicit lifetime isn't fresh.
fn lifetime(control: &Control, headers: &HeaderMap, received: SystemTime) -> Duration {
    if let Some(age) = control.max_age {
        return age;
    }
    let Some(expires) = headers.get(header::EXPIRES) else {
        return Duration::ZERO;
    };
    // An invalid date, such as `0`, is in the past (§5.3).
    let Some(expires) = date(expires) else {
        return Duration::ZERO;
    };
    let from = headers.get(header::DATE).and_then(date).unwrap_or(received);
    expires.duration_since(from).unwrap_or_default()
}

/// The age at the time of receipt (§4.2.3).
fn initial_age(headers: &HeaderMap, times: Times) -> Duration {
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok());
    let age = age.and_then(|age| seconds(age.trim())).unwrap_or_default();
    let apparent = headers
        .get(header::DATE)
        .and_then(date)
        .and_then(|date| times.date.duration_since(date).ok())
        .unwrap_or_default();
    // A date has whole seconds, so a difference below one second isn't an age.
    let apparent = if apparent < Duration::from_secs(1) {
        Duration::ZERO
    } else {
        apparent
    };
    apparent.max(age + times.received.duration_since(times.sent))
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn now() -> Times {
        let now = Instant::now();
        Times {
            sent: now,
            received: now,
            date: SystemTime::now(),
        }
    }

    fn answer(status: u16, pairs: &[(&'static str, &str)]) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers(pairs),
            body: Bytes::from_static(b"body"),
            cached: false,
        }
    }

    fn http_date(ago: i64) -> String {
        let now = SystemTime::now();
        let seconds = Duration::from_secs(ago.unsigned_abs());
        httpdate::fmt_http_date(if ago > 0 {
            now - seconds
        } else {
            now + seconds
        })
    }

    /// The number of seconds for which the response stays fresh; `None` if it isn't stored.
    fn fresh_for(status: u16, pairs: &[(&'static str, &str)]) -> Option<u64> {
        let times = now();
        let stored = Stored::new(&HeaderMap::new(), &answer(status, pairs), times)?;
        let is_fresh = |s: &u64| {
            stored.is_fresh(
                &Control::default(),
                times.received + S * u32::try_from(*s).unwrap(),
            )
        };
        Some((0..200).take_while(is_fresh).count() as u64)
    }

    #[test]
    fn a_response_is_fresh_for_its_lifetime_minus_its_age() {
        let in_a_minute = http_date(-60);
        let a_minute_ago = http_date(60);
        for (pairs, wanted) in [
            (&[("cache-control", "max-age=60")][..], Some(60)),
            (
                &[("cache-control", "private, max-age=60"), ("expires", "0")],
                Some(60),
            ),
            (&[("cache-control", "max-age=60"), ("age", "20")], Some(40)),
            (
                &[("cache-control", "max-age=100"), ("date", &a_minute_ago)],
                Some(40),
            ),
            (
                &[("expires", &in_a_minute), ("date", &http_date(0))],
                Some(60),
            ),
            (&[("cache-control", "s-maxage=60"), ("etag", "1")], Some(0)),
            (
                &[("cache-control", "no-cache, max-age=60"), ("etag", "1")],
                Some(0),
            ),
            (&[("etag", "1")], Some(0)),
            (&[("last-modified", &a_minute_ago)], Some(0)),
            (&[("cache-control", "no-cache, max-age=60")], None),
            (
                &[("cache-control", "max-age=60, no-store"), ("etag", "1")],
                None,
            ),
            (
                &[("cache-control", "max-age=60"), ("vary", "accept, *")],
                None,
            ),
            (&[("expires", "0")], None),
            (&[], None),
        ] {
            assert_eq!(fresh_for(200, pairs), wanted, "{pairs:?}");
        }
    }

    #[test]
    fn the_time_of_the_request_counts_towards_the_age_and_dates_may_be_in_obsolete_formats() {
        let mut slow = now();
        slow.received += 9 * S;
        let received = answer(200, &[("cache-control", "max-age=60")]);
        let stored = Stored::new(&HeaderMap::new(), &received, slow).unwrap();
        assert_eq!(stored.age(slow.received).as_secs(), 9);
        for expires in [
            "Sun, 06 Nov 1994 08:50:37 GMT",
            "Sunday, 06-Nov-94 08:50:37 GMT",
            "Sun Nov  6 08:50:37 1994",
        ] {
            let headers = headers(&[
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("expires", expires),
            ]);
            let lifetime = lifetime(&Control::default(), &headers, SystemTime::now());
            assert_eq!(lifetime, 60 * S, "{expires}");
        }
    }

    #[test]
    fn only_understood_statuses_are_stored() {
        for (status, wanted) in [
            (200, true),
            (203, true),
            (404, true),
            (410, true),
            (206, false),
            (500, false),
            (302, false),
        ] {
            let fresh = fresh_for(status, &[("cache-control", "max-age=60")]);
            assert_eq!(fresh.is_some(), wanted, "{status}");
        }
    }

    #[test]
    fn a_request_may_require_a_fresher_response() {
        let times = now();
        let answer = answer(200, &[("cache-control", "max-age=60")]);
        let stored = Stored::new(&HeaderMap::new(), &answer, times).unwrap();
        let at = |seconds, wish: &'static str| {
            let control = Control::of(&headers(&[("cache-control", wish)]));
            stored.is_fresh(&control, times.received + S * seconds)
        };
        assert!(at(10, "max-age=10") && !at(11, "max-age=10"));
        assert!(at(49, "min-fresh=10") && !at(50, "min-fresh=10"));
        assert!(!at(0, "no-cache") && !at(0, "max-age=0"));
    }

    #[test]
    fn a_response_answers_requests_with_equal_varying_headers() {
        let request = |pairs| headers(pairs);
        let answer = answer(
            200,
            &[("cache-control", "max-age=60"), ("vary", "Accept, X-A")],
        );
        let stored =
            Stored::new(&request(&[("accept", "x/y"), ("x-b", "1")]), &answer, now()).unwrap();
        assert!(stored.is_for(&request(&[("accept", "x/y")])));
        assert!(!stored.is_for(&request(&[("accept", "x/z")])));
        assert!(!stored.is_for(&request(&[("accept", "x/y"), ("x-a", "1")])));
        assert!(!stored.is_for(&request(&[])));
        let repeated = request(&[("accept", "x/y"), ("accept", "x/z")]);
        assert!(!stored.is_for(&repeated));
        let stored = Stored::new(&repeated, &answer, now()).unwrap();
        assert!(stored.is_for(&repeated));
        assert!(!stored.is_for(&request(&[("accept", "x/y"), ("accept", "x/w")])));
    }

    #[test]
    fn a_confirmation_updates_the_headers_but_not_the_length() {
        let old = [
            ("cache-control", "max-age=1"),
            ("etag", "\"1\""),
            ("age", "1"),
            ("x-a", "old"),
            ("link", "</a>"),
            ("link", "</b>"),
        ];
        let stored = Stored::new(&HeaderMap::new(), &answer(200, &old), now()).unwrap();
        let mut asked = HeaderMap::new();
        assert!(stored.conditions(&mut asked));
        assert_eq!(asked, headers(&[("if-none-match", "\"1\"")]));
        let confirmation = headers(&[
            ("cache-control", "max-age=9"),
            ("content-length", "0"),
            ("x-new", "1"),
        ]);
        let confirmed = stored.confirmed(&confirmation);
        let wanted = [
            ("cache-control", "max-age=9"),
            ("etag", "\"1\""),
            ("x-a", "old"),
            ("link", "</a>"),
            ("link", "</b>"),
            ("x-new", "1"),
        ];
        assert_eq!(confirmed.headers, headers(&wanted));
        assert_eq!(confirmed.bytes(), "body");
    }
}
