use bytes::{Bytes, BytesMut};
use headwater_wire::{Event, Str};
use http::header;
use serde::de::DeserializeOwned;

use crate::{
    Items,
    error::{Error, Kind},
    exchange::Exchange,
    items::{self, deserialize_json},
    options::{request_options, setting_options},
    plan::Plan,
    session::{Piece, Reading, check_unencoded},
};

/// A request before it is sent: set the options first, then choose how to read the response.
///
/// Nothing is sent before the future of that last step is polled. An invalid option is reported as
/// that step's error. Dropping the future abandons the request.
///
/// ```no_run
/// #[derive(Debug, serde::Deserialize)]
/// struct Tick {
///     n: u64,
/// }
///
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let mut ticks = headwater_client::get("http://127.0.0.1:8000/ticks?count=10")
///     .bearer("secret")
///     .stream::<Tick>()
///     .await?;
/// while let Some(tick) = ticks.next().await {
///     println!("{}", tick?.n);
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is sent before the answer is read"]
pub struct Request {
    http: Result<reqwest::Client, Error>,
    plan: Plan,
}

impl Request {
    request_options!();

    pub(crate) fn new(http: Result<reqwest::Client, Error>, plan: Plan) -> Self {
        Self { http, plan }
    }

    pub(crate) fn into_parts(self) -> Result<(reqwest::Client, Plan), Error> {
        let plan = self.plan.checked()?;
        Ok((self.http?, plan))
    }

    fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// Reads the body as a stream of `T`, in the format that the response names.
    ///
    /// In the JSON formats and in SSE, an item is deserialised from its JSON; in plain text, from
    /// its line as a string. An `application/json` body that isn't an array is one item.
    ///
    /// # Errors
    /// There is no response, its status isn't a success, or its body is in none of the formats. The
    /// first connection is tried once, unless [`retry_first_connect`](Self::retry_first_connect) is
    /// set. A response of 502, 503 or 504 is retried.
    pub async fn stream<T: DeserializeOwned>(mut self) -> Result<Items<T>, Error> {
        self.plan.accept_items();
        let reading = self.plan.items();
        Ok(Items::typed(self.open(reading).await?))
    }

    /// Reads the body as a stream of events, with their id and type in SSE. In the other formats an
    /// event has only its data.
    ///
    /// Events that end a stream or report an error aren't yielded: the stream ends, or its last
    /// item is the error.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), headwater_client::Error> {
    /// let mut events = headwater_client::get("http://127.0.0.1:8000/ticks")
    ///     .last_event_id("41")
    ///     .events()
    ///     .await?;
    /// while let Some(event) = events.next().await {
    ///     let event = event?;
    ///     println!("{} {}: {}", event.id, event.event, event.data);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn events(mut self) -> Result<Items<Event>, Error> {
        self.plan.accept_items();
        let reading = self.plan.items();
        Ok(Items::new(self.open(reading).await?, items::event))
    }

    /// Reads the body as lines of text, regardless of its content type. A line ends at LF or CRLF,
    /// which isn't part of it. The body is a single response: there is no reconnect.
    ///
    /// # Errors
    /// There is no response, or its status isn't a success.
    pub async fn lines(self) -> Result<Items<Str>, Error> {
        let reading = Reading::Lines {
            limits: self.plan.settings.limits,
        };
        Ok(Items::new(self.open(reading).await?, items::line))
    }

    /// Reads the body in chunks of `size` bytes. Only the last one may be shorter, and none is
    /// empty. The body is a single response: there is no reconnect.
    ///
    /// # Errors
    /// There is no response, its status isn't a success, or `size` is 0.
    pub async fn chunks(mut self, size: usize) -> Result<Items<Bytes>, Error> {
        if size == 0 {
            self.plan.fail(Error::request(
                "chunks of 0 bytes have no end; the least is 1",
            ));
        }
        Ok(Items::new(
            self.open(Reading::Chunks(size)).await?,
            items::bytes,
        ))
    }

    /// Reads the body in pieces as they arrive from the network. No piece is empty. The body is a
    /// single response: there is no reconnect.
    ///
    /// # Errors
    /// There is no response, or its status isn't a success.
    pub async fn raw(self) -> Result<Items<Bytes>, Error> {
        Ok(Items::new(self.open(Reading::Raw).await?, items::bytes))
    }

    /// Reads the whole body, up to [`max_body_bytes`](Self::max_body_bytes).
    ///
    /// # Errors
    /// There is no response, its status isn't a success, or the body is truncated or too large.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        Ok(self.whole().await?.0)
    }

    /// Reads the whole body as UTF-8, up to [`max_body_bytes`](Self::max_body_bytes).
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), or the body is compressed or isn't UTF-8.
    pub async fn text(self) -> Result<String, Error> {
        let (body, exchange) = self.whole_unencoded().await?;
        String::from_utf8(body.into()).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            exchange.located(Error::new(Kind::BodyNotUtf8 { offset }))
        })
    }

    /// Reads the whole body as one JSON value, up to [`max_body_bytes`](Self::max_body_bytes).
    ///
    /// ```no_run
    /// #[derive(serde::Deserialize)]
    /// struct Greeting {
    ///     message: String,
    /// }
    ///
    /// # async fn run() -> Result<(), headwater_client::Error> {
    /// let greeting: Greeting = headwater_client::get("http://127.0.0.1:8000/").value().await?;
    /// println!("{}", greeting.message);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes), or the body is compressed, isn't JSON, or doesn't match `T`.
    pub async fn value<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        self.plan
            .default_header(header::ACCEPT, "application/json, */*;q=0.1");
        let (body, exchange) = self.whole_unencoded().await?;
        let text = std::str::from_utf8(&body).map_err(|error| {
            exchange.located(Error::new(Kind::BodyNotUtf8 {
                offset: error.valid_up_to(),
            }))
        })?;
        // "MAY ignore the presence of a byte order mark" (RFC 8259 §8.1).
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        deserialize_json(text, None).map_err(|error| exchange.located(error))
    }

    async fn whole(self) -> Result<(Bytes, Exchange), Error> {
        let mut exchange = self.open(Reading::Raw).await?;
        let limit = exchange.plan().settings.max_body_bytes;
        let mut whole = BytesMut::new();
        while let Some(piece) = exchange.next().await {
            let Piece::Bytes(piece) = piece? else {
                continue;
            };
            if whole.len() + piece.len() > limit {
                return Err(exchange.located(Error::new(Kind::BodyTooLarge { limit })));
            }
            whole.extend_from_slice(&piece);
        }
        Ok((whole.freeze(), exchange))
    }

    async fn whole_unencoded(self) -> Result<(Bytes, Exchange), Error> {
        let (body, exchange) = self.whole().await?;
        match check_unencoded(exchange.headers()) {
            Err(error) if !body.is_empty() => Err(exchange.located(error)),
            _ => Ok((body, exchange)),
        }
    }

    async fn open(self, reading: Reading) -> Result<Exchange, Error> {
        let (http, plan) = self.into_parts()?;
        Exchange::open(http, plan, reading).await
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({})", self.plan.place())
    }
}
