//! The description of the streams in the OpenAPI document, in addition to the handlers' doc
//! comments.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use headwater::{Format, In, MethodRoute, Operation, OperationOutput, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::ndjson::Count;

/// A response whose operation is described here.
pub(crate) struct Answer(Response);

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self(response)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for Answer {
    fn describe(operation: &mut Operation) {
        operation.any_error();
    }
}

/// The behaviour at the tail.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Live {
    LongPoll,
    Sse,
    False,
}

/// The formats in which a stream can be followed.
#[derive(JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(dead_code, reason = "only its schema is used")]
enum Followed {
    Sse,
    Ndjson,
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

const NEXT: (&str, &str) = (
    "Stream-Next-Offset",
    "The offset after the stream's last message, or after the last one in this response.",
);
const CLOSED: (&str, &str) = (
    "Stream-Closed",
    "`true` if the stream is closed and no messages follow.",
);
const ERROR: (&str, &str) = (
    "Stream-Error",
    "The reason of a stream that failed: a problem (RFC 9457) as JSON, with non-ASCII characters percent-encoded.",
);
const UP_TO_DATE: (&str, &str) = (
    "Stream-Up-To-Date",
    "`true` if the response reaches the tail.",
);
const CURSOR: (&str, &str) = (
    "Stream-Cursor",
    "Send it as `cursor` with the next request.",
);
const PRODUCER_EPOCH: (&str, &str) = ("Producer-Epoch", "The producer's current epoch.");
const PRODUCER_SEQ: (&str, &str) = (
    "Producer-Seq",
    "The highest sequence number that was accepted.",
);
const PRODUCER_MESSAGES: (&str, &str) = (
    "Producer-Messages",
    "The number of messages that the producer has appended to the stream, over all its epochs.",
);
const PRODUCER_DIGEST: (&str, &str) = (
    "Producer-Digest",
    "The digest of these messages, independent of how they were batched: 32 hexadecimal digits, XXH3-128 of the digest before, \
     the XXH3-128 of the message and its length in bytes, all little-endian (16, 16 and 8 bytes); 0 of none.",
);
const CONTENT_TYPE: (&str, &str) = ("Content-Type", "The stream's type.");

pub(crate) fn replied(
    operation: &mut Operation,
    status: StatusCode,
    headers: &[(&'static str, &'static str)],
) {
    for (name, description) in headers {
        operation.reply_header(status, name, description);
    }
}

fn parameters(operation: &mut Operation, parameters: &[(&str, &str)]) {
    for (name, description) in parameters {
        operation.parameter::<String>(In::Header, name, description);
    }
}

/// Describes how an `EventSource` sends the id of its last event.
pub(crate) fn resumption(operation: &mut Operation) {
    operation.parameter::<String>(
        In::Header,
        "Last-Event-ID",
        "The id of the last event that the client received. It takes precedence over the query. An id that doesn't \
         belong to this stream never skips messages: an event of the type `headwater:reset` is sent, and everything \
         follows.",
    );
    operation.parameter::<String>(
        In::Query,
        "lastEventId",
        "As `Last-Event-ID`, for clients that can't set headers. The header takes precedence.",
    );
}

/// Describes the refusal of requests with side effects by pages that aren't allowed.
pub(crate) fn foreign(operation: &mut Operation) {
    operation.error(
        StatusCode::FORBIDDEN,
        "The request is from a page that may not use the hub",
    );
}

fn missing(operation: &mut Operation) {
    operation.error(StatusCode::NOT_FOUND, "The stream doesn't exist");
    operation.error(
        StatusCode::GONE,
        "The stream was deleted and only its forks remain, or the requested messages were trimmed",
    );
    operation.error(
        StatusCode::BAD_REQUEST,
        "The path, a header or a parameter is invalid",
    );
}

pub(crate) fn create<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("create_stream").tag(TAG).describe(|operation| {
        parameters(operation, &[
            ("Content-Type", "The stream's content type. `application/json` makes it a stream of JSON messages. \
                Default: `application/octet-stream`."),
            ("Stream-TTL", "Deletes the stream when it hasn't been read or appended to for this many seconds."),
            ("Stream-Expires-At", "Deletes the stream at this time (RFC 3339)."),
            ("Stream-Closed", "`true` creates the stream closed, with the body as its whole content. Any other \
                value is ignored."),
            ("Stream-Forked-From", "Creates a fork. The value is the path of the source stream's URL."),
            ("Stream-Fork-Offset", "The offset in the source at which the fork begins. Default: the source's tail."),
            ("Stream-Fork-Sub-Offset", "How much the fork also takes after that offset: in messages if the stream \
                is JSON, otherwise in bytes."),
            ("Stream-Schema", "The JSON Schema of every message, as percent-encoded JSON."),
            ("Stream-Max-Age", "The minimum time that a message is kept, in seconds. Older messages are trimmed."),
            ("Stream-Max-Bytes", "The number of bytes of messages that are kept. Above it, the oldest are trimmed."),
        ]);
        operation.raw_body("*/*");
        operation.optional_body();
        for (status, description) in [
            (StatusCode::CREATED, "The stream was created"),
            (StatusCode::OK, "The stream already existed, with the requested configuration"),
        ] {
            operation.empty_reply(status, description);
            replied(operation, status, &[NEXT, CLOSED, CONTENT_TYPE]);
        }
        replied(operation, StatusCode::CREATED, &[("Location", "The stream's URL.")]);
        foreign(operation);
        operation.error(StatusCode::BAD_REQUEST, "The path, a header or the body is invalid");
        operation.error(StatusCode::NOT_FOUND, "The stream to fork doesn't exist");
        operation.error(StatusCode::CONFLICT, "Another stream exists at this path, or the path is kept by forks");
        operation.error(StatusCode::PAYLOAD_TOO_LARGE, "The body or a message is over the limit");
        operation.error(StatusCode::UNPROCESSABLE_ENTITY, "A message doesn't match the schema");
        operation.error(StatusCode::INSUFFICIENT_STORAGE, "The storage is full, or there are too many streams");
    })
}

pub(crate) fn append<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("append").tag(TAG).describe(|operation| {
        parameters(operation, &[
            ("Content-Type", "The stream's own type, or `application/x-ndjson` for a JSON stream."),
            ("Stream-Create", "`true` creates the stream if it doesn't exist, with this request's Content-Type as \
                its type. `Stream-TTL`, `Stream-Expires-At`, `Stream-Max-Age`, `Stream-Max-Bytes` and \
                `Stream-Schema` then apply as with `PUT`. They are ignored if the stream exists."),
            ("Stream-Closed", "`true` closes the stream with this append. The body may then be empty. Any other \
                value is ignored."),
            ("Stream-Error", "With `Stream-Closed`: marks the stream as failed. The value is a problem (RFC 9457) \
                as JSON, percent-encoded where it isn't visible ASCII."),
            ("Stream-Seq", "A text that must be greater, byte by byte, than the value of the stream's last append \
                with this header."),
            ("Producer-Id", "The producer's id. With it, repeated appends are deduplicated."),
            ("Producer-Epoch", "The producer's epoch. A higher epoch fences the lower ones."),
            ("Producer-Seq", "The number of the append within the epoch: 0, 1, 2, … The same number with the same \
                messages is a repetition, and with other messages a conflict."),
            ("Producer-Messages", "With `Producer-Digest` and the first append of an epoch: the number of messages \
                that the producer has appended before. If it doesn't match, nothing is appended."),
            ("Producer-Digest", "The digest of these messages, as `HEAD` returns it."),
        ]);
        operation.raw_body("*/*");
        operation.optional_body();
        operation.reply::<Count>(
            StatusCode::OK,
            "Appended: a producer's append, without a body, or lines of NDJSON, with their count",
        );
        operation.empty_reply(StatusCode::NO_CONTENT, "Appended, now or by an earlier attempt");
        operation.empty_reply(StatusCode::CREATED, "Appended to a stream that this request created");
        for status in [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::CREATED] {
            replied(operation, status, &[NEXT, CLOSED, PRODUCER_EPOCH, PRODUCER_SEQ]);
        }
        replied(operation, StatusCode::CREATED, &[("Location", "The stream's URL.")]);
        operation.error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "`Stream-Create` with a form, the default type of many clients",
        );
        missing(operation);
        operation.error(StatusCode::FORBIDDEN, "A later epoch of the producer has appended, or the request is from \
            a page that may not use the hub");
        replied(operation, StatusCode::FORBIDDEN, &[PRODUCER_EPOCH]);
        operation.error(
            StatusCode::CONFLICT,
            "The stream is closed or of another type, the path is kept by forks, appends before this one are missing, the producer's \
             number was used for another append or is too old to tell, the producer's published messages don't \
                 match the request, or the stream's limit of producers is reached and all of them have appended in \
                 the last seven days",
        );
        replied(operation, StatusCode::CONFLICT, &[
            NEXT,
            CLOSED,
            ("Producer-Expected-Seq", "The expected sequence number."),
            ("Producer-Received-Seq", "The received sequence number."),
            PRODUCER_EPOCH,
            PRODUCER_MESSAGES,
            PRODUCER_DIGEST,
        ]);
        operation.error(StatusCode::PAYLOAD_TOO_LARGE, "The body, a line or a message is over the limit");
        operation.error(StatusCode::UNPROCESSABLE_ENTITY, "A message doesn't match the stream's schema");
        operation.error(StatusCode::INSUFFICIENT_STORAGE, "The storage is full");
    })
}

/// Describes the parameters of a read, and its successful responses.
pub(crate) fn reading(operation: &mut Operation) {
    operation.parameter::<String>(
        In::Query,
        "offset",
        "The offset to start at, as this server returned it; `-1` for the start, `now` for the tail. Default: the \
         start.",
    );
    operation.parameter::<String>(
        In::Query,
        "since",
        "In place of `offset`: start with the first message that was appended at this time (RFC 3339) or later. A `+` is written `%2B`.",
    );
    resumption(operation);
    operation.parameter::<Live>(In::Query, "live", "How to continue at the tail.");
    operation.parameter::<Followed>(
        In::Query,
        "format",
        "Follows the stream in this format, for a client that can't set `Accept`.",
    );
    operation.parameter::<String>(
        In::Query,
        "cursor",
        "The `Stream-Cursor` of the previous response.",
    );
    parameters(
        operation,
        &[
            (
                "Accept",
                "`text/event-stream` or `application/x-ndjson` follow the stream in that format.",
            ),
            (
                "If-None-Match",
                "The `ETag` of a response that the client has.",
            ),
        ],
    );
    operation.raw_reply(StatusCode::OK, "*/*", "Messages");
    operation.stream_reply::<AnyJson>(StatusCode::OK, &[Format::Sse, Format::Ndjson], "Messages");
    replied(
        operation,
        StatusCode::OK,
        &[
            NEXT,
            UP_TO_DATE,
            CLOSED,
            ERROR,
            CURSOR,
            CONTENT_TYPE,
            ("ETag", "Identifies the stream and the part of it."),
            (
                "Stream-SSE-Data-Encoding",
                "`base64` if the events' data is base64.",
            ),
        ],
    );
    operation.empty_reply(
        StatusCode::NO_CONTENT,
        "No data arrived during a long-poll; or the stream has ended, and the `EventSource` has already received \
         its end",
    );
    replied(
        operation,
        StatusCode::NO_CONTENT,
        &[NEXT, UP_TO_DATE, CLOSED, ERROR, CURSOR],
    );
    operation.empty_reply(StatusCode::NOT_MODIFIED, "The client has it");
}

pub(crate) fn read<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("read").tag(TAG).describe(|operation| {
        reading(operation);
        missing(operation);
        operation.error(
            StatusCode::TOO_MANY_REQUESTS,
            "The limit of live readers is reached",
        );
    })
}

/// Describes the metadata of a stream in response headers.
pub(crate) fn known(operation: &mut Operation) {
    operation.empty_reply(StatusCode::OK, "The stream's metadata, in headers");
    replied(
        operation,
        StatusCode::OK,
        &[
            NEXT,
            CLOSED,
            ERROR,
            CONTENT_TYPE,
            (
                "Stream-TTL",
                "The number of seconds without use after which the stream is deleted.",
            ),
            ("Stream-Expires-At", "When it ends."),
            (
                "Stream-Max-Age",
                "The minimum time that a message is kept, in seconds.",
            ),
            (
                "Stream-Max-Bytes",
                "The number of bytes of messages that are kept.",
            ),
            (
                "Stream-Floor",
                "The first offset that can still be read, if it isn't the start.",
            ),
            (
                "Stream-Schema",
                "The JSON Schema of its messages, percent-encoded, unless it is long.",
            ),
        ],
    );
}

pub(crate) fn head<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("stream_info").tag(TAG).describe(|operation| {
        parameters(
            operation,
            &[(
                "Producer-Id",
                "Adds what this producer has published to the stream.",
            )],
        );
        known(operation);
        replied(
            operation,
            StatusCode::OK,
            &[
                PRODUCER_EPOCH,
                PRODUCER_SEQ,
                PRODUCER_MESSAGES,
                PRODUCER_DIGEST,
            ],
        );
        missing(operation);
    })
}

pub(crate) fn delete<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("delete_stream").tag(TAG).describe(|operation| {
        operation.empty_reply(StatusCode::NO_CONTENT, "The stream is deleted");
        foreign(operation);
        missing(operation);
    })
}

/// The tag of the streams' operations.
pub(crate) const TAG: &str = "streams";
