//! Many calls at once for code that isn't async: the names and behaviour of [`mod@crate::gather`],
//! with an iterator of results.
//!
//! ```no_run
//! let urls = ["https://a.example/tea", "https://b.example/tea"];
//! for result in headwater_client::blocking::gather(urls).per_host(8).send()? {
//!     println!("{}: {:?}", result.url, result.outcome?.text()?);
//! }
//! # Ok::<(), headwater_client::Error>(())
//! ```
//!
//! The calls run on their own thread, so they continue while the caller processes results. The
//! source runs on another thread, so it may block. Compared with the async bound, two more calls
//! are buffered between the source and the consumer, and two more results.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    thread,
};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::{Client, Runtime, runtime::settle};
pub use crate::gather::{Answer, Cache, Call, GatherResult, IntoCall, Progress, Timing};
use crate::{
    error::{Error, Kind},
    gather::{self as asynchronous, Options, gather_options},
};

/// The options of gathered calls: set them first, then call [`send`](Self::send). See
/// [`crate::gather::Gather`].
#[must_use = "no call is made before `send`"]
pub struct Gather {
    calls: Calls,
    client: Option<Client>,
    options: Options,
}

type Calls = Box<dyn Iterator<Item = Result<Call, Error>> + Send>;

impl Gather {
    gather_options!();

    pub(super) fn new<I>(calls: I) -> Self
    where
        I: IntoIterator<Item: IntoCall, IntoIter: Send + 'static>,
    {
        Self {
            calls: Box::new(Converted(calls.into_iter())),
            client: None,
            options: Options::default(),
        }
    }

    fn options(&mut self) -> &mut Options {
        &mut self.options
    }

    /// Uses this client's settings and headers for the calls, over separate connections. Default: a
    /// client's default settings.
    pub fn client(mut self, client: &Client) -> Self {
        self.client = Some(client.clone());
        self
    }

    /// Starts the calls.
    ///
    /// # Errors
    /// An option is wrong, TLS can't be set up, or the system can't provide another thread or file
    /// descriptor.
    pub fn send(self) -> Result<GatherResults, Error> {
        let client = match &self.client {
            Some(client) => crate::Client {
                http: client.engine.parts.again()?,
                settings: client.settings.clone(),
            },
            None => crate::Client::for_many_hosts()?,
        };
        let runtime = Runtime::new()?;
        let (calls, source) = mpsc::channel(1);
        let source = Source {
            calls: source,
            is_over: false,
        };
        let results = asynchronous::from_stream(source)
            .with_options(self.options)
            .client(&client)
            .send()?;
        let source = self.calls;
        spawn("headwater-source", move || ask(source, &calls))?;
        let (sender, receiver) = mpsc::channel(1);
        let runner = spawn("headwater-gather", move || {
            runtime.block_on(run(results, &sender));
        })?;
        Ok(GatherResults {
            results: receiver,
            runner: Some(runner),
            progress: Progress::default(),
        })
    }
}

headwater_wire::opaque!(Gather);

/// The results of calls as they arrive; the iterator waits for the next.
///
/// It ends when the source has ended and every call has yielded its result. Dropping it cancels all
/// calls at once.
pub struct GatherResults {
    results: mpsc::Receiver<(GatherResult, Progress)>,
    /// Set until the thread has ended.
    runner: Option<thread::JoinHandle<()>>,
    progress: Progress,
}

impl GatherResults {
    /// The progress of the calls when the last result became available.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress
    }
}

impl Iterator for GatherResults {
    type Item = GatherResult;

    fn next(&mut self) -> Option<GatherResult> {
        if let Some((result, progress)) = self.results.blocking_recv() {
            self.progress = progress;
            return Some(result);
        }
        if let Some(runner) = self.runner.take()
            && let Err(panic) = runner.join()
        {
            std::panic::resume_unwind(panic);
        }
        None
    }
}

impl fmt::Debug for GatherResults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatherResults")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<thread::JoinHandle<()>, Error> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| Error::request("a thread can't be started").with_source(error))
}

/// Forwards results until the receiver is dropped.
async fn run(
    mut results: asynchronous::GatherResults,
    sender: &mpsc::Sender<(GatherResult, Progress)>,
) {
    loop {
        let result = tokio::select! {
            result = results.next() => result,
            () = sender.closed() => break,
        };
        let Some(result) = result else {
            return;
        };
        if sender.send((result, results.progress())).await.is_err() {
            break;
        }
    }
    drop(results);
    // Lets the connections notice that their responses were dropped.
    settle().await;
}

/// Forwards calls until the source ends, which it reports by `None`, or until the receiver is
/// dropped.
fn ask(calls: Calls, sender: &mpsc::Sender<Option<Result<Call, Error>>>) {
    for call in calls.map(Some).chain([None]) {
        if sender.blocking_send(call).is_err() {
            return;
        }
    }
}

struct Converted<I>(I);

impl<I: Iterator<Item: IntoCall>> Iterator for Converted<I> {
    type Item = Result<Call, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(IntoCall::into_call)
    }
}

/// The calls from the source's thread.
struct Source {
    calls: mpsc::Receiver<Option<Result<Call, Error>>>,
    is_over: bool,
}

impl Stream for Source {
    type Item = Result<Call, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Poll::Ready(call) = self.calls.poll_recv(cx) else {
            return Poll::Pending;
        };
        // A source that ends without the final `None` has panicked. That is an error, so that no
        // call is dropped silently.
        let call = call.unwrap_or_else(|| {
            self.is_over = true;
            Some(Err(
                Error::new(Kind::Source).with_source("the source of calls panicked")
            ))
        });
        self.is_over |= call.is_none();
        Poll::Ready(call)
    }
}
