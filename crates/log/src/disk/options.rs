use std::time::Duration;

use crate::clock::Clock;
use crate::limits::Limits;

/// The time at which an append is acknowledged. The weaker setting is named for what it relies on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After the data is on the disk. It survives a loss of power.
    #[default]
    Fsync,
    /// After the operating system has the data. It survives the end of the process, even a sudden
    /// one, but not a crash of the machine: the appends that the system hasn't written to the disk
    /// before it are missing, which can be those of half a minute. Opening the log then reports that in
    /// [`Recovery::missing`](crate::Recovery::missing).
    Os,
}

/// Options for opening a log in a folder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiskOptions {
    /// The time at which an append is acknowledged.
    pub durability: Durability,
    /// The limits.
    pub limits: Limits,
    /// The source of time.
    pub clock: Clock,
    /// Number of streams kept in memory, ready for use. Each takes about 1 KiB, and streams with
    /// producers somewhat more. Defaults to 16,384. Streams in use always stay in memory.
    pub hot_streams: usize,
    /// Memory for the newest records, in bytes, for readers at the tail. A record takes its bytes and
    /// about 140 more. Defaults to 64 MiB.
    pub recent_bytes: usize,
    /// Bytes of the index's blocks kept in memory. Defaults to 64 MiB.
    pub cache_bytes: u64,
    /// Maximum size of a segment of the journal, in bytes. The first segments are smaller, and a
    /// commit that needs more gets a longer one. Defaults to 64 MiB, at least 8 KiB.
    pub segment_bytes: u64,
    /// Free disk space, in bytes, below which appends are refused as
    /// [full](crate::Error::is_storage_full), so that deletion and cleanup still work. Defaults to
    /// 256 MiB.
    pub reserve_bytes: u64,
    /// Bytes of deleted, trimmed or expired messages after which files that are half dead are
    /// rewritten, or a quarter of the bytes of all messages if that is more. While the disk is full,
    /// any amount is enough. While more than 1 MiB is appended per second, such files can keep 256 MiB of
    /// them, or half of the bytes of all messages if that is more. Defaults to 16 MiB.
    pub give_back_bytes: u64,
    /// Time without a commit after which the messages in segments are sorted by stream, if they are
    /// 8 MiB or more. Otherwise they are sorted once there are 128 MiB. Defaults to 5 s.
    pub sort_idle_after: Duration,
    /// Bytes per second that sorting and rewriting of files write while commits are made. They are as
    /// fast as they can be while none are made, while the disk is full, and while 512 MiB of segments or
    /// 1,048,576 records wait. 0 is no limit. Defaults to 16 MiB.
    pub sort_rate: u64,
    /// Interval at which expired data is looked for. Defaults to 250 ms, at least 1 ms.
    pub reclaim_every: Duration,
    /// Bytes of appends after which the changes of the index are written out. They are written out
    /// after 20,000 commits or 16 MiB of changes in any case. Opening the log applies those that
    /// aren't. Defaults to 64 MiB.
    pub checkpoint_bytes: u64,
    /// If `true`, opens a log that misses acknowledged commits at its end, or the marker that would
    /// tell. Messages of missing commits that the index knows of can't be read, and the others are as
    /// if they had never existed. Offsets and positions of lost messages are never those of new ones: each stream that may
    /// have lost some continues with another incarnation. Missing commits in the middle can't be accepted. Defaults to `false`.
    /// Look for a better copy first.
    pub accept_missing_end: bool,
    /// If `true`, opens a log with damage in its newest messages, those in segments. A damaged stream
    /// can't be read at the damage; all other streams can. Messages in sorted files aren't checked when
    /// the log is opened.
    /// Defaults to `false`: check first whether a better copy exists.
    pub accept_damage: bool,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            durability: Durability::Fsync,
            limits: Limits::default(),
            clock: Clock::system(),
            hot_streams: 16_384,
            recent_bytes: 64 << 20,
            cache_bytes: 64 << 20,
            segment_bytes: headwater_journal::SEGMENT_BYTES,
            reserve_bytes: 256 << 20,
            give_back_bytes: 16 << 20,
            sort_idle_after: Duration::from_secs(5),
            sort_rate: 16 << 20,
            reclaim_every: Duration::from_millis(250),
            checkpoint_bytes: 64 << 20,
            accept_missing_end: false,
            accept_damage: false,
        }
    }
}
