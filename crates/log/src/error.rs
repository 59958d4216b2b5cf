use std::error::Error as StdError;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::incarnation::Mark;
use crate::limits::{FORK_DEPTH, PRODUCER_IDLE};

/// An error of a log operation.
///
/// Its kind is tested with the predicates. After an error nothing of the operation is in the log,
/// unless [`is_outcome_unknown`](Self::is_outcome_unknown).
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Kind>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Kind {
    #[error("the stream doesn't exist")]
    NotFound,
    #[error("the stream was deleted; forks of it live on")]
    Gone,
    #[error("the stream is being restored from elsewhere, and isn't complete yet")]
    Restoring,
    #[error("another stream has this name")]
    Taken,
    #[error("the stream to fork doesn't exist")]
    SourceNotFound,
    #[error("the stream to fork was deleted")]
    SourceGone,
    #[error("{0}")]
    ForkPoint(&'static str),
    #[error("a fork can have {FORK_DEPTH} streams behind it")]
    ForkDepth,
    #[error("the messages before offset {floor} were trimmed")]
    Trimmed { floor: Mark },
    #[error("the stream ends at offset {tail}")]
    BeyondTail { tail: Mark },
    #[error("{0}")]
    Invalid(&'static str),
    #[error("{what} of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        what: &'static str,
        bytes: u64,
        limit: u64,
    },
    #[error("{what}: the limit is {limit}")]
    TooMany { what: &'static str, limit: u64 },
    #[error(
        "{limit} producers have appended to the stream within {} days, and it remembers no more",
        PRODUCER_IDLE.as_secs() / 86400
    )]
    TooManyProducers { limit: u64 },
    #[error("the storage is full")]
    Full {
        #[source]
        cause: Option<std::io::Error>,
        unknown: bool,
    },
    #[error("writing failed; whether it happened isn't known")]
    Failed(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the storage failed")]
    Storage(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the storage isn't available; nothing was done")]
    Unavailable(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the log is damaged: {place}")]
    Damaged {
        place: String,
        remedy: Option<Remedy>,
        #[source]
        cause: Option<Box<dyn StdError + Send + Sync>>,
    },
    /// A file or folder couldn't be used.
    #[error("{}: {}", path.display(), advice(cause))]
    File {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error(
        "{} is held by {}, which has this log open: end that first, or use another folder",
        path.display(),
        process.map_or("another process".to_owned(), |process| format!("the process {process}"))
    )]
    Locked {
        path: PathBuf,
        /// The process that has the log open, if the lock file names it.
        process: Option<u32>,
    },
    #[error(
        "the log is of format {found}, which this version can't read: open it with the version that wrote it, or start \
         with an empty folder"
    )]
    Version { found: u64 },
    #[error("the log is closed")]
    Closed,
}

/// A way to open a log with a certain damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// [`DiskLog::rebuild_index`](crate::DiskLog::rebuild_index) mends it.
    RebuildIndex,
    /// [`accept_damage`](crate::DiskOptions::accept_damage) opens it, without the damaged messages.
    AcceptDamage,
    /// [`accept_missing_end`](crate::DiskOptions::accept_missing_end) opens it, without the missing commits.
    AcceptMissingEnd,
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind))
    }
}

impl Error {
    pub(crate) fn kind(&self) -> &Kind {
        &self.0
    }

    /// Creates an error for an operation that may or may not have happened. For implementations of
    /// an engine.
    pub fn unknown(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Kind::Failed(cause.into()).into()
    }

    /// Creates an error of the storage, after which nothing of the operation is in the log. For
    /// implementations of an engine.
    pub fn storage(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Kind::Storage(cause.into()).into()
    }

    /// Creates an error of storage that can't be reached for the time being, after which nothing of the
    /// operation is in the log. For implementations of an engine.
    pub fn unavailable(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Kind::Unavailable(cause.into()).into()
    }

    /// Creates an error for storage without space. `unknown` if the operation may nevertheless have
    /// happened. For implementations of an engine.
    #[must_use]
    pub fn full(unknown: bool) -> Self {
        let cause = None;
        Kind::Full { cause, unknown }.into()
    }

    /// Creates an error for a closed log. For implementations of an engine.
    #[must_use]
    pub fn closed() -> Self {
        Kind::Closed.into()
    }

    /// Returns the location of the damage, if the error is damage.
    pub(crate) fn damaged_place(&self) -> Option<String> {
        match self.kind() {
            Kind::Damaged { place, .. } => Some(place.clone()),
            _ => None,
        }
    }

    /// Returns the way to open the log nevertheless, if the error is damage and there is one. Without it, files
    /// of a backup are needed.
    #[must_use]
    pub fn remedy(&self) -> Option<Remedy> {
        match self.kind() {
            Kind::Damaged { remedy, .. } => *remedy,
            _ => None,
        }
    }

    /// Adds the way to open a damaged log.
    pub(crate) fn with_remedy(mut self, known: Remedy) -> Self {
        if let Kind::Damaged { remedy, .. } = &mut *self.0 {
            *remedy = Some(known);
        }
        self
    }

    /// Creates an error for a file that can't be used for a reason other than its content.
    pub(crate) fn file(path: &Path, cause: std::io::Error) -> Self {
        let path = path.to_owned();
        Kind::File { path, cause }.into()
    }

    /// Creates an error for stored data that differs from what was written. For implementations of
    /// an engine.
    pub fn damaged(place: impl Into<String>) -> Self {
        Kind::Damaged {
            place: place.into(),
            remedy: None,
            cause: None,
        }
        .into()
    }

    headwater_wire::predicates! { error => *error.0;
        /// Returns `true` if the stream doesn't exist, or if it has expired or was deleted.
        is_not_found: Kind::NotFound,
        /// Returns `true` if the stream was deleted or has expired, but its name stays taken because it
        /// has forks.
        is_gone: Kind::Gone,
        /// Returns `true` if the stream is being [restored](crate::Restore) and isn't complete yet. It can
        /// only be restored further, or deleted.
        is_restoring: Kind::Restoring,
        /// Returns `true` if a stream can't be [restored](crate::Restore) because another one has its name.
        is_taken: Kind::Taken,
        /// Returns `true` if the stream to fork doesn't exist.
        is_source_not_found: Kind::SourceNotFound,
        /// Returns `true` if the stream to fork was deleted and remains only because of its forks.
        is_source_gone: Kind::SourceGone,
        /// Returns `true` if the fork point is invalid: the offset is past the source's tail or belongs
        /// to another stream, or the sub-offset is past the next boundary.
        is_bad_fork_point: Kind::ForkPoint(_),
        /// Returns `true` if the requested messages were trimmed. [`floor`](Self::floor) is the first
        /// readable offset.
        is_trimmed: Kind::Trimmed { .. },
        /// Returns `true` if the offset is past the stream's [`tail`](Self::tail).
        is_beyond_tail: Kind::BeyondTail { .. },
        /// Returns `true` if a name, offset, producer or append is malformed.
        is_invalid: Kind::Invalid(_),
        /// Returns `true` if a message, append, name or schema exceeds its [`limit`](Self::limit), in
        /// bytes.
        is_too_large: Kind::TooLarge { .. },
        /// Returns `true` if the number of streams, of messages in an append, or of forks in a chain
        /// exceeds the [`limit`](Self::limit).
        is_too_many: Kind::TooMany { .. } | Kind::ForkDepth,
        /// Returns `true` if the stream remembers as many producers as the [`limit`](Self::limit)
        /// allows, all of them have appended within [`PRODUCER_IDLE`](crate::limits::PRODUCER_IDLE),
        /// and the append is of another one.
        is_too_many_producers: Kind::TooManyProducers { .. },
        /// Returns `true` if there is no space: the disk is full, or a log in memory is at its limit.
        /// Reads still work, and appends work again once there is space.
        is_storage_full: Kind::Full { .. },
        /// Returns `true` if the disk failed during the write, so that the operation may or may not
        /// have happened. A producer can safely repeat an append with the same epoch and sequence
        /// number.
        is_outcome_unknown: Kind::Failed(_) | Kind::Full { unknown: true, .. },
        /// Returns `true` if the storage can't be reached for the time being, for example because a cluster
        /// has no leader. Nothing of the operation is in the log, and it can be repeated.
        is_unavailable: Kind::Unavailable(_),
        /// Returns `true` if stored data differs from what was written. The message contains the
        /// location.
        is_damaged: Kind::Damaged { .. },
        /// Returns `true` if another process has the log open.
        is_locked: Kind::Locked { .. },
        /// Returns `true` if the log is closed or closing.
        is_closed: Kind::Closed,
    }

    /// Returns the first readable offset, if the error is [`is_trimmed`](Self::is_trimmed).
    #[must_use]
    pub fn floor(&self) -> Option<Mark> {
        match *self.0 {
            Kind::Trimmed { floor } => Some(floor),
            _ => None,
        }
    }

    /// Returns the stream's tail, if the error is [`is_beyond_tail`](Self::is_beyond_tail).
    #[must_use]
    pub fn tail(&self) -> Option<Mark> {
        match *self.0 {
            Kind::BeyondTail { tail } => Some(tail),
            _ => None,
        }
    }

    /// Returns the limit that was exceeded: bytes or a count.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        match *self.0 {
            Kind::TooLarge { limit, .. }
            | Kind::TooMany { limit, .. }
            | Kind::TooManyProducers { limit } => Some(limit),
            Kind::ForkDepth => Some(FORK_DEPTH as u64),
            _ => None,
        }
    }
}

/// Returns the reason for an I/O error of a file, and a remedy.
fn advice(error: &std::io::Error) -> String {
    let (why, what) = match error.kind() {
        ErrorKind::PermissionDenied => (
            "this user may not read and write it",
            "run as its owner, or give it to this user (chown)",
        ),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => (
            "it, or its parent, is a file and not a folder",
            "name a folder",
        ),
        ErrorKind::IsADirectory => ("it is a folder and not a file", "move it away"),
        ErrorKind::ReadOnlyFilesystem => (
            "its file system is read-only",
            "mount it for writing, or use another folder",
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (
            "its disk is full",
            "free space on that disk, or raise the quota",
        ),
        _ => return error.to_string(),
    };
    format!("{why}; {what}")
}
