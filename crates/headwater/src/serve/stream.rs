//! Accepted connections: sockets, and TLS over them.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    pin::Pin,
    task::{Context, Poll},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{RecvFlags, recv},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

#[cfg(feature = "tls")]
use super::tls::TlsStream;

/// Forwards reads and writes of a type. `each` is a macro that runs the same code with the inner stream
/// of any kind.
macro_rules! forward_io {
    ($type:ty, $each:ident) => {
        impl AsyncRead for $type {
            fn poll_read(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                $each!(&mut *self, inner => Pin::new(inner).poll_read(cx, buf))
            }
        }

        impl AsyncWrite for $type {
            fn poll_write(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                $each!(&mut *self, inner => Pin::new(inner).poll_write(cx, buf))
            }

            fn poll_write_vectored(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                $each!(&mut *self, inner => Pin::new(inner).poll_write_vectored(cx, bufs))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                $each!(&mut *self, inner => Pin::new(inner).poll_flush(cx))
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                $each!(&mut *self, inner => Pin::new(inner).poll_shutdown(cx))
            }
        }
    };
}
#[cfg(feature = "tls")]
pub(super) use forward_io;

macro_rules! either {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($inner) => $call,
            Socket::Unix($inner) => $call,
        }
    };
}

/// The socket of an accepted connection.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Makes the following close a reset. A Unix socket doesn't support that.
    fn reset_on_close(&self) {
        if let Self::Tcp(stream) = self {
            let _ = stream.set_zero_linger();
        }
    }

    /// Peeks at the next byte. Returns `None` at the end.
    ///
    /// # Errors
    /// The peer has reset the connection.
    pub(super) fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<u8>>> {
        loop {
            std::task::ready!(either!(self, stream => stream.poll_read_ready(cx)))?;
            let peek = |fd: BorrowedFd<'_>| {
                let mut byte = [0_u8; 1];
                let (read, _) = recv(fd, &mut byte, RecvFlags::PEEK)?;
                Ok((read > 0).then_some(byte[0]))
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
    fn is_reset(&self) -> bool {
        let fd = either!(self, stream => stream.as_fd());
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
        let gone = PollFlags::HUP | PollFlags::ERR;
        // A zero timeout: the call doesn't block.
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) => fds[0].revents().intersects(gone),
            Err(_) => false,
        }
    }

    /// Writes what the system accepts without waiting.
    #[cfg(feature = "tls")]
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.try_write(bytes))
    }
}

forward_io!(Socket, either);

/// The bytes of a connection, decrypted.
pub(super) enum Stream {
    Plain(Socket),
    /// Boxed, so that plain connections don't reserve space for it.
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>),
}

/// Result of a write: how much of the pending data the peer has accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    All,
    /// Some data is pending, and some was accepted since the last write.
    #[cfg_attr(
        not(feature = "tls"),
        allow(
            dead_code,
            reason = "a socket has no data pending that it took part of"
        )
    )]
    Some,
    /// Some data is pending, and none was accepted since the last write.
    None,
}

impl Stream {
    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Makes the following close a reset. A Unix socket doesn't support that.
    pub(super) fn reset_on_close(&self) {
        self.socket().reset_on_close();
    }

    /// Returns `true` if the peer, after closing its side, has reset the connection.
    pub(super) fn is_reset(&self) -> bool {
        self.socket().is_reset()
    }

    /// Returns `true` at the end of the peer's data, and `false` if there is data to read.
    ///
    /// # Errors
    /// The peer has reset the connection. Under TLS also: it has closed the connection without
    /// announcing that (RFC 8446 §6.1), so it is gone.
    pub(super) fn poll_is_at_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        match self {
            Self::Plain(socket) => socket.poll_peek(cx).map_ok(|byte| byte.is_none()),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.poll_is_at_end(cx),
        }
    }

    /// Returns what the peer has accepted, given that the last write is pending or not. TLS accepts
    /// data before the socket does.
    pub(super) fn accepted(&mut self, is_pending: bool) -> Accepted {
        match self {
            Self::Plain(_) if is_pending => Accepted::None,
            Self::Plain(_) => Accepted::All,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.accepted(is_pending),
        }
    }

    /// Tells the peer that the following close is intended, as far as that needs no wait.
    pub(super) fn announce_close(&mut self) {
        match self {
            Self::Plain(_) => {}
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.announce_close(),
        }
    }
}

macro_rules! layered {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Plain($inner) => $call,
            #[cfg(feature = "tls")]
            Stream::Tls($inner) => $call,
        }
    };
}

forward_io!(Stream, layered);
