//! Type-erased sources of a stream's bytes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use futures_core::Stream;
use headwater_wire::{Encoder, Format, Meta, json_array, sse};
use pin_project_lite::pin_project;
use serde::Serialize;

use crate::{
    Item, Problem,
    outgoing::{self, Check},
};

/// An output buffer with its encoder.
#[derive(Debug)]
pub(crate) struct Sink {
    pub(crate) encoder: Encoder,
    pub(crate) out: Vec<u8>,
    /// Chunk that is sent after `out` without a copy. Other streams may share its memory.
    pub(crate) shared: Option<Bytes>,
    /// Number of items or chunks written.
    pub(crate) items: u64,
    /// Number of bytes of `out` that are whole items. It is less than `out.len()` only while an
    /// item is being written.
    pub(crate) whole: usize,
    /// If `true`, the bytes are the developer's own and no format frames them.
    pub(crate) raw: bool,
    /// The check of each item, if items are checked.
    pub(crate) check: Option<Arc<dyn Check>>,
}

impl Sink {
    fn item<T: Serialize>(&mut self, item: &Item<T>) -> Result<(), Problem> {
        if let Some((what, text)) = item.reserved() {
            return Err(Problem::internal(format!(
                "item {}: the {what} {text:?} begins with {:?}, which is reserved for Headwater",
                self.items + 1,
                sse::RESERVED_PREFIX
            )));
        }
        if let Some(check) = &self.check {
            outgoing::check(&**check, &item.data).map_err(|problem| {
                problem.detail(format!("item {} doesn't match its schema", self.items + 1))
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

    /// Appends the end of a complete stream.
    pub(crate) fn end(&mut self) {
        match self.encoder.format() {
            _ if self.raw => {}
            Format::Sse => encode_end(self.items, &mut self.out),
            Format::JsonArray => json_array::encode_end(self.items == 0, &mut self.out),
            _ => {}
        }
    }
}

/// Reason that [`Source::poll_fill`] returned.
#[derive(Debug)]
pub(crate) enum Filled {
    /// The requested number of bytes is reached. There may be more.
    Full,
    /// The stream is complete.
    End,
    /// The stream failed. Nothing follows.
    Failed(Problem),
}

/// A stream that encodes itself. One virtual call fills a whole chunk.
pub(crate) trait Source: Send {
    /// Appends ready items to `sink` until it holds `until` bytes, the stream has nothing ready, or
    /// the stream ends. If nothing more is ready, it returns `Pending`, even if it appended
    /// something.
    fn poll_fill(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        sink: &mut Sink,
        until: usize,
    ) -> Poll<Filled>;
}

pub(crate) type BoxSource = Pin<Box<dyn Source>>;

pin_project! {
    /// A stream whose values `write` appends to the output.
    struct Written<S, F> {
        #[pin]
        stream: S,
        write: F,
    }
}

/// Returns a stream of items. `convert` turns each value into an item or the stream's failure.
pub(crate) fn items<S, F, T>(stream: S, mut convert: F) -> BoxSource
where
    S: Stream + Send + 'static,
    F: FnMut(S::Item) -> Result<Item<T>, Problem> + Send + 'static,
    T: Serialize + 'static,
{
    let write = move |yielded, sink: &mut Sink| sink.item(&convert(yielded)?);
    Box::pin(Written { stream, write })
}

/// Returns a stream of bytes that are sent unchanged.
pub(crate) fn chunks<S, F>(stream: S, mut convert: F) -> BoxSource
where
    S: Stream + Send + 'static,
    F: FnMut(S::Item) -> Result<Bytes, Problem> + Send + 'static,
{
    let write = move |yielded, sink: &mut Sink| {
        sink.out.extend_from_slice(&convert(yielded)?);
        sink.items += 1;
        sink.whole = sink.out.len();
        Ok::<_, Problem>(())
    };
    Box::pin(Written { stream, write })
}

impl<S, F> Source for Written<S, F>
where
    S: Stream + Send,
    F: FnMut(S::Item, &mut Sink) -> Result<(), Problem> + Send,
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
                    if let Err(problem) = (this.write)(yielded, sink) {
                        return Poll::Ready(Filled::Failed(problem));
                    }
                }
            }
        }
        Poll::Ready(Filled::Full)
    }
}

pin_project! {
    /// A stream of chunks that are already in a format. Each is shared, not copied.
    struct Frames<M, S, P> {
        // Makes the stream in the format of the response.
        make: Option<M>,
        #[pin]
        stream: Option<S>,
        parts: P,
    }
}

/// Returns the stream that `make` returns for the format of the response. `parts` splits a chunk
/// into its bytes and their number of items.
pub(crate) fn frames<M, S, T, P>(make: M, parts: P) -> BoxSource
where
    M: FnOnce(Format) -> S + Send + 'static,
    S: Stream<Item = Result<T, Problem>> + Send + 'static,
    P: FnMut(T) -> (Bytes, u64) + Send + 'static,
{
    Box::pin(Frames {
        make: Some(make),
        stream: None,
        parts,
    })
}

impl<M, S, T, P> Source for Frames<M, S, P>
where
    M: FnOnce(Format) -> S + Send,
    S: Stream<Item = Result<T, Problem>> + Send,
    P: FnMut(T) -> (Bytes, u64) + Send,
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
        let mut this = self.project();
        let format = sink.encoder.format();
        if let Some(make) = this.make.take() {
            this.stream.set(Some(make(format)));
        }
        let Some(stream) = this.stream.as_pin_mut() else {
            return Poll::Ready(Filled::End);
        };
        match stream.poll_next(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(Filled::End),
            Poll::Ready(Some(Err(problem))) => Poll::Ready(Filled::Failed(problem)),
            Poll::Ready(Some(Ok(chunk))) => {
                let (mut bytes, items) = (this.parts)(chunk);
                if format == Format::JsonArray && !sink.raw && sink.items == 0 {
                    // Instead of the comma.
                    sink.out.push(b'[');
                    bytes.advance(bytes.len().min(1));
                }
                sink.shared = Some(bytes);
                sink.items += items;
                Poll::Ready(Filled::Full)
            }
        }
    }
}

/// Encodes the event that reports `problem` within an SSE stream.
pub(crate) fn encode_failure(problem: &Problem, out: &mut Vec<u8>) {
    // This can't fail: a problem always serialises, and the event name is a constant that SSE can
    // carry.
    let mut meta = Meta::default().event(sse::ERROR_EVENT);
    if problem.is_permanent() {
        meta = meta.id(sse::END_ID);
    }
    let _ = sse::encode_json(&meta, problem, out);
}

/// Encodes the event that marks an SSE stream of `items` items as complete.
fn encode_end(items: u64, out: &mut Vec<u8>) {
    let meta = Meta::default().event(sse::END_EVENT).id(sse::END_ID);
    let _ = sse::encode_text(&meta, &format!("{{\"items\":{items}}}"), out);
}
