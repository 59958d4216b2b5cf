//! Encoding of messages as events. Performs no I/O.

use std::{borrow::Cow, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use headwater::Format;
use headwater_log::{EndCause, Mark, Position, Timestamp};
use headwater_wire::{
    json,
    sse::{DELETED_EVENT, IMPORTED_EVENT, POSITION_EVENT, RESET_EVENT, TRIMMED_EVENT},
};
use memchr::memchr2;
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{
    fanout::stream::{
        Shape,
        preframed::{self, Described},
    },
    protocol::time,
};

/// An event or a notice for a reader of many streams.
#[derive(JsonSchema)]
#[schemars(rename = "EventOrNotice", untagged)]
#[expect(dead_code, reason = "it describes what is written as one or the other")]
pub(crate) enum Sent<'a> {
    Event(Event<'a>),
    Trimmed(Trimmed<'a>),
    Deleted(Deleted<'a>),
    Imported(Imported<'a>),
    Reset(Reset<'a>),
}

/// The id from which the reader resumed doesn't belong to this hub's order. All existing messages
/// follow.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Reset")]
pub(crate) struct Reset<'a> {
    /// The position at which reading starts.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    pub(crate) id: Mark<Position>,
    /// Always `true`.
    #[schemars(extend("const" = true))]
    pub(crate) reset: bool,
    /// The reason.
    pub(crate) reason: Reason,
    /// The id in the request.
    pub(crate) asked: &'a str,
    /// The reason in words.
    pub(crate) detail: &'static str,
}

/// The reason for which an id doesn't belong to this hub's order.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// It belongs to another hub, to a stream, or to this hub before its data was removed.
    OtherOrder,
    /// It is past the end of the order.
    BeyondTail,
}

/// A message with its position.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub(crate) struct Event<'a> {
    /// The position after it in the hub's global order, for `after` and `Last-Event-ID`.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    id: Mark<Position>,
    /// The path of its stream.
    stream: &'a str,
    /// The offset after it in its stream.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    offset: Mark,
    /// The stream's content type, unless it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    /// `base64` if the data are neither JSON nor text.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<Encoding>,
    /// The published message. JSON and lines of `application/x-ndjson` are the JSON value. An event
    /// of a `text/event-stream` is an object with `event`, `id` and `data`. Other `text/*` messages
    /// are strings, and all others strings in base64.
    #[schemars(with = "serde_json::Value")]
    data: Data<'a>,
}

/// Messages that were not sent are gone: the stream's caps of age or size removed them, or they are damaged.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Trimmed")]
pub(crate) struct Trimmed<'a> {
    /// The position after them in the hub's global order, for `after` and `Last-Event-ID`.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    id: Mark<Position>,
    /// The path of their stream.
    stream: &'a str,
    /// The offset after them in their stream. All messages before it are gone, unless there is a
    /// `damaged_from`.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    offset: Mark,
    /// Always `true`.
    #[schemars(extend("const" = true))]
    trimmed: bool,
    /// The offset before the first of them if they are damaged in the hub's files. The messages before and
    /// after them are still there.
    #[serde(serialize_with = "some_text", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    damaged_from: Option<Mark>,
}

/// A stream was deleted or has expired. Follows all of the stream's messages.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Deleted")]
pub(crate) struct Deleted<'a> {
    /// The position after it in the hub's global order, for `after` and `Last-Event-ID`.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    id: Mark<Position>,
    /// The path of the stream. A new stream may have it by now. Missing if `reason` is `forgotten`.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<&'a str>,
    /// The offset after the stream's last message.
    #[serde(serialize_with = "some_text", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    offset: Option<Mark>,
    /// Always `true`.
    #[schemars(extend("const" = true))]
    deleted: bool,
    /// The reason.
    reason: Gone,
    /// The time of the end (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

/// A stream was imported from another hub. A reader that was connected meanwhile hasn't received its messages up to
/// `offset`. They can be read in the stream itself.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Imported")]
pub(crate) struct Imported<'a> {
    /// The position after it in the hub's global order, for `after` and `Last-Event-ID`.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    id: Mark<Position>,
    /// The path of the stream.
    stream: &'a str,
    /// The offset after the last imported message.
    #[serde(serialize_with = "text")]
    #[schemars(with = "String")]
    offset: Mark,
    /// Always `true`.
    #[schemars(extend("const" = true))]
    imported: bool,
    /// The time at which it was complete (RFC 3339).
    time: String,
}

/// The reason for which a stream ended.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Gone {
    /// It was deleted.
    Deleted,
    /// It expired.
    Expired,
    /// Streams ended whose ends the hub doesn't keep, as too many streams ended since. Their names
    /// are unknown. Compare with the list of streams.
    Forgotten,
}

/// The encoding of data that are neither JSON nor text.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Encoding {
    Base64,
}

/// A published message.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Json(&'a RawValue),
    Event(Described<'a>),
    Text(Cow<'a, str>),
}

/// A message or a notice, with its stream and position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) id: Mark<Position>,
    pub(crate) stream: &'a str,
    pub(crate) offset: Mark,
    pub(crate) content: Content<'a>,
}

/// The content of a letter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Message {
        content_type: &'a str,
        bytes: &'a [u8],
    },
    /// This message was trimmed, and all before it, or those from an offset on are damaged.
    Trimmed { damaged_from: Option<Mark> },
    /// The stream was deleted, has expired, or was imported.
    Ended { cause: EndCause, time: Timestamp },
}

/// Appends an event, in SSE or as a line.
pub(crate) fn encode(format: Format, letter: Letter<'_>, out: &mut Vec<u8>) {
    let Letter {
        id, stream, offset, ..
    } = letter;
    let (content_type, message) = match letter.content {
        Content::Message {
            content_type,
            bytes,
        } => (content_type, bytes),
        Content::Trimmed { damaged_from } => {
            let trimmed = Trimmed {
                id,
                stream,
                offset,
                trimmed: true,
                damaged_from,
            };
            return notice(format, TRIMMED_EVENT, id, &trimmed, out);
        }
        Content::Ended { cause, time } => {
            let reason = match cause {
                EndCause::Deleted => Gone::Deleted,
                EndCause::Expired => Gone::Expired,
                EndCause::Restored => {
                    let imported = Imported {
                        id,
                        stream,
                        offset,
                        imported: true,
                        time: time::format(time),
                    };
                    return notice(format, IMPORTED_EVENT, id, &imported, out);
                }
            };
            let deleted = Deleted {
                id,
                stream: Some(stream),
                offset: Some(offset),
                deleted: true,
                reason,
                time: Some(time::format(time)),
            };
            return notice(format, DELETED_EVENT, id, &deleted, out);
        }
    };
    let shape = Shape::of(content_type);
    let bytes = on_one_line(message);
    // Messages of a JSON stream were validated when they were appended. They are checked again
    // because a line that isn't JSON, from any writer of the log, would break all lines after it.
    let value = match shape {
        Shape::Json => serde_json::from_slice::<&RawValue>(&bytes).ok(),
        Shape::Ndjson => preframed::json(message.trim_ascii()),
        Shape::Sse | Shape::Text | Shape::Bytes => None,
    };
    let events = match shape {
        Shape::Sse => preframed::events(&Bytes::copy_from_slice(message)),
        Shape::Json | Shape::Ndjson | Shape::Text | Shape::Bytes => Vec::new(),
    };
    let event = match &events[..] {
        [event] => Some(Described::from(event)),
        _ => None,
    };
    let text = match shape {
        Shape::Sse | Shape::Ndjson | Shape::Text => std::str::from_utf8(message).ok(),
        Shape::Json | Shape::Bytes => None,
    };
    let (data, encoding) = match (value, event, text) {
        (Some(value), _, _) => (Data::Json(value), None),
        (None, Some(event), _) => (Data::Event(event), None),
        (None, None, Some(text)) => (Data::Text(text.into()), None),
        (None, None, None) => (
            Data::Text(STANDARD.encode(message).into()),
            Some(Encoding::Base64),
        ),
    };
    let event = Event {
        id,
        stream,
        offset,
        content_type: value.is_none().then_some(content_type),
        encoding,
        data,
    };
    write(format, "", id, &event, out);
}

/// Appends the notice for ended streams whose ends the log doesn't keep.
pub(crate) fn forgotten(format: Format, id: Mark<Position>, out: &mut Vec<u8>) {
    let deleted = Deleted {
        id,
        stream: None,
        offset: None,
        deleted: true,
        reason: Gone::Forgotten,
        time: None,
    };
    notice(format, DELETED_EVENT, id, &deleted, out);
}

/// Appends a notice. In SSE, it is an event of its own type.
fn notice(
    format: Format,
    event: &str,
    id: Mark<Position>,
    sent: &impl Serialize,
    out: &mut Vec<u8>,
) {
    write(format, &format!("event: {event}\n"), id, sent, out);
}

/// Appends an event or notice. In SSE, `fields` precede it.
fn write(
    format: Format,
    fields: &str,
    id: Mark<Position>,
    sent: &impl Serialize,
    out: &mut Vec<u8>,
) {
    let (before, after): (_, &[u8]) = match format {
        Format::Sse => (format!("{fields}id: {id}\ndata: "), b"\n\n"),
        _ => (String::new(), b"\n"),
    };
    out.extend_from_slice(before.as_bytes());
    // Strings, and JSON that was parsed, can always be serialised.
    let _ = json::encode_on_one_line(sent, out);
    out.extend_from_slice(after);
}

/// Returns the event with an `EventSource`'s position, before the first message or after many that
/// don't match. It has data because clients ignore the id of an event without data.
pub(crate) fn place(id: Mark<Position>) -> String {
    format!("event: {POSITION_EVENT}\nid: {id}\ndata: {{\"offset\":\"{id}\"}}\n\n")
}

/// Appends the notice that a reader's id doesn't belong to this hub's order, and that all existing
/// messages follow.
pub(crate) fn reset(format: Format, reset: &Reset<'_>, out: &mut Vec<u8>) {
    notice(format, RESET_EVENT, reset.id, reset, out);
}

/// Removes line breaks from JSON. They only occur between tokens.
fn on_one_line(json: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\n', b'\r', json).is_none() {
        return json.into();
    }
    let spaced = json.iter().map(|&byte| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            byte
        }
    });
    spaced.collect::<Vec<_>>().into()
}

fn text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn some_text<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use headwater_log::{Identity, Lineage, Offset};

    use super::*;

    const LOG: Identity = Identity::new(1);

    fn id() -> Mark<Position> {
        Mark::in_order(Position::new(12), LOG)
    }

    fn offset() -> Mark {
        Lineage::new(LOG.stream(1)).at(Offset::new(3))
    }

    #[track_caller]
    fn check(content_type: &str, bytes: &[u8], expected: &str) {
        let letter = Letter {
            id: id(),
            stream: "a/\"b\"",
            offset: offset(),
            content: Content::Message {
                content_type,
                bytes,
            },
        };
        let (id, offset) = (id(), offset());
        let place = format!(r#"{{"id":"{id}","stream":"a/\"b\"","offset":"{offset}""#);
        let mut line = Vec::new();
        encode(Format::Ndjson, letter, &mut line);
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, format!("{place},{expected}}}\n"));
        let mut event = Vec::new();
        encode(Format::Sse, letter, &mut event);
        let event = String::from_utf8(event).unwrap();
        assert_eq!(event, format!("id: {id}\ndata: {line}\n"));
    }

    #[test]
    fn json_is_embedded_on_one_line() {
        check(
            "application/json",
            b"{\"n\": 1.50}",
            r#""data":{"n": 1.50}"#,
        );
        check("application/json; charset=utf-8", b"null", r#""data":null"#);
        check("application/json", b"[\n1,\r\n2 ]", r#""data":[ 1,  2 ]"#);
    }

    #[test]
    fn text_is_a_string_and_other_bytes_are_base64() {
        check(
            "text/plain",
            b"a\n\"b\"",
            r#""content_type":"text/plain","data":"a\n\"b\"""#,
        );
        check(
            "text/plain",
            b"\xff",
            r#""content_type":"text/plain","encoding":"base64","data":"/w==""#,
        );
        check(
            "image/png",
            b"\0\x01",
            r#""content_type":"image/png","encoding":"base64","data":"AAE=""#,
        );
    }

    #[test]
    fn an_event_is_an_object_and_a_line_is_its_value() {
        check(
            "text/event-stream",
            b"event: token\nid: 7\ndata: {\"n\":1}\n\n",
            r#""content_type":"text/event-stream","data":{"event":"token","id":"7","data":{"n":1}}"#,
        );
        check(
            "text/event-stream",
            b": nothing\n\n",
            r#""content_type":"text/event-stream","data":": nothing\n\n""#,
        );
        check("application/x-ndjson", b"{\"n\":1}\n", r#""data":{"n":1}"#);
        check(
            "application/x-ndjson",
            b"oops\n",
            r#""content_type":"application/x-ndjson","data":"oops\n""#,
        );
    }

    #[test]
    fn a_trimmed_notice_has_a_position_and_no_data() {
        let letter = Letter {
            id: id(),
            stream: "a",
            offset: offset(),
            content: Content::Trimmed { damaged_from: None },
        };
        let (id, offset) = (id(), offset());
        let line = format!(r#"{{"id":"{id}","stream":"a","offset":"{offset}","trimmed":true}}"#);
        let mut out = Vec::new();
        encode(Format::Ndjson, letter, &mut out);
        encode(Format::Sse, letter, &mut out);
        let expected = format!("{line}\nevent: headwater:trimmed\nid: {id}\ndata: {line}\n\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_deleted_notice_has_a_position_and_a_reason_and_no_data() {
        let (id, offset) = (id(), offset());
        for (cause, reason) in [
            (EndCause::Deleted, "deleted"),
            (EndCause::Expired, "expired"),
        ] {
            let time = Timestamp(1_700_000_000_123);
            let letter = Letter {
                id,
                stream: "a",
                offset,
                content: Content::Ended { cause, time },
            };
            let line = format!(
                r#"{{"id":"{id}","stream":"a","offset":"{offset}","deleted":true,"reason":"{reason}","time":"2023-11-14T22:13:20.123Z"}}"#
            );
            let mut out = Vec::new();
            encode(Format::Ndjson, letter, &mut out);
            encode(Format::Sse, letter, &mut out);
            let expected = format!("{line}\nevent: headwater:deleted\nid: {id}\ndata: {line}\n\n");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        let mut out = Vec::new();
        forgotten(Format::Ndjson, id, &mut out);
        let expected = format!("{{\"id\":\"{id}\",\"deleted\":true,\"reason\":\"forgotten\"}}\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn invalid_json_in_the_log_breaks_no_lines() {
        for bytes in [&b"{"[..], b"", b"1 2", b"\"\xff\""] {
            let data = STANDARD.encode(bytes);
            let expected =
                format!(r#""content_type":"application/json","encoding":"base64","data":"{data}""#);
            check("application/json", bytes, &expected);
        }
    }
}
