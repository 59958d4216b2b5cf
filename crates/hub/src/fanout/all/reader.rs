//! A reader of many streams: a position in the global order. Its memory is bounded regardless of
//! its speed.

use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use headwater::{Format, Problem, StatusCode};
use headwater_log::{Incarnation, Log, Mark, Matching, Position, StreamName};
use headwater_wire::sse::{END_EVENT, END_ID};

use super::{
    batch::{self, Batch, Chunk},
    encode,
    patterns::Patterns,
    pump::Subscriber,
    ring::{EndReason, ReadOutcome},
};
use crate::{
    error::{problem, temporary},
    fanout::send_budget::{self, Key, Outgoing},
    limits::{EVENTS_CHUNK_BYTES, EVENTS_LEAST_READ_BYTES, EVENTS_READ_BYTES, EVENTS_SILENT},
    requests::rates::Seat,
};

/// One response.
pub(crate) struct Feed {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) outgoing: Outgoing,
    pub(crate) wanted: Arc<Patterns>,
    pub(crate) format: Format,
    /// Sent before anything else.
    pub(crate) notice: Option<Bytes>,
    /// The order of the positions.
    pub(crate) order: Incarnation,
    /// The position before the next event.
    pub(crate) position: Position,
    /// The position from which ends of streams are sent. The client received nothing of streams
    /// that ended before.
    pub(crate) ends_from: Position,
    /// The position from which the client resumes after a disconnect, as far as it knows.
    pub(crate) told: Option<Position>,
    /// Its source at the head of the order. Without one, the response ends there.
    pub(crate) live: Option<Subscriber>,
    /// Held until the response ends.
    pub(crate) _seat: Seat,
}

impl Feed {
    /// Returns the response's body, in chunks of whole events.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Problem>> + Send + 'static {
        let sending = Box::new(Sending {
            feed: self,
            read_bytes: EVENTS_READ_BYTES,
            messages: 0,
            is_over: false,
        });
        futures_util::stream::unfold(sending, |mut sending| async move {
            let chunk = sending.next().await?;
            Some((chunk, sending))
        })
    }
}

struct Sending {
    feed: Feed,
    /// Number of bytes that it reads from the log at once.
    read_bytes: usize,
    /// Number of messages that were sent.
    messages: u64,
    is_over: bool,
}

impl Sending {
    async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        if self.is_over {
            return None;
        }
        if let Some(notice) = self.feed.notice.take() {
            return Some(Ok(notice));
        }
        match self.chunk().await {
            Ok(Some(bytes)) => Some(Ok(bytes)),
            Ok(None) => {
                self.is_over = true;
                self.end().map(Ok)
            }
            Err(problem) => {
                self.is_over = true;
                Some(Err(problem))
            }
        }
    }

    /// Returns the next events, or `None` at the end.
    async fn chunk(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let position = self.feed.position;
            let given = self.feed.live.as_mut().map(|live| live.give(position));
            let (chunk, is_pending) = match given {
                // The log returns it in smaller parts, or to all readers together.
                Some(ReadOutcome::Batch(batch)) if batch.is_large(self.feed.format) => {
                    (self.read().await?.0, false)
                }
                Some(ReadOutcome::Batch(batch)) => (self.take(&batch), false),
                Some(ReadOutcome::Wait(next)) => {
                    self.feed.position = next;
                    (None, true)
                }
                Some(ReadOutcome::Ended(over)) => return Err(ended(over)),
                Some(ReadOutcome::Behind) => (self.read().await?.0, false),
                None => self.read().await?,
            };
            if let Some(chunk) = chunk {
                self.messages += chunk.messages;
                self.feed.told = Some(chunk.id);
                return Ok(Some(chunk.bytes));
            }
            if let Some(place) = self.untold() {
                return Ok(Some(place));
            }
            match (&mut self.feed.live, is_pending) {
                (Some(live), true) => live.changed().await,
                (None, true) => return Ok(None),
                // An in-memory log is never pending, and there may be many events that don't match.
                (_, false) => tokio::task::yield_now().await,
            }
        }
    }

    /// Returns the matching events of a batch and moves past it.
    fn take(&mut self, batch: &Batch) -> Option<Chunk> {
        let Feed {
            format,
            position,
            ends_from,
            wanted,
            ..
        } = &self.feed;
        let chunk = batch.chunk(*format, *position, *ends_from, wanted);
        self.feed.position = batch.next;
        chunk
    }

    /// Reads up to one chunk from the log. Also returns `true` if that is everything.
    async fn read(&mut self) -> Result<(Option<Chunk>, bool), Problem> {
        let outgoing = self.feed.outgoing.clone();
        loop {
            let turn = outgoing.read_turn().await;
            let (batches, next, at_head) =
                self.read_order(self.feed.position, self.read_bytes).await?;
            // Only the first batch is sent: small messages are many times larger as events.
            let is_more = batches.len() > 1;
            let Some(batch) = batches.into_iter().next() else {
                self.feed.position = next;
                return Ok((None, at_head));
            };
            if is_more {
                self.read_bytes = (self.read_bytes / 2).max(EVENTS_LEAST_READ_BYTES);
            } else if batch.cost < EVENTS_CHUNK_BYTES / 2 {
                self.read_bytes = (self.read_bytes * 2).min(EVENTS_READ_BYTES);
            }
            let is_all = at_head && !is_more;
            let before = self.feed.position;
            if let Some(id) = batch.only_large(before, &self.feed.wanted) {
                let (next, cost) = (batch.next, batch.cost);
                drop((batch, turn));
                let chunk = self.large(&outgoing, id, cost).await?;
                self.feed.position = next;
                return Ok((Some(chunk), is_all));
            }
            let Some(chunk) = self.take(&batch) else {
                return Ok((None, is_all));
            };
            if !send_budget::is_large(chunk.bytes.len()) {
                return Ok((Some(chunk), is_all));
            }
            if chunk.events == 1 {
                let (id, bytes) = (chunk.id, chunk.bytes.len());
                drop((chunk, batch, turn));
                return Ok((Some(self.large(&outgoing, id, bytes).await?), is_all));
            }
            // Escaped messages are several times longer.
            if self.read_bytes == EVENTS_LEAST_READ_BYTES {
                return Ok((Some(chunk), is_all));
            }
            self.feed.position = before;
            self.read_bytes = (self.read_bytes / 4).max(EVENTS_LEAST_READ_BYTES);
        }
    }

    /// Returns a message that is larger than one chunk. It is shared by all readers that are at it.
    async fn large(
        &self,
        outgoing: &Outgoing,
        id: Position,
        bytes: usize,
    ) -> Result<Chunk, Problem> {
        let format = self.feed.format;
        let next = Mark {
            at: id,
            incarnation: self.feed.order,
        };
        let key = Key::new(next, u8::from(format == Format::Sse));
        // Read again when there is memory for both the message and its encoding.
        let length = bytes.saturating_mul(2);
        let before = Position::new(id.number().saturating_sub(1));
        let bytes = outgoing.large(key, length, async || {
            let (batches, ..) = self.read_order(before, 1).await?;
            let again = batches.first().and_then(|batch| {
                batch.chunk(format, before, self.feed.ends_from, &self.feed.wanted)
            });
            match again.filter(|again| again.id == id) {
                Some(again) => Ok(again.bytes),
                None => Err(Problem::new(StatusCode::GONE).detail(
                    "a message was removed before it was sent: reconnect to continue after it",
                )),
            }
        });
        Ok(Chunk {
            bytes: bytes.await?,
            id,
            events: 1,
            messages: 1,
        })
    }

    /// Reads the log from a position. Returns batches, the position to continue from, and `true` at
    /// the end.
    async fn read_order(
        &self,
        from: Position,
        bytes: usize,
    ) -> Result<(Vec<Batch>, Position, bool), Problem> {
        let Feed { log, wanted, .. } = &self.feed;
        let wanted = Arc::clone(wanted);
        let matching: Matching = Arc::new(move |name: &StreamName| wanted.matches(name));
        let read = log
            .read_order(from, bytes, Some(matching))
            .await
            .map_err(problem)?;
        let (next, at_head) = (read.next, read.at_head);
        let batches = batch::batches(&**log, read).await.map_err(problem)?;
        Ok((batches, next, at_head))
    }

    /// Returns the event with an `EventSource`'s position if it would otherwise resume too early:
    /// somewhere else than at its "now", or with many events to skip again.
    fn untold(&mut self) -> Option<Bytes> {
        let position = self.feed.position;
        let is_due = match self.feed.told {
            None => true,
            Some(told) => position.number() - told.number() >= EVENTS_SILENT,
        };
        if !is_due || self.feed.format != Format::Sse {
            return None;
        }
        self.feed.told = Some(position);
        Some(encode::place(self.at()).into())
    }

    /// Returns the position, as clients receive it.
    fn at(&self) -> Mark<Position> {
        Mark {
            at: self.feed.position,
            incarnation: self.feed.order,
        }
    }

    /// Returns the marker of a complete response, if the format has one.
    fn end(&self) -> Option<Bytes> {
        let id = self.at();
        let data = format!("{{\"items\":{},\"id\":\"{id}\"}}", self.messages);
        let marker = format!("event: {END_EVENT}\nid: {END_ID}\ndata: {data}\n\n");
        (self.feed.format == Format::Sse).then(|| marker.into())
    }
}

fn ended(over: EndReason) -> Problem {
    match over {
        EndReason::Closed => temporary(StatusCode::SERVICE_UNAVAILABLE, "the hub is shutting down"),
        EndReason::Failed => Problem::new(StatusCode::INTERNAL_SERVER_ERROR),
    }
}
