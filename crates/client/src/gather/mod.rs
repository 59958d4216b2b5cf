//! Many calls at once, and each result as it comes.
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
//! Calls come from an iterator ([`gather`](crate::gather())) or a [`Stream`] ([`from_stream`]): URLs,
//! [`Call`]s, or `Result`s of them. [`Gathered`] is a stream of [`GatherResult`]s.
//!
//! # What it does by itself
//!
//! - **One failed call is one failed result**, never the end: no URL, no connection, a status that is
//!   no success, a body that is cut or too large, an error of the source.
//! - **It calls again what is safe to repeat**: see [`Gather::retries`].
//! - **Equal calls are made once** while the first of them is being made: see [`Gather::share_equal`].
//! - **Calls start in the order of the source**, but for those whose host is at its limit: calls behind
//!   them to other hosts go first, as far as the [look-ahead](Gather::look_ahead) reaches.
//! - **Back-pressure reaches the source.** It is asked for a call only if that could start, and there
//!   are never more than concurrency plus look-ahead calls between it and the consumer. What is
//!   remembered of hosts is bounded, too. So ten million calls need no more memory than a hundred.
//! - **Dropping the results cancels all calls at once.**
//!
//! Calls that are being made go on while the consumer does something else; new ones start when it
//! asks for a result.
//!
//! # Inside
//!
//! `schedule` decides what starts when, without clock or sockets; `attempt` makes one call once, over the
//! same exchange as every request; `run` puts them together, and decides what is tried again; `cache`
//! is RFC 9111.

mod attempt;
mod cache;
mod call;
mod options;
mod outbox;
mod prepared;
mod result;
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
    run::{Gathered, Progress},
};
use crate::{Client, error::Error};

/// Gathers the results of the calls that a stream gives, as it gives them: see
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

/// Calls to be made: options first, then [`send`](Self::send).
#[must_use = "no call is made before `send`"]
pub struct Gather {
    calls: Calls,
    client: Option<Client>,
    options: Options,
}

/// What the calls come from.
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

    /// Makes the calls over this client, with its headers, its
    /// [idle timeout](crate::ClientBuilder::idle_timeout) and its connections. Default: one of its own,
    /// which keeps idle connections for 4 s.
    pub fn client(mut self, client: &Client) -> Self {
        self.client = Some(client.clone());
        self
    }

    /// Starts. Calls are made when the results are asked for, in the tokio runtime that does so.
    ///
    /// # Errors
    /// An option is wrong, or TLS can't be set up.
    pub fn send(mut self) -> Result<Gathered, Error> {
        if let Some(error) = self.options.error.take() {
            return Err(error);
        }
        let client = match self.client {
            Some(client) => client,
            None => Client::for_many_hosts()?,
        };
        Ok(Gathered::new(self.calls, client, self.options))
    }
}

impl std::fmt::Debug for Gather {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gather").finish_non_exhaustive()
    }
}

struct FromIter<I>(I);

// It is never pinned itself.
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
