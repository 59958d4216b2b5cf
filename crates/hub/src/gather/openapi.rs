//! The description of `POST /gather` in the OpenAPI document, in addition to the handler's doc
//! comment.

use headwater::{Format, Operation, StatusCode};
use headwater_client::gather::{Call, GatherResult};

use super::stored::Stored;
use crate::http::openapi::{Heartbeats, description};

/// The tag of the operation.
pub(super) const TAG: &str = "upstreams";

description! {
    /// The list of calls, and their results.
    pub(crate) Results: Heartbeats
    replies {
        /// With `stream`: the location of the stored results
        ACCEPTED: Stored
        /// The stream has ended, and the client has already received its end
        NO_CONTENT
    }
    errors {
        /// The list of calls is invalid, or the requested concurrency is over the limit
        BAD_REQUEST
        /// The hub's secret is missing or wrong
        UNAUTHORIZED
        /// No upstream is allowed, or the request is from a page that may not use the hub
        FORBIDDEN
        /// None of the formats that the client accepts is offered
        NOT_ACCEPTABLE
        /// The list of calls stopped arriving
        REQUEST_TIMEOUT
        /// A stream with other content exists at this path
        CONFLICT
        /// The number of calls or their size is over the limit
        PAYLOAD_TOO_LARGE
        /// The body is neither JSON nor NDJSON
        UNSUPPORTED_MEDIA_TYPE
        /// The limit of concurrent gathers is reached
        TOO_MANY_REQUESTS
    }
    also |operation: &mut Operation| {
        operation.body::<Vec<Call>>("application/json");
        operation.also_body("application/x-ndjson");
        operation.stream_reply::<GatherResult>(StatusCode::OK, &Format::ALL, "Results as they arrive");
        let location = "The URL of the stream with the results.";
        operation.reply_header(StatusCode::ACCEPTED, "Location", location);
    }
}
