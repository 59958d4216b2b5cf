//! One attempt at a call, over the exchange that all requests of the client use.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use super::{Answer, cache::Times};
use crate::{
    error::{Error, Kind, Overdue},
    exchange::Exchange,
    plan::Plan,
    retry_after::retry_after,
    session::{Piece, Reading, content_encoding, encoded, is_unavailable},
};

/// The result of one attempt.
pub(super) struct Attempt {
    /// Any response whose head arrived, regardless of its status; complete if the status is a
    /// success.
    pub(super) outcome: Result<Answer, Error>,
    /// The time from the start to the response's head.
    pub(super) head: Option<Duration>,
    pub(super) times: Times,
    /// `true` if the response came from another URL.
    pub(super) redirected: bool,
}

/// The time at which a call must be done, and the limit from which it results.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) limit: Duration,
}

impl Deadline {
    pub(super) fn error(self) -> Error {
        Error::new(Kind::Overdue {
            limit: self.limit,
            what: Overdue::Call,
        })
    }
}

/// Sends the request once and reads the whole response.
pub(super) async fn attempt(
    http: reqwest::Client,
    plan: Plan,
    max_body: usize,
    deadline: Option<Deadline>,
) -> Attempt {
    let sent = Instant::now();
    let mut seen = Seen::default();
    let reading = read(http, plan, max_body, sent, &mut seen);
    let outcome = match deadline {
        None => reading.await,
        Some(deadline) => timeout_at(deadline.at, reading)
            .await
            .unwrap_or_else(|_| Err(deadline.error())),
    };
    Attempt {
        outcome,
        head: seen.head,
        redirected: seen.redirected,
        times: Times {
            sent,
            received: Instant::now(),
            date: SystemTime::now(),
        },
    }
}

/// The state of a response before it is complete.
#[derive(Default)]
struct Seen {
    head: Option<Duration>,
    redirected: bool,
}

async fn read(
    http: reqwest::Client,
    plan: Plan,
    max_body: usize,
    sent: Instant,
    seen: &mut Seen,
) -> Result<Answer, Error> {
    let mut exchange = Exchange::open(http, plan, Reading::Answer).await?;
    seen.head = Some(sent.elapsed());
    seen.redirected = exchange.is_redirected();
    let status = exchange.status();
    let headers = exchange.take_headers();
    // The body of an error only explains its status. A coding that the call accepts is left as it
    // is.
    let refused = match content_encoding(&headers) {
        Some(codings) if status.is_success() && !exchange.plan().asks_for_encoding() => {
            Some(codings)
        }
        _ => None,
    };
    let body = match body(&mut exchange, max_body, refused).await {
        Ok(body) => body,
        // The status matters more than a fault in the body that explains it.
        Err((_, start)) if !status.is_success() => start,
        Err((error, _)) => return Err(error),
    };
    Ok(Answer {
        status,
        headers,
        body,
        cached: false,
    })
}

/// Reads the whole body. The error has the start of the body. A body in `refused` codings is an
/// error unless it is empty, as in a response to HEAD.
async fn body(
    exchange: &mut Exchange,
    max: usize,
    mut refused: Option<String>,
) -> Result<Bytes, (Error, Bytes)> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    loop {
        let piece = match exchange.next().await {
            Some(Ok(Piece::Bytes(piece))) => piece,
            Some(Ok(Piece::Event(_) | Piece::Block(_))) => continue,
            Some(Err(error)) => return Err((error, whole(first, more))),
            None => return Ok(whole(first, more)),
        };
        if let Some(codings) = refused.take_if(|_| !piece.is_empty()) {
            return Err((exchange.located(encoded(codings)), Bytes::new()));
        }
        let room = max - first.len().max(more.len());
        let fits = piece.len() <= room;
        let piece = piece.slice(..piece.len().min(room));
        if first.is_empty() && more.is_empty() {
            first = piece;
        } else {
            more.extend_from_slice(&std::mem::take(&mut first));
            more.extend_from_slice(&piece);
        }
        if !fits {
            let error = Error::new(Kind::BodyTooLarge { limit: max });
            return Err((exchange.located(error), whole(first, more)));
        }
    }
}

/// Joins the parts, one of which is empty: a body that arrived in one piece isn't copied.
fn whole(first: Bytes, more: BytesMut) -> Bytes {
    if more.is_empty() {
        first
    } else {
        more.freeze()
    }
}

/// Returns `true` if another attempt may succeed.
pub(super) fn is_passing(outcome: &Result<Answer, Error>) -> bool {
    match outcome {
        Ok(answer) => {
            answer.status == StatusCode::TOO_MANY_REQUESTS || is_unavailable(answer.status)
        }
        Err(error) => error.is_passing(),
    }
}

/// The wait that the server requests, if any.
pub(super) fn wish(answer: &Answer) -> Option<Duration> {
    answer
        .headers
        .get(http::header::RETRY_AFTER)
        .and_then(retry_after)
}
