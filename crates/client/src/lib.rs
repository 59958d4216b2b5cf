//! Async and blocking clients for streams of JSON over HTTP.
//!
//! Iterate over complete, typed items, in whichever format the server sends them: Server-Sent
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
//! [`Items`] is a [`Stream`](futures_core::Stream) too. [`blocking`] has the same names with
//! iterators, for code that isn't async. Other ways to read an answer: [`Request::events`],
//! [`lines`](Request::lines), [`chunks`](Request::chunks), [`raw`](Request::raw), and as a whole
//! [`text`](Request::text), [`bytes`](Request::bytes), [`value`](Request::value).
//!
//! [`gather()`] makes many calls at once and gives each result as it comes.
//!
//! [`stream`] is a stream of a hub: [`hub`] has a writer that stores each message once, and a reader
//! that follows.
//!
//! # What it does by itself
//!
//! - **Nothing is taken for complete that isn't.** A body that is cut is an error
//!   ([`Error::is_truncated`]), never a quiet end. (An HTTP/1.0 body that ends with its connection
//!   can't tell; every other can.)
//! - **SSE streams are taken up again** where they were, by the last event id: when the connection
//!   breaks, when nothing comes for the [idle timeout](Request::idle_timeout), and when the response
//!   ends without saying that the stream is finished. It waits as long as the server's `retry:`
//!   says, up to 60 s, and longer, with jitter, the more often it fails; connections that last less than a
//!   second are made at most about once a second. It stops at 204, at the end mark of a
//!   Headwater server, and with an error at any other format or status; 5xx and 429 are tried again
//!   ([`max_attempts`](Request::max_attempts), `Retry-After`).
//! - **A POST is never sent twice** unless [`replay`](Request::replay) allows it. An SSE answer to a
//!   POST is therefore one response: its end is the end.
//! - **The first connection isn't retried** unless
//!   [`retry_first_connect`](Request::retry_first_connect) says so: a wrong URL is seen at once.
//! - **Redirects** are followed up to 10 times. To another origin (scheme, host and port) only headers that say what is
//!   asked for go along, as `Accept` and `Content-Type` do; `Authorization`, cookies and headers of your own
//!   don't. 307 and 308 keep method and body. A 301 or 302 in answer to anything but GET and HEAD is an error, as
//!   is a 303 in answer to an append: it would become a GET, whose success says nothing. A reconnect starts from the
//!   first URL again.
//! - **An error in the middle of a stream** (`event: headwater:error`) is an [`Error`] with the server's
//!   [`Problem`], and the end.
//! - **An item of the wrong shape** is an error that names its number and the path inside it, and
//!   the stream goes on.
//! - **Memory is bounded**: [`max_item_bytes`](Request::max_item_bytes),
//!   [`max_depth`](Request::max_depth), [`max_body_bytes`](Request::max_body_bytes).
//!
//! - **https** is spoken by rustls with the platform's certificates and those of
//!   [`root_certificate`](ClientBuilder::root_certificate) (feature `tls`, on by default). On a
//!   machine that has none, http works and no https server is trusted.
//!
//! # What it doesn't do
//!
//! It asks for no compression and refuses a compressed body where it would decode it. It keeps no
//! cookies. A proxy is taken from the environment (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`).
//! It goes wherever a URL says, unless an [`Egress`] says where it may go: set one where others
//! choose the URLs.
//!
//! # Inside
//!
//! All that is decided is decided by a state machine without I/O or clock (`session`), tested
//! without sockets; `exchange` runs it over reqwest; `blocking` runs that. `hub` and `gather` say their own inside. The parsers are those of
//! [`headwater_wire`]. `tests/` has a server that misbehaves, and each test for both clients.

pub mod blocking;
mod client;
pub mod egress;
mod error;
mod exchange;
pub mod gather;
pub mod hub;
mod items;
mod notice;
mod options;
mod plan;
mod problem;
mod redirect;
mod request;
mod session;
mod wait;

/// The types of the events by which a Headwater server speaks of the stream itself. An application's events never begin
/// with [`RESERVED_PREFIX`](control::RESERVED_PREFIX).
pub mod control {
    pub use headwater_wire::sse::{
        DELETED_EVENT, END_EVENT, END_ID, ERROR_EVENT, POSITION_EVENT, RESERVED_PREFIX,
        RESET_EVENT, TRIMMED_EVENT,
    };

    /// Describes an event of the type [`TRIMMED_EVENT`] or [`DELETED_EVENT`] of a server of many streams in words. `None`:
    /// it is another event.
    #[must_use]
    pub fn notice(event: &crate::Event) -> Option<String> {
        crate::notice::Notice::of(event).map(|notice| notice.to_string())
    }
}

pub use bytes::Bytes;
pub use headwater_wire::{Event, Format, Str};
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
    session::DEFAULT_MAX_SERVER_DELAY,
    wait::Wait,
};

/// A GET request with the default settings, on a connection of its own. For many requests keep a
/// [`Client`], which keeps its connections.
pub fn get(url: impl AsRef<str>) -> Request {
    request(Method::GET, url)
}

/// A POST request with the default settings, on a connection of its own. For many requests keep a
/// [`Client`].
pub fn post(url: impl AsRef<str>) -> Request {
    request(Method::POST, url)
}

/// Many calls at once, each result as it comes: from URLs, [`Call`](gather::Call)s, or `Result`s of
/// them.
///
/// The module [`mod@gather`] says more. The iterator is asked in the tasks that ask for results, so it
/// mustn't block; [`blocking::gather`](blocking::gather()) has one that may.
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

/// A stream of a hub, with the default settings, on connections of its own: to append to, to read
/// and follow, to create and delete.
pub fn stream(url: impl AsRef<str>) -> hub::Stream {
    match Client::new() {
        Ok(client) => client.stream(url),
        Err(error) => hub::Stream::new(Err(error), plan::Settings::default(), url.as_ref()),
    }
}

/// A request of any method with the default settings, on a connection of its own. For many requests
/// keep a [`Client`].
pub fn request(method: Method, url: impl AsRef<str>) -> Request {
    match Client::shared() {
        Ok(client) => client.request(method, url),
        Err(error) => {
            let plan = plan::Plan::new(method, url.as_ref(), plan::Settings::default());
            Request::new(Err(error), plan)
        }
    }
}
