//! Request bodies that end with the permission behind them.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http_body::{Frame, SizeHint};

use super::{Denied, Lease};
use crate::requests::body::{Ended, is_short};

/// Fails a body when its permission ends, unless it is a short one.
pub(super) fn within(lease: &Lease, body: Body) -> Body {
    if is_short(&body) {
        return body;
    }
    Body::new(Leased {
        body,
        over: FuturesUnordered::from_iter([Box::pin(lease.clone().end()) as Over]),
    })
}

type Over = Pin<Box<dyn Future<Output = Option<Denied>> + Send>>;

struct Leased {
    body: Body,
    /// The end of the permission, until it has ended. It is polled only when it was woken, and not for each frame.
    over: FuturesUnordered<Over>,
}

impl http_body::Body for Leased {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // With other grants that still allow the request, it continues.
        if let Poll::Ready(Some(Some(denied))) = self.over.poll_next_unpin(cx) {
            self.body = Body::empty();
            let ended = Ended::new(move || denied.clone().into());
            return Poll::Ready(Some(Err(axum::Error::new(ended))));
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
