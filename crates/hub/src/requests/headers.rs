//! The headers of a request.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{body::Body, extract::FromRequestParts};
use bytes::Bytes;
use headwater::OperationInput;
use http::{HeaderMap, Version, request::Parts};
use http_body::Frame;

/// The headers of a request, moved out of it. Extracting a [`HeaderMap`] clones them.
///
/// Extractors that run after this one don't see them.
pub(crate) struct RequestHeaders(pub(crate) HeaderMap);

impl<S: Sync> FromRequestParts<S> for RequestHeaders {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(std::mem::take(&mut parts.headers)))
    }
}

impl OperationInput for RequestHeaders {}

/// The body of a response to `HEAD`, of unknown length.
///
/// `Content-Length` would be that of the response to `GET`: "A server MUST NOT send Content-Length in such a response
/// unless its field value equals the decimal number of octets that would have been sent" (RFC 9110 §8.6). It
/// isn't known without a read.
pub(crate) struct HeadBody(pub(crate) Body);

impl<S: Sync> FromRequestParts<S> for HeadBody {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(Body::new(Nothing {
            is_in_frames: parts.version >= Version::HTTP_2,
        })))
    }
}

impl OperationInput for HeadBody {}

struct Nothing {
    /// Over HTTP/2, the head ends the stream. Over HTTP/1.1, hyper would take such a body for one of length 0.
    is_in_frames: bool,
}

impl http_body::Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.is_in_frames
    }
}
