use std::{fmt, time::Duration};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_core::Stream;
use http::HeaderValue;

use crate::{
    Problem,
    response::{Content, Kind, Options},
    source::{self, BoxSource},
};

/// A response of text or bytes in chunks, sent as they come and as they are.
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
    content_type: HeaderValue,
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

    fn from_source(source: BoxSource, content_type: &'static str) -> Self {
        Self {
            source,
            content_type: HeaderValue::from_static(content_type),
            options: Options::default(),
        }
    }

    /// Sets the media type.
    #[must_use]
    pub fn content_type(mut self, content_type: HeaderValue) -> Self {
        self.content_type = content_type;
        self
    }

    /// Sets how long the response's head waits for the first chunk, so that an error in its place has
    /// its real status. Default: 1 s. Zero sends the head at once.
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
        let kind = Kind::Raw(self.content_type);
        Content {
            source: self.source,
            kind,
            check: None,
            options: self.options,
        }
        .into_response()
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("content_type", &self.content_type)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
