use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::Runtime;
use crate::{Format, error::Error};

/// Defines the iterator of a type over the async type of the same name.
macro_rules! waiting {
    ($name:ident.$inner:ident -> $item:ty) => {
        impl<T> $name<T> {
            /// Returns an item that has already been received, decoding it if necessary, without
            /// waiting for the network. `None` doesn't mean that the stream has ended.
            ///
            /// # Errors
            /// As for the iterator.
            #[inline]
            pub fn next_ready(&mut self) -> Option<Result<$item, Error>> {
                self.$inner.next_ready()
            }
        }

        impl<T> Iterator for $name<T> {
            type Item = Result<$item, Error>;

            #[inline]
            fn next(&mut self) -> Option<Self::Item> {
                match self.$inner.next_ready() {
                    Some(item) => Some(item),
                    None => self.runtime.block_on(self.$inner.next()),
                }
            }
        }

        impl<T> Drop for $name<T> {
            fn drop(&mut self) {
                if self.$inner.close() {
                    self.runtime.settle();
                }
            }
        }

        impl<T> std::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.$inner.fmt(f)
            }
        }
    };
}
pub(super) use waiting;

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

waiting!(Items.items -> T);
