//! Bounds on the upstreams of relays.

use std::time::Duration;

/// Maximum size in bytes of one item of a response of an upstream that is text or of an unknown
/// type.
pub(crate) const UPSTREAM_CHUNK_BYTES: usize = 64 << 10;

/// Maximum number of bytes of an upstream's error response that are read and reported.
pub(crate) const UPSTREAM_REFUSAL_BYTES: usize = 64 << 10;

/// Number of a feed's newest events whose ids are remembered, to drop events that are repeated.
pub(crate) const FEED_IDS: usize = 4096;

/// Maximum total size in bytes of these ids.
pub(crate) const FEED_IDS_BYTES: usize = 256 << 10;

/// Minimum wait before a feed that failed reconnects. Overrides shorter waits that its server asks
/// for.
pub(crate) const FEED_LEAST_WAIT: Duration = Duration::from_millis(250);

/// Maximum wait before a feed reconnects that its server may ask for in `retry:` or `Retry-After`.
pub(crate) const FEED_MOST_WAIT: Duration = Duration::from_secs(3600);

/// Bounds on an upstream's response, and the reconnects of feeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamLimits {
    /// Time in which the head of a response has to arrive.
    pub(crate) head_timeout: Duration,
    /// Time that a response may be silent.
    pub(crate) idle_timeout: Duration,
    /// Maximum size of an item in bytes, without its line end.
    pub(crate) item_bytes: usize,
    /// Maximum size of a response in bytes. Feeds have no such bound.
    pub(crate) total_bytes: u64,
    /// Maximum number of consecutive attempts of a feed that are refused or don't reach the server.
    pub(crate) attempts: u32,
    /// Upper bound of the wait before a feed's first reconnect. It doubles with each attempt that
    /// brings nothing.
    pub(crate) backoff: Duration,
    /// Upper bound of that wait after any number of attempts.
    pub(crate) most_backoff: Duration,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            // With a CR and an LF, such an item has the size of the log's largest message.
            item_bytes: (8 << 20) - 2,
            total_bytes: 1 << 30,
            attempts: 20,
            backoff: Duration::from_secs(1),
            most_backoff: Duration::from_secs(30),
        }
    }
}
