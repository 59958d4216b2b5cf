//! The description of the streams in the OpenAPI document, in addition to the handlers' doc
//! comments.

use std::{borrow::Cow, marker::PhantomData};

use axum::response::{IntoResponse, Response};
use headwater::{Format, In, Operation, OperationInput, OperationOutput, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::ndjson::Count;
use crate::protocol::read_query::Query;

/// A response that `D` describes.
pub(crate) struct Answer<D>(Response, PhantomData<fn() -> D>);

impl<D> From<Response> for Answer<D> {
    fn from(response: Response) -> Self {
        Self(response, PhantomData)
    }
}

impl<D> IntoResponse for Answer<D> {
    fn into_response(self) -> Response {
        self.0
    }
}

impl<D: OperationOutput> OperationOutput for Answer<D> {
    fn describe(operation: &mut Operation) {
        D::describe(operation);
    }
}

/// A message of a JSON stream. Its schema allows everything. It is an object instead of `true`,
/// which some tools don't support.
pub(crate) struct AnyJson;

impl JsonSchema for AnyJson {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "AnyJson".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A message of a JSON stream: any JSON value, unless the stream has a schema." })
    }
}

/// Items of a stream that also has notices: events of the types `headwater:reset`, `headwater:trimmed`
/// and so on.
pub(crate) struct WithNotices<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for WithNotices<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<T>();
        // The framework replaces the mark.
        schema.insert("x-headwater-notices".to_owned(), true.into());
        schema
    }
}

/// Defines a type that describes an operation: the descriptions that it includes, required and
/// optional headers of the request, replies with the type of their JSON (or without a body), and
/// errors, which are problems. `also` is for all else. Texts are doc comments, and lists in brackets
/// the headers of a reply.
macro_rules! description {
    (
        $(#[$meta:meta])*
        $vis:vis $name:ident $(: $($part:ident),+)?
        $(required { $($(#[doc = $sense:literal])+ $needed:ident)* })?
        $(request { $($(#[doc = $meaning:literal])+ $asked:ident)* })?
        $(replies {
            $($(#[doc = $reply:literal])+ $status:ident $(: $body:ident)? $([$($sent:ident)*])?)*
        })?
        $(errors { $($(#[doc = $error:literal])+ $failed:ident $([$($told:ident)*])?)* })?
        $(also $also:expr)?
    ) => {
        $(#[$meta])*
        $vis enum $name {}

        impl headwater::OperationOutput for $name {
            fn describe(operation: &mut headwater::Operation) {
                $($($part::describe(operation);)+)?
                $($(
                    let text = concat!($($sense),+).trim_start();
                    let (name, _) = description!(@header $needed);
                    operation.required_parameter::<String>(headwater::In::Header, name, text);
                )*)?
                $($(
                    let text = concat!($($meaning),+).trim_start();
                    let (name, _) = description!(@header $asked);
                    operation.parameter::<String>(headwater::In::Header, name, text);
                )*)?
                $($(
                    let text = concat!($($reply),+).trim_start();
                    description!(@reply operation, $status, text $(, $body)?);
                    $(description!(@headers operation, $status, $($sent)*);)?
                )*)?
                $($(
                    let text = concat!($($error),+).trim_start();
                    operation.error(headwater::StatusCode::$failed, text);
                    $(description!(@headers operation, $failed, $($told)*);)?
                )*)?
                $(($also)(operation);)?
            }
        }
    };
    (@reply $operation:ident, $status:ident, $text:ident) => {
        $operation.empty_reply(headwater::StatusCode::$status, $text)
    };
    (@reply $operation:ident, $status:ident, $text:ident, $body:ident) => {
        $operation.reply::<$body>(headwater::StatusCode::$status, $text)
    };
    (@headers $operation:ident, $status:ident, $($header:ident)*) => {
        for (name, text) in [$(description!(@header $header)),*] {
            $operation.reply_header(headwater::StatusCode::$status, name, text);
        }
    };
    (@header $header:ident) => {
        $crate::protocol::header_names::described(&$crate::protocol::header_names::$header)
    };
}
pub(crate) use description;

description! {
    /// The way in which an `EventSource` sends the id of its last event.
    pub(crate) Resumption
    request {
        /// The id of the last event that the client received. It takes precedence over the query.
        /// An id that doesn't belong to this stream never skips messages: an event of the type
        /// `headwater:reset` is sent, and everything follows.
        LAST_EVENT_ID
    }
    also |operation: &mut Operation| operation.parameter::<String>(
        In::Query,
        "lastEventId",
        "As `Last-Event-ID`, for clients that can't set headers. The header takes precedence. Other spellings, \
         such as `last_event_id`, are accepted too.",
    )
}

/// An interval of heartbeats, in seconds.
struct Interval;

impl JsonSchema for Interval {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Interval".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0 })
    }
}

description! {
    /// The heartbeats of a live response.
    pub(crate) Heartbeats
    also |operation: &mut Operation| operation.parameter::<Interval>(
        In::Query,
        "heartbeat",
        "The longest silence of a live response, in seconds: a longer one has comments in events, and blank lines in \
         NDJSON. From 1 to 3600; `0` requests none in NDJSON. By default, events have one every 15 seconds, and NDJSON \
         has none. The header `Prefer: heartbeat=15` is the same.",
    )
}

description! {
    /// The refusal of requests with side effects by pages that aren't allowed.
    pub(crate) ForeignPage
    errors {
        /// The request is from a page that may not use the hub
        FORBIDDEN
    }
}

description! {
    /// The errors of a request for a stream.
    Missing
    errors {
        /// The stream doesn't exist
        NOT_FOUND
        /// The stream was deleted and only its forks remain, or the requested messages were trimmed
        GONE
        /// The stream is being imported and isn't complete yet, or the storage or memory isn't available
        SERVICE_UNAVAILABLE
        /// The path, a header or a parameter is invalid
        BAD_REQUEST
        /// The path has more than 1,024 bytes
        URI_TOO_LONG
    }
}

description! {
    /// The creation of a stream.
    pub(crate) Creation: ForeignPage
    request {
        /// The stream's content type. `application/json` makes it a stream of JSON messages.
        /// Default: `application/octet-stream`.
        CONTENT_TYPE
        /// Deletes the stream when it hasn't been read or appended to for this many seconds.
        STREAM_TTL
        /// Deletes the stream at this time (RFC 3339).
        STREAM_EXPIRES_AT
        /// `true` creates the stream closed, with the body as its whole content. Any other value is
        /// ignored.
        STREAM_CLOSED
        /// Creates a fork. The value is the path of the source stream's URL.
        STREAM_FORKED_FROM
        /// The offset in the source at which the fork begins. Default: the source's tail.
        STREAM_FORK_OFFSET
        /// The length that the fork also takes after that offset: in messages if the stream is JSON,
        /// otherwise in bytes.
        STREAM_FORK_SUB_OFFSET
        /// The JSON Schema of every message, as percent-encoded JSON.
        STREAM_SCHEMA
        /// The minimum time that a message is kept, in seconds. Older messages are trimmed.
        STREAM_MAX_AGE
        /// The number of bytes of messages that are kept. Above it, the oldest are trimmed.
        STREAM_MAX_BYTES
    }
    replies {
        /// The stream was created
        CREATED [STREAM_NEXT_OFFSET STREAM_CLOSED CONTENT_TYPE LOCATION]
        /// The stream already existed, with the requested configuration
        OK [STREAM_NEXT_OFFSET STREAM_CLOSED CONTENT_TYPE]
    }
    errors {
        /// The path, a header or the body is invalid
        BAD_REQUEST
        /// The stream to fork doesn't exist
        NOT_FOUND
        /// Another stream exists at this path, or the path is kept by forks
        CONFLICT
        /// The body or a message is over the limit
        PAYLOAD_TOO_LARGE
        /// A message doesn't match the schema
        UNPROCESSABLE_ENTITY
        /// The storage is full, or there are too many streams
        INSUFFICIENT_STORAGE
        /// A stream is being imported at this path, or the storage or memory isn't available
        SERVICE_UNAVAILABLE
    }
}

description! {
    /// An append.
    pub(crate) Appending: Missing
    request {
        /// The stream's own type, or `application/x-ndjson` for a JSON stream.
        CONTENT_TYPE
        /// `true` creates the stream if it doesn't exist, with this request's Content-Type as its
        /// type, or `application/json` for lines of NDJSON. `Stream-TTL`, `Stream-Expires-At`, `Stream-Max-Age`, `Stream-Max-Bytes` and
        /// `Stream-Schema` then apply as with `PUT`. They are ignored if the stream exists.
        STREAM_CREATE
        /// `true` closes the stream with this append. The body may then be empty. Any other value
        /// is ignored.
        STREAM_CLOSED
        /// With `Stream-Closed`: marks the stream as failed. The value is a problem (RFC 9457) as
        /// JSON, percent-encoded where it isn't visible ASCII.
        STREAM_ERROR
        /// A text that must be greater, byte by byte, than the value of the stream's last append
        /// with this header.
        STREAM_SEQ
        /// The producer's id. With it, repeated appends are deduplicated.
        PRODUCER_ID
        /// The producer's epoch. A higher epoch fences the lower ones.
        PRODUCER_EPOCH
        /// The number of the append within the epoch: 0, 1, 2, … The same number with the same
        /// messages is a repetition, and with other messages a conflict.
        PRODUCER_SEQ
        /// With `Producer-Digest` and the first append of an epoch: the number of messages that the
        /// producer has appended before. If it doesn't match, nothing is appended.
        PRODUCER_MESSAGES
        /// The digest of these messages, as `HEAD` returns it.
        PRODUCER_DIGEST
    }
    replies {
        /// Appended: a producer's append, without a body, or lines of NDJSON, with their count
        OK: Count [STREAM_NEXT_OFFSET STREAM_CLOSED PRODUCER_EPOCH PRODUCER_SEQ]
        /// Appended, now or by an earlier attempt
        NO_CONTENT [STREAM_NEXT_OFFSET STREAM_CLOSED PRODUCER_EPOCH PRODUCER_SEQ]
        /// Appended to a stream that this request created: without a body, or lines of NDJSON, with their count
        CREATED: Count [STREAM_NEXT_OFFSET STREAM_CLOSED PRODUCER_EPOCH PRODUCER_SEQ LOCATION]
    }
    errors {
        /// `Stream-Create` with a form, the default type of many clients
        UNSUPPORTED_MEDIA_TYPE
        /// A later epoch of the producer has appended, or the request is from a page that may not
        /// use the hub
        FORBIDDEN [PRODUCER_EPOCH]
        /// The stream is closed or of another type, the path is kept by forks, appends before this
        /// one are missing, the producer's number was used for another append or is too old to
        /// tell, the producer's published messages don't match the request, or the stream's limit
        /// of producers is reached and all of them have appended in the last seven days
        CONFLICT [
            STREAM_NEXT_OFFSET STREAM_CLOSED PRODUCER_EXPECTED_SEQ PRODUCER_RECEIVED_SEQ
            PRODUCER_EPOCH PRODUCER_MESSAGES PRODUCER_DIGEST
        ]
        /// The body, a line or a message is over the limit
        PAYLOAD_TOO_LARGE
        /// A message doesn't match the stream's schema
        UNPROCESSABLE_ENTITY
        /// The storage is full
        INSUFFICIENT_STORAGE
    }
}

description! {
    /// A read, without the errors that depend on the path.
    pub(crate) Reading: Query, Resumption, Heartbeats
    request {
        /// `text/event-stream` or `application/x-ndjson` follow the stream in that format.
        ACCEPT
        /// The `ETag` of a response that the client has.
        IF_NONE_MATCH
    }
    replies {
        /// Messages
        OK [
            STREAM_NEXT_OFFSET STREAM_UP_TO_DATE STREAM_CLOSED STREAM_ERROR STREAM_CURSOR
            CONTENT_TYPE ETAG STREAM_SSE_DATA_ENCODING
        ]
        /// No data arrived during a long-poll; or the stream has ended, and the `EventSource` has
        /// already received its end
        NO_CONTENT [
            STREAM_NEXT_OFFSET STREAM_UP_TO_DATE STREAM_CLOSED STREAM_ERROR STREAM_CURSOR
        ]
        /// The client has it
        NOT_MODIFIED
    }
    errors {
        /// The client accepts neither the stream's type nor events or lines
        NOT_ACCEPTABLE
        /// The messages aren't those of `If-Match`
        PRECONDITION_FAILED
    }
    also |operation: &mut Operation| {
        operation.raw_reply(StatusCode::OK, "*/*", "Messages");
        let formats = [Format::Sse, Format::Ndjson];
        operation.stream_reply::<WithNotices<AnyJson>>(StatusCode::OK, &formats, "Messages");
    }
}

description! {
    /// A read of a stream by its path.
    pub(crate) ReadingByPath: Reading, Missing
    errors {
        /// The limit of live readers is reached
        TOO_MANY_REQUESTS
    }
}

description! {
    /// The metadata of a stream.
    pub(crate) Metadata
    replies {
        /// The stream's metadata, in headers
        OK [
            STREAM_NEXT_OFFSET STREAM_CLOSED STREAM_ERROR CONTENT_TYPE STREAM_TTL STREAM_EXPIRES_AT
            STREAM_MAX_AGE STREAM_MAX_BYTES STREAM_FLOOR STREAM_SCHEMA
        ]
    }
}

description! {
    /// The metadata of a stream and of a producer.
    pub(crate) MetadataByPath: Metadata, Missing
    request {
        /// Adds what this producer has published to the stream.
        PRODUCER_ID
    }
    replies {
        /// The stream's metadata, in headers
        OK [PRODUCER_EPOCH PRODUCER_SEQ PRODUCER_MESSAGES PRODUCER_DIGEST]
    }
}

description! {
    /// The deletion of a stream.
    pub(crate) Deletion: ForeignPage, Missing
    replies {
        /// The stream is deleted
        NO_CONTENT
    }
}
