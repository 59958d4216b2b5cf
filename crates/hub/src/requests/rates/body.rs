//! Request bodies that arrive no faster than their sender may send.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::{meter::Meter, usage::Quantity};

/// A body that is counted as it arrives, and isn't read while its sender has nothing left.
///
/// It waits between two pieces, not within a read of the connection, so the pause isn't taken for silence
/// of the client.
pub(super) struct Metered {
    body: Body,
    meter: Meter,
    /// Messages are taken from it as it arrives.
    has_lines: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    pub(super) fn new(body: Body, meter: Meter, has_lines: bool) -> Self {
        Self {
            body,
            meter,
            has_lines,
            pause: None,
        }
    }

    fn wait(&self) -> Option<std::time::Duration> {
        let messages = self.has_lines.then(|| self.meter.wait(Quantity::Messages));
        self.meter.wait(Quantity::Bytes).max(messages.flatten())
    }
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            // At its end there is nothing to wait for.
            if self.body.is_end_stream() {
                break;
            }
            match self.wait() {
                Some(wait) => self.pause = Some(Box::pin(sleep(wait))),
                None => break,
            }
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.meter.owe(Quantity::Bytes, data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
