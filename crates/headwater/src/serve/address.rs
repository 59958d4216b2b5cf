//! Addresses to listen at, and the listeners there.

use std::{
    fmt,
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::stream::Socket;

/// TCP keep-alive: idle time before the first probe, interval between probes, and number of probes.
const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMES: u32 = 4;

/// An address to listen at, for [`serve`](super::serve).
///
/// It is created from
/// - a string: `"127.0.0.1:8000"`, `"localhost:8000"`, `"[::1]:8000"`, or `"unix:/run/app.sock"`;
/// - a [`SocketAddr`];
/// - a [`TcpListener`] or a [`UnixListener`] that is already bound.
///
/// With port 0, the system selects the port, and [`Serve::on_bound`](super::Serve::on_bound)
/// receives it.
#[derive(Debug)]
pub struct Address(Kind);

#[derive(Debug)]
enum Kind {
    Name(String),
    Socket(SocketAddr),
    Path(PathBuf),
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl From<&str> for Address {
    fn from(address: &str) -> Self {
        match address.strip_prefix("unix:") {
            Some(path) => Self(Kind::Path(path.into())),
            None => Self(Kind::Name(address.to_owned())),
        }
    }
}

impl From<String> for Address {
    fn from(address: String) -> Self {
        address.as_str().into()
    }
}

impl From<&String> for Address {
    fn from(address: &String) -> Self {
        address.as_str().into()
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self(Kind::Socket(address))
    }
}

impl From<TcpListener> for Address {
    fn from(listener: TcpListener) -> Self {
        Self(Kind::Tcp(listener))
    }
}

impl From<UnixListener> for Address {
    fn from(listener: UnixListener) -> Self {
        Self(Kind::Unix(listener))
    }
}

/// The address of a listening server. It displays as a URL, or as `unix:` and a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BoundAddress {
    /// A TCP address with its actual port.
    Tcp(SocketAddr),
    /// A TCP address with its actual port, where the server speaks TLS.
    Tls(SocketAddr),
    /// The path of a Unix socket; empty if it has none.
    Unix(PathBuf),
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Tls(address) => write!(f, "https://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound listener. On drop, it removes the file of a Unix socket that it created.
pub(super) struct Listener {
    bound: Bound,
    owned_path: Option<PathBuf>,
}

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) async fn bind(Address(kind): Address, socket_mode: u32) -> io::Result<Self> {
        let mut owned_path = None;
        let named = |error: io::Error, what: &dyn fmt::Display| {
            io::Error::new(error.kind(), format!("can't listen on {what}: {error}"))
        };
        let bound = match kind {
            Kind::Tcp(listener) => Bound::Tcp(listener),
            Kind::Unix(listener) => Bound::Unix(listener),
            Kind::Name(name) => Bound::Tcp(
                TcpListener::bind(&name)
                    .await
                    .map_err(|error| named(error, &name))?,
            ),
            Kind::Socket(address) => Bound::Tcp(
                TcpListener::bind(address)
                    .await
                    .map_err(|error| named(error, &address))?,
            ),
            Kind::Path(path) => {
                remove_stale(&path).await;
                let listener =
                    UnixListener::bind(&path).map_err(|error| named(error, &path.display()))?;
                fs::set_permissions(&path, Permissions::from_mode(socket_mode))
                    .map_err(|error| named(error, &path.display()))?;
                owned_path = Some(path);
                Bound::Unix(listener)
            }
        };
        if let Bound::Tcp(listener) = &bound {
            keep_alive(listener);
        }
        Ok(Self { bound, owned_path })
    }

    pub(super) fn address(&self) -> io::Result<BoundAddress> {
        Ok(match &self.bound {
            Bound::Tcp(listener) => BoundAddress::Tcp(listener.local_addr()?),
            Bound::Unix(listener) => BoundAddress::Unix(
                listener
                    .local_addr()?
                    .as_pathname()
                    .unwrap_or(Path::new(""))
                    .to_owned(),
            ),
        })
    }

    /// Accepts a connection.
    ///
    /// # Cancel safety
    /// No connection is lost if the future is dropped.
    pub(super) async fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match &self.bound {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Items are small, and each should be sent at once.
                let _ = stream.set_nodelay(true);
                Ok((Socket::Tcp(stream), Some(peer)))
            }
            Bound::Unix(listener) => Ok((Socket::Unix(listener.accept().await?.0), None)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.owned_path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Enables TCP keep-alive, which accepted connections inherit.
///
/// It detects that the peer of a silent response is gone without having closed the connection,
/// because its host lost the network, or after it half-closed the connection.
fn keep_alive(listener: &TcpListener) {
    use rustix::net::sockopt;
    let set = sockopt::set_socket_keepalive(listener, true)
        .and_then(|()| sockopt::set_tcp_keepidle(listener, KEEP_ALIVE_AFTER))
        .and_then(|()| sockopt::set_tcp_keepintvl(listener, KEEP_ALIVE_EVERY))
        .and_then(|()| sockopt::set_tcp_keepcnt(listener, KEEP_ALIVE_TIMES));
    if let Err(error) = set {
        tracing::debug!(%error, "TCP keep-alive can't be set");
    }
}

/// Removes a socket file left by a killed server. A socket that accepts connections is kept.
async fn remove_stale(path: &Path) {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if UnixStream::connect(path).await.is_err_and(refused) {
        let _ = fs::remove_file(path);
    }
}
