//! Refusals: responses that aren't a success, and the event that reports an expired token.

use headwater_wire::Event;
use http::StatusCode;

use super::Head;
use crate::{
    error::{Error, Kind},
    problem::Problem,
};

/// A response that isn't a success, while its body is read for an error message.
pub(super) struct Refused {
    status: StatusCode,
    content_type: String,
    body: Vec<u8>,
    attempts: u32,
    /// `true` if another token may be accepted.
    pub(super) is_renewable: bool,
}

impl Refused {
    /// Maximum number of bytes read from a body for its error message.
    const MAX_BODY: usize = 64 * 1024;

    pub(super) fn new(head: &Head, attempts: u32, is_renewable: bool) -> Self {
        let readable = head.content_encoding.is_none();
        let content_type = head.content_type.clone().filter(|_| readable);
        let content_type = content_type.unwrap_or_default();
        Self {
            status: head.status,
            content_type,
            body: Vec::new(),
            attempts,
            is_renewable,
        }
    }

    /// Adds a chunk. Returns `true` if the body is too large to be read to its end.
    pub(super) fn push(&mut self, chunk: &[u8]) -> bool {
        if self.body.len() + chunk.len() > Self::MAX_BODY {
            return true;
        }
        self.body.extend_from_slice(chunk);
        false
    }

    pub(super) fn error(&self) -> Error {
        refusal(self.status, &self.content_type, &self.body).after_attempts(self.attempts)
    }
}

/// The code of the problem by which a server ends a stream whose token has expired.
const EXPIRED: &str = "token_expired";

/// The type of the event that a server without reserved types uses for a problem.
const PLAIN_ERROR: &str = "error";

/// Returns the problem of an event that reports an expired token.
#[inline]
pub(super) fn expiry(event: &Event) -> Option<Problem> {
    let is_reserved = event.is_error();
    if !is_reserved && &*event.event != PLAIN_ERROR {
        return None;
    }
    let problem = Problem::from_json(event.data.as_bytes())?;
    let is_unauthorized = problem.status() == Some(StatusCode::UNAUTHORIZED.as_u16());
    let is_expired = problem.get("code").and_then(|code| code.as_str()) == Some(EXPIRED);
    (is_unauthorized && (is_reserved || is_expired)).then_some(problem)
}

/// The error of a response that isn't a success. `content_type` is that of a body without encoding,
/// or empty.
pub(crate) fn refusal(status: StatusCode, content_type: &str, body: &[u8]) -> Error {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is = |media: &str| essence.eq_ignore_ascii_case(media);
    let problem = if is("application/problem+json") {
        Problem::from_json(body)
    } else {
        None
    };
    let readable = is("text/plain") || is("application/json");
    let said = (readable && problem.is_none() && !body.is_empty()).then(|| {
        Problem::sentence(body).unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
    });
    Error::new(Kind::Status {
        status,
        problem,
        said,
    })
}
