use futures_core::Stream;
use futures_util::stream;
use headwater_client::internals::Exchange;

use super::{Fault, Item, Kind, items::Items};

/// An upstream that responded, or a feed that will reconnect. Dropping it closes the connection.
pub(crate) struct Upstream {
    exchange: Exchange,
    items: Items,
    content_type: Option<String>,
}

impl Upstream {
    pub(super) fn new(exchange: Exchange, items: Items, content_type: Option<String>) -> Self {
        Self {
            exchange,
            items,
            content_type,
        }
    }

    /// Returns the upstream's content type unchanged, if its response has one.
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Returns the kind of items that the body is split into.
    pub(crate) fn kind(&self) -> Kind {
        self.items.kind()
    }

    /// Returns the items, followed by the end or by a fault. Dropping the stream closes the
    /// connection at once.
    pub(crate) fn into_items(
        self,
    ) -> impl Stream<Item = Result<Item, Fault>> + Send + 'static + use<> {
        stream::unfold(Some(Box::new(self)), |upstream| async {
            let mut upstream = upstream?;
            match upstream.next().await {
                Ok(item) => Some((Ok(item?), Some(upstream))),
                Err(fault) => Some((Err(fault), None)),
            }
        })
    }

    /// Returns the next item, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Item>, Fault> {
        loop {
            let item = self.items.next()?;
            if self.items.is_over() {
                self.exchange.close();
                return Ok(item);
            }
            if item.is_some() {
                return Ok(item);
            }
            match self.exchange.next().await {
                Some(Ok(piece)) => self.items.piece(piece, self.exchange.session_mut()),
                Some(Err(error)) => self.items.fail(&error, self.exchange.headers()),
                None => self.items.end(),
            }
        }
    }
}
