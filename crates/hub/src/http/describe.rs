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
    "The offset after all that is in the stream, or in this answer.",
);
const CLOSED: (&str, &str) = (
    "Stream-Closed",
    "`true` where the stream is closed and nothing follows.",
);
const ERROR: (&str, &str) = (
    "Stream-Error",
    "Why the stream was closed, where it failed: a problem (RFC 9457) as JSON, percent-encoded where it isn't ASCII.",
);
const UP_TO_DATE: (&str, &str) = (
    "Stream-Up-To-Date",
    "`true` where there was no more at the time.",
);
const CURSOR: (&str, &str) = (
    "Stream-Cursor",
    "To be sent back as `cursor` with the next question.",
);
const PRODUCER_EPOCH: (&str, &str) = ("Producer-Epoch", "The epoch that counts.");
const PRODUCER_SEQ: (&str, &str) = (
    "Producer-Seq",
    "The highest sequence number that was accepted.",
);
const PRODUCER_MESSAGES: (&str, &str) = (
    "Producer-Messages",
    "How many messages the producer has appended to the stream, over all its epochs.",
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
        "The id of the event that was seen last, which takes precedence over what the query says. One that is none of what is read never skips anything: an event of the type `headwater:reset` says so, and all that there is follows.",
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
        "The request is that of a page that may not use the hub",
    );
}

fn missing(operation: &mut Operation) {
    operation.error(StatusCode::NOT_FOUND, "There is no such stream");
    operation.error(
        StatusCode::GONE,
        "The stream was deleted and lives on only in its forks; or what is asked for was trimmed",
    );
    operation.error(
        StatusCode::BAD_REQUEST,
        "The path, a header or a parameter is not what it should be",
    );
}

pub(crate) fn create<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("create_stream").tag(TAG).describe(|operation| {
        parameters(operation, &[
            ("Content-Type", "What the stream holds. `application/json` makes it a stream of JSON messages. \
              `application/octet-stream` if there is none."),
            ("Stream-TTL", "Ends the stream when it was neither read nor appended to for so many seconds."),
            ("Stream-Expires-At", "Ends the stream at this time (RFC 3339)."),
            ("Stream-Closed", "`true` creates it closed: the body is all that it will ever hold. Any other value counts as none."),
            ("Stream-Forked-From", "Makes it a fork: the path of the stream's URL that it continues."),
            ("Stream-Fork-Offset", "Where it leaves that stream; at its tail, if there is none."),
            ("Stream-Fork-Sub-Offset", "How much it has of what follows that offset: messages of JSON, bytes of all else."),
            ("Stream-Schema", "The JSON Schema of every message, as percent-encoded JSON."),
            ("Stream-Max-Age", "How many seconds a message is kept at the least. Older ones go."),
            ("Stream-Max-Bytes", "How many bytes of messages are kept. Past that the oldest go."),
        ]);
        operation.raw_body("*/*");
        operation.optional_body();
        for (status, description) in [
            (StatusCode::CREATED, "The stream was created"),
            (StatusCode::OK, "It was there, as it is asked for"),
        ] {
            operation.empty_reply(status, description);
            replied(operation, status, &[NEXT, CLOSED, CONTENT_TYPE]);
        }
        replied(operation, StatusCode::CREATED, &[("Location", "The stream's URL.")]);
        foreign(operation);
        operation.error(StatusCode::BAD_REQUEST, "The path, a header or the body is not what it should be");
        operation.error(StatusCode::NOT_FOUND, "There is no such stream to fork");
        operation.error(StatusCode::CONFLICT, "There is another stream of that path, or the path is kept by forks");
        operation.error(StatusCode::PAYLOAD_TOO_LARGE, "The body or a message is over the limit");
        operation.error(StatusCode::UNPROCESSABLE_ENTITY, "A message is not what the schema says");
        operation.error(StatusCode::INSUFFICIENT_STORAGE, "There is no room, or there are too many streams");
    })
}

pub(crate) fn append<S>(route: MethodRoute<S>) -> MethodRoute<S> {
    route.id("append").tag(TAG).describe(|operation| {
        parameters(operation, &[
            ("Content-Type", "The stream's own type; or `application/x-ndjson`, in a stream of JSON."),
            ("Stream-Create", "`true` creates the stream if there is none of that path, with this request's Content-Type as its type. \
              `Stream-TTL`, `Stream-Expires-At`, `Stream-Max-Age`, `Stream-Max-Bytes` and `Stream-Schema` count then as they do \
              with `PUT`, and are passed over if the stream is there."),
            ("Stream-Closed", "`true` closes the stream with this append. The body may then be empty. Any other value counts as none."),
            ("Stream-Error", "With `Stream-Closed`: says that the stream failed, and why, by a problem (RFC 9457) as JSON, \
              percent-encoded where it isn't visible ASCII."),
            ("Stream-Seq", "A text that must be greater, byte by byte, than that of the stream's last append that had one."),
            ("Producer-Id", "Who appends. With it a repetition is known, and appended once."),
            ("Producer-Epoch", "Which life of the producer: a higher one shuts out the lower."),
            ("Producer-Seq", "Which append of that life: 0, 1, 2, … The same number again is a repetition where it has the same \
              messages, and a conflict where it has others."),
            ("Producer-Messages", "With `Producer-Digest` and the first append of an epoch: how many messages the producer has \
              appended before. Nothing is appended where that isn't so."),
            ("Producer-Digest", "The digest of these messages, as `HEAD` says it."),
        ]);
        operation.raw_body("*/*");
        operation.optional_body();
        operation.reply::<Count>(
            StatusCode::OK,
            "Appended: a producer's append, without a body, or lines of NDJSON, with their count",
        );
        operation.empty_reply(StatusCode::NO_CONTENT, "Appended, or known to be appended already");
        operation.empty_reply(StatusCode::CREATED, "Appended to a stream that this request created");
        for status in [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::CREATED] {
            replied(operation, status, &[NEXT, CLOSED, PRODUCER_EPOCH, PRODUCER_SEQ]);
        }
        replied(operation, StatusCode::CREATED, &[("Location", "The stream's URL.")]);
        operation.error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "`Stream-Create` with a form, which a client sends that isn't told what the body is",
        );
        missing(operation);
        operation.error(StatusCode::FORBIDDEN, "A later life of the producer has appended, or the request is that of a page that may not use the hub");
        replied(operation, StatusCode::FORBIDDEN, &[PRODUCER_EPOCH]);
        operation.error(
            StatusCode::CONFLICT,
            "The stream is closed or of another type, the path is kept by forks, appends before this one are missing, the producer's \
             number was used for another append or is too old to tell, the producer has published something else than the \
             request says, or the stream remembers as many producers as it may, all of which have appended in the last seven days",
        );
        replied(operation, StatusCode::CONFLICT, &[
            NEXT,
            CLOSED,
            ("Producer-Expected-Seq", "The sequence number that is due."),
            ("Producer-Received-Seq", "The one that came."),
            PRODUCER_EPOCH,
            PRODUCER_MESSAGES,
            PRODUCER_DIGEST,
        ]);
        operation.error(StatusCode::PAYLOAD_TOO_LARGE, "The body, a line or a message is over the limit");
        operation.error(StatusCode::UNPROCESSABLE_ENTITY, "A message is not what the stream's schema says");
        operation.error(StatusCode::INSUFFICIENT_STORAGE, "There is no room");
    })
}

/// Describes the parameters of a read, and its successful responses.
pub(crate) fn reading(operation: &mut Operation) {
    operation.parameter::<String>(
        In::Query,
        "offset",
        "Where to start: an offset that this server gave, `-1` for the start, `now` for the tail. Default: the start.",
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
        "The `Stream-Cursor` of the answer before.",
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
                "The `ETag` of an answer that the client has.",
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
            ("ETag", "Which part of which stream this is."),
            (
                "Stream-SSE-Data-Encoding",
                "`base64` where the data of events are that.",
            ),
        ],
    );
    operation.empty_reply(
        StatusCode::NO_CONTENT,
        "Nothing came while a long-poll waited; or an `EventSource` that had seen the end came back",
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
            "There are as many live readers as the limit allows",
        );
    })
}

/// Describes the metadata of a stream in response headers.
pub(crate) fn known(operation: &mut Operation) {
    operation.empty_reply(StatusCode::OK, "What is known of the stream, in headers");
    replied(
        operation,
        StatusCode::OK,
        &[
            NEXT,
            CLOSED,
            ERROR,
            CONTENT_TYPE,
            ("Stream-TTL", "After how many seconds without use it ends."),
            ("Stream-Expires-At", "When it ends."),
            (
                "Stream-Max-Age",
                "How many seconds a message is kept at the least.",
            ),
            ("Stream-Max-Bytes", "How many bytes of messages are kept."),
            (
                "Stream-Floor",
                "The first offset that can still be read, where it isn't the start.",
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
                "Says what this producer has published to the stream, too.",
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
        operation.empty_reply(StatusCode::NO_CONTENT, "The stream is gone");
        foreign(operation);
        missing(operation);
    })
}

/// The tag of the streams' operations.
pub(crate) const TAG: &str = "streams";
