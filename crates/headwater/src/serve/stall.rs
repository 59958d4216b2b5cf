//! Streams of HTTP/2 whose clients take nothing of the response.
//!
//! hyper asks for the next part of a body as soon as the client's window has taken the last one. So a body that has given a
//! part and isn't asked for the next one waits for the window.

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

/// Size of the parts in which a body is passed on: a client that takes one isn't stalled.
const PART: usize = 16 * 1024;

#[derive(Debug, Clone, Copy)]
enum Part {
    /// The task that runs is that of no HTTP/2 stream.
    Unwatched,
    /// Nothing is given that waits to be taken, as far as is known.
    None,
    Given(Instant),
}

thread_local! {
    /// Of the stream whose task runs.
    static PART_GIVEN: Cell<Part> = const { Cell::new(Part::Unwatched) };
}

/// Notes that the stream's body is asked for its next part.
pub(super) fn note_asked() {
    if !matches!(PART_GIVEN.get(), Part::Unwatched) {
        PART_GIVEN.set(Part::None);
    }
}

/// Notes that the stream's body gives `data`. Returns how much of it is to be given now.
pub(super) fn note_given(data: &Bytes) -> usize {
    match PART_GIVEN.get() {
        Part::Unwatched => data.len(),
        _ => {
            PART_GIVEN.set(Part::Given(Instant::now()));
            data.len().min(PART)
        }
    }
}

/// Runs the streams of an HTTP/2 connection, each in a task that ends when its client takes nothing for too long.
#[derive(Clone)]
pub(super) struct Streams {
    /// Zero: no limit.
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

    /// Dropped when it is ready, an HTTP/2 stream that isn't complete is reset.
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
