//! Forwards requests to the owner of a shared log.
//!
//! ```text
//! request ─► ForwardLayer ─┬─► here: the hub's own routes
//!                          └─► the owner's URL ─► response, as the owner sends it
//! ```
//!
//! [`Hub::owner_layer`](crate::Hub::owner_layer) is the same layer for an app's own routes, and forwards all of
//! their requests.
//!
//! The owner gets the request as its client sent it, with its credentials and its `Host`, and judges it.
//! Only headers about the connection are dropped. `X-Forwarded-*` has the client as this hub knows it, and
//! counts if the owner trusts this hub as a proxy. A forwarded request has the header [`FORWARDED`]. A hub
//! that gets one and isn't the owner refuses it, so that requests don't circulate.
//!
//! A request whose outcome isn't known isn't sent again.

mod headers;
#[cfg(any(feature = "jwks", feature = "relay", feature = "webhooks"))]
mod sending;
#[cfg(not(any(feature = "jwks", feature = "relay", feature = "webhooks")))]
#[path = "no_sending.rs"]
mod sending;

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::{OriginalUri, Request},
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use headwater::{App, StatusCode};
use http::{HeaderName, HeaderValue, Method, Uri, request::Parts};
use percent_encoding::percent_decode_str;
use tower_layer::Layer;
use tower_service::Service;

use self::sending::Sender;
use crate::{
    error::{Failure, temporary},
    ingest::is_watched,
    options::advertised,
    ownership::{Ownership, Place},
    protocol::path::{self, GATHER, RELAY, RESERVED},
    state::HubState,
};

/// The header of a forwarded request, and of the response to one. The response's value identifies the log, so that
/// only a hub of the log is believed.
const FORWARDED: HeaderName = HeaderName::from_static("headwater-forwarded");

/// Marks a response whose request has to be answered by the owner.
#[derive(Clone, Copy)]
struct ToOwner;

/// Returns the response to a read that only the owner can answer. The layer replaces it.
pub(crate) fn to_owner() -> Response {
    let mut response =
        refusal("no_owner", "the owner of the log has to answer this").into_response();
    response.extensions_mut().insert(ToOwner);
    response
}

/// Returns a refusal of a request that can be repeated.
fn refusal(code: &str, detail: &str) -> Failure {
    temporary(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with("code", code)
        .into()
}

/// The layer that [`Hub::owner_layer`](crate::Hub::owner_layer) returns.
#[derive(Clone)]
pub struct ForwardLayer(Arc<Forwarding>);

struct Forwarding {
    hub: Arc<HubState>,
    sender: Sender,
    /// `true` if it is on routes of the app, all of which belong to the owner.
    is_on_routes: bool,
}

impl ForwardLayer {
    /// Creates the layer of a hub's own routes.
    pub(crate) fn new(hub: &Arc<HubState>) -> Self {
        Self::of(hub, false)
    }

    /// Creates a layer for routes of the app.
    pub(crate) fn on_routes(hub: &Arc<HubState>) -> Self {
        Self::of(hub, true)
    }

    fn of(hub: &Arc<HubState>, is_on_routes: bool) -> Self {
        Self(Arc::new(Forwarding {
            hub: Arc::clone(hub),
            sender: Sender::default(),
            is_on_routes,
        }))
    }
}

impl fmt::Debug for ForwardLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardLayer").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ForwardLayer {
    type Service = Forward<S>;

    fn layer(&self, inner: S) -> Forward<S> {
        Forward {
            forwarding: Arc::clone(&self.0),
            inner,
        }
    }
}

/// The service that [`ForwardLayer`] creates.
#[derive(Clone)]
pub struct Forward<S> {
    forwarding: Arc<Forwarding>,
    inner: S,
}

impl<S> Service<Request> for Forward<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let forwarding = &self.forwarding;
        forwarding.hub.ensure_started();
        if forwarding.hub.ownership.is_none() {
            return Either::Left(self.inner.call(request));
        }
        if request.headers().contains_key(FORWARDED) {
            let mark = forwarding.mark();
            let response = self.answer(request);
            return Either::Right(Box::pin(async move {
                let mut response = response.await?;
                response.headers_mut().insert(FORWARDED, mark);
                Ok(response)
            }));
        }
        self.answer(request)
    }
}

type Answer<F> = Either<F, Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>>;

impl<S> Forward<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    /// Answers a request on a shared log.
    fn answer(&mut self, mut request: Request) -> Answer<S::Future> {
        let forwarding = &self.forwarding;
        let Some(ownership) = &forwarding.hub.ownership else {
            return Either::Left(self.inner.call(request));
        };
        let is_elsewhere = ownership.is_elsewhere();
        if !is_elsewhere {
            headers::restore(request.headers_mut());
        }
        if forwarding.belongs_to_owner(&request) {
            if ownership.place() == Place::Here {
                return Either::Left(self.inner.call(request));
            }
            let forwarding = Arc::clone(forwarding);
            return Either::Right(Box::pin(async move {
                let (parts, body) = request.into_parts();
                Ok(forwarding.forward(parts, body).await)
            }));
        }
        if forwarding.is_on_routes || request.method() != Method::GET || !is_elsewhere {
            return Either::Left(self.inner.call(request));
        }
        // Perhaps a read of a stream whose watchers count. Its stream decides.
        let forwarding = Arc::clone(forwarding);
        let next = self.inner.clone();
        // The one that is ready.
        let mut inner = std::mem::replace(&mut self.inner, next);
        Either::Right(Box::pin(async move {
            let (parts, body) = request.into_parts();
            if forwarding.is_watched_by_ticket(&parts.uri).await {
                return Ok(forwarding.forward(parts, body).await);
            }
            let head = parts.clone();
            let response = inner.call(Request::from_parts(parts, body)).await?;
            match response.extensions().get::<ToOwner>() {
                None => Ok(response),
                Some(ToOwner) => Ok(forwarding.forward(head, Body::empty()).await),
            }
        }))
    }
}

impl Forwarding {
    /// Returns the text that identifies the log.
    fn mark(&self) -> HeaderValue {
        let mark = self.hub.log.identity().order().to_string();
        HeaderValue::try_from(mark).unwrap_or(HeaderValue::from_static(""))
    }

    /// Returns `true` if the owner alone can answer a request, whatever is in the log.
    fn belongs_to_owner(&self, request: &Request) -> bool {
        let root = self.hub.options.root.as_str();
        // A preflight is answered without any state.
        request.method() != Method::OPTIONS
            && (self.is_on_routes || belongs_to_owner(root, request.uri()))
    }

    /// Returns the owner's response to a request.
    async fn forward(&self, mut parts: Parts, body: Body) -> Response {
        // A part of the path may have been taken off where the routes are nested.
        if self.is_on_routes
            && let Some(OriginalUri(uri)) = parts.extensions.get()
        {
            parts.uri = uri.clone();
        }
        let Some(ownership) = &self.hub.ownership else {
            return to_owner();
        };
        match self.send(ownership, parts, body).await {
            Ok(response) => response,
            Err(failure) => failure.into_response(),
        }
    }

    async fn send(
        &self,
        ownership: &Ownership,
        parts: Parts,
        body: Body,
    ) -> Result<Response, Failure> {
        if parts.headers.contains_key(FORWARDED) {
            let detail = "another hub has forwarded this request here, and this hub isn't the owner of the log";
            tracing::warn!("{detail}: does each hub advertise a URL of its own?");
            return Err(refusal("not_owner", detail));
        }
        let (term, url) = match ownership.place() {
            Place::There { term, url } => (term, url),
            Place::Unreachable => {
                let detail = "the hub that owns the log advertises no URL, so this hub can't forward the request to it";
                return Err(refusal("owner_unreachable", detail));
            }
            // It may have become the owner just now.
            Place::Here | Place::Nowhere => {
                let detail =
                    "no hub is the owner of the log at the moment; one takes over within seconds";
                return Err(refusal("no_owner", detail));
            }
        };
        let url = match self.is_on_routes {
            true => advertised::origin(&url),
            false => &url,
        };
        let over = ownership.over(term);
        self.sender.send(url, parts, body, self.mark(), over).await
    }

    /// Returns `true` for a read with a ticket of a stream whose watchers count. The ticket is valid once, so
    /// this hub must not use it.
    async fn is_watched_by_ticket(&self, uri: &Uri) -> bool {
        let query = uri.query().unwrap_or_default();
        if !form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "ticket") {
            return false;
        }
        let root = self.hub.options.root.trim_end_matches('/');
        let path = uri.path().strip_prefix(root);
        let path = path.and_then(|path| path.strip_prefix('/'));
        let path = path.and_then(|path| percent_decode_str(path).decode_utf8().ok());
        let Some(Ok(name)) = path.map(|path| path::name_of(&path)) else {
            return false;
        };
        let info = self.hub.log.info(&name).await;
        info.is_ok_and(|info| is_watched(&info))
    }
}

/// Adds the errors of forwarded requests to the operations of a hub.
pub(crate) fn describe<S: Clone + Send + Sync + 'static>(app: App<S>, root: &str) -> App<S> {
    let stream = format!("{}/{{*path}}", root.trim_end_matches('/'));
    app.describe_all(|method, path, operation| {
        // A stored gather's path, and a read of a stream with watchers, say it in the query and the log.
        let is_forwarded = has_owners_path(root, path)
            || (cfg!(feature = "gather") && path == GATHER)
            || (path == stream && method == "get");
        if !is_forwarded {
            return;
        }
        operation.error(
            StatusCode::BAD_GATEWAY,
            "The hub that owns the log was lost with the request, which may have been carried out: `owner_lost`",
        );
        operation.error(
            StatusCode::SERVICE_UNAVAILABLE,
            "The hub that owns the log can't answer now: `no_owner`, `not_owner`, `owner_unreachable`, or `owner_lost` if \
             it was lost with a request that can be repeated",
        );
    })
}

/// Returns `true` for a request for the hub's own routes that belongs to the owner.
fn belongs_to_owner(root: &str, uri: &Uri) -> bool {
    let stores = || {
        let query = uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "stream")
    };
    has_owners_path(root, uri.path())
        || (cfg!(feature = "gather") && uri.path() == GATHER && stores())
}

/// Returns `true` for a path all of whose requests belong to the owner.
fn has_owners_path(root: &str, path: &str) -> bool {
    let is_under = |rest: &str| rest.is_empty() || rest.starts_with('/');
    let reserved = path.strip_prefix(root.trim_end_matches('/'));
    let reserved = reserved.and_then(|path| path.strip_prefix('/'));
    if reserved
        .and_then(|path| path.strip_prefix(RESERVED))
        .is_some_and(is_under)
    {
        return true;
    }
    cfg!(feature = "relay") && path.strip_prefix(RELAY).is_some_and(is_under)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_relays_and_stored_gathers_belong_to_the_owner() {
        let is = |root: &str, uri: &str| belongs_to_owner(root, &uri.parse().unwrap());
        assert!(is("/streams", "/streams/__ds/subscriptions/a"));
        assert!(is("/streams", "/streams/__ds"));
        assert!(is("/", "/__ds/jwks.json"));
        assert!(!is("/streams", "/streams/__dsx/a"));
        assert!(!is("/streams", "/streams/a/__ds/b"));
        assert!(!is("/streams", "/__ds/a"));
        assert!(!is("/streams", "/streams?stream=__ds/"));
        for path in ["/relay", "/relay/a?b=c"] {
            assert_eq!(is("/streams", path), cfg!(feature = "relay"), "{path}");
        }
        assert!(!is("/streams", "/relays"));
        assert_eq!(is("/streams", "/gather?stream=a"), cfg!(feature = "gather"));
        assert!(!is("/streams", "/gather?concurrency=2"));
    }
}
