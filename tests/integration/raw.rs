//! A minimal HTTP/1.1 client that reads chunks itself, to tell a truncated body from a clean end.

use std::io;

use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
        BufReader,
    },
    net::{TcpStream, ToSocketAddrs},
};

/// A response whose head has been read.
pub(crate) struct Response<S> {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    connection: BufReader<S>,
}

/// Sends a GET request over TCP and reads the head of the response.
pub(crate) async fn get(
    address: impl ToSocketAddrs,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Response<TcpStream>> {
    get_over(TcpStream::connect(address).await?, path, headers).await
}

/// Sends a GET request over any connection and reads the head of the response.
pub(crate) async fn get_over<S>(
    mut connection: S,
    path: &str,
    headers: &[(&str, &str)],
) -> io::Result<Response<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    connection.write_all(request.as_bytes()).await?;
    read_head(connection).await
}

/// Reads the head of a response.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(connection: S) -> io::Result<Response<S>> {
    let mut connection = BufReader::new(connection);
    let status_line = line(&mut connection).await?;
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("a strange status line: {status_line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let line = line(&mut connection).await?;
        if line.is_empty() {
            return Ok(Response {
                status,
                headers,
                connection,
            });
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| io::Error::other(format!("no header: {line:?}")))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

async fn line<S: AsyncRead + Unpin>(connection: &mut BufReader<S>) -> io::Result<String> {
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl<S: AsyncRead + Unpin> Response<S> {
    /// Returns the value of a header. `name` must be in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.as_str())
    }

    /// Reads the next chunk of a chunked body. Returns `None` at a clean end, and an error if the
    /// body was truncated.
    pub(crate) async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = line(&mut self.connection).await?;
        let size = usize::from_str_radix(&size, 16)
            .map_err(|_| io::Error::other(format!("a strange chunk size: {size:?}")))?;
        let mut chunk = vec![0; size + 2];
        self.connection.read_exact(&mut chunk).await?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk must end with CR LF");
        chunk.truncate(size);
        Ok(if size == 0 { None } else { Some(chunk) })
    }

    /// Reads chunks until they contain `wanted`. Returns the text so far.
    pub(crate) async fn read_until(&mut self, wanted: &str) -> io::Result<String> {
        let mut seen = Vec::new();
        loop {
            match self.chunk().await? {
                Some(chunk) => seen.extend(chunk),
                None => {
                    return Err(io::Error::other(format!(
                        "the body ended before {wanted:?}"
                    )));
                }
            }
            let text = String::from_utf8_lossy(&seen);
            if text.contains(wanted) {
                return Ok(text.into_owned());
            }
        }
    }

    /// Reads the rest of the body. Returns its bytes, and `true` if it ended cleanly.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, bool) {
        let mut seen = Vec::new();
        loop {
            match self.chunk().await {
                Ok(Some(chunk)) => seen.extend(chunk),
                Ok(None) => return (seen, true),
                Err(_) => return (seen, false),
            }
        }
    }

    /// Returns the connection of the response.
    pub(crate) fn into_connection(self) -> S {
        self.connection.into_inner()
    }
}
