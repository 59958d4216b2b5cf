//! A handler's stream as a durable stream of the hub. It continues when its client disconnects, and
//! other clients can join it.
//!
//! ```text
//! first request ─► start ─► ingest job ─► stream in the log ─┬─► Durable: the response, in any format
//! later requests ────────────────────────────────────────────┴─► /streams/{path}, as any other stream
//! ```
//!
//! Items of the handler's stream reach its response only through the log. Therefore the first
//! client and later ones read the same items with the same ids. They are live readers of the
//! stream, and share the encoded items with all of its readers.

mod reading;

use std::{fmt, marker::PhantomData, time::Duration};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt as _;
use headwater::{
    HasSchema, LastEventId, Operation, OperationOutput, Problem, StatusCode, Streaming,
};
use headwater_log::{Expiry, Settings, StreamName};
use headwater_wire::json;
use http::{HeaderValue, header};
use serde::Serialize;

use self::reading::{Notice, Reading};
use crate::{
    Hub,
    error::{RETRY_AFTER_TEXT, problem},
    ingest::{IngestRequest, Started, note},
    protocol::{media_type::is_json, path::name_of, public_url, read_query::Place},
    state::HubState,
};

/// The note that identifies a stream as one that a handler's stream fills.
const NOTE: &str = "durable";

impl Hub {
    /// Returns the stream at this path, to be filled by a handler: see [`DurableBuilder`].
    ///
    /// The path is the part after `/streams/`. It may contain input from a client: an invalid path
    /// is refused with 400 when the stream is [run](DurableBuilder::run).
    pub fn durable(&self, path: impl Into<String>) -> DurableBuilder {
        DurableBuilder {
            hub: self.clone(),
            path: path.into(),
            keep_for: None,
            expiry: None,
        }
    }

    /// Cancels the ingest job of the stream at this path and waits until the stream is closed. The
    /// handler's stream is dropped at once. The messages that were appended are kept, and the close
    /// reason is a cancellation. Returns `false` if no job runs for the stream.
    ///
    /// If the future is dropped early, the job is cancelled nevertheless.
    pub async fn cancel(&self, path: &str) -> bool {
        match name_of(path) {
            Ok(name) => self.0.ingest_jobs.cancel(&name).await,
            Err(_) => false,
        }
    }
}

/// A builder that turns a handler's stream into a durable stream.
///
/// The first request runs it: the items are appended to a stream of the hub, and the response reads
/// them from there. It continues when the client disconnects. A request for a stream that runs or
/// is complete joins it and receives all items, without running anything. A reconnecting client
/// resumes after the last id it received (`Last-Event-ID`, or `?offset=`). If the stream has been
/// deleted and run again since, that id isn't one of this stream: SSE clients receive an event
/// `headwater:reset` and all items; in the other formats the response is 410. Any client can also
/// follow the stream at `/streams/{path}`. `DELETE` of that URL, or [`Hub::cancel`], ends it.
///
/// ```
/// use std::time::Duration;
///
/// use axum::extract::State;
/// use futures_util::{Stream, stream};
/// use headwater::{App, Json, Path, Problem, post};
/// use headwater_hub::{Durable, Hub};
/// use schemars::JsonSchema;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize, JsonSchema)]
/// struct Question {
///     prompt: String,
/// }
///
/// #[derive(Serialize, JsonSchema)]
/// struct Token {
///     text: String,
/// }
///
/// fn ask_the_model(question: Question) -> impl Stream<Item = Token> {
///     stream::iter([Token { text: question.prompt }])
/// }
///
/// /// Answers a question once, for all clients that want to see it.
/// #[headwater::operation]
/// async fn answer(
///     State(hub): State<Hub>,
///     Path(id): Path<String>,
///     Json(question): Json<Question>,
/// ) -> Result<Durable<Token>, Problem> {
///     hub.durable(format!("answers/{id}"))
///         .keep_for(Duration::from_secs(600))
///         .run(|| ask_the_model(question))
///         .await
/// }
///
/// # fn app(hub: Hub) -> App {
/// App::new("Answers", "1.0.0")
///     .route("/answers/{id}", post(answer))
///     .with_state(hub.clone())
///     .merge(hub.app())
/// # }
/// ```
///
/// Each item is stored as JSON, as one message of a stream of the type `application/json`. Ids and
/// event names that the handler's stream may set are not stored. A stream that failed stays failed.
/// To run it again, use another path, or `DELETE` it first. A stream that is running when the
/// process ends is closed as interrupted, by [`Hub::stop`] or by the next process that has a hub
/// over the same log.
#[derive(Clone, Debug)]
#[must_use = "nothing is run yet"]
pub struct DurableBuilder {
    hub: Hub,
    path: String,
    keep_for: Option<Duration>,
    expiry: Option<Duration>,
}

impl DurableBuilder {
    /// Runs the stream to its end, with or without watchers. The default.
    pub fn keep(mut self) -> Self {
        self.keep_for = None;
        self
    }

    /// Sets how long the stream continues without watchers, here or at `/streams/{path}`. After
    /// that it is cancelled.
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep_for = Some(time);
        self
    }

    /// Cancels the stream when the last watcher leaves.
    pub fn cancel_when_left(self) -> Self {
        self.keep_for(Duration::ZERO)
    }

    /// Deletes the stream when it was neither read nor written for this long. Default: it stays
    /// until it is deleted.
    pub fn expires_after(mut self, idle: Duration) -> Self {
        self.expiry = Some(idle);
        self
    }

    /// Runs the stream that `make` returns, or joins the existing one. In that case `make` isn't
    /// called. A stream of `Result`s is for [`try_run`](Self::try_run).
    ///
    /// # Errors
    /// - 400: the path is invalid.
    /// - 409: there is another stream at that path.
    /// - 410: the client resumes, but the stream is gone.
    /// - 429: the hub's [limit](crate::Limits) for ingest jobs or for readers is reached, or the
    ///   [rate](crate::Options::rate_limits) of the client's address for open readers.
    /// - 503: the hub is [stopping](Hub::stop), or isn't the owner of a
    ///   [shared log](crate::Options::shared_log) now. [`Hub::owner_layer`] forwards such requests to the owner.
    /// - Errors of the log.
    ///
    /// # Cancel safety
    /// Once the stream is created it is run, even if this future is dropped before it completes.
    pub async fn run<T, M, S>(self, make: M) -> Result<Durable<T>, Problem>
    where
        T: Serialize + 'static,
        M: FnOnce() -> S + Send + 'static,
        S: Stream<Item = T> + Send + 'static,
    {
        self.start(move || make().map(|item| message(&item))).await
    }

    /// Runs a stream that may fail, as [`run`](Self::run) does. Its first error closes the durable
    /// stream and is reported to all its readers.
    ///
    /// # Errors
    /// As for [`run`](Self::run). An error of the stream itself is reported in the response.
    pub async fn try_run<T, E, M, S>(self, make: M) -> Result<Durable<T>, Problem>
    where
        T: Serialize + 'static,
        E: Into<Problem>,
        M: FnOnce() -> S + Send + 'static,
        S: Stream<Item = Result<T, E>> + Send + 'static,
    {
        let messages = |item: Result<T, E>| message(&item.map_err(Into::into)?);
        self.start(move || make().map(messages)).await
    }

    async fn start<T, M, S>(self, make: M) -> Result<Durable<T>, Problem>
    where
        M: FnOnce() -> S + Send + 'static,
        S: Stream<Item = Result<Bytes, Problem>> + Send + 'static,
    {
        let core = &*self.hub.0;
        self.hub.0.ensure_started();
        let name = name_of(&self.path)?;
        let LastEventId(seen) = LastEventId::of_request();
        let place = seen.map_or(Place::Start, |id| Place::seen(&id));
        let goes_on = matches!(place, Place::At(_) | Place::Unknown(_));
        if goes_on {
            check_is_there(core, &name).await?;
        }
        let mut settings = Settings::of_type("application/json");
        settings.expiry = self.expiry.map(Expiry::Idle);
        let fill = IngestRequest::new(name, settings)
            .note(NOTE.into())
            .keep_for(self.keep_for);
        let Started { info, watch, .. } = core.ingest_jobs.start(fill, make).await?;
        if note(&info).is_none_or(|note| note != NOTE) || !is_json(&info.settings.content_type) {
            let detail = format!("there is another stream at {:?}", info.name.as_str());
            return Err(Problem::new(StatusCode::CONFLICT).detail(detail));
        }
        Ok(Durable {
            location: location(core, &info.name),
            reading: Reading::new(core, &info, place, watch).await?,
            heartbeat: core.options.heartbeat,
            line_heartbeat: core.options.line_heartbeat,
            goes_on,
            _item: PhantomData,
        })
    }
}

/// Refuses a client that resumes a stream that doesn't exist. Running it again would produce other
/// items than the ones that the client has received.
async fn check_is_there(core: &HubState, name: &StreamName) -> Result<(), Problem> {
    match core.log.info(name).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Err(reading::gone()),
        Err(error) => Err(problem(error)),
    }
}

/// Encodes an item as a message.
fn message<T: Serialize>(item: &T) -> Result<Bytes, Problem> {
    let mut text = Vec::new();
    json::encode_on_one_line(item, &mut text).map_err(Problem::internal)?;
    Ok(text.into())
}

/// Returns the URL at which any client can follow a stream.
fn location(core: &HubState, name: &StreamName) -> Option<HeaderValue> {
    // The hub doesn't see the handler's own request.
    let public = core.options.public_url.as_deref().unwrap_or_default();
    let path = public_url::of_stream(&core.options, name);
    HeaderValue::try_from(format!("{public}{path}")).ok()
}

/// A response with the items of a durable stream, each with its offset as its id: see
/// [`DurableBuilder`].
///
/// To a client it is the same as [`Streaming`], in every format. `Content-Location` is the URL of
/// the stream. A failure is final: an `EventSource` that reconnects after it is stopped.
pub struct Durable<T> {
    reading: Reading,
    location: Option<HeaderValue>,
    heartbeat: Duration,
    line_heartbeat: Duration,
    /// `true` if the client received items of the stream before.
    goes_on: bool,
    _item: PhantomData<fn() -> T>,
}

impl<T> Durable<T> {
    /// Sets how long an SSE response may be silent before a comment is sent. Default: the hub's
    /// [option](crate::Options::heartbeat). Zero: no comments.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every;
        self
    }
}

impl<T> IntoResponse for Durable<T> {
    fn into_response(self) -> Response {
        let Reading { reader, notice } = self.reading;
        let mut items = Streaming::<T>::frames(|format| reading::frames(reader, format))
            .heartbeat(self.heartbeat)
            .line_heartbeat(self.line_heartbeat);
        items = match notice {
            Notice::Nothing => items,
            Notice::Position(at) => items.position(at.to_string()),
            Notice::Reset(lost) => {
                items.reset(lost.floor().to_string(), lost.reset(), lost.problem())
            }
        };
        if self.goes_on {
            // For a client that has the beginning of the stream, a failure isn't the response to
            // this request but the end of the stream, and is sent as that. With a 5xx status, an
            // `EventSource` wouldn't report the reason, and other clients would retry.
            items = items.first_item_wait(Duration::ZERO);
        }
        let mut response = items.into_response();
        if let Some(location) = self.location {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LOCATION, location);
        }
        response
    }
}

impl<T: HasSchema> OperationOutput for Durable<T> {
    fn describe(operation: &mut Operation) {
        Streaming::<T>::describe(operation);
        operation.reply_header(
            StatusCode::OK,
            "content-location",
            "The URL of the durable stream, for other readers",
        );
        operation.error(StatusCode::CONFLICT, "Another stream has replaced this one");
        operation.error(
            StatusCode::GONE,
            "The stream that the id belongs to no longer exists",
        );
        operation.error(
            StatusCode::TOO_MANY_REQUESTS,
            "The limit of running or followed streams is reached",
        );
        operation.reply_header(
            StatusCode::TOO_MANY_REQUESTS,
            "Retry-After",
            RETRY_AFTER_TEXT,
        );
    }
}

impl<T> fmt::Debug for Durable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}
