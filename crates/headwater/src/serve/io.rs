//! A connection's I/O: the bytes read to detect its protocol, then the rest.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::{activity::Activity, bad_head, stream::Stream};

/// "The client connection preface starts with a sequence of 24 octets" (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// First digit of a chunk's size, which may have any number of leading zeros (RFC 9112 §7.1). A
/// reader of the response ignores it, and the host of a peer that is gone answers it with a reset.
const PROBE: &[u8] = b"0";

pub(super) struct Io {
    /// `Some` until this is dropped.
    stream: Option<Stream>,
    activity: Arc<Activity>,
    /// Bytes read to detect the protocol. `sniffed[given..read]` is still to be passed to HTTP.
    sniffed: [u8; PREFACE.len()],
    given: u8,
    read: u8,
    /// If `true`, [`PROBE`] was written last.
    probed: bool,
    /// If `true`, this type detects a disconnect. HTTP/2 reads continuously and detects it itself.
    watches: bool,
}

/// Returns the error for a stream that has been taken out.
fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Io {
    /// Creates the I/O of a connection whose protocol is detected by its first bytes.
    pub(super) fn new(stream: Stream, activity: Arc<Activity>) -> Self {
        Self {
            stream: Some(stream),
            activity,
            sniffed: [0; PREFACE.len()],
            given: 0,
            read: 0,
            probed: false,
            watches: true,
        }
    }

    /// Creates the I/O of a connection that has agreed on its protocol.
    #[cfg(feature = "tls")]
    pub(super) fn agreed(stream: Stream, activity: Arc<Activity>, is_http2: bool) -> Self {
        let mut io = Self::new(stream, activity);
        io.watches = !is_http2;
        io
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(gone)
    }

    /// Finds hyper's own refusal of a request, if that is the last pending data. See [`refusal`].
    fn refusal(&self, buf: &[u8]) -> Option<(usize, StatusCode)> {
        match self.watches && !self.activity.is_in_flight() {
            true => bad_head::find(buf),
            false => None,
        }
    }

    /// Checks if the peer has reset or closed the connection while it waits for a response. hyper
    /// checks that too, unless half-closed connections are allowed, but doesn't distinguish the
    /// two.
    ///
    /// # Errors
    /// The connection was reset.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if !self.watches || !self.activity.is_in_flight() {
            return Ok(());
        }
        let Some(stream) = &mut self.stream else {
            return Err(gone());
        };
        if self.activity.is_half_closed() {
            return match stream.is_reset() {
                true => Err(io::ErrorKind::ConnectionReset.into()),
                false => Ok(()),
            };
        }
        match stream.poll_is_at_end(cx) {
            Poll::Ready(Ok(true)) => {
                let is_answered = self.activity.half_close();
                // The response decides what the half-close means for it.
                cx.waker().wake_by_ref();
                match is_answered {
                    true => self.probe(cx),
                    false => Ok(()),
                }
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(false)) | Poll::Pending => Ok(()),
        }
    }

    /// Writes a byte that only the host of a disconnected peer reacts to. hyper's output so far
    /// ends with a whole chunk.
    fn probe(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.activity.is_between_chunks() {
            // If the socket's buffer is full, the data in it serves the same purpose.
            if let Poll::Ready(wrote) = self.stream()?.poll_write(cx, PROBE) {
                self.probed = wrote? > 0;
            }
        }
        Ok(())
    }

    fn note_written(&mut self, wrote: &Poll<io::Result<usize>>) {
        if matches!(wrote, Poll::Ready(Ok(1..))) {
            self.probed = false;
        }
        self.note_accepted(wrote.is_pending());
    }

    /// Records if the peer accepts the pending data.
    fn note_accepted(&mut self, is_pending: bool) {
        if let Some(stream) = &mut self.stream {
            self.activity.wrote(stream.accepted(is_pending));
        }
    }

    /// Returns `true` if the client starts with HTTP/2's preface. One differing byte decides it.
    pub(super) async fn is_http2(&mut self) -> io::Result<bool> {
        loop {
            let read = usize::from(self.read);
            if self.sniffed[..read] != PREFACE[..read] {
                return Ok(false);
            }
            if read == PREFACE.len() {
                self.watches = false;
                return Ok(true);
            }
            let stream = self.stream.as_mut().ok_or_else(gone)?;
            match stream.read(&mut self.sniffed[read..]).await? {
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
        // Continue with the rest in the same call: a head that arrives in two parts would make
        // hyper double its buffer, which the connection then keeps.
        match this.stream()?.poll_read(cx, buf) {
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
        let buf = match self.refusal(buf) {
            Some((0, status)) => {
                self.activity.refuse(status);
                return Poll::Ready(Ok(buf.len()));
            }
            // The data before the refusal is written separately.
            Some((begin, _)) => &buf[..begin],
            None => buf,
        };
        let wrote = self.stream()?.poll_write(cx, buf);
        self.note_written(&wrote);
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        if let Some(first) = filled.next()
            && filled
                .next_back()
                .or(Some(first))
                .is_some_and(|last| self.refusal(last).is_some())
        {
            return self.poll_write(cx, first);
        }
        let wrote = self.stream()?.poll_write_vectored(cx, bufs);
        self.note_written(&wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream()?.poll_flush(cx);
        self.note_accepted(flushed.is_pending());
        std::task::ready!(flushed)?;
        self.activity.flushed();
        // hyper flushes whenever the connection is polled and nothing more is to be written.
        Poll::Ready(self.watch(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.refused().is_some() {
            return Poll::Ready(Ok(()));
        }
        let shut = self.stream()?.poll_shutdown(cx);
        self.note_accepted(shut.is_pending());
        shut
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        let Some(mut stream) = self.stream.take() else {
            return;
        };
        // Some readers accept a chunk size of zero that the connection's end truncates as the last
        // chunk.
        if self.activity.ends_by_reset() || self.probed {
            stream.reset_on_close();
        } else if self.watches && (self.activity.is_sent_to() || self.activity.refused().is_some())
        {
            self.activity.leave(stream);
        } else if self.activity.is_expired() {
            stream.announce_close();
        }
    }
}
