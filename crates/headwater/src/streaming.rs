use std::{fmt, marker::PhantomData, time::Duration};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_core::Stream;
use headwater_wire::{
    Format,
    sse::{POSITION_EVENT, RESET_EVENT},
};
use serde::Serialize;

use crate::{
    Event, Events, Problem, Sender,
    channel::{self, Blocking},
    item::{IntoItem, StreamItem},
    outgoing,
    response::{Content, Kind, Notice, Options},
    source::{self, BoxSource},
};

/// A response that sends each item as soon as it is available.
///
/// Return it from an axum handler. Each client receives the format that it requests:
///
/// ```
/// use axum::{Router, routing::get};
/// use futures_util::stream;
/// use headwater::Streaming;
///
/// #[derive(serde::Serialize)]
/// struct Tick {
///     n: u64,
/// }
///
/// async fn ticks() -> Streaming<Tick> {
///     Streaming::new(stream::iter((1..=3).map(|n| Tick { n })))
/// }
///
/// let app: Router = Router::new().route("/ticks", get(ticks));
/// ```
///
/// # Behaviour
/// - `Accept` selects the format (RFC 9110 §12.5.1), or `?format=` with `ndjson`, `sse`,
///   `json-seq`, `json` or `text`. Without a preference, or with `*/*`, it is NDJSON. If no format
///   is acceptable, the response is 406.
/// - An error before the first item, within [`first_item_wait`](Self::first_item_wait), is sent
///   with its own status as a problem document ([`Problem`]).
/// - A later error aborts the body in every format, so that it can't be mistaken for a complete
///   one. SSE first reports the error: `event: headwater:error` with the problem as data.
/// - A complete SSE stream ends with `event: headwater:end`. A browser's `EventSource` that
///   reconnects after it receives 204, which stops it.
/// - When the client disconnects, the stream is dropped. An SSE stream notices at the next
///   heartbeat at the latest.
///
/// # Required layer
/// Under [`serve`](crate::serve) and the [test client](crate::test) nothing else is needed. Under
/// `axum::serve`, wrap the router in [`layer`](crate::layer): without it the client's preferences
/// are unknown, and all responses are NDJSON.
pub struct Streaming<T> {
    source: BoxSource,
    kind: Kind,
    options: Options,
    _item: PhantomData<fn() -> T>,
}

impl<T: Serialize + 'static> Streaming<T> {
    /// Streams the items of `stream`: each is a `T`, an [`Item<T>`](crate::Item), or a `Result` of
    /// one of them. The first error ends the response, as with [`try_new`](Self::try_new).
    ///
    /// An error is a [`Problem`] or an error type. A `Result<T, String>` is itself a value that can be serialised,
    /// and is taken for an item: the compiler then reports mismatched types. Convert its error first:
    ///
    /// ```
    /// use futures_util::{StreamExt, stream};
    /// use headwater::{Problem, Streaming};
    ///
    /// async fn readings() -> Streaming<f64> {
    ///     let readings = stream::iter([Ok(1.5), Err("the sensor is off".to_owned())]);
    ///     Streaming::new(readings.map(|reading| reading.map_err(Problem::internal)))
    /// }
    /// # let _ = readings;
    /// ```
    pub fn new<S>(stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: StreamItem<T>,
    {
        Self::from_source(source::items(stream, StreamItem::into_result))
    }

    /// Streams the items of `stream` until an error, which ends the response. `stream` must yield
    /// `Result`s, so that more of its types can be inferred than with [`new`](Self::new).
    pub fn try_new<S, I, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<I, E>> + Send + 'static,
        I: IntoItem<T>,
        E: Into<Problem>,
    {
        Self::from_source(source::items(stream, |item: Result<I, E>| match item {
            Ok(item) => Ok(item.into_item()),
            Err(error) => Err(error.into()),
        }))
    }

    /// Streams the items of an iterator that may block, on a dedicated thread.
    ///
    /// The thread starts when the stream is first polled. It runs at most 64 items ahead of the
    /// reader, and after the client has disconnected it ends at the iterator's next item. If the
    /// items are `Result`s, the first error ends the response.
    pub fn blocking<I>(items: I) -> Self
    where
        I: IntoIterator + Send + 'static,
        I::Item: StreamItem<T>,
        T: Send,
    {
        Self::from_source(source::items(Blocking::new(items), |item| item))
    }

    /// Creates a stream and the [`Sender`] that feeds it from another task or thread.
    ///
    /// `capacity` is the number of items that may be queued, at least 1. When the queue is full,
    /// the sender waits.
    ///
    /// ```
    /// use headwater::Streaming;
    ///
    /// async fn countdown() -> Streaming<u32> {
    ///     let (sender, stream) = Streaming::channel(16);
    ///     tokio::spawn(async move {
    ///         for n in (0..3).rev() {
    ///             if sender.send(n).await.is_err() {
    ///                 return; // The client has disconnected.
    ///             }
    ///         }
    ///         sender.finish().await;
    ///     });
    ///     stream
    /// }
    /// ```
    #[must_use]
    pub fn channel(capacity: usize) -> (Sender<T>, Self)
    where
        T: Send,
    {
        let (sender, receiver) = channel::channel(capacity);
        (
            sender,
            Self::from_source(source::items(receiver, |item| item)),
        )
    }

    pub(crate) fn from_source(source: BoxSource) -> Self {
        Self {
            source,
            kind: Kind::Items,
            options: Options::default(),
            _item: PhantomData,
        }
    }
}

impl<T: Events + Serialize + 'static> Streaming<Event<T>> {
    /// Streams the items of `stream`, each under the event name of its variant. See
    /// [`Events`](trait@Events).
    pub fn events<S>(stream: S) -> Self
    where
        S: Stream<Item = T> + Send + 'static,
    {
        Self::from_source(source::items(stream, |item| Ok(Event::item(item))))
    }

    /// Streams the items of `stream`, each under the event name of its variant, until an error.
    pub fn try_events<S, E>(stream: S) -> Self
    where
        S: Stream<Item = Result<T, E>> + Send + 'static,
        E: Into<Problem>,
    {
        Self::from_source(source::items(stream, |item: Result<T, E>| {
            item.map(Event::item).map_err(Into::into)
        }))
    }
}

impl<T> Streaming<T> {
    /// Streams items that are already encoded, so that many responses can share their memory:
    /// `make` returns them in the format that the client receives.
    ///
    /// A chunk is whole items, at least one, with their number. Chunks are sent without a copy and
    /// are not inspected: neither the schema of `T` nor the reserved names of events are checked.
    /// In a JSON array every item begins with a comma; the first one is replaced by the bracket.
    /// The end of the format follows the last chunk.
    pub fn frames<M, S>(make: M) -> Self
    where
        M: FnOnce(Format) -> S + Send + 'static,
        S: Stream<Item = Result<(Bytes, u64), Problem>> + Send + 'static,
    {
        Self {
            source: source::frames(make, |chunk| chunk),
            kind: Kind::Encoded,
            options: Options::default(),
            _item: PhantomData,
        }
    }

    headwater_wire::setters! {
        /// Sets the idle time after which an SSE stream sends a comment as a heartbeat. Default: 15 s.
        /// Zero turns it off. A client can request a shorter time: `?heartbeat=5`.
        heartbeat(every: Duration) => options.heartbeat = every;
        /// Sets the idle time after which an NDJSON stream sends a blank line to clients that don't
        /// request heartbeats. Default: zero, which sends none, because some readers fail at a blank
        /// line.
        ///
        /// A client requests them with `?heartbeat=SECONDS` or `Prefer: heartbeat=SECONDS`, from 1 s to
        /// an hour; 0 turns them off. A value in the query that is not a number is refused with 400.
        /// Such a preference is ignored (RFC 7240 §2).
        line_heartbeat(every: Duration) => options.line_heartbeat = every;
        /// Sets how long the response's head waits for the first item, so that an error before it is
        /// sent with its own status. Default: 30 ms, or one heartbeat interval if that is shorter. Zero
        /// sends the head at once.
        first_item_wait(wait: Duration) => options.first_item_wait = wait;
        /// Sets how long SSE clients wait before they reconnect. It is sent at the start of the stream.
        retry(retry: Duration) => options.retry = Some(retry);
    }

    /// Sends SSE clients the id from which they resume if the connection breaks before the first
    /// item. It is sent at once, as an event of the type `headwater:position` whose data is an
    /// object with the id as `offset`. The response's head doesn't wait for the first item then.
    ///
    /// Use it for streams that start at the newest item: a client that reconnects without an id
    /// would start elsewhere. Other formats omit it.
    #[must_use]
    pub fn position(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        let data = serde_json::json!({ "offset": &id }).to_string();
        let event = POSITION_EVENT;
        self.options.notice = Some(Box::new((Notice { event, id, data }, None)));
        self
    }

    /// Notifies SSE clients that their resume position isn't in this stream, which starts over. The
    /// event has the type `headwater:reset`, `data`, which must be one line, and the stream's start
    /// as `id`. It is sent before the first item, and the response's head doesn't wait for that
    /// item. In all other formats the response is `otherwise`.
    ///
    /// The alternatives are worse: an error status would end a browser's `EventSource` for good,
    /// and skipped or repeated items would go unnoticed.
    #[must_use]
    pub fn reset(mut self, id: impl Into<String>, data: String, otherwise: Problem) -> Self {
        let (event, id) = (RESET_EVENT, id.into());
        self.options.notice = Some(Box::new((Notice { event, id, data }, Some(otherwise))));
        self
    }

    /// Lets the stream continue during a shutdown, until the shutdown's deadline. Use it for
    /// streams that end by themselves, such as an answer that is being generated. By default, a
    /// shutdown aborts the stream at once.
    #[must_use]
    pub fn finish_on_shutdown(mut self) -> Self {
        self.options.finish_on_shutdown = true;
        self
    }
}

impl<T> IntoResponse for Streaming<T> {
    fn into_response(self) -> Response {
        Content {
            source: self.source,
            kind: self.kind,
            check: outgoing::check_of::<T>(),
            options: self.options,
        }
        .into_response()
    }
}

impl<T> fmt::Debug for Streaming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streaming")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
