//! The content of a stream in each format.

use headwater_wire::{Format, sse};
use schemars::Schema;
use serde_json::{Value, json};

use super::OpenApi;
use crate::operation::{take_names, take_notices};

/// Returns the media type object of a stream of `item`s. `problem` is the schema of an error.
pub(crate) fn media_type(
    format: Format,
    mut item: Schema,
    problem: &Value,
    version: OpenApi,
) -> Value {
    let names = take_names(&mut item);
    let has_notices = take_notices(&mut item);
    let item = item.to_value();
    match (format, version) {
        (Format::JsonArray, _) => json!({"schema": {"type": "array", "items": item}}),
        (Format::Text, _) => json!({
            "schema": {
                "type": "string",
                "description": "A line for each item: a string as it is, anything else as JSON.",
            },
        }),
        (Format::Sse, version) => {
            let member = match version {
                OpenApi::V3_2 => "itemSchema",
                OpenApi::V3_1 => "schema",
            };
            json!({member: event(&item, names.as_deref(), has_notices, problem)})
        }
        (_, OpenApi::V3_2) => json!({"itemSchema": item}),
        (_, OpenApi::V3_1) => json!({"schema": item}),
    }
}

/// Returns the schema of an event of an SSE stream (OpenAPI 3.2 §4.14.4, Special Considerations for
/// Server-Sent Events).
fn event(item: &Value, names: Option<&[String]>, has_notices: bool, problem: &Value) -> Value {
    let mut kinds = Vec::new();
    match (names, variants(item, names.map_or(0, <[_]>::len))) {
        (Some(names), Some(variants)) => {
            for (name, variant) in names.iter().zip(variants) {
                kinds.push(kind(name, &json!({"const": name}), &variant));
            }
        }
        (Some(names), None) => kinds.push(kind("Item", &json!({"enum": names}), item)),
        (None, _) => kinds.push(json!({
            "title": "Item",
            "properties": {
                "event": {"not": {"pattern": format!("^{}", sse::RESERVED_PREFIX)}},
                "data": data(item),
            },
        })),
    }
    let end = json!({
        "type": "object",
        "required": ["items"],
        "properties": {"items": {"type": "integer", "description": "The number of items."}},
    });
    let mut end = kind("End", &json!({"const": sse::END_EVENT}), &end);
    end["description"] = "The stream is complete.".into();
    end["properties"]["id"] = json!({"const": sse::END_ID});
    kinds.push(end);
    let mut error = kind("Error", &json!({"const": sse::ERROR_EVENT}), problem);
    error["description"] = "The stream failed. The response is cut after it.".into();
    kinds.push(error);
    if has_notices {
        kinds.push(notice());
    }
    json!({
        "type": "object",
        "required": ["data"],
        "properties": {
            "data": {"type": "string"},
            "event": {"type": "string"},
            "id": {"type": "string"},
            "retry": {"type": "integer", "minimum": 0},
        },
        "oneOf": kinds,
    })
}

/// Returns the schema of the events of reserved types that aren't an end.
fn notice() -> Value {
    let others = json!({
        "pattern": format!("^{}", sse::RESERVED_PREFIX),
        "not": {"enum": [sse::END_EVENT, sse::ERROR_EVENT]},
    });
    let mut notice = kind("Notice", &others, &json!({"type": "object"}));
    notice["description"] =
        "Something about the stream, such as that messages are gone. It is not an item.".into();
    notice
}

/// Returns the schema of events with one name.
fn kind(title: &str, event: &Value, data_schema: &Value) -> Value {
    json!({
        "title": title,
        "required": ["event"],
        "properties": {"event": event, "data": data(data_schema)},
    })
}

fn data(schema: &Value) -> Value {
    json!({"type": "string", "contentMediaType": "application/json", "contentSchema": schema})
}

/// Returns the schemas of a union's variants, if there are `count` of them.
fn variants(item: &Value, count: usize) -> Option<Vec<Value>> {
    if let Some(reference) = item.get("$ref") {
        // `#/oneOf/2` of the component: the variants stay in their place.
        let reference = reference.as_str()?;
        return Some(
            (0..count)
                .map(|n| json!({"$ref": format!("{reference}/oneOf/{n}")}))
                .collect(),
        );
    }
    let variants = item.get("oneOf")?.as_array()?;
    (variants.len() == count).then(|| variants.clone())
}
