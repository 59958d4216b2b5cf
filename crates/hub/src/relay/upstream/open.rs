use std::{borrow::Cow, error::Error};

use bytes::{Bytes, BytesMut};
use headwater_client::{egress::Refused, retry_after};
use headwater_wire::Str;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::{Client, Response};
use tokio::time::{Instant, timeout_at};

use super::{
    Call, Kind, OpenError, Resume, Upstream,
    session::{Head, Session},
};
use crate::limits::{UPSTREAM_REFUSAL_BYTES, UpstreamLimits};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The content type of a response without one.
const DEFAULT_TYPE: &str = "application/octet-stream";

/// Makes the call, once, and returns its response if it is a success.
///
/// `http` must not follow redirects or decompress, and must apply the egress rules. Dropping the
/// future aborts the call.
///
/// # Errors
/// The upstream could not be reached or responded with an error. There are no retries.
pub(crate) async fn open(
    http: &Client,
    call: Call,
    limits: UpstreamLimits,
) -> Result<Upstream, OpenError> {
    let deadline = Instant::now() + limits.head_timeout;
    let response = timeout_at(deadline, send(http, &call, None))
        .await
        .map_err(|_| OpenError::Timeout(limits.head_timeout))??;
    let head = head(&response);
    if head.status.is_redirection() {
        return Err(OpenError::Redirect {
            status: head.status,
        });
    }
    if !head.status.is_success() {
        return Err(refusal(response, &head, deadline).await);
    }
    if let Some(encoding) = head.encoding {
        return Err(OpenError::Encoded(encoding));
    }
    let kind = match has_body(&response) {
        true => Kind::of(&head.content_type),
        false => Kind::Bytes,
    };
    let session = Session::new(
        kind,
        call.is_repeatable(),
        limits.clone(),
        fastrand::u64(..),
    );
    Ok(Upstream::new(
        http.clone(),
        call,
        limits,
        session,
        head.content_type,
        Some(response),
    ))
}

/// Resumes a feed that the same call opened before a restart. Nothing is sent before the first item
/// is polled. Failures are retried as after any disconnect.
pub(crate) fn take_up(
    http: &Client,
    call: Call,
    limits: UpstreamLimits,
    content_type: String,
    resume: &Resume,
) -> Upstream {
    let session = Session::resume(resume, limits.clone(), fastrand::u64(..));
    Upstream::new(http.clone(), call, limits, session, content_type, None)
}

/// Sends the request, with the id of a feed's last event if it resumes.
pub(super) async fn send(
    http: &Client,
    call: &Call,
    last_event_id: Option<&Str>,
) -> Result<Response, OpenError> {
    let mut headers = call.headers.clone();
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    if let Some(id) = last_event_id {
        headers.remove(LAST_EVENT_ID);
        if let Ok(id) = HeaderValue::from_bytes(id.as_bytes())
            && !id.is_empty()
        {
            headers.insert(LAST_EVENT_ID, id);
        }
    }
    let mut request = http
        .request(call.method.clone(), call.url.clone())
        .headers(headers);
    if !call.body.is_empty() {
        request = request.body(call.body.clone());
    }
    request.send().await.map_err(unreachable)
}

/// Returns the reason for which a request could not be made: the innermost cause, which is the
/// relevant one, without its URL, which may contain a secret.
fn unreachable(error: reqwest::Error) -> OpenError {
    let error = error.without_url();
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return OpenError::Refused(refused.clone());
        }
        said = error.to_string();
        cause = error.source();
    }
    OpenError::Connect(said)
}

pub(super) fn head(response: &Response) -> Head {
    let headers = response.headers();
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut encodings = encodings.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let encoding =
        encodings.find(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"));
    Head {
        status: response.status(),
        content_type: text(headers, &header::CONTENT_TYPE)
            .unwrap_or_else(|| DEFAULT_TYPE.to_owned()),
        encoding: encoding.map(Cow::into_owned),
        retry_after: headers.get(header::RETRY_AFTER).and_then(retry_after),
    }
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Returns `true` if a response may have a body. Responses with these statuses have none (RFC 9110
/// §6.4.1).
fn has_body(response: &Response) -> bool {
    !matches!(response.status().as_u16(), 204 | 205)
}

/// Reads the body of an error response, up to a bound and the deadline. Empty if it is compressed.
async fn refusal(mut response: Response, head: &Head, deadline: Instant) -> OpenError {
    let mut body = BytesMut::new();
    while head.encoding.is_none()
        && let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await
    {
        let room = UPSTREAM_REFUSAL_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    OpenError::Status {
        status: head.status,
        content_type: text(response.headers(), &header::CONTENT_TYPE),
        body: Bytes::from(body),
        retry_after: head.retry_after,
    }
}
