//! The guards of routes, where a request's sender is known and its use is counted.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use futures_util::{FutureExt as _, future::Either};
use headwater::{App, MethodRoute, StatusCode};
use headwater_auth::{Action, AuthError, IdentityKind};
use headwater_log::StreamName;
use http::{Method, request::Parts};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    Access, Caller, Denied, Lease, body, describe,
    identify::{Identification, Identified, Verified},
    lease::Leased,
};
use crate::{
    Options,
    protocol::path::StreamPath,
    requests::rates::{Meter, RateLimiter},
    state::HubState,
};

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

    /// Returns `true` if the app decides about requests.
    fn is_hooked(&self) -> bool {
        let access = self.0.as_ref().and_then(|hub| hub.access.as_ref());
        access.is_some_and(|access| access.hook.is_some())
    }

    /// Documents the security schemes.
    pub(crate) fn describe<S: Clone + Send + Sync + 'static>(&self, app: App<S>) -> App<S> {
        if !self.are_on() {
            return app;
        }
        describe::schemes(app, self.is_hooked())
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
        let is_limited = hub.rates.is_some();
        let route = route.describe_all(|operation| {
            if self.are_on() {
                describe::operation(need, operation);
            }
            if is_limited {
                let excess =
                    "The sender has used what it may; `Retry-After` and `RateLimit` have the time";
                operation.error(StatusCode::TOO_MANY_REQUESTS, excess);
            }
        });
        route.route_layer(guard)
    }
}

/// Returns `true` if the URL has a signature, valid or not.
fn is_signed(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "signature")
}

/// A request that its caller may make.
struct Admitted {
    request: Request,
    lease: Option<Lease>,
    meter: Option<Meter>,
}

impl Guard {
    /// Returns what identifies the sender of a request. `None` if it needs no identity.
    fn access_for(&self, parts: &Parts) -> Option<&Access> {
        let access = self.hub.access.as_deref()?;
        let is_enough = matches!(self.need, Need::OrSigned(_)) && is_signed(parts);
        (!is_enough).then_some(access)
    }

    /// Returns the stream that a request is for. The handler refuses an invalid path, which is no
    /// stream's.
    fn path(&self, parts: &mut Parts) -> Option<StreamPath> {
        match self.need {
            Need::Stream(_) if self.hub.access.is_some() => {
                StreamPath::of(parts).now_or_never().and_then(Result::ok)
            }
            _ => None,
        }
    }

    /// Counts a request, and decides if its caller may make it.
    ///
    /// # Errors
    /// The response to a caller that is unknown, may not make the request, or has used what it may.
    fn admit(
        &self,
        identified: Option<Result<Identified, Denied>>,
        path: Option<StreamPath>,
        mut parts: Parts,
        mut body: Body,
    ) -> Result<Admitted, Box<Response>> {
        let mut meter = None;
        if let Some(rates) = &self.hub.rates {
            let known = identified.as_ref().and_then(|known| known.as_ref().ok());
            let identity = known.map(|known| &known.identity);
            let admitted = rates.admit(identity, &mut parts, body);
            let (counted, rest) = admitted.map_err(|refusal| Box::new(refusal.into_response()))?;
            (meter, body) = (Some(counted), rest);
        }
        let lease = match self.grant(identified, path, &mut parts) {
            Ok(lease) => lease,
            Err(denied) => {
                let mut response = denied.into_response();
                if let Some(meter) = meter {
                    meter.note(response.headers_mut());
                }
                return Err(Box::new(response));
            }
        };
        // Handlers of other methods than GET aren't interrupted when the permission ends: their clients
        // couldn't tell whether the change has been made. Only the body ends.
        if let Some(lease) = &lease
            && parts.method != Method::GET
        {
            body = body::within(lease, body);
        }
        Ok(Admitted {
            request: Request::from_parts(parts, body),
            lease,
            meter,
        })
    }

    /// Decides if the caller of a request may make it. The request's extensions then have the
    /// [`Caller`]. Returns the lease of the permission, unless it holds for ever.
    ///
    /// # Errors
    /// The caller is unknown, or may not make the request.
    fn grant(
        &self,
        identified: Option<Result<Identified, Denied>>,
        path: Option<StreamPath>,
        parts: &mut Parts,
    ) -> Result<Option<Lease>, Denied> {
        let Some(access) = &self.hub.access else {
            return Ok(None);
        };
        let Some(identified) = identified else {
            // The signature is all that it has.
            Caller::without_grants().put(&mut parts.extensions, None);
            return Ok(None);
        };
        let Identified { identity, question } = identified?;
        let caller = Caller::new(identity.clone());
        let stream = path.as_ref().map(|path| &path.name);
        match self.need {
            Need::Stream(action) | Need::Any(action) | Need::OrSigned(action) => {
                caller.check(action, stream.map(StreamName::as_str))?;
            }
            Need::Credentials if *identity.kind() == IdentityKind::Anonymous => {
                return Err(Denied::Unknown(AuthError::Missing));
            }
            Need::Credentials => {}
        }
        let action = self.need.action();
        let lease = action.and_then(|action| Lease::new(access, identity, action, stream));
        let lease = lease.map(|lease| lease.asking(question));
        caller.put(&mut parts.extensions, path);
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
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Passed<S::Future>, Either<Ready<Answered>, Later>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let path = self.guard.path(&mut parts);
        let identified = match self.guard.access_for(&parts) {
            None => None,
            Some(access) => {
                let Hub { options, .. } = &*self.guard.hub;
                match access.identify_at_once(&parts, options, self.guard.need) {
                    Identification::Known(identified) => Some(identified),
                    Identification::Later(verified) => {
                        let later = self.pass_later(verified, path, parts, body);
                        return Either::Right(Either::Right(later));
                    }
                }
            }
        };
        match self.guard.admit(identified, path, parts, body) {
            Ok(admitted) => Either::Left(admitted.pass(&mut self.inner)),
            Err(response) => Either::Right(Either::Left(ready(Ok(*response)))),
        }
    }
}

type Answered = Result<Response, Infallible>;
type Later = Pin<Box<dyn Future<Output = Answered> + Send>>;

impl<S> Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    /// Passes a request on once its sender is identified.
    fn pass_later(
        &mut self,
        verified: Option<Verified>,
        path: Option<StreamPath>,
        parts: Parts,
        body: Body,
    ) -> Later {
        let guard = self.guard.clone();
        let next = self.inner.clone();
        // The one that is ready.
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let identified = match guard.access_for(&parts) {
                None => None,
                Some(access) => {
                    let name = path.as_ref().map(|path| &path.name);
                    let options = &guard.hub.options;
                    let identified = access.identify(verified, &parts, options, guard.need, name);
                    Some(identified.await)
                }
            };
            match guard.admit(identified, path, parts, body) {
                Ok(admitted) => admitted.pass(&mut inner).await,
                Err(response) => Ok(*response),
            }
        })
    }
}

impl Admitted {
    fn pass<S: Service<Request>>(self, inner: &mut S) -> Passed<S::Future> {
        // A long-poll ends with its permission.
        let waits = *self.request.method() == Method::GET;
        Passed {
            response: Leased::new(inner.call(self.request), self.lease, waits),
            meter: self.meter,
        }
    }
}

pin_project! {
    /// The response to a request that was passed on.
    struct Passed<F> {
        #[pin]
        response: Leased<F>,
        meter: Option<Meter>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Passed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Ok(mut response) = std::task::ready!(this.response.poll(cx));
        if let Some(meter) = this.meter {
            meter.note(response.headers_mut());
        }
        Poll::Ready(Ok(response))
    }
}
