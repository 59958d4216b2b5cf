//! The body of a response to a catch-up read: messages in the stream's own type. JSON messages are one
//! array, all others are concatenated.
//!
//! Its length is known before its messages are read: the log has measured them. They are read in
//! pieces, each when the one before was taken. A piece larger than a chunk holds memory of the budget
//! of all readers. Without free memory, a piece is one chunk. If the messages can't be read any more, the
//! body fails.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use futures_core::Stream;
use headwater::{Problem, StatusCode};
use headwater_log::{Chunk, Expiry, Extent, Info, Lineage, Log, Offset, ReadFrom, StreamName};
use tokio::sync::SemaphorePermit;

use super::{
    encode::Shape,
    join::{Join, Joint, PIECE_BYTES, Piece, charge},
    reader::gone,
};
use crate::{
    fanout::send_budget::{self, Key, Memory, Outgoing},
    ingest::WatchGuard,
    limits::CHUNK_BYTES,
};

/// The messages of an extent, on their way into a response.
pub(crate) struct CatchUp {
    log: Arc<dyn Log>,
    outgoing: Outgoing,
    name: StreamName,
    lineage: Lineage,
    is_json: bool,
    /// `true` if the stream expires when it isn't used.
    is_touched: bool,
    /// The offset before the next message that isn't in a frame.
    position: Offset,
    /// Bytes of the messages from there on.
    messages: u64,
    /// Bytes of the body that aren't in a frame.
    left: u64,
    is_begun: bool,
    /// The next frames.
    frames: VecDeque<Bytes>,
    /// The piece that follows them.
    piece: Option<Piece>,
    /// Counts as a watcher until the body ends.
    watch: Option<WatchGuard>,
}

impl CatchUp {
    /// Creates the body of an extent of a stream.
    pub(crate) fn new(
        log: &Arc<dyn Log>,
        outgoing: &Outgoing,
        info: &Info,
        extent: &Extent,
    ) -> Self {
        let is_json = Shape::of(&info.settings.content_type) == Shape::Json;
        let joint = match is_json {
            true => Joint::Array {
                opens: true,
                closes: true,
            },
            false => Joint::Plain,
        };
        Self {
            log: Arc::clone(log),
            outgoing: outgoing.clone(),
            name: info.name.clone(),
            lineage: info.lineage.clone(),
            is_json,
            is_touched: matches!(info.settings.expiry, Some(Expiry::Idle(_))),
            position: extent.from,
            messages: extent.bytes,
            left: joint.length(extent.count(), extent.bytes),
            is_begun: false,
            frames: VecDeque::new(),
            piece: None,
            watch: None,
        }
    }

    /// Counts as a watcher until the body ends.
    pub(crate) fn watched(mut self, watch: Option<WatchGuard>) -> Self {
        self.watch = watch;
        self
    }

    /// Returns the body.
    pub(crate) fn into_body(mut self) -> Body {
        if self.piece.is_none() && self.frames.len() < 2 {
            match self.frames.pop_front() {
                Some(whole) if whole.len() as u64 == self.left => return whole.into(),
                Some(first) => self.frames.push_front(first),
                None if self.left == 0 => return Body::empty(),
                None => {}
            }
        }
        Body::new(Frames {
            left: self.left,
            frames: Box::pin(futures_util::stream::unfold(Some(self), |body| async {
                let mut body = body?;
                match body.next().await {
                    Ok(frame) => Some((Ok(frame?), Some(body))),
                    Err(problem) => Some((Err(Cut::new(&body, &problem)), None)),
                }
            })),
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.left == 0 {
            return Ok(None);
        }
        loop {
            let piece = || self.piece.as_mut().and_then(Iterator::next);
            if let Some(frame) = self.frames.pop_front().or_else(piece) {
                let left = self.left.checked_sub(frame.len() as u64);
                self.left = left.ok_or_else(|| other_length(&self.name))?;
                return Ok(Some(frame));
            }
            self.read().await?;
        }
    }

    /// Reads the next piece.
    async fn read(&mut self) -> Result<(), Problem> {
        // Before the read, so that the next frame isn't held twice.
        self.piece = None;
        if self.messages == 0 {
            return Err(other_length(&self.name));
        }
        if self.is_touched {
            let touched = self.log.touch(&self.name).await;
            touched.map_err(crate::error::problem)?;
        }
        let next = Offset::new(self.position.number() + 1);
        if let Some(message) = self.outgoing.known(&self.key(next)) {
            return self.put_message(message);
        }
        let outgoing = self.outgoing.clone();
        let turn = outgoing.read_turn().await;
        let wanted = usize::try_from(self.messages).unwrap_or(usize::MAX);
        let wanted = wanted.min(PIECE_BYTES);
        let memory = match send_budget::is_large(wanted) {
            true => outgoing.try_take(charge(wanted)),
            false => None,
        };
        let budget = match &memory {
            Some(_) => wanted,
            None => wanted.min(CHUNK_BYTES),
        };
        let chunk = self.read_chunk(budget).await?;
        self.put(chunk, memory, turn).await
    }

    /// Adds the messages that follow. Without memory for them, it reads fewer of them again. If a single
    /// message is too large for that, it waits for memory.
    pub(crate) async fn put(
        &mut self,
        chunk: Chunk,
        memory: Option<Memory>,
        turn: SemaphorePermit<'_>,
    ) -> Result<(), Problem> {
        let mut chunk = chunk;
        let is_large = |chunk: &Chunk| send_budget::is_large(chunk.bytes());
        let mut memory = memory.filter(|_| is_large(&chunk));
        if is_large(&chunk) && chunk.count() > 1 && memory.is_none() {
            memory = self.outgoing.try_take(charge(chunk.bytes()));
            if memory.is_none() {
                chunk = self.read_chunk(CHUNK_BYTES).await?;
            }
        }
        if is_large(&chunk) && chunk.count() == 1 {
            drop(memory);
            return self.put_large(chunk, turn).await;
        }
        drop(turn);
        let joint = self.advance(chunk.count(), chunk.bytes() as u64)?;
        let join = Join::new(joint, chunk.blocks);
        match memory {
            Some(memory) => self.piece = Some(Piece::new(join, memory)),
            // Copied, as the log's buffer may be larger than a chunk.
            None => self.frames.push_back(join.copied()),
        }
        Ok(())
    }

    /// Adds a message that is larger than a chunk. All readers that send it share it.
    async fn put_large(&mut self, chunk: Chunk, turn: SemaphorePermit<'_>) -> Result<(), Problem> {
        let key = self.key(chunk.next);
        let bytes = charge(chunk.bytes());
        if let Some(message) = self.outgoing.known(&key) {
            return self.put_message(message);
        }
        let message = chunk.messages().next();
        let message = message.map(|message| message.bytes).unwrap_or_default();
        if let Some(memory) = self.outgoing.try_take(bytes) {
            let message = self.outgoing.share(key, message, memory);
            return self.put_message(message);
        }
        drop((turn, chunk, message));
        let message = self.outgoing.large(key, bytes, async || {
            let chunk = self.read_chunk(0).await?;
            let message = chunk.messages().next();
            message.map(|message| message.bytes).ok_or_else(gone)
        });
        let message = message.await?;
        self.put_message(message)
    }

    /// Adds one message as it is.
    fn put_message(&mut self, message: Bytes) -> Result<(), Problem> {
        let joint = self.advance(1, message.len() as u64)?;
        let (before, after) = match joint {
            Joint::Array { opens, closes } => {
                let after: &[u8] = if closes { b"]" } else { b"," };
                (if opens { &b"["[..] } else { b"" }, after)
            }
            _ => (&b""[..], &b""[..]),
        };
        let (before, after) = (Bytes::from_static(before), Bytes::from_static(after));
        let frames = [before, message, after].into_iter();
        self.frames.extend(frames.filter(|frame| !frame.is_empty()));
        Ok(())
    }

    /// Moves the position past the next messages. Returns the form in which they are joined.
    fn advance(&mut self, count: u64, bytes: u64) -> Result<Joint, Problem> {
        self.position = Offset::new(self.position.number() + count);
        let left = self.messages.checked_sub(bytes);
        self.messages = left.ok_or_else(|| other_length(&self.name))?;
        let opens = !std::mem::replace(&mut self.is_begun, true);
        let closes = self.messages == 0;
        Ok(match self.is_json {
            // No JSON value is empty, so the last one has the last bytes.
            true => Joint::Array { opens, closes },
            false => Joint::Plain,
        })
    }

    /// Returns the key of the message before `next`.
    fn key(&self, next: Offset) -> Key {
        Key::plain(self.lineage.at(next))
    }

    async fn read_chunk(&self, budget: usize) -> Result<Chunk, Problem> {
        let from = ReadFrom::At(self.position);
        let chunk = self.log.read(&self.name, from, budget).await;
        let chunk = chunk.map_err(crate::error::problem)?;
        if chunk.lineage != self.lineage || chunk.is_empty() {
            return Err(gone());
        }
        Ok(chunk)
    }
}

/// Returns the problem of a stream whose messages have another length than was measured.
fn other_length(name: &StreamName) -> Problem {
    let detail = format!("the messages of {name} have another length than the log's index says");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR).detail(detail)
}

/// The error of a body that ended before its stream was complete.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut: {0}")]
struct Cut(String);

impl Cut {
    fn new(body: &CatchUp, problem: &Problem) -> Self {
        let (stream, offset) = (&body.name, body.position);
        if problem.status().is_server_error() {
            tracing::error!(%stream, %offset, %problem, "a response was cut");
        } else {
            tracing::debug!(%stream, %offset, %problem, "a response was cut");
        }
        Self(problem.to_string())
    }
}

/// The frames of a body of known length.
struct Frames<S> {
    frames: Pin<Box<S>>,
    left: u64,
}

impl<S: Stream<Item = Result<Bytes, Cut>>> http_body::Body for Frames<S> {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Cut>>> {
        let frame = ready!(self.frames.as_mut().poll_next(cx));
        if let Some(Ok(frame)) = &frame {
            self.left = self.left.saturating_sub(frame.len() as u64);
        }
        Poll::Ready(frame.map(|frame| frame.map(http_body::Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use headwater_log::{Append, Create, DiskLog, DiskOptions, MemoryLog, MemoryOptions, Settings};
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::*;

    /// Returns a body, after its first piece was read as an endpoint does it, and its length.
    async fn body(
        log: &Arc<dyn Log>,
        outgoing: &Outgoing,
        from: u64,
        limit: u64,
    ) -> (Body, Extent) {
        let name = StreamName::new("a").unwrap();
        let info = log.info(&name).await.unwrap();
        let from = ReadFrom::At(Offset::new(from));
        let first = limit.min(PIECE_BYTES as u64);
        let chunk = log.read(&name, from, usize::try_from(first).unwrap());
        let chunk = chunk.await.unwrap();
        let mut extent = chunk.extent();
        let left = limit.saturating_sub(extent.bytes);
        if !extent.at_tail && left > 0 {
            let rest = ReadFrom::At(extent.next);
            extent.extend(&log.measure(&name, rest, left).await.unwrap());
        }
        let mut body = CatchUp::new(log, outgoing, &info, &extent);
        let turn = outgoing.read_turn().await;
        body.put(chunk, None, turn).await.unwrap();
        (body.into_body(), extent)
    }

    async fn filled(log: &Arc<dyn Log>, content_type: &str, appends: &[Vec<Bytes>]) {
        let name = StreamName::new("a").unwrap();
        let create = Create::new(Settings::of_type(content_type));
        log.create(&name, create).await.unwrap();
        for messages in appends {
            let append = Append::new(messages.clone());
            log.append(&name, append).await.unwrap();
        }
    }

    fn expected(is_json: bool, messages: &[Bytes]) -> Vec<u8> {
        match is_json {
            true => {
                let mut out = vec![b'['];
                out.extend(messages.join(&b',' as &u8));
                out.push(b']');
                out
            }
            false => messages.concat(),
        }
    }

    /// Sizes of messages: many small ones, some of about a chunk, and a few larger than a piece.
    fn sizes() -> impl Strategy<Value = Vec<Vec<usize>>> {
        let size = prop_oneof![
            30 => 1..200_usize,
            3 => 10_000..40_000_usize,
            2 => 60_000..90_000_usize,
            1 => 500_000..600_000_usize,
        ];
        let append = prop_oneof![
            prop::collection::vec(size, 1..6),
            Just(vec![100; 3000]),
            Just(vec![64 << 10; 9]),
        ];
        prop::collection::vec(append, 1..8)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_body_has_the_messages_of_its_extent_and_its_length(
            sizes in sizes(), is_json: bool, on_disk: bool, poor: bool, start in 0..100_u64,
            limit in prop_oneof![Just(u64::MAX), 0..3_000_000_u64],
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut fill = 0_u8;
                let mut message = |size: &usize| {
                    fill = (fill + 1) % 26;
                    Bytes::from(vec![b'a' + fill; *size])
                };
                let appends: Vec<Vec<Bytes>> =
                    sizes.iter().map(|sizes| sizes.iter().map(&mut message).collect()).collect();
                let all: Vec<Bytes> = appends.concat();
                let folder = tempfile::tempdir().unwrap();
                let log: Arc<dyn Log> = match on_disk {
                    true => Arc::new(DiskLog::open(folder.path(), DiskOptions::default()).unwrap()),
                    false => Arc::new(MemoryLog::default()),
                };
                filled(&log, if is_json { "application/json" } else { "text/plain" }, &appends).await;
                // Without memory for more than the largest message, pieces are small.
                let budget = if poor { 1 << 10 } else { 8 << 20 };
                let outgoing = Outgoing::new(budget, budget);
                let from = start * all.len() as u64 / 100;
                let (mut body, extent) = body(&log, &outgoing, from, limit).await;
                let range = usize::try_from(from).unwrap()..usize::try_from(extent.next.number()).unwrap();
                let wanted = expected(is_json, &all[range]);
                assert_eq!(http_body::Body::size_hint(&body).exact(), Some(wanted.len() as u64));
                let mut found = Vec::new();
                while let Some(frame) = body.frame().await {
                    let frame = frame.unwrap().into_data().unwrap();
                    assert!(!frame.is_empty());
                    found.extend_from_slice(&frame);
                    let left = (wanted.len() - found.len()) as u64;
                    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(left));
                    assert_eq!(http_body::Body::is_end_stream(&body), left == 0);
                }
                assert!(found == wanted, "{} and {} bytes", found.len(), wanted.len());
                drop(body);
                assert_eq!(outgoing.free(), budget >> 10, "all memory is returned");
            });
        }
    }

    #[tokio::test]
    async fn a_reader_that_stalls_holds_the_memory_of_one_piece() {
        let folder = tempfile::tempdir().unwrap();
        let log = DiskLog::open(folder.path(), DiskOptions::default()).unwrap();
        let log: Arc<dyn Log> = Arc::new(log);
        let append = vec![Bytes::from(vec![b'7'; 100]); 10_000];
        let appends = vec![append; 5];
        for content_type in ["application/json", "text/plain"] {
            filled(&log, content_type, &appends).await;
            let outgoing = Outgoing::new(64 << 20, 64 << 20);
            let (mut body, extent) = body(&log, &outgoing, 0, u64::MAX).await;
            assert!(extent.at_tail && extent.bytes == 5_000_000);
            let mut most = 0;
            while let Some(frame) = body.frame().await {
                let frame = frame.unwrap().into_data().unwrap();
                assert!(!send_budget::is_large(frame.len()));
                most = most.max((64 << 10) - outgoing.free());
            }
            assert!((512..=1024).contains(&most), "{most} KiB");
            log.delete(&StreamName::new("a").unwrap()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_body_whose_messages_are_gone_fails() {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(MemoryOptions::default()));
        let append = vec![Bytes::from(vec![b'7'; 100]); 10_000];
        for again in [false, true] {
            filled(&log, "application/json", std::slice::from_ref(&append)).await;
            let outgoing = Outgoing::new(64 << 20, 64 << 20);
            let (mut body, extent) = body(&log, &outgoing, 0, u64::MAX).await;
            let name = StreamName::new("a").unwrap();
            log.delete(&name).await.unwrap();
            if again {
                filled(&log, "application/json", std::slice::from_ref(&append)).await;
            }
            let mut bytes = 0;
            let error = loop {
                match body.frame().await.expect("it doesn't end") {
                    Ok(frame) => bytes += frame.data_ref().unwrap().len() as u64,
                    Err(error) => break error,
                }
            };
            assert!(bytes > 0 && bytes < extent.bytes, "{bytes}");
            assert!(error.to_string().contains("cut"), "{error}");
            assert!(body.frame().await.is_none());
            if again {
                log.delete(&name).await.unwrap();
            }
        }
    }
}
