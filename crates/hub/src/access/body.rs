//! Request bodies that end with the permission behind them.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Denied, Lease};
use crate::requests::body::is_short;

/// The error of a body whose permission has ended.
#[derive(Debug, thiserror::Error)]
#[error("the permission for the request has ended")]
pub(crate) struct Ended(Denied);

impl Ended {
    /// Returns the reason, if this is why a body failed.
    pub(crate) fn of(error: &axum::Error) -> Option<Denied> {
        let first: &(dyn std::error::Error + 'static) = error;
        let mut chain = std::iter::successors(Some(first), |error| error.source());
        let ended = chain.find_map(|error| error.downcast_ref::<Self>());
        ended.map(|ended| ended.0.clone())
    }
}

/// Fails a body when its permission ends, unless it is a short one.
pub(super) fn within(lease: &Lease, body: Body) -> Body {
    if is_short(&body) {
        return body;
    }
    Body::new(Leased {
        body,
        over: Some(Box::pin(lease.clone().end())),
    })
}

struct Leased {
    body: Body,
    /// `None` after the permission has ended.
    over: Option<Pin<Box<dyn Future<Output = Option<Denied>> + Send>>>,
}

impl http_body::Body for Leased {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(over) = &mut self.over
            && let Poll::Ready(ended) = over.as_mut().poll(cx)
        {
            self.over = None;
            // With other grants that still allow the request, it continues.
            if let Some(denied) = ended {
                self.body = Body::empty();
                return Poll::Ready(Some(Err(axum::Error::new(Ended(denied)))));
            }
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
