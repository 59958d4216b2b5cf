//! HTTP caching: entity tags, lifetimes and cursors.

use std::time::SystemTime;

use headwater_log::{Extent, Info, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// Lifetime in seconds of a response with old messages. Messages before an offset never change, so
/// it only bounds how late the deletion or expiry of the stream is noticed.
const KEEP: u64 = 60;

/// Returns the entity tag of a range of messages: the stream's incarnation, the range of offsets, and a mark if
/// it is known to be the end.
pub(crate) fn etag(info: &Info, extent: &Extent) -> Option<HeaderValue> {
    let end = if extent.closed && extent.at_tail {
        ":c"
    } else {
        ""
    };
    let tag = format!(
        "\"{}:{}:{}{end}\"",
        info.lineage.own(),
        extent.from.number(),
        extent.next.number()
    );
    HeaderValue::try_from(tag).ok()
}

/// Evaluates the preconditions of a read whose response has this tag, in the order of RFC 9110
/// §13.2.2. Returns the status if it isn't the response's own.
pub(crate) fn precondition(headers: &HeaderMap, etag: &HeaderValue) -> Option<StatusCode> {
    let etag = etag.to_str().ok()?;
    let names = |name: HeaderName, is_same: fn(&str, &str) -> bool| {
        let mut sent = headers.get_all(name).iter().peekable();
        sent.peek()?;
        let sent = sent.filter_map(|value| value.to_str().ok());
        let mut tags = sent.flat_map(|tags| tags.split(',')).map(str::trim);
        Some(tags.any(|tag| tag == "*" || is_same(tag, etag)))
    };
    // By strong comparison (§13.1.1). The hub's own tags are strong.
    if names(header::IF_MATCH, |tag, etag| tag == etag) == Some(false) {
        return Some(StatusCode::PRECONDITION_FAILED);
    }
    // By weak comparison (§13.1.2).
    let weakly = |tag: &str, etag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
    (names(header::IF_NONE_MATCH, weakly) == Some(true)).then_some(StatusCode::NOT_MODIFIED)
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
    fn preconditions_of_a_read_are_evaluated_by_its_tag() {
        let tag = HeaderValue::from_static("\"1:2:3\"");
        let status = |sent: &[(HeaderName, &'static str)]| {
            let sent = sent.iter().cloned();
            let headers = sent.map(|(name, value)| (name, HeaderValue::from_static(value)));
            precondition(&headers.collect(), &tag).map(|status| status.as_u16())
        };
        let none_match = |sent| status(&[(header::IF_NONE_MATCH, sent)]);
        assert_eq!(none_match("\"1:2:3\""), Some(304));
        assert_eq!(none_match("\"x\", W/\"1:2:3\""), Some(304));
        assert_eq!(none_match("*"), Some(304));
        assert_eq!(none_match("\"1:2:3:c\""), None);
        assert_eq!(status(&[]), None);
        let matches = |sent| status(&[(header::IF_MATCH, sent)]);
        assert_eq!(matches("\"1:2:3\""), None);
        assert_eq!(matches("*"), None);
        assert_eq!(matches("\"x\""), Some(412));
        assert_eq!(matches("W/\"1:2:3\""), Some(412));
        let both = [
            (header::IF_MATCH, "\"x\""),
            (header::IF_NONE_MATCH, "\"1:2:3\""),
        ];
        assert_eq!(status(&both), Some(412));
    }
}
