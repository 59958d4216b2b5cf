use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_core::Stream as FuturesStream;
use headwater_wire::{Event, Format, Limits};
use http::Method;
use serde::de::DeserializeOwned;

use super::{Offset, ReadFrom, Stream, names, text};
use crate::{
    Items,
    error::{Error, Kind, Wanted},
    items::deserialize_json,
    plan::Settings,
};

/// The largest message that a reader takes unless its client says otherwise: what hubs take by
/// default, as base64 has it.
const MAX_MESSAGE: usize = 12 * 1024 * 1024;

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<T> {
    /// The offset after it: a later reader that starts there goes on with the next message.
    pub offset: Offset,
    /// What was appended.
    pub value: T,
}

/// A reader to be opened: options first, then [`open`](Self::open) or
/// [`open_raw`](Self::open_raw).
#[must_use = "nothing is read before `open`"]
pub struct ReaderOptions {
    stream: Stream,
    from: ReadFrom,
    live: bool,
}

impl ReaderOptions {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            from: ReadFrom::Start,
            live: true,
        }
    }

    /// Where to start. Default: with the first message that is still there.
    pub fn from(mut self, from: impl Into<ReadFrom>) -> Self {
        self.from = from.into();
        self
    }

    /// Whether to follow the stream until it is closed, and not to end at its tail. Default: yes.
    pub fn live(mut self, live: bool) -> Self {
        self.live = live;
        self
    }

    /// Opens a reader of messages that are JSON.
    ///
    /// # Errors
    /// There's no answer; 404, there's no such stream; 410, what is after the offset has gone; the
    /// offset is none of this stream, or the time no time; the server is no hub. The first connection is tried once,
    /// unless the client [says otherwise](crate::ClientBuilder::retry_first_connect).
    pub async fn open<T: DeserializeOwned>(self) -> Result<Reader<T>, Error> {
        self.start(json).await
    }

    /// Opens a reader of messages as the bytes that they are. Text that isn't UTF-8 comes with
    /// U+FFFD in place of what isn't.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_raw(self) -> Result<Reader<Bytes>, Error> {
        self.start(bytes).await
    }

    async fn start<T>(self, convert: Convert<T>) -> Result<Reader<T>, Error> {
        // A place that stays, so that a break before the first message skips none.
        let (name, from) = match self.from {
            ReadFrom::Start => ("offset", Offset::default()),
            ReadFrom::Offset(offset) => ("offset", offset),
            ReadFrom::Now => ("offset", self.stream.info().await?.tail),
            ReadFrom::Since(time) => ("since", Offset::from(time)),
        };
        let is_time = name == "since";
        let mut stream = self.stream;
        roomy(&mut stream.settings);
        let mut request = stream.request(Method::GET).query(name, &from);
        if !self.live {
            request = request.query("live", "false");
        }
        let items = request.accept("text/event-stream").events().await?;
        if items.format().is_some_and(|format| format != Format::Sse) {
            let found = items.headers().get(http::header::CONTENT_TYPE);
            let found = found.map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned());
            let wanted = Wanted::Format(Format::Sse);
            return Err(Error::new(Kind::ContentType { found, wanted })
                .at(&stream.plan(Method::GET).place()));
        }
        let position = match is_time {
            true => text(items.headers(), names::NEXT_OFFSET).map(Offset::from),
            false => Some(from),
        };
        Ok(Reader {
            position: position.unwrap_or_default(),
            items,
            convert,
            count: 0,
        })
    }
}

/// Makes room for the largest message that a hub takes.
fn roomy(settings: &mut Settings) {
    if settings.limits.max_item_bytes == Limits::default().max_item_bytes {
        settings.limits.max_item_bytes = MAX_MESSAGE;
    }
}

impl fmt::Debug for ReaderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderOptions")
            .field("stream", &self.stream)
            .field("from", &self.from)
            .field("live", &self.live)
            .finish()
    }
}

/// Makes a message's value of an event; the flag says whether its data is base64, the number which
/// message it is.
type Convert<T> = fn(&Event, bool, u64) -> Result<T, Error>;

/// The messages of a stream, from the past to what is appended now.
///
/// Where the connection breaks it goes on with the message after the last one that it gave: none is
/// lost, none comes twice. It ends with `None` when the stream is closed and all was given (or at
/// the tail, if it isn't [`live`](ReaderOptions::live)), and only then without an error before.
///
/// An item that isn't what `T` wants is an error ([`Error::is_deserialize`]) after which it goes on. So is word that the
/// stream starts over ([`Error::is_reset`]): the position, where the reader started or was when the connection broke, is none
/// of the stream as it is now. What follows is all that there is.
pub struct Reader<T> {
    items: Items<Event>,
    convert: Convert<T>,
    /// After the last message that was given.
    position: Offset,
    count: u64,
}

impl<T> Reader<T> {
    /// The next message; `None` at the end.
    ///
    /// Cancel-safe: if the future is dropped, nothing is lost.
    ///
    /// # Errors
    /// See [`Error`]. After one that ends the stream comes `None`.
    pub async fn next(&mut self) -> Option<Result<Message<T>, Error>> {
        let event = self.items.next().await?;
        Some(self.message(event))
    }

    /// A message that is already here. `None` says nothing about the end.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_ready(&mut self) -> Option<Result<Message<T>, Error>> {
        let event = self.items.next_ready()?;
        Some(self.message(event))
    }

    /// Where a later reader goes on: the offset after the last message that was given, also after
    /// one that was an error; or where this one started, or started [over](Error::is_reset).
    #[must_use]
    pub fn position(&self) -> &Offset {
        &self.position
    }

    pub(crate) fn close(&mut self) -> bool {
        self.items.close()
    }

    fn message(&mut self, event: Result<Event, Error>) -> Result<Message<T>, Error> {
        let event = match event {
            Err(error) if error.is_reset() => {
                self.position = Offset::from(self.items.last_event_id());
                return Err(error);
            }
            event => event?,
        };
        self.count += 1;
        self.position = Offset::from(&event.id);
        let is_base64 = text(self.items.headers(), names::DATA_ENCODING) == Some("base64");
        let value = (self.convert)(&event, is_base64, self.count)?;
        Ok(Message {
            offset: self.position.clone(),
            value,
        })
    }
}

/// Cancel-safe, as [`Reader::next`] is.
impl<T> FuturesStream for Reader<T> {
    type Item = Result<Message<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let event = ready!(Pin::new(&mut self.items).poll_next(cx));
        Poll::Ready(event.map(|event| self.message(event)))
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({:?}, at {})", self.items, self.position)
    }
}

fn json<T: DeserializeOwned>(event: &Event, _: bool, number: u64) -> Result<T, Error> {
    deserialize_json(&event.data, Some(number))
}

fn bytes(event: &Event, is_base64: bool, number: u64) -> Result<Bytes, Error> {
    if !is_base64 {
        return Ok(event.data.clone().into_bytes());
    }
    let decoded = STANDARD.decode(event.data.replace(['\n', '\r'], ""));
    decoded.map(Bytes::from).map_err(|error| {
        Error::new(Kind::Deserialize {
            item: Some(number),
            path: String::new(),
        })
        .with_source(error)
    })
}
