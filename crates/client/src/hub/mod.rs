//! Streams of a hub: append with a [`Writer`], read and follow with a [`Reader`].
//!
//! A stream is a URL. [`stream`](crate::stream) takes one, and so does
//! [`Client::stream`](crate::Client::stream):
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
//! Both keep what they promise over any break: a [`Writer`]'s message is stored once however often
//! it had to be sent, and a [`Reader`] gives each message once, in order.
//!
//! # Inside
//!
//! `call` is one request and its answer. What an answer means to a writer (`writer::answer`) and how
//! messages become requests (`writer::gather`) is decided without I/O; `writer::worker` does it. A
//! reader is a reader of Server-Sent Events ([`Items`](crate::Items)) that knows what the ids are.

mod call;
mod create;
mod offset;
mod reader;
mod writer;

use std::fmt;

use http::{HeaderMap, HeaderName, Method};

pub use self::{
    create::{Create, Info},
    offset::{Offset, ReadFrom},
    reader::{Message, Reader, ReaderOptions},
    writer::{Writer, WriterOptions},
};
use crate::{
    Request,
    error::Error,
    hub::call::Reply,
    plan::{Plan, Settings},
};

/// A stream of a hub. It is a URL and a way there: making one sends nothing.
///
/// Cloning it is cheap.
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

    /// The URL, as it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts to create the stream.
    pub fn create(&self) -> Create {
        Create::new(self.clone())
    }

    /// What is known of the stream.
    ///
    /// # Errors
    /// There's no answer; 404, there's no such stream; 410, it was deleted, and forks still use it.
    pub async fn info(&self) -> Result<Info, Error> {
        let reply = self.call(self.plan(Method::HEAD)).await?;
        Ok(Info::of(&reply.headers))
    }

    /// Deletes the stream and all that it holds.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub async fn delete(&self) -> Result<(), Error> {
        self.call(self.plan(Method::DELETE)).await.map(|_| ())
    }

    /// Closes the stream: nothing can be appended any more, and readers come to an end. Closing it
    /// again changes nothing. A [writer](Writer::close_stream) does it after its last message.
    ///
    /// # Errors
    /// As [`info`](Self::info).
    pub async fn close(&self) -> Result<Offset, Error> {
        let mut plan = self.plan(Method::POST);
        plan.header("stream-closed", "true");
        let reply = self.call(plan).await?;
        Ok(reply.offset().unwrap_or_default())
    }

    /// Starts to write to the stream.
    pub fn writer(&self) -> WriterOptions {
        WriterOptions::new(self.clone())
    }

    /// Starts to read the stream.
    pub fn reader(&self) -> ReaderOptions {
        ReaderOptions::new(self.clone())
    }

    fn plan(&self, method: Method) -> Plan {
        Plan::new(method, &self.url, self.settings.clone())
    }

    fn request(&self, method: Method) -> Request {
        let http = self.http.clone().map_err(Error::request);
        Request::new(http, self.plan(method))
    }

    /// Sends a request and takes any answer but a success for an error.
    async fn call(&self, plan: Plan) -> Result<Reply, Error> {
        let plan = plan.checked()?;
        let reply = self.send(&plan).await?;
        match reply.status.is_success() {
            true => Ok(reply),
            false => Err(reply.error().at(&plan.place())),
        }
    }

    /// Sends a request. An answer that is no success is no error.
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

/// The value of a header, if it is there and is text.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    headers.get(name)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    text(headers, name)?.parse().ok()
}

/// Whether the answer says that the stream is closed.
fn closed(headers: &HeaderMap) -> bool {
    text(headers, names::CLOSED).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}
