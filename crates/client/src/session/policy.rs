use headwater_wire::Backoff;

/// The rules for retries and their waits.
#[derive(Debug, Clone)]
pub struct Policy {
    /// If `true`, a broken SSE stream is resumed.
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
