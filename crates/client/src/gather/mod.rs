//! Many calls at once, with each result as it arrives.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! #[derive(serde::Deserialize, Debug)]
//! struct Price {
//!     shop: String,
//!     cents: u64,
//! }
//!
//! # async fn run() -> Result<(), headwater_client::Error> {
//! let shops = ["https://a.example/tea", "https://b.example/tea", "https://c.example/tea"];
//! let mut results = headwater_client::gather(shops)
//!     .concurrency(64)
//!     .per_host(8)
//!     .rate_per_host(20.0)
//!     .timeout(Duration::from_secs(30))
//!     .send()?;
//! while let Some(result) = results.next().await {
//!     match result.outcome {
//!         Ok(answer) => println!("{:?}", answer.json::<Price>()?),
//!         Err(error) => eprintln!("call {}: {error}", result.index),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Calls come from an iterator ([`gather`](crate::gather())) or a [`Stream`] ([`from_stream`]):
//! URLs, [`Call`]s, or `Result`s of them. [`GatherResults`] is a stream of [`GatherResult`]s.
//!
//! # Guarantees
//!
//! - **A failed call is a failed result**, and never ends the stream: an invalid URL, no
//!   connection, a status that isn't a success, a body that is truncated or too large, an error of
//!   the source.
//! - **Calls that are safe to repeat are retried**: see [`Gather::retries`].
//! - **Equal calls are made once** while the first of them is in flight: see
//!   [`Gather::share_equal`].
//! - **Calls start in the order of the source**, except those whose host is at its limit: later
//!   calls to other hosts overtake them, as far as the [look-ahead](Gather::look_ahead) reaches.
//! - **Back-pressure reaches the source.** It is polled for a call only if that call could start,
//!   and there are never more than concurrency plus look-ahead calls between it and the consumer.
//!   The state that is kept for hosts is bounded, too. Ten million calls therefore need no more
//!   memory than a hundred.
//! - **Dropping the results cancels all calls at once.**
//!
//! Calls in flight continue while the consumer does other work. New calls start when the consumer
//! polls for a result.
//!
//! # Internals
//!
//! `schedule` decides which call starts when, without clock or sockets. `attempt` makes one attempt
//! at a call, over the same exchange as every request. `run` combines them and decides about
//! retries. `cache` implements RFC 9111.

mod attempt;
mod cache;
mod call;
mod options;
mod prepared;
mod result;
mod result_buffer;
mod run;
mod schedule;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

pub(crate) use self::options::{Options, gather_options};
pub use self::{
    cache::Cache,
    call::{Call, IntoCall},
    options::{
        DEFAULT_CONCURRENCY, DEFAULT_LOOK_AHEAD, DEFAULT_MAX_BODY_BYTES, DEFAULT_PER_HOST,
        DEFAULT_RETRIES, DEFAULT_TIMEOUT, MAX_RETRY_AFTER,
    },
    result::{Answer, GatherResult, Timing},
    run::{GatherResults, Progress},
};
use crate::{Client, error::Error};

/// Gathers the results of the calls from a stream, as the stream yields them: see
/// [`gather`](crate::gather()).
///
/// ```no_run
/// # async fn run(urls: impl futures_core::Stream<Item = std::io::Result<String>> + Send + 'static)
/// # -> Result<(), headwater_client::Error> {
/// let mut results = headwater_client::gather::from_stream(urls).ordered().send()?;
/// while let Some(result) = results.next().await {
///     println!("{}: {:?}", result.url, result.outcome);
/// }
/// # Ok(())
/// # }
/// ```
pub fn from_stream<S>(calls: S) -> Gather
where
    S: Stream<Item: IntoCall> + Send + 'static,
{
    Gather::new(Box::pin(FromStream(Box::pin(calls))))
}

/// Gathers the results of calls: see [`gather`](crate::gather()).
pub fn from_iter<I>(calls: I) -> Gather
where
    I: IntoIterator<Item: IntoCall, IntoIter: Send + 'static>,
{
    Gather::new(Box::pin(FromIter(calls.into_iter())))
}

/// The options of gathered calls: set them first, then call [`send`](Self::send).
#[must_use = "no call is made before `send`"]
pub struct Gather {
    calls: Calls,
    client: Option<Client>,
    options: Options,
}

/// The source of the calls.
type Calls = Pin<Box<dyn Stream<Item = Result<Call, Error>> + Send>>;

impl Gather {
    gather_options!();

    fn new(calls: Calls) -> Self {
        Self {
            calls,
            client: None,
            options: Options::default(),
        }
    }

    pub(crate) fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    fn options(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Makes the calls with this client, its headers, its [idle
    /// timeout](crate::ClientBuilder::idle_timeout) and its connections. Default: a separate
    /// client, which keeps idle connections for 4 s.
    pub fn client(mut self, client: &Client) -> Self {
        self.client = Some(client.clone());
        self
    }

    /// Starts the gather. Calls are made when the results are polled, in the tokio runtime of the
    /// poll.
    ///
    /// # Errors
    /// An option is wrong, or TLS can't be set up.
    pub fn send(mut self) -> Result<GatherResults, Error> {
        if let Some(error) = self.options.error.take() {
            return Err(error);
        }
        let client = match self.client {
            Some(client) => client,
            None => Client::for_many_hosts()?,
        };
        Ok(GatherResults::new(self.calls, client, self.options))
    }
}

headwater_wire::opaque!(Gather);

struct FromIter<I>(I);

// The iterator itself is never pinned.
impl<I> Unpin for FromIter<I> {}

impl<I: Iterator<Item: IntoCall>> Stream for FromIter<I> {
    type Item = Result<Call, Error>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(IntoCall::into_call))
    }
}

struct FromStream<S>(Pin<Box<S>>);

impl<S: Stream<Item: IntoCall>> Stream for FromStream<S> {
    type Item = Result<Call, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0
            .as_mut()
            .poll_next(cx)
            .map(|call| call.map(IntoCall::into_call))
    }
}
