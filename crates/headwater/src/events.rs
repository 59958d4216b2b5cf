use serde::{Serialize, Serializer};

use crate::Item;

/// A union of items. Each variant is sent under its own SSE event name.
///
/// Derive it on an enum with serde's `tag` attribute. The names are serde's names of the variants:
///
/// ```
/// use futures_util::stream;
/// use headwater::{Event, Events, Streaming};
///
/// #[derive(serde::Serialize, Events)]
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
/// is the same in every format. In an `App` the enum also derives `JsonSchema`, and the OpenAPI
/// document describes a union by event name.
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
