use std::time::Duration;

use headwater_wire::Backoff;
use http::StatusCode;

/// The rules for retries and their waits.
#[derive(Debug, Clone)]
pub struct Policy {
    /// If `true`, a broken SSE stream is resumed, and a first response that says that the server is
    /// unavailable (502, 503 or 504) is followed by another attempt. A 429 or 503 with `Retry-After` always is.
    pub reconnect: bool,
    /// If `true`, the request may be sent more than once.
    pub replayable: bool,
    /// If `true`, the first attempt is retried too.
    pub retry_first_connect: bool,
    /// Maximum number of failed attempts to connect in a row.
    pub max_attempts: u32,
    /// The waits between attempts.
    pub backoff: Backoff,
}

/// Returns `true` for a response that asks its client to wait and repeat the request: a rate is exceeded, or the
/// server is unavailable for a known time.
pub(crate) fn asks_to_wait(status: StatusCode, retry_after: Option<Duration>) -> bool {
    let is_passing =
        status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE;
    is_passing && retry_after.is_some()
}

/// Returns `true` for the responses of a server that restarts, or of the proxy before it.
pub(crate) fn is_unavailable(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}
