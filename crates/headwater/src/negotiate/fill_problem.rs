//! Problem bodies for errors that an app answers with only a status, as axum does for an unknown
//! path.

use axum::response::Response;
use http::{Method, StatusCode, Uri, header};
use http_body::Body as _;
use serde_json::Value;

use crate::Problem;

/// Returns `true` if a response is an error without a body or `Content-Type`.
pub(super) fn is_bare(response: &Response) -> bool {
    let status = response.status();
    (status.is_client_error() || status.is_server_error())
        && response.body().is_end_stream()
        && !response.headers().contains_key(header::CONTENT_TYPE)
}

/// The mark of a [bare](is_bare) 404 from a route, whose path exists.
#[derive(Clone)]
struct Routed;

/// Marks a response of a route if it is a bare 404.
pub(super) fn mark_routed(response: &mut Response) {
    if response.status() == StatusCode::NOT_FOUND && is_bare(response) {
        response.extensions_mut().insert(Routed);
    }
}

/// Returns the problem for a bare response.
pub(super) fn problem(response: &Response, method: &Method, uri: &Uri, has_docs: bool) -> Problem {
    let path = uri.path();
    let problem = Problem::new(response.status());
    match response.status() {
        StatusCode::NOT_FOUND if response.extensions().get::<Routed>().is_some() => problem,
        StatusCode::NOT_FOUND if has_docs => problem
            .detail(format!(
                "there is nothing at {path}; /docs lists the operations"
            ))
            .with("docs", "/docs"),
        StatusCode::NOT_FOUND => problem.detail(format!("there is nothing at {path}")),
        StatusCode::METHOD_NOT_ALLOWED => {
            let allowed = response.headers().get(header::ALLOW);
            let Some(allowed) = allowed.and_then(|value| value.to_str().ok()) else {
                return problem.detail(format!("{path} does not allow {method}"));
            };
            let allowed: Vec<_> = allowed.split(',').map(str::trim).collect();
            problem
                .detail(format!(
                    "{path} does not allow {method}; it allows {}",
                    allowed.join(", ")
                ))
                .with(
                    "allow",
                    allowed.into_iter().map(Value::from).collect::<Value>(),
                )
        }
        _ => problem,
    }
}
