//! How much of anything there may be. What differs from hub to hub is in [`Limits`]; the rest are
//! constants, because what is on a disk must be readable by every engine that opens it.

use std::time::Duration;

/// The longest stream name, in bytes.
pub const NAME_BYTES: usize = 1024;
/// The longest producer id, in bytes.
pub const PRODUCER_ID_BYTES: usize = 256;
/// The longest `Stream-Seq`, in bytes.
pub const SEQ_BYTES: usize = 256;
/// The longest content type, in bytes.
pub const CONTENT_TYPE_BYTES: usize = 256;
/// The longest note of a stream, in bytes.
pub const NOTE_BYTES: usize = 4 << 10;
/// The longest reason for which a stream is closed, in bytes.
pub const REASON_BYTES: usize = 4 << 10;
/// The greatest epoch and sequence number of a producer: 2^53 − 1, which every JSON parser keeps.
pub const PRODUCER_NUMBER: u64 = (1 << 53) - 1;
/// Of how many of a producer's newest appends a stream remembers what they held, so that a repetition is told from another
/// append of the same number. An older number is refused.
pub const PRODUCER_WINDOW: usize = 32;
/// How long a producer must have appended nothing before a stream may forget it. A stream forgets none while there is
/// room for more ([`Limits::producers`]).
pub const PRODUCER_IDLE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many streams may lie behind one another, each a fork of the next.
pub const FORK_DEPTH: usize = 16;
/// How many streams one page of a listing has at most.
pub const PAGE: usize = 1000;

/// The limits that whoever opens a log may set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest message, in bytes. 8 MiB unless set; at most 1 GiB counts.
    pub message_bytes: usize,
    /// The most bytes of messages in one append. 32 MiB unless set; at most 1 GiB counts.
    pub append_bytes: usize,
    /// The most messages in one append. 100,000 unless set.
    pub append_messages: usize,
    /// The largest schema, in bytes. 256 KiB unless set.
    pub schema_bytes: usize,
    /// The most streams, those that are hidden but live on in forks included. Ten million unless set.
    pub streams: u64,
    /// The most producers that one stream remembers. 1,048,576 unless set, of about 100 bytes each and more for busy ones.
    /// When there are as many, those that have been idle for [`PRODUCER_IDLE`] are forgotten; where there are none, a new
    /// producer is [refused](crate::Error::is_too_many_producers).
    pub producers: u32,
    /// Number of [ends](crate::Ended) of streams that the order of all streams keeps: the newest. 65,536 unless set; at least one
    /// is kept.
    pub ended: u32,
    /// The most bytes of appends that wait to be written. 64 MiB unless set. Past that, an append
    /// waits until there is room.
    pub queued_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 8 << 20,
            append_bytes: 32 << 20,
            append_messages: 100_000,
            schema_bytes: 256 << 10,
            streams: 10_000_000,
            producers: 1 << 20,
            ended: 1 << 16,
            queued_bytes: 64 << 20,
        }
    }
}
