//! The OpenAPI document of an app.

mod components;
mod items;
mod parameters;
mod render;
mod security;

use std::sync::Arc;

use axum::{
    Router,
    extract::RawQuery,
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use http::{HeaderValue, header};

pub(crate) use self::render::render;
pub use self::security::SecurityScheme;
use crate::{Problem, app::Api, query_parameter};

/// A version of the OpenAPI Specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum OpenApi {
    /// 3.1, which has no keyword for the items of a stream. They are described as closely as
    /// possible.
    V3_1,
    /// 3.2, which describes the items of a stream by `itemSchema`.
    #[default]
    V3_2,
}

/// The serialised document in each version.
pub(crate) struct Documents {
    v3_1: Bytes,
    v3_2: Bytes,
}

impl Documents {
    pub(crate) fn of(api: &Api) -> Self {
        let text = |version| Bytes::from(format!("{:#}\n", render(api, version)));
        Self {
            v3_1: text(OpenApi::V3_1),
            v3_2: text(OpenApi::V3_2),
        }
    }
}

/// The content security policy of the document. It has nothing from outside, so a page that shows it needs no sandbox,
/// and may send requests to the app.
const POLICY: &str = "base-uri 'none'; object-src 'none'";

/// Returns the route of `GET /openapi.json`.
pub(crate) fn route<S: Clone + Send + Sync + 'static>(documents: Arc<Documents>) -> Router<S> {
    let answer = async move |RawQuery(query): RawQuery| answer(&documents, query.as_deref());
    Router::new().route("/openapi.json", routing::get(answer))
}

fn answer(documents: &Documents, query: Option<&str>) -> Response {
    let asked = match query_parameter(query, "version") {
        Ok(asked) => asked,
        Err(bad) => return Problem::from(bad).into_response(),
    };
    let document = match asked.as_deref() {
        None => &documents.v3_2,
        Some(version) if is_version(version, "3.2") => &documents.v3_2,
        Some(version) if is_version(version, "3.1") => &documents.v3_1,
        Some(version) => {
            return Problem::bad_request(format!(
                "the document isn't available in version {version:?}"
            ))
            .with("known", ["3.1", "3.2"])
            .into_response();
        }
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
    ];
    (headers, document.clone()).into_response()
}

/// Returns `true` if `asked` is this minor version or a patch of it.
fn is_version(asked: &str, minor: &str) -> bool {
    asked
        .strip_prefix(minor)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
