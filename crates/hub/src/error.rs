//! The only mapping of the log's errors to responses.

use axum::response::{IntoResponse, Response};
use headwater::{Operation, OperationOutput, Problem, StatusCode};
use headwater_log::{Error, Mark, Published, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{limits::RETRY_AFTER, protocol::header_names};

/// A failed request: a problem, with the headers that the protocol requires in addition.
pub(crate) struct Failure {
    problem: Problem,
    headers: HeaderMap,
    /// `true` if trying again has no use before something else changes.
    is_lasting: bool,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Problem::new(status).detail(detail).into()
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Problem::bad_request(detail).into()
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// Returns the failure for a closed stream whose tail is `tail`.
    pub(crate) fn closed(tail: Mark) -> Self {
        Self::conflict("the stream is closed")
            .header(
                header_names::STREAM_CLOSED,
                HeaderValue::from_static("true"),
            )
            .header(header_names::STREAM_NEXT_OFFSET, offset_value(tail))
    }

    /// Returns the failure for exceeding a limit of the hub.
    pub(crate) fn too_large(what: &str, limit: usize) -> Self {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE)
            .detail(format!("{what} is over the limit of {limit} bytes"))
            .with("limit", limit)
            .into()
    }

    /// Returns the failure for a request with more messages than `limit`.
    pub(crate) fn too_many_messages(limit: usize) -> Self {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE)
            .detail(format!("one request has at most {limit} messages"))
            .with("limit", limit)
            .into()
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a member to the problem.
    pub(crate) fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.problem = self.problem.with(name, value);
        self
    }

    /// Leaves out `Retry-After` of a 429 or a 503: trying again has no use before something else changes.
    pub(crate) fn lasting(mut self) -> Self {
        self.is_lasting = true;
        self
    }

    /// Returns the problem and the headers.
    pub(crate) fn into_parts(self) -> (Problem, HeaderMap) {
        (self.problem, self.headers)
    }

    /// Returns the problem without the headers.
    pub(crate) fn into_problem(self) -> Problem {
        self.problem
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            headers: HeaderMap::new(),
            is_lasting: false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        problem(error).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.problem.into_response();
        response.headers_mut().extend(self.headers);
        if self.is_lasting {
            response.extensions_mut().insert(Lasting);
        }
        response
    }
}

impl OperationOutput for Failure {
    fn describe(operation: &mut Operation) {
        operation.any_error();
    }
}

/// A response's extension: trying again has no use before something else changes. A 429 or a 503 with it has no
/// `Retry-After`.
#[derive(Clone, Copy)]
pub(crate) struct Lasting;

/// The description of `Retry-After`.
pub(crate) const RETRY_AFTER_TEXT: &str = "The number of seconds after which to try again. It is missing if that has no use \
     before something else changes, as with a limit on subscriptions, and at `/readyz`, which is asked at regular times.";

/// Returns the problem of a request that can be repeated soon, for 429 or 503.
pub(crate) fn temporary(status: StatusCode, detail: impl Into<String>) -> Problem {
    Problem::new(status).detail(detail).retry_after(RETRY_AFTER)
}

/// Returns the problem for something that runs on the owner of a shared log.
pub(crate) fn not_owner(what: &str) -> Problem {
    let detail = format!(
        "{what} run on one of the hubs that share the log, its owner, and this hub isn't the owner now"
    );
    temporary(StatusCode::SERVICE_UNAVAILABLE, detail).with("code", "not_owner")
}

/// Returns the problem for an error of the log.
pub(crate) fn problem(error: Error) -> Problem {
    let is_unknown = error.is_outcome_unknown();
    if error.is_damaged() {
        // The location on this machine is only for the hub's log.
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR)
            .detail("the data of this stream is damaged; the hub's log says where")
            .source(error);
    }
    let Some(status) = status(&error) else {
        let problem = Problem::internal(error);
        return match is_unknown {
            true => problem
                .detail(
                    "the storage failed meanwhile, and the request may or may not have taken effect; an append of a producer \
                     can be repeated, and is stored once",
                )
                .with("code", "outcome_unknown"),
            false => problem,
        };
    };
    let mut problem = match status {
        StatusCode::SERVICE_UNAVAILABLE => temporary(status, error.to_string()),
        _ => Problem::new(status).detail(error.to_string()),
    };
    if error.is_storage_full() {
        problem = problem.with("code", "storage_full");
    }
    if error.is_trimmed() {
        problem = problem.with("reason", "trimmed");
    }
    if let Some(limit) = error.limit() {
        problem = problem.with("limit", limit);
    }
    if let Some(floor) = error.floor() {
        problem = problem.with("floor", floor.to_string());
    }
    if let Some(tail) = error.tail() {
        problem = problem.with("tail", tail.to_string());
    }
    // The log reports a full disk once itself. A line for every request would fill the rest of the
    // disk.
    if status.is_server_error()
        && !error.is_storage_full()
        && !error.is_closed()
        && !error.is_restoring()
    {
        problem.source(error)
    } else {
        problem
    }
}

fn status(error: &Error) -> Option<StatusCode> {
    /// A predicate of errors.
    type Is = fn(&Error) -> bool;
    let table: [(Is, StatusCode); 15] = [
        (Error::is_not_found, StatusCode::NOT_FOUND),
        (Error::is_gone, StatusCode::GONE),
        (Error::is_restoring, StatusCode::SERVICE_UNAVAILABLE),
        (Error::is_taken, StatusCode::CONFLICT),
        (Error::is_trimmed, StatusCode::GONE),
        (Error::is_source_not_found, StatusCode::NOT_FOUND),
        (Error::is_source_gone, StatusCode::CONFLICT),
        (Error::is_bad_fork_point, StatusCode::BAD_REQUEST),
        (Error::is_beyond_tail, StatusCode::BAD_REQUEST),
        (Error::is_invalid, StatusCode::BAD_REQUEST),
        (
            |error| error.is_too_large() || error.is_too_many(),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        // Retrying for days wouldn't help, and clients retry after 429 or 507.
        (Error::is_too_many_producers, StatusCode::CONFLICT),
        (Error::is_storage_full, StatusCode::INSUFFICIENT_STORAGE),
        (Error::is_closed, StatusCode::SERVICE_UNAVAILABLE),
        (Error::is_unavailable, StatusCode::SERVICE_UNAVAILABLE),
    ];
    table
        .into_iter()
        .find(|(is, _)| is(error))
        .map(|(_, status)| status)
}

/// Returns the failure for an append that doesn't fit its stream.
pub(crate) fn refusal(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::Closed { tail } => Failure::closed(*tail),
        Refusal::StaleEpoch { current } => Failure::new(
            StatusCode::FORBIDDEN,
            format!("a later epoch of this producer, {current}, has appended"),
        )
        .header(header_names::PRODUCER_EPOCH, (*current).into()),
        Refusal::EpochStart { received } => Failure::bad_request(format!(
            "a new epoch starts with sequence number 0, not {received}"
        )),
        Refusal::Gap { expected, received } => {
            let detail =
                format!("the producer's next sequence number is {expected}, not {received}");
            out_of_turn(detail, *expected, *received)
        }
        Refusal::Reused { received, last } => {
            let detail = format!(
                "the producer has used sequence number {received} for another append; nothing of this one is stored"
            );
            out_of_turn(detail, last + 1, *received)
        }
        Refusal::TooOld {
            received,
            oldest,
            last,
        } => {
            let detail = format!(
                "the producer has used the sequence numbers up to {last}, and the server remembers the appends from \
                 {oldest} on: it can't tell whether {received} is a repetition; nothing of it is stored"
            );
            out_of_turn(detail, last + 1, *received)
        }
        Refusal::Diverged { published, epoch } => {
            let failure = Failure::conflict(format!(
                "the producer has published {} messages, which don't match Producer-Messages and Producer-Digest; \
                 nothing of this append is stored",
                published.messages
            ));
            published_headers(published)
                .into_iter()
                .chain(epoch.map(|epoch| (header_names::PRODUCER_EPOCH, epoch.into())))
                .fold(failure, |failure, (name, value)| {
                    failure.header(name, value)
                })
        }
        Refusal::SeqRegression { last } => Failure::conflict(format!(
            "Stream-Seq must be greater, byte by byte, than the last, which is {last:?}"
        )),
    }
}

/// Returns a conflict about a producer's sequence.
fn out_of_turn(detail: String, expected: u64, received: u64) -> Failure {
    Failure::conflict(detail)
        .header(header_names::PRODUCER_EXPECTED_SEQ, expected.into())
        .header(header_names::PRODUCER_RECEIVED_SEQ, received.into())
}

/// Returns the messages that a producer has published, as headers.
pub(crate) fn published_headers(published: &Published) -> [(HeaderName, HeaderValue); 2] {
    let digest = HeaderValue::try_from(published.digest.to_string());
    [
        (header_names::PRODUCER_MESSAGES, published.messages.into()),
        // The text consists of hexadecimal digits.
        (
            header_names::PRODUCER_DIGEST,
            digest.unwrap_or(HeaderValue::from_static("0")),
        ),
    ]
}

/// Returns an offset as a header's value.
pub(crate) fn offset_value(offset: Mark) -> HeaderValue {
    // The text consists of digits and letters.
    HeaderValue::try_from(offset.to_string()).unwrap_or(HeaderValue::from_static("-1"))
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    #[test]
    fn what_can_be_repeated_is_503_and_what_may_have_happened_is_not() {
        let status = |error| problem(error).status();
        assert_eq!(status(Error::unavailable("no leader")), 503);
        assert_eq!(status(Error::unknown("no answer")), 500);
        assert_eq!(status(Error::storage("the disk failed")), 500);
        let retry_after = |error| {
            let response = problem(error).into_response();
            response.headers().get(header::RETRY_AFTER).cloned()
        };
        assert_eq!(retry_after(Error::unavailable("no leader")).unwrap(), "1");
        assert_eq!(retry_after(Error::unknown("no answer")), None);
    }
}
