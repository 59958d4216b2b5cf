//! Where a stream's bytes come from: the developer's stream, with its type left behind.

use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use headwater_wire::{Encoder, Format, Meta, sse};
use pin_project_lite::pin_project;
use serde::Serialize;

use crate::{Item, Problem, operation, schema::Schema};

/// Bytes on their way out.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) encoder: Encoder,
    pub(crate) out: Vec<u8>,
    /// A chunk that goes out after `out`, as it is: its memory may be that of other streams too.
    pub(crate) shared: Option<Bytes>,
    /// How many items or chunks were written.
    pub(crate) items: u64,
    /// How much of `out` is whole items: more than that is only there while one is being written.
    pub(crate) whole: usize,
    /// Whether the bytes are a developer's own, which no format frames.
    pub(crate) raw: bool,
    /// What each item must be, if that is to be checked.
    pub(crate) check: Option<Schema>,
}

impl Sink {
    fn item<T: Serialize>(&mut self, item: &Item<T>) -> Result<(), Problem> {
        if let Some((what, text)) = item.reserved() {
            return Err(Problem::internal(format!(
                "item {}: the {what} {text:?} begins with {:?}, which is kept for what Headwater says itself",
                self.items + 1,
                sse::RESERVED_PREFIX
            )));
        }
        if let Some(schema) = &self.check {
            operation::check(schema, &item.data).map_err(|problem| {
                problem.detail(format!(
                    "item {} is not what its schema says",
                    self.items + 1
                ))
            })?;
        }
        let mut digits = itoa::Buffer::new();
        let meta = match self.encoder.format() {
            Format::Sse => item.meta(&mut digits),
            _ => Meta::default(),
        };
        self.encoder
            .item::<T>(&meta, &item.data, &mut self.out)
            .map_err(|error| {
                let number = self.items + 1;
                Problem::internal(error).detail(format!("item {number} can't be sent"))
            })?;
        self.items += 1;
        self.whole = self.out.len();
        Ok(())
    }

    /// Appends what makes the stream complete.
    pub(crate) fn end(&mut self, is_sse: bool) {
        if self.raw {
            return;
        }
        if is_sse {
            encode_end(self.items, &mut self.out);
        } else {
            self.encoder.end(&mut self.out);
        }
    }
}

/// Why a source stopped filling.
#[derive(Debug)]
pub(crate) enum Filled {
    /// There is as much as was asked for; there may be more.
    Full,
    /// The stream is complete.
    End,
    /// The stream failed; nothing more comes.
    Failed(Problem),
}

/// A stream that writes itself. One virtual call fills a whole chunk.
pub(crate) trait Source: Send {
    /// Appends what is ready to `sink`, until it holds `until` bytes, nothing more is ready (then it
    /// is pending, whether it appended something or not), or the stream is over.
    fn poll_fill(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut Sink,
        until: usize,
    ) -> Poll<Filled>;
}

pub(crate) type BoxSource = Pin<Box<dyn Source>>;

pin_project! {
    /// A stream of items; `convert` makes items, or the stream's failure, of what it yields.
    struct Items<S, F, T> {
        #[pin]
        stream: S,
        convert: F,
        _item: PhantomData<fn() -> T>,
    }
}

pub(crate) fn items<S, F, T>(stream: S, convert: F) -> BoxSource
where
    S: Stream + Send + 'static,
    F: FnMut(S::Item) -> Result<Item<T>, Problem> + Send + 'static,
    T: Serialize + 'static,
{
    Box::pin(Items {
        stream,
        convert,
        _item: PhantomData,
    })
}

impl<S, F, T> Source for Items<S, F, T>
where
    S: Stream + Send,
    F: FnMut(S::Item) -> Result<Item<T>, Problem> + Send,
    T: Serialize,
{
    fn poll_fill(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut Sink,
        until: usize,
    ) -> Poll<Filled> {
        let mut this = self.project();
        while sink.out.len() < until {
            match this.stream.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Filled::End),
                Poll::Ready(Some(yielded)) => {
                    let written = (this.convert)(yielded).and_then(|item| sink.item(&item));
                    if let Err(problem) = written {
                        return Poll::Ready(Filled::Failed(problem));
                    }
                }
            }
        }
        Poll::Ready(Filled::Full)
    }
}

pin_project! {
    /// A stream of bytes that go out as they are.
    struct Chunks<S, F> {
        #[pin]
        stream: S,
        convert: F,
    }
}

pub(crate) fn chunks<S, F>(stream: S, convert: F) -> BoxSource
where
    S: Stream + Send + 'static,
    F: FnMut(S::Item) -> Result<Bytes, Problem> + Send + 'static,
{
    Box::pin(Chunks { stream, convert })
}

impl<S, F> Source for Chunks<S, F>
where
    S: Stream + Send,
    F: FnMut(S::Item) -> Result<Bytes, Problem> + Send,
{
    fn poll_fill(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut Sink,
        until: usize,
    ) -> Poll<Filled> {
        let mut this = self.project();
        while sink.out.len() < until {
            match this.stream.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Filled::End),
                Poll::Ready(Some(yielded)) => match (this.convert)(yielded) {
                    Ok(bytes) => {
                        sink.out.extend_from_slice(&bytes);
                        sink.items += 1;
                        sink.whole = sink.out.len();
                    }
                    Err(problem) => return Poll::Ready(Filled::Failed(problem)),
                },
            }
        }
        Poll::Ready(Filled::Full)
    }
}

pin_project! {
    /// A stream of chunks that are in a format already, each shared and not copied.
    struct Frames<S> {
        #[pin]
        stream: S,
    }
}

pub(crate) fn frames<S>(stream: S) -> BoxSource
where
    S: Stream<Item = Result<Bytes, Problem>> + Send + 'static,
{
    Box::pin(Frames { stream })
}

impl<S> Source for Frames<S>
where
    S: Stream<Item = Result<Bytes, Problem>> + Send,
{
    fn poll_fill(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut Sink,
        _: usize,
    ) -> Poll<Filled> {
        if sink.shared.is_some() || !sink.out.is_empty() {
            return Poll::Ready(Filled::Full);
        }
        match self.project().stream.poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(Filled::End),
            Poll::Ready(Some(Err(problem))) => Poll::Ready(Filled::Failed(problem)),
            Poll::Ready(Some(Ok(bytes))) => {
                sink.shared = Some(bytes);
                sink.items += 1;
                Poll::Ready(Filled::Full)
            }
        }
    }
}

/// The event that reports `problem` in the middle of an SSE stream.
pub(crate) fn encode_failure(problem: &Problem, out: &mut Vec<u8>) {
    // A problem always serialises, and the name of the event is a constant that SSE can carry.
    let mut meta = Meta::default().event(sse::ERROR_EVENT);
    if problem.is_for_good() {
        meta = meta.id(sse::END_ID);
    }
    let _ = sse::encode_json(&meta, problem, out);
}

/// The event that says that an SSE stream of `items` items is complete.
fn encode_end(items: u64, out: &mut Vec<u8>) {
    let meta = Meta::default().event(sse::END_EVENT).id(sse::END_ID);
    let _ = sse::encode_text(&meta, &format!("{{\"items\":{items}}}"), out);
}
