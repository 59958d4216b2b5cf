//! Streams of a hub: append with a [`Writer`], read and follow with a [`Reader`].
//!
//! A stream is identified by its URL, which [`stream`](crate::stream) and
//! [`Client::stream`](crate::Client::stream) accept:
//!
//! ```no_run
//! # use headwater_client::hub::ReadFrom;
//! #[derive(serde::Serialize, serde::Deserialize, Debug)]
//! struct Order {
//!     item: String,
//! }
//!
//! # async fn run() -> Result<(), headwater_client::Error> {
//! let orders = headwater_client::stream("http://127.0.0.1:8000/streams/orders");
//!
//! let writer = orders.writer().create(true).open().await?;
//! writer.append(&Order { item: "tea".to_owned() }).await?;
//! writer.flush().await?;
//!
//! let mut reader = orders.reader().from(ReadFrom::Start).open::<Order>().await?;
//! while let Some(message) = reader.next().await {
//!     let message = message?;
//!     println!("{:?}, and the next is at {}", message.value, message.offset);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`blocking`](crate::blocking) has the same names for code that isn't async.
//!
//! Both keep their guarantees across broken connections: a [`Writer`] stores each message once,
//! however often it is sent, and a [`Reader`] yields each message once, in order.
//!
//! # Internals
//!
//! `call` is one request and its response. `writer::answer` interprets a response for a writer, and
//! `writer::gather` forms requests from messages; both are without I/O. `writer::worker` sends
//! them. A reader reads Server-Sent Events ([`Items`](crate::Items)) whose ids are offsets.

mod call;
mod create;
mod offset;
mod reader;
mod writer;

use std::fmt;

use http::{HeaderMap, HeaderName, Method, StatusCode};
use tokio::time::sleep;

pub use self::{
    create::{Create, Info},
    offset::{Offset, ReadFrom},
    reader::{Message, Reader, ReaderOptions},
    writer::{Writer, WriterOptions},
};
use crate::{
    Request, Token,
    error::Error,
    hub::call::Reply,
    plan::{Plan, Settings},
    session::{asks_to_wait, is_unavailable},
};

/// A stream of a hub: its URL, and the client that reaches it. Creating this value sends nothing.
///
/// Clones are cheap.
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// use std::time::Duration;
///
/// let client = headwater_client::Client::new()?;
/// let orders = client.stream("http://127.0.0.1:8000/streams/orders");
/// let is_new = orders.create().max_age(Duration::from_secs(24 * 60 * 60)).send().await?;
/// println!("created now: {is_new}; the tail is at {}", orders.info().await?.tail);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Stream {
    http: Result<reqwest::Client, String>,
    settings: Settings,
    url: String,
}

impl Stream {
    pub(crate) fn new(http: Result<reqwest::Client, Error>, settings: Settings, url: &str) -> Self {
        Self {
            http: http.map_err(|error| error.to_string()),
            settings,
            url: url.to_owned(),
        }
    }

    /// The URL as passed in.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends the token of this source with all requests to the stream, in place of the client's: see
    /// [`Token`].
    ///
    /// ```no_run
    /// use headwater_client::Token;
    ///
    /// # async fn run() -> Result<(), headwater_client::Error> {
    /// let orders = headwater_client::stream("https://hub.example/streams/orders")
    ///     .token(Token::from_file("/run/secrets/hub-token"));
    /// println!("the tail is at {}", orders.info().await?.tail);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.settings.token = Some(token);
        self
    }

    /// Starts the creation of the stream.
    pub fn create(&self) -> Create {
        Create::new(self.clone())
    }

    /// Requests the stream's metadata.
    ///
    /// # Errors
    /// There is no response; 404: the stream doesn't exist; 410: it was deleted, and forks still
    /// use it.
    pub async fn info(&self) -> Result<Info, Error> {
        let reply = self.call(self.plan(Method::HEAD)).await?;
        Ok(Info::of(&reply.headers))
    }

    /// Deletes the stream with all its messages.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub async fn delete(&self) -> Result<(), Error> {
        self.call(self.plan(Method::DELETE)).await.map(|_| ())
    }

    /// Closes the stream to appends. Readers end at its tail. Closing a closed stream changes
    /// nothing. [`Writer::close_stream`] closes it after the writer's last message.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub async fn close(&self) -> Result<Offset, Error> {
        let mut plan = self.plan(Method::POST);
        plan.header("stream-closed", "true");
        let reply = self.call(plan).await?;
        Ok(reply.offset().unwrap_or_default())
    }

    /// Starts a writer of the stream.
    pub fn writer(&self) -> WriterOptions {
        WriterOptions::new(self.clone())
    }

    /// Starts a reader of the stream.
    pub fn reader(&self) -> ReaderOptions {
        ReaderOptions::new(self.clone())
    }

    fn plan(&self, method: Method) -> Plan {
        let mut plan = Plan::new(method, &self.url, self.settings.clone());
        if has_dot_segments(&self.url) {
            plan.fail(Error::request(
                "a stream's path has no \".\" or \"..\" segments",
            ));
        }
        plan
    }

    fn request(&self, method: Method) -> Request {
        let http = self.http.clone().map_err(Error::request);
        Request::new(http, self.plan(method))
    }

    /// Sends a request that is safe to repeat. Any response but a success is an error.
    async fn call(&self, plan: Plan) -> Result<Reply, Error> {
        let plan = plan.checked()?;
        let reply = self.patiently(&plan, false).await?;
        match reply.status.is_success() {
            true => Ok(reply),
            false => Err(reply.error().at(&plan.place())),
        }
    }

    /// Sends a request that is safe to repeat, up to `max_attempts` times: while the hub asks to wait, and if it opens a
    /// writer, also while the hub is unavailable, or as after a first connection that fails. A response that isn't a
    /// success is not an error.
    async fn patiently(&self, plan: &Plan, is_opening: bool) -> Result<Reply, Error> {
        let settings = &plan.settings;
        let retries_all = is_opening && settings.retry_first_connect;
        let mut rng = fastrand::Rng::new();
        let mut failures = 0;
        loop {
            let reply = self.send(plan).await;
            failures += 1;
            let (is_retried, after) = match &reply {
                Ok(reply) => {
                    let (status, after) = (reply.status, reply.retry_after());
                    let is_passing =
                        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    let is_retried = asks_to_wait(status, after)
                        || (is_opening && is_unavailable(status))
                        || (retries_all && is_passing);
                    (is_retried, after)
                }
                Err(error) => (retries_all && error.is_passing(), None),
            };
            if !is_retried || failures >= settings.max_attempts.max(1) {
                return reply.map_err(|error| error.after_attempts(failures));
            }
            let reason = match &reply {
                Ok(reply) => reply.error().to_string(),
                Err(error) => error.to_string(),
            };
            sleep(settings.pause(failures, after, &reason, &mut rng)).await;
        }
    }

    /// Sends a request. A response that isn't a success is not an error.
    async fn send(&self, plan: &Plan) -> Result<Reply, Error> {
        let http = self.http.as_ref();
        let http = http.map_err(|what| Error::request(what.as_str()))?;
        let reply = call::send(http, plan).await;
        reply.map_err(|error| error.at(&plan.place()))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.plan(Method::GET).place())
    }
}

/// Returns `true` if the path of a URL has segments that are removed when it is parsed (WHATWG URL §4.4).
fn has_dot_segments(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let is_dot = |segment: &str| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    path.split(['/', '\\']).any(is_dot)
}

/// The names of the protocol's headers.
mod names {
    pub(super) const NEXT_OFFSET: &str = "stream-next-offset";
    pub(super) const CLOSED: &str = "stream-closed";
    pub(super) const TTL: &str = "stream-ttl";
    pub(super) const EXPIRES_AT: &str = "stream-expires-at";
    pub(super) const MAX_AGE: &str = "stream-max-age";
    pub(super) const MAX_BYTES: &str = "stream-max-bytes";
    pub(super) const SCHEMA: &str = "stream-schema";
    pub(super) const FLOOR: &str = "stream-floor";
    pub(super) const FORKED_FROM: &str = "stream-forked-from";
    pub(super) const FORK_OFFSET: &str = "stream-fork-offset";
    pub(super) const DATA_ENCODING: &str = "stream-sse-data-encoding";
    pub(super) const PRODUCER_ID: &str = "producer-id";
    pub(super) const PRODUCER_EPOCH: &str = "producer-epoch";
    pub(super) const PRODUCER_SEQ: &str = "producer-seq";
    pub(super) const PRODUCER_MESSAGES: &str = "producer-messages";
    pub(super) const PRODUCER_DIGEST: &str = "producer-digest";
    pub(super) const EXPECTED_SEQ: &str = "producer-expected-seq";
}

/// The value of a header, if it is present and is text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// Returns `true` if the response marks the stream as closed.
fn closed(headers: &HeaderMap) -> bool {
    text(headers, names::CLOSED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
