//! What is made sure of a request before an app sees it.

mod encoding;
mod host;
mod hosts;

use std::{error::Error, iter};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Request, StatusCode, header};

pub use self::{
    encoding::Undecodable,
    hosts::{Hosts, NoHost},
};

/// The first error of a type among `error` and its sources: a body's error is wrapped by whatever reads it.
pub(crate) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut errors = iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    });
    errors.find_map(|error| error.downcast_ref())
}

/// Checks whom a request is for, and decodes its body. `hosts`: the hosts that the server answers for, if they are checked.
/// `is_received`: whether it came over a connection of ours.
///
/// # Errors
/// The response that refuses it.
pub(crate) fn admit(
    request: &mut Request<Body>,
    hosts: Option<&Hosts>,
    is_received: bool,
) -> Result<(), Box<Response>> {
    let admitted = host::check(request, is_received)
        .and_then(|()| hosts.map_or(Ok(()), |hosts| hosts.check(request)))
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
