//! A TLS connection over a socket, with what the server needs to know of it besides its bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use rustls::ServerConnection;
use tokio::io::{AsyncBufRead as _, AsyncRead, AsyncWrite, ReadBuf};

use super::super::stream::{Accepted, Socket, forward_io};

/// Maximum size of the encrypted data that waits for the socket, in bytes: one chunk.
pub(super) const BUFFER: usize = 64 * 1024;

/// A connection whose handshake is complete.
pub(in crate::serve) struct TlsStream(tokio_rustls::server::TlsStream<Metered>);

impl TlsStream {
    pub(super) fn new(stream: tokio_rustls::server::TlsStream<Metered>) -> Self {
        Self(stream)
    }

    fn session(&self) -> &ServerConnection {
        self.0.get_ref().1
    }

    pub(super) fn is_http2(&self) -> bool {
        self.session().alpn_protocol() == Some(super::HTTP2)
    }

    pub(in crate::serve) fn socket(&self) -> &Socket {
        &self.0.get_ref().0.socket
    }

    /// See [`Stream::poll_is_at_end`](super::super::stream::Stream::poll_is_at_end). It holds at
    /// most what one read of the socket decrypts to.
    pub(in crate::serve) fn poll_is_at_end(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        Pin::new(&mut self.0)
            .poll_fill_buf(cx)
            .map_ok(<[u8]>::is_empty)
    }

    pub(in crate::serve) fn accepted(&mut self, is_pending: bool) -> Accepted {
        let (metered, session) = self.0.get_mut();
        let has_written = std::mem::take(&mut metered.has_written);
        if !is_pending && !session.wants_write() {
            Accepted::All
        } else if has_written {
            Accepted::Some
        } else {
            Accepted::None
        }
    }

    /// Sends `close_notify` (RFC 8446 §6.1) if the socket accepts it at once.
    pub(in crate::serve) fn announce_close(&mut self) {
        let (metered, session) = self.0.get_mut();
        session.send_close_notify();
        let _ = session.write_tls(&mut AtOnce(&metered.socket));
    }
}

macro_rules! within {
    ($stream:expr, $inner:ident => $call:expr) => {{
        let $inner = &mut $stream.0;
        $call
    }};
}

forward_io!(TlsStream, within);

/// A socket that records if it accepts data.
pub(super) struct Metered {
    pub(super) socket: Socket,
    /// If `true`, it has accepted some since this was reset.
    has_written: bool,
}

impl Metered {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            has_written: false,
        }
    }

    fn note(&mut self, wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.has_written |= matches!(wrote, Poll::Ready(Ok(1..)));
        wrote
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(wrote)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A socket that accepts data at once or not at all.
struct AtOnce<'a>(&'a Socket);

impl io::Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
