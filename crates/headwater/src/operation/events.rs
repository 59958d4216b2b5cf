use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::Item;

/// A union of items. Each variant is sent under its own SSE event name.
///
/// Derive it on an enum with serde's `tag` attribute. The names are serde's names of the variants:
///
/// ```
/// use futures_util::stream;
/// use headwater::{Event, Events, Streaming};
/// use schemars::JsonSchema;
///
/// #[derive(serde::Serialize, JsonSchema, Events)]
/// #[serde(tag = "type", rename_all = "snake_case")]
/// enum Chat {
///     Token { text: String },
///     ToolCall { name: String },
/// }
///
/// async fn answer() -> Streaming<Event<Chat>> {
///     let token = Chat::Token { text: "Hello".to_owned() };
///     Streaming::events(stream::iter([token]))
/// }
///
/// assert_eq!(Chat::NAMES, ["token", "tool_call"]);
/// ```
///
/// In SSE, the item above is `event: token` and `data: {"type":"token","text":"Hello"}`. The data
/// is the same in every format. The OpenAPI document describes a union by event name.
#[diagnostic::on_unimplemented(
    message = "the variants of `{Self}` have no event names",
    note = "put `#[derive(headwater::Events)]` on the enum, beside serde's `#[serde(tag = \"type\")]`"
)]
pub trait Events {
    /// Event names, in the order of the variants.
    const NAMES: &'static [&'static str];

    /// Returns the event name of this variant.
    fn event(&self) -> &'static str;
}

/// An item that is sent under its variant's event name. See [`Events`].
///
/// Only [`Streaming::events`](crate::Streaming::events) and [`Event::item`] create it, and both set
/// the name. So every such item has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<T: Events>(T);

impl<T: Events> Event<T> {
    /// Creates an item with its variant's event name. An id or a retry time may be added. A later
    /// [`Item::event`] replaces the variant's name, and then doesn't match the document.
    pub fn item(data: T) -> Item<Self> {
        let event = data.event();
        Item::new(Self(data)).event(event)
    }
}

impl<T: Events> Event<T> {
    /// Returns the data.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Events + Serialize> Serialize for Event<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

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
