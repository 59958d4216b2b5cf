//! Schemas of the types that streams and errors are made of. These types don't depend on schemas.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{Event, Events, Problem};

/// Keyword that marks a union's schema for the document. See [`take_names`].
const NAMES: &str = "x-headwater-events";

/// The schema of the union itself, annotated with the event names for the document.
impl<T: JsonSchema + Events> JsonSchema for Event<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("headwater::Event<{}>", T::schema_id()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<T>();
        schema.insert(NAMES.to_owned(), T::NAMES.into());
        schema
    }
}

/// Removes and returns the event names of a schema, if it is that of an [`Event`].
pub(crate) fn take_names(schema: &mut Schema) -> Option<Vec<String>> {
    let names = schema.remove(NAMES)?;
    serde_json::from_value(names).ok()
}

/// Keyword that marks the schema of items whose stream has notices, too: events of reserved types, as a
/// hub's.
const NOTICES: &str = "x-headwater-notices";

/// Removes the mark of items whose stream has notices. Returns `true` if it was there.
pub(crate) fn take_notices(schema: &mut Schema) -> bool {
    schema.remove(NOTICES).is_some()
}

impl JsonSchema for Problem {
    fn schema_name() -> Cow<'static, str> {
        "Problem".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What went wrong (RFC 9457).",
            "type": "object",
            "required": ["title", "status"],
            "properties": {
                "type": {
                    "type": "string",
                    "format": "uri-reference",
                    "description": "Names the kind of problem.",
                },
                "title": {"type": "string", "description": "The kind of problem, in words."},
                "status": {"type": "integer", "minimum": 100, "maximum": 599},
                "detail": {"type": "string", "description": "What went wrong this time."},
                "instance": {
                    "type": "string",
                    "format": "uri-reference",
                    "description": "Names this occurrence.",
                },
            },
        })
    }
}
