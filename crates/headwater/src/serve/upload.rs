//! The body of a request: it is tracked to its end, and the part that the handler doesn't read is
//! discarded.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::BoxError;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    activity::Activity,
    body_rate::{Meter, SlowBody},
    stream::Stream,
};

/// Time limit for reading and dropping the rest of a refused request, so that its client sees the response.
const LINGER: Duration = Duration::from_secs(10);
/// Time limit for a silence within it.
const LINGER_SILENCE: Duration = Duration::from_secs(2);
/// Limit on its size, in bytes. The bytes are not stored.
const LINGER_BYTES: u64 = 1 << 30;
const LINGER_READ: usize = 64 * 1024;

/// Number of frames of a dropped body to poll for its end.
const LAST_FRAMES: usize = 4;

/// State that a request's body and its response share.
pub(super) struct Receipt {
    activity: Arc<Activity>,
    /// If `true`, part of the body was not read.
    is_unread: AtomicBool,
    /// The error, if the body was too slow.
    slow: OnceLock<SlowBody>,
    /// Present over HTTP/2.
    drain: Option<Drain>,
}

/// The ends of the task that reads the rest of a body.
struct Drain {
    /// Cancelled when the response is complete or abandoned.
    answered: CancellationToken,
    shutdown: CancellationToken,
}

impl Receipt {
    pub(super) fn new(
        activity: &Arc<Activity>,
        is_http2: bool,
        shutdown: &CancellationToken,
    ) -> Arc<Self> {
        activity.open_upload();
        Arc::new(Self {
            activity: Arc::clone(activity),
            is_unread: AtomicBool::new(true),
            slow: OnceLock::new(),
            drain: is_http2.then(|| Drain {
                answered: CancellationToken::new(),
                shutdown: shutdown.clone(),
            }),
        })
    }

    fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Relaxed)
    }

    fn end(&self) {
        self.is_unread.store(false, Ordering::Relaxed);
        self.activity.end_upload();
    }
}

/// The response to a request with a body. Dropped when the response ends.
pub(super) struct Answering(Arc<Receipt>);

impl Answering {
    pub(super) fn new(receipt: Arc<Receipt>) -> Self {
        Self(receipt)
    }

    /// Returns `true` if part of the request's body was not read.
    pub(super) fn is_early(&self) -> bool {
        self.0.is_unread()
    }

    /// Returns the error of the body, if it was too slow.
    pub(super) fn slow(&self) -> Option<SlowBody> {
        self.0.slow.get().copied()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(drain) = &self.0.drain {
            drain.answered.cancel();
        }
    }
}

/// The body of a request, as its handler receives it.
pub(super) struct Upload {
    /// `Some` until this is dropped.
    body: Option<Incoming>,
    meter: Meter,
    receipt: Arc<Receipt>,
}

impl Upload {
    pub(super) fn new(body: Incoming, meter: Meter, receipt: Arc<Receipt>) -> Self {
        Self {
            body: Some(body),
            meter,
            receipt,
        }
    }

    /// Polls the next frame like [`http_body::Body::poll_frame`], without a time limit.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
        if frame.is_none() || body.is_end_stream() {
            self.receipt.end();
        }
        Poll::Ready(frame)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(slow) = self.receipt.slow.get() {
            return Poll::Ready(Some(Err((*slow).into())));
        }
        match self.poll_next(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.meter.came(bytes);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => Poll::Ready(end.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => {
                let slow = std::task::ready!(self.meter.poll_late(cx));
                let slow = *self.receipt.slow.get_or_init(|| slow);
                Poll::Ready(Some(Err(slow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

impl Drop for Upload {
    /// Passes the rest of an HTTP/2 stream's body to a task. If it were dropped, `RST_STREAM` would
    /// follow the response (RFC 9113 §8.1), and many clients that are still sending would then
    /// discard the response unread.
    fn drop(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..LAST_FRAMES {
            if !self.receipt.is_unread() {
                return;
            }
            match self.poll_next(&mut cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return,
                Poll::Pending => break,
            }
        }
        let Some(Drain { answered, shutdown }) = &self.receipt.drain else {
            return;
        };
        let (Some(rest), Ok(runtime)) = (self.body.take(), Handle::try_current()) else {
            return;
        };
        let (answered, shutdown) = (answered.clone(), shutdown.clone());
        let in_flight = self.receipt.activity.hold();
        runtime.spawn(async move {
            tokio::select! {
                () = drain(rest, &answered) => {}
                () = shutdown.cancelled() => {}
            }
            drop(in_flight);
        });
    }
}

/// Time and size limits for a peer that is still sending.
#[derive(Default)]
struct Patience {
    /// Set when the clock starts.
    end: Option<Instant>,
    taken: u64,
}

impl Patience {
    fn is_over(&self) -> bool {
        self.taken >= LINGER_BYTES
    }

    /// Returns the deadline for the next bytes. The first call starts the clock.
    fn until(&mut self) -> Instant {
        let now = Instant::now();
        let end = *self.end.get_or_insert(now + LINGER);
        end.min(now + LINGER_SILENCE)
    }
}

/// Reads and discards the rest of a body. The clock starts when the response ends. Until then,
/// unread data must not exhaust the connection's window.
async fn drain(mut rest: Incoming, answered: &CancellationToken) {
    let mut patience = Patience::default();
    while !patience.is_over() {
        let frame = if answered.is_cancelled() {
            timeout_at(patience.until(), rest.frame()).await.ok()
        } else {
            tokio::select! {
                frame = rest.frame() => Some(frame),
                () = answered.cancelled() => continue,
            }
        };
        let Some(Some(Ok(frame))) = frame else { return };
        patience.taken += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
}

/// Closes a connection in stages (RFC 9112 §9.6). If a connection with unread data were closed at
/// once, the system would reset it on further data, and a client that is still sending would fail
/// without reading the response. So further data is read and discarded until the client closes its
/// side. The client then finds the response when it reads.
pub(super) async fn linger(mut stream: Stream) {
    // TLS writes before the shutdown, and the client may not read that.
    if timeout(LINGER_SILENCE, stream.shutdown()).await.is_err() {
        return;
    }
    let mut patience = Patience::default();
    let mut buf = vec![0; LINGER_READ];
    while !patience.is_over() {
        match timeout_at(patience.until(), stream.read(&mut buf)).await {
            Ok(Ok(read @ 1..)) => patience.taken += read as u64,
            _ => break,
        }
    }
}
