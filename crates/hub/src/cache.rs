//! HTTP caching: entity tags, lifetimes and cursors.

use std::time::{SystemTime, UNIX_EPOCH};

use headwater_log::{Chunk, Info, Timestamp};
use http::{HeaderMap, HeaderValue, header};

/// The time of cursor 0: 2024-10-09T00:00:00Z.
const EPOCH: u64 = 1_728_432_000;

/// Duration of one cursor in seconds.
const INTERVAL: u64 = 20;

/// Maximum number of seconds by which a cursor is ahead of a client's own.
const JITTER: u64 = 3600;

/// Lifetime in seconds of a response with old messages. Messages before an offset never change, so
/// it only bounds how late the deletion or expiry of the stream is noticed.
const KEEP: u64 = 60;

/// Maximum cursor that is accepted from a client: 2^53, which every JSON parser represents exactly.
const GREATEST: u64 = 1 << 53;

/// Returns the cursor of the current time.
pub(crate) fn interval() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    now.saturating_sub(EPOCH) / INTERVAL
}

/// Returns the lower bound of the next cursor for a client that sent one: a cursor ahead of its own
/// if that isn't past yet. Therefore no client receives the same cursor twice, and no cache serves
/// it one response indefinitely.
pub(crate) fn least_cursor(sent: Option<u64>) -> Option<u64> {
    let sent = sent.filter(|sent| (interval()..GREATEST).contains(sent))?;
    let seconds = fastrand::u64(1..=JITTER);
    Some(sent + (seconds / INTERVAL).max(1))
}

/// Returns the cursor for a client.
pub(crate) fn cursor(least: Option<u64>) -> u64 {
    interval().max(least.unwrap_or(0))
}

/// Returns the entity tag of a chunk: the stream's incarnation, the range of offsets, and a mark if
/// it is known to be the end.
pub(crate) fn etag(info: &Info, chunk: &Chunk) -> Option<HeaderValue> {
    let end = if chunk.closed && chunk.at_tail {
        ":c"
    } else {
        ""
    };
    let tag = format!(
        "\"{}:{}:{}{end}\"",
        info.lineage.own(),
        chunk.from.number(),
        chunk.next.number()
    );
    HeaderValue::try_from(tag).ok()
}

/// Returns `true` if `If-None-Match` contains this tag (RFC 9110 §13.1.2, by weak comparison).
pub(crate) fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let Ok(etag) = etag.to_str() else {
        return false;
    };
    let sent = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    sent.flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Returns `Cache-Control` for messages. If the stream may have grown since, caches have to
/// revalidate. The stream's own expiry bounds the lifetime.
pub(crate) fn control(info: &Info, is_settled: bool, private: bool) -> HeaderValue {
    let scope = if private { "private" } else { "public" };
    let left = info.expires.map_or(KEEP, |end| {
        let now = Timestamp::from(SystemTime::now());
        end.0.saturating_sub(now.0) / 1000
    });
    let text = if is_settled && left > 0 {
        format!(
            "{scope}, max-age={}, stale-while-revalidate={}",
            left.min(KEEP),
            left.min(5 * KEEP)
        )
    } else {
        format!("{scope}, no-cache")
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("no-store"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_receives_a_cursor_past_its_own() {
        let now = interval();
        assert_eq!(least_cursor(None), None);
        assert_eq!(least_cursor(Some(now - 1)), None);
        for ahead in [0, 1, 1000] {
            assert!(least_cursor(Some(now + ahead)).is_some_and(|least| least > now + ahead));
        }
        assert_eq!(least_cursor(Some(u64::MAX)), None);
        assert!(cursor(Some(now + 9)) >= now + 9);
    }

    #[test]
    fn a_tag_matches_among_others_and_by_weak_comparison() {
        let tag = HeaderValue::from_static("\"1:2:3\"");
        let known = |sent: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(sent));
            is_known(&headers, &tag)
        };
        assert!(known("\"1:2:3\""));
        assert!(known("\"x\", W/\"1:2:3\""));
        assert!(known("*"));
        assert!(!known("\"1:2:3:c\""));
        assert!(!is_known(&HeaderMap::new(), &tag));
    }
}
