//! `GET /healthz` and `/readyz`: checks for supervisors and load balancers.

use std::sync::Arc;

use axum::extract::State;
use headwater::{Json, Problem, StatusCode, operation};
use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use crate::{error::Failure, limits::READY_PATIENCE, state::HubState};

/// The tag of the health operations.
pub(crate) const TAG: &str = "health";

/// The health of the hub.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Health {
    status: Status,
    /// Warnings for the operator of a hub that serves all requests nevertheless: damaged data, a
    /// clock that jumped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// The status of the hub.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Ok,
}

/// A response that must not be cached.
type Fresh<T> = ([(HeaderName, &'static str); 1], Json<T>);

fn ok(warnings: Vec<String>) -> Fresh<Health> {
    let status = Status::Ok;
    (
        [(header::CACHE_CONTROL, "no-store")],
        Json(Health { status, warnings }),
    )
}

/// Checks liveness: the process runs and responds.
#[operation]
pub(crate) async fn healthz() -> Fresh<Health> {
    ok(Vec::new())
}

/// Checks readiness: streams can be read and appended to.
///
/// A hub that fetches the keys of tokens from a URL isn't ready before it has got some.
/// The storage has to answer in time. The check writes nothing. If the storage can be read but
/// accepts no appends, for example because the disk is full, the problem contains `readable: true`,
/// so that a load balancer can continue to send readers. `warnings` contains conditions that need
/// attention although all requests are served, such as damaged data.
#[operation]
pub(crate) async fn readyz(State(core): State<Arc<HubState>>) -> Result<Fresh<Health>, Failure> {
    // Clients would wait for a `Retry-After`, and a check is to answer now.
    readiness(&core)
        .await
        .map_err(|problem| Failure::from(problem).lasting())
}

async fn readiness(core: &HubState) -> Result<Fresh<Health>, Problem> {
    let unavailable = |detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE).detail(detail);
    match timeout(READY_PATIENCE, core.log.list("", None, 1)).await {
        Ok(Ok(_)) => match core.log.writable() {
            Ok(()) if !core.access.as_ref().is_none_or(|access| access.is_ready()) => {
                let detail =
                    "the keys of tokens have not been fetched yet; the hub's log has the reason";
                Err(unavailable(detail))
            }
            Ok(()) => Ok(ok(core.log.warnings())),
            Err(error) => {
                let detail = format!("appends are refused, reads continue: {error}");
                Err(unavailable(&detail).with("readable", true))
            }
        },
        Ok(Err(error)) if error.is_closed() => Err(unavailable("the hub is shutting down")),
        Ok(Err(error)) => Err(unavailable("the storage can't be read").source(error)),
        Err(_) => Err(unavailable("the storage doesn't answer")),
    }
}
