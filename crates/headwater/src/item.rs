use std::{borrow::Cow, fmt, time::Duration};

use headwater_wire::{Meta, sse};
use serde::Serialize;

use crate::Problem;

/// An item with the optional fields of an SSE event: an id, an event name and a retry time.
///
/// A stream may yield `Item<T>` in place of `T`. The other formats send only the data.
///
/// ```
/// use headwater::Item;
///
/// let item = Item::new(["a", "b"]).id(17).event("letters");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<T> {
    pub(crate) data: T,
    pub(crate) id: Option<ItemId>,
    event: Option<Cow<'static, str>>,
    retry: Option<Duration>,
}

impl<T> Item<T> {
    /// Creates an item with only its data.
    #[must_use]
    #[inline]
    pub const fn new(data: T) -> Self {
        Self {
            data,
            id: None,
            event: None,
            retry: None,
        }
    }

    /// Sets the id, a number or a string. A reconnecting client sends the last id that it received,
    /// which a handler reads with [`LastEventId`](crate::LastEventId).
    ///
    /// The stream fails at an id that contains a line break or a NUL, or that begins with
    /// `headwater:`, which is reserved.
    #[must_use]
    #[inline]
    pub fn id(mut self, id: impl Into<ItemId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the event name, for which a page listens with `source.addEventListener(name, …)`.
    /// Without one, the event goes to `onmessage`.
    ///
    /// The stream fails at a name that contains a line break, or that begins with `headwater:`,
    /// which is reserved. `end` and `error` are ordinary names, but a browser's `EventSource`
    /// dispatches an `error` of its own when a connection fails.
    #[must_use]
    #[inline]
    pub fn event(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// Sets how long a client waits before it reconnects, in whole milliseconds.
    #[must_use]
    #[inline]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Returns the event name or id if it is reserved, with its kind.
    #[inline]
    pub(crate) fn reserved(&self) -> Option<(&'static str, &str)> {
        let id = match &self.id {
            Some(ItemId(Id::Text(text))) => Some(&**text),
            Some(ItemId(Id::Number(_))) | None => None,
        };
        [("event name", self.event.as_deref()), ("id", id)]
            .into_iter()
            .find_map(|(what, text)| Some((what, text.filter(|text| sse::is_reserved(text))?)))
    }

    /// Returns the SSE fields of the item. `digits` is the buffer for a numeric id.
    #[inline]
    pub(crate) fn meta<'a>(&'a self, digits: &'a mut itoa::Buffer) -> Meta<'a> {
        let mut meta = Meta::default();
        meta.id = match &self.id {
            None => None,
            Some(ItemId(Id::Number(number))) => Some(digits.format(*number)),
            Some(ItemId(Id::Text(text))) => Some(text),
        };
        meta.event = self.event.as_deref();
        meta.retry = self.retry;
        meta
    }
}

/// An item's id: a string or an integer. An integer is sent as decimal digits and needs no
/// allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct ItemId(Id);

#[derive(Clone, PartialEq, Eq)]
enum Id {
    Number(i128),
    Text(Cow<'static, str>),
}

impl From<&'static str> for ItemId {
    fn from(id: &'static str) -> Self {
        Self(Id::Text(id.into()))
    }
}

impl From<String> for ItemId {
    fn from(id: String) -> Self {
        Self(Id::Text(id.into()))
    }
}

impl From<&String> for ItemId {
    fn from(id: &String) -> Self {
        Self(Id::Text(id.clone().into()))
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for ItemId {
            #[inline]
            fn from(id: $integer) -> Self {
                Self(Id::Number(id.into()))
            }
        }
    )*};
}

from_integers!(u8, u16, u32, u64, i8, i16, i32, i64);

impl From<usize> for ItemId {
    #[inline]
    fn from(id: usize) -> Self {
        // No platform has a `usize` that exceeds `i128`.
        Self(Id::Number(i128::try_from(id).unwrap_or(i128::MAX)))
    }
}

impl fmt::Debug for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Id::Number(number) => number.fmt(f),
            Id::Text(text) => text.fmt(f),
        }
    }
}

/// A value that can be sent as an item of type `T`: a `T` or an [`Item<T>`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an item of this stream",
    label = "a sender sends the stream's item type, or an `Item` of it",
    note = "an error is not an item: `Sender::fail` ends the stream with it, and `Streaming::try_new` takes a \
        stream of `Result`s",
    note = "items are serialised: the type needs `#[derive(serde::Serialize)]`"
)]
pub trait IntoItem<T> {
    /// Converts the value to an item.
    fn into_item(self) -> Item<T>;
}

impl<T: Serialize> IntoItem<T> for T {
    #[inline]
    fn into_item(self) -> Item<T> {
        Item::new(self)
    }
}

impl<T: Serialize> IntoItem<T> for Item<T> {
    #[inline]
    fn into_item(self) -> Item<T> {
        self
    }
}

/// A value that a stream of items of type `T` may yield: a `T`, an [`Item<T>`], or a `Result` of
/// one of them. The first error ends the stream.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an item of this stream",
    label = "a stream yields items of its type, `Item`s of them, or a `Result` of one of the two",
    note = "of a `Result`, the error becomes a `Problem`: it is an error type (`std::error::Error`), or a `Problem` itself",
    note = "items are serialised: the type needs `#[derive(serde::Serialize)]`"
)]
pub trait StreamItem<T> {
    /// Converts the value to an item.
    ///
    /// # Errors
    /// The value is the error with which the stream ends.
    fn into_result(self) -> Result<Item<T>, Problem>;
}

impl<T: Serialize> StreamItem<T> for T {
    #[inline]
    fn into_result(self) -> Result<Item<T>, Problem> {
        Ok(Item::new(self))
    }
}

impl<T: Serialize> StreamItem<T> for Item<T> {
    #[inline]
    fn into_result(self) -> Result<Item<T>, Problem> {
        Ok(self)
    }
}

impl<T: Serialize, E: Into<Problem>> StreamItem<T> for Result<T, E> {
    #[inline]
    fn into_result(self) -> Result<Item<T>, Problem> {
        self.map(Item::new).map_err(Into::into)
    }
}

impl<T: Serialize, E: Into<Problem>> StreamItem<T> for Result<Item<T>, E> {
    #[inline]
    fn into_result(self) -> Result<Item<T>, Problem> {
        self.map_err(Into::into)
    }
}
