use std::{borrow::Cow, convert::Infallible};

use axum::extract::FromRequestParts;
use http::{HeaderMap, HeaderName, Uri, request::Parts};

use crate::negotiate;

/// Name of the `Last-Event-ID` header.
pub(crate) static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The id of the last event that a reconnecting client received. A handler resumes after it.
///
/// The id is the first of these that is present and not empty:
///
/// 1. the header `Last-Event-ID`, which browsers send as UTF-8 (WHATWG HTML §9.2.3). Invalid UTF-8
///    is replaced by U+FFFD.
/// 2. the query's `lastEventId`, percent-decoded, which `EventSource` polyfills send.
///    `last-event-id`, `Last-Event-ID` and `last_event_id` are the same name. The last of several
///    counts, because polyfills append to the URL that they are created with.
/// 3. the query's `offset`, percent-decoded, for clients that can't set headers
///
/// `None` for a client that connects for the first time. The id is one that the stream set with
/// [`Item::id`](crate::Item::id). It is untrusted input: validate it.
///
/// ```
/// use futures_util::stream;
/// use headwater::{Item, LastEventId, Streaming};
///
/// async fn count(LastEventId(last): LastEventId) -> Streaming<u64> {
///     let seen = last.and_then(|id| id.parse().ok()).unwrap_or(0);
///     Streaming::new(stream::iter((seen + 1..=10).map(|n| Item::new(n).id(n))))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastEventId(pub Option<String>);

impl LastEventId {
    /// Returns the id in the current request, for code that has no access to the request's headers.
    ///
    /// It is available while a handler runs inside [`layer`](crate::layer), as under
    /// [`serve`](crate::serve). Elsewhere, and in tasks that the handler spawns, it is `None`.
    #[must_use]
    pub fn of_request() -> Self {
        Self(negotiate::client().and_then(|client| client.last_event_id()))
    }

    /// Returns the id in a request with these headers and this query, which is still
    /// percent-encoded.
    #[must_use]
    pub fn of(headers: &HeaderMap, query: Option<&str>) -> Self {
        let Self(seen) = Self::sent_by_event_source(headers, query);
        Self(seen.or_else(|| parameter(query, |name| name == "offset")))
    }

    /// Returns the id as [`of`](Self::of) does, but ignores the query's `offset`. It is for
    /// handlers with their own rules for `offset`.
    #[must_use]
    pub fn sent_by_event_source(headers: &HeaderMap, query: Option<&str>) -> Self {
        let mut headers = headers.get_all(&LAST_EVENT_ID).iter();
        let header = headers
            .find(|id| !id.is_empty())
            .map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
        Self(header.or_else(|| parameter(query, is_parameter)))
    }

    pub(crate) fn of_parts(headers: &HeaderMap, uri: &Uri) -> Self {
        Self::of(headers, uri.query())
    }
}

/// Returns `true` if `name` is a spelling of `lastEventId` that polyfills use.
pub(crate) fn is_parameter(name: &str) -> bool {
    let letters = name.bytes().filter(|byte| !matches!(byte, b'-' | b'_'));
    letters
        .map(|byte| byte.to_ascii_lowercase())
        .eq("lasteventid".bytes())
}

/// Returns the last non-empty value among the query's parameters whose name matches.
fn parameter(query: Option<&str>, fits: impl Fn(&str) -> bool) -> Option<String> {
    form_urlencoded::parse(query?.as_bytes())
        .filter_map(|(name, value)| (!value.is_empty() && fits(&name)).then_some(value))
        .last()
        .map(Cow::into_owned)
}

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of_parts(&parts.headers, &parts.uri))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use http::StatusCode;

    use super::*;
    use crate::{Streaming, test::TestClient};

    /// Checks that the extractor and the function agree, with and without a header.
    #[tokio::test]
    async fn the_extractor_and_the_function_read_the_same_id() {
        let said = async |LastEventId(extracted): LastEventId| {
            assert_eq!(LastEventId::of_request().0, extracted);
            extracted.unwrap_or("none".to_owned())
        };
        let client = TestClient::new(Router::new().route("/", get(said)));
        let ask = async |uri: &str, header: &str| {
            let request = client.get(uri).header("last-event-id", header);
            request.send().await.text().await
        };
        for (uri, header, expected) in [
            ("/", "", "none"),
            ("/?offset=", "", "none"),
            ("/?lastEventId=", "", "none"),
            ("/?lastEventId", "", "none"),
            ("/?lastEvent=1&eventId=2", "", "none"),
            ("/?a=b&offset=1%2F2", "", "1/2"),
            ("/?lastEventId=1%2F2", "", "1/2"),
            ("/?last-event-id=7", "", "7"),
            ("/?Last-Event-ID=7", "", "7"),
            ("/?last_event_id=7", "", "7"),
            ("/?lastEventID=caf%C3%A9+1", "", "café 1"),
            ("/?last%45ventId=7", "", "7"),
            ("/?lastEventId=&offset=3", "", "3"),
            ("/?offset=3&lastEventId=4", "", "4"),
            ("/?lastEventId=4&lastEventId=5&lastEventId=", "", "5"),
            ("/?offset=1", "2", "2"),
            ("/?lastEventId=1&offset=1", "2", "2"),
        ] {
            assert_eq!(ask(uri, header).await, expected, "{uri} {header}");
        }
        assert_eq!(LastEventId::of_request(), LastEventId(None));
    }

    #[test]
    fn the_offset_parameter_can_be_excluded() {
        let sent = |query| LastEventId::sent_by_event_source(&HeaderMap::new(), Some(query)).0;
        assert_eq!(sent("offset=3"), None);
        assert_eq!(sent("offset=3&lastEventId=4").as_deref(), Some("4"));
    }

    #[tokio::test]
    async fn a_polyfill_that_saw_the_end_is_stopped() {
        let one = async || Streaming::new(futures_util::stream::iter([1]));
        let client = TestClient::new(Router::new().route("/", get(one)));
        let end = headwater_wire::sse::END_ID;
        for uri in [
            format!("/?lastEventId={end}"),
            format!("/?a=b&lastEventId={}", end.replace(':', "%3A")),
        ] {
            let status = client.get(&uri).send().await.status();
            assert_eq!(status, StatusCode::NO_CONTENT, "{uri}");
        }
        let other = client.get("/?lastEventId=1").send().await;
        assert_eq!(other.status(), StatusCode::OK);
    }
}
