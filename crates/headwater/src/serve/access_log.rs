//! The access log: one line for each request when it ends, and one when a response stays open.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, StatusCode, Version};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::{activity::InFlight, stall, upload::Answering};
use crate::body::Cut;

/// Target of the log's lines.
const TARGET: &str = "headwater::access";

/// The log's record of a request. Dropping it writes the line.
pub(super) struct Record {
    start: Instant,
    peer: Option<SocketAddr>,
    method: Method,
    // Without the query, which may hold secrets.
    path: Box<str>,
    version: Version,
    status: u16,
    items: Arc<AtomicU64>,
    bytes: u64,
    end: End,
    is_told_open: bool,
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// The response waits for more of its body, and the log has a line for that.
    Open,
    /// The client disconnected, or the connection was closed, before the end.
    Left,
    /// The response was aborted: it failed, or the server shut down.
    Cut,
    /// The response was complete before the request's body had been read.
    Early,
    Complete,
}

impl Record {
    /// Creates a record, or returns `None` if the line is filtered out.
    pub(super) fn of<B>(
        request: &Request<B>,
        peer: Option<SocketAddr>,
        items: &Arc<AtomicU64>,
    ) -> Option<Box<Self>> {
        tracing::enabled!(target: TARGET, tracing::Level::WARN).then(|| {
            Box::new(Self {
                start: Instant::now(),
                peer,
                method: request.method().clone(),
                path: request.uri().path().into(),
                version: request.version(),
                status: 0,
                items: Arc::clone(items),
                bytes: 0,
                end: End::Left,
                is_told_open: false,
            })
        })
    }
}

impl Record {
    /// Records the status. Returns `None` if the line for it is filtered out.
    pub(super) fn answered(mut self: Box<Self>, status: StatusCode) -> Option<Box<Self>> {
        self.status = status.as_u16();
        let is_wanted =
            self.is_refusal() || tracing::enabled!(target: TARGET, tracing::Level::INFO);
        is_wanted.then_some(self)
    }

    /// Returns `true` for a refusal of this request. An overloaded server sends 503, and one with a
    /// full disk 507, in response to every request, so these don't count.
    fn is_refusal(&self) -> bool {
        self.status >= 400 && !matches!(self.status, 503 | 507)
    }

    fn write(&self, end: End) {
        /// Logs at a level that must be a constant at each call site.
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: TARGET,
                    peer = self.peer.map(tracing::field::display),
                    method = %self.method,
                    path = %self.path,
                    version = ?self.version,
                    status = self.status,
                    end = end.name(),
                    ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
                    items = self.items.load(Ordering::Relaxed),
                    bytes = self.bytes,
                )
            };
        }
        if self.is_refusal() {
            line!(warn);
        } else {
            line!(info);
        }
    }

    /// Records that the body has nothing ready. The first time, it writes a line.
    fn wait(&mut self) {
        if !self.is_told_open {
            self.is_told_open = true;
            self.write(End::Open);
        }
    }
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Left => "left",
            Self::Cut => "cut",
            Self::Early => "early",
            Self::Complete => "complete",
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.write(self.end);
    }
}

/// A response's body, tracked to its end.
pub(super) struct Watched {
    // Declared first, so that it is dropped first: the stream reports its items before the record
    // is written.
    body: Body,
    /// Data that the body has returned and that is still to be passed on.
    rest: Bytes,
    record: Option<Box<Record>>,
    /// Present if the request has a body.
    answering: Option<Answering>,
    in_flight: InFlight,
}

impl Watched {
    pub(super) fn new(
        body: Body,
        record: Option<Box<Record>>,
        answering: Option<Answering>,
        in_flight: InFlight,
    ) -> Self {
        let mut this = Self {
            body,
            rest: Bytes::new(),
            record,
            answering,
            in_flight,
        };
        if http_body::Body::is_end_stream(&this.body) {
            this.note_complete();
        }
        this
    }

    /// Returns the next part to pass on.
    fn next_part(&mut self) -> Bytes {
        let size = stall::note_given(&self.rest);
        self.rest.split_to(size)
    }

    fn note_complete(&mut self) {
        if let Some(record) = &mut self.record {
            let is_early = self.answering.as_ref().is_some_and(Answering::is_early);
            record.end = if is_early { End::Early } else { End::Complete };
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(record) = &mut self.record
            && !self.rest.is_empty()
        {
            record.end = End::Left;
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        stall::note_asked();
        if !self.rest.is_empty() {
            let part = self.next_part();
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        let body = &mut self.body;
        let frame = match crate::catch(|| Pin::new(body).poll_frame(cx)) {
            Ok(Poll::Ready(frame)) => frame,
            Ok(Poll::Pending) => {
                if let Some(record) = &mut self.record {
                    record.wait();
                }
                return Poll::Pending;
            }
            Err(problem) => {
                problem.log();
                Some(Err(axum::Error::new(Cut::Failed)))
            }
        };
        let is_complete = match &frame {
            Some(Ok(_)) => http_body::Body::is_end_stream(&self.body),
            Some(Err(_)) => false,
            None => true,
        };
        if is_complete {
            self.in_flight.activity().end_closing_body();
            self.note_complete();
        }
        if let Some(record) = &mut self.record {
            if let Some(Ok(frame)) = &frame {
                record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            if matches!(frame, Some(Err(_))) {
                record.end = End::Cut;
            }
        }
        let frame = frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(data) => {
                    self.rest = data;
                    Frame::data(self.next_part())
                }
                Err(trailers) => trailers,
            })
        });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        let hint = http_body::Body::size_hint(&self.body);
        let mut all = SizeHint::new();
        if let Some(upper) = hint.upper() {
            all.set_upper(upper.saturating_add(rest));
        }
        all.set_lower(hint.lower().saturating_add(rest));
        all
    }
}
