use bytes::{Bytes, BytesMut};
use headwater_client::{
    internals::{Exchange, Piece, Plan, Reading, Settings, content_encoding},
    retry_after,
};
use headwater_wire::Backoff;
use headwater_wire::Str;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::Client;
use tokio::time::{Instant, timeout_at};

use super::{Call, Kind, OpenError, Resume, Upstream, items::Items, splitter::item_limits};
use crate::limits::{FEED_LEAST_WAIT, FEED_MOST_WAIT, UPSTREAM_REFUSAL_BYTES, UpstreamLimits};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

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
    let exchange = Exchange::open(http.clone(), plan(call, &limits), reading(&limits))
        .await
        .map_err(|error| OpenError::of(&error, &limits))?;
    let status = exchange.status();
    if status.is_redirection() {
        return Err(OpenError::Redirect { status });
    }
    let encoding = content_encoding(exchange.headers());
    if !status.is_success() {
        return Err(refusal(exchange, encoding.is_none(), deadline).await);
    }
    if let Some(encoding) = encoding {
        return Err(OpenError::Encoded(encoding));
    }
    let content_type = content_type(exchange.headers());
    // Responses with these statuses have no body (RFC 9110 §6.4.1).
    let kind = match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT => Kind::Bytes,
        _ => Kind::of(content_type.as_deref().unwrap_or_default()),
    };
    Ok(Upstream::new(
        exchange,
        Items::new(kind, limits),
        content_type,
    ))
}

/// Resumes a feed that the same call opened before a restart. Nothing is sent before the first item
/// is polled. Failures are retried as after any disconnect.
pub(crate) fn take_up(
    http: &Client,
    call: Call,
    limits: UpstreamLimits,
    resume: &Resume,
) -> Upstream {
    let mut plan = plan(call, &limits);
    plan.last_event_id = resume.last_event_id.clone();
    let exchange = Exchange::resume(http.clone(), plan, reading(&limits));
    Upstream::new(exchange, Items::resume(resume, limits), None)
}

/// Returns the client's request for a call.
fn plan(call: Call, limits: &UpstreamLimits) -> Plan {
    let mut settings = Settings::default();
    settings.reconnect = call.is_repeatable();
    settings.head_timeout = Some(limits.head_timeout);
    settings.idle_timeout = limits.idle_timeout;
    settings.max_attempts = limits.attempts;
    settings.backoff = backoff(limits);
    let mut plan = Plan::for_url(call.method, call.url, settings);
    plan.follow_redirects = false;
    plan.headers = call.headers;
    plan.headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    // The session replaces it. It stays if it isn't UTF-8, as only the first request sends it then.
    if let Some(id) = plan.headers.get(LAST_EVENT_ID)
        && let Ok(id) = Str::from_utf8(Bytes::copy_from_slice(id.as_bytes()))
    {
        plan.last_event_id = id;
        plan.headers.remove(LAST_EVENT_ID);
    }
    plan.body = Some(call.body).filter(|body| !body.is_empty());
    plan
}

/// Returns the waits of a feed.
pub(super) fn backoff(limits: &UpstreamLimits) -> Backoff {
    Backoff {
        min: FEED_LEAST_WAIT,
        max_server_delay: FEED_MOST_WAIT,
        ..Backoff::new(limits.backoff, limits.most_backoff)
    }
}

/// Returns the way in which the body is read.
pub(super) fn reading(limits: &UpstreamLimits) -> Reading {
    Reading::Unchanged {
        limits: item_limits(limits.item_bytes),
        max_bytes: usize::try_from(limits.total_bytes).unwrap_or(usize::MAX),
    }
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(header::CONTENT_TYPE)?.to_str().ok()?.to_owned())
}

/// Reads the body of an error response, up to a bound and the deadline, if it is readable.
async fn refusal(mut exchange: Exchange, is_readable: bool, deadline: Instant) -> OpenError {
    let mut body = BytesMut::new();
    while is_readable
        && let Ok(Some(Ok(Piece::Bytes(chunk)))) = timeout_at(deadline, exchange.next()).await
    {
        let room = UPSTREAM_REFUSAL_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() >= room {
            break;
        }
    }
    let headers = exchange.headers();
    OpenError::Status {
        status: exchange.status(),
        content_type: content_type(headers),
        body: Bytes::from(body),
        retry_after: headers.get(header::RETRY_AFTER).and_then(retry_after),
    }
}
