//! A connection's bytes: those read to tell its protocol, then the rest.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::{activity::Activity, address::Stream};

/// "The client connection preface starts with a sequence of 24 octets" (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) struct Io {
    stream: Stream,
    activity: Arc<Activity>,
    /// What was read to tell the protocol, `sniffed[given..read]` not yet given to HTTP.
    sniffed: [u8; PREFACE.len()],
    given: u8,
    read: u8,
}

impl Io {
    pub(super) fn new(stream: Stream, activity: Arc<Activity>) -> Self {
        Self {
            stream,
            activity,
            sniffed: [0; PREFACE.len()],
            given: 0,
            read: 0,
        }
    }

    /// Whether the client starts with HTTP/2's preface, known as soon as one byte differs.
    pub(super) async fn is_http2(&mut self) -> io::Result<bool> {
        loop {
            let read = usize::from(self.read);
            if self.sniffed[..read] != PREFACE[..read] {
                return Ok(false);
            }
            if read == PREFACE.len() {
                return Ok(true);
            }
            match self.stream.read(&mut self.sniffed[read..]).await? {
                0 => return Ok(false),
                // At most 24.
                more => self.read += u8::try_from(more).unwrap_or(u8::MAX),
            }
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.given < this.read {
            let sniffed = &this.sniffed[usize::from(this.given)..usize::from(this.read)];
            let given = sniffed.len().min(buf.remaining());
            buf.put_slice(&sniffed[..given]);
            this.given += u8::try_from(given).unwrap_or(u8::MAX);
        }
        // On with the rest in the same call: a head that comes in two parts would make hyper double its
        // buffer, which the connection then keeps.
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Pending if buf.filled().len() == before => return Poll::Pending,
            Poll::Pending => {}
            Poll::Ready(read) => read?,
        }
        if buf.filled().len() > before {
            this.activity.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.activity.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        if self.activity.ends_by_reset() {
            self.stream.reset_on_close();
        }
    }
}
