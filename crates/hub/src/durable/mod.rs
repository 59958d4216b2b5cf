//! A handler's stream as a durable stream of the hub: it goes on when its client leaves, and others join it.
//!
//! ```text
//! first request ─► start ─► filling ─► stream in the log ─┬─► Durable: the response, in any format
//! those who join ─────────────────────────────────────────┴─► /streams/{path}, as any other stream
//! ```
//!
//! Nothing goes from the handler's stream to its response but by way of the log. So who started it and who joins it
//! later read the same items, with the same ids.

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
    Core, Hub,
    create::is_json,
    error::problem,
    filling::{Fill, Started, note},
    offset::Place,
    origin,
    path::name_of,
};

/// By this note a stream is known as one that a handler's stream fills.
const NOTE: &str = "durable";

impl Hub {
    /// The stream at this path, to be filled by a handler: see [`DurableStream`].
    ///
    /// The path is what follows `/streams/`. It may be made of what a client sent: one that is none is refused with 400
    /// when the stream is [run](DurableStream::run).
    pub fn durable(&self, path: impl Into<String>) -> DurableStream {
        DurableStream {
            hub: self.clone(),
            path: path.into(),
            keep_for: None,
            expiry: None,
        }
    }

    /// Ends what fills the stream at this path, and waits until the stream is closed: what had come is kept, and its
    /// readers are told that it was cancelled. The handler's stream is dropped at once. `false`: nothing fills it now.
    ///
    /// Dropped early, it is cancelled nevertheless.
    pub async fn cancel(&self, path: &str) -> bool {
        match name_of(path) {
            Ok(name) => self.0.fillings.cancel(&name).await,
            Err(_) => false,
        }
    }
}

/// A handler's stream that is made durable in one line.
///
/// The first request runs it: its items go into a stream of the hub, from which they are answered with. It goes on when
/// its client leaves. A request for one that runs or is finished joins it and gets all items, without running anything;
/// a client that reconnects resumes after the id that it saw last (`Last-Event-ID`, or `?offset=`). Where that id is none of this
/// stream, which was deleted and run again, SSE clients get an event `headwater:reset` and all items; in the other formats the
/// response is 410. Anyone can follow it
/// at `/streams/{path}` too, and `DELETE` of that, or [`Hub::cancel`], ends it.
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
/// /// Answers a question, once, for all who want to see it.
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
/// Items are kept as JSON, each as a message of a stream of the type `application/json`; ids and event names that the
/// handler's stream could give are not. A stream that failed stays failed: what runs it anew is another path, or the same
/// one after a `DELETE`. One that runs when the process ends is closed with a reason that says that it was interrupted,
/// by [`Hub::stop`], or by the next process that has a hub over the same log.
#[derive(Clone, Debug)]
#[must_use = "nothing is run yet"]
pub struct DurableStream {
    hub: Hub,
    path: String,
    keep_for: Option<Duration>,
    expiry: Option<Duration>,
}

impl DurableStream {
    /// Lets it run to its end, whoever watches. The default.
    pub fn keep(mut self) -> Self {
        self.keep_for = None;
        self
    }

    /// Lets it go on for so long with nobody watching, here or at `/streams/{path}`; then it is cancelled.
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep_for = Some(time);
        self
    }

    /// Cancels it when the last one who watches leaves.
    pub fn cancel_when_left(self) -> Self {
        self.keep_for(Duration::ZERO)
    }

    /// Deletes the stream when it was neither read nor written for so long. Default: it stays until it is deleted.
    pub fn expires_after(mut self, idle: Duration) -> Self {
        self.expiry = Some(idle);
        self
    }

    /// Runs the stream that `make` makes, or joins it: then `make` isn't called.
    ///
    /// Once the stream is there it is run, also if this is dropped before it answers.
    ///
    /// # Errors
    /// 400: the path is none. 409: there is another stream
    /// at that path. 410: the client goes on, but the stream is gone. 429: as many streams are run, or followed, as the
    /// hub's [limits](crate::Limits) allow. 503: the hub [ends](Hub::stop). What the log says.
    pub async fn run<T, M, S>(self, make: M) -> Result<Durable<T>, Problem>
    where
        T: Serialize + 'static,
        M: FnOnce() -> S + Send + 'static,
        S: Stream<Item = T> + Send + 'static,
    {
        self.start(move || make().map(|item| message(&item))).await
    }

    /// As [`run`](Self::run), of a stream that may fail: its first error closes the durable stream, and all who follow it
    /// are told.
    ///
    /// # Errors
    /// Those of [`run`](Self::run). An error of the stream itself is told in the response.
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
        let name = name_of(&self.path)?;
        let LastEventId(seen) = LastEventId::of_request();
        let place = seen.map_or(Place::Start, |id| Place::seen(&id));
        let goes_on = matches!(place, Place::At(_) | Place::Unknown(_));
        if goes_on {
            check_is_there(core, &name).await?;
        }
        let mut settings = Settings::of_type("application/json");
        settings.expiry = self.expiry.map(Expiry::Idle);
        let fill = Fill::new(name, settings)
            .note(NOTE.into())
            .keep_for(self.keep_for);
        let Started { info, watch, .. } = core.fillings.start(fill, make).await?;
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

/// Refuses a client that resumes a stream that isn't there: to run it again would give the client other items than those it
/// has the beginning of.
async fn check_is_there(core: &Core, name: &StreamName) -> Result<(), Problem> {
    match core.log.info(name).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Err(reading::gone()),
        Err(error) => Err(problem(error)),
    }
}

/// An item as a message.
fn message<T: Serialize>(item: &T) -> Result<Bytes, Problem> {
    let mut text = Vec::new();
    json::encode_on_one_line(item, &mut text).map_err(Problem::internal)?;
    Ok(text.into())
}

/// Where anyone can follow a stream.
fn location(core: &Core, name: &StreamName) -> Option<HeaderValue> {
    // The handler's own request is not the hub's to see.
    let public = core.options.public_url.as_deref().unwrap_or_default();
    let path = origin::of_stream(&core.options, name);
    HeaderValue::try_from(format!("{public}{path}")).ok()
}

/// A response whose items are those of a durable stream, each with its offset as its id: see [`DurableStream`].
///
/// To a client it is as [`Streaming`], in every format; `Content-Location` says where the stream is. A stream that failed
/// has failed for good: an `EventSource` that comes back after it is stopped.
pub struct Durable<T> {
    reading: Reading,
    location: Option<HeaderValue>,
    heartbeat: Duration,
    line_heartbeat: Duration,
    /// Whether the client had items of it before.
    goes_on: bool,
    _item: PhantomData<fn() -> T>,
}

impl<T> Durable<T> {
    /// Sets how long an SSE response may be silent before a comment goes out. Default: what the hub's
    /// [options](crate::Options::heartbeat) say. Zero: none.
    #[must_use]
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every;
        self
    }
}

impl<T> IntoResponse for Durable<T> {
    fn into_response(self) -> Response {
        let notice = self.reading.notice();
        let mut items = Streaming::try_new(self.reading.into_items())
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
            // A failure is then no answer to this request but the end of what the client has the beginning of, and is told
            // as that: to a status of 5xx an `EventSource` shows no reason, and clients would try again.
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
            "Where the durable stream is, for whoever wants to follow it too",
        );
        operation.error(
            StatusCode::CONFLICT,
            "There is another stream in the place of this one",
        );
        operation.error(
            StatusCode::GONE,
            "The client goes on behind an id, and what it followed is gone",
        );
        operation.error(
            StatusCode::TOO_MANY_REQUESTS,
            "As many streams run, or are followed, as may",
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
