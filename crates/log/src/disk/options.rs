use std::time::Duration;

use crate::clock::Clock;
use crate::limits::Limits;

/// When an append is acknowledged. The weaker setting is named for what it rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is on the disk: it survives the loss of power.
    #[default]
    Fsync,
    /// When the operating system has it. It survives the end of the process, also a sudden one.
    /// It does not survive the end of the machine: what was acknowledged in the last seconds
    /// before can be missing, and then opening the log says so in its report.
    Os,
}

/// How to open a log in a folder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FjallOptions {
    /// When an append is acknowledged.
    pub durability: Durability,
    /// The limits.
    pub limits: Limits,
    /// Where the time comes from.
    pub clock: Clock,
    /// How many streams are kept in memory, ready for use: about 1 KiB each, and a few more for
    /// those with producers. 16,384 unless set. Streams in use are not counted out.
    pub hot_streams: usize,
    /// How many bytes of the newest records are kept in memory for readers at the tail. 64 MiB
    /// unless set.
    pub recent_bytes: usize,
    /// How many bytes of the disk's blocks are kept in memory. 64 MiB unless set.
    pub cache_bytes: u64,
    /// How many bytes one of the three tables in memory takes before it is written out. 32 MiB
    /// unless set.
    pub table_bytes: u64,
    /// Appends are refused as [full](crate::Error::is_storage_full) while the disk has less than
    /// this many bytes free, so that deleting and tidying up still work. 256 MiB unless set.
    pub reserve_bytes: u64,
    /// How many bytes of messages have to be deleted, trimmed or expired before their room is given back to the disk; a quarter
    /// of what the log takes, where that is more. While the disk is full, any are enough. 16 MiB unless set.
    pub give_back_bytes: u64,
    /// How often what has expired is looked for. 250 ms unless set; at least 1 ms counts.
    pub reclaim_every: Duration,
    /// After how many bytes appended the log is brought to a point from which opening it starts
    /// to check. 64 MiB unless set.
    pub checkpoint_bytes: u64,
    /// Opens a log from whose end acknowledged commits are missing, as if they had never been.
    /// What is missing in the middle can't be accepted. Off unless set: look first whether a
    /// better copy exists.
    pub accept_missing_end: bool,
    /// Opens a log of whose newest messages some are damaged: a stream can't be read where they are, and all others can. Older
    /// ones are not looked at when it is opened. Off unless set: look first whether a better copy exists.
    pub accept_damage: bool,
}

impl Default for FjallOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            limits: Limits::default(),
            clock: Clock::system(),
            hot_streams: 16_384,
            recent_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            table_bytes: 32 << 20,
            reserve_bytes: 256 << 20,
            give_back_bytes: 16 << 20,
            reclaim_every: Duration::from_millis(250),
            checkpoint_bytes: 64 << 20,
            accept_missing_end: false,
            accept_damage: false,
        }
    }
}
