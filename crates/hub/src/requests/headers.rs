//! The headers of a request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use headwater::OperationInput;
use http::{HeaderMap, request::Parts};

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
