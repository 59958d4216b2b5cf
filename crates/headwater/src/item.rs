use std::time::Duration;

use headwater_wire::Meta;
use serde::Serialize;

/// An item with what Server-Sent Events can say about it: an id, an event name, a retry time.
///
/// A stream may yield `Item<T>` in place of `T`. The other formats send the data alone.
///
/// ```
/// use headwater::Item;
///
/// let item = Item::new(["a", "b"]).id("17").event("letters");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<T> {
    pub(crate) data: T,
    meta: Option<Box<OwnedMeta>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OwnedMeta {
    id: Option<String>,
    event: Option<String>,
    retry: Option<Duration>,
}

impl<T> Item<T> {
    /// An item with nothing but its data.
    #[must_use]
    #[inline]
    pub const fn new(data: T) -> Self {
        Self { data, meta: None }
    }

    /// Sets the id. A client that comes back after a break says the last id that it saw, which a
    /// handler reads with [`LastEventId`](crate::LastEventId).
    ///
    /// An id with a line break or a NUL can't be sent: the stream fails there.
    #[must_use]
    #[allow(
        clippy::needless_pass_by_value,
        reason = "numbers and strings are passed as they are"
    )]
    pub fn id(mut self, id: impl ToString) -> Self {
        self.meta_mut().id = Some(id.to_string());
        self
    }

    /// Sets the event name, by which a page listens: `source.addEventListener(name, …)`. Without one,
    /// `onmessage` gets the event.
    ///
    /// A name with a line break can't be sent: the stream fails there.
    #[must_use]
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.meta_mut().event = Some(name.into());
        self
    }

    /// Sets how long a client should wait before it reconnects, in whole milliseconds.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.meta_mut().retry = Some(retry);
        self
    }

    fn meta_mut(&mut self) -> &mut OwnedMeta {
        self.meta.get_or_insert_default()
    }

    #[inline]
    pub(crate) fn meta(&self) -> Meta<'_> {
        let mut meta = Meta::default();
        if let Some(own) = &self.meta {
            meta.id = own.id.as_deref();
            meta.event = own.event.as_deref();
            meta.retry = own.retry;
        }
        meta
    }
}

/// What a stream may yield for items of type `T`: a `T`, or an [`Item<T>`].
pub trait IntoItem<T> {
    /// Gives the item.
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
