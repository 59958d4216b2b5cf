//! How much of anything the hub takes. What differs from hub to hub is in [`Limits`]; the rest are constants. Those of
//! the log (messages, producers, names, streams) are in `headwater_log::Limits`.

use std::time::Duration;

/// How deep the arrays and objects of a JSON message may nest: as deep as `serde_json` reads.
pub const JSON_DEPTH: usize = 128;

/// How many compiled schemas are kept. One more, and the one that was used longest ago goes.
pub const COMPILED_SCHEMAS: usize = 1024;

/// And how many bytes they take together, by estimate.
pub const COMPILED_SCHEMAS_BYTES: usize = 64 << 20;

/// Above this many bytes, a schema is left out of the answer to `HEAD`.
pub const SCHEMA_HEADER_BYTES: usize = 8 << 10;

/// Above this many bytes, a header says of the problem with which a stream was closed only its status.
pub const ERROR_HEADER_BYTES: usize = 8 << 10;

/// How many bytes of messages are read at once for a stream's live readers, and go out as one chunk.
pub(crate) const BATCH_BYTES: usize = 64 << 10;

/// Bytes that one reader may hold of its own: the size of its chunks. Anything larger counts towards
/// [`Limits::outgoing_bytes`].
pub(crate) const CHUNK_BYTES: usize = 64 << 10;

/// Number of concurrent log reads for readers that are behind. Each holds up to one message, or the messages
/// of a chunk.
pub(crate) const READS_AT_ONCE: usize = 16;

/// Time that a catch-up read waits for memory before it is refused with 503.
pub(crate) const OUTGOING_PATIENCE: Duration = Duration::from_secs(10);

/// How many bytes of its newest messages a followed stream keeps for its readers.
pub(crate) const RING_BYTES: usize = 256 << 10;

/// And how many batches of them.
pub(crate) const RING_BATCHES: usize = 1024;

/// How many runs of its batches, each for the readers at one position, a followed stream keeps until the next batch
/// comes.
pub(crate) const RING_RUNS: usize = 4;

/// How many readers are woken before others get their turn.
pub(crate) const WOKEN_AT_ONCE: usize = 32;

/// A stream that was silent for so long keeps nothing: its readers have it all, or are far behind.
pub(crate) const RING_IDLE: Duration = Duration::from_secs(1);

/// How many bytes of lines that have come are appended at once.
pub(crate) const LINES_BYTES: usize = 256 << 10;

/// And how many lines.
pub(crate) const LINES: usize = 4096;

/// How many patterns a reader of `/events` may give.
pub const EVENT_PATTERNS: usize = 100;

/// And how many bytes they may have together.
pub const EVENT_PATTERN_BYTES: usize = 8 << 10;

/// How many bytes of messages are read at once for readers of `/events`.
pub(crate) const EVENTS_READ_BYTES: usize = 32 << 10;

/// And how many at least, for one that is behind, where messages are much smaller than the events that they become.
pub(crate) const EVENTS_LEAST_READ_BYTES: usize = 256;

/// A chunk of events takes no more of them when it has so many bytes.
pub(crate) const EVENTS_CHUNK_BYTES: usize = 64 << 10;

/// A reader of `/events` that nothing was sent to for so many messages of others is told where it is, so that it
/// doesn't pass them over again after a break.
pub(crate) const EVENTS_SILENT: u64 = 10_000;

/// The newest events of all streams that somebody follows are kept for the readers of `/events` up to so many bytes of
/// them. They are kept in up to three forms.
pub(crate) const EVENTS_RING_BYTES: usize = 1 << 20;

/// And up to so many batches.
pub(crate) const EVENTS_RING_BATCHES: usize = 1024;

/// Of how many producers is known what they have given to the log. One more, and all of that is forgotten.
pub(crate) const TURNS: usize = 4096;

/// How far ahead of its turn an append may be to wait for it.
pub(crate) const TURN_AHEAD: u64 = 64;

/// And for how long.
pub(crate) const TURN_PATIENCE: Duration = Duration::from_millis(100);

/// How many bytes of a filled stream's items are gathered to be appended together. As many again, and one item more each
/// time, are on their way to the log meanwhile.
pub(crate) const FILLING_BYTES: usize = 128 << 10;

/// And how many items.
pub(crate) const FILLING_MESSAGES: usize = 4096;

/// How long what fills a stream waits for room on the disk, or for a disk that failed, before it gives up.
pub(crate) const FILLING_PATIENCE: Duration = Duration::from_secs(30);

/// How long a filled stream that is kept only while somebody watches waits for the first one at least.
pub(crate) const FILLING_FIRST_WATCH: Duration = Duration::from_secs(10);

/// How often a stream that ends when it isn't used is said to be in use while it is filled: no oftener and no more seldom.
pub(crate) const FILLING_TOUCH: (Duration, Duration) =
    (Duration::from_millis(50), Duration::from_secs(3600));

/// The longest idempotency key of a relay, in bytes.
pub const KEY_BYTES: usize = 255;

/// How long the storage may take to answer for the hub to be ready.
pub(crate) const READY_PATIENCE: Duration = Duration::from_secs(5);

/// How long a body that is read whole may be silent.
pub(crate) const BODY_PATIENCE: Duration = Duration::from_secs(60);

/// One part of so many of what all bodies may hold is kept for small ones.
pub(crate) const RESERVE: usize = 16;

/// And up to so many bytes a body is small.
pub(crate) const SMALL_BODY: usize = 64 << 10;

/// Above this many bytes a body is refused before it is read, where its stream alone says that it will be.
pub(crate) const LONG_BODY: u64 = 64 << 10;

/// The most seconds of an expiry or an age: some 285,000 years, in milliseconds what every JSON parser keeps.
pub(crate) const SECONDS: u64 = (1 << 53) / 1000;

/// How long a connection to an upstream is kept for the next call.
pub(crate) const KEEP_CONNECTIONS: Duration = Duration::from_secs(4);

/// How often a call of a gather may be made again, at the most.
pub(crate) const GATHER_RETRIES: u32 = 10;

/// How many seconds it may take, and all of them, at the most: a day.
pub(crate) const GATHER_SECONDS: f64 = 86_400.0;

/// How many calls a second may be sent to one host, at the most.
pub(crate) const GATHER_RATE: f64 = 10_000.0;

/// How many bytes of text, or of what isn't known, make one item of an upstream's answer at the most.
pub(crate) const UPSTREAM_CHUNK_BYTES: usize = 64 << 10;

/// How many bytes of an upstream's refusal are read and told.
pub(crate) const UPSTREAM_REFUSAL_BYTES: usize = 64 << 10;

/// Of how many of a feed's newest events the ids are known, to drop those that come again.
pub(crate) const FEED_IDS: usize = 4096;

/// And how many bytes they may have together.
pub(crate) const FEED_IDS_BYTES: usize = 256 << 10;

/// How long a feed that failed is left alone at least, whatever its server says.
pub(crate) const FEED_LEAST_WAIT: Duration = Duration::from_millis(250);

/// And at most, as its server may ask for in `retry:` or `Retry-After`.
pub(crate) const FEED_MOST_WAIT: Duration = Duration::from_secs(3600);

/// What an upstream may take, and how it is asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamLimits {
    /// How long the head of an answer may take.
    pub(crate) head_timeout: Duration,
    /// How long an answer may be silent.
    pub(crate) idle_timeout: Duration,
    /// The longest item, in bytes, without the line end that closes it.
    pub(crate) item_bytes: usize,
    /// The longest answer, in bytes; a feed has no end.
    pub(crate) total_bytes: u64,
    /// How often in a row a feed may refuse, or not be reached.
    pub(crate) attempts: u32,
    /// Up to how long is waited before a feed is asked again for the first time; each time that it brought nothing,
    /// twice as long.
    pub(crate) backoff: Duration,
    /// And up to how long at the most.
    pub(crate) most_backoff: Duration,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            // With a CR and an LF it is a message that a log takes.
            item_bytes: (8 << 20) - 2,
            total_bytes: 1 << 30,
            attempts: 20,
            backoff: Duration::from_secs(1),
            most_backoff: Duration::from_secs(30),
        }
    }
}

/// The limits that whoever runs a hub may set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest body of a request, in bytes, but for lines of NDJSON, which have no end. Default: 32 MiB.
    pub body_bytes: usize,
    /// How many bytes of bodies are held while they come in and are appended, over all requests. Past that, requests
    /// are refused with 503. One sixteenth is kept for bodies of at most 64 KiB. Default: 512 MiB.
    pub bodies_bytes: usize,
    /// Bytes of bodies that the requests of one address may hold: an IPv4 address, or a network of 64 bits. Behind a
    /// proxy, all requests are of one. Default: half of `bodies_bytes`.
    pub peer_bodies_bytes: Option<usize>,
    /// How many messages one `POST` or `PUT` has, but for lines of NDJSON, which are many appends. The log has a limit of
    /// its own; the lower one counts. Default: 100,000.
    pub append_messages: usize,
    /// The longest line of NDJSON, in bytes. Default: 8 MiB.
    pub line_bytes: usize,
    /// About how many bytes of messages one answer to a catch-up read or long-poll has, at the most; a message that
    /// is longer than that comes alone. Default: 1 MiB.
    pub read_bytes: usize,
    /// How many readers may follow live or wait in a long-poll, over all streams. Default: 100,000.
    pub subscribers: usize,
    /// How many bytes of messages are kept for live readers, over all streams. Their encoded forms come on top, up to
    /// three times as much. Default: 64 MiB.
    pub shared_bytes: usize,
    /// Bytes on their way to readers beyond the 64 KiB that each may hold: messages that are larger, and the larger
    /// answers to catch-up reads. What readers share counts once. Past that, readers of large messages wait, and catch-up
    /// reads get smaller answers. A message that is larger than this takes all of it. Default: 64 MiB.
    pub outgoing_bytes: usize,
    /// How many streams the hub fills by itself at once: relays, gatherings, durable handlers. Past that, one more is
    /// refused with 429. Each holds up to 256 KiB of what is on its way to the log, and two items. Default: 1,000.
    pub fillings: usize,
    /// The most subscriptions. One more is refused with 429. Default: 1,000.
    pub subscriptions: usize,
    /// Bytes of memory that one subscription may take, by estimate: what it was asked to be, and the streams that it
    /// names, of 448 bytes each and their names. What its pattern brings is not counted. Past that, it is refused with 429.
    /// Default: 4 MiB.
    pub subscription_bytes: usize,
    /// Bytes of all subscriptions together. Past that, one more, or one more stream by name, is refused with 429.
    /// Default: 64 MiB.
    pub subscriptions_bytes: usize,
    /// Bytes of memory for the cursors of all subscriptions in streams that their patterns bring and that have something
    /// to do, by estimate: 192 bytes each, and each stream's name once. Past that, subscriptions are told of further
    /// streams when others are done; each keeps 64 in any case. Default: 64 MiB.
    pub subscription_cursors_bytes: usize,
    /// Number of gathers under way, over all clients. One address may have three quarters of them. Default: 16.
    pub gathers: usize,
    /// How many calls one gather has. Default: 10,000.
    pub gather_calls: usize,
    /// How many of them are made at a time. Default: 100.
    pub gather_concurrency: usize,
    /// The longest body of an answer to one of them, in bytes. A gather holds so many for each call that it makes at a
    /// time, at the most. Default: 1 MiB.
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
            read_bytes: 1 << 20,
            subscribers: 100_000,
            shared_bytes: 64 << 20,
            outgoing_bytes: 64 << 20,
            fillings: 1000,
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
