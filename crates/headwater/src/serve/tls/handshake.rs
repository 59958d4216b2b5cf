//! A connection from its first byte to the end of its handshake.

use std::{future::poll_fn, io, sync::Arc};

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

use super::{
    super::{
        stream::{Socket, Stream},
        upload::linger,
    },
    stream::{BUFFER, Metered, TlsStream},
};

/// The response to a request without TLS.
const SPEAKS_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 50\r\n\
    connection: close\r\n\r\n\
    This port speaks https. Use a URL with https://...";

/// Accepts TLS connections.
#[derive(Clone)]
pub(in crate::serve) struct Acceptor(TlsAcceptor);

/// A connection whose protocol is known.
pub(in crate::serve) struct Opened {
    pub(in crate::serve) stream: Stream,
    pub(in crate::serve) is_http2: bool,
}

impl Acceptor {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self(config.into())
    }

    /// Completes the handshake. The caller limits its time.
    ///
    /// # Errors
    /// The client disconnected, doesn't speak TLS, or agreed to nothing that this server offers.
    pub(in crate::serve) async fn open(&self, socket: Socket) -> io::Result<Opened> {
        let first = poll_fn(|cx| socket.poll_peek(cx)).await?;
        let Some(first) = first else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        // A method of HTTP begins with a letter, and TLS's first record with 22.
        if first.is_ascii_alphabetic() {
            let mut stream = Stream::Plain(socket);
            stream.write_all(SPEAKS_HTTPS).await?;
            linger(stream).await;
            return Err(io::Error::other("a request without TLS"));
        }
        let limit = |session: &mut rustls::ServerConnection| {
            session.set_buffer_limit(Some(BUFFER));
        };
        let stream = self.0.accept_with(Metered::new(socket), limit).await?;
        let stream = TlsStream::new(stream);
        let is_http2 = stream.is_http2();
        Ok(Opened {
            stream: Stream::Tls(Box::new(stream)),
            is_http2,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_plain_http_has_its_length() {
        let text = std::str::from_utf8(SPEAKS_HTTPS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = format!("content-length: {}\r\n", body.len());
        assert!(head.contains(&length), "{length}");
    }
}
