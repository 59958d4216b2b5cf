//! The body of a stream: it fills chunks, sends heartbeats, and ends unambiguously.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use headwater_wire::{Encoder, Format, Meta, sse};
use http_body::Frame;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{DropGuard, WaitForCancellationFutureOwned};

use crate::{
    Problem,
    on_wake::OnWake,
    panics, problem,
    response::{Content, Kind, Notice, Options},
    serve::Activity,
    source::{self, BoxSource, Filled, Sink},
};

/// Size of a chunk, in bytes, when items are ready faster than they can be sent.
const CHUNK: usize = 64 * 1024;

/// Capacity beyond [`CHUNK`], in bytes, for the item that crosses its end.
const HEADROOM: usize = 1024;

/// Capacity of a stream's first chunk, in bytes. A later chunk reserves the size of its
/// predecessor.
const FIRST_CHUNK: usize = 256;

/// Delay before a cut body reports its error. HTTP servers discard the unsent rest of a body when
/// it fails. The delay lets them send the error event and the items before it first.
const LINGER: Duration = Duration::from_millis(20);

/// Range of the reconnection time that is sent to clients at shutdown. Each client gets its own
/// time within the range, so that they don't all reconnect at once.
const FAREWELL_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// State that the server shares with a stream.
pub(crate) struct Served {
    /// Number of items sent.
    pub(crate) items: Arc<AtomicU64>,
    /// Completes when the server shuts down.
    pub(crate) shutdown: Option<OnWake<Pin<Box<WaitForCancellationFutureOwned>>>>,
    /// Dropped after the source.
    pub(crate) _dropped: Option<DropGuard>,
    /// Tracks if the client has closed its side of the connection.
    pub(crate) connection: Option<Arc<Activity>>,
}

pub(crate) struct StreamBody {
    // Declared before `served`, so that it is dropped first: the guard in `served` tells a test
    // that the source is dropped.
    source: Option<BoxSource>,
    served: Option<Box<Served>>,
    sink: Sink,
    /// Result of filling in `poll_prime`, if it is still to be processed.
    filled: Option<Filled>,
    state: State,
    is_sse: bool,
    first_item_wait: Duration,
    finish_on_shutdown: bool,
    heartbeat: Option<Heartbeat>,
    /// Size of the last chunk, in bytes.
    last_chunk: usize,
}

enum State {
    Open,
    /// The body fails after [`LINGER`].
    Cutting(Cut, Option<Pin<Box<Sleep>>>),
    Over,
}

struct Heartbeat {
    every: Duration,
    /// The heartbeat's bytes, which readers of the format ignore.
    sign: &'static [u8],
    /// Time of the last write.
    last: Instant,
    /// Set at the first idle poll and not moved by items: it is cheaper to compare times when it
    /// fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Heartbeat {
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let due = self.last + self.every;
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            std::task::ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if now >= due {
                self.last = now;
                timer.as_mut().reset(now + self.every);
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

impl StreamBody {
    /// Creates a body. `wanted` is the heartbeat interval that the client requests.
    pub(crate) fn new(content: Content, format: Format, wanted: Option<Duration>) -> Self {
        let Content {
            source,
            kind,
            check,
            options,
        } = content;
        let Options {
            heartbeat,
            line_heartbeat,
            first_item_wait,
            retry,
            finish_on_shutdown,
            notice,
        } = options;
        let is_sse = format == Format::Sse && !matches!(kind, Kind::Raw(_));
        let asked = wanted.filter(|every| !every.is_zero());
        let (every, sign): (_, &[u8]) = match format {
            // At least as often as the server's setting: a heartbeat is how the server notices a
            // disconnect.
            _ if is_sse => (
                asked.map_or(heartbeat, |every| every.min(heartbeat)),
                b":\n\n",
            ),
            Format::Ndjson if !matches!(kind, Kind::Raw(_)) => {
                (wanted.unwrap_or(line_heartbeat), b"\n")
            }
            _ => (Duration::ZERO, b""),
        };
        // Chunks of frames bypass the buffer.
        let is_framed = matches!(kind, Kind::Frames(_) | Kind::Encoded);
        let mut out = Vec::new();
        if let (true, Some(retry)) = (is_sse, retry) {
            sse::encode_retry(retry, &mut out);
        }
        // Sent at once, because a connection can break before the first item.
        let first_item_wait = match notice {
            Some(notice) if is_sse => {
                let (Notice { event, id, data }, _) = *notice;
                let meta = Meta::default().event(event).id(&id);
                // An id that SSE can't carry is one that no client can resume from.
                let _ = sse::encode_text(&meta, &data, &mut out);
                Duration::ZERO
            }
            _ => first_item_wait,
        };
        Self {
            source: Some(source),
            served: None,
            sink: Sink {
                encoder: Encoder::new(format),
                out,
                shared: None,
                items: 0,
                whole: 0,
                raw: !matches!(kind, Kind::Items | Kind::Encoded),
                check,
            },
            filled: None,
            state: State::Open,
            is_sse,
            first_item_wait,
            finish_on_shutdown,
            heartbeat: (!every.is_zero()).then(|| Heartbeat {
                every,
                sign,
                last: Instant::now(),
                timer: None,
            }),
            last_chunk: if is_framed { 0 } else { FIRST_CHUNK },
        }
    }

    pub(crate) fn set_served(&mut self, served: Served) {
        self.served = Some(Box::new(served));
    }

    /// Returns how long the response's head may wait for the first item, if at all.
    pub(crate) fn first_item_wait(&self) -> Option<Duration> {
        let wait = match &self.heartbeat {
            Some(heartbeat) => self.first_item_wait.min(heartbeat.every),
            None => self.first_item_wait,
        };
        Some(wait).filter(|wait| !wait.is_zero())
    }

    /// Returns `true` if the client has closed its side of the connection. It may have
    /// disconnected: only a write shows that.
    pub(crate) fn is_half_closed(&self) -> bool {
        let served = self.served.as_ref();
        served
            .and_then(|served| served.connection.as_ref())
            .is_some_and(|connection| connection.is_half_closed())
    }

    /// Fills the first chunk, before the response's head goes out.
    ///
    /// # Errors
    /// The stream failed before its first item.
    pub(crate) fn poll_prime(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        if self.source.is_none() {
            return Poll::Ready(Ok(()));
        }
        match self.poll_source(cx) {
            // Only a write shows if such a client is still connected, so the head can't wait.
            Poll::Pending if self.sink.items == 0 && self.is_half_closed() => Poll::Ready(Ok(())),
            Poll::Pending if self.sink.items == 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
            Poll::Ready(Filled::Failed(problem)) if self.sink.items == 0 => {
                self.drop_source();
                self.state = State::Over;
                Poll::Ready(Err(problem))
            }
            Poll::Ready(filled) => {
                self.filled = Some(filled);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Appends ready items and updates the stream's state.
    fn fill(&mut self, cx: &mut Context<'_>) {
        if self.source.is_none() {
            return;
        }
        let filled = match self.filled.take() {
            Some(filled) => filled,
            None => {
                if self.sink.out.is_empty() {
                    self.sink.out.reserve_exact(self.last_chunk);
                }
                match self.poll_source(cx) {
                    Poll::Ready(filled) => filled,
                    Poll::Pending => return,
                }
            }
        };
        match filled {
            Filled::Full => return,
            Filled::End => {
                self.state = State::Over;
                self.sink.end();
            }
            Filled::Failed(problem) => {
                problem::log_cut(&problem);
                if self.is_sse {
                    source::encode_failure(&problem, &mut self.sink.out);
                }
                self.state = State::Cutting(Cut::Failed, None);
            }
        }
        self.drop_source();
    }

    /// Appends the source's ready items. A panic of the source is a failure; the items before it
    /// are sent.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Filled> {
        let Self { source, sink, .. } = self;
        let Some(source) = source else {
            return Poll::Ready(Filled::End);
        };
        sink.whole = sink.out.len();
        panics::catch(|| source.as_mut().poll_fill(cx, sink, CHUNK)).unwrap_or_else(|problem| {
            // An item whose `Serialize` panicked is incomplete.
            self.sink.out.truncate(self.sink.whole);
            Poll::Ready(Filled::Failed(problem))
        })
    }

    fn drop_source(&mut self) {
        let source = self.source.take();
        if let Err(problem) = panics::catch(move || drop(source)) {
            problem.log();
        }
    }

    /// Cuts the stream if the server is shutting down.
    fn check_shutdown(&mut self, cx: &mut Context<'_>) {
        if self.finish_on_shutdown {
            return;
        }
        let Some(served) = &mut self.served else {
            return;
        };
        let Some(shutdown) = &mut served.shutdown else {
            return;
        };
        if shutdown.poll_unpin(cx).is_ready() {
            served.shutdown = None;
            self.drop_source();
            if self.is_sse {
                let (least, most) = FAREWELL_RETRY;
                let retry = least + (most - least).mul_f64(fastrand::f64());
                sse::encode_retry(retry, &mut self.sink.out);
                sse::encode_comment("the server is shutting down", &mut self.sink.out);
            }
            self.state = State::Cutting(Cut::Shutdown, None);
        }
    }

    /// Takes the filled buffer as a chunk.
    fn chunk(&mut self) -> Bytes {
        let out = std::mem::take(&mut self.sink.out);
        self.last_chunk = if out.len() >= CHUNK {
            CHUNK + HEADROOM
        } else {
            out.len()
        };
        self.note_sent();
        out.into()
    }

    fn note_sent(&mut self) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.last = Instant::now();
        }
        if let Some(served) = &self.served {
            served.items.store(self.sink.items, Ordering::Relaxed);
        }
    }
}

impl StreamBody {
    /// Implements [`http_body::Body::poll_frame`].
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if matches!(self.state, State::Open) {
            self.fill(cx);
        }
        if matches!(self.state, State::Open) {
            self.check_shutdown(cx);
        }
        if !self.sink.out.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(self.chunk()))));
        }
        if let Some(shared) = self.sink.shared.take() {
            self.note_sent();
            return Poll::Ready(Some(Ok(Frame::data(shared))));
        }
        match &mut self.state {
            State::Over => Poll::Ready(None),
            State::Open => {
                // A stream that waits for its next item holds no buffer.
                self.sink.out = Vec::new();
                let Some(heartbeat) = &mut self.heartbeat else {
                    return Poll::Pending;
                };
                std::task::ready!(heartbeat.poll_due(cx));
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(heartbeat.sign)))))
            }
            State::Cutting(cut, linger) => {
                let cut = *cut;
                let linger = linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
                std::task::ready!(linger.as_mut().poll(cx));
                self.state = State::Over;
                Poll::Ready(Some(Err(cut)))
            }
        }
    }

    /// Implements [`http_body::Body::is_end_stream`].
    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over) && self.sink.out.is_empty() && self.sink.shared.is_none()
    }
}

/// Reason that a body ended before its stream was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    #[error("the stream failed")]
    Failed,
    #[error("the server is shutting down")]
    Shutdown,
}
