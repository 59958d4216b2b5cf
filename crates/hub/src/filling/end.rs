//! How a filling ends, and what its stream says of it.

use bytes::Bytes;
use headwater::{Problem, StatusCode};

use super::Stop;
use crate::reason::written;

/// The `type` of the problem of a stream that was cancelled.
pub(crate) const CANCELLED: &str = "urn:headwater:cancelled";
/// And of one that nobody watched for as long as it was to be kept.
pub(crate) const UNWATCHED: &str = "urn:headwater:unwatched";
/// And of one that the end of the hub's process interrupted.
pub(crate) const INTERRUPTED: &str = "urn:headwater:interrupted";

/// How a filling ends.
#[derive(Debug)]
pub(super) enum End {
    /// The source ended.
    Complete,
    /// The source failed, or what it gave could not be kept.
    Failed(Problem),
    /// Nobody watched.
    Unwatched,
    Stopped(Stop),
}

impl End {
    /// Why the stream is closed; `None` where it came to its own end.
    pub(super) fn reason(&self) -> Option<Bytes> {
        match self {
            Self::Complete => None,
            Self::Failed(problem) => Some(written(problem)),
            Self::Unwatched => Some(written(&unwatched())),
            Self::Stopped(Stop::Interrupted) => Some(written(&interrupted())),
            Self::Stopped(Stop::Cancelled | Stop::Over) => Some(written(&cancelled())),
        }
    }
}

fn cancelled() -> Problem {
    Problem::new(StatusCode::CONFLICT)
        .type_uri(CANCELLED)
        .title("Cancelled")
        .detail("what fills the stream was cancelled")
}

fn unwatched() -> Problem {
    Problem::new(StatusCode::CONFLICT)
        .type_uri(UNWATCHED)
        .title("Nobody watched")
        .detail("what fills the stream was cancelled, as nobody watched it")
}

/// Of a stream that was being filled when the hub ended.
pub(super) fn interrupted() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE)
        .type_uri(INTERRUPTED)
        .title("Interrupted")
        .detail("the server ended while the stream was being filled")
}
