//! Request bodies: bounded each, and by a budget for all of them together.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use headwater::{SlowBody, StatusCode, Undecodable};
use headwater_wire::causes;
use http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::peer::{Full, Peer, Shares};
use crate::{
    error::{Failure, temporary},
    limits::{BODY_PATIENCE, LONG_BODY, Limits, RESERVE, SMALL_BODY},
};

/// The budget for bodies over all requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bodies(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    /// Shares for bodies of any size.
    general: Shares,
    /// Shares that are reserved for small bodies.
    reserve: Shares,
}

impl Bodies {
    /// Starts the account of one request by `peer`, with zero bytes.
    pub(crate) fn hold(&self, limits: &Limits, peer: Option<Peer>) -> Held {
        let reserve = limits.bodies_bytes / RESERVE;
        Held {
            all: self.clone(),
            peer,
            general: 0,
            reserve: 0,
            most_general: limits.bodies_bytes - reserve,
            most_reserve: reserve,
            share: limits.peer_bodies_bytes.unwrap_or(limits.bodies_bytes / 2),
        }
    }
}

/// The bytes of its body that one request holds. They count until this is dropped, so drop it after
/// the bytes.
#[derive(Debug)]
pub(crate) struct Held {
    all: Bodies,
    peer: Option<Peer>,
    general: usize,
    reserve: usize,
    most_general: usize,
    most_reserve: usize,
    /// Bytes that one peer may hold. Of the reserve it is half.
    share: usize,
}

impl Held {
    fn bytes(&self) -> usize {
        self.general + self.reserve
    }

    /// Adds `bytes`.
    ///
    /// # Errors
    /// 503: the budget of all requests, or the share of the peer, is used up.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Failure> {
        let mut counts = self.all.0.lock();
        let taken = counts
            .general
            .take(self.peer, bytes, self.most_general, self.share);
        let Err(full) = taken else {
            self.general += bytes;
            return Ok(());
        };
        let share = self.most_reserve.div_ceil(2);
        if self.bytes().saturating_add(bytes) <= SMALL_BODY
            && counts
                .reserve
                .take(self.peer, bytes, self.most_reserve, share)
                .is_ok()
        {
            self.reserve += bytes;
            return Ok(());
        }
        let detail = match full {
            Full::All => "the server is receiving too many bytes at once",
            Full::Peer => "the server is receiving too many bytes at once from this address",
        };
        let problem = temporary(StatusCode::SERVICE_UNAVAILABLE, detail);
        Err(problem.with("code", "busy").into())
    }

    /// Grows the account to `bytes`.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub(crate) fn grow_to(&mut self, bytes: usize) -> Result<(), Failure> {
        self.add(bytes.saturating_sub(self.bytes()))
    }

    /// Shrinks the account to `bytes`.
    pub(crate) fn keep(&mut self, bytes: usize) {
        let gone = self.bytes().saturating_sub(bytes);
        // Bytes of the reserve are returned first.
        let reserve = gone.min(self.reserve);
        let general = gone - reserve;
        let mut counts = self.all.0.lock();
        counts.reserve.give_back(self.peer, reserve);
        counts.general.give_back(self.peer, general);
        drop(counts);
        self.reserve -= reserve;
        self.general -= general;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// Returns `true` if the stream should be checked before the body is read: the client waits for
/// `100 Continue`, or the body is long or of unknown length.
pub(crate) fn is_long(body: &Body, headers: &HeaderMap) -> bool {
    headers.contains_key(header::EXPECT) || !is_short(body)
}

/// Returns `true` if a body's length is known and small.
pub(crate) fn is_short(body: &Body) -> bool {
    let length = body.size_hint().upper();
    length.is_some_and(|length| length <= LONG_BODY)
}

/// Reads a whole body.
///
/// # Errors
/// - 413: it exceeds the limit.
/// - 408: it is silent for too long.
/// - 400: the client disconnects.
/// - 503: the budget is used up.
pub(crate) async fn whole(
    mut body: Body,
    limits: &Limits,
    held: &mut Held,
) -> Result<Bytes, Failure> {
    let limit = limits.body_bytes;
    if body.size_hint().lower() > limit as u64 {
        return Err(Failure::too_large("the body", limit));
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let late = || Failure::new(StatusCode::REQUEST_TIMEOUT, "the body stopped arriving");
        let piece = timeout(BODY_PATIENCE, next(&mut body))
            .await
            .map_err(|_| late())?;
        let Some(data) = piece? else { break };
        if first.len().max(all.len()) + data.len() > limit {
            return Err(Failure::too_large("the body", limit));
        }
        held.add(data.len())?;
        if first.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// The error of a body that a layer ended before its client did, with the response to its request.
#[derive(thiserror::Error)]
#[error("the body was ended before it was complete")]
pub(crate) struct Ended(Box<dyn Fn() -> Failure + Send + Sync>);

impl Ended {
    pub(crate) fn new(failure: impl Fn() -> Failure + Send + Sync + 'static) -> Self {
        Self(Box::new(failure))
    }

    /// Returns this error if it is why a body failed.
    fn of(error: &axum::Error) -> Option<&Self> {
        causes::find(error)
    }

    fn failure(&self) -> Failure {
        (self.0)()
    }
}

headwater_wire::opaque!(Ended);

/// Returns the next chunk of a body, or `None` at its end.
///
/// # Errors
/// The client disconnected, or its body was too slow, can't be decoded or was [`Ended`].
pub(crate) async fn next(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if let Some(undecodable) = Undecodable::of(&error) {
                return Failure::bad_request(undecodable.to_string());
            }
            if let Some(slow) = SlowBody::of(&error) {
                return Failure::new(StatusCode::REQUEST_TIMEOUT, slow.to_string());
            }
            if let Some(ended) = Ended::of(&error) {
                return ended.failure();
            }
            tracing::debug!(%error, "a request's body ended early");
            Failure::bad_request("the body ended early")
        })?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Returns the next piece of a body that can be long, or have no end. `None` is the end of the body.
///
/// # Errors
/// As [`next`], and 503 once the server shuts down. A body of any length would otherwise be read until the
/// deadline, and its sender would get no response.
pub(crate) async fn next_of_many(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    tokio::select! {
        biased;
        () = headwater::shutting_down() => {
            let detail = "the server shuts down, and the rest of the body isn't read";
            let problem = temporary(StatusCode::SERVICE_UNAVAILABLE, detail);
            Err(problem.with("code", "shutting_down").into())
        }
        piece = next(body) => piece,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::peer::tests::peer;

    fn limits(bodies_bytes: usize) -> Limits {
        Limits {
            bodies_bytes,
            ..Limits::default()
        }
    }

    async fn read(held: &mut Held, bytes: usize) -> bool {
        let body = Body::from(vec![b'x'; bytes]);
        whole(body, &Limits::default(), held).await.is_ok()
    }

    fn is_empty(bodies: &Bodies) -> bool {
        format!("{:?}", bodies.0.lock()) == format!("{:?}", Counts::default())
    }

    #[tokio::test]
    async fn the_bytes_of_all_bodies_are_limited() {
        let limits = limits(RESERVE * 100_000);
        let general = limits.bodies_bytes - 100_000;
        let bodies = Bodies::default();
        let mut one = bodies.hold(&limits, None);
        assert!(read(&mut one, general - 70_000).await);
        let mut two = bodies.hold(&limits, None);
        assert!(read(&mut two, 70_000).await);
        assert!(!read(&mut bodies.hold(&limits, None), SMALL_BODY + 1).await);
        // The reserve has room for a small body.
        let mut small = bodies.hold(&limits, None);
        assert!(read(&mut small, SMALL_BODY).await);
        assert!(!read(&mut bodies.hold(&limits, None), SMALL_BODY).await);
        drop(one);
        assert!(read(&mut bodies.hold(&limits, None), general - 70_000).await);
        drop((two, small));
        assert!(is_empty(&bodies));
    }

    #[tokio::test]
    async fn one_peer_leaves_room_for_others() {
        let limits = limits(RESERVE * 1_000_000);
        let (one, other) = (peer("192.0.2.1"), peer("192.0.2.2"));
        let bodies = Bodies::default();
        let half = limits.bodies_bytes / 2;
        let mut large = bodies.hold(&limits, one);
        assert!(read(&mut large, half).await);
        assert!(!read(&mut bodies.hold(&limits, one), SMALL_BODY + 1).await);
        assert!(read(&mut bodies.hold(&limits, one), SMALL_BODY).await);
        assert!(read(&mut bodies.hold(&limits, other), half / 2).await);
        let mut many = Vec::new();
        loop {
            let mut small = bodies.hold(&limits, one);
            if !read(&mut small, 10_000).await {
                break;
            }
            many.push(small);
        }
        assert_eq!(many.len(), 50);
        assert!(read(&mut bodies.hold(&limits, other), 10_000).await);
        drop((large, many));
        assert!(is_empty(&bodies));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_body_times_out() {
        let silent =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let limits = Limits::default();
        let mut held = Bodies::default().hold(&limits, None);
        let Err(failure) = whole(silent, &limits, &mut held).await else {
            panic!("it was read")
        };
        assert_eq!(failure.into_problem().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
