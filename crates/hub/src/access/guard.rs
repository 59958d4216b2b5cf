//! The guards of routes, where a request's sender is known and its use is counted.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequestParts as _, RawPathParams, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use headwater::{App, In, MethodRoute, Operation, SecurityScheme, StatusCode};
use headwater_auth::{Action, AuthError, Identity, IdentityKind};
use headwater_log::StreamName;
use http::{Method, request::Parts};

use super::{
    Access, Caller, Denied, Lease, body,
    credentials::{COOKIE, TICKET},
};
use crate::{Options, protocol::path, requests::rates::RateLimiter, state::HubState};

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

/// Guards for routes. In a hub without authorization and rates they do nothing.
#[derive(Clone)]
pub(crate) struct Guards(Option<Arc<Hub>>);

struct Hub {
    /// `None`: every caller may do everything.
    access: Option<Arc<Access>>,
    /// `None`: no sender is limited.
    rates: Option<Arc<RateLimiter>>,
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
        let is_needed = hub.access.is_some() || hub.rates.is_some();
        Self(is_needed.then(|| {
            Arc::new(Hub {
                access: hub.access.clone(),
                rates: hub.rates.clone(),
                options: hub.options.clone(),
            })
        }))
    }

    /// Returns `true` if the hub has authorization.
    pub(crate) fn are_on(&self) -> bool {
        self.0.as_ref().is_some_and(|hub| hub.access.is_some())
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
        let route = match self.are_on() {
            true => route.describe_all(|operation| describe(need, operation)),
            false => route,
        };
        route.route_layer(middleware::from_fn_with_state(guard, pass))
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

/// Counts a request, and passes it on if its caller may make it.
async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let identity = guard.identify(&parts);
    let Some(rates) = guard.hub.rates.clone() else {
        return within_grants(guard, identity, parts, body, next).await;
    };
    let known = identity
        .as_ref()
        .and_then(|identity| identity.as_ref().ok());
    let (meter, body) = match rates.admit(known, &mut parts, body) {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.into_response(),
    };
    let mut response = within_grants(guard, identity, parts, body, next).await;
    meter.note(response.headers_mut());
    response
}

impl Guard {
    /// Returns the identity behind a request, or the reason for which its credentials are refused. `None`
    /// if it needs none.
    fn identify(&self, parts: &Parts) -> Option<Result<Identity, Denied>> {
        let access = self.hub.access.as_ref()?;
        if matches!(self.need, Need::OrSigned(_)) && is_signed(parts) {
            return None;
        }
        Some(access.identify(parts, &self.hub.options, self.need.reads()))
    }
}

/// Passes a request on if its caller may make it.
async fn within_grants(
    guard: Guard,
    identity: Option<Result<Identity, Denied>>,
    mut parts: Parts,
    body: Body,
    next: Next,
) -> Response {
    let Guard { hub, need } = guard;
    let (access, identity) = match (&hub.access, identity) {
        (None, _) => return next.run(Request::from_parts(parts, body)).await,
        (Some(_), None) => {
            // The signature is all that it has.
            parts.extensions.insert(Caller::without_grants());
            return next.run(Request::from_parts(parts, body)).await;
        }
        (Some(access), Some(Ok(identity))) => (access, identity),
        (Some(_), Some(Err(denied))) => return denied.into_response(),
    };
    let caller = Caller::new(identity.clone());
    let mut name = None;
    let checked = match need {
        Need::Stream(action) => {
            let params = RawPathParams::from_request_parts(&mut parts, &()).await;
            // The handler refuses an invalid path, which is no stream's.
            name = params.ok().and_then(|params| {
                let (_, path) = params.iter().find(|(name, _)| *name == "path")?;
                path::name_of(path).ok()
            });
            caller.check(action, name.as_ref().map(StreamName::as_str))
        }
        Need::Any(action) | Need::OrSigned(action) => caller.check(action, None),
        Need::Credentials if *identity.kind() == IdentityKind::Anonymous => {
            Err(Denied::Unknown(AuthError::Missing))
        }
        Need::Credentials => Ok(()),
    };
    if let Err(denied) = checked {
        return denied.into_response();
    }
    parts.extensions.insert(caller);
    let stream = name.as_ref().map(StreamName::as_str);
    let lease = need
        .action()
        .and_then(|action| Lease::new(access, &identity, action, stream));
    let Some(lease) = lease else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let mut response = if parts.method == Method::GET {
        // A long-poll ends with its permission.
        let response = next.run(Request::from_parts(parts, body));
        match lease.clone().unless_over(response).await {
            Ok(response) => response,
            Err(denied) => return denied.into_response(),
        }
    } else {
        // The body ends with it. The handler isn't interrupted: its client couldn't tell whether
        // the change has been made.
        let body = body::within(&lease, body);
        next.run(Request::from_parts(parts, body)).await
    };
    response.extensions_mut().insert(lease);
    response
}
