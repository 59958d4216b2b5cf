use crate::backoff::Backoff;

/// The rules for retries and their waits.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// If `true`, a broken SSE stream is resumed.
    pub(crate) reconnect: bool,
    /// If `true`, the request may be sent more than once.
    pub(crate) replayable: bool,
    /// If `true`, the first attempt is retried too.
    pub(crate) retry_first_connect: bool,
    /// Maximum number of failed attempts to connect in a row.
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Backoff,
}
