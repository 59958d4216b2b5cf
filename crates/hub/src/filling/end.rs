//! How a filling ends, and what its stream says of it.

use bytes::Bytes;
use headwater::{Problem, StatusCode};
use headwater_log::limits::REASON_BYTES;
use serde_json::{Value, json};

use super::Stop;

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
            Self::Failed(problem) => Some(encode(problem)),
            Self::Unwatched => Some(encode(&unwatched())),
            Self::Stopped(Stop::Interrupted) => Some(encode(&interrupted())),
            Self::Stopped(Stop::Cancelled | Stop::Over) => Some(encode(&cancelled())),
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

/// A problem document as a reason: shortened where it is longer than one may be.
pub(super) fn encode(problem: &Problem) -> Bytes {
    // Strings, numbers and JSON values under string keys: nothing here can fail to serialise.
    let whole = serde_json::to_vec(problem).unwrap_or_default();
    if whole.len() <= REASON_BYTES {
        return whole.into();
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(&whole) else {
        return Bytes::new();
    };
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let mut short = json!({ "status": problem.status().as_u16() });
    // Escaped, a character can be six bytes long.
    for (name, most) in [("type", 128), ("title", 64), ("detail", 384)] {
        if let Some(text) = text(name) {
            short[name] = text.chars().take(most).collect::<String>().into();
        }
    }
    short.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_problem_document_however_long_the_problem_is() {
        let reason = End::Stopped(Stop::Cancelled).reason().unwrap();
        let value: Value = serde_json::from_slice(&reason).unwrap();
        assert_eq!(value["type"], CANCELLED);
        for detail in ["\u{1}".repeat(10_000), "€".repeat(10_000)] {
            let long = Problem::new(StatusCode::BAD_GATEWAY)
                .type_uri("x".repeat(5000))
                .detail(detail)
                .with("more", "y".repeat(5000));
            let reason = encode(&long);
            assert!(reason.len() <= REASON_BYTES, "{}", reason.len());
            let value: Value = serde_json::from_slice(&reason).unwrap();
            assert_eq!(value["status"], 502);
        }
        assert_eq!(End::Complete.reason(), None);
    }
}
