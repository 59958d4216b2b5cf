//! The layer between a handler's stream and the client: it knows the request.

mod accept;
mod bare;
mod heartbeat;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use headwater_wire::{Format, sse};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;
use tower_service::Service;

use self::accept::Refusal;
use crate::{
    Hosts, LastEventId, Problem,
    body::Served,
    panics::{self, Caught},
    request,
    response::SharedBody,
    serve::Activity,
};

/// What the server, or a test, asks of the streams of one request: an extension of the request.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    pub(crate) items: Arc<AtomicU64>,
    pub(crate) shutdown: Option<CancellationToken>,
    pub(crate) dropped: Option<CancellationToken>,
    pub(crate) connection: Option<Arc<Activity>>,
}

/// The layer that sends each stream in the format that its client asks for, and stands between clients and the app in a few
/// other things:
///
/// - A body with a `Content-Encoding` of gzip or deflate is decoded while it is read: handlers and extractors see it without,
///   and their limits count what is decoded. Other codings, and several at once, are refused with 415.
/// - A `Host` that isn't one, or of which there are two, is refused with 400. One that is missing (RFC 9112 §3.2) is refused under
///   [`serve`](crate::serve) alone, which knows that the request came over a connection. One that isn't among the server's
///   [`hosts`](NegotiateLayer::hosts) is refused with 421, if these are set.
/// - A handler that panics is answered for with 500. The log has the panic's message and place, for which the layer sets a
///   panic hook; the hook that was there is called as before.
///
/// [`serve`](crate::serve) and the [test client](crate::test) have it built in. Under `axum::serve`, or
/// in the router of another app, it goes around all that returns a [`Streaming`](crate::Streaming):
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
        has_docs: false,
        hosts: None,
    }
}

/// See [`layer`].
///
/// Besides, an error that the app answers with its status alone gets a problem as its body: a path that isn't there (404), a method
/// that isn't allowed (405, with the list), a bare [`StatusCode`].
#[derive(Debug, Clone)]
pub struct NegotiateLayer {
    has_docs: bool,
    hosts: Option<Arc<Hosts>>,
}

impl NegotiateLayer {
    /// Sets the hosts that the app answers for: other requests are refused with 421. Default: any.
    ///
    /// [`serve`](crate::serve) has the [setting](crate::Serve::hosts) too, and a default by the address that it listens at. A
    /// layer knows no address, so that under another server the app says it:
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

    /// Has the answer to a path that isn't there point to `/docs`.
    pub(crate) fn docs(mut self, has_docs: bool) -> Self {
        self.has_docs = has_docs;
        self
    }
}

impl<S> Layer<S> for NegotiateLayer {
    type Service = Negotiate<S>;

    fn layer(&self, inner: S) -> Negotiate<S> {
        Negotiate {
            inner,
            has_docs: self.has_docs,
            hosts: self.hosts.clone(),
        }
    }
}

/// The service that [`layer`] makes.
#[derive(Debug, Clone)]
pub struct Negotiate<S> {
    inner: S,
    has_docs: bool,
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
        // Within another of these layers, as a hub is that is served, all is done but for its own hosts and for panics, which the
        // layers between the two are to see as responses.
        if CLIENT.try_with(|_| ()).is_ok() {
            if let Some(Err(problem)) = hosts.map(|hosts| hosts.check(&request)) {
                return Box::pin(std::future::ready(Ok(problem.into_response())));
            }
            let response = answer(panics::catch(|| self.inner.call(request)));
            return Box::pin(async { Ok(response.await) });
        }
        let is_received = request.extensions().get::<Asked>();
        let is_received = is_received.is_some_and(|asked| asked.connection.is_some());
        if let Err(refusal) = request::admit(&mut request, hosts, is_received) {
            return Box::pin(std::future::ready(Ok(*refusal)));
        }
        let client = Client::of(&request);
        if request.method() == Method::GET && client.has_seen_end() {
            return Box::pin(std::future::ready(Ok(no_more())));
        }
        let (uri, has_docs) = (client.uri.clone(), self.has_docs);
        let method = request.method().clone();
        let is_head = request.method() == Method::HEAD;
        // Called in the scope too: a service may do its work there and return a future that is ready.
        let called = CLIENT.sync_scope(client.clone(), || {
            panics::catch(|| self.inner.call(request))
        });
        let response = CLIENT.scope(client, answer(called));
        Box::pin(async move {
            let mut response = response.await;
            if let Some(body) = response.extensions_mut().remove::<SharedBody>()
                && !is_head
                && let Err(problem) = body.prime().await
            {
                return Ok(replace(&response, problem));
            }
            if !is_head && bare::is_bare(&response) {
                let problem = bare::problem(&response, &method, &uri, has_docs);
                return Ok(replace(&response, problem));
            }
            Ok(response)
        })
    }
}

/// The response of a service that was called. If that panicked, or the service does, it is a problem.
async fn answer<F, R>(called: Result<F, Problem>) -> Response
where
    F: Future<Output = Result<R, Infallible>>,
    R: IntoResponse,
{
    let response = async {
        let Ok(response) = called?.await;
        Ok(response.into_response())
    };
    let response = Caught::new(response).await;
    response.flatten().unwrap_or_else(Problem::into_response)
}

/// "A client can be told to stop reconnecting using the HTTP 204 No Content response code" (WHATWG HTML
/// §9.2.1). The handler isn't asked: what it would do has been done.
fn no_more() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The response that says `problem`, with the headers that the app's layers have set (CORS, say) on the one
/// that it replaces.
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

/// What a response depends on, of the request that it answers.
#[derive(Clone)]
pub(crate) struct Client {
    uri: Uri,
    /// The values of `Accept`. More than one is rare.
    accept: Option<HeaderValue>,
    more_accept: Vec<HeaderValue>,
    last_event_id: Option<String>,
    /// How long it wants a stream to be silent at most; zero for no bound.
    pub(crate) heartbeat: Result<Option<Duration>, heartbeat::NoInterval>,
    pub(crate) asked: Option<Asked>,
}

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
        }
    }

    /// The format that it asks for. Worked out only where a stream is answered with: most requests want none.
    pub(crate) fn format(&self) -> Result<Format, Refusal> {
        accept::choose(&self.uri, self.accept.iter().chain(&self.more_accept))
    }

    /// Whether it is an `EventSource` that reconnects to a stream that had ended. It only ever sends GET: any other
    /// method is sent on purpose.
    fn has_seen_end(&self) -> bool {
        self.last_event_id.as_deref() == Some(sse::END_ID)
    }

    /// The id behind which it resumes: see [`LastEventId`].
    pub(crate) fn last_event_id(&self) -> Option<String> {
        self.last_event_id.clone()
    }
}

tokio::task_local! {
    /// The client whose request is being handled.
    static CLIENT: Client;
}

/// The client whose request is being handled; `None` where no layer is.
pub(crate) fn client() -> Option<Client> {
    CLIENT.try_with(Client::clone).ok()
}

/// Waits until the server that the present request came to shuts down. A handler that waits for something else answers then,
/// as a long-poll does that has brought nothing: what isn't answered at the shutdown's deadline is cut.
///
/// Under another server than [`serve`](crate::serve), and outside of a handler's own task, it never returns.
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
    match client().and_then(|client| client.asked?.shutdown) {
        Some(shutdown) => shutdown.cancelled().await,
        None => std::future::pending().await,
    }
}

impl From<Asked> for Served {
    fn from(asked: Asked) -> Self {
        Self {
            items: asked.items,
            shutdown: asked
                .shutdown
                .map(|token| Box::pin(token.cancelled_owned())),
            _dropped: asked.dropped.map(CancellationToken::drop_guard),
            connection: asked.connection,
        }
    }
}
