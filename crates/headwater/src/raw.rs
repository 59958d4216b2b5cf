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

/// A response of text or bytes in chunks, each sent unchanged as soon as it is available.
///
/// [`Raw::frames`] is for chunks that are already in one of the streaming formats. They are not
/// inspected: an SSE event in them may have a name that begins with `headwater:`, which clients
/// attribute to the server.
///
/// The format is fixed, so `Accept` is ignored. Headers, errors, disconnects and shutdown are as
/// for [`Streaming`](crate::Streaming).
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
    /// Streams text in chunks, as `text/plain; charset=utf-8`.
    pub fn text<S>(stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: Into<String>,
    {
        let source = source::chunks(stream, |text: S::Item| Ok(text.into().into()));
        Self::from_source(source, "text/plain; charset=utf-8")
    }

    /// Streams text in chunks until an error, which aborts the response.
    pub fn try_text<S, I, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<I, E>> + Send + 'static,
        I: Into<String>,
        E: Into<Problem>,
    {
        let source = source::chunks(stream, |text: Result<I, E>| {
            text.map(|text| text.into().into()).map_err(Into::into)
        });
        Self::from_source(source, "text/plain; charset=utf-8")
    }

    /// Streams bytes in chunks, as `application/octet-stream`.
    pub fn bytes<S>(stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: Into<Bytes>,
    {
        let source = source::chunks(stream, |bytes: S::Item| Ok(bytes.into()));
        Self::from_source(source, "application/octet-stream")
    }

    /// Streams bytes in chunks until an error, which aborts the response.
    pub fn try_bytes<S, I, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<I, E>> + Send + 'static,
        I: Into<Bytes>,
        E: Into<Problem>,
    {
        let source = source::chunks(stream, |bytes: Result<I, E>| {
            bytes.map(Into::into).map_err(Into::into)
        });
        Self::from_source(source, "application/octet-stream")
    }

    /// Streams chunks of whole items that are already in `format`, until an error, which aborts the
    /// response. The chunks are sent without a copy, so that many responses can share their memory.
    ///
    /// SSE has heartbeats, and its error is an event, as for [`Streaming`](crate::Streaming).
    /// Nothing is appended at the end: if the format marks a complete stream, the last chunk must
    /// contain that mark.
    pub fn frames<S>(format: Format, stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, Problem>> + Send + 'static,
    {
        Self {
            source: source::frames(|_| stream, |bytes| (bytes, 1)),
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

    /// Sets the idle time after which an SSE stream sends a comment as a heartbeat. Default: 15 s.
    /// Zero turns it off.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.options.heartbeat = every;
        self
    }

    /// Sets the idle time after which an NDJSON stream of [`frames`](Self::frames) sends a blank
    /// line to clients that don't request heartbeats. Default: zero, which sends none, because some
    /// readers fail at a blank line.
    ///
    /// A client requests them with `?heartbeat=SECONDS` or `Prefer: heartbeat=SECONDS`, from 1 s to
    /// an hour; 0 turns them off.
    #[must_use]
    pub fn line_heartbeat(mut self, every: Duration) -> Self {
        self.options.line_heartbeat = every;
        self
    }

    /// Sets the media type. It has no effect on [`frames`](Self::frames), which have that of their
    /// format.
    #[must_use]
    pub fn content_type(mut self, content_type: HeaderValue) -> Self {
        if let Kind::Raw(known) = &mut self.kind {
            *known = content_type;
        }
        self
    }

    /// Sets how long the response's head waits for the first chunk, so that an error before it is
    /// sent with its own status. Default: 30 ms. Zero sends the head at once.
    #[must_use]
    pub fn first_item_wait(mut self, wait: Duration) -> Self {
        self.options.first_item_wait = wait;
        self
    }

    /// Lets the stream continue during a shutdown, until the shutdown's deadline.
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
