use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{HeaderName, request::Parts};

/// The `Last-Event-ID` header's name.
pub(crate) static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Extracts the id of the last event that a returning client saw, so that a handler can go on there.
///
/// `None` for a client that comes for the first time. The id is what the stream's items said with
/// [`Item::id`](crate::Item::id); browsers send it as UTF-8 (WHATWG HTML §9.2.3, "encode the last
/// event ID string as UTF-8"), and what isn't UTF-8 is replaced by U+FFFD. It comes from outside: check it.
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

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let id = parts
            .headers
            .get(&LAST_EVENT_ID)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .filter(|id| !id.is_empty());
        Ok(Self(id))
    }
}
