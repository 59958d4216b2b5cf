//! The access log: one line for each request, when it is over.

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
use http::{Method, Request, Version};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::activity::InFlight;
use crate::body::Cut;

/// Where the log's lines go: `headwater::access`, at level INFO.
const TARGET: &str = "headwater::access";

/// What is known of a request. Dropping it writes the line.
pub(super) struct Record {
    start: Instant,
    peer: Option<SocketAddr>,
    method: Method,
    // Without the query, which may hold secrets.
    path: Box<str>,
    version: Version,
    pub(super) status: u16,
    items: Arc<AtomicU64>,
    bytes: u64,
    end: End,
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// The client went away, or the connection was closed, in the middle.
    Left,
    /// The response was cut: it failed, or the server shut down.
    Cut,
    Complete,
}

impl Record {
    /// `None` if nobody wants the line.
    pub(super) fn of<B>(
        request: &Request<B>,
        peer: Option<SocketAddr>,
        items: &Arc<AtomicU64>,
    ) -> Option<Box<Self>> {
        tracing::enabled!(target: TARGET, tracing::Level::INFO).then(|| {
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
            })
        })
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Self {
            start,
            peer,
            method,
            path,
            version,
            status,
            items,
            bytes,
            end,
        } = self;
        tracing::info!(
            target: TARGET,
            peer = peer.map(tracing::field::display),
            %method,
            %path,
            ?version,
            status,
            end = match end {
                End::Left => "left",
                End::Cut => "cut",
                End::Complete => "complete",
            },
            ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            items = items.load(Ordering::Relaxed),
            bytes,
        );
    }
}

/// A response's body, watched until its end.
pub(super) struct Watched {
    // Dropped first: a stream's last word on its items comes before the record is written.
    body: Body,
    record: Option<Box<Record>>,
    in_flight: InFlight,
}

impl Watched {
    pub(super) fn new(body: Body, mut record: Option<Box<Record>>, in_flight: InFlight) -> Self {
        if let Some(record) = &mut record
            && http_body::Body::is_end_stream(&body)
        {
            record.end = End::Complete;
        }
        Self {
            body,
            record,
            in_flight,
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
        let body = &mut self.body;
        let frame = match crate::catch(|| Pin::new(body).poll_frame(cx)) {
            Ok(frame) => std::task::ready!(frame),
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
        }
        if let Some(record) = &mut self.record {
            if let Some(Ok(frame)) = &frame {
                record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            if is_complete {
                record.end = End::Complete;
            } else if matches!(frame, Some(Err(_))) {
                record.end = End::Cut;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.body)
    }
}
