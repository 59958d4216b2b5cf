use std::{fmt, time::Duration};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_core::Stream;
use headwater_wire::Format;
use http::HeaderValue;

use crate::{
    Problem,
    response::{Content, Kind, Options},
    source::{self, BoxSource},
};

/// A response of text or bytes in chunks, sent as they come and as they are.
///
/// [`Raw::frames`] is for chunks that are in one of the streaming formats already. They aren't looked at: nothing keeps an event of
/// SSE in them from a name that begins with `headwater:`, which clients take for the server's own.
///
/// There is one format, so `Accept` plays no part. Headers, errors, disconnects and shutdown are those
/// of [`Streaming`](crate::Streaming).
///
/// ```
/// use futures_util::stream;
/// use headwater::Raw;
///
/// async fn greeting() -> Raw {
///     Raw::text(stream::iter(["Hello, ", "world\n"]))
/// }
/// ```
pub struct Raw {
    source: BoxSource,
    kind: Kind,
    options: Options,
}

impl Raw {
    /// Text in chunks, as `text/plain; charset=utf-8`.
    pub fn text<S>(stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: Into<String>,
    {
        let source = source::chunks(stream, |text: S::Item| Ok(text.into().into()));
        Self::from_source(source, "text/plain; charset=utf-8")
    }

    /// Text in chunks until an error, which cuts the response.
    pub fn try_text<S, I, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<I, E>> + Send + 'static,
        I: Into<String>,
        E: Into<Problem>,
    {
        let source = source::chunks(stream, |text: Result<I, E>| match text {
            Ok(text) => Ok(text.into().into()),
            Err(error) => Err(error.into()),
        });
        Self::from_source(source, "text/plain; charset=utf-8")
    }

    /// Bytes in chunks, as `application/octet-stream`.
    pub fn bytes<S>(stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: Into<Bytes>,
    {
        let source = source::chunks(stream, |bytes: S::Item| Ok(bytes.into()));
        Self::from_source(source, "application/octet-stream")
    }

    /// Bytes in chunks until an error, which cuts the response.
    pub fn try_bytes<S, I, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<I, E>> + Send + 'static,
        I: Into<Bytes>,
        E: Into<Problem>,
    {
        let source = source::chunks(stream, |bytes: Result<I, E>| match bytes {
            Ok(bytes) => Ok(bytes.into()),
            Err(error) => Err(error.into()),
        });
        Self::from_source(source, "application/octet-stream")
    }

    /// Chunks of whole items that are in `format` already, until an error, which cuts the response. They are sent as
    /// they are, without a copy: many responses may share their memory.
    ///
    /// In SSE there are heartbeats, and the error is an event, as for [`Streaming`](crate::Streaming). The end is the
    /// stream's own: whatever says that it is complete must be in its last chunk.
    pub fn frames<S>(format: Format, stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, Problem>> + Send + 'static,
    {
        Self {
            source: source::frames(stream),
            kind: Kind::Frames(format),
            options: Options::default(),
        }
    }

    fn from_source(source: BoxSource, content_type: &'static str) -> Self {
        Self {
            source,
            kind: Kind::Raw(HeaderValue::from_static(content_type)),
            options: Options::default(),
        }
    }

    /// Sets how long an SSE stream may be silent before a comment goes out. Default: 15 s. Zero: none.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.options.heartbeat = every;
        self
    }

    /// Sets how long a stream of [`frames`](Self::frames) of NDJSON may be silent before a blank line goes out, to clients that don't ask for it. Default:
    /// zero, which is none, as readers exist that fail at a blank line. A client asks with `?heartbeat=SECONDS` or
    /// `Prefer: heartbeat=SECONDS`, from 1 s to an hour; 0 turns it off.
    #[must_use]
    pub fn line_heartbeat(mut self, every: Duration) -> Self {
        self.options.line_heartbeat = every;
        self
    }

    /// Sets the media type. That of [`frames`](Self::frames) is their format's.
    #[must_use]
    pub fn content_type(mut self, content_type: HeaderValue) -> Self {
        if let Kind::Raw(known) = &mut self.kind {
            *known = content_type;
        }
        self
    }

    /// Sets how long the response's head waits for the first chunk, so that an error in its place has
    /// its real status. Default: 30 ms. Zero sends the head at once.
    #[must_use]
    pub fn first_item_wait(mut self, wait: Duration) -> Self {
        self.options.first_item_wait = wait;
        self
    }

    /// Lets the stream run on when the server shuts down, until its deadline.
    #[must_use]
    pub fn finish_on_shutdown(mut self) -> Self {
        self.options.finish_on_shutdown = true;
        self
    }
}

impl IntoResponse for Raw {
    fn into_response(self) -> Response {
        Content {
            source: self.source,
            kind: self.kind,
            check: None,
            options: self.options,
        }
        .into_response()
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("kind", &self.kind)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
