//! The end of an ingest job, and the close reason of its stream.

use bytes::Bytes;
use headwater::{Problem, StatusCode};

use super::StopReason;
use crate::protocol::close_reason::written;

/// The `type` of the problem of a stream whose ingest job was cancelled.
pub(crate) const CANCELLED: &str = "urn:headwater:cancelled";
/// The `type` of the problem of a stream that had no watchers for longer than its `keep_for`.
pub(crate) const UNWATCHED: &str = "urn:headwater:unwatched";
/// The `type` of the problem of a stream whose ingest job was interrupted by the end of the hub's
/// process.
pub(crate) const INTERRUPTED: &str = "urn:headwater:interrupted";

/// The outcome of an ingest job.
#[derive(Debug)]
pub(super) enum JobOutcome {
    /// The source ended.
    Complete,
    /// The source failed, or one of its items could not be stored.
    Failed(Problem),
    /// There were no watchers.
    Unwatched,
    Stopped(StopReason),
}

impl JobOutcome {
    /// Returns the close reason, or `None` if the source ended by itself.
    pub(super) fn reason(&self) -> Option<Bytes> {
        match self {
            Self::Complete => None,
            Self::Failed(problem) => Some(written(problem)),
            Self::Unwatched => Some(written(&unwatched())),
            Self::Stopped(StopReason::Interrupted) => Some(written(&interrupted())),
            Self::Stopped(StopReason::Cancelled | StopReason::Over) => Some(written(&cancelled())),
        }
    }
}

fn cancelled() -> Problem {
    Problem::new(StatusCode::CONFLICT)
        .type_uri(CANCELLED)
        .title("Cancelled")
        .detail("the job that fills the stream was cancelled")
}

fn unwatched() -> Problem {
    Problem::new(StatusCode::CONFLICT)
        .type_uri(UNWATCHED)
        .title("No watcher")
        .detail("the job that fills the stream was cancelled, as it had no watcher")
}

/// Returns the problem of a stream whose ingest job ran when the hub ended.
pub(super) fn interrupted() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE)
        .type_uri(INTERRUPTED)
        .title("Interrupted")
        .detail("the server stopped while the stream was being filled")
}
