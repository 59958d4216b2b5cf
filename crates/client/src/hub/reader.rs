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

/// The default size limit of a message for a reader: the default limit of hubs, with room for
/// base64.
const MAX_MESSAGE: usize = 12 * 1024 * 1024;

/// One message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<T> {
    /// The offset after the message. A later reader that starts there continues with the next
    /// message.
    pub offset: Offset,
    /// The appended payload.
    pub value: T,
}

/// The options of a [`Reader`]: set them first, then call [`open`](Self::open) or
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

    /// Sets the start of the read. Default: the first message that still exists.
    pub fn from(mut self, from: impl Into<ReadFrom>) -> Self {
        self.from = from.into();
        self
    }

    /// If `true`, the reader follows the stream until it is closed. If `false`, it ends at the
    /// tail. Default: `true`.
    pub fn live(mut self, live: bool) -> Self {
        self.live = live;
        self
    }

    /// Opens a reader of JSON messages.
    ///
    /// # Errors
    /// There is no response; 404: the stream doesn't exist; 410: the messages after the offset are
    /// gone; the offset or the time is invalid; the server isn't a hub. The first connection is
    /// tried once, unless the client [retries it](crate::ClientBuilder::retry_first_connect). A
    /// response of 502, 503 or 504 is retried.
    pub async fn open<T: DeserializeOwned>(self) -> Result<Reader<T>, Error> {
        self.start(json).await
    }

    /// Opens a reader of messages as bytes. In text that isn't UTF-8, U+FFFD replaces invalid
    /// bytes.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_raw(self) -> Result<Reader<Bytes>, Error> {
        self.start(bytes).await
    }

    async fn start<T>(self, convert: Convert<T>) -> Result<Reader<T>, Error> {
        // A fixed offset, so that a break before the first message skips none.
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

/// Raises the default item limit to the largest message that a hub accepts by default.
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

/// Converts an event to a message's value. The flag is `true` if the data is base64; the number is
/// the message's, from 1.
type Convert<T> = fn(&Event, bool, u64) -> Result<T, Error>;

/// The messages of a stream, from a chosen start to those that are appended now.
///
/// After a broken connection the reader resumes after the last message that it yielded: no message
/// is lost or repeated. Without an error before it, `None` means that the stream is closed and all
/// messages were yielded (or that the tail is reached, if the reader isn't
/// [`live`](ReaderOptions::live)).
///
/// After two kinds of errors the reader continues: a message that doesn't match `T`
/// ([`Error::is_deserialize`]), and a report that the stream starts over ([`Error::is_reset`]). In
/// the latter case the reader's position, at its start or at the break of the connection, doesn't
/// exist in the current stream, and all existing messages follow.
///
/// ```no_run
/// use headwater_client::hub::Offset;
///
/// # async fn run(stored: Offset) -> Result<(), headwater_client::Error> {
/// let orders = headwater_client::stream("http://127.0.0.1:8000/streams/orders");
/// let mut reader = orders.reader().from(stored).live(false).open::<String>().await?;
/// while let Some(message) = reader.next().await {
///     println!("{}", message?.value);
/// }
/// println!("store this for the next run: {}", reader.position());
/// # Ok(())
/// # }
/// ```
pub struct Reader<T> {
    items: Items<Event>,
    convert: Convert<T>,
    /// The offset after the last message that was yielded.
    position: Offset,
    count: u64,
}

impl<T> Reader<T> {
    /// Returns the next message, or `None` at the end.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped, no message is lost.
    ///
    /// # Errors
    /// See [`Error`]. After an error that ends the stream, the next result is `None`.
    pub async fn next(&mut self) -> Option<Result<Message<T>, Error>> {
        let event = self.items.next().await?;
        Some(self.message(event))
    }

    /// Returns a message that has already been received. `None` doesn't mean that the stream has
    /// ended.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_ready(&mut self) -> Option<Result<Message<T>, Error>> {
        let event = self.items.next_ready()?;
        Some(self.message(event))
    }

    /// The offset from which a later reader continues: after the last message that was yielded,
    /// including one that was an error; or this reader's start, or the start after a
    /// [reset](Error::is_reset).
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

/// Cancel-safe, like [`Reader::next`].
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
