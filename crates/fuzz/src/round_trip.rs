//! Items through each encoder and decoder.

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use headwater_wire::{Encoder, Format, Limits, Meta, sse};
use serde_json::{Value, json};

use crate::chunking::{Cuts, HEAD, decode};

#[derive(Debug, Arbitrary)]
struct Input {
    cuts: [u8; HEAD],
    items: Vec<Item>,
    /// Text with line breaks, which only SSE can carry.
    text: String,
}

#[derive(Debug, Arbitrary)]
struct Item {
    id: Option<String>,
    event: Option<String>,
    value: Json,
}

#[derive(Debug, Arbitrary)]
enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => value.into(),
            Json::Integer(value) => value.into(),
            Json::String(value) => value.into(),
            Json::Array(values) => values.into_iter().map(Self::from).collect(),
            Json::Object(members) => members
                .into_iter()
                .map(|(name, value)| (name, Self::from(value)))
                .collect(),
        }
    }
}

/// Encodes items in each format, and checks that decoding returns them.
///
/// # Panics
/// If it doesn't.
pub fn round_trip(input: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(input)) else {
        return;
    };
    let (cuts, _) = Cuts::parse(&input.cuts).expect("the head is complete");
    // A string alone would be written as it is in the text format, so each value is wrapped: `[value]`.
    let items: Vec<_> = input
        .items
        .into_iter()
        .map(|item| (item.id, item.event, json!([Value::from(item.value)])))
        .collect();
    for format in Format::ALL {
        round_trip_in(format, &items, &cuts);
    }

    let mut bytes = Vec::new();
    sse::encode_text(&Meta::default(), &input.text, &mut bytes).expect("the metadata is empty");
    let outcome = decode(Format::Sse, Limits::default(), cuts.chunks(&bytes));
    let event = outcome.results[0].as_ref().expect("the event is small");
    assert_eq!(
        event.data,
        input
            .text
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .as_str()
    );
}

fn round_trip_in(format: Format, items: &[(Option<String>, Option<String>, Value)], cuts: &Cuts) {
    let mut encoder = Encoder::new(format);
    let mut bytes = Vec::new();
    let mut written = Vec::new();
    for (id, event, value) in items {
        let mut meta = Meta::default();
        meta.id = id.as_deref();
        meta.event = event.as_deref();
        let before = bytes.len();
        match encoder.item(&meta, value, &mut bytes) {
            Ok(()) => written.push((id, event, value)),
            Err(error) => {
                assert!(error.is_field() && format == Format::Sse);
                assert_eq!(bytes.len(), before, "an error leaves the output as it was");
            }
        }
    }
    encoder.end(&mut bytes);

    let limits = Limits::default().with_max_depth(usize::MAX);
    let outcome = decode(format, limits, cuts.chunks(&bytes));
    assert_eq!(outcome, decode(format, limits, [Bytes::from(bytes)]));
    assert_eq!(outcome.results.len(), written.len());
    let mut last_id = "";
    for (result, (id, event, value)) in outcome.results.iter().zip(written) {
        let decoded = result.as_ref().expect("what was encoded is valid");
        if value_depth(value) < 100 {
            let data: Value = serde_json::from_str(&decoded.data).expect("the data is JSON");
            assert_eq!(&data, value);
        }
        if format == Format::Sse {
            last_id = id.as_deref().unwrap_or(last_id);
            assert_eq!(decoded.id, last_id);
            let event = event
                .as_deref()
                .filter(|event| !event.is_empty())
                .unwrap_or("message");
            assert_eq!(decoded.event, event);
        }
    }
}

/// The depth of a value. `serde_json` reads up to 127 levels.
fn value_depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(value_depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(value_depth).max().unwrap_or(0),
        _ => 0,
    }
}
