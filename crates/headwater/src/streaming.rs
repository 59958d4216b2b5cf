use std::{fmt, marker::PhantomData, time::Duration};

use axum::response::{IntoResponse, Response};
use futures_core::Stream;
use headwater_wire::sse::{POSITION_EVENT, RESET_EVENT};
use serde::Serialize;

use crate::{
    Event, Events, Problem, Sender,
    channel::{self, Blocking},
    item::{IntoItem, StreamItem},
    operation,
    response::{Content, Kind, Notice, Options},
    source::{self, BoxSource},
};

/// A response whose items go out one by one, each as soon as it is there.
///
/// Return it from an axum handler. Every client gets the format that it asks for:
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
/// # What a client sees
/// - The format is chosen by `Accept` (RFC 9110 §12.5.1), or by `?format=` with `ndjson`, `sse`,
///   `json-seq`, `json` or `text`. `*/*`, or no wish at all, is NDJSON. Nothing acceptable is 406.
/// - An error that comes before the first item, within [`first_item_wait`](Self::first_item_wait),
///   has its real status and a problem document ([`Problem`]).
/// - A later error cuts the body, in every format, so that nobody takes it for the end; SSE says
///   before that what happened, by `event: headwater:error` with the problem as data.
/// - A complete SSE stream ends with `event: headwater:end`. A browser's `EventSource` that comes back after that
///   gets 204, which stops it.
/// - When the client leaves, the stream is dropped. An SSE stream notices at the latest at the next
///   heartbeat.
///
/// # Where it works
/// Under [`serve`](crate::serve) and the [test client](crate::test), as it is. Under `axum::serve`, put
/// [`layer`](crate::layer) around the router: without it nothing knows what the client asks for, so all
/// get NDJSON.
pub struct Streaming<T> {
    source: BoxSource,
    options: Options,
    _item: PhantomData<fn() -> T>,
}

impl<T: Serialize + 'static> Streaming<T> {
    /// The items of `stream`, each a `T` or an [`Item<T>`](crate::Item), or a `Result` of one of them: the first error ends the
    /// response, as with [`try_new`](Self::try_new).
    pub fn new<S>(stream: S) -> Self
    where
        S: Stream + Send + 'static,
        S::Item: StreamItem<T>,
    {
        Self::from_source(source::items(stream, StreamItem::into_result))
    }

    /// The items of `stream` until it yields an error, which ends the response. Its items are `Result`s for certain, so that more of
    /// their types can be inferred than with [`new`](Self::new).
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

    /// The items of an iterator that may block, run on a thread of its own.
    ///
    /// The thread starts when the stream is first read. It is at most 64 items ahead of the reader, and
    /// after the client has left it ends at the iterator's next item. Of `Result`s, the first error ends the response.
    pub fn blocking<I>(items: I) -> Self
    where
        I: IntoIterator + Send + 'static,
        I::Item: StreamItem<T>,
        T: Send,
    {
        Self::from_source(source::items(Blocking::new(items), |item| item))
    }

    /// A stream, and the [`Sender`] that feeds it from another task or thread.
    ///
    /// `capacity` is how many items may wait for the reader, at least 1; then the sender waits.
    ///
    /// ```
    /// use headwater::Streaming;
    ///
    /// async fn countdown() -> Streaming<u32> {
    ///     let (sender, stream) = Streaming::channel(16);
    ///     tokio::spawn(async move {
    ///         for n in (0..3).rev() {
    ///             if sender.send(n).await.is_err() {
    ///                 return; // The client has left.
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
            options: Options::default(),
            _item: PhantomData,
        }
    }
}

impl<T: Events + Serialize + 'static> Streaming<Event<T>> {
    /// The items of `stream`, each under the event name of its variant; see [`Events`](trait@Events).
    pub fn events<S>(stream: S) -> Self
    where
        S: Stream<Item = T> + Send + 'static,
    {
        Self::from_source(source::items(stream, |item| Ok(Event::item(item))))
    }

    /// The items of `stream`, each under the event name of its variant, until it yields an error.
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
    /// Sets how long an SSE stream may be silent before a comment goes out as a sign of life.
    /// Default: 15 s. Zero turns it off. A client can have it sooner: `?heartbeat=5`.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.options.heartbeat = every;
        self
    }

    /// Sets how long an NDJSON stream may be silent before a blank line goes out, to clients that don't ask for it. Default:
    /// zero, which is none, as readers exist that fail at a blank line. A client asks with `?heartbeat=SECONDS` or
    /// `Prefer: heartbeat=SECONDS`, from 1 s to an hour; 0 turns it off. A value in the query that is no number is a 400; such a
    /// preference is ignored (RFC 7240 §2).
    #[must_use]
    pub fn line_heartbeat(mut self, every: Duration) -> Self {
        self.options.line_heartbeat = every;
        self
    }

    /// Sets how long the response's head waits for the first item, so that an error in its place has
    /// its real status. Default: 30 ms, or a heartbeat if that is shorter. Zero sends the head at once.
    #[must_use]
    pub fn first_item_wait(mut self, wait: Duration) -> Self {
        self.options.first_item_wait = wait;
        self
    }

    /// Tells SSE clients at the start how long to wait before they reconnect.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.options.retry = Some(retry);
        self
    }

    /// Tells SSE clients at once the id from which they resume if the connection breaks before the first item: by an event
    /// of the type `headwater:position`, whose data is an object with the id as `offset`. The response's head doesn't wait
    /// for the first item then.
    ///
    /// It is for streams that start wherever the newest item is: a client that reconnects without an id would start
    /// somewhere else. Other formats say nothing.
    #[must_use]
    pub fn position(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        let data = serde_json::json!({ "offset": &id }).to_string();
        let event = POSITION_EVENT;
        self.options.notice = Some(Box::new((Notice { event, id, data }, None)));
        self
    }

    /// Tells SSE clients that what they resume from is no place in this stream, which starts over: by an event of the type
    /// `headwater:reset` with this data, on one line, and `id` as where the stream starts. It comes before the first item,
    /// and the response's head doesn't wait for that. In all other formats the response is `otherwise`.
    ///
    /// An error status would end a browser's `EventSource` for good, and to leave out items, or to repeat them without
    /// a word, would be silent.
    #[must_use]
    pub fn reset(mut self, id: impl Into<String>, data: String, otherwise: Problem) -> Self {
        let (event, id) = (RESET_EVENT, id.into());
        self.options.notice = Some(Box::new((Notice { event, id, data }, Some(otherwise))));
        self
    }

    /// Lets the stream run on when the server shuts down, until its deadline: for streams that end by
    /// themselves, such as an answer that is being generated. The default is to cut it at once.
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
            kind: Kind::Items,
            check: operation::schema_of::<T>(),
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
