//! Limits of the log. Those that can differ from hub to hub are in [`Limits`]. The others are
//! constants, because every engine that opens a folder must be able to read it.

use std::time::Duration;

/// Maximum length of a stream name, in bytes.
pub const NAME_BYTES: usize = 1024;
/// Maximum length of a producer id, in bytes.
pub const PRODUCER_ID_BYTES: usize = 256;
/// Maximum length of a `Stream-Seq`, in bytes.
pub const SEQ_BYTES: usize = 256;
/// Maximum length of a content type, in bytes.
pub const CONTENT_TYPE_BYTES: usize = 256;
/// Maximum length of a stream's note, in bytes.
pub const NOTE_BYTES: usize = 4 << 10;
/// Maximum length of the reason for which a stream is closed, in bytes.
pub const REASON_BYTES: usize = 4 << 10;
/// Maximum epoch and sequence number of a producer: 2^53 − 1, which every JSON parser represents
/// exactly.
pub const PRODUCER_NUMBER: u64 = (1 << 53) - 1;
/// Number of a producer's newest appends whose fingerprints a stream keeps, to tell a repetition
/// from a different append of the same number. An older number is refused.
pub const PRODUCER_WINDOW: usize = 32;
/// Time without an append after which a stream may forget a producer. A stream forgets none while
/// it has room for more ([`Limits::producers`]).
pub const PRODUCER_IDLE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Maximum length of a chain of forks, each a fork of the next.
pub const FORK_DEPTH: usize = 16;
/// Maximum number of incarnations that the offsets of a [restored](crate::Restore) stream have. A fork
/// adds one, and so does a move.
pub const MARKS: usize = 256;
/// Maximum number of streams in one page of a listing.
pub const PAGE: usize = 1000;

/// The configurable limits of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum length of a message, in bytes. Defaults to 8 MiB; values above 1 GiB count as 1 GiB.
    pub message_bytes: usize,
    /// Maximum bytes of messages in one append. Defaults to 32 MiB; values above 1 GiB count as 1
    /// GiB.
    pub append_bytes: usize,
    /// Maximum number of messages in one append. Defaults to 100,000.
    pub append_messages: usize,
    /// Maximum size of a schema, in bytes. Defaults to 64 KiB, the most
    /// that a hub compiles.
    pub schema_bytes: usize,
    /// Maximum number of streams, including hidden streams that have forks. Defaults to ten
    /// million.
    pub streams: u64,
    /// Maximum number of producers that one stream remembers. Defaults to 1,048,576, of about 100
    /// bytes each and more for busy ones. At the limit, producers that have been idle for
    /// [`PRODUCER_IDLE`] are forgotten. If there are none, a new producer is
    /// [refused](crate::Error::is_too_many_producers).
    pub producers: u32,
    /// Number of the newest [ends](crate::Ended) that the order of all streams keeps. Defaults to
    /// 65,536; at least one is kept.
    pub ended: u32,
    /// Maximum bytes of appends that wait to be written. Defaults to 64 MiB. Above it, an append
    /// waits until there is room.
    pub queued_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 8 << 20,
            append_bytes: 32 << 20,
            append_messages: 100_000,
            schema_bytes: 64 << 10,
            streams: 10_000_000,
            producers: 1 << 20,
            ended: 1 << 16,
            queued_bytes: 64 << 20,
        }
    }
}
