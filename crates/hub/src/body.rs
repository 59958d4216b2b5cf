//! Bodies of requests, read whole and no further than a limit.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use headwater::{Problem, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::error::Failure;

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// 413 where there is more; 400 where the client breaks off.
pub(crate) async fn whole(mut body: Body, limit: usize) -> Result<Bytes, Failure> {
    let too_large = || Failure::too_large("the body", limit);
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(data) = next(&mut body).await? {
        if first.len().max(all.len()) + data.len() > limit {
            return Err(too_large());
        }
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
            tracing::debug!(%error, "a request's body broke off");
            Failure::from(Problem::new(StatusCode::BAD_REQUEST).detail("the body broke off"))
        })?;
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
