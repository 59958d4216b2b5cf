//! `GET /healthz` and `/readyz`: what a supervisor and a load balancer ask.

use std::sync::Arc;

use axum::extract::State;
use headwater::{Json, MethodRoute, Problem, StatusCode, operation};
use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use crate::{Core, limits::READY_PATIENCE};

/// What the health operations stand under.
pub(crate) const TAG: &str = "health";

/// How the hub is.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    status: Status,
}

/// How the hub is, in a word.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Ok,
}

/// An answer that no one keeps.
type Fresh<T> = ([(HeaderName, &'static str); 1], Json<T>);

fn ok() -> Fresh<Health> {
    (
        [(header::CACHE_CONTROL, "no-store")],
        Json(Health { status: Status::Ok }),
    )
}

/// Describes the route of [`ready`].
pub(crate) fn describe_ready<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("readyz").tag(TAG).error(
        StatusCode::SERVICE_UNAVAILABLE,
        "The storage doesn't answer, or is being closed",
    )
}

/// Describes the route of [`alive`].
pub(crate) fn describe_alive<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("healthz").tag(TAG)
}

/// Says that the process runs and answers.
#[operation]
pub(crate) async fn alive() -> Fresh<Health> {
    ok()
}

/// Says whether streams can be read.
///
/// The storage is asked, and answers in time. A disk that is full is no reason against it: reading goes on, and appends are refused one by one.
#[operation]
pub(crate) async fn ready(State(core): State<Arc<Core>>) -> Result<Fresh<Health>, Problem> {
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail);
    match timeout(READY_PATIENCE, core.log.list("", None, 1)).await {
        Ok(Ok(_)) => Ok(ok()),
        Ok(Err(error)) if error.is_closed() => Err(unavailable("the hub is shutting down")),
        Ok(Err(error)) => Err(unavailable("the storage can't be read").source(error)),
        Err(_) => Err(unavailable("the storage doesn't answer")),
    }
}
