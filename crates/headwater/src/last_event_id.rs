use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::{HeaderName, request::Parts};

use crate::negotiate;

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

impl LastEventId {
    /// The id in the request that is being handled, for what answers it without being given its headers. Where there is
    /// none, the `offset` of the query, by which clients go on that can't set headers.
    ///
    /// It is known while a handler runs, where [`layer`](crate::layer) is around it, as under [`serve`](crate::serve);
    /// elsewhere, and in tasks that the handler spawns, it is `None`.
    #[must_use]
    pub fn of_request() -> Self {
        Self(negotiate::client().and_then(|client| client.last_event_id()))
    }
}

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

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};

    use super::*;
    use crate::test::TestClient;

    #[tokio::test]
    async fn the_request_that_is_handled_says_where_it_goes_on() {
        let said = async || LastEventId::of_request().0.unwrap_or("none".to_owned());
        let client = TestClient::new(Router::new().route("/", get(said)));
        let ask = async |uri: &str, header: &str| {
            let request = client.get(uri).header("last-event-id", header);
            request.send().await.text().await
        };
        assert_eq!(ask("/", "").await, "none");
        assert_eq!(ask("/?offset=", "").await, "none");
        assert_eq!(ask("/?a=b&offset=1%2F2", "").await, "1/2");
        assert_eq!(ask("/?offset=1", "2").await, "2", "it is the later one");
        assert_eq!(LastEventId::of_request(), LastEventId(None));
    }
}
