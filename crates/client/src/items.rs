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
/// It ends with `None` when the stream is finished, and only then without an error before: a body
/// that was cut, or a reconnect that failed for good, is an error first. Dropping it closes the
/// connection, or for HTTP/2 the stream in it.
pub struct Items<T> {
    exchange: Exchange,
    convert: Convert<T>,
    /// For the shorter way of items that are nothing but JSON.
    parse: Option<Parse<T>>,
}

/// Makes an item of its JSON and its number.
type Parse<T> = fn(&str, Option<u64>) -> Result<T, Error>;

/// Makes an item of a piece; the number is the piece's, from 1.
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

    /// The next item; `None` at the end.
    ///
    /// Cancel-safe: if the future is dropped, nothing is lost.
    ///
    /// # Errors
    /// See [`Error`]. After one that ends the stream comes `None`.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        // Most items are here already: this way is shorter.
        match self.next_ready() {
            Some(item) => Some(item),
            None => std::future::poll_fn(|cx| self.poll_item(cx)).await,
        }
    }

    /// An item that is already here, decoded or to be decoded without waiting for the network.
    /// `None` says nothing about the end.
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

    /// The format that is being read; `None` for lines, chunks and raw bytes, and when there's no
    /// open response.
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        self.exchange.session().format()
    }

    /// The id of the last event that was given, from which a later request can resume
    /// ([`Request::last_event_id`](crate::Request::last_event_id)); `""` if there's none.
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

/// Cancel-safe, as [`Items::next`] is.
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
    // It would be taken for an item where `T` allows what it lacks.
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

/// Deserialises; only if that fails, once more, to find where it fails.
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

// The session gives events where it reads items or lines, bytes elsewhere: the other arms only make
// the functions total.

pub(crate) fn event(piece: Piece, _: u64, _: Option<Format>) -> Result<Event, Error> {
    Ok(match piece {
        Piece::Event(event) => event,
        Piece::Bytes(bytes) => Event::new(Str::from_utf8_lossy(bytes)),
    })
}

pub(crate) fn line(piece: Piece, number: u64, format: Option<Format>) -> Result<Str, Error> {
    Ok(event(piece, number, format)?.data)
}

pub(crate) fn bytes(piece: Piece, _: u64, _: Option<Format>) -> Result<Bytes, Error> {
    Ok(match piece {
        Piece::Event(event) => event.data.into_bytes(),
        Piece::Bytes(bytes) => bytes,
    })
}
