use headwater_wire::Backoff;
use http::StatusCode;

/// The rules for retries and their waits.
#[derive(Debug, Clone)]
pub struct Policy {
    /// If `true`, a broken SSE stream is resumed, and a first response that says that the server is
    /// unavailable (502, 503 or 504) is followed by another attempt.
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

/// Returns `true` for the responses of a server that restarts, or of the proxy before it.
pub(crate) fn is_unavailable(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}
