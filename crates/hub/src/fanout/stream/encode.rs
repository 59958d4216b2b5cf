//! The encodings of messages for live readers. Performs no I/O.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use headwater::{Format, Problem};
use headwater_log::{Lineage, Mark, Message, Offset};
use headwater_wire::{
    Event, Str, json, json_seq,
    sse::{END_EVENT, END_ID, POSITION_EVENT, RESET_EVENT, encode_lines},
};
use memchr::memchr2;

use super::preframed::{self, Described};
use crate::protocol::{
    media_type::{essence, is_json},
    read_query::Lost,
};

/// The kind of messages that a stream contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// JSON values.
    Json,
    /// Whole events of `text/event-stream`.
    Sse,
    /// Whole lines of `application/x-ndjson`.
    Ndjson,
    /// Text.
    Text,
    /// Anything else.
    Bytes,
}

impl Shape {
    /// Returns the shape for a content type.
    pub(crate) fn of(content_type: &str) -> Self {
        if is_json(content_type) {
            return Self::Json;
        }
        match &*essence(content_type) {
            "text/event-stream" => Self::Sse,
            "application/x-ndjson" | "application/jsonl" => Self::Ndjson,
            text if text.starts_with("text/") => Self::Text,
            _ => Self::Bytes,
        }
    }

    /// Returns `true` if the data are base64-encoded in this form.
    pub(crate) fn is_base64(self, form: Form) -> bool {
        match form {
            Form::Events => self == Self::Bytes,
            Form::Protocol => matches!(self, Self::Bytes | Self::Ndjson),
            Form::Lines | Form::Items(_) => false,
        }
    }
}

/// The form that a reader requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One event for each message, with the offset after it as its id, for an `EventSource`.
    Events,
    /// One line for each message.
    Lines,
    /// The protocol's own SSE: one data event for each batch, followed by a control event.
    Protocol,
    /// The items of a JSON stream in a format of the framework, which frames them.
    Items(Format),
}

impl Form {
    /// Number of forms.
    pub(crate) const COUNT: usize = 6;

    /// Returns the number of the form. Forms with the same encoding of a message share it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Events | Self::Items(Format::Sse) => 0,
            Self::Lines | Self::Items(Format::Ndjson) => 1,
            Self::Items(Format::JsonSeq) => 2,
            Self::Items(Format::JsonArray) => 3,
            Self::Items(_) => 4,
            Self::Protocol => 5,
        }
    }
}

/// The state of the stream at the end of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// More messages follow.
    More,
    /// There were no more messages at the time.
    Tail,
    /// No more messages follow.
    Closed,
}

/// Encodes messages. `messages` is not empty and belongs to `lineage`; `next` is the offset after
/// them.
pub(crate) fn encode(
    form: Form,
    shape: Shape,
    lineage: &Lineage,
    messages: &[Message],
    next: Offset,
    end: End,
    cursor: u64,
) -> Bytes {
    let bytes: usize = messages
        .iter()
        .map(|message| message.bytes.len() + 56)
        .sum();
    let mut out = Vec::with_capacity(bytes + 160);
    match form {
        Form::Events | Form::Items(Format::Sse) => {
            for message in messages {
                event(shape, lineage, message, &mut out);
            }
        }
        Form::Lines | Form::Items(Format::Ndjson) => {
            for message in messages {
                line(shape, &message.bytes, &mut out);
            }
        }
        Form::Items(format) => {
            for message in messages {
                item(format, &message.bytes, &mut out);
            }
        }
        Form::Protocol => {
            let next = lineage.at(next);
            data(shape, messages, next, &mut out);
            control(next, end, cursor, None, &mut out);
        }
    }
    out.into()
}

/// Returns the data event of the protocol's SSE.
pub(crate) fn data_event(shape: Shape, messages: &[Message], next: Mark) -> Bytes {
    let mut out = Vec::new();
    data(shape, messages, next, &mut out);
    out.into()
}

/// Returns the marker of a complete response, if the form has one, with the stream's number of
/// messages.
pub(crate) fn end(form: Form, next: Mark) -> Option<Bytes> {
    let items = next.at.number();
    let data = format!("{{\"items\":{items},\"offset\":\"{next}\"}}");
    let marker = format!("event: {END_EVENT}\nid: {END_ID}\ndata: {data}\n\n");
    matches!(form, Form::Events).then(|| marker.into())
}

/// Returns the event with a reader's position before the first message, so that it can resume
/// there.
pub(crate) fn position(at: Mark) -> Bytes {
    notice(POSITION_EVENT, at, &format!("{{\"offset\":\"{at}\"}}"))
}

/// Returns the event for a reader whose position doesn't fit the stream. All existing messages
/// follow.
pub(crate) fn reset(lost: &Lost) -> Bytes {
    notice(RESET_EVENT, lost.floor(), &lost.reset())
}

fn notice(event: &str, id: Mark, data: &str) -> Bytes {
    format!("event: {event}\nid: {id}\ndata: {data}\n\n").into()
}

fn event(shape: Shape, lineage: &Lineage, message: &Message, out: &mut Vec<u8>) {
    let next = lineage.at(Offset::new(message.offset.number() + 1));
    match shape {
        Shape::Json => one(next, &message.bytes, out),
        Shape::Text => one(
            next,
            String::from_utf8_lossy(&message.bytes).as_bytes(),
            out,
        ),
        Shape::Bytes => one(next, STANDARD.encode(&message.bytes).as_bytes(), out),
        Shape::Sse => several(next, &preframed::events(&message.bytes), out),
        Shape::Ndjson => {
            let lines = preframed::lines(&message.bytes).map(Bytes::copy_from_slice);
            let lines: Vec<_> = lines
                .map(|line| Event::new(Str::from_utf8_lossy(line)))
                .collect();
            several(next, &lines, out);
        }
    }
}

fn one(next: Mark, data: &[u8], out: &mut Vec<u8>) {
    id(next, out);
    encode_lines(b"data: ", data, out);
    out.push(b'\n');
}

/// Encodes the events of one message. Its offset is the id of the last event, after which the
/// message is complete.
fn several(next: Mark, events: &[Event], out: &mut Vec<u8>) {
    for (index, event) in events.iter().enumerate() {
        if index + 1 == events.len() {
            id(next, out);
        }
        if &*event.event != Event::DEFAULT_TYPE {
            encode_lines(b"event: ", event.event.as_bytes(), out);
        }
        encode_lines(b"data: ", event.data.as_bytes(), out);
        out.push(b'\n');
    }
}

fn id(next: Mark, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(&next.text());
    out.push(b'\n');
}

fn line(shape: Shape, message: &Bytes, out: &mut Vec<u8>) {
    match shape {
        Shape::Json => out.extend_from_slice(message),
        Shape::Text => string(&String::from_utf8_lossy(message), out),
        Shape::Bytes => string(&STANDARD.encode(message), out),
        Shape::Sse => {
            for event in preframed::events(message) {
                // Strings, and JSON that was parsed, can always be serialised.
                let _ = json::encode_on_one_line(&Described::from(&event), out);
                out.push(b'\n');
            }
            return;
        }
        Shape::Ndjson => {
            for line in preframed::lines(message) {
                match preframed::json(line) {
                    Some(value) => {
                        let _ = json::encode_on_one_line(value, out);
                    }
                    None => string(&String::from_utf8_lossy(line), out),
                }
                out.push(b'\n');
            }
            return;
        }
    }
    out.push(b'\n');
}

/// Encodes a JSON value, which is on one line, as an item: in an array after a comma, and in text
/// without the quotes of a string.
fn item(format: Format, value: &Bytes, out: &mut Vec<u8>) {
    let text = match format {
        Format::Text if value.starts_with(b"\"") => serde_json::from_slice::<String>(value).ok(),
        _ => None,
    };
    match format {
        Format::JsonSeq => out.push(json_seq::RECORD_SEPARATOR),
        Format::JsonArray => out.push(b','),
        _ => {}
    }
    out.extend_from_slice(text.as_deref().map_or(value, str::as_bytes));
    out.push(b'\n');
}

/// Encodes text as a JSON string on one line.
fn string(text: &str, out: &mut Vec<u8>) {
    // Text can always be serialised.
    let _ = json::encode_on_one_line(text, out);
}

/// Encodes the data event. Messages of text and bytes are concatenated.
fn data(shape: Shape, messages: &[Message], next: Mark, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: data\n");
    let one_line = || messages.iter().all(|message| is_one_line(&message.bytes));
    if shape == Shape::Json && one_line() {
        out.extend_from_slice(b"data:");
        array(messages.iter().map(|message| &message.bytes), out);
        out.push(b'\n');
    } else {
        let mut all = Vec::new();
        if shape == Shape::Json {
            array(messages.iter().map(|message| &message.bytes), &mut all);
        } else {
            for message in messages {
                all.extend_from_slice(&message.bytes);
            }
        }
        match shape {
            Shape::Json => encode_lines(b"data:", &all, out),
            Shape::Text | Shape::Sse => {
                encode_lines(b"data:", String::from_utf8_lossy(&all).as_bytes(), out);
            }
            Shape::Bytes | Shape::Ndjson => {
                encode_lines(b"data:", STANDARD.encode(&all).as_bytes(), out);
            }
        }
    }
    id(next, out);
    out.push(b'\n');
}

/// Encodes JSON values as one array.
pub(crate) fn array<'a>(messages: impl Iterator<Item = &'a Bytes>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (index, message) in messages.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(message);
    }
    out.push(b']');
}

/// Encodes the control event of the protocol's SSE, with the reader's position. The last one also
/// has the id that stops an `EventSource`, and the problem with which the stream was closed. Others
/// have no id, as the data event before them has it.
pub(crate) fn control(
    next: Mark,
    end: End,
    cursor: u64,
    failure: Option<&Problem>,
    out: &mut Vec<u8>,
) {
    let (rest, id) = match end {
        End::More => (format!(",\"streamCursor\":\"{cursor}\""), ""),
        End::Tail => (
            format!(",\"streamCursor\":\"{cursor}\",\"upToDate\":true"),
            "",
        ),
        End::Closed => (
            ",\"upToDate\":true,\"streamClosed\":true".to_owned(),
            END_ID,
        ),
    };
    let id = if id.is_empty() {
        String::new()
    } else {
        format!("id: {id}\n")
    };
    // A problem can always be serialised.
    let failure = failure.and_then(|problem| serde_json::to_string(problem).ok());
    let rest = match failure {
        Some(failure) => format!("{rest},\"streamError\":{failure}"),
        None => rest,
    };
    let event = format!("event: control\ndata:{{\"streamNextOffset\":\"{next}\"{rest}}}\n{id}\n");
    out.extend_from_slice(event.as_bytes());
}

/// Returns a control event without data before it. An `EventSource` resumes from its id.
pub(crate) fn waiting(next: Mark, cursor: u64) -> Bytes {
    let mut out = Vec::new();
    control(next, End::Tail, cursor, None, &mut out);
    out.pop();
    id(next, &mut out);
    out.push(b'\n');
    out.into()
}

fn is_one_line(text: &[u8]) -> bool {
    memchr2(b'\n', b'\r', text).is_none()
}
