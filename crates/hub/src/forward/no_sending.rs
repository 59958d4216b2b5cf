//! Takes the place of the client in a build without one.

use axum::{body::Body, response::Response};
use http::{HeaderValue, request::Parts};

use super::refusal;
use crate::error::Failure;

#[derive(Default)]
pub(super) struct Sender {}

impl Sender {
    /// Refuses the request.
    #[allow(clippy::unused_async, clippy::unused_self, reason = "as with a client")]
    pub(super) async fn send(
        &self,
        _: &str,
        _: Parts,
        _: Body,
        _: HeaderValue,
        _: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Response, Failure> {
        let detail = "this hub can't forward the request to the owner of the log: it is built without the features \
                      `relay`, `webhooks` and `jwks`";
        Err(refusal("owner_unreachable", detail))
    }
}
