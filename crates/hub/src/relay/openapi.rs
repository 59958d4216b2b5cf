//! Descriptions of relays in the OpenAPI document, in addition to the handlers' doc comments.

use headwater::{App, In, MethodRoute, Operation, SecurityScheme, StatusCode};
use schemars::JsonSchema;

use crate::http::openapi::{foreign, known, reading, replied};

/// The tag of these operations.
const TAG: &str = "relays";

/// The security scheme for the creation of relays.
const SECRET: &str = "relaySecret";

/// The reason for which a request to a relay was refused.
#[derive(JsonSchema)]
#[schemars(rename = "RelayError")]
#[expect(dead_code, reason = "only its schema is used")]
struct ErrorView {
    error: Coded,
    title: Option<String>,
    status: u16,
    detail: Option<String>,
}

/// The kind and description of an error.
#[derive(JsonSchema)]
#[schemars(rename = "RelayErrorCode")]
#[expect(dead_code, reason = "only its schema is used")]
struct Coded {
    /// The kind of refusal: `UPSTREAM_NOT_ALLOWED`, `SIGNATURE_EXPIRED`, …
    code: String,
    message: String,
}

/// The criterion by which to join.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Join {
    Request,
}

const UPSTREAM_TYPE: (&str, &str) = (
    "Upstream-Content-Type",
    "The `Content-Type` of the upstream's response.",
);
const LOCATION: (&str, &str) = (
    "Location",
    "The relay's signed URL. It reads and aborts the relay until it expires.",
);
const CONTENT_LOCATION: (&str, &str) = (
    "Content-Location",
    "The public stream's URL, if `stream` names one.",
);

fn refused(operation: &mut Operation, refusals: &[(StatusCode, &str)]) {
    let storage = [
        (StatusCode::BAD_GATEWAY, "The storage failed"),
        (StatusCode::SERVICE_UNAVAILABLE, "The hub can't do this now"),
    ];
    for (status, description) in storage.iter().chain(refusals) {
        operation.reply::<ErrorView>(*status, description);
    }
}

const UNAUTHORIZED: (StatusCode, &str) = (
    StatusCode::UNAUTHORIZED,
    "The secret, or the URL's signature, is missing or wrong",
);
const MISSING: (StatusCode, &str) = (StatusCode::NOT_FOUND, "The relay doesn't exist");

pub(super) fn app<S: Clone + Send + Sync + 'static>(app: App<S>, guarded: bool) -> App<S> {
    let app = app.tag(
        TAG,
        "One call to an upstream. Its response is a stream that any number of readers can follow, now or later.",
    );
    match guarded {
        true => app.security_scheme(SECRET, SecurityScheme::bearer()),
        false => app,
    }
}

/// Documents that an operation requires the hub's secret, if there is one.
pub(crate) fn guard<S>(route: MethodRoute<S>, guarded: bool) -> MethodRoute<S> {
    match guarded {
        true => route.security(SECRET),
        false => route,
    }
}

pub(super) fn create<S>(route: MethodRoute<S>, guarded: bool) -> MethodRoute<S> {
    let route = guard(route.id("create_relay").tag(TAG), guarded);
    route.describe(|operation| {
        for (name, description) in [
            ("Upstream-URL", "The URL to call: an absolute URL that the hub's configuration allows. Required."),
            ("Upstream-Method", "The method: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Required."),
            ("Upstream-Authorization", "Sent to the upstream as `Authorization`."),
            ("Idempotency-Key", "Joins the relay that was created with the same key, if it exists. It is sent to \
                the upstream too."),
        ] {
            operation.parameter::<String>(In::Header, name, description);
        }
        operation.parameter::<String>(In::Query, "stream", "The path of a public stream to fill. Default: a private \
            stream that only the relay's URL reaches.");
        operation.parameter::<String>(In::Query, "key", "In place of `Idempotency-Key`, and not sent to the upstream.");
        operation.parameter::<Join>(In::Query, "join", "`request` joins the relay of the same request, if it \
            exists: method, URL, headers and body.");
        operation.parameter::<u64>(In::Query, "ttl", "The number of seconds that the stream is kept after its last \
            use.");
        operation.parameter::<u64>(In::Query, "keep_for", "The call is aborted after this many seconds without a \
            watcher. Default: it continues.");
        operation.parameter::<bool>(In::Query, "feed", "`false`: an SSE feed that breaks isn't reconnected.");
        operation.raw_body("*/*");
        operation.optional_body();
        for (status, description) in [
            (StatusCode::CREATED, "The upstream has responded, and its response is being stored"),
            (StatusCode::OK, "An existing relay is joined"),
        ] {
            operation.empty_reply(status, description);
            replied(operation, status, &[LOCATION, CONTENT_LOCATION, UPSTREAM_TYPE]);
        }
        refused(operation, &[
            (StatusCode::BAD_REQUEST, "A header or a parameter is invalid, or the upstream redirects"),
            UNAUTHORIZED,
            (StatusCode::FORBIDDEN, "The upstream is not allowed, or the request is from a page that may not use \
                the hub"),
            (StatusCode::REQUEST_TIMEOUT, "The body stopped arriving"),
            (StatusCode::CONFLICT, "Another stream of that name exists"),
            (StatusCode::PAYLOAD_TOO_LARGE, "The body is over the limit"),
            (StatusCode::UNPROCESSABLE_ENTITY, "The key was used with another request"),
            (StatusCode::TOO_MANY_REQUESTS, "The limit of streams being filled is reached"),
            (StatusCode::GATEWAY_TIMEOUT, "The upstream didn't answer in time"),
        ]);
        operation.raw_reply(
            StatusCode::BAD_GATEWAY,
            "*/*",
            "The upstream failed, and this is its response; or it couldn't be reached, or the storage failed",
        );
        replied(operation, StatusCode::BAD_GATEWAY, &[
            ("Upstream-Status", "The status of the upstream's response, if there was one."),
            ("Retry-After", "The upstream's `Retry-After`."),
        ]);
    })
}

fn signed(operation: &mut Operation) {
    operation.parameter::<u64>(In::Query, "expires", "The time at which the URL expires.");
    operation.parameter::<String>(In::Query, "signature", "The hub's signature of the URL.");
}

pub(super) fn read<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("read_relay").tag(TAG).describe(|operation| {
        signed(operation);
        reading(operation);
        replied(operation, StatusCode::OK, &[UPSTREAM_TYPE]);
        refused(
            operation,
            &[
                (StatusCode::BAD_REQUEST, "A parameter is invalid"),
                UNAUTHORIZED,
                MISSING,
                (StatusCode::GONE, "The requested messages were trimmed"),
                (
                    StatusCode::TOO_MANY_REQUESTS,
                    "The limit of live readers is reached",
                ),
            ],
        );
    })
}

pub(super) fn head<S>(route: MethodRoute<S>, guarded: bool) -> MethodRoute<S> {
    let route = guard(route.id("relay_info").tag(TAG), guarded);
    route.describe(|operation| {
        known(operation);
        replied(operation, StatusCode::OK, &[UPSTREAM_TYPE]);
        refused(operation, &[UNAUTHORIZED, MISSING]);
    })
}

pub(super) fn abort<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("abort_relay").tag(TAG).describe(|operation| {
        operation.parameter::<String>(In::Query, "action", "`abort`. Required.");
        signed(operation);
        operation.empty_reply(StatusCode::NO_CONTENT, "The call is over");
        foreign(operation);
        refused(
            operation,
            &[
                (StatusCode::BAD_REQUEST, "The action is invalid"),
                UNAUTHORIZED,
                MISSING,
            ],
        );
    })
}

pub(super) fn nothing<S: Clone + Send + Sync + 'static>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.hidden()
}

pub(super) fn delete<S>(route: MethodRoute<S>, guarded: bool) -> MethodRoute<S> {
    let route = guard(route.id("delete_relay").tag(TAG), guarded);
    route.describe(|operation| {
        operation.empty_reply(StatusCode::NO_CONTENT, "The relay is deleted");
        foreign(operation);
        refused(operation, &[UNAUTHORIZED]);
    })
}
