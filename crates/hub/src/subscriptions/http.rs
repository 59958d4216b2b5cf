//! The routes of subscriptions.

use std::sync::Arc;

use axum::extract::State;
use axum::middleware::map_response;
use axum::response::{IntoResponse, NoContent, Response};
use headwater::{
    App, Json, Operation, OperationOutput, Path, Query, SecurityScheme, StatusCode, delete, get,
    operation, post,
};
use headwater_auth::Action;
use headwater_log::StreamName;
use http::{HeaderValue, header};

use super::Subscriptions;
use super::engine::{Command, Part};
use super::limits::SHOWN_STREAMS;
use super::refusal::Refusal;
use super::request::{self, Base, Bearer};
use super::request_bodies::{AddStreams, NewSubscription, Progress, Release, Streams, Worker};
use super::response_bodies::{AckView, Claimed, ErrorView, SubscriptionView};
use super::state::{Config, Target};
use super::webhooks;
use crate::access::{Caller, Denied, Guards, Need};
use crate::error::Lasting;

/// The security scheme of a worker's acknowledgements.
pub(super) const WAKE_TOKEN: &str = "wakeToken";

/// The tag of these operations.
pub(super) const TAG: &str = "subscriptions";

/// Returns the routes, without their state.
pub(super) fn routes(guards: &Guards) -> App<Subscriptions> {
    let needs = |route| guards.needs(Need::Any(Action::Subscribe), route);
    let app = App::from(axum::Router::new())
        .tag(
            TAG,
            "Durable cursors that wake workers when streams have new messages",
        )
        .security_scheme(WAKE_TOKEN, SecurityScheme::bearer())
        .route(
            "/__ds/subscriptions/{id}",
            needs(get(show).put(create).delete(remove)),
        )
        .route("/__ds/subscriptions/{id}/streams", needs(post(add_streams)))
        .route(
            "/__ds/subscriptions/{id}/streams/{*path}",
            needs(delete(remove_stream)),
        )
        .route("/__ds/subscriptions/{id}/claim", needs(post(claim)))
        // Authorized by the token of the wake.
        .route("/__ds/subscriptions/{id}/ack", post(acknowledge))
        .route("/__ds/subscriptions/{id}/release", post(release));
    webhooks::routes(app)
        // Some of these responses contain tokens, and all of them may change at any time.
        .layer(map_response(async |mut response: Response| {
            let headers = response.headers_mut();
            headers
                .entry(header::CACHE_CONTROL)
                .or_insert(HeaderValue::from_static("no-store"));
            response
        }))
}

/// Creates a subscription, or confirms an existing one.
///
/// Existing streams are watched from their current tail. Repeating a `PUT` with the same
/// configuration changes nothing.
#[operation]
async fn create(
    State(subscriptions): State<Subscriptions>,
    Path(id): Path<String>,
    base: Base,
    caller: Caller,
    Json(wanted): Json<NewSubscription>,
) -> Result<Put, Refusal> {
    let id = request::id(&id)?;
    let config = request::config(wanted, subscriptions.options())?;
    check(&caller, &config)?;
    // The response to an equal request shows the streams that were added since. An id that is taken is
    // reported as one with another configuration is.
    if check_existing(&subscriptions, &id, &caller).await? == Existing::OutOfReach {
        return Err(Refusal::AlreadyExists);
    }
    if let Target::WakeStream(stream) = &config.target {
        caller.check(Action::Publish, Some(stream.as_str()))?;
    }
    let base = base.url(subscriptions.options());
    let make = |answer| Command::Put {
        id: Arc::clone(&id),
        config: Box::new(config),
        base: base.clone(),
        answer,
    };
    let is_new = subscriptions.ask(make).await?;
    let view = view(&subscriptions, id, base, None, SHOWN_STREAMS).await?;
    Ok(if is_new {
        Put::Created(view)
    } else {
        Put::Confirmed(view)
    })
}

/// Returns a subscription with its offset in each of its streams.
///
/// Streams are paged in the order of their paths. A page may be shorter than `limit` although there
/// are more streams; only a page without `after` is the last one.
#[operation]
async fn show(
    State(subscriptions): State<Subscriptions>,
    Path(id): Path<String>,
    Query(Streams { after, limit }): Query<Streams>,
    base: Base,
    caller: Caller,
) -> Result<Json<SubscriptionView>, Refusal> {
    let id = request::id(&id)?;
    let after = after.as_deref().map(request::stream).transpose()?;
    check_reach(&subscriptions, &id, &caller).await?;
    let base = base.url(subscriptions.options());
    let limit = usize::try_from(limit).unwrap_or(SHOWN_STREAMS);
    view(&subscriptions, id, base, after, limit).await.map(Json)
}

/// Returns a subscription with up to `limit` of its streams after a name.
async fn view(
    subscriptions: &Subscriptions,
    id: Arc<str>,
    base: String,
    after: Option<StreamName>,
    limit: usize,
) -> Result<SubscriptionView, Refusal> {
    let config = Arc::clone(&id);
    let config = subscriptions
        .ask(|answer| Command::Config { id: config, answer })
        .await?;
    let (matching, until) = subscriptions
        .matching(&config, after.clone(), limit)
        .await?;
    let part = Part {
        after,
        until,
        limit,
        matching,
    };
    subscriptions
        .ask(|answer| Command::Show {
            id,
            base,
            part,
            answer,
        })
        .await
}

/// Deletes a subscription.
///
/// This also ends its current wake. Deleting a subscription that doesn't exist is not an error, except
/// for a caller that may only subscribe to some streams: it can't tell the subscription from another
/// one's.
#[operation]
async fn remove(
    State(subscriptions): State<Subscriptions>,
    Path(id): Path<String>,
    caller: Caller,
) -> Result<NoContent, Refusal> {
    let id = request::id(&id)?;
    if check_existing(&subscriptions, &id, &caller).await? != Existing::InReach {
        return Err(Refusal::NotFound);
    }
    subscriptions
        .ask(|answer| Command::Remove { id, answer })
        .await?;
    Ok(NoContent)
}

/// Adds streams to a subscription by path, from their current tail.
#[operation]
async fn add_streams(
    State(subscriptions): State<Subscriptions>,
    Path(id): Path<String>,
    caller: Caller,
    Json(wanted): Json<AddStreams>,
) -> Result<NoContent, Refusal> {
    let id = request::id(&id)?;
    let streams = request::streams(&wanted.streams)?;
    // First, so that it is refused in the same way whether the subscription exists or not.
    check_streams(&caller, &streams)?;
    check_reach(&subscriptions, &id, &caller).await?;
    subscriptions
        .ask(|answer| Command::AddStreams {
            id,
            streams,
            answer,
        })
        .await?;
    Ok(NoContent)
}

/// Removes a stream that was added by its path.
///
/// If the pattern matches it too, the subscription continues to watch it.
#[operation]
async fn remove_stream(
    State(subscriptions): State<Subscriptions>,
    Path((id, path)): Path<(String, String)>,
    caller: Caller,
) -> Result<NoContent, Refusal> {
    let id = request::id(&id)?;
    let stream = request::stream(&path)?;
    check_reach(&subscriptions, &id, &caller).await?;
    subscriptions
        .ask(|answer| Command::RemoveStream { id, stream, answer })
        .await?;
    Ok(NoContent)
}

/// Claims a subscription's pending work for a worker.
///
/// While the worker holds the lease, no other worker can claim. The lease ends by `ack` with
/// `done`, by `release`, or when the worker is silent for `lease_ttl_ms`.
#[operation]
async fn claim(
    State(subscriptions): State<Subscriptions>,
    Path(id): Path<String>,
    caller: Caller,
    Json(Worker { worker }): Json<Worker>,
) -> Result<Json<Claimed>, Refusal> {
    let id = request::id(&id)?;
    check_reach(&subscriptions, &id, &caller).await?;
    subscriptions
        .ask(|answer| Command::Claim { id, worker, answer })
        .await
        .map(Json)
}

/// Acknowledges a claimed wake.
///
/// Without `done` this renews the lease. With `done` it ends the wake.
#[operation]
async fn acknowledge(
    State(subscriptions): State<Subscriptions>,
    Path(id): Path<String>,
    Bearer(token): Bearer,
    Json(progress): Json<Progress>,
) -> Result<Json<AckView>, Refusal> {
    take(&subscriptions, &id, token, progress, false).await
}

pub(super) async fn take(
    subscriptions: &Subscriptions,
    id: &str,
    token: Option<String>,
    progress: Progress,
    webhook: bool,
) -> Result<Json<AckView>, Refusal> {
    let id = request::id(id)?;
    let token = token.ok_or(Refusal::TokenInvalid)?;
    let ack = request::ack(progress)?;
    let make = |answer| Command::Ack {
        id,
        token,
        ack,
        webhook,
        answer,
    };
    let next_wake = subscriptions.ask(make).await?;
    Ok(Json(AckView {
        ok: true,
        next_wake,
    }))
}

/// Releases a claimed wake. Work that is still pending leads to another wake.
#[operation]
async fn release(
    State(subscriptions): State<Subscriptions>,
    Path(id): Path<String>,
    Bearer(token): Bearer,
    Json(Release {
        wake_id,
        generation,
    }): Json<Release>,
) -> Result<NoContent, Refusal> {
    let id = request::id(&id)?;
    let token = token.ok_or(Refusal::TokenInvalid)?;
    let make = |answer| Command::Release {
        id,
        token,
        wake_id,
        generation,
        answer,
    };
    subscriptions.ask(make).await?;
    Ok(NoContent)
}

/// Checks that a caller may subscribe to all streams of a configuration.
fn check(caller: &Caller, config: &Config) -> Result<(), Denied> {
    if let Some(pattern) = &config.pattern {
        caller.check_all(Action::Subscribe, pattern)?;
    }
    check_streams(caller, &config.streams)
}

fn check_streams(caller: &Caller, streams: &[StreamName]) -> Result<(), Denied> {
    let mut streams = streams.iter();
    streams.try_for_each(|stream| caller.check(Action::Subscribe, Some(stream.as_str())))
}

/// A subscription, as its caller may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existing {
    /// The caller may subscribe to all of its streams. A caller that may subscribe to all streams there
    /// are is told so without a look.
    InReach,
    OutOfReach,
    Missing,
}

/// Checks that a caller may see and change a subscription. A missing one is left to the command.
async fn check_reach(
    subscriptions: &Subscriptions,
    id: &Arc<str>,
    caller: &Caller,
) -> Result<(), Refusal> {
    match check_existing(subscriptions, id, caller).await? {
        Existing::InReach | Existing::Missing => Ok(()),
        // As for a missing one, so that nothing tells of it.
        Existing::OutOfReach => Err(Refusal::NotFound),
    }
}

/// Looks for a subscription.
async fn check_existing(
    subscriptions: &Subscriptions,
    id: &Arc<str>,
    caller: &Caller,
) -> Result<Existing, Refusal> {
    if caller.limits(Action::Subscribe).is_none() {
        return Ok(Existing::InReach);
    }
    let of = || Arc::clone(id);
    let config = subscriptions.ask(|answer| Command::Config { id: of(), answer });
    let named = subscriptions.ask(|answer| Command::Named { id: of(), answer });
    let found = async { Ok::<_, Refusal>((config.await?, named.await?)) };
    match found.await {
        Err(Refusal::NotFound) => Ok(Existing::Missing),
        Err(refusal) => Err(refusal),
        Ok((config, named)) => {
            let checked = check(caller, &config).and_then(|()| check_streams(caller, &named));
            Ok(match checked {
                Ok(()) => Existing::InReach,
                Err(_) => Existing::OutOfReach,
            })
        }
    }
}

/// The result of a `PUT`.
enum Put {
    Created(SubscriptionView),
    Confirmed(SubscriptionView),
}

impl IntoResponse for Put {
    fn into_response(self) -> Response {
        match self {
            Self::Created(view) => (StatusCode::CREATED, Json(view)).into_response(),
            Self::Confirmed(view) => Json(view).into_response(),
        }
    }
}

impl OperationOutput for Put {
    fn describe(operation: &mut Operation) {
        operation.reply::<SubscriptionView>(StatusCode::CREATED, "It was created");
        operation.reply::<SubscriptionView>(
            StatusCode::OK,
            "The subscription already existed, with the same configuration",
        );
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(ErrorView::from(&self))).into_response();
        if matches!(self, Self::Limit(_)) {
            // Until a subscription is deleted.
            response.extensions_mut().insert(Lasting);
        }
        response
    }
}

impl OperationOutput for Refusal {
    fn describe(operation: &mut Operation) {
        operation.tag(TAG);
        for (status, description) in [
            (StatusCode::BAD_REQUEST, "The request is invalid"),
            (
                StatusCode::UNAUTHORIZED,
                "The token is missing, expired, or not for this subscription",
            ),
            (StatusCode::NOT_FOUND, "The subscription doesn't exist"),
            (
                StatusCode::CONFLICT,
                "It conflicts with the subscription's configuration or its current wake",
            ),
            (
                StatusCode::TOO_MANY_REQUESTS,
                "The limit of subscriptions is reached",
            ),
            (StatusCode::INTERNAL_SERVER_ERROR, "The log failed"),
            (StatusCode::SERVICE_UNAVAILABLE, "The hub is shutting down"),
            (StatusCode::INSUFFICIENT_STORAGE, "The storage is full"),
        ] {
            operation.reply::<ErrorView>(status, description);
        }
    }
}
