use std::{
    fmt,
    fs::{self, Permissions},
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, recv},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};

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
    /// The path of a Unix socket; empty if it has none.
    Unix(PathBuf),
}

impl fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound listener. On drop, it removes the file of a Unix socket that it created.
pub(super) struct Listener {
    socket: Socket,
    owned_path: Option<PathBuf>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) async fn bind(Address(kind): Address, socket_mode: u32) -> io::Result<Self> {
        let mut owned_path = None;
        let named = |error: io::Error, what: &dyn fmt::Display| {
            io::Error::new(error.kind(), format!("can't listen on {what}: {error}"))
        };
        let socket = match kind {
            Kind::Tcp(listener) => Socket::Tcp(listener),
            Kind::Unix(listener) => Socket::Unix(listener),
            Kind::Name(name) => Socket::Tcp(
                TcpListener::bind(&name)
                    .await
                    .map_err(|error| named(error, &name))?,
            ),
            Kind::Socket(address) => Socket::Tcp(
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
                Socket::Unix(listener)
            }
        };
        if let Socket::Tcp(listener) = &socket {
            keep_alive(listener);
        }
        Ok(Self { socket, owned_path })
    }

    pub(super) fn address(&self) -> io::Result<BoundAddress> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => BoundAddress::Tcp(listener.local_addr()?),
            Socket::Unix(listener) => BoundAddress::Unix(
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
    /// If the future is dropped, no connection is lost.
    /// No connection is lost if the future is dropped.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Items are small, and each should be sent at once.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Some(peer)))
            }
            Socket::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
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

macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            Stream::Unix($inner) => $call,
        }
    };
}

/// An accepted connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Makes the following close a reset. A Unix socket doesn't support that.
    pub(super) fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            let _ = stream.set_zero_linger();
        }
    }

    /// Peeks at the connection. Returns the number of readable bytes, at most 1; 0 at the end.
    ///
    /// # Errors
    /// The peer has reset the connection.
    pub(super) fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(either!(self, stream => stream.poll_read_ready(cx)))?;
            let peek = |fd: BorrowedFd<'_>| {
                let (read, _) = recv(fd, &mut [0_u8; 1], RecvFlags::PEEK)?;
                Ok(read)
            };
            let peeked = either!(self, stream => {
                stream.try_io(Interest::READABLE, || peek(stream.as_fd()))
            });
            match peeked {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                peeked => return Poll::Ready(peeked),
            }
        }
    }

    /// Returns `true` if the peer, after closing its side, has reset the connection.
    pub(super) fn is_reset(&self) -> bool {
        let fd = either!(self, stream => stream.as_fd());
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
        let gone = PollFlags::HUP | PollFlags::ERR;
        // A zero timeout: the call doesn't block.
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) => fds[0].revents().intersects(gone),
            Err(_) => false,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(&mut *self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(&mut *self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
