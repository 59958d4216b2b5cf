//! The layer that passes a request's preferences to the handler's stream.

mod accept;
mod fill_problem;
mod heartbeat;
mod media_range;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{ConnectInfo, MatchedPath},
    response::{IntoResponse, Response},
};
use headwater_wire::{Format, sse};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;
use tower_service::Service;

pub use self::media_range::MediaRange;

use self::accept::Refusal;
use crate::{
    BodyClock, Hosts, LastEventId, Problem,
    body::Served,
    on_wake::OnWake,
    panics::{self, Caught},
    request,
    response::SharedBody,
    serve::Activity,
};

/// State that the server, or a test, shares with the streams of one request. It is an extension of
/// the request.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    pub(crate) items: Arc<AtomicU64>,
    pub(crate) shutdown: Option<Arc<CancellationToken>>,
    pub(crate) dropped: Option<CancellationToken>,
    pub(crate) connection: Option<Arc<Activity>>,
    pub(crate) clock: BodyClock,
}

/// Creates the layer that sends each stream in the format that its client requests. It also:
///
/// - decodes a body with a `Content-Encoding` of gzip or deflate while it is read. Handlers and
///   extractors see the decoded body, and their limits count decoded bytes. Other codings, and
///   several at once, are refused with 415.
/// - refuses an invalid or duplicate `Host` with 400. A missing `Host` (RFC 9112 §3.2) is refused
///   only under [`serve`](crate::serve), which knows that the request arrived over a connection. A
///   `Host` that is not among the configured [`hosts`](NegotiateLayer::hosts) is refused with 421.
/// - refuses a repeated `Content-Type` or `Last-Event-ID` with 400.
/// - converts a handler's panic to a 500. The log has the panic's message and location. The layer
///   sets a panic hook for the location, which then calls the previous hook.
///
/// [`serve`](crate::serve), the [test client](crate::test) and each route of an `App` include it. Under
/// `axum::serve`, wrap every other handler that returns a [`Streaming`](crate::Streaming) in it:
///
/// ```
/// use axum::{Router, routing::get};
/// use futures_util::stream;
/// use headwater::Streaming;
///
/// let app: Router = Router::new()
///     .route("/", get(async || Streaming::new(stream::iter([1, 2, 3]))))
///     .layer(headwater::layer());
/// ```
#[must_use]
pub fn layer() -> NegotiateLayer {
    panics::note_places();
    NegotiateLayer {
        app: AppKind::default(),
        hosts: None,
    }
}

/// The properties of an app that the layer around it has to know.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AppKind {
    /// If `true`, the app serves `/docs`.
    pub(crate) has_docs: bool,
    /// If `true`, every route of the app is in a layer of its own, inside of the app's layers. Refusals are sent by
    /// that one, so that the app's layers see them.
    pub(crate) refuses_inside: bool,
}

/// The layer that [`layer`] creates.
///
/// It also adds a problem as the body of errors that the app answers with only a status: an unknown
/// path (404), a method that isn't allowed (405, with the list), or a bare [`StatusCode`].
#[derive(Debug, Clone)]
pub struct NegotiateLayer {
    app: AppKind,
    hosts: Option<Arc<Hosts>>,
}

impl NegotiateLayer {
    /// Sets the hosts that the app serves. Requests for other hosts are refused with 421. Default:
    /// any host.
    ///
    /// [`serve`](crate::serve) has the same [setting](crate::Serve::hosts), with a default that
    /// depends on its address. A layer doesn't know the address, so under another server the app
    /// sets the hosts:
    ///
    /// ```
    /// # fn example(app: axum::Router) -> axum::Router {
    /// use headwater::Hosts;
    ///
    /// app.layer(headwater::layer().hosts(Hosts::loopback()))
    /// # }
    /// ```
    #[must_use]
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = Some(Arc::new(hosts));
        self
    }

    /// Sets the properties of the app that the layer is around.
    pub(crate) fn around(mut self, app: AppKind) -> Self {
        self.app = app;
        self
    }
}

impl<S> Layer<S> for NegotiateLayer {
    type Service = Negotiate<S>;

    fn layer(&self, inner: S) -> Negotiate<S> {
        Negotiate {
            inner,
            app: self.app,
            hosts: self.hosts.clone(),
        }
    }
}

/// The service that [`layer`] creates.
#[derive(Debug, Clone)]
pub struct Negotiate<S> {
    inner: S,
    app: AppKind,
    hosts: Option<Arc<Hosts>>,
}

impl<S> Service<Request<Body>> for Negotiate<S>
where
    S: Service<Request<Body>, Error = Infallible>,
    S::Response: IntoResponse + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let hosts = self.hosts.as_deref();
        let is_routed = request.extensions().get::<MatchedPath>().is_some();
        // Nested in another of these layers, as that of a route is under `serve`, this one only checks its own hosts,
        // sends the refusal of the other one, and converts panics: the layers between the two must see these as
        // responses.
        if let Ok(refusal) = CLIENT.try_with(|client| client.refusal.lock().take()) {
            if let Some(Err(problem)) = hosts.map(|hosts| hosts.check(&request)) {
                return Box::pin(std::future::ready(Ok(problem.into_response())));
            }
            if let Some(refusal) = refusal {
                return Box::pin(std::future::ready(Ok(*refusal)));
            }
            let response = answer(panics::catch(|| self.inner.call(request)), is_routed);
            return Box::pin(async { Ok(response.await) });
        }
        let is_received = request.extensions().get::<Asked>();
        let is_received = is_received.is_some_and(|asked| asked.connection.is_some());
        if let Err(problem) = request::check_host(&request, hosts, is_received) {
            return Box::pin(std::future::ready(Ok(problem.into_response())));
        }
        let client = Arc::new(Client::of(&request));
        let refusal = match request::admit(&mut request) {
            Ok(()) if request.method() == Method::GET && client.has_seen_end() => {
                Some(Box::new(no_more()))
            }
            admitted => admitted.err(),
        };
        if let Some(refusal) = refusal {
            if !self.app.refuses_inside {
                return Box::pin(std::future::ready(Ok(*refusal)));
            }
            *client.refusal.lock() = Some(refusal);
        }
        let has_docs = self.app.has_docs;
        let is_head = request.method() == Method::HEAD;
        // A HEAD request has the head of a GET.
        let method = match is_head {
            true => Method::GET,
            false => request.method().clone(),
        };
        // The call itself also runs in the scope: a service may do its work there and return a
        // ready future.
        let called = CLIENT.sync_scope(Arc::clone(&client), || {
            panics::catch(|| self.inner.call(request))
        });
        let response = CLIENT.scope(Arc::clone(&client), answer(called, is_routed));
        Box::pin(async move {
            let mut response = response.await;
            if let Some(body) = response.extensions_mut().remove::<SharedBody>()
                && !is_head
                && let Err(problem) = body.prime().await
            {
                return Ok(replace(&response, problem));
            }
            if fill_problem::is_bare(&response) {
                let problem = fill_problem::problem(&response, &method, &client.uri, has_docs);
                return Ok(replace(&response, problem));
            }
            Ok(response)
        })
    }
}

/// Returns the response of a called service. If the call or its future panicked, the response is a
/// problem. `is_routed`: a route matches the request.
async fn answer<F, R>(called: Result<F, Problem>, is_routed: bool) -> Response
where
    F: Future<Output = Result<R, Infallible>>,
    R: IntoResponse,
{
    let response = async {
        let Ok(response) = called?.await;
        Ok(response.into_response())
    };
    let response = Caught::new(response).await;
    let mut response = response.flatten().unwrap_or_else(Problem::into_response);
    if is_routed {
        fill_problem::mark_routed(&mut response);
    }
    response
}

/// Returns the response that stops an `EventSource`: "A client can be told to stop reconnecting
/// using the HTTP 204 No Content response code" (WHATWG HTML §9.2.1). The handler isn't called,
/// because its work is complete.
fn no_more() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Returns `problem` as a response, with the headers that the app's layers set (such as CORS) on
/// the response that it replaces.
pub(crate) fn replace(response: &Response, problem: Problem) -> Response {
    let mut replacement = problem.into_response();
    for (name, value) in response.headers() {
        let of_body =
            name.as_str().starts_with("content-") && name != header::CONTENT_SECURITY_POLICY;
        if !of_body {
            replacement.headers_mut().append(name, value.clone());
        }
    }
    replacement
}

/// The parts of a request that its response depends on.
pub(crate) struct Client {
    uri: Uri,
    /// Values of `Accept`. More than one is rare.
    accept: Option<HeaderValue>,
    more_accept: Vec<HeaderValue>,
    last_event_id: Option<String>,
    /// The longest silence that the client accepts in a stream; zero means no bound.
    pub(crate) heartbeat: Result<Option<Duration>, heartbeat::NoInterval>,
    pub(crate) asked: Option<Asked>,
    address: Option<SocketAddr>,
    /// A response that takes the place of the handler's.
    refusal: parking_lot::Mutex<Option<Box<Response>>>,
    #[cfg(feature = "auth")]
    ends_with: parking_lot::Mutex<Option<Over>>,
}

/// A future that ends the response to a request when it completes.
#[cfg(feature = "auth")]
pub(crate) type Over = Pin<Box<dyn Future<Output = Option<Problem>> + Send>>;

impl Client {
    fn of(request: &Request<Body>) -> Self {
        let mut accept = request.headers().get_all(header::ACCEPT).iter().cloned();
        Self {
            uri: request.uri().clone(),
            accept: accept.next(),
            more_accept: accept.collect(),
            last_event_id: LastEventId::of_parts(request.headers(), request.uri()).0,
            heartbeat: heartbeat::wanted(request.uri(), request.headers()),
            asked: request.extensions().get().cloned(),
            address: request
                .extensions()
                .get()
                .map(|ConnectInfo(address)| *address),
            refusal: parking_lot::Mutex::default(),
            #[cfg(feature = "auth")]
            ends_with: parking_lot::Mutex::default(),
        }
    }

    /// Returns the requested format. It is computed only for streams, because most requests don't
    /// need it.
    pub(crate) fn format(&self) -> Result<Format, Refusal> {
        accept::choose(&self.uri, self.accept.iter().chain(&self.more_accept))
    }

    /// Returns `true` for an `EventSource` that reconnects after its stream ended. The caller must
    /// check that the method is GET: an `EventSource` sends no other, so any other is sent on purpose.
    fn has_seen_end(&self) -> bool {
        self.last_event_id.as_deref() == Some(sse::END_ID)
    }

    /// Returns what ends the response early, if something does.
    #[cfg(feature = "auth")]
    pub(crate) fn take_over(&self) -> Option<Over> {
        self.ends_with.lock().take()
    }

    /// Returns the id after which the client resumes. See [`LastEventId`].
    pub(crate) fn last_event_id(&self) -> Option<String> {
        self.last_event_id.clone()
    }
}

tokio::task_local! {
    /// The client of the current request.
    static CLIENT: Arc<Client>;
}

/// Returns the client of the current request, or `None` without a layer.
pub(crate) fn client() -> Option<Arc<Client>> {
    CLIENT.try_with(Arc::clone).ok()
}

/// Has the stream that the current handler returns end when a future completes. See
/// [`end_early`](crate::end_early). Without a layer, it has no effect.
#[cfg(feature = "auth")]
pub(crate) fn end_with(over: impl Future<Output = Option<Problem>> + Send + 'static) {
    if let Some(client) = client() {
        *client.ends_with.lock() = Some(Box::pin(over));
    }
}

/// Waits until the server of the current request shuts down. A handler that waits for something
/// else can then respond, as a long-poll without data does. Responses that are still missing at the
/// shutdown's deadline are aborted.
///
/// Under a server other than [`serve`](crate::serve), and outside a handler's own task, it never
/// returns.
///
/// ```
/// # async fn next() -> &'static str { "" }
/// async fn poll() -> &'static str {
///     tokio::select! {
///         item = next() => item,
///         () = headwater::shutting_down() => "nothing yet",
///     }
/// }
/// # let _ = poll;
/// ```
pub async fn shutting_down() {
    match client().and_then(|client| client.asked.as_ref()?.shutdown.clone()) {
        Some(shutdown) => shutdown.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Returns the address of the client of the current request, for code that can't extract
/// [`ConnectInfo`](crate::ConnectInfo).
///
/// Behind a [trusted proxy](crate::Serve::trusted_proxies), it is that of the proxy's client. `None`
/// over a Unix socket, under a server that doesn't provide the address, and outside a handler's own
/// task.
///
/// ```
/// async fn whoami() -> String {
///     match headwater::client_address() {
///         Some(address) => address.ip().to_string(),
///         None => "unknown".to_owned(),
///     }
/// }
/// # let _: axum::Router = axum::Router::new().route("/", axum::routing::get(whoami));
/// ```
#[must_use]
pub fn client_address() -> Option<SocketAddr> {
    client()?.address
}

impl From<Asked> for Served {
    fn from(asked: Asked) -> Self {
        Self {
            items: asked.items,
            shutdown: asked
                .shutdown
                .map(|token| OnWake::new(Box::pin((*token).clone().cancelled_owned()))),
            _dropped: asked.dropped.map(CancellationToken::drop_guard),
            connection: asked.connection,
        }
    }
}
