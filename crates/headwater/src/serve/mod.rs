//! The server that runs an axum `Router` in production.

mod access_log;
mod activity;
mod address;
mod bad_head;
mod body_rate;
mod connection;
#[cfg(feature = "log")]
mod console;
mod forwarded;
mod io;
mod open_files;
mod proxies;
#[cfg(feature = "tls")]
mod redirect;
mod run;
mod stall;
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod upload;

use std::{fmt, io as std_io, pin::Pin, sync::Arc, time::Duration};

use axum::Router;
use tokio::sync::Semaphore;

pub(crate) use self::activity::Activity;
use self::body_rate::Pace;
#[cfg(feature = "tls")]
pub use self::tls::{Tls, TlsError};
pub use self::{
    address::{Address, BoundAddress},
    body_rate::{BodyClock, SlowBody},
    proxies::{NoNetwork, TrustedProxies},
};
use crate::{Hosts, negotiate::AppKind};

type BoundFn = Box<dyn FnOnce(&BoundAddress) + Send>;
type ShutdownFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves `app`, an `App` or an axum [`Router`], at `address` until SIGTERM or
/// SIGINT.
///
/// It speaks HTTP/1.1 and HTTP/2 on TCP or a Unix socket: in cleartext, with HTTP/2 by prior
/// knowledge, or over TLS (`Serve::tls`, with the feature `tls`). Each
/// [`Streaming`](crate::Streaming) response has the format that its client requests; no layer is
/// needed. Await it directly, or change settings first:
///
/// ```no_run
/// # async fn example(app: axum::Router) -> std::io::Result<()> {
/// use std::time::Duration;
///
/// headwater::serve(app, "0.0.0.0:8000")
///     .max_connections(50_000)
///     .shutdown_deadline(Duration::from_secs(25))
///     .on_bound(|address| println!("listening on {address}"))
///     .await
/// # }
/// ```
///
/// # Hosts
/// On a loopback address, the server serves only the names of that address, such as `localhost`, so
/// that pages of other sites can't reach it. Behind a proxy that forwards its clients' `Host`, list
/// these hosts. See [`hosts`](Serve::hosts).
///
/// # Shutdown
/// On the signal, the server stops accepting connections. Requests in flight continue, and so do
/// streams with [`finish_on_shutdown`](crate::Streaming::finish_on_shutdown). Other streams are
/// aborted; in SSE, with a random `retry:`, so that clients don't all reconnect at once. Everything
/// that remains at the [deadline](Serve::shutdown_deadline), or at a second signal, is dropped.
///
/// # Log
/// Events go to `tracing`. If the process has no subscriber when the server starts, the server
/// installs one that writes to stderr. Its level is INFO, or as `HEADWATER_LOG` or `RUST_LOG` sets
/// it: `warn`, `info,headwater::access=off`. To turn it off, set your own subscriber first, call
/// [`quiet`](Serve::quiet), or depend on the crate without its feature `log`.
///
/// - The server's address, at INFO, unless [`on_bound`](Serve::on_bound) is set.
/// - One line for each request when it ends, with the target `headwater::access`: peer, method,
///   path without its query, status, end, milliseconds, items and bytes. The end is `complete`;
///   `early`, if the response was complete before the request's body was; `cut` by the server; or
///   `left` by the client. The level is INFO, and WARN for a status of 400 and above except 503 and
///   507, which an overloaded server or a full disk sends in response to every request.
/// - An additional line with `end="open"`, at INFO, as soon as a response stays open for future
///   items.
/// - The error behind a response of status 500 or an aborted stream, with all its causes, at ERROR.
///
/// Lines never contain a query string, a header's value or a body. The libraries that carry
/// requests (hyper, h2, rustls and so on) log such data, so the subscriber above shows their
/// records only if the variable names them: `info,h2=debug`. Exclude them in the same way in a
/// subscriber of your own.
///
/// # State
/// An app whose handlers take state, an `App<S>` or a `Router<S>`, is served after `with_state`.
///
/// # Errors
/// The address can't be bound.
pub fn serve(app: impl Into<Router> + 'static, address: impl Into<Address>) -> Serve {
    Serve {
        kind: crate::kind_of(&app),
        app: app.into(),
        quiet: false,
        address: address.into(),
        settings: Settings::default(),
        hosts: Hosts::default(),
        #[cfg(feature = "tls")]
        tls: None,
        #[cfg(feature = "tls")]
        redirect: None,
        on_bound: None,
        shutdown_on: None,
    }
}

/// A server that has not started. See [`serve`]. Awaiting it runs it.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve {
    app: Router,
    kind: AppKind,
    quiet: bool,
    address: Address,
    settings: Settings,
    hosts: Hosts,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    /// The address whose requests are redirected to https.
    #[cfg(feature = "tls")]
    redirect: Option<Address>,
    on_bound: Option<BoundFn>,
    shutdown_on: Option<ShutdownFuture>,
}

#[derive(Debug)]
struct Settings {
    max_connections: usize,
    max_requests_per_connection: u32,
    /// One permit for each request over HTTP/2 that may be in flight.
    http2_requests: Arc<Semaphore>,
    max_head_bytes: u32,
    header_read_timeout: Duration,
    idle_timeout: Duration,
    pace: Pace,
    write_timeout: Duration,
    shutdown_deadline: Duration,
    /// Permissions of a Unix socket that is created at a path.
    socket_mode: u32,
    proxies: TrustedProxies,
}

/// Default of [`Serve::max_http2_requests`].
const MAX_HTTP2_REQUESTS: usize = 100_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            max_requests_per_connection: 256,
            http2_requests: Arc::new(Semaphore::new(MAX_HTTP2_REQUESTS)),
            max_head_bytes: 32 * 1024,
            header_read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            pace: Pace::default(),
            write_timeout: Duration::from_secs(60),
            shutdown_deadline: Duration::from_secs(10),
            socket_mode: 0o600,
            proxies: TrustedProxies::default(),
        }
    }
}

impl Serve {
    headwater_wire::setters! {
        /// Sets the maximum number of concurrent connections, at least 1. Further connections wait in
        /// the system's queue.
        ///
        /// Default: 100,000, within the limit of open files. At startup, the server raises the
        /// process's soft limit to the hard limit and reserves a quarter of it, at least 24 and at most
        /// 1,024 files, for everything else that the app opens later.
        max_connections(connections: usize) => settings.max_connections = connections.max(1);
        /// Sets the maximum number of requests in flight on one HTTP/2 connection, at least 1. Default:
        /// 256. HTTP/1.1 has one at a time.
        max_requests_per_connection(requests: u32) => settings.max_requests_per_connection = requests.max(1);
        /// Sets the maximum number of requests in flight on all HTTP/2 connections together, at least 1.
        /// Further ones are refused with 503 and `Retry-After`. Default: 100,000.
        ///
        /// A client that doesn't read a response costs memory for each of its requests, which over HTTP/2
        /// may be many on one connection. [`max_connections`](Self::max_connections) bounds those of
        /// HTTP/1.1.
        max_http2_requests(requests: usize) => settings.http2_requests = Arc::new(Semaphore::new(requests.clamp(1, Semaphore::MAX_PERMITS)));
        /// Sets the maximum size of a request's line and headers together, in bytes, at most 64 KiB. A
        /// larger head is refused with 431. Default: 32 KiB.
        ///
        /// The handler limits the size of a body: axum's extractors stop at 2 MB
        /// ([`DefaultBodyLimit`](axum::extract::DefaultBodyLimit)).
        max_head_bytes(bytes: u32) => settings.max_head_bytes = bytes.min(connection::BUFFER);
        /// Sets the time limit for a request's head, from its first byte. For the first head of a
        /// connection, the time starts at the connection. Default: 30 s. Zero: no limit.
        header_read_timeout(timeout: Duration) => settings.header_read_timeout = timeout;
        /// Sets how long a connection may stay open without a request. Default: 75 s. Zero: no limit. A
        /// connection with a response in progress is never idle, even if the stream is silent.
        idle_timeout(timeout: Duration) => settings.idle_timeout = timeout;
        /// Sets the minimum rate of a request's body, in bytes per second. Default: 1,024. Zero: no
        /// limit.
        ///
        /// The rate counts only while the handler waits for the body, averaged over the
        /// [`body_grace`](Self::body_grace): a burst makes up for a silence of that length. A slower
        /// body fails with [`SlowBody`], and if the handler then refuses the request, the response
        /// becomes a 408. A handler that reads an endless body stops the clock with [`BodyClock`].
        min_body_rate(bytes_per_second: u32) => settings.pace.rate = bytes_per_second;
        /// Sets how long a body may be silent if it is otherwise fast enough. Default: 10 s. See
        /// [`min_body_rate`](Self::min_body_rate).
        body_grace(grace: Duration) => settings.pace.grace = grace;
        /// Sets the total time that a handler may wait for a request's body. Default: one hour. Zero:
        /// no limit. A longer body fails like one that is [too slow](Self::min_body_rate).
        body_timeout(timeout: Duration) => settings.pace.total = timeout;
        /// Sets how long pending response data may wait for a client that doesn't read. Default: 60 s.
        /// Zero: no limit.
        ///
        /// After that, the connection is reset. Over HTTP/2, only the stream is reset if the client
        /// still reads other streams.
        write_timeout(timeout: Duration) => settings.write_timeout = timeout;
        /// Sets the time limit of a shutdown. Default: 10 s.
        shutdown_deadline(deadline: Duration) => settings.shutdown_deadline = deadline;
        /// Sets the permissions of a Unix socket that is given by its path. Default: `0o600`, only the
        /// owner. A proxy that runs as another user needs `0o660` and a common group, or `0o666`.
        socket_mode(mode: u32) => settings.socket_mode = mode & 0o777;
        /// Sets the hosts that the server serves, by the `Host` of a request. Requests for others are
        /// refused with 421. Default: the names of the loopback interface if the server listens on a
        /// loopback address, otherwise any host. See [`Hosts`].
        hosts(hosts: Hosts) => hosts = hosts;
        /// Sets the proxies whose `Forwarded` and `X-Forwarded-For`, `-Proto` and `-Host` headers count.
        /// Default: none, so these headers are ignored.
        ///
        /// For their requests, [`ConnectInfo`](crate::ConnectInfo) and the access log have the client's
        /// address: the last one in the header that isn't a trusted proxy. Its port is 0 if the proxy
        /// doesn't report it. [`RequestOrigin`](crate::RequestOrigin) has the scheme and the host that
        /// the client used. An element that is malformed or hides the address ends the search, and at
        /// most 16 are looked at.
        ///
        /// If a request has headers of both kinds, those with `X-` count. So a proxy that sets
        /// `Forwarded` alone must remove the others. [`hosts`](Self::hosts) are checked by `Host`, not
        /// by what a proxy reports.
        ///
        /// ```no_run
        /// # async fn example(app: axum::Router) -> Result<(), Box<dyn std::error::Error>> {
        /// use headwater::TrustedProxies;
        ///
        /// headwater::serve(app, "0.0.0.0:8000")
        ///     .trusted_proxies(TrustedProxies::parse(["10.0.0.0/8", "unix"])?)
        ///     .await?;
        /// # Ok(())
        /// # }
        /// ```
        trusted_proxies(proxies: TrustedProxies) => settings.proxies = proxies;
    }

    /// Serves https with this certificate, by TLS 1.2 and 1.3. The connection's protocol, HTTP/2 or
    /// HTTP/1.1, is negotiated (ALPN). Default: cleartext.
    ///
    /// All limits hold as they do in cleartext. The handshake counts towards
    /// [`header_read_timeout`](Self::header_read_timeout) and
    /// [`max_connections`](Self::max_connections). A request without TLS is answered with 400.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Listens at another address too, without TLS, and redirects each request there to https with
    /// 308: to the same host, path and query, and the port of the main address. It shares all
    /// limits with the main address. It needs [`tls`](Self::tls), and a main address on TCP.
    #[cfg(feature = "tls")]
    pub fn redirect_http(mut self, address: impl Into<Address>) -> Self {
        self.redirect = Some(address.into());
        self
    }

    /// Installs no `tracing` subscriber. Nothing is printed unless the app has set one.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Calls `tell` once with the actual address when the server accepts connections. It replaces
    /// the log line with the address.
    pub fn on_bound(mut self, tell: impl FnOnce(&BoundAddress) + Send + 'static) -> Self {
        self.on_bound = Some(Box::new(tell));
        self
    }

    /// Shuts down when `signal` completes, instead of on SIGTERM or SIGINT.
    pub fn shutdown_on(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown_on = Some(Box::pin(signal));
        self
    }
}

impl IntoFuture for Serve {
    type Output = std_io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = std_io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve")
            .field("address", &self.address)
            .field("settings", &self.settings)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}
