//! A stream between the handler that returned it and the layer that knows what the client asked for.
//!
//! A return value can't see the request. So the response carries the stream twice: as an extension,
//! from which the layer takes it, and as a body, which sends it as NDJSON if no layer did.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use headwater_wire::Format;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;

use crate::{
    body::{Cut, StreamBody},
    source::BoxSource,
};

/// Heartbeats of an SSE stream, unless the developer says otherwise.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a head waits for the first item, unless the developer says otherwise.
const FIRST_ITEM_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) heartbeat: Duration,
    pub(crate) first_item_wait: Duration,
    pub(crate) retry: Option<Duration>,
    pub(crate) finish_on_shutdown: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: HEARTBEAT,
            first_item_wait: FIRST_ITEM_WAIT,
            retry: None,
            finish_on_shutdown: false,
        }
    }
}

/// What a handler returned.
pub(crate) struct Content {
    pub(crate) source: BoxSource,
    pub(crate) kind: Kind,
    pub(crate) options: Options,
}

pub(crate) enum Kind {
    /// Typed items, in any format.
    Items,
    /// Chunks of one media type.
    Raw(HeaderValue),
}

impl Kind {
    fn default_content_type(&self) -> HeaderValue {
        match self {
            Self::Items => HeaderValue::from_static(Format::Ndjson.content_type()),
            Self::Raw(content_type) => content_type.clone(),
        }
    }
}

/// The extension of a response by which the layer finds the content.
#[derive(Clone)]
pub(crate) struct Unsent(Arc<Mutex<Option<Content>>>);

impl Unsent {
    pub(crate) fn respond(content: Content) -> Response {
        let content_type = content.kind.default_content_type();
        let unsent = Self(Arc::new(Mutex::new(Some(content))));
        let mut response = Response::new(Body::new(Unnegotiated::Waiting(unsent.clone())));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
        add_headers(response.headers_mut());
        response.extensions_mut().insert(unsent);
        response
    }

    /// Takes the content; only the first caller gets it.
    pub(crate) fn take(&self) -> Option<Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
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
    headers.append(header::VARY, HeaderValue::from_static("accept"));
}

/// The body of a stream that no layer has claimed yet.
enum Unnegotiated {
    Waiting(Unsent),
    Sending(StreamBody),
}

impl http_body::Body for Unnegotiated {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            match &mut *self {
                Self::Sending(body) => return Pin::new(body).poll_frame(cx),
                Self::Waiting(unsent) => {
                    let Some(content) = unsent.take() else {
                        return Poll::Ready(None);
                    };
                    *self = Self::Sending(StreamBody::new(content, Format::Ndjson));
                }
            }
        }
    }
}
