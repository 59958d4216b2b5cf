//! From what a handler returned to a response.
//!
//! A return value can't see the request. But it becomes a response while the layer's future is being
//! polled, and the layer leaves there what it knows of the client. So the response is right from the
//! start, and the layers of an app between this one and the handler (compression, tracing) work on it
//! as on any other.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

use crate::{
    Problem,
    body::{Cut, StreamBody},
    negotiate,
    schema::Schema,
    source::BoxSource,
};

/// Heartbeats of an SSE stream, unless the developer says otherwise.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a head waits for the first item, unless the developer says otherwise.
const FIRST_ITEM_WAIT: Duration = Duration::from_millis(30);

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) heartbeat: Duration,
    pub(crate) line_heartbeat: Duration,
    pub(crate) first_item_wait: Duration,
    pub(crate) retry: Option<Duration>,
    pub(crate) finish_on_shutdown: bool,
    /// The event with which an SSE stream begins, and what is answered in its place in the formats that have no events.
    pub(crate) notice: Option<Box<(Notice, Option<Problem>)>>,
}

/// An event of Headwater's own.
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

/// What a handler returned.
pub(crate) struct Content {
    pub(crate) source: BoxSource,
    pub(crate) kind: Kind,
    /// What each item must be, if that is to be checked.
    pub(crate) check: Option<Schema>,
    pub(crate) options: Options,
}

#[derive(Debug)]
pub(crate) enum Kind {
    /// Typed items, in any format.
    Items,
    /// Chunks of one media type.
    Raw(HeaderValue),
    /// Chunks that are in a format already.
    Frames(Format),
}

impl Content {
    pub(crate) fn into_response(mut self) -> Response {
        let client = negotiate::client();
        let format = client
            .as_ref()
            .map_or(Ok(Format::Ndjson), negotiate::Client::format);
        let (format, content_type) = match (&self.kind, format) {
            (Kind::Raw(content_type), _) => (Format::Text, content_type.clone()),
            (Kind::Frames(format), _) => (*format, HeaderValue::from_static(format.content_type())),
            (Kind::Items, Ok(format)) => (format, HeaderValue::from_static(format.content_type())),
            (Kind::Items, Err(refusal)) => return refused(refusal.into()),
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
        if let Some(asked) = client.and_then(|client| client.asked) {
            body.set_served(asked.into());
        }
        let body = SharedBody(Arc::new(Mutex::new(body)));
        let mut response = Response::new(Body::new(body.clone()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        add_headers(response.headers_mut());
        response.extensions_mut().insert(body);
        response
    }
}

/// The response in the place of a stream.
fn refused(problem: Problem) -> Response {
    let mut response = problem.into_response();
    add_vary(response.headers_mut());
    response
}

/// The headers that every stream has. What the handler set itself stays.
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

/// The body of a response, and an extension of it by which the layer finds it, in whatever other bodies
/// it is wrapped by then.
#[derive(Clone)]
pub(crate) struct SharedBody(Arc<Mutex<StreamBody>>);

impl SharedBody {
    fn lock(&self) -> MutexGuard<'_, StreamBody> {
        // A stream that panicked is polled no more, but its body may still be asked whether it is over.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first item, within the time that the stream gives it.
    ///
    /// # Errors
    /// The stream failed before that.
    pub(crate) async fn prime(&self) -> Result<(), Problem> {
        let Some(wait) = self.lock().first_item_wait() else {
            return Ok(());
        };
        let primed = std::future::poll_fn(|cx| self.lock().poll_prime(cx));
        // No answer in time means that the head goes out as it is.
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
        self.lock().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }
}
