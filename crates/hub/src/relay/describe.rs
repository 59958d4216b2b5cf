//! Descriptions of relays in the OpenAPI document, in addition to the handlers' doc comments.

use headwater::{App, In, MethodRoute, Operation, SecurityScheme, StatusCode};
use schemars::JsonSchema;

use crate::http::describe::{foreign, known, reading, replied};

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
    "What the upstream says that its answer is.",
);
const LOCATION: (&str, &str) = (
    "Location",
    "The relay's URL, signed: with it the relay can be read and aborted until it expires.",
);
const CONTENT_LOCATION: (&str, &str) = (
    "Content-Location",
    "The public stream's URL, where `stream` named one.",
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
    "The secret, or the URL's signature, is missing or not the right one",
);
const MISSING: (StatusCode, &str) = (StatusCode::NOT_FOUND, "There is no such relay");

pub(super) fn app<S: Clone + Send + Sync + 'static>(app: App<S>, guarded: bool) -> App<S> {
    let app = app.tag(
        TAG,
        "One call to an upstream, its answer a stream that anyone may follow, now or later.",
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
            ("Upstream-URL", "Whom to call: an absolute URL that the hub's configuration allows. Required."),
            ("Upstream-Method", "How: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Required."),
            ("Upstream-Authorization", "Sent to the upstream as `Authorization`."),
            ("Idempotency-Key", "Joins the relay that was created with the same key, if it is there. It is sent to the upstream too."),
        ] {
            operation.parameter::<String>(In::Header, name, description);
        }
        operation.parameter::<String>(In::Query, "stream", "The path of a public stream to fill, in place of one that only the relay's URL reaches.");
        operation.parameter::<String>(In::Query, "key", "In place of `Idempotency-Key`, and not sent to the upstream.");
        operation.parameter::<Join>(In::Query, "join", "`request` joins the relay of the same request, if it is there: method, URL, headers and body.");
        operation.parameter::<u64>(In::Query, "ttl", "How many seconds the stream is kept after it was last used.");
        operation.parameter::<u64>(In::Query, "keep_for", "The call is aborted after this many seconds without a watcher. Default: it goes on.");
        operation.parameter::<bool>(In::Query, "feed", "`false`: an SSE feed that breaks is not asked again for what follows.");
        operation.raw_body("*/*");
        operation.optional_body();
        for (status, description) in [
            (StatusCode::CREATED, "The upstream has answered, and its answer is being kept"),
            (StatusCode::OK, "A relay that was there is joined"),
        ] {
            operation.empty_reply(status, description);
            replied(operation, status, &[LOCATION, CONTENT_LOCATION, UPSTREAM_TYPE]);
        }
        refused(operation, &[
            (StatusCode::BAD_REQUEST, "A header or a parameter is not what it should be; or the upstream redirects"),
            UNAUTHORIZED,
            (StatusCode::FORBIDDEN, "The upstream is not among those that may be called, or the request is that of a page that may not use the hub"),
            (StatusCode::REQUEST_TIMEOUT, "The body stopped coming"),
            (StatusCode::CONFLICT, "There is another stream of that name"),
            (StatusCode::PAYLOAD_TOO_LARGE, "The body is over the limit"),
            (StatusCode::UNPROCESSABLE_ENTITY, "The key was used with another request"),
            (StatusCode::TOO_MANY_REQUESTS, "As many streams are being filled as the limit allows"),
            (StatusCode::GATEWAY_TIMEOUT, "The upstream didn't answer in time"),
        ]);
        operation.raw_reply(
            StatusCode::BAD_GATEWAY,
            "*/*",
            "The upstream failed, and this is what it says; or the storage did, or it could not be reached",
        );
        replied(operation, StatusCode::BAD_GATEWAY, &[
            ("Upstream-Status", "The status that the upstream answered with, if it did."),
            ("Retry-After", "When the upstream wants to be asked again."),
        ]);
    })
}

fn signed(operation: &mut Operation) {
    operation.parameter::<u64>(In::Query, "expires", "Until when the URL is good.");
    operation.parameter::<String>(In::Query, "signature", "What shows that it is the hub's.");
}

pub(super) fn read<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("read_relay").tag(TAG).describe(|operation| {
        signed(operation);
        reading(operation);
        replied(operation, StatusCode::OK, &[UPSTREAM_TYPE]);
        refused(
            operation,
            &[
                (
                    StatusCode::BAD_REQUEST,
                    "A parameter is not what it should be",
                ),
                UNAUTHORIZED,
                MISSING,
                (StatusCode::GONE, "What is asked for was trimmed"),
                (
                    StatusCode::TOO_MANY_REQUESTS,
                    "There are as many live readers as the limit allows",
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
                (StatusCode::BAD_REQUEST, "The action is none"),
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
        operation.empty_reply(StatusCode::NO_CONTENT, "The relay is gone");
        foreign(operation);
        refused(operation, &[UNAUTHORIZED]);
    })
}
