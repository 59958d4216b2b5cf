//! Descriptions of relays in the OpenAPI document, in addition to the handlers' doc comments.

use headwater::{App, Operation, OperationInput, OperationOutput, StatusCode};

use super::{
    authorize::{Action, Signed},
    refusal::{ErrorView, Refusal},
    request::Query,
};
use crate::http::openapi::{ForeignPage, Metadata, Reading, description};

/// The tag of these operations.
const TAG: &str = "relays";

/// Adds the description of relays.
pub(super) fn app<S: Clone + Send + Sync + 'static>(app: App<S>) -> App<S> {
    app.tag(
        TAG,
        "One call to an upstream. Its response is a stream that any number of readers can follow, now or later.",
    )
}

impl OperationOutput for Refusal {
    fn describe(operation: &mut Operation) {
        operation.tag(TAG);
        Refused::describe(operation);
        operation.any_error();
    }
}

description! {
    /// The refusals of all requests to relays.
    Refused
    replies {
        /// The secret, or the URL's signature, is missing or wrong
        UNAUTHORIZED: ErrorView
        /// The storage failed
        BAD_GATEWAY: ErrorView
        /// The hub can't do this now
        SERVICE_UNAVAILABLE: ErrorView
    }
}

description! {
    /// The refusal of a request to a relay that doesn't exist.
    Missing
    replies {
        /// The relay doesn't exist
        NOT_FOUND: ErrorView
    }
}

description! {
    /// The creation of a relay.
    pub(super) Creation: Query
    required {
        /// The URL to call: an absolute URL that the hub's configuration allows.
        UPSTREAM_URL
        /// The method: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`.
        UPSTREAM_METHOD
    }
    request {
        /// Sent to the upstream as `Authorization`.
        UPSTREAM_AUTHORIZATION
        /// Joins the relay that was created with the same key, if it exists. It is sent to the
        /// upstream too.
        IDEMPOTENCY_KEY
    }
    replies {
        /// The upstream has responded, and its response is being stored
        CREATED [CONTENT_LOCATION UPSTREAM_CONTENT_TYPE]
        /// An existing relay is joined
        OK [CONTENT_LOCATION UPSTREAM_CONTENT_TYPE]
        /// A header or a parameter is invalid, or the upstream redirects
        BAD_REQUEST: ErrorView [UPSTREAM_STATUS]
        /// The upstream is not allowed, or the request is from a page that may not use the hub
        FORBIDDEN: ErrorView
        /// The body stopped arriving
        REQUEST_TIMEOUT: ErrorView
        /// Another stream of that name exists
        CONFLICT: ErrorView
        /// The body is over the limit
        PAYLOAD_TOO_LARGE: ErrorView
        /// The key was used with another request
        UNPROCESSABLE_ENTITY: ErrorView
        /// The limit of streams being filled is reached, or the sender has used what it may; the code has
        /// the reason
        TOO_MANY_REQUESTS: ErrorView
        /// The upstream failed, and this is its response; or it couldn't be reached, or the storage
        /// failed
        BAD_GATEWAY: ErrorView [UPSTREAM_STATUS RETRY_AFTER]
        /// The upstream didn't answer in time
        GATEWAY_TIMEOUT: ErrorView
        /// The storage is full
        INSUFFICIENT_STORAGE: ErrorView
    }
    also |operation: &mut Operation| {
        let location = "The relay's signed URL. It reads and aborts the relay until it expires.";
        operation.reply_header(StatusCode::CREATED, "Location", location);
        operation.reply_header(StatusCode::OK, "Location", location);
        operation.raw_reply(StatusCode::BAD_GATEWAY, "*/*", "");
    }
}

description! {
    /// A read of a relay's stream.
    pub(super) RelayReading: Signed, Reading, Missing
    replies {
        /// Messages
        OK [UPSTREAM_CONTENT_TYPE]
        /// A parameter is invalid
        BAD_REQUEST: ErrorView
        /// The requested messages were trimmed, or the stream was deleted during the read
        GONE: ErrorView
        /// The limit of live readers is reached, or the sender has used what it may; the code has the
        /// reason
        TOO_MANY_REQUESTS: ErrorView
    }
}

description! {
    /// The metadata of a relay's stream.
    pub(super) RelayMetadata: Metadata, Missing
    replies {
        /// The stream's metadata, in headers
        OK [UPSTREAM_CONTENT_TYPE]
    }
}

description! {
    /// The abort of a relay's call.
    pub(super) Abort: Action, Signed, ForeignPage, Missing
    replies {
        /// The call is over
        NO_CONTENT
        /// The action is invalid
        BAD_REQUEST: ErrorView
    }
}

description! {
    /// The deletion of a relay.
    pub(super) Deletion: ForeignPage
    replies {
        /// The relay is deleted
        NO_CONTENT
    }
}
