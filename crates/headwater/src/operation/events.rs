use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::Item;

/// A union of items, each variant of which goes out under an SSE event name of its own.
///
/// Derive it on an enum that serde tags; the names are serde's names of the variants:
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
/// In SSE that is `event: token` and `data: {"type":"token","text":"Hello"}`; the data are the same in every
/// format. The OpenAPI document has a union by event name.
#[diagnostic::on_unimplemented(
    message = "the variants of `{Self}` have no event names",
    note = "put `#[derive(headwater::Events)]` on the enum, beside serde's `#[serde(tag = \"type\")]`"
)]
pub trait Events {
    /// The event names, in the order of the variants.
    const NAMES: &'static [&'static str];

    /// The event name of this one.
    fn event(&self) -> &'static str;
}

/// An item that goes out under its variant's event name; see [`Events`].
///
/// It is made by [`Streaming::events`](crate::Streaming::events) and [`Event::item`], which set the name, and nowhere
/// else: so no item can go without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<T: Events>(T);

impl<T: Events> Event<T> {
    /// The item, to which an id or a retry time may be added. An event name that is set after this wins over the
    /// variant's, and is then not what the document says.
    pub fn item(data: T) -> Item<Self> {
        let event = data.event();
        Item::new(Self(data)).event(event)
    }
}

impl<T: Events> Event<T> {
    /// Gives the data.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Events + Serialize> Serialize for Event<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The name by which the document knows a union; see [`names`].
const NAMES: &str = "x-headwater-events";

/// The schema of the union itself, with a note of the event names for the document to find.
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

/// Takes the event names out of a schema, if it is that of an [`Event`].
pub(crate) fn take_names(schema: &mut Schema) -> Option<Vec<String>> {
    let names = schema.remove(NAMES)?;
    serde_json::from_value(names).ok()
}
