//! Messages that are themselves in a streaming format, as a relay stores its upstream's response:
//! whole events of `text/event-stream`, whole lines of `application/x-ndjson`.

use bytes::Bytes;
use headwater::StatusCode;
use headwater_wire::{
    Event, Limits,
    json::without_bom,
    sse::{self, Decoder, Splitter},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Shape;
use crate::error::Failure;

/// The marker that LLM APIs send as the data of their last event. It is not an item.
pub(crate) const DONE: &str = "[DONE]";

/// Splits a body that isn't JSON into messages. In the streaming formats each event or line is one
/// message, including its terminator, and so is the rest at the end. Any other body is one message.
/// Concatenated, the messages are the body.
///
/// # Errors
/// - 413: there are more than `most` messages. Further ones are not examined.
/// - 422: an event has a type or an id that is reserved for Headwater's own events.
pub(crate) fn messages(shape: Shape, body: Bytes, most: usize) -> Result<Vec<Bytes>, Failure> {
    // One message over the limit shows that there are too many.
    let messages: Vec<Bytes> = match shape {
        Shape::Sse => {
            let mut splitter = Splitter::new(Limits::default().with_max_item_bytes(body.len()));
            splitter.push(body);
            splitter.finish();
            // No block of a body is longer than the body.
            let blocks = std::iter::from_fn(|| splitter.next().ok().flatten());
            blocks
                .map(|block| block.bytes)
                .take(most.saturating_add(1))
                .collect()
        }
        Shape::Ndjson => {
            let lines = body.split_inclusive(|&byte| byte == b'\n');
            lines
                .map(|line| body.slice_ref(line))
                .take(most.saturating_add(1))
                .collect()
        }
        Shape::Json | Shape::Text | Shape::Bytes => vec![body],
    };
    if messages.len() > most {
        return Err(Failure::too_many_messages(most));
    }
    check(shape, &messages)?;
    Ok(messages)
}

/// Checks that no event of `messages` has a type or an id that is reserved for Headwater's own
/// events.
fn check(shape: Shape, messages: &[Bytes]) -> Result<(), Failure> {
    if shape != Shape::Sse {
        return Ok(());
    }
    for (index, message) in messages.iter().enumerate() {
        if let Some((field, value)) = sse::reserved_field(message) {
            let detail = format!(
                "message {index} has the field `{field}: {value}`: event types and ids that begin with {:?} are \
                 reserved for Headwater",
                sse::RESERVED_PREFIX
            );
            return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("index", index));
        }
    }
    Ok(())
}

/// Returns the events of a message, without the ones that only mark the end of the stream they came
/// from.
///
/// Each message is decoded as the start of a stream: an id doesn't persist from one message to the
/// next.
pub(crate) fn events(message: &Bytes) -> Vec<Event> {
    let mut decoder = Decoder::new(Limits::default().with_max_item_bytes(message.len()));
    decoder.push(message.clone());
    decoder.finish();
    let mut events = Vec::new();
    // No field of a message is longer than the message.
    while let Ok(Some(event)) = decoder.next() {
        if !sse::is_reserved(&event.event) && &*event.data != DONE {
            events.push(event);
        }
    }
    events
}

/// Returns the non-empty lines of a message, without their terminators.
pub(crate) fn lines(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = message.split(|&byte| byte == b'\n');
    lines
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

/// Returns a line as JSON, without a byte order mark, or `None` if it isn't JSON.
pub(crate) fn json(line: &[u8]) -> Option<&RawValue> {
    serde_json::from_slice(without_bom(line)).ok()
}

/// An event as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Described<'a> {
    /// Its type, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    /// Its id, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    data: Data<'a>,
}

/// The data of an event: the JSON value if it is one on a single line, otherwise a string.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Json(&'a RawValue),
    Text(&'a str),
}

impl<'a> From<&'a Event> for Described<'a> {
    fn from(event: &'a Event) -> Self {
        let data = &*event.data;
        let json = Some(data)
            .filter(|data| !data.contains(['\n', '\r']))
            .and_then(|data| json(data.as_bytes()));
        Self {
            event: Some(&*event.event).filter(|name| *name != Event::DEFAULT_TYPE),
            id: Some(&*event.id).filter(|id| !id.is_empty()),
            data: json.map_or(Data::Text(data), Data::Json),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn described(message: &'static str, expected: &[&str]) {
        let events = events(&Bytes::from_static(message.as_bytes()));
        let found: Vec<_> = events
            .iter()
            .map(|event| serde_json::to_string(&Described::from(event)).unwrap())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_event_keeps_its_name_its_id_and_its_data() {
        described(
            "event: token\nid: 7\ndata: {\"text\":\"a\"}\n\n",
            &[r#"{"event":"token","id":"7","data":{"text":"a"}}"#],
        );
        described("data: one\ndata: two\n\n", &[r#"{"data":"one\ntwo"}"#]);
        described("data: [1,\ndata: 2]\r\n\r\n", &[r#"{"data":"[1,\n2]"}"#]);
    }

    #[test]
    fn comments_and_end_markers_are_left_out() {
        described(": comment\n\n", &[]);
        described("data: unfinished", &[]);
        described("data: [DONE]\n\n", &[]);
        described(
            "event: headwater:end\nid: headwater:end\ndata: {\"items\":2}\n\n",
            &[],
        );
        described("event: headwater:error\ndata: {}\n\n", &[]);
        described("data: 1\n\ndata: [DONE]\n\n", &[r#"{"data":1}"#]);
    }

    #[test]
    fn foreign_end_and_error_events_are_events() {
        described("event: end\ndata: 1\n\n", &[r#"{"event":"end","data":1}"#]);
        described(
            "event: error\ndata: 1\n\n",
            &[r#"{"event":"error","data":1}"#],
        );
    }

    #[test]
    fn reserved_types_and_ids_are_only_refused_in_events() {
        let check = |shape, body: &'static str| {
            let messages = messages(shape, Bytes::from_static(body.as_bytes()), 9);
            messages.map(drop).map_err(|failure| failure.into_problem())
        };
        for body in [
            "data: 1\n\nevent: headwater:end\ndata: 2\n\n",
            "data: 1\n\nid: headwater:end\n\n",
            "data: 1\n\nid:headwater:x\r\ndata: 2\r\n\r\n",
            "data: 1\n\nevent: headwater:error",
        ] {
            let problem = check(Shape::Sse, body).unwrap_err();
            assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
            let problem = serde_json::to_value(problem).unwrap();
            assert_eq!(problem["index"], 1, "{problem}");
            assert!(check(Shape::Text, body).is_ok());
        }
        assert!(check(Shape::Sse, "event: end\nid: end\ndata: headwater:end\n\n").is_ok());
    }

    #[test]
    fn a_body_is_split_into_its_events_or_lines_without_loss() {
        let check = |shape, body: &'static str, expected: &[&str]| {
            let found = messages(shape, Bytes::from_static(body.as_bytes()), 9);
            let Ok(found) = found else {
                panic!("{body} is refused")
            };
            assert_eq!(found, expected);
            assert_eq!(found.concat(), body.as_bytes());
        };
        let cut = ["data: 1\r\n\r\n", ": x\ndata: 2\n\n", "data: 3"];
        check(Shape::Sse, "data: 1\r\n\r\n: x\ndata: 2\n\ndata: 3", &cut);
        check(Shape::Ndjson, "1\n\n2\r\n3", &["1\n", "\n", "2\r\n", "3"]);
        check(
            Shape::Text,
            "data: 1\n\ndata: 2\n\n",
            &["data: 1\n\ndata: 2\n\n"],
        );
    }

    #[test]
    fn the_number_of_messages_in_a_body_is_limited() {
        for (shape, three) in [
            (Shape::Sse, "data: 1\n\n".repeat(3)),
            (Shape::Ndjson, "\n".repeat(3)),
        ] {
            let three = Bytes::from(three);
            assert!(messages(shape, three.clone(), 3).is_ok_and(|all| all.len() == 3));
            let Err(failure) = messages(shape, three, 2) else {
                panic!("it was let through")
            };
            assert_eq!(
                failure.into_problem().status(),
                StatusCode::PAYLOAD_TOO_LARGE
            );
        }
    }

    #[test]
    fn empty_lines_are_skipped() {
        let found: Vec<_> = lines(b"1\r\n\n {\"a\":2} \nx").collect();
        assert_eq!(found, [&b"1"[..], b"{\"a\":2}", b"x"]);
        assert!(json(b"x").is_none() && json(b"\"\xff\"").is_none());
    }
}
