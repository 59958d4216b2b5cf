//! The runner: from an axum `Router` to a server that can be relied upon.

mod access;
mod activity;
mod address;
mod connection;
#[cfg(feature = "log")]
mod console;
mod files;
mod io;
mod pace;
mod refusal;
mod stall;
mod upload;

use std::{fmt, io as std_io, pin::Pin, sync::Arc, time::Duration};

use axum::Router;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer;

pub(crate) use self::activity::Activity;
use self::address::Listener;
use self::pace::Pace;
pub use self::{
    address::{Address, BoundAddress},
    pace::{BodyClock, SlowBody},
};
use crate::{App, Hosts};

/// How long a failed `accept` (too many open files, mostly) waits before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type BoundFn = Box<dyn FnOnce(&BoundAddress) + Send>;
type ShutdownFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves `app`, an [`App`](crate::App) or an axum [`Router`], at `address` until SIGTERM or SIGINT.
///
/// HTTP/1.1 and HTTP/2 (cleartext, by prior knowledge) on TCP or a Unix socket. Every
/// [`Streaming`](crate::Streaming) response gets the format that its client asks for; no layer is needed.
/// Await it as it is, or set what should differ first:
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
/// On a loopback address the server answers only for the names of that address, `localhost` and the like, so that no page of
/// another site reaches it. Behind a proxy that sends on its clients' `Host`, list these hosts: see [`hosts`](Serve::hosts).
///
/// # Shutdown
/// On the signal the server stops accepting. Requests in flight go on; streams are cut, with a `retry:` of
/// a random time in SSE so that clients don't all come back at once; those that are marked with
/// [`finish_on_shutdown`](crate::Streaming::finish_on_shutdown) go on. What is left at the
/// [deadline](Serve::shutdown_deadline), or at a second signal, is dropped.
///
/// # Log
/// Events go to `tracing`. If the process has no subscriber by the time the server starts, a subscriber is installed that
/// writes to stderr from level INFO up, or what `HEADWATER_LOG` or `RUST_LOG` asks for: `warn`,
/// `info,headwater::access=off`. To turn it off, set a subscriber of your own first, call [`quiet`](Serve::quiet), or depend on
/// the crate without its feature `log`.
///
/// - Where the server listens, at INFO, unless [`on_bound`](Serve::on_bound) is set.
/// - One line for each request, when it is over, to the target `headwater::access`: peer, method, path without its query,
///   status, how it ended (`complete`; `early`, complete before the request's body was; `cut` by the server; or `left` by the
///   client), milliseconds, items and bytes. The level is INFO, and WARN for a status of 400 and above, except for 503 and 507: an overloaded server or a full
///   disk answers every request with these.
/// - A line with `end="open"` at INFO besides, as soon as a response stays open for items that are yet to come.
/// - The error behind a response of status 500, and behind a stream that was cut, with all its causes, at ERROR.
///
/// No line holds a query string, a header's value or a body. The libraries that carry requests (hyper, h2, rustls and so on) log such
/// things, so the subscriber above shows records of theirs only where the variable names them: `info,h2=debug`. In a subscriber of
/// your own, leave them out in the same way.
///
/// # Errors
/// The address can't be bound.
pub fn serve(app: impl Into<Router> + 'static, address: impl Into<Address>) -> Serve {
    Serve {
        has_docs: App::is_with_docs(&app),
        app: app.into(),
        quiet: false,
        address: address.into(),
        settings: Settings::default(),
        hosts: Hosts::default(),
        on_bound: None,
        shutdown_on: None,
    }
}

/// A server that has not been started; see [`serve`]. Awaiting it runs it.
#[must_use = "a server does nothing until it is awaited"]
pub struct Serve {
    app: Router,
    has_docs: bool,
    quiet: bool,
    address: Address,
    settings: Settings,
    hosts: Hosts,
    on_bound: Option<BoundFn>,
    shutdown_on: Option<ShutdownFuture>,
}

#[derive(Debug)]
struct Settings {
    max_connections: usize,
    max_requests_per_connection: u32,
    max_head_bytes: u32,
    header_read_timeout: Duration,
    idle_timeout: Duration,
    pace: Pace,
    write_timeout: Duration,
    shutdown_deadline: Duration,
    /// Of a Unix socket that is made for a path.
    socket_mode: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            max_requests_per_connection: 256,
            max_head_bytes: 32 * 1024,
            header_read_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            pace: Pace::default(),
            write_timeout: Duration::from_secs(60),
            shutdown_deadline: Duration::from_secs(10),
            socket_mode: 0o600,
        }
    }
}

impl Serve {
    /// Sets how many connections may be open at a time, at least 1. More wait in the system's queue.
    /// Default: 100,000, as far as the limit of open files allows: the process's own limit is raised to the system's when the server
    /// starts, and a quarter of it, at least 24 and at most 1,024 files, is left to everything else that the app opens
    /// later.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.settings.max_connections = connections.max(1);
        self
    }

    /// Sets how many requests one HTTP/2 connection may have in flight, at least 1. Default: 256. HTTP/1.1 has
    /// one at a time.
    pub fn max_requests_per_connection(mut self, requests: u32) -> Self {
        self.settings.max_requests_per_connection = requests.max(1);
        self
    }

    /// Sets how large a request's line and headers may be together, in bytes, at most 64 KiB. A larger head
    /// is answered with 431. Default: 32 KiB.
    ///
    /// The size of a body is not the server's to limit but the handler's: axum's extractors stop at 2 MB
    /// ([`DefaultBodyLimit`](axum::extract::DefaultBodyLimit)).
    pub fn max_head_bytes(mut self, bytes: u32) -> Self {
        self.settings.max_head_bytes = bytes.min(connection::BUFFER);
        self
    }

    /// Sets how long a request's head may take from its first byte, and a new connection's first head
    /// from the start. Default: 30 s. Zero: no limit.
    pub fn header_read_timeout(mut self, timeout: Duration) -> Self {
        self.settings.header_read_timeout = timeout;
        self
    }

    /// Sets how long a connection may stay open without a request. Default: 75 s. Zero: no limit.
    /// A response that is being streamed, however rarely, is never idle.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = timeout;
        self
    }

    /// Sets how fast a request's body has to come, in bytes a second. Default: 1,024. Zero: no limit.
    ///
    /// It counts only while the handler waits for the body, over the [`body_grace`](Self::body_grace): what comes fast now
    /// makes up for a silence of that length. A body that comes more slowly fails with [`SlowBody`], and a response
    /// with which the handler then refuses the request becomes a 408. A handler that reads a body without an end stops the
    /// clock with [`BodyClock`].
    pub fn min_body_rate(mut self, bytes_per_second: u32) -> Self {
        self.settings.pace.rate = bytes_per_second;
        self
    }

    /// Sets how long a body may be silent, if it comes fast enough otherwise. Default: 10 s. See
    /// [`min_body_rate`](Self::min_body_rate).
    pub fn body_grace(mut self, grace: Duration) -> Self {
        self.settings.pace.grace = grace;
        self
    }

    /// Sets how long a handler may wait for a request's body in all. Default: one hour. Zero: no limit. One that takes
    /// longer fails as one that is [too slow](Self::min_body_rate).
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.settings.pace.total = timeout;
        self
    }

    /// Sets how long a client may take nothing of a response that waits to be sent. Default: 60 s. Zero: no limit.
    ///
    /// After that the connection is reset; over HTTP/2, the stream, if the connection takes others'.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.settings.write_timeout = timeout;
        self
    }

    /// Sets how long a shutdown may take. Default: 10 s.
    pub fn shutdown_deadline(mut self, deadline: Duration) -> Self {
        self.settings.shutdown_deadline = deadline;
        self
    }

    /// Sets the permissions of a Unix socket that is given by its path. Default: `0o600`, its owner's alone; a proxy that
    /// runs as another user takes `0o660` and a group in common, or `0o666`.
    pub fn socket_mode(mut self, mode: u32) -> Self {
        self.settings.socket_mode = mode & 0o777;
        self
    }

    /// Sets the hosts that the server answers for, by the `Host` of a request. Others are refused with 421. Default: the names
    /// of the loopback interface if the server listens on one of its addresses, else any. See [`Hosts`].
    pub fn hosts(mut self, hosts: Hosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// Installs no `tracing` subscriber: nothing is printed, unless the app has set one.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Calls `tell` once, when connections are accepted, with the real address. It takes the place of the log's line
    /// that says so.
    pub fn on_bound(mut self, tell: impl FnOnce(&BoundAddress) + Send + 'static) -> Self {
        self.on_bound = Some(Box::new(tell));
        self
    }

    /// Shuts down when `signal` is ready, instead of on SIGTERM or SIGINT.
    pub fn shutdown_on(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.shutdown_on = Some(Box::pin(signal));
        self
    }

    async fn run(self) -> std_io::Result<()> {
        let Self {
            app,
            has_docs,
            quiet,
            address,
            settings,
            hosts,
            on_bound,
            shutdown_on,
        } = self;
        if !quiet {
            #[cfg(feature = "log")]
            console::set_up();
        }
        let for_files = files::connections(settings.max_connections);
        let mut signal = match shutdown_on {
            Some(signal) => signal,
            None => Box::pin(signals()?.next()),
        };
        let listener = Listener::bind(address, settings.socket_mode).await?;
        let address = listener.address()?;
        let layer = crate::layer().docs(has_docs);
        let layer = match hosts.at(&address) {
            Some(hosts) => layer.hosts(hosts),
            None => layer,
        };
        let max_connections = for_files.min(settings.max_connections);
        match on_bound {
            Some(tell) => tell(&address),
            None if has_docs => tracing::info!("listening on {address} (docs at /docs)"),
            None => tracing::info!("listening on {address}"),
        }

        let app = layer.layer(app);
        let settings = Arc::new(settings);
        let shutdown = CancellationToken::new();
        let mut connections = JoinSet::new();
        loop {
            let has_room = connections.len() < max_connections;
            tokio::select! {
                biased;
                () = &mut signal => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => {
                        let (app, settings) = (app.clone(), Arc::clone(&settings));
                        let shutdown = shutdown.clone();
                        connections.spawn(connection::run(stream, peer, app, settings, shutdown));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }

        drop(listener);
        shutdown.cancel();
        while connections.try_join_next().is_some() {}
        tracing::info!(connections = connections.len(), "shutting down");
        let deadline = Instant::now() + settings.shutdown_deadline;
        let again = async {
            match signals() {
                Ok(signals) => signals.next().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            () = async { while connections.join_next().await.is_some() {} } => {}
            () = tokio::time::sleep_until(deadline) => {}
            () = again => {}
        }
        if !connections.is_empty() {
            tracing::warn!(
                connections = connections.len(),
                "dropped at the shutdown's deadline"
            );
        }
        connections.shutdown().await;
        Ok(())
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

struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

/// Listens from now on, so that a signal that comes before `next` is polled is not lost.
fn signals() -> std_io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    })
}

impl Signals {
    async fn next(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
