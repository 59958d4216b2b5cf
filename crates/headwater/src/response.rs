//! Conversion of a handler's return value to a response.
//!
//! A return value can't see the request. But axum converts it to a response while the layer's
//! future is being polled, and the layer leaves the client's preferences in a place that the
//! conversion reads. So the response is final from the start, and layers between this one and the
//! handler (compression, tracing) process it like any other.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use headwater_wire::Format;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;
use parking_lot::Mutex;

use crate::{
    Problem,
    body::{Cut, StreamBody},
    negotiate,
    outgoing::Check,
    source::BoxSource,
};

/// Default SSE heartbeat interval.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// Default time that a head waits for the first item.
const FIRST_ITEM_WAIT: Duration = Duration::from_millis(30);

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) heartbeat: Duration,
    pub(crate) line_heartbeat: Duration,
    pub(crate) first_item_wait: Duration,
    pub(crate) retry: Option<Duration>,
    pub(crate) finish_on_shutdown: bool,
    /// The event with which an SSE stream begins, and the response that replaces the stream in
    /// formats without events.
    pub(crate) notice: Option<Box<(Notice, Option<Problem>)>>,
}

/// An event that Headwater itself sends.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) event: &'static str,
    pub(crate) id: String,
    pub(crate) data: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: HEARTBEAT,
            line_heartbeat: Duration::ZERO,
            first_item_wait: FIRST_ITEM_WAIT,
            retry: None,
            finish_on_shutdown: false,
            notice: None,
        }
    }
}

/// The return value of a handler.
pub(crate) struct Content {
    pub(crate) source: BoxSource,
    pub(crate) kind: Kind,
    /// The check of each item, if items are checked.
    pub(crate) check: Option<Arc<dyn Check>>,
    pub(crate) options: Options,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// Typed items, in any format.
    Items,
    /// Chunks of items that are already in the client's format.
    Encoded,
    /// Chunks with this media type.
    Raw(HeaderValue),
    /// Chunks that are already in this format.
    Frames(Format),
}

impl Content {
    pub(crate) fn into_response(mut self) -> Response {
        let client = negotiate::client();
        let format = client
            .as_ref()
            .map_or(Ok(Format::Ndjson), |client| client.format());
        let (format, content_type) = match (&self.kind, format) {
            (Kind::Raw(content_type), _) => (Format::Text, content_type.clone()),
            (Kind::Frames(format), _) => (*format, HeaderValue::from_static(format.content_type())),
            (Kind::Items | Kind::Encoded, Ok(format)) => {
                (format, HeaderValue::from_static(format.content_type()))
            }
            (Kind::Items | Kind::Encoded, Err(refusal)) => return refused(refusal.into()),
        };
        if format != Format::Sse
            && let Some(notice) = self.options.notice.take()
            && let (_, Some(problem)) = *notice
        {
            return refused(problem);
        }
        let wanted = match client.as_ref().map(|client| client.heartbeat.clone()) {
            Some(Ok(wanted)) => wanted,
            Some(Err(refusal)) if !matches!(self.kind, Kind::Raw(_)) => {
                return refused(refusal.into());
            }
            // A body without heartbeats may use the parameter for something else.
            Some(Err(_)) | None => None,
        };
        let mut body = StreamBody::new(self, format, wanted);
        #[cfg(feature = "auth")]
        let over = client.as_ref().and_then(|client| client.take_over());
        if let Some(asked) = client.and_then(|client| client.asked.clone()) {
            body.set_served(asked.into());
        }
        let body = SharedBody(Arc::new(Mutex::new(body)));
        let mut response = Response::new(Body::new(body.clone()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        add_headers(response.headers_mut());
        response.extensions_mut().insert(body);
        #[cfg(feature = "auth")]
        if let Some(over) = over {
            return crate::end_early(response, over);
        }
        response
    }
}

/// Returns the response that replaces a stream.
fn refused(problem: Problem) -> Response {
    let mut response = problem.into_response();
    add_vary(response.headers_mut());
    response
}

/// Adds the headers that every stream has. Headers that the handler set are kept.
fn add_headers(headers: &mut HeaderMap) {
    const HEADERS: [(HeaderName, HeaderValue); 3] = [
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, no-transform"),
        ),
        (
            HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(value);
    }
    add_vary(headers);
}

fn add_vary(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("accept"));
}

/// The body of a response. It is also an extension of the response, by which the layer finds it
/// when other bodies wrap it.
#[derive(Clone)]
pub(crate) struct SharedBody(Arc<Mutex<StreamBody>>);

impl SharedBody {
    /// Waits for the first item, for at most the stream's `first_item_wait`.
    ///
    /// # Errors
    /// The stream failed before its first item.
    pub(crate) async fn prime(&self) -> Result<(), Problem> {
        let Some(wait) = self.0.lock().first_item_wait() else {
            return Ok(());
        };
        let primed = std::future::poll_fn(|cx| self.0.lock().poll_prime(cx));
        // On a timeout, the head goes out unchanged.
        tokio::time::timeout(wait, primed).await.unwrap_or(Ok(()))
    }
}

impl http_body::Body for SharedBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.0.lock().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }
}
