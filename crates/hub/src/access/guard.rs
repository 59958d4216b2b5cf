//! The guards of routes.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt as _, future::Either};
use headwater::{App, In, MethodRoute, Operation, SecurityScheme, StatusCode};
use headwater_auth::{Action, AuthError, IdentityKind};
use http::{Method, request::Parts};
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Access, Caller, Denied, Lease, body,
    credentials::{COOKIE, TICKET},
    lease::Leased,
};
use crate::{Options, protocol::path::StreamPath, state::HubState};

/// The security schemes of the OpenAPI document.
const BEARER: &str = "bearer";
const TICKET_SCHEME: &str = "ticket";
const COOKIE_SCHEME: &str = "cookie";

/// The permission that a route requires of its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The action on the stream that the path names.
    Stream(Action),
    /// The action, on any stream. The handler limits what the caller sees, or decides itself.
    Any(Action),
    /// Valid credentials, whatever they grant.
    Credentials,
    /// The action on any stream, or a signature in the URL, which the handler checks.
    OrSigned(Action),
}

impl Need {
    fn action(self) -> Option<Action> {
        match self {
            Self::Stream(action) | Self::Any(action) | Self::OrSigned(action) => Some(action),
            Self::Credentials => None,
        }
    }

    /// Returns `true` if a ticket can authorize it.
    fn reads(self) -> bool {
        self.action() == Some(Action::Read)
    }
}

/// Guards for routes. In a hub without authorization they do nothing.
#[derive(Clone)]
pub(crate) struct Guards(Option<Arc<Hub>>);

struct Hub {
    access: Arc<Access>,
    options: Options,
}

/// A guard of one route.
#[derive(Clone)]
struct Guard {
    hub: Arc<Hub>,
    need: Need,
}

impl Guards {
    pub(crate) fn of(hub: &HubState) -> Self {
        Self(hub.access.as_ref().map(|access| {
            Arc::new(Hub {
                access: Arc::clone(access),
                options: hub.options.clone(),
            })
        }))
    }

    /// Returns `true` if the hub has authorization.
    pub(crate) fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// Documents the security schemes.
    pub(crate) fn describe<S: Clone + Send + Sync + 'static>(&self, app: App<S>) -> App<S> {
        if !self.are_on() {
            return app;
        }
        let bearer = "A key of this hub, or a JSON Web Token (RFC 6750).";
        let ticket =
            "A ticket of `POST /tickets`, for clients that can't send headers. It is valid once.";
        let cookie =
            "A key or token in a cookie. Requests that change something also need an `Origin`.";
        app.security_scheme(BEARER, SecurityScheme::bearer().description(bearer))
            .security_scheme(
                TICKET_SCHEME,
                SecurityScheme::api_key(In::Query, TICKET).description(ticket),
            )
            .security_scheme(
                COOKIE_SCHEME,
                SecurityScheme::api_key(In::Cookie, COOKIE).description(cookie),
            )
    }

    /// Guards the operations of a route, and documents what they need.
    pub(crate) fn needs<S: Clone + Send + Sync + 'static>(
        &self,
        need: Need,
        route: MethodRoute<S>,
    ) -> MethodRoute<S> {
        let Some(hub) = &self.0 else { return route };
        let guard = Guard {
            hub: Arc::clone(hub),
            need,
        };
        route
            .describe_all(|operation| describe(need, operation))
            .route_layer(guard)
    }
}

fn describe(need: Need, operation: &mut Operation) {
    operation.security(BEARER);
    operation.security(COOKIE_SCHEME);
    if need.reads() {
        operation.security(TICKET_SCHEME);
    }
    if let Some(action) = need.action() {
        operation.scope(&action.to_string());
        let lacks = "The credentials don't allow this; the problem has the action";
        operation.error(StatusCode::FORBIDDEN, lacks);
    }
    let unknown = "The credentials are missing or not valid; the problem has the reason";
    operation.error(StatusCode::UNAUTHORIZED, unknown);
}

/// Returns `true` if the URL has a signature, valid or not.
fn is_signed(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "signature")
}

impl Guard {
    /// Decides if the caller of a request may make it. The request's extensions then have the
    /// [`Caller`]. Returns the lease of the permission, unless it holds for ever.
    ///
    /// # Errors
    /// The caller is unknown, or may not make the request.
    fn admit(&self, parts: &mut Parts) -> Result<Option<Lease>, Denied> {
        let Self { hub, need } = self;
        if matches!(need, Need::OrSigned(_)) && is_signed(parts) {
            // The signature is all that it has.
            Caller::without_grants().put(&mut parts.extensions);
            return Ok(None);
        }
        let identity = hub.access.identify(parts, &hub.options, need.reads())?;
        let caller = Caller::new(identity.clone());
        let path = match need {
            // The handler refuses an invalid path, which is no stream's.
            Need::Stream(_) => StreamPath::of(parts).now_or_never().and_then(Result::ok),
            _ => None,
        };
        let stream = path.as_ref().map(|path| path.name.as_str());
        match need {
            Need::Stream(action) | Need::Any(action) | Need::OrSigned(action) => {
                caller.check(*action, stream)?;
            }
            Need::Credentials if *identity.kind() == IdentityKind::Anonymous => {
                return Err(Denied::Unknown(AuthError::Missing));
            }
            Need::Credentials => {}
        }
        let lease = need
            .action()
            .and_then(|action| Lease::new(&hub.access, identity, action, stream));
        caller.put(&mut parts.extensions);
        if let Some(path) = path {
            parts.extensions.insert(path);
        }
        Ok(lease)
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            guard: self.clone(),
            inner,
        }
    }
}

/// A handler behind its guard.
#[derive(Clone)]
struct Guarded<S> {
    guard: Guard,
    inner: S,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Leased<S::Future>, Ready<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (mut parts, mut body) = request.into_parts();
        let lease = match self.guard.admit(&mut parts) {
            Ok(lease) => lease,
            Err(denied) => return Either::Right(ready(Ok(denied.into_response()))),
        };
        // A long-poll ends with its permission. Handlers of other methods aren't interrupted: their
        // clients couldn't tell whether the change has been made. Only the body ends.
        let waits = parts.method == Method::GET;
        if let Some(lease) = &lease
            && !waits
        {
            body = body::within(lease, body);
        }
        let response = self.inner.call(Request::from_parts(parts, body));
        Either::Left(Leased::new(response, lease, waits))
    }
}
