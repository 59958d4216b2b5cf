//! The layer around every endpoint: the check of the requesting page, preconditions, security headers, and CORS.

use std::{
    collections::HashSet,
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::{MatchedPath, Request},
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use headwater::{App, Operation, Problem, StatusCode};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    access::{Caller, Lease},
    error::{Lasting, RETRY_AFTER_TEXT},
    limits::RETRY_AFTER,
    options::Cors,
    protocol::path::{RELAY, check_escapes},
    requests::{
        cross_origin::{self, Page},
        precondition::Precondition,
    },
    state::HubState,
};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// Headers that pages of other origins may send. `*` includes all but `Authorization`, for relays
/// that forward them.
const SENT: &str = "accept, authorization, content-type, if-match, if-none-match, last-event-id, prefer, producer-digest, producer-epoch, \
                    producer-id, producer-messages, producer-seq, stream-closed, stream-create, stream-error, stream-expires-at, \
                    stream-fork-offset, \
                    stream-fork-sub-offset, stream-forked-from, stream-max-age, stream-max-bytes, stream-schema, stream-seq, \
                    stream-ttl, idempotency-key, upstream-authorization, upstream-cookie, upstream-method, upstream-origin, \
                    upstream-referer, upstream-url, *";

/// Headers that pages of other origins may read.
const SHOWN: &str = "content-type, etag, location, producer-digest, producer-epoch, producer-expected-seq, producer-messages, \
                     producer-received-seq, producer-seq, ratelimit, ratelimit-policy, retry-after, stream-closed, stream-cursor, stream-error, stream-expires-at, stream-floor, \
                     stream-next-offset, stream-sse-data-encoding, stream-ttl, stream-up-to-date, content-location, \
                     upstream-content-type, upstream-status";

/// The statuses of requests that are refused for a time.
const RETRIED: [StatusCode; 2] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::SERVICE_UNAVAILABLE,
];

/// Time in seconds for which browsers cache a preflight.
const KEEP_PREFLIGHT: &str = "86400";

/// Creates the layer. It handles a request unless its page isn't allowed, and sets the headers that
/// every response has.
#[derive(Clone)]
pub(crate) struct HeadersLayer {
    hub: Arc<HubState>,
    operations: Arc<Operations>,
}

/// The methods and paths of the operations.
type Operations = HashSet<(String, String)>;

impl HeadersLayer {
    /// Creates the layer for the operations that an app has so far.
    pub(crate) fn of<S: Clone + Send + Sync + 'static>(
        app: App<S>,
        hub: &Arc<HubState>,
    ) -> (App<S>, Self) {
        let mut operations = Operations::new();
        let app = app.describe_all(|method, path, _| {
            operations.insert((method.to_ascii_uppercase(), path.to_owned()));
        });
        let layer = Self {
            hub: Arc::clone(hub),
            operations: Arc::new(operations),
        };
        (app, layer)
    }
}

impl HeadersLayer {
    /// Reads the preconditions of a request. Those of one that no operation takes are ignored (RFC 9110 §13.2.1).
    ///
    /// # Errors
    /// As [`Precondition::of`].
    fn precondition(&self, request: &Request) -> Result<Precondition, Problem> {
        Precondition::of(request.method(), request.headers()).or_else(|problem| {
            let path = request.extensions().get::<MatchedPath>();
            let operation =
                path.map(|path| (request.method().to_string(), path.as_str().to_owned()));
            match operation.is_some_and(|operation| self.operations.contains(&operation)) {
                true => Err(problem),
                false => Ok(Precondition::None),
            }
        })
    }
}

impl<S> Layer<S> for HeadersLayer {
    type Service = Headers<S>;

    fn layer(&self, inner: S) -> Headers<S> {
        Headers {
            layer: self.clone(),
            inner,
        }
    }
}

/// Adds the layer's part of an operation's responses. Any of them may be a problem: also that of a method which the
/// path doesn't have.
pub(crate) fn describe(_method: &str, _path: &str, operation: &mut Operation) {
    let challenge =
        "The scheme of the credentials, and the reason if there were some (RFC 6750 §3)";
    operation.reply_header(StatusCode::UNAUTHORIZED, "WWW-Authenticate", challenge);
    operation.any_error();
}

/// The service that [`HeadersLayer`] creates.
#[derive(Clone)]
pub(crate) struct Headers<S> {
    layer: HeadersLayer,
    inner: S,
}

impl<S> Service<Request> for Headers<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<WithHeaders<S::Future>, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let hub = &self.layer.hub;
        hub.ensure_started();
        let cors = &hub.options.cors;
        let mut seen = Seen {
            page: Page::of(&hub.options, request.uri(), request.headers()),
            embedders: cors.embedders(request.uri(), request.headers()),
            precondition: Precondition::None,
        };
        let admitted = seen.page.may(request.method(), request.headers());
        let admitted = admitted.and_then(|()| check_escapes(request.uri()));
        let early = match admitted.and_then(|()| self.layer.precondition(&request)) {
            Err(problem) => Some(problem.into_response()),
            Ok(precondition) => {
                seen.precondition = precondition;
                match cors {
                    Cors::Off => None,
                    _ => preflight(&request, &seen.page),
                }
            }
        };
        if let Some(mut response) = early {
            seen.apply(cors, &mut response);
            return Either::Right(ready(Ok(response)));
        }
        if hub.access.is_some() {
            // Until the guard of the route has identified it.
            Caller::without_grants().put(request.extensions_mut(), None);
        }
        Either::Left(WithHeaders {
            response: self.inner.call(request),
            hub: Arc::clone(hub),
            seen: Some(seen),
        })
    }
}

pin_project! {
    /// A response on its way, and what its headers depend on.
    pub(crate) struct WithHeaders<F> {
        #[pin]
        response: F,
        hub: Arc<HubState>,
        seen: Option<Seen>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for WithHeaders<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Ok(response) = std::task::ready!(this.response.poll(cx));
        let mut response = Lease::apply(response);
        if let Some(seen) = this.seen.take() {
            if let Some(problem) = seen.precondition.judge(response.status()) {
                response = problem.into_response();
            }
            seen.apply(&this.hub.options.cors, &mut response);
        }
        Poll::Ready(Ok(response))
    }
}

/// The properties of a request that the headers of its response depend on.
struct Seen {
    page: Page,
    embedders: HeaderValue,
    precondition: Precondition,
}

impl Seen {
    fn apply(self, cors: &Cors, response: &mut Response) {
        let status = response.status();
        retry_after(response);
        let headers = response.headers_mut();
        protect(headers, self.embedders);
        if status.is_client_error() || status.is_server_error() {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2: a 401 has a challenge.
            let challenge = headers.entry(header::WWW_AUTHENTICATE);
            challenge.or_insert(HeaderValue::from_static("Bearer"));
        }
        allow(cors, self.page, headers);
    }
}

/// Returns the response to a preflight request. `None` if the request isn't one.
fn preflight(request: &Request, page: &Page) -> Option<Response> {
    if request.method() != Method::OPTIONS {
        return None;
    }
    let asks_for_method = request
        .headers()
        .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    // Every OPTIONS request to a relay is answered (§10.1 of the relay protocol).
    let is_relay = cfg!(feature = "relay")
        && request.uri().path().split('/').nth(1) == RELAY.strip_prefix('/');
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, SENT),
        (header::ACCESS_CONTROL_MAX_AGE, KEEP_PREFLIGHT),
    ];
    match page {
        _ if !asks_for_method && !is_relay => None,
        Page::Foreign if is_relay => Some(StatusCode::NO_CONTENT.into_response()),
        Page::Foreign => Some(cross_origin::refusal(request.headers()).into_response()),
        _ => Some((StatusCode::NO_CONTENT, allowed).into_response()),
    }
}

/// Adds a `Retry-After` to a 429 and a 503 without one, so that clients wait and try again. Not if the condition
/// is [`Lasting`].
fn retry_after(response: &mut Response) {
    let is_temporary = RETRIED.contains(&response.status());
    if is_temporary && response.extensions().get::<Lasting>().is_none() {
        let headers = response.headers_mut();
        headers
            .entry(header::RETRY_AFTER)
            .or_insert(RETRY_AFTER.as_secs().into());
    }
}

/// Documents `Retry-After` of the errors that an operation has so far.
pub(crate) fn describe_retries(_method: &str, _path: &str, operation: &mut Operation) {
    for status in RETRIED {
        operation.reply_header(status, "Retry-After", RETRY_AFTER_TEXT);
    }
}

/// Sets security headers. Streams contain untrusted data: browsers must neither execute it nor
/// guess its type. What is the hub's own has a policy of its own already.
fn protect(headers: &mut HeaderMap, embedders: HeaderValue) {
    const EMBEDDERS: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    let safe = [
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (EMBEDDERS, embedders),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; sandbox"),
        ),
    ];
    for (name, value) in safe {
        headers.entry(name).or_insert(value);
    }
}

/// Sets the CORS headers that allow the page to read the response.
fn allow(cors: &Cors, page: Page, headers: &mut HeaderMap) {
    let allowed = match cors {
        Cors::Off => return,
        Cors::Any => HeaderValue::from_static("*"),
        Cors::Loopback | Cors::Only(_) => {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
            match page {
                Page::Allowed(Some(origin)) => origin,
                _ => return,
            }
        }
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(SHOWN),
    );
}
