//! Detection of HTTP/2 streams whose clients don't read the response.
//!
//! hyper polls for the next part of a body as soon as the client's window has accepted the last
//! one. So a body that has returned a part and isn't polled again waits for the window.

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

/// Size of the parts in which a body is passed on, in bytes. A client that accepts one isn't
/// stalled.
const PART: usize = 16 * 1024;

#[derive(Debug, Clone, Copy)]
enum Part {
    /// The current task doesn't run an HTTP/2 stream.
    Unwatched,
    /// No part is known to be waiting for the window.
    None,
    Given(Instant),
}

thread_local! {
    /// State of the stream whose task is running.
    static PART_GIVEN: Cell<Part> = const { Cell::new(Part::Unwatched) };
}

/// Records that the stream's body is polled for its next part.
pub(super) fn note_asked() {
    if !matches!(PART_GIVEN.get(), Part::Unwatched) {
        PART_GIVEN.set(Part::None);
    }
}

/// Records that the stream's body returns `data`. Returns how many of its bytes to return now.
pub(super) fn note_given(data: &Bytes) -> usize {
    match PART_GIVEN.get() {
        Part::Unwatched => data.len(),
        _ => {
            PART_GIVEN.set(Part::Given(Instant::now()));
            data.len().min(PART)
        }
    }
}

/// Runs the streams of an HTTP/2 connection, each in a task that ends when its client accepts no
/// data for too long.
#[derive(Clone)]
pub(super) struct Streams {
    /// Zero disables the limit.
    pub(super) write_timeout: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Watched {
            stream,
            write_timeout: self.write_timeout,
            given: Part::None,
            timer: None,
        });
    }
}

pin_project! {
    struct Watched<F> {
        #[pin]
        stream: F,
        write_timeout: Duration,
        given: Part,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    /// Completes when the stream ends or stalls. The caller then drops it, which resets an
    /// incomplete HTTP/2 stream.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        PART_GIVEN.set(*this.given);
        let ended = this.stream.poll(cx).is_ready();
        *this.given = PART_GIVEN.replace(Part::Unwatched);
        if ended {
            return Poll::Ready(());
        }
        let Part::Given(at) = *this.given else {
            *this.timer = None;
            return Poll::Pending;
        };
        let Some(deadline) = at
            .checked_add(*this.write_timeout)
            .filter(|_| !this.write_timeout.is_zero())
        else {
            return Poll::Pending;
        };
        let timer = this
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}
