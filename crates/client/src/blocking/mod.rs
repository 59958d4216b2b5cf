//! The client for code that isn't async: the same names and behaviour, with iterators in place of
//! the async client's streams.
//!
//! ```no_run
//! # #[derive(serde::Deserialize, Debug)]
//! # struct Tick { n: u64 }
//! for tick in headwater_client::blocking::get("http://127.0.0.1:8000/ticks").stream::<Tick>()? {
//!     println!("{:?}", tick?);
//! }
//! # Ok::<(), headwater_client::Error>(())
//! ```
//!
//! A client has its own tokio runtime, which runs on the waiting thread, and only while it waits.
//! Items that are already decoded are yielded without entering the runtime.
//!
//! # Panics
//! Like all blocking code, sending a request or waiting for an item panics on a thread that runs
//! async tasks. Use the async client there, or `tokio::task::spawn_blocking`. Dropping never
//! panics.

pub mod gather;
pub mod hub;
mod items;
mod runtime;

use std::sync::Arc;

use bytes::Bytes;
use headwater_wire::{Event, Str};
use http::Method;
use serde::de::DeserializeOwned;

pub use self::items::Items;
use self::runtime::Runtime;
use crate::{
    client::Parts,
    error::Error,
    options::{client_options, request_options, setting_options},
    plan::{Plan, Settings},
};

/// Starts a GET request with the default settings, on its own connection. For many requests keep a
/// [`Client`], which reuses its connections.
///
/// ```no_run
/// let text = headwater_client::blocking::get("http://127.0.0.1:8000/").text()?;
/// # Ok::<(), headwater_client::Error>(())
/// ```
pub fn get(url: impl AsRef<str>) -> Request {
    request(Method::GET, url)
}

/// Starts a POST request with the default settings, on its own connection. For many requests keep a
/// [`Client`].
pub fn post(url: impl AsRef<str>) -> Request {
    request(Method::POST, url)
}

/// Makes many calls at once and yields each result as it arrives. The calls are URLs,
/// [`Call`](gather::Call)s, or `Result`s of them. The iterator runs on its own thread and may
/// block. See [`mod@gather`].
///
/// ```no_run
/// use std::io::BufRead as _;
///
/// let urls = std::io::BufReader::new(std::io::stdin()).lines();
/// for result in headwater_client::blocking::gather(urls).ordered().send()? {
///     println!("{}", serde_json::json!(result));
/// }
/// # Ok::<(), headwater_client::Error>(())
/// ```
pub fn gather<I>(calls: I) -> gather::Gather
where
    I: IntoIterator<Item: gather::IntoCall, IntoIter: Send + 'static>,
{
    gather::Gather::new(calls)
}

/// A stream of a hub, with the default settings, on its own connections: to append to, read,
/// follow, create and delete.
///
/// ```no_run
/// let orders = headwater_client::blocking::stream("http://127.0.0.1:8000/streams/orders");
/// println!("the tail is at {}", orders.info()?.tail);
/// # Ok::<(), headwater_client::Error>(())
/// ```
pub fn stream(url: impl AsRef<str>) -> hub::Stream {
    match Client::new() {
        Ok(client) => client.stream(url),
        Err(error) => hub::Stream::new(Err(error), Settings::default(), url.as_ref()),
    }
}

/// Starts a request of any method with the default settings, on its own connection. For many
/// requests keep a [`Client`].
pub fn request(method: Method, url: impl AsRef<str>) -> Request {
    match Client::shared() {
        Ok(client) => client.request(method, url),
        Err(error) => {
            let mut plan = Plan::new(method, url.as_ref(), Settings::default());
            plan.fail(error);
            Request { client: None, plan }
        }
    }
}

/// A client that sends requests and keeps their connections for later ones. Clones are cheap and
/// share the connections. Several threads may use it at once.
///
/// ```no_run
/// use headwater_client::blocking::Client;
///
/// let client = Client::builder().bearer("secret").build()?;
/// for line in client.get("http://127.0.0.1:8000/text").lines()? {
///     println!("{}", line?);
/// }
/// # Ok::<(), headwater_client::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    engine: Engine,
    settings: Settings,
}

/// The parts that run the requests.
#[derive(Clone)]
struct Engine {
    runtime: Arc<Runtime>,
    http: reqwest::Client,
    /// The parts for connections that must not depend on this runtime.
    parts: Arc<Parts>,
}

impl Client {
    /// Creates a client with the default settings.
    ///
    /// # Errors
    /// TLS can't be set up, or the process has too many open files.
    pub fn new() -> Result<Self, Error> {
        Self::builder().build()
    }

    fn shared() -> Result<Self, Error> {
        let (http, _) = Parts::shared()?;
        Self::with(http, Parts::default())
    }

    fn with(http: reqwest::Client, parts: Parts) -> Result<Self, Error> {
        let settings = parts.settings.clone();
        Ok(Self {
            engine: Engine {
                runtime: Arc::new(Runtime::new()?),
                http,
                parts: Arc::new(parts),
            },
            settings,
        })
    }

    /// Starts a client with other settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            parts: Parts::default(),
        }
    }

    /// Starts a GET request.
    pub fn get(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::GET, url)
    }

    /// Starts a POST request.
    pub fn post(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::POST, url)
    }

    /// Starts a request of any method.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> Request {
        let plan = Plan::new(method, url.as_ref(), self.settings.clone());
        Request {
            client: Some(self.engine.clone()),
            plan,
        }
    }

    /// A stream of a hub: to append to, read, follow, create and delete.
    #[must_use]
    pub fn stream(&self, url: impl AsRef<str>) -> hub::Stream {
        hub::Stream::new(Ok(self.engine.clone()), self.settings.clone(), url.as_ref())
    }
}

/// The settings of a new [`Client`]. They apply to each of its requests that doesn't override them.
#[must_use = "`build` makes the client"]
pub struct ClientBuilder {
    parts: Parts,
}

impl ClientBuilder {
    client_options!();

    fn parts(&mut self) -> &mut Parts {
        &mut self.parts
    }

    /// Creates the client.
    ///
    /// # Errors
    /// A setting is wrong, TLS can't be set up, or the process has too many open files.
    pub fn build(self) -> Result<Client, Error> {
        let mut parts = self.parts;
        Client::with(parts.connections()?, parts)
    }
}

headwater_wire::opaque!(Engine, Client, ClientBuilder);

/// A request before it is sent: set the options first, then choose how to read the response.
///
/// An invalid option is reported as the error of that last step.
#[must_use = "nothing is sent before the answer is read"]
pub struct Request {
    /// `None` if it couldn't be created; the plan then has the error.
    client: Option<Engine>,
    plan: Plan,
}

/// Defines methods that run the async method of the same name to completion.
macro_rules! reading {
    ($($(#[$doc:meta])* $name:ident $(<$t:ident>)? ($($arg:ident: $type:ty)?) -> $out:ty;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// As the async method of the same name.
        pub fn $name $(<$t: DeserializeOwned>)? (self $(, $arg: $type)?) -> Result<Items<$out>, Error> {
            let (engine, request) = self.into_async()?;
            let items = engine.runtime.start(request.$name($($arg)?))?;
            Ok(Items::new(items, engine.runtime))
        }
    )*};
}

impl Request {
    request_options!();

    fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }

    reading! {
        /// Reads the body as items of `T`, in the format that the response names: see
        /// [`crate::Request::stream`].
        stream<T>() -> T;
        /// Reads the body as events: see [`crate::Request::events`].
        events() -> Event;
        /// Reads the body as lines of text: see [`crate::Request::lines`].
        lines() -> Str;
        /// Reads the body `size` bytes at a time: see [`crate::Request::chunks`].
        chunks(size: usize) -> Bytes;
        /// Reads the body in pieces as they arrive: see [`crate::Request::raw`].
        raw() -> Bytes;
    }

    /// Reads the whole body, up to [`max_body_bytes`](Self::max_body_bytes).
    ///
    /// # Errors
    /// As [`crate::Request::bytes`].
    pub fn bytes(self) -> Result<Bytes, Error> {
        let (engine, request) = self.into_async()?;
        engine.runtime.start(request.bytes())
    }

    /// Reads the whole body as UTF-8, up to [`max_body_bytes`](Self::max_body_bytes).
    ///
    /// # Errors
    /// As [`crate::Request::text`].
    pub fn text(self) -> Result<String, Error> {
        let (engine, request) = self.into_async()?;
        engine.runtime.start(request.text())
    }

    /// Reads the whole body as one JSON value, up to [`max_body_bytes`](Self::max_body_bytes).
    ///
    /// # Errors
    /// As [`crate::Request::value`].
    pub fn value<T: DeserializeOwned>(self) -> Result<T, Error> {
        let (engine, request) = self.into_async()?;
        engine.runtime.start(request.value())
    }

    fn into_async(self) -> Result<(Engine, crate::Request), Error> {
        let plan = self.plan.checked()?;
        let engine = self
            .client
            .ok_or_else(|| Error::request("there is no client"))?;
        let request = crate::Request::new(Ok(engine.http.clone()), plan);
        Ok((engine, request))
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({})", self.plan.place())
    }
}
