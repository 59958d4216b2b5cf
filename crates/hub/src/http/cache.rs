//! HTTP caching: entity tags, lifetimes and cursors.

use std::time::SystemTime;

use headwater_log::{Extent, Info, Timestamp};
use http::{HeaderMap, HeaderValue, header};

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
