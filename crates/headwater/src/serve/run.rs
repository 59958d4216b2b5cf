//! The run of a server, from its listeners to the end of its shutdown.

use std::{io, io::IsTerminal as _, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tower_layer::Layer as _;

#[cfg(feature = "log")]
use super::console;
#[cfg(feature = "tls")]
use super::{
    Address, redirect,
    tls::{Reload, Tls},
};
use super::{
    BoundAddress, Serve, Settings, address::Listener, connection, connection::Site, open_files,
    stream::Socket,
};
use crate::{Hosts, negotiate::AppKind};

/// Target of the log's lines about the server as a whole.
const TARGET: &str = "headwater::serve";

/// Pause after a failed `accept`, which is mostly caused by too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and what its connections reach.
type Door = (Listener, Site);

impl Serve {
    pub(super) async fn run(self) -> io::Result<()> {
        if !self.quiet {
            #[cfg(feature = "log")]
            console::set_up();
        }
        #[cfg(feature = "tls")]
        let reloads_on_hangup = self.shutdown_on.is_none();
        #[cfg(feature = "tls")]
        let has_files = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let has_files = false;
        let for_files = open_files::connections(self.settings.max_connections);
        let mut signal = match self.shutdown_on {
            Some(signal) => signal,
            None => Box::pin(signals(has_files)?.next()),
        };
        let listener = Listener::bind(self.address, self.settings.socket_mode).await?;
        let address = listener.address()?;
        let max_connections = for_files.min(self.settings.max_connections);
        let shared = Shared {
            settings: Arc::new(self.settings),
            hosts: self.hosts,
            shutdown: CancellationToken::new(),
        };
        let site = |address: &BoundAddress| shared.site(address, self.kind, self.app);
        #[cfg(feature = "tls")]
        let (main, address, second, _reloading) = {
            let (tls, reload) = start(self.tls)?;
            let address = match (&tls, address) {
                (Some(_), BoundAddress::Tcp(address)) => BoundAddress::Tls(address),
                (_, address) => address,
            };
            let second = shared.second(self.redirect, &address).await?;
            let mut reloading = JoinSet::new();
            if let Some(reload) = reload {
                reloading.spawn(reload.run(reloads_on_hangup)?);
            }
            let main = Site {
                tls,
                ..site(&address)
            };
            (main, address, second, reloading)
        };
        #[cfg(not(feature = "tls"))]
        let (main, second) = (site(&address), None::<Door>);
        match self.on_bound {
            Some(tell) => tell(&address),
            None if self.kind.has_docs => {
                tracing::info!(target: TARGET, "listening on {address} (docs at /docs)");
            }
            None => tracing::info!(target: TARGET, "listening on {address}"),
        }

        let mut connections = JoinSet::new();
        loop {
            let has_room = connections.len() < max_connections;
            let (site, accepted) = tokio::select! {
                biased;
                () = &mut signal => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept(), if has_room => (&main, accepted),
                Some((site, accepted)) = accept(second.as_ref()), if has_room => (site, accepted),
            };
            match accepted {
                Ok((socket, peer)) => {
                    connections.spawn(connection::run(socket, peer, site.clone()));
                }
                Err(error) => {
                    tracing::warn!(target: TARGET, %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((listener, second));
        shared.shutdown.cancel();
        shut_down(connections, shared.settings.shutdown_deadline).await;
        Ok(())
    }
}

/// The state that all listeners of a server share.
struct Shared {
    settings: Arc<Settings>,
    hosts: Hosts,
    shutdown: CancellationToken,
}

impl Shared {
    /// Creates the site at a listener, without TLS.
    fn site(&self, address: &BoundAddress, kind: AppKind, app: Router) -> Site {
        let layer = crate::layer().around(kind);
        let layer = match self.hosts.clone().at(address) {
            Some(hosts) => layer.hosts(hosts),
            None => layer,
        };
        Site {
            app: layer.layer(app),
            #[cfg(feature = "tls")]
            tls: None,
            settings: Arc::clone(&self.settings),
            shutdown: self.shutdown.clone(),
        }
    }

    /// Opens the listener that redirects to https at `main`, if one is wanted.
    ///
    /// # Errors
    /// The address can't be bound, or `main` isn't an address of https.
    #[cfg(feature = "tls")]
    async fn second(
        &self,
        redirect: Option<Address>,
        main: &BoundAddress,
    ) -> io::Result<Option<Door>> {
        let Some(redirect) = redirect else {
            return Ok(None);
        };
        let BoundAddress::Tls(main) = main else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "http can be redirected only if the server has a certificate and a TCP address",
            ));
        };
        let listener = Listener::bind(redirect, self.settings.socket_mode).await?;
        let address = listener.address()?;
        tracing::info!(target: TARGET, "redirecting {address} to https");
        let site = self.site(&address, AppKind::default(), redirect::app(main.port()));
        Ok(Some((listener, site)))
    }
}

#[cfg(feature = "tls")]
fn start(tls: Option<Tls>) -> io::Result<(Option<super::tls::Acceptor>, Option<Reload>)> {
    let Some(tls) = tls else {
        return Ok((None, None));
    };
    let (acceptor, reload) = tls.start().map_err(io::Error::other)?;
    Ok((Some(acceptor), reload))
}

/// Accepts a connection. Returns `None` if there is no listener.
///
/// # Cancel safety
/// No connection is lost if the future is dropped.
async fn accept(door: Option<&Door>) -> Option<(&Site, io::Result<(Socket, Option<SocketAddr>)>)> {
    let (listener, site) = door?;
    Some((site, listener.accept().await))
}

/// Waits for the connections to end, until the deadline or another signal, and drops the rest.
async fn shut_down(mut connections: JoinSet<()>, deadline: Duration) {
    while connections.try_join_next().is_some() {}
    tracing::info!(target: TARGET, connections = connections.len(), "shutting down");
    let deadline = Instant::now() + deadline;
    let again = async {
        match signals(false) {
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
            target: TARGET,
            connections = connections.len(),
            "dropped at the shutdown's deadline"
        );
    }
    connections.shutdown().await;
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None` if SIGHUP has files read again.
    hangup: Option<Signal>,
}

/// Registers the handlers at once, so that a signal before the first poll of `next` is not lost.
fn signals(reads_on_hangup: bool) -> io::Result<Signals> {
    let hangup = (!reads_on_hangup).then(|| signal(SignalKind::hangup()));
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: hangup.transpose()?,
    })
}

impl Signals {
    async fn next(mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                () = received(&mut self.hangup) => {
                    // The terminal was closed.
                    if io::stdin().is_terminal() {
                        return;
                    }
                    tracing::info!(target: TARGET, "SIGHUP is ignored: there is no certificate to read again");
                }
            }
        }
    }
}

/// Waits for a signal. Without one, it waits forever.
pub(super) async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
