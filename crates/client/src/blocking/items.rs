use std::{fmt, sync::Arc};

use http::{HeaderMap, StatusCode};

use super::Runtime;
use crate::{Format, error::Error};

/// The items of a response as they arrive, each complete. The iterator waits for the next item.
///
/// Without an error before it, `None` means that the stream is finished: see [`crate::Items`].
/// Dropping `Items` closes the connection, or for HTTP/2 the stream within it.
pub struct Items<T> {
    items: crate::Items<T>,
    runtime: Arc<Runtime>,
}

impl<T> Items<T> {
    pub(super) fn new(items: crate::Items<T>, runtime: Arc<Runtime>) -> Self {
        Self { items, runtime }
    }

    /// Returns an item that has already been received, decoding it if necessary, without waiting
    /// for the network. `None` doesn't mean that the stream has ended.
    ///
    /// # Errors
    /// As for the iterator.
    #[inline]
    pub fn next_ready(&mut self) -> Option<Result<T, Error>> {
        self.items.next_ready()
    }

    /// The status of the newest response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.items.status()
    }

    /// The headers of the newest response.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.items.headers()
    }

    /// The format that is being read: see [`crate::Items::format`].
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.items.format()
    }

    /// The id of the last event that was yielded: see [`crate::Items::last_event_id`].
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.items.last_event_id()
    }
}

impl<T> Iterator for Items<T> {
    type Item = Result<T, Error>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self.items.next_ready() {
            Some(item) => Some(item),
            None => self.runtime.block_on(self.items.next()),
        }
    }
}

impl<T> Drop for Items<T> {
    fn drop(&mut self) {
        if self.items.close() {
            self.runtime.settle();
        }
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}
