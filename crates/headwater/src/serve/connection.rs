//! One connection, from its first byte to its close.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, atomic::AtomicU64},
    task::Poll,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt as _;
use http::{HeaderMap, Method, Request, StatusCode, Version, header, uri::Scheme};
use http_body::Body as _;
use hyper::{body::Incoming, server::conn, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;
use tower_service::Service as _;

#[cfg(feature = "tls")]
use super::tls::{Acceptor, Opened};
use super::{
    Settings,
    access_log::{Record, Watched},
    activity::Activity,
    bad_head,
    body_rate::{BodyClock, Meter},
    io::Io,
    stall::Streams,
    stream::{Socket, Stream},
    upload::{Answering, Receipt, Upload, linger},
};
use crate::{
    Negotiate, Problem,
    negotiate::{Asked, replace},
    on_wake::OnWake,
    request::Reached,
};

/// Maximum size of the response data that a connection buffers in addition to the chunk being
/// written, in bytes. It bounds the cost of a reader that doesn't read. hyper uses the same size as
/// the limit of a head.
pub(super) const BUFFER: u32 = 64 * 1024;

/// h2 refuses a head that is too large with only a status. So h2's limit is larger than the
/// handler's by this factor.
const HTTP2_HEAD_SLACK: u32 = 4;

/// Interval of HTTP/2 pings to a silent peer, and the time limit for the reply.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// The app of a listener, and how to reach it.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) app: Negotiate<Router>,
    /// `None`: connections aren't encrypted.
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Acceptor>,
    pub(super) settings: Arc<Settings>,
    pub(super) shutdown: CancellationToken,
}

impl Site {
    fn scheme(&self) -> Scheme {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return Scheme::HTTPS;
        }
        Scheme::HTTP
    }
}

pub(super) async fn run(socket: Socket, peer: Option<SocketAddr>, site: Site) {
    let activity = Activity::new();
    let Some((io, http2)) = open(socket, &activity, &site).await else {
        return;
    };
    let scheme = site.scheme();
    let Site {
        app,
        settings,
        shutdown,
        ..
    } = site;
    let handler = Handler {
        app,
        peer,
        scheme,
        activity: Arc::clone(&activity),
        settings: Arc::clone(&settings),
        shutdown: Arc::new(shutdown.clone()),
    };
    // The connection is pinned where it is created: a future that is moved takes space twice in the
    // task, and idle readers consist mostly of their tasks. That of HTTP/2 is boxed, so that the
    // many HTTP/1.1 connections don't reserve space for its larger state.
    let ended = if http2 {
        activity.forget_head();
        let streams = Streams {
            write_timeout: settings.write_timeout,
        };
        let mut connection = Box::pin(
            conn::http2::Builder::new(streams)
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_PATIENCE)
                .max_concurrent_streams(settings.max_requests_per_connection)
                .max_header_list_size(settings.max_head_bytes.saturating_mul(HTTP2_HEAD_SLACK))
                .max_send_buf_size(BUFFER as usize)
                .serve_connection(io, handler),
        );
        drive(connection.as_mut(), &activity, &settings, &shutdown).await
    } else {
        let connection = pin!(
            conn::http1::Builder::new()
                .timer(TokioTimer::new())
                // A peer may half-close the connection after its last request and still receives
                // the response. `Io` detects if the peer is gone.
                .half_close(true)
                // `activity` times both kinds of waits. hyper has one limit for the two.
                .header_read_timeout(None)
                .max_buf_size(BUFFER as usize)
                .max_header_size(settings.max_head_bytes as usize)
                .serve_connection(io, handler)
        );
        drive(connection, &activity, &settings, &shutdown).await
    };
    let leftover = activity.take_leftover();
    if let Err(error) = &ended {
        // Clients disconnect routinely, so this is logged at debug level only.
        tracing::debug!(
            error = error as &dyn std::error::Error,
            "a connection ended early"
        );
    }
    let Some(mut stream) = leftover else { return };
    if let (Some(status), Err(error)) = (activity.refused(), &ended) {
        bad_head::write(&mut stream, status, error, settings.max_head_bytes).await;
    }
    tokio::select! {
        () = linger(*stream) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Completes the TLS handshake, if there is one, and detects if the client speaks HTTP/2. Returns
/// `None` if it disconnected or took too long.
async fn open(
    socket: Socket,
    activity: &Arc<Activity>,
    site: &Site,
) -> Option<(TokioIo<Io>, bool)> {
    let patience = site.settings.header_read_timeout;
    let patience = if patience.is_zero() {
        Duration::MAX
    } else {
        patience
    };
    let opened = async {
        #[cfg(feature = "tls")]
        if let Some(tls) = &site.tls {
            // Boxed, because it is large and each connection's task reserves space for it.
            let Opened { stream, is_http2 } = Box::pin(tls.open(socket)).await?;
            return Ok((Io::agreed(stream, Arc::clone(activity), is_http2), is_http2));
        }
        let mut io = Io::new(Stream::Plain(socket), Arc::clone(activity));
        let is_http2 = io.is_http2().await?;
        Ok::<_, std::io::Error>((io, is_http2))
    };
    let opened = tokio::select! {
        opened = tokio::time::timeout(patience, opened) => opened.ok()?,
        // There is no request yet, so no response is due.
        () = site.shutdown.cancelled() => return None,
    };
    match opened {
        Ok((io, is_http2)) => Some((TokioIo::new(io), is_http2)),
        Err(error) => {
            tracing::debug!(%error, "a connection ended before its first request");
            None
        }
    }
}

/// The common interface of both HTTP versions' connections.
trait Connection: Future<Output = hyper::Result<()>> {
    fn finish(self: Pin<&mut Self>);
}

impl<S> Connection for conn::http1::Connection<TokioIo<Io>, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Watched>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Connection for conn::http2::Connection<TokioIo<Io>, Handler, Streams> {
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Drives a connection until it ends, is idle for too long, sends a request's head too slowly, or
/// stops reading a response.
async fn drive(
    mut connection: Pin<&mut impl Connection>,
    activity: &Activity,
    settings: &Settings,
    shutdown: &CancellationToken,
) -> hyper::Result<()> {
    let shutdown = pin!(shutdown.cancelled());
    let mut shutdown = OnWake::new(shutdown);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut finishing = false;
    poll_fn(|cx| {
        if !finishing && shutdown.poll_unpin(cx).is_ready() {
            finishing = true;
            connection.as_mut().finish();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(ended);
        }
        let Ok(look) = activity.next_look() else {
            return Poll::Ready(Ok(()));
        };
        let idle = activity.deadline(settings.header_read_timeout, settings.idle_timeout);
        let write = activity.write_deadline(settings.write_timeout);
        let Some(deadline) = look.into_iter().chain(idle).chain(write).min() else {
            // A long stream needs no timer, and should use little memory.
            timer = None;
            return Poll::Pending;
        };
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        std::task::ready!(timer.as_mut().poll(cx));
        let now = Instant::now();
        debug_assert!(now >= deadline);
        if write.is_some_and(|write| now >= write) {
            activity.stall();
        } else if idle.is_none_or(|idle| now < idle) {
            // A half-closed connection is due for a check.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        } else {
            activity.expire();
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// Passes a connection's requests to the app.
struct Handler {
    app: Negotiate<Router>,
    /// The other end of the connection.
    peer: Option<SocketAddr>,
    scheme: Scheme,
    activity: Arc<Activity>,
    settings: Arc<Settings>,
    /// Shared by the requests of the connection: a clone of a token locks what all clones share.
    shutdown: Arc<CancellationToken>,
}

impl Handler {
    /// Takes one of the places of requests over HTTP/2.
    ///
    /// # Errors
    /// 503: all are in use.
    fn http2_permit(&self) -> Result<OwnedSemaphorePermit, Box<Response>> {
        let permit = Arc::clone(&self.settings.http2_requests).try_acquire_owned();
        permit.map_err(|_| {
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE)
                .detail(
                    "the server has as many requests over HTTP/2 as it may; try again in a second",
                )
                .with("code", "busy")
                .retry_after(Duration::from_secs(1));
            Box::new(problem.into_response())
        })
    }
}

impl Service<Request<Incoming>> for Handler {
    type Response = http::Response<Watched>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut in_flight = self.activity.begin();
        let items = Arc::new(AtomicU64::new(0));
        let client = self.settings.proxies.client(self.peer, request.headers());
        let record = Record::of(&request, client.address, &items);
        let is_http10 = request.version() == Version::HTTP_10;
        let is_http2 = request.version() == Version::HTTP_2;
        let is_head = request.method() == Method::HEAD;
        let receipt = (!request.body().is_end_stream())
            .then(|| Receipt::new(&self.activity, is_http2, &self.shutdown));
        let clock = match &receipt {
            None => BodyClock::default(),
            Some(_) => BodyClock::start(),
        };
        let mut request = request.map(|body| match &receipt {
            None => Body::empty(),
            Some(receipt) => {
                let meter = Meter::new(self.settings.pace.clone(), clock.clone());
                Body::new(Upload::new(body, meter, Arc::clone(receipt)))
            }
        });
        if let Some(address) = client.address {
            request.extensions_mut().insert(ConnectInfo(address));
        }
        // Without this, the scheme is http and the host that of the request.
        if client.scheme.is_some() || client.host.is_some() || self.scheme == Scheme::HTTPS {
            request.extensions_mut().insert(Reached {
                scheme: client.scheme.unwrap_or_else(|| self.scheme.clone()),
                host: client.host,
            });
        }
        let asked = Asked {
            items,
            shutdown: Some(Arc::clone(&self.shutdown)),
            dropped: None,
            connection: Some(Arc::clone(&self.activity)),
            clock,
        };
        request.extensions_mut().insert(asked);
        let checked = match is_http2 {
            true => bad_head::check_size(
                request.uri(),
                request.headers(),
                self.settings.max_head_bytes,
            )
            .map_err(|problem| Box::new(problem.into_response()))
            .and_then(|()| self.http2_permit())
            .map(|permit| in_flight.keep(permit)),
            false => Ok(()),
        };
        // A router is always ready.
        let response = checked.map(|()| self.app.clone().call(request));
        let answering = receipt.map(Answering::new);
        Box::pin(async move {
            let response = match response {
                Ok(response) => response.await?,
                Err(refusal) if is_head => refusal.map(|_| Body::empty()),
                Err(refusal) => *refusal,
            };
            // Overrides the handler's own response to the error: the client should learn the cause.
            let slow = answering.as_ref().and_then(Answering::slow);
            let is_told = response.status() == StatusCode::REQUEST_TIMEOUT;
            let response = match slow {
                Some(slow) if response.status().as_u16() >= 400 && !is_told => {
                    replace(&response, slow.problem())
                }
                _ => response,
            };
            in_flight.activity().answer();
            if answering.as_ref().is_some_and(Answering::is_early) {
                // hyper reads the available rest of a dropped body before it writes the head. If
                // the body is then complete, the connection is kept. If not, the response announces
                // that it will be closed.
                tokio::task::yield_now().await;
            }
            let record = record.and_then(|record| record.answered(response.status()));
            let has_end = response.body().size_hint().exact().is_some();
            if is_http10 && !has_end {
                in_flight.activity().open_closing_body();
            } else if !is_head && !has_end && is_framed_by_hyper(response.headers()) {
                in_flight.activity().open_chunks();
            }
            Ok(response.map(|body| Watched::new(body, record, answering, in_flight)))
        })
    }
}

/// Returns `true` if hyper sends a body without a known length in chunks.
fn is_framed_by_hyper(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::CONTENT_LENGTH)
        && !headers.contains_key(header::TRANSFER_ENCODING)
}
