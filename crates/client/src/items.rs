use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use headwater_wire::{Event, Format, Str};
use http::{HeaderMap, StatusCode};
use serde::{
    de::value::StrDeserializer,
    de::{DeserializeOwned, value::Error as ValueError},
};

use crate::{
    error::{Error, Kind},
    exchange::Exchange,
    notice::Notice,
    session::Piece,
};

/// The items of a response as they arrive, each complete.
///
/// Without an error before it, `None` means that the stream is finished: a truncated body, or a
/// reconnect that failed for good, yields an error first. Dropping `Items` closes the connection,
/// or for HTTP/2 the stream within it.
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let mut numbers = headwater_client::get("http://127.0.0.1:8000/count").stream::<u64>().await?;
/// while let Some(number) = numbers.next().await {
///     match number {
///         Ok(number) => println!("{number}"),
///         // Only this item is lost: the stream continues.
///         Err(error) if error.is_deserialize() => eprintln!("{error}"),
///         Err(error) => return Err(error),
///     }
/// }
/// // A later request can resume after this event.
/// println!("{}", numbers.last_event_id());
/// # Ok(())
/// # }
/// ```
pub struct Items<T> {
    exchange: Exchange,
    convert: Convert<T>,
    /// The parser of the fast path, for items that consist only of JSON.
    parse: Option<Parse<T>>,
}

/// Deserialises an item from its JSON. The number is the item's, from 1.
type Parse<T> = fn(&str, Option<u64>) -> Result<T, Error>;

/// Converts a piece to an item. The number is the piece's, from 1.
pub(crate) type Convert<T> = fn(Piece, u64, Option<Format>) -> Result<T, Error>;

impl<T> Items<T> {
    pub(crate) fn new(exchange: Exchange, convert: Convert<T>) -> Self {
        Self {
            exchange,
            convert,
            parse: None,
        }
    }

    pub(crate) fn typed(exchange: Exchange) -> Self
    where
        T: DeserializeOwned,
    {
        Self {
            exchange,
            convert: deserialize,
            parse: Some(deserialize_json),
        }
    }

    /// Returns the next item, or `None` at the end.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped, no item is lost.
    ///
    /// # Errors
    /// See [`Error`]. After an error that ends the stream, the next result is `None`.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        // Fast path: most items have already been received.
        match self.next_ready() {
            Some(item) => Some(item),
            None => std::future::poll_fn(|cx| self.poll_item(cx)).await,
        }
    }

    /// Returns an item that has already been received, decoding it if necessary, without waiting
    /// for the network. `None` doesn't mean that the stream has ended.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[inline]
    pub fn next_ready(&mut self) -> Option<Result<T, Error>> {
        if let Some(parse) = self.parse
            && let Some(json) = self.exchange.ready_json()
        {
            let item = parse(&json, Some(self.exchange.session().items()));
            return Some(item.map_err(|error| self.exchange.located(error)));
        }
        let piece = self.exchange.ready()?;
        Some(piece.and_then(|piece| self.item(piece)))
    }

    /// The status of the newest response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.exchange.status()
    }

    /// The headers of the newest response.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.exchange.headers()
    }

    /// The format that is being read. `None` for lines, chunks and raw bytes, and while no response
    /// is open.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.exchange.session().format()
    }

    /// The id of the last event that was yielded, after which a later request can resume
    /// ([`Request::last_event_id`](crate::Request::last_event_id)). `""` if there is none.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.exchange.session().last_event_id()
    }

    pub(crate) fn close(&mut self) -> bool {
        self.exchange.close()
    }

    #[inline]
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        self.exchange
            .poll_next(cx)
            .map(|piece| Some(piece?.and_then(|piece| self.item(piece))))
    }

    #[inline]
    fn item(&self, piece: Piece) -> Result<T, Error> {
        let session = self.exchange.session();
        (self.convert)(piece, session.items(), session.format())
            .map_err(|error| self.exchange.located(error))
    }
}

/// Cancel-safe, like [`Items::next`].
impl<T> Stream for Items<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_item(cx)
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Items({}, {} so far)",
            self.exchange.plan().place(),
            self.exchange.session().items()
        )
    }
}

fn deserialize<T: DeserializeOwned>(
    piece: Piece,
    number: u64,
    format: Option<Format>,
) -> Result<T, Error> {
    let event = event(piece, number, format)?;
    // Otherwise it could deserialise as an item, if `T` has only optional fields.
    if format == Some(Format::Sse) && Notice::of(&event).is_some() {
        return Err(Error::new(Kind::Notice(event)));
    }
    if format == Some(Format::Text) {
        return T::deserialize(StrDeserializer::<ValueError>::new(&event.data)).map_err(|error| {
            Error::new(Kind::Deserialize {
                item: Some(number),
                path: String::new(),
            })
            .with_source(error)
        });
    }
    deserialize_json(&event.data, Some(number))
}

/// Deserialises `text`. Only if that fails, deserialises it again to locate the fault.
#[inline]
pub(crate) fn deserialize_json<T: DeserializeOwned>(
    text: &str,
    item: Option<u64>,
) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| {
        let mut json = serde_json::Deserializer::from_str(text);
        let path = match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Err(found) if found.path().iter().next().is_some() => found.path().to_string(),
            _ => String::new(),
        };
        Error::new(Kind::Deserialize { item, path }).with_source(error)
    })
}

// The session yields events for items and lines, and bytes otherwise. The other match arms exist
// only so that the functions are total.

pub(crate) fn event(piece: Piece, _: u64, _: Option<Format>) -> Result<Event, Error> {
    Ok(match piece {
        Piece::Event(event) => event,
        Piece::Bytes(bytes) => Event::new(Str::from_utf8_lossy(bytes)),
        Piece::Block(block) => block.event.unwrap_or_else(|| Event::new(Str::default())),
    })
}

pub(crate) fn line(piece: Piece, number: u64, format: Option<Format>) -> Result<Str, Error> {
    Ok(event(piece, number, format)?.data)
}

pub(crate) fn bytes(piece: Piece, _: u64, _: Option<Format>) -> Result<Bytes, Error> {
    Ok(match piece {
        Piece::Event(event) => event.data.into_bytes(),
        Piece::Bytes(bytes) => bytes,
        Piece::Block(block) => block.bytes,
    })
}
