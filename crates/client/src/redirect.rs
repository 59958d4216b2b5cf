//! Sends a request and follows its redirects.
//!
//! This module follows redirects instead of reqwest, which sends all but a few headers to another
//! host, and turns a POST into a GET.

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use reqwest::{Response, Url};

use crate::{
    Egress,
    error::{Error, Kind},
    exchange::connect_error,
    plan::place,
};

/// Maximum number of redirects.
const MAX_REDIRECTS: usize = 10;

/// The headers that are kept for another origin, besides those of [`is_of_the_protocol`]: they
/// describe the request, and not the requester. All others may contain a secret, as `X-Api-Key`
/// does.
const HARMLESS: [HeaderName; 15] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_TYPE,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::PRAGMA,
    header::RANGE,
    header::USER_AGENT,
    HeaderName::from_static("idempotency-key"),
    // Without it a stream would restart from its beginning.
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("prefer"),
];

/// Returns `true` for a header of the Durable Streams protocol. Without them, a repeated append
/// would be stored twice.
fn is_of_the_protocol(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("producer-") || name.starts_with("stream-")
}

/// The handling of a `303` in response to a method other than GET and HEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeeOther {
    /// Reads the result from another URL by a GET (RFC 9110 §15.4.4).
    Get,
    /// Returns an error, because the success of that GET says nothing about the original request.
    Refuse,
}

/// Sends a request, and follows at most [`MAX_REDIRECTS`] redirects.
///
/// Across origins only [harmless](HARMLESS) headers are kept, and later redirects don't restore the
/// others. 307 and 308 keep the method and body. 301 and 302 do so for GET and HEAD only: other
/// methods would become a GET (RFC 9110 §15.4.2, §15.4.3), whose success would be mistaken for
/// theirs.
///
/// # Errors
/// There is no response; a redirect can't be followed, or its target isn't allowed by the egress
/// rules.
pub(crate) async fn send(
    http: reqwest::Client,
    egress: Option<Egress>,
    mut request: reqwest::Request,
    see_other: SeeOther,
) -> Result<Response, Error> {
    for _ in 0..=MAX_REDIRECTS {
        let (method, url) = (request.method().clone(), request.url().clone());
        let headers = request.headers().clone();
        // This crate never sends a body that can't be sent again.
        let body = request.body().and_then(|body| body.as_bytes());
        let body = body.map(bytes::Bytes::copy_from_slice);
        let response = http.execute(request).await.map_err(connect_error)?;
        let Some(next) = next(&response, &method, &url, see_other)? else {
            return Ok(response);
        };
        if let Some(egress) = &egress {
            egress.check(&next.url).map_err(Error::refused)?;
        }
        let is_same_origin = url.origin() == next.url.origin();
        request = reqwest::Request::new(next.method.clone(), next.url);
        *request.headers_mut() = match is_same_origin {
            true => headers,
            false => harmless(headers),
        };
        if next.method == method {
            *request.body_mut() = body.map(Into::into);
        } else {
            let headers = request.headers_mut();
            for name in [
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
            ] {
                headers.remove(name);
            }
        }
    }
    Err(fault("too many redirects"))
}

struct Next {
    method: Method,
    url: Url,
}

/// Returns the target of a redirect, or `None` if the response is not a redirect.
fn next(
    response: &Response,
    method: &Method,
    url: &Url,
    see_other: SeeOther,
) -> Result<Option<Next>, Error> {
    let status = response.status();
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let Some(location) = response
        .headers()
        .get(header::LOCATION)
        .filter(|_| is_redirect)
    else {
        return Ok(None);
    };
    let found = location
        .to_str()
        .ok()
        .and_then(|location| url.join(location).ok());
    let Some(next) = found.filter(|next| matches!(next.scheme(), "http" | "https")) else {
        let what = format!("the {status} has a Location that is not an http or https URL");
        return Err(fault(what));
    };
    let is_read = *method == Method::GET || *method == Method::HEAD;
    let method = match status {
        StatusCode::SEE_OTHER if !is_read && see_other == SeeOther::Get => Method::GET,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER if !is_read => {
            let to = place(&Method::GET, &next);
            let what = format!(
                "the server answered {status}, by which the {method} would become {to}; ask for that URL itself"
            );
            return Err(fault(what));
        }
        _ if !is_read && url.scheme() == "https" && next.scheme() == "http" => {
            let to = place(method, &next);
            let what =
                format!("the server answered {status} to {to}, where a body would go unencrypted");
            return Err(fault(what));
        }
        _ => method.clone(),
    };
    Ok(Some(Next { method, url: next }))
}

fn harmless(mut headers: HeaderMap) -> HeaderMap {
    let others: Vec<_> = headers
        .keys()
        .filter(|name| !HARMLESS.contains(name) && !is_of_the_protocol(name))
        .cloned()
        .collect();
    for name in others {
        headers.remove(name);
    }
    headers
}

/// The reason for which a redirect isn't followed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Fault(String);

fn fault(what: impl Into<String>) -> Error {
    Error::new(Kind::Redirect).with_source(Fault(what.into()))
}
