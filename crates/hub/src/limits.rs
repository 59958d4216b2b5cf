//! Bounds on everything that the hub accepts or holds. The ones that an operator sets are in
//! [`Limits`]; the rest are constants. The log has bounds of its own (messages, producers, names,
//! streams) in `headwater_log::Limits`.

#[cfg(feature = "gather")]
mod gather;
#[cfg(feature = "jwks")]
mod jwks;
mod rates;
#[cfg(feature = "relay")]
mod upstream;

use std::time::Duration;

#[cfg(feature = "gather")]
pub(crate) use gather::*;
#[cfg(feature = "jwks")]
pub(crate) use jwks::*;
pub use rates::RateLimits;
pub(crate) use rates::{OPEN_RETRY, SENDERS};
#[cfg(feature = "relay")]
pub(crate) use upstream::*;

/// Time that a request waits for a shared log to issue or redeem a ticket. Another leader of a cluster is elected in
/// it.
pub(crate) const TICKET_PATIENCE: Duration = Duration::from_secs(10);

/// Time whose tickets are in one stream of a shared log, and time without use after which that stream ends. A
/// longer one makes fewer ends of streams, and has the log remember more redemptions.
pub(crate) const TICKET_PERIOD: Duration = Duration::from_secs(300);

/// Maximum nesting depth of the arrays and objects of a JSON message: what `serde_json` reads, which
/// validates the messages of a stream with a schema.
pub const JSON_DEPTH: usize = 127;

/// Maximum number of compiled schemas in the cache. Beyond it, the least recently used one is
/// removed.
pub const COMPILED_SCHEMAS: usize = 1024;

/// Maximum total size of the compiled schemas in bytes, by estimate.
pub const COMPILED_SCHEMAS_BYTES: usize = 64 << 20;

/// Maximum size in bytes of a schema that a `HEAD` response includes.
pub const SCHEMA_HEADER_BYTES: usize = 8 << 10;

/// Maximum size in bytes of a close reason that a header contains in full. For a larger one, the
/// header contains only the status.
pub const ERROR_HEADER_BYTES: usize = 8 << 10;

/// Maximum number of bytes of messages that are read at once for a stream's live readers, and are
/// sent as one chunk.
pub(crate) const BATCH_BYTES: usize = 64 << 10;

/// Bytes that one reader may hold of its own: the size of its chunks. Anything larger counts
/// towards [`Limits::outgoing_bytes`].
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// Number of concurrent log reads for readers that are behind. Each holds up to one message, or the
/// messages of a chunk.
pub(crate) const READS_AT_ONCE: usize = 16;

/// Time that a catch-up read waits for memory before it is refused with 503.
pub(crate) const OUTGOING_PATIENCE: Duration = Duration::from_secs(10);

/// Maximum size in bytes of a ring.
pub(crate) const RING_BYTES: usize = 256 << 10;

/// Maximum number of batches in a ring.
pub(crate) const RING_BATCHES: usize = 1024;

/// Maximum number of runs of batches that a ring keeps until the next batch arrives. Each run is
/// for the readers at one position.
pub(crate) const RING_RUNS: usize = 4;

/// Number of readers that are woken before other tasks get a turn.
pub(crate) const WOKEN_AT_ONCE: usize = 32;

/// Time without messages after which a ring is emptied: its readers have everything, or are far
/// behind.
pub(crate) const RING_IDLE: Duration = Duration::from_secs(1);

/// Maximum number of bytes of received lines that are appended at once.
pub(crate) const LINES_BYTES: usize = 256 << 10;

/// Maximum number of received lines that are appended at once.
pub(crate) const LINES: usize = 4096;

/// Maximum number of segments of a new stream's path, and of a pattern. Matching takes time proportional
/// to their product.
pub const PATH_SEGMENTS: usize = 128;

/// Maximum number of patterns of a reader of `/events`.
pub const EVENT_PATTERNS: usize = 100;

/// Maximum total size in bytes of the patterns of a reader of `/events`.
pub const EVENT_PATTERN_BYTES: usize = 8 << 10;

/// Number of bytes of messages that are read at once for readers of `/events`.
pub(crate) const EVENTS_READ_BYTES: usize = 32 << 10;

/// Lower bound of that number for a reader that is behind, used where messages are much smaller
/// than the events they are encoded to.
pub(crate) const EVENTS_LEAST_READ_BYTES: usize = 256;

/// Size in bytes at which a chunk of events is complete.
pub(crate) const EVENTS_CHUNK_BYTES: usize = 64 << 10;

/// Number of messages of other streams after which a reader of `/events` that received nothing is
/// sent its position, so that it doesn't skip those messages again after a reconnect.
pub(crate) const EVENTS_SILENT: u64 = 10_000;

/// Maximum size in bytes of the newest events, of all followed streams, that are kept for readers
/// of `/events`. They are kept in up to three forms.
pub(crate) const EVENTS_RING_BYTES: usize = 1 << 20;

/// Maximum number of batches of these events.
pub(crate) const EVENTS_RING_BATCHES: usize = 1024;

/// Number of producers for which the hub remembers the appends that it passed to the log. Beyond
/// it, all of them are forgotten.
pub(crate) const SEQUENCED_PRODUCERS: usize = 4096;

/// Maximum distance from an append's sequence to the expected one at which the append waits for its
/// turn.
pub(crate) const TURN_AHEAD: u64 = 64;

/// Time that an append waits for its turn.
pub(crate) const TURN_PATIENCE: Duration = Duration::from_millis(100);

/// Maximum number of bytes that an ingest job collects for its next append. At the same time, the
/// same amount plus one item may be on its way to the log.
pub(crate) const INGEST_BYTES: usize = 128 << 10;

/// Maximum number of items that an ingest job collects for its next append.
pub(crate) const INGEST_MESSAGES: usize = 4096;

/// Time that an ingest job waits for free disk space, or for a disk that failed, before it gives
/// up.
pub(crate) const INGEST_PATIENCE: Duration = Duration::from_secs(30);

/// Minimum time that an ingest job which needs a watcher waits for the first one.
pub(crate) const INGEST_FIRST_WATCH: Duration = Duration::from_secs(10);

/// Minimum and maximum interval between `touch` calls for a stream with an idle expiry while an
/// ingest job fills it.
pub(crate) const INGEST_TOUCH: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(3600));

/// Interval at which the owner of a shared log looks again for jobs that another hub has left behind. It is
/// longer than an append of that hub can be on its way to the log.
pub(crate) const INGEST_RECOVERY: Duration = Duration::from_secs(30);

/// Time after its last renewal for which a hub is the owner of a shared log.
pub(crate) const OWNER_LEASE: Duration = Duration::from_secs(10);

/// Time that other hubs wait in addition before they take over.
pub(crate) const OWNER_MARGIN: Duration = Duration::from_secs(2);

/// Interval between renewals of a lease.
pub(crate) const OWNER_RENEWAL: Duration = Duration::from_millis(3300);

/// Time after which an append of a lease is sent again.
pub(crate) const OWNER_ATTEMPT: Duration = Duration::from_secs(3);

/// Pause between attempts to read or write a lease.
pub(crate) const OWNER_PAUSE: Duration = Duration::from_millis(500);

/// Time that a hub which stops has for its ingest jobs, and then for the release of its lease.
pub(crate) const OWNER_RELEASE: Duration = Duration::from_secs(1);

/// Number of bytes of lease records that are kept.
pub(crate) const OWNER_STREAM_BYTES: u64 = 4 << 10;

/// Maximum size in bytes of the URL at which other hubs reach one.
pub const ADVERTISED_URL_BYTES: usize = 2048;

/// Time to connect to the owner of a shared log.
pub(crate) const FORWARD_CONNECT: Duration = Duration::from_secs(3);

/// Interval of probes on silent connections to the owner of a shared log.
pub(crate) const FORWARD_PROBES: Duration = Duration::from_secs(5);

/// Maximum size in bytes of a relay's idempotency key.
pub const KEY_BYTES: usize = 255;

/// Number of exports and imports at once.
pub(crate) const MOVES: usize = 4;

/// Size in bytes at which a chunk of an export is complete, and of messages that it reads at once.
pub(crate) const EXPORT_BYTES: usize = 256 << 10;

/// Number of producers in a chunk of an export.
pub(crate) const EXPORT_PRODUCERS: usize = 1000;

/// Maximum size in bytes of a line of an import, besides twice the maximum size of a body.
pub(crate) const IMPORT_LINE: usize = 1 << 20;

/// Number of bytes, of messages and of producers that an import writes in one step. A larger message is alone.
pub(crate) const IMPORT_BYTES: usize = 512 << 10;
pub(crate) const IMPORT_MESSAGES: usize = 4096;
pub(crate) const IMPORT_PRODUCERS: usize = 1000;

/// Number of streams that an import writes at once, and bytes of their messages.
pub(crate) const IMPORT_AT_ONCE: usize = 32;
pub(crate) const IMPORT_WAITING: usize = 4 << 20;

/// Time after which to repeat a request that is refused with 429 or 503, if no other time is known.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Time in which the storage has to answer for the hub to be ready.
pub(crate) const READY_PATIENCE: Duration = Duration::from_secs(5);

/// Time that a body that is read as a whole may be silent.
pub(crate) const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// Fraction (one part in `RESERVE`) of the budget for bodies that is reserved for small ones.
pub(crate) const RESERVE: usize = 16;

/// Maximum size in bytes of a small body.
pub(crate) const SMALL_BODY: usize = 64 << 10;

/// Size in bytes above which a body is refused before it is read, if the stream's state alone shows
/// that it will be refused.
pub(crate) const LONG_BODY: u64 = 64 << 10;

/// Maximum number of seconds of an expiry or an age: about 285,000 years. In milliseconds, it is an
/// integer that every JSON parser represents exactly.
pub(crate) const SECONDS: u64 = (1 << 53) / 1000;

/// The bounds that the operator of a hub can set.
///
/// ```
/// use headwater_hub::{Limits, Options};
///
/// let mut limits = Limits::default();
/// limits.body_bytes = 8 << 20;
/// let options = Options::new().limits(limits);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum size of a request body, in bytes. NDJSON that is appended line by line is exempt, as
    /// it has no end. Default: 32 MiB.
    pub body_bytes: usize,
    /// Budget in bytes for bodies while they are received and appended, over all requests. Beyond
    /// it, requests are refused with 503. One sixteenth is reserved for bodies of at most 64 KiB.
    /// Default: 512 MiB.
    pub bodies_bytes: usize,
    /// Bytes of bodies that the requests of one address may hold: an IPv4 address, or an IPv6
    /// network of 64 bits. Behind a proxy, all requests share one address. Default: half of
    /// `bodies_bytes`.
    pub peer_bodies_bytes: Option<usize>,
    /// Maximum number of messages in one `POST` or `PUT`. NDJSON lines are exempt, as they are many
    /// appends. The log has its own limit; the lower one applies. Default: 100,000.
    pub append_messages: usize,
    /// Maximum size of an NDJSON line, in bytes. Default: 8 MiB.
    pub line_bytes: usize,
    /// Maximum size in bytes of the messages in one response to a catch-up read. A larger message is
    /// returned alone. The response takes memory for one piece of 512 KiB at a time. Default: 32 MiB.
    pub response_bytes: usize,
    /// Maximum size in bytes of the messages in one response to a long-poll. A larger message is
    /// returned alone. Default: 1 MiB.
    pub read_bytes: usize,
    /// Maximum number of live readers, over all streams. Includes waiting long-polls. Default:
    /// 100,000.
    pub subscribers: usize,
    /// Maximum number of bytes of messages that are kept for live readers, over all streams. Their
    /// encoded forms take up to three times as much in addition. Default: 64 MiB.
    pub shared_bytes: usize,
    /// Budget in bytes for data on its way to readers, beyond the 64 KiB that each reader may hold:
    /// larger messages, and pieces of 512 KiB for catch-up reads and for readers of NDJSON that are
    /// behind. Messages that readers share count once. Beyond the budget, readers of large messages
    /// wait, and others get pieces of 64 KiB. A message that is larger than the budget uses all of it.
    /// Default: 64 MiB.
    pub outgoing_bytes: usize,
    /// Bytes of `outgoing_bytes` that the readers of one address may use. Data that is shared
    /// counts for the reader that received it first. A message that is larger uses all of it.
    /// Clients of durable handlers, whose address is not known, share only `outgoing_bytes`.
    /// Default: half of `outgoing_bytes`.
    pub peer_outgoing_bytes: Option<usize>,
    /// Maximum number of concurrent ingest jobs: relays, stored gathers and durable handlers.
    /// Beyond it, requests are refused with 429. Each job holds up to 256 KiB of data on its way to
    /// the log, and two items. Default: 1,000.
    pub ingest_jobs: usize,
    /// Maximum number of subscriptions. Beyond it, requests are refused with 429. Default: 1,000.
    pub subscriptions: usize,
    /// Maximum memory of one subscription in bytes, by estimate: its configuration, and the streams
    /// that it lists by name, at 448 bytes each plus the name. Streams that match its pattern are
    /// not counted. Beyond it, requests are refused with 429. Default: 4 MiB.
    pub subscription_bytes: usize,
    /// Maximum memory of all subscriptions together, in bytes. Beyond it, further subscriptions and
    /// further streams by name are refused with 429. Default: 64 MiB.
    pub subscriptions_bytes: usize,
    /// Maximum memory in bytes, by estimate, for the cursors of all subscriptions in streams that
    /// match their patterns and have messages to process: 192 bytes each, and each stream's name
    /// once. Beyond it, subscriptions receive further streams when others are done. Each
    /// subscription keeps 64 in any case. Default: 64 MiB.
    pub subscription_cursors_bytes: usize,
    /// Maximum number of concurrent gathers, over all clients. One address may have three quarters
    /// of them. Default: 16.
    pub gathers: usize,
    /// Maximum number of calls in one gather. Default: 10,000.
    pub gather_calls: usize,
    /// Maximum number of concurrent calls of one gather. Default: 100.
    pub gather_concurrency: usize,
    /// Maximum size of the body of a response to one call, in bytes. A gather holds at most this
    /// many bytes for each concurrent call. Default: 1 MiB.
    pub gather_body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            bodies_bytes: 512 << 20,
            peer_bodies_bytes: None,
            append_messages: 100_000,
            line_bytes: 8 << 20,
            response_bytes: 32 << 20,
            read_bytes: 1 << 20,
            subscribers: 100_000,
            shared_bytes: 64 << 20,
            outgoing_bytes: 64 << 20,
            peer_outgoing_bytes: None,
            ingest_jobs: 1000,
            subscriptions: 1000,
            subscription_bytes: 4 << 20,
            subscriptions_bytes: 64 << 20,
            subscription_cursors_bytes: 64 << 20,
            gathers: 16,
            gather_calls: 10_000,
            gather_concurrency: 100,
            gather_body_bytes: 1 << 20,
        }
    }
}
