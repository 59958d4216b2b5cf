//! The forms in which live readers get messages. Pure: messages in, bytes out.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use headwater_log::{Message, Offset};
use headwater_wire::sse::{END_EVENT, END_ID};
use memchr::memchr2;

use crate::{create::is_json, offset::essence};

/// What the messages of a stream are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// JSON values.
    Json,
    /// Text.
    Text,
    /// Anything else.
    Bytes,
}

impl Shape {
    /// What a content type stands for.
    pub(crate) fn of(content_type: &str) -> Self {
        if is_json(content_type) {
            Self::Json
        } else if essence(content_type).starts_with("text/") {
            Self::Text
        } else {
            Self::Bytes
        }
    }
}

/// The form that a reader asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One event for each message, with the offset after it as its id: what an `EventSource` wants.
    Events,
    /// One line for each message.
    Lines,
    /// The protocol's own SSE: one data event for a batch, and a control event after it.
    Protocol,
}

/// What is known of the stream at the end of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// More follows.
    More,
    /// There was no more at the time.
    Tail,
    /// There will be no more.
    Closed,
}

/// Messages in a form. `messages` are not empty; `next` is the offset after them.
pub(crate) fn encode(
    form: Form,
    shape: Shape,
    messages: &[Message],
    next: Offset,
    end: End,
    cursor: u64,
) -> Bytes {
    let bytes: usize = messages
        .iter()
        .map(|message| message.bytes.len() + 48)
        .sum();
    let mut out = Vec::with_capacity(bytes + 160);
    match form {
        Form::Events => {
            for message in messages {
                event(shape, message, &mut out);
            }
        }
        Form::Lines => {
            for message in messages {
                line(shape, &message.bytes, &mut out);
            }
        }
        Form::Protocol => {
            data(shape, messages, next, &mut out);
            control(next, end, cursor, &mut out);
        }
    }
    out.into()
}

/// The data event of the protocol's SSE.
pub(crate) fn data_event(shape: Shape, messages: &[Message], next: Offset) -> Bytes {
    let mut out = Vec::new();
    data(shape, messages, next, &mut out);
    out.into()
}

/// What ends a complete response, where the form has such a thing: with how many messages the stream has had.
pub(crate) fn end(form: Form, next: Offset) -> Option<Bytes> {
    let items = next.number();
    let data = format!("{{\"items\":{items},\"offset\":\"{next}\"}}");
    let marker = format!("event: {END_EVENT}\nid: {END_ID}\ndata: {data}\n\n");
    matches!(form, Form::Events).then(|| marker.into())
}

fn event(shape: Shape, message: &Message, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    let next = Offset::new(message.offset.number() + 1);
    out.extend_from_slice(next.to_string().as_bytes());
    out.push(b'\n');
    match shape {
        Shape::Json => fields(b"data: ", &message.bytes, out),
        Shape::Text => fields(
            b"data: ",
            String::from_utf8_lossy(&message.bytes).as_bytes(),
            out,
        ),
        Shape::Bytes => fields(b"data: ", STANDARD.encode(&message.bytes).as_bytes(), out),
    }
    out.push(b'\n');
}

fn line(shape: Shape, message: &[u8], out: &mut Vec<u8>) {
    match shape {
        Shape::Json => out.extend_from_slice(message),
        Shape::Text => string(&String::from_utf8_lossy(message), out),
        Shape::Bytes => string(&STANDARD.encode(message), out),
    }
    out.push(b'\n');
}

/// Text as a JSON string.
fn string(text: &str, out: &mut Vec<u8>) {
    // Text always serialises.
    let _ = serde_json::to_writer(out, text);
}

/// Of text and bytes the data event holds one run of all messages.
fn data(shape: Shape, messages: &[Message], next: Offset, out: &mut Vec<u8>) {
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
            Shape::Json => fields(b"data:", &all, out),
            Shape::Text => fields(b"data:", String::from_utf8_lossy(&all).as_bytes(), out),
            Shape::Bytes => fields(b"data:", STANDARD.encode(&all).as_bytes(), out),
        }
    }
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(next.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// JSON values as one array.
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

/// The event that says where a reader of the protocol's SSE is. The id that ends an `EventSource` for good goes with
/// the last.
pub(crate) fn control(next: Offset, end: End, cursor: u64, out: &mut Vec<u8>) {
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
    let event = format!("event: control\ndata:{{\"streamNextOffset\":\"{next}\"{rest}}}\n{id}\n");
    out.extend_from_slice(event.as_bytes());
}

fn is_one_line(text: &[u8]) -> bool {
    memchr2(b'\n', b'\r', text).is_none()
}

/// Each line of `text` as a field. Readers take one space off a value's start, so one that has a space there gets
/// another (WHATWG HTML §9.2.6).
fn fields(prefix: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        out.extend_from_slice(prefix);
        if rest.starts_with(b" ") && prefix.ends_with(b":") {
            out.push(b' ');
        }
        let Some(at) = memchr2(b'\n', b'\r', rest) else {
            out.extend_from_slice(rest);
            out.push(b'\n');
            return;
        };
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        let width = if rest[at..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = &rest[at + width..];
    }
}
