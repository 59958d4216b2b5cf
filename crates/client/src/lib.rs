//! Async and blocking clients for streams of JSON over HTTP.
//!
//! The client yields complete, typed items in whichever format the server sends: Server-Sent
//! Events, NDJSON, JSON text sequences, a JSON array or lines of text.
//!
//! ```no_run
//! #[derive(serde::Deserialize, Debug)]
//! struct Tick {
//!     n: u64,
//!     price: f64,
//! }
//!
//! # async fn run() -> Result<(), headwater_client::Error> {
//! let mut ticks = headwater_client::get("http://127.0.0.1:8000/ticks").stream::<Tick>().await?;
//! while let Some(tick) = ticks.next().await {
//!     println!("{:?}", tick?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Items`] is a [`Stream`](futures_core::Stream) too. [`blocking`] offers the same names with
//! iterators, for code that isn't async. A response can also be read with [`Request::events`],
//! [`lines`](Request::lines), [`chunks`](Request::chunks) and [`raw`](Request::raw), or as a whole
//! with [`text`](Request::text), [`bytes`](Request::bytes) and [`value`](Request::value).
//!
//! [`gather()`] makes many calls at once and yields each result as it arrives.
//!
//! [`stream`] names a stream of a hub. The module [`hub`] has a writer that stores each message
//! once, and a reader that follows the stream.
//!
//! # Defaults and guarantees
//!
//! - **A truncated body is an error** ([`Error::is_truncated`]), never a quiet end. (The exception
//!   is an HTTP/1.0 body that ends with its connection: its end can't be told from a break.)
//! - **SSE streams reconnect and resume** after the last event id: when the connection breaks, when
//!   no byte arrives for the [idle timeout](Request::idle_timeout), and when the response ends
//!   without an end mark. The client waits for the server's `retry:` time, up to 60 s, and with
//!   backoff and jitter after repeated failures. Connections that last less than a second are
//!   opened at most about once a second. The stream ends at a 204 and at the end mark of a
//!   Headwater server. A response of another format or status is an error; 5xx and 429 are retried
//!   ([`max_attempts`](Request::max_attempts), `Retry-After`).
//! - **A token is renewed** if the request has a source of them ([`Token`]). The source is asked before
//!   each attempt. After a 401, which says that the request was not applied (RFC 9110 §15.5.2), it is
//!   asked again, and the request is sent with the new token, whatever its method is. An SSE stream
//!   that the server ends because the token has expired resumes after its last event: no item is lost
//!   or repeated. The server reports that by an `event: headwater:error` with a problem whose `status`
//!   is 401, or by an `event: error` without an id whose problem also has the `code`
//!   `token_expired`. The server's error is returned at once if the source returns the same token
//!   again, and if the server refuses two tokens in a row. A 403 is final.
//! - **A POST is never sent twice** unless [`replay`](Request::replay) allows it, or its token was
//!   refused. An SSE response
//!   to a POST is therefore a single response, and its end is the end of the stream.
//! - **The first connection isn't retried** unless
//!   [`retry_first_connect`](Request::retry_first_connect) is set, so a wrong URL fails at once. A first
//!   response of 502, 503 or 504 to a request for a stream is: a server that restarts behind a proxy answers
//!   so. So is a 429 or 503 with `Retry-After` to any request that is safe to repeat, after that time.
//! - **Redirects** are followed up to 10 times. A redirect to another origin (scheme, host and
//!   port) keeps only headers that describe the request, such as `Accept` and `Content-Type`, and
//!   drops `Authorization`, cookies and your own headers. 307 and 308 keep the method and body. A
//!   301 or 302 in response to a method other than GET and HEAD is an error, and so is a 303 in
//!   response to an append: the request would become a GET, whose success says nothing about the
//!   original request. A reconnect starts from the first URL again.
//! - **An error in the middle of a stream** (`event: headwater:error`) is an [`Error`] with the
//!   server's [`Problem`], and ends the stream.
//! - **An item of the wrong shape** is an error with the item's number and the path inside it. The
//!   stream continues.
//! - **Memory is bounded**: [`max_item_bytes`](Request::max_item_bytes),
//!   [`max_depth`](Request::max_depth), [`max_body_bytes`](Request::max_body_bytes).
//! - **https** uses rustls, with the platform's certificates and those of
//!   [`root_certificate`](ClientBuilder::root_certificate) (feature `tls`, on by default). On a
//!   machine without certificates http works and no https server is trusted. The cryptography is
//!   ring's, unless the process has installed another provider of rustls. A program that itself
//!   makes clients of reqwest without a provider, or uses rustls with another one, installs one
//!   before: `rustls::crypto::ring::default_provider().install_default()`.
//!
//! # Limitations
//!
//! The client requests no compression, and refuses a compressed body where it would have to decode
//! it. It keeps no cookies. It takes its proxy from the environment (`HTTP_PROXY`, `HTTPS_PROXY`,
//! `NO_PROXY`). It connects to any URL unless an [`Egress`] restricts it: set one if others choose
//! the URLs.
//!
//! # Internals
//!
//! A state machine without I/O or clock (`session`) makes all decisions and is tested without
//! sockets. `exchange` runs it over reqwest, and `blocking` runs the async client. The modules
//! `hub` and `gather` describe their own internals. The parsers are those of [`headwater_wire`].
//! `tests/` contains a server that misbehaves, and runs each test for both clients.

pub mod blocking;
mod client;
pub mod egress;
mod error;
mod exchange;
pub mod gather;
pub mod hub;
mod idle;
mod items;
mod notice;
mod options;
mod plan;
mod problem;
mod redirect;
mod request;
mod retry_after;
mod retry_wait;
mod session;
#[cfg(feature = "tls")]
mod tls;
mod token;
mod upload;

/// The types of the events with which a Headwater server describes the stream itself. An
/// application's events never begin with [`RESERVED_PREFIX`](control::RESERVED_PREFIX).
pub mod control {
    pub use headwater_wire::sse::{
        DELETED_EVENT, END_EVENT, END_ID, ERROR_EVENT, IMPORTED_EVENT, POSITION_EVENT,
        RESERVED_PREFIX, RESET_EVENT, TRIMMED_EVENT,
    };

    /// Describes in words an event of the type [`TRIMMED_EVENT`], [`DELETED_EVENT`] or [`IMPORTED_EVENT`] from a
    /// server of many streams. Returns `None` for any other event.
    #[must_use]
    pub fn notice(event: &crate::Event) -> Option<String> {
        crate::notice::Notice::of(event).map(|notice| notice.to_string())
    }
}

/// The parts on which the hub stands: its relay reads upstreams by them. No public interface.
#[doc(hidden)]
pub mod internals {
    #[cfg(feature = "tls")]
    pub use crate::client::http_trusting;
    pub use crate::{
        client::{http, http1},
        exchange::Exchange,
        plan::{Plan, Settings},
        session::{Head, Piece, Policy, Reading, Session, Step, content_encoding},
    };
}

pub use bytes::Bytes;
pub use headwater_wire::{DEFAULT_MAX_SERVER_DELAY, Event, Format, Str};
pub use http::{HeaderMap, Method, StatusCode};
pub use reqwest::Url;

pub use self::{
    client::{Client, ClientBuilder},
    egress::Egress,
    error::Error,
    items::Items,
    plan::{DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_ATTEMPTS, DEFAULT_MAX_BODY_BYTES},
    problem::Problem,
    request::Request,
    retry_after::retry_after,
    retry_wait::Wait,
    token::{MAX_TOKEN_BYTES, Token, TokenRequest},
};

/// Starts a GET request with the default settings, on its own connection. For many requests keep a
/// [`Client`], which reuses its connections.
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let text = headwater_client::get("http://127.0.0.1:8000/").text().await?;
/// # Ok(())
/// # }
/// ```
pub fn get(url: impl AsRef<str>) -> Request {
    request(Method::GET, url)
}

/// Starts a POST request with the default settings, on its own connection. For many requests keep a
/// [`Client`].
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let question = serde_json::json!({ "prompt": "Where does the river begin?" });
/// let mut pieces = headwater_client::post("http://127.0.0.1:8000/answer")
///     .json(&question)
///     .events()
///     .await?;
/// while let Some(piece) = pieces.next().await {
///     println!("{}", piece?.data);
/// }
/// # Ok(())
/// # }
/// ```
pub fn post(url: impl AsRef<str>) -> Request {
    request(Method::POST, url)
}

/// Makes many calls at once and yields each result as it arrives. The calls are URLs,
/// [`Call`](gather::Call)s, or `Result`s of them.
///
/// See the module [`mod@gather`]. The tasks that poll for results also advance the iterator, so it
/// must not block; [`blocking::gather`](blocking::gather()) accepts one that may.
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let urls = (0..10_000_000).map(|n| format!("https://api.example/items/{n}"));
/// let mut results = headwater_client::gather(urls).send()?;
/// while let Some(result) = results.next().await {
///     println!("{}: {:?}", result.url, result.outcome?.text()?);
/// }
/// # Ok(())
/// # }
/// ```
pub fn gather<I>(calls: I) -> gather::Gather
where
    I: IntoIterator<Item: gather::IntoCall, IntoIter: Send + 'static>,
{
    gather::from_iter(calls)
}

/// A stream of a hub, with the default settings, on its own connections: to append to, read,
/// follow, create and delete.
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let orders = headwater_client::stream("http://127.0.0.1:8000/streams/orders");
/// orders.create().send().await?;
/// println!("the tail is at {}", orders.info().await?.tail);
/// # Ok(())
/// # }
/// ```
pub fn stream(url: impl AsRef<str>) -> hub::Stream {
    match Client::new() {
        Ok(client) => client.stream(url),
        Err(error) => hub::Stream::new(Err(error), plan::Settings::default(), url.as_ref()),
    }
}

/// Starts a request of any method with the default settings, on its own connection. For many
/// requests keep a [`Client`].
///
/// ```no_run
/// use headwater_client::Method;
///
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let url = "http://127.0.0.1:8000/orders/7";
/// headwater_client::request(Method::DELETE, url).bytes().await?;
/// # Ok(())
/// # }
/// ```
pub fn request(method: Method, url: impl AsRef<str>) -> Request {
    match Client::shared() {
        Ok(client) => client.request(method, url),
        Err(error) => {
            let plan = plan::Plan::new(method, url.as_ref(), plan::Settings::default());
            Request::new(Err(error), plan)
        }
    }
}
