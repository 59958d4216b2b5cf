//! Bodies of requests: read no further than a limit, and all of them together no further than another.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use headwater::{StatusCode, Undecodable};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::{
    error::Failure,
    limits::{BODY_PATIENCE, LONG_BODY, Limits},
};

/// How many bytes of bodies are held, over all requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bodies(Arc<AtomicUsize>);

impl Bodies {
    /// Nothing yet, for one request.
    pub(crate) fn hold(&self, limits: &Limits) -> Held {
        Held {
            all: Arc::clone(&self.0),
            held: 0,
            most: limits.bodies_bytes,
        }
    }
}

/// What one request holds of its body. It counts until it is dropped, which is to be after the bytes are.
#[derive(Debug)]
pub(crate) struct Held {
    all: Arc<AtomicUsize>,
    held: usize,
    most: usize,
}

impl Held {
    /// Counts `bytes` more.
    ///
    /// # Errors
    /// 503: all requests together hold as much as they may.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Failure> {
        let before = self.all.fetch_add(bytes, Ordering::Relaxed);
        self.held += bytes;
        if before.saturating_add(bytes) > self.most {
            let detail = "too much is being sent to the server at once";
            return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                .header(header::RETRY_AFTER, HeaderValue::from_static("1")));
        }
        Ok(())
    }

    /// Counts only `bytes` from here.
    pub(crate) fn keep(&mut self, bytes: usize) {
        let gone = self.held.saturating_sub(bytes);
        self.all.fetch_sub(gone, Ordering::Relaxed);
        self.held -= gone;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// Whether it is worth a look at the stream before a body is read: its client waits to be told to send it, or it is long,
/// as one is that doesn't say how long it is.
pub(crate) fn is_long(body: &Body, headers: &HeaderMap) -> bool {
    let length = body.size_hint().upper();
    headers.contains_key(header::EXPECT) || length.is_none_or(|length| length > LONG_BODY)
}

/// Reads a whole body.
///
/// # Errors
/// 413 where it is over the limit; 408 where it stops coming; 400 where the client breaks off; 503.
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
        let late = || Failure::new(StatusCode::REQUEST_TIMEOUT, "the body stopped coming");
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

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// The client broke off.
pub(crate) async fn next(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if let Some(undecodable) = Undecodable::of(&error) {
                return Failure::bad_request(undecodable.to_string());
            }
            tracing::debug!(%error, "a request's body broke off");
            Failure::bad_request("the body broke off")
        })?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_bodies_together_are_held_up_to_the_limit() {
        let limits = Limits {
            bodies_bytes: 10,
            ..Limits::default()
        };
        let bodies = Bodies::default();
        let read = async |held: &mut Held, body: &'static str| {
            whole(Body::from(body), &limits, held).await
        };
        let mut one = bodies.hold(&limits);
        assert!(read(&mut one, "1234567").await.is_ok());
        let mut two = bodies.hold(&limits);
        assert!(read(&mut two, "123").await.is_ok());
        assert!(read(&mut bodies.hold(&limits), "1").await.is_err());
        drop(one);
        assert!(read(&mut bodies.hold(&limits), "1234567").await.is_ok());
        drop(two);
        assert_eq!(bodies.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_given_up() {
        let silent =
            Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let limits = Limits::default();
        let mut held = Bodies::default().hold(&limits);
        let Err(failure) = whole(silent, &limits, &mut held).await else {
            panic!("it was read")
        };
        assert_eq!(failure.into_problem().status(), StatusCode::REQUEST_TIMEOUT);
    }
}
