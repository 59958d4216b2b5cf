//! The guards of routes.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts as _, RawPathParams, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use headwater::{App, In, MethodRoute, Operation, SecurityScheme, StatusCode};
use headwater_auth::{Action, AuthError, IdentityKind};
use headwater_log::StreamName;
use http::{Method, request::Parts};

use super::{
    Access, Caller, Denied, Lease, body,
    credentials::{COOKIE, TICKET},
    identify::Identified,
};
use crate::{Options, protocol::path, state::HubState};

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
    pub(super) fn action(self) -> Option<Action> {
        match self {
            Self::Stream(action) | Self::Any(action) | Self::OrSigned(action) => Some(action),
            Self::Credentials => None,
        }
    }

    /// Returns `true` if a ticket can authorize it.
    pub(super) fn reads(self) -> bool {
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

    /// Returns `true` if the app decides about requests.
    fn is_hooked(&self) -> bool {
        let hub = self.0.as_deref();
        hub.is_some_and(|hub| hub.access.hook.is_some())
    }

    /// Documents the security schemes.
    pub(crate) fn describe<S: Clone + Send + Sync + 'static>(&self, app: App<S>) -> App<S> {
        if !self.are_on() {
            return app;
        }
        let bearer = match self.is_hooked() {
            true => "A token that the application accepts, or a key or token of this hub.",
            false => "A key of this hub, or a JSON Web Token (RFC 6750).",
        };
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
            .route_layer(middleware::from_fn_with_state(guard, pass))
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

/// Passes a request on if its caller may make it.
async fn pass(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let Guard { hub, need } = guard;
    let (mut parts, body) = request.into_parts();
    if matches!(need, Need::OrSigned(_)) && is_signed(&parts) {
        // The signature is all that it has.
        parts.extensions.insert(Caller::without_grants());
        return next.run(Request::from_parts(parts, body)).await;
    }
    let name = match need {
        Need::Stream(_) => {
            let params = RawPathParams::from_request_parts(&mut parts, &()).await;
            // The handler refuses an invalid path, which is no stream's.
            params.ok().and_then(|params| {
                let (_, path) = params.iter().find(|(name, _)| *name == "path")?;
                path::name_of(path).ok()
            })
        }
        _ => None,
    };
    let identified = hub
        .access
        .identify(&parts, &hub.options, need, name.as_ref());
    let Identified { identity, question } = match identified.await {
        Ok(identified) => identified,
        Err(denied) => return denied.into_response(),
    };
    let caller = Caller::new(identity.clone());
    let checked = match need {
        Need::Stream(action) => caller.check(action, name.as_ref().map(StreamName::as_str)),
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
        .and_then(|action| Lease::new(&hub.access, &identity, action, stream));
    let Some(lease) = lease else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let lease = lease.asking(question);
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
