//! The description of `POST /gather` in the OpenAPI document, in addition to the handler's doc
//! comment.

use std::collections::BTreeMap;

use headwater::{Format, MethodRoute, StatusCode};
use schemars::JsonSchema;

use crate::relay;

use super::{
    result::{OneOrMore, Sent, any},
    stored::Stored,
};

/// The tag of the operation.
pub(crate) const TAG: &str = "upstreams";

/// A call to make: its URL, or an object with further properties.
#[derive(JsonSchema)]
#[schemars(rename = "Listed", untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Listed {
    Url(String),
    Call(Call),
}

/// A call to make.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Call {
    /// Its URL.
    url: String,
    /// Its method. Default: POST if there is a body, otherwise GET.
    #[serde(default)]
    method: Option<String>,
    /// Its headers.
    #[serde(default)]
    headers: Option<BTreeMap<String, OneOrMore>>,
    /// Its body. A string is sent as text, anything else as JSON.
    #[serde(default)]
    #[schemars(schema_with = "any")]
    body: (),
    /// A name for the call, which its result contains.
    #[serde(default)]
    key: Option<String>,
    /// If `true`, the call may be repeated although its method isn't idempotent.
    #[serde(default)]
    repeatable: bool,
}

/// Describes the route.
pub(crate) fn describe<S>(route: MethodRoute<S>, guarded: bool) -> MethodRoute<S> {
    relay::guard(route, guarded).id("gather").tag(TAG).describe(|operation| {
        operation.body::<Vec<Listed>>("application/json");
        operation.also_body("application/x-ndjson");
        operation.stream_reply::<Sent>(StatusCode::OK, &Format::ALL, "Results as they arrive");
        operation.reply::<Stored>(
            StatusCode::ACCEPTED,
            "With `stream`: the location of the stored results",
        );
        operation.reply_header(
            StatusCode::ACCEPTED,
            "Location",
            "The URL of the stream with the results.",
        );
        operation.empty_reply(
            StatusCode::NO_CONTENT,
            "The stream has ended, and the client has already received its end",
        );
        for (status, description) in [
            (
                StatusCode::BAD_REQUEST,
                "The list of calls is invalid, or the requested concurrency is over the limit",
            ),
            (
                StatusCode::UNAUTHORIZED,
                "The hub's secret is missing or wrong",
            ),
            (StatusCode::FORBIDDEN, "No upstream is allowed, or the request is from a page that may not use the hub"),
            (
                StatusCode::NOT_ACCEPTABLE,
                "None of the formats that the client accepts is offered",
            ),
            (
                StatusCode::REQUEST_TIMEOUT,
                "The list of calls stopped arriving",
            ),
            (
                StatusCode::CONFLICT,
                "A stream with other content exists at this path",
            ),
            (
                StatusCode::PAYLOAD_TOO_LARGE,
                "The number of calls or their size is over the limit",
            ),
            (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body is neither JSON nor NDJSON",
            ),
            (
                StatusCode::TOO_MANY_REQUESTS,
                "The limit of concurrent gathers is reached",
            ),
        ] {
            operation.error(status, description);
        }
    })
}
