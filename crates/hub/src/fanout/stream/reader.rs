use std::{
    pin::{Pin, pin},
    sync::Arc,
};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::future::{Either, select};
use headwater::{Format, Problem, StatusCode};
use headwater_log::{Chunk, Lineage, Log, Mark, Message, Offset, ReadFrom, StreamName};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    encode::{self, End, Form, Shape},
    join::{Join, Joint, PIECE_BYTES, Piece, charge},
    pump::Tail,
    ring::{EndReason, ReadOutcome},
};
use crate::{
    fanout::{
        described,
        send_budget::{self, Key, Memory, Outgoing},
    },
    ingest::WatchGuard,
    limits::CHUNK_BYTES,
    protocol::{close_reason, cursor},
    requests::rates::Seat,
};

/// One live response: a position in a stream, and the form in which messages are sent.
pub(crate) struct Reader {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) outgoing: Outgoing,
    pub(crate) name: StreamName,
    pub(crate) shape: Shape,
    pub(crate) form: Form,
    /// Identifies the stream. A new one of the same name has another lineage.
    pub(crate) lineage: Lineage,
    /// Bytes that are sent before anything else.
    pub(crate) notice: Option<Bytes>,
    /// The offset before the next message.
    pub(crate) position: Offset,
    /// `true` if the reader started at the stream's start, wherever that was. Then messages that
    /// were trimmed since are skipped instead of being an error.
    pub(crate) from_start: bool,
    /// Wakes the reader at the tail. Without it, the response ends there.
    pub(crate) tail: Option<Arc<Tail>>,
    pub(crate) least_cursor: Option<u64>,
    /// The time at which the response ends, at a whole event, although the stream continues.
    pub(crate) until: Option<Instant>,
    /// Held until the response ends.
    pub(crate) _seat: Seat,
    /// Counts as a watcher, if that matters to the stream's ingest job.
    pub(crate) _watch: Option<WatchGuard>,
}

/// The progress of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was sent yet.
    New,
    /// Messages were sent, with this state of the stream.
    Sent(End),
    /// Everything was sent.
    Done,
}

impl Reader {
    /// Returns the response's body, in chunks of whole messages.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Problem>> + Send + 'static {
        futures_util::stream::unfold(self.start(), |mut sending| async move {
            let chunk = sending.next().await?;
            Some((chunk, sending))
        })
    }

    /// Returns the body as [`into_stream`](Self::into_stream) does. Each chunk has its number of
    /// messages.
    pub(crate) fn into_frames(
        self,
    ) -> impl Stream<Item = Result<(Bytes, u64), Problem>> + Send + 'static {
        futures_util::stream::unfold(self.start(), |mut sending| async move {
            let before = sending.reader.position.number();
            let chunk = sending.next().await?;
            let messages = sending.reader.position.number() - before;
            Some((chunk.map(|bytes| (bytes, messages)), sending))
        })
    }

    fn start(self) -> Box<Sending> {
        Box::new(Sending {
            late: self.until.map(|until| Box::pin(sleep_until(until))),
            reader: self,
            state: State::New,
            read_bytes: CHUNK_BYTES,
            piece: None,
        })
    }
}

struct Sending {
    reader: Reader,
    /// Completes at `until`. It is set once: setting it for each wait would cost more than the rest
    /// of the wait.
    late: Option<Pin<Box<Sleep>>>,
    state: State,
    /// Number of bytes of messages that are read from the log at once, to make about one chunk.
    read_bytes: usize,
    /// The rest of a piece of which a frame was sent. It is before `position`.
    piece: Option<Piece>,
}

impl Sending {
    async fn next(&mut self) -> Option<Result<Bytes, Problem>> {
        let chunk = self.chunk().await;
        if let None | Some(Err(_)) = chunk {
            self.state = State::Done;
        }
        chunk
    }

    async fn chunk(&mut self) -> Option<Result<Bytes, Problem>> {
        if let Some(notice) = self.reader.notice.take() {
            return Some(Ok(notice));
        }
        if let Some(frame) = self.piece.as_mut().and_then(Iterator::next) {
            return Some(Ok(frame));
        }
        self.piece = None;
        loop {
            match self.state {
                State::Done => return None,
                State::Sent(End::Closed) => return self.finish().await,
                State::Sent(End::Tail) if self.reader.tail.is_none() => {
                    return self.finish().await;
                }
                State::Sent(_) if self.is_late() => return None,
                State::New | State::Sent(_) => {}
            }
            let Some(tail) = &self.reader.tail else {
                match self.read().await {
                    Ok(Some(bytes)) if bytes.is_empty() => continue,
                    Ok(Some(bytes)) => return Some(Ok(bytes)),
                    Ok(None) => return self.finish().await,
                    Err(problem) => return Some(Err(problem)),
                }
            };
            let position = self.reader.position;
            // Of a stream that ends there, the reader is told at once that it is closed.
            let is_told = self.reader.form != Form::Protocol
                || self.state == State::Sent(End::Tail)
                || tail.ends_at(position);
            let given = match (is_told, &mut self.late) {
                // A reader that starts at the tail is informed of that first.
                (false, _) => tail.give(position),
                (true, None) => tail.given(position).await,
                (true, Some(late)) => match select(pin!(tail.given(position)), late).await {
                    Either::Left((given, _)) => given,
                    Either::Right(_) => return None,
                },
            };
            match given {
                ReadOutcome::Batch(batch, end) => {
                    let Reader {
                        form, least_cursor, ..
                    } = self.reader;
                    let cursor = cursor::cursor(least_cursor);
                    let is_own = form == Form::Protocol && least_cursor == Some(cursor);
                    let said = match self.said(end).await {
                        Ok(said) => said,
                        Err(problem) => return Some(Err(problem)),
                    };
                    let bytes = if is_own {
                        batch.encoded_for(said, cursor)
                    } else {
                        batch.encoded(form, said, cursor)
                    };
                    let sent = match send_budget::is_large(bytes.len()) {
                        // The encoding is much larger than the messages. The reader reads smaller
                        // parts from the log.
                        true => self.read_behind().await,
                        false => {
                            self.sent(batch.next, end);
                            Ok(bytes)
                        }
                    };
                    if !matches!(&sent, Ok(bytes) if bytes.is_empty()) {
                        return Some(sent);
                    }
                }
                ReadOutcome::Behind => {
                    let sent = self.read_behind().await;
                    // Empty if the messages have nothing for this form.
                    if !matches!(&sent, Ok(bytes) if bytes.is_empty()) {
                        return Some(sent);
                    }
                }
                ReadOutcome::Ended(EndReason::Closed) => {
                    let failed = match self.reason().await {
                        Ok(reason) => reason.is_some(),
                        Err(problem) => return Some(Err(problem)),
                    };
                    let is_protocol = self.reader.form == Form::Protocol;
                    let marker = (is_protocol && !failed).then(|| self.control(End::Closed, None));
                    self.sent(self.reader.position, End::Closed);
                    if let Some(marker) = marker {
                        return Some(Ok(marker));
                    }
                }
                ReadOutcome::Ended(EndReason::Gone) => return Some(Err(gone())),
                ReadOutcome::Ended(EndReason::Failed) => {
                    return Some(Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR)));
                }
                ReadOutcome::Wait => {
                    let cursor = cursor::cursor(self.reader.least_cursor);
                    self.state = State::Sent(End::Tail);
                    return Some(Ok(encode::waiting(self.at(), cursor)));
                }
            }
        }
    }

    /// Returns the end of the body after all messages were sent.
    async fn finish(&mut self) -> Option<Result<Bytes, Problem>> {
        let is_closed = self.state == State::Sent(End::Closed);
        self.state = State::Done;
        let reason = match is_closed {
            true => self.reason().await,
            false => Ok(None),
        };
        match reason {
            Err(problem) => Some(Err(problem)),
            Ok(None) => encode::end(self.reader.form, self.at()).map(Ok),
            // The protocol's own end event contains the reason.
            Ok(Some(problem)) if self.reader.form == Form::Protocol => {
                Some(Ok(self.control(End::Closed, Some(&problem))))
            }
            Ok(Some(problem)) => Some(Err(problem)),
        }
    }

    /// Returns the problem with which the stream was closed, if any.
    async fn reason(&self) -> Result<Option<Problem>, Problem> {
        let Reader { log, name, .. } = &self.reader;
        let info = described(&**log, name)
            .await
            .map_err(crate::error::problem)?;
        let is_gone = self.reader.tail.as_ref().is_some_and(|tail| tail.is_gone());
        match is_gone || info.lineage != self.reader.lineage {
            true => Err(gone()),
            false => Ok(close_reason::of(&info)),
        }
    }

    /// Returns the state that a batch reports. A failure is reported in an event of its own, after
    /// the batch.
    async fn said(&self, end: End) -> Result<End, Problem> {
        let is_told = self.reader.form == Form::Protocol && end == End::Closed;
        match is_told && self.reason().await?.is_some() {
            true => Ok(End::Tail),
            false => Ok(end),
        }
    }

    fn sent(&mut self, next: Offset, end: End) {
        self.reader.position = next;
        self.reader.from_start = false;
        self.state = State::Sent(end);
    }

    fn control(&self, end: End, failure: Option<&Problem>) -> Bytes {
        let mut out = Vec::new();
        encode::control(
            self.at(),
            end,
            cursor::cursor(self.reader.least_cursor),
            failure,
            &mut out,
        );
        out.into()
    }

    /// Returns the offset before the next message, as clients receive it.
    fn at(&self) -> Mark {
        self.reader.lineage.at(self.reader.position)
    }

    fn is_late(&self) -> bool {
        self.reader
            .until
            .is_some_and(|until| until <= Instant::now())
    }

    /// Reads messages that the ring doesn't have any more from the log.
    async fn read_behind(&mut self) -> Result<Bytes, Problem> {
        // If the log has less than the ring had, it contains a new stream of the same name.
        self.read().await?.ok_or_else(gone)
    }

    /// Reads from the log. Returns `None` at its tail.
    async fn read(&mut self) -> Result<Option<Bytes>, Problem> {
        let outgoing = self.reader.outgoing.clone();
        let next = Offset::new(self.reader.position.number() + 1);
        if let Some(shared) = outgoing.known(&self.key(next)) {
            return Ok(Some(self.sent_large(next, shared)));
        }
        let turn = outgoing.read_turn().await;
        let piece = match self.sends_lines() {
            true => outgoing.try_take(charge(PIECE_BYTES)),
            false => None,
        };
        let budget = match &piece {
            Some(_) => PIECE_BYTES,
            None => self.read_bytes,
        };
        let chunk = self.read_chunk(budget).await?;
        let mut next = chunk.next;
        let mut end = match (chunk.at_tail, chunk.closed) {
            (true, true) => End::Closed,
            (true, false) => End::Tail,
            (false, _) => End::More,
        };
        if chunk.is_empty() {
            self.sent(next, end);
            return Ok(None);
        }
        let mut chunk = chunk;
        if self.sends_lines() && chunk.bytes() <= budget {
            match self.lines_of(chunk, piece) {
                Ok(first) => {
                    self.sent(next, end);
                    return Ok(Some(first));
                }
                Err(unsent) => chunk = unsent,
            }
        } else {
            // A larger message waits for memory of its own.
            drop(piece);
        }
        let mut messages: Vec<_> = chunk.messages().collect();
        drop(chunk);
        loop {
            if let [message] = &*messages
                && send_budget::is_large(message.bytes.len())
            {
                let bytes = message.bytes.len();
                drop(messages);
                drop(turn);
                return self.large(&outgoing, next, bytes).await.map(Some);
            }
            let said = self.said(end).await?;
            let bytes = self.encode(&messages, next, said);
            if !send_budget::is_large(bytes.len()) {
                if bytes.len() < CHUNK_BYTES / 2 {
                    self.read_bytes = (self.read_bytes * 2).min(CHUNK_BYTES);
                }
                // Without a tail, the response ends at the end of the existing messages.
                self.sent(next, end);
                return Ok(Some(bytes));
            }
            if messages.len() == 1 {
                drop(messages);
                drop(turn);
                return self.large(&outgoing, next, bytes.len()).await.map(Some);
            }
            // Encoded, small messages are several times longer. The rest is read again.
            let fitting = (messages.len() * CHUNK_BYTES / bytes.len()).max(1);
            self.read_bytes = (self.read_bytes * CHUNK_BYTES / bytes.len()).max(LEAST_READ_BYTES);
            next = messages[fitting].offset;
            messages.truncate(fitting);
            end = End::More;
        }
    }

    /// Returns `true` if the response has the messages as lines, without a change.
    fn sends_lines(&self) -> bool {
        let is_lines = matches!(self.reader.form, Form::Lines | Form::Items(Format::Ndjson));
        is_lines && self.reader.shape == Shape::Json
    }

    /// Returns the first frame of a chunk in lines, and keeps the others with the memory. Returns the chunk
    /// if its lines don't fit into one frame and there is no memory.
    fn lines_of(&mut self, chunk: Chunk, memory: Option<Memory>) -> Result<Bytes, Chunk> {
        let bytes = Joint::Lines.length(chunk.count(), chunk.bytes() as u64);
        if !send_budget::is_large(usize::try_from(bytes).unwrap_or(usize::MAX)) {
            // Copied, as the log's buffer may be larger than a chunk.
            return Ok(Join::new(Joint::Lines, chunk.blocks).copied());
        }
        let Some(memory) = memory else {
            return Err(chunk);
        };
        let mut piece = Piece::new(Join::new(Joint::Lines, chunk.blocks), memory);
        let first = piece.next().unwrap_or_default();
        self.piece = Some(piece);
        Ok(first)
    }

    /// Returns a message that is larger than one chunk. It is shared by all readers that are at it.
    /// The next lookup determines if it is the last one.
    async fn large(
        &mut self,
        outgoing: &Outgoing,
        next: Offset,
        bytes: usize,
    ) -> Result<Bytes, Problem> {
        let form = self.reader.form;
        let key = self.key(next);
        // For the message and its encoding.
        let shared = outgoing.large(key, bytes.saturating_mul(2), async || {
            let chunk = self.read_chunk(self.read_bytes).await?;
            match chunk.messages().next() {
                Some(message) if message.offset.number() + 1 == next.number() => {
                    let message = std::slice::from_ref(&message);
                    Ok(match form {
                        Form::Protocol => {
                            let Reader { shape, lineage, .. } = &self.reader;
                            encode::data_event(*shape, message, lineage.at(next))
                        }
                        _ => self.encode(message, next, End::More),
                    })
                }
                // It was trimmed since it was read first.
                _ => Err(gone()),
            }
        });
        let shared = shared.await?;
        Ok(self.sent_large(next, shared))
    }

    fn sent_large(&mut self, next: Offset, shared: Bytes) -> Bytes {
        self.sent(next, End::More);
        if self.reader.form == Form::Protocol {
            // The reader's own cursor follows the shared part.
            self.reader.notice = Some(self.control(End::More, None));
        }
        shared
    }

    /// Returns the key of the message before `next` in the reader's form.
    fn key(&self, next: Offset) -> Key {
        Key::new(self.reader.lineage.at(next), self.reader.form.number())
    }

    fn encode(&self, messages: &[Message], next: Offset, end: End) -> Bytes {
        let Reader {
            form,
            shape,
            lineage,
            least_cursor,
            ..
        } = &self.reader;
        let cursor = cursor::cursor(*least_cursor);
        encode::encode(*form, *shape, lineage, messages, next, end, cursor)
    }

    /// Reads the log at the reader's position, or at the floor if the reader started there and it
    /// has moved.
    async fn read_chunk(&mut self, budget: usize) -> Result<Chunk, Problem> {
        let chunk = loop {
            let Reader {
                log,
                name,
                position,
                ..
            } = &self.reader;
            let chunk = log.read(name, ReadFrom::At(*position), budget).await;
            match chunk {
                Err(error) if self.reader.from_start && error.is_trimmed() => {
                    let Some(floor) = error.floor() else { continue };
                    if self.reader.lineage.find(floor).is_none() {
                        return Err(gone());
                    }
                    self.reader.position = floor.at;
                }
                chunk => break chunk.map_err(crate::error::problem)?,
            }
        };
        let is_gone = self.reader.tail.as_ref().is_some_and(|tail| tail.is_gone());
        match is_gone || chunk.lineage != self.reader.lineage {
            true => Err(gone()),
            false => Ok(chunk),
        }
    }
}

/// Minimum number of bytes that are read at once, for messages that are much smaller than their
/// encoding.
const LEAST_READ_BYTES: usize = 1 << 10;

pub(super) fn gone() -> Problem {
    Problem::new(StatusCode::GONE).detail("the stream was deleted, or has expired")
}
