//! Validation and decoding of a request before the app sees it.

mod allowed_hosts;
mod encoding;
mod host;
mod origin;
mod parameter;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};

use crate::Problem;

pub use self::{
    allowed_hosts::{Hosts, NoHost},
    encoding::Undecodable,
    origin::RequestOrigin,
    parameter::{BadParameter, query_parameter, query_parameters},
};
pub(crate) use self::{host::is_authority, origin::Reached};

/// Headers that may occur once (RFC 9110 §5.3), and have readers that can't refuse a second one.
const SINGLE: [&str; 2] = ["Content-Type", "Last-Event-ID"];

/// Validates the host of a request. `hosts` are the accepted hosts, if they are checked. `is_received` is
/// `true` for a request that arrived over one of the server's connections.
///
/// # Errors
/// The host is invalid, or not an accepted one.
pub(crate) fn check_host(
    request: &Request<Body>,
    hosts: Option<&Hosts>,
    is_received: bool,
) -> Result<(), Problem> {
    host::check(request, is_received)?;
    hosts.map_or(Ok(()), |hosts| hosts.check(request))
}

/// Refuses repeated [`SINGLE`] headers and transfer codings, and decodes a request's body.
///
/// # Errors
/// The response that refuses the request.
pub(crate) fn admit(request: &mut Request<Body>) -> Result<(), Box<Response>> {
    let admitted = check_repeated(request.headers())
        .and_then(|()| encoding::check_transfer(request.headers()))
        .and_then(|()| encoding::decode(request));
    admitted.map_err(|problem| {
        let mut response = problem.into_response();
        if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // RFC 9110 §12.5.3.
            let supported = HeaderValue::from_static(encoding::SUPPORTED);
            let headers = response.headers_mut();
            headers.insert(header::ACCEPT_ENCODING, supported);
        }
        Box::new(response)
    })
}

fn check_repeated(headers: &HeaderMap) -> Result<(), Problem> {
    // A fast path: most requests repeat no header.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    let is_repeated = |name: &&str| headers.get_all(*name).iter().nth(1).is_some();
    match SINGLE.into_iter().find(is_repeated) {
        None => Ok(()),
        Some(name) => Err(Problem::bad_request(format!("{name} is given twice"))),
    }
}
