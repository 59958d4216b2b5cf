//! The load generator of short requests: persistent raw sockets, with one request at a time on
//! each.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use memchr::memmem;
use mio::{Events, Interest, Poll, Token};

use crate::Error;

/// Time without any data after which a run is aborted.
const SILENCE: Duration = Duration::from_secs(30);
/// Buffer size, in bytes. No response in this benchmark is that large.
const RESPONSE_BYTES: usize = 4096;

/// A request and the expected response body.
#[derive(Debug, Clone)]
pub struct Exchange {
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Exchange {
    /// Creates a GET with this response body.
    #[must_use]
    pub fn get(target: &str, answer: &str) -> Self {
        Self {
            request: format!(
                "GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n"
            )
            .into(),
            answer: answer.into(),
        }
    }

    /// Creates a POST of JSON with this response body.
    #[must_use]
    pub fn post(target: &str, body: &str, answer: &str) -> Self {
        Self {
            request: format!(
                "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into(),
            answer: answer.into(),
        }
    }
}

/// Connections to one server, which stay open across runs.
#[derive(Debug)]
pub struct Connections {
    poll: Poll,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    socket: mio::net::TcpStream,
    response: Vec<u8>,
}

impl Connections {
    /// Opens `count` connections.
    ///
    /// # Errors
    /// The server can't be reached.
    pub fn open(server: SocketAddr, count: usize) -> Result<Self, Error> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            let socket = TcpStream::connect_timeout(&server, SILENCE)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            let mut socket = mio::net::TcpStream::from_std(socket);
            poll.registry()
                .register(&mut socket, Token(index), Interest::READABLE)?;
            connections.push(Connection {
                socket,
                response: Vec::with_capacity(RESPONSE_BYTES),
            });
        }
        Ok(Self { poll, connections })
    }

    /// Sends the request `count` times and checks every response. Each connection sends its next
    /// request when the previous response is complete. Returns the time from the first request to
    /// the last response, in seconds.
    ///
    /// # Errors
    /// A response is not the expected one, or a connection is closed.
    pub fn run(&mut self, exchange: &Exchange, count: u64) -> Result<f64, Error> {
        let mut events = Events::with_capacity(self.connections.len());
        let start = Instant::now();
        let (mut sent, mut answered) = (0, 0);
        for connection in &mut self.connections {
            if sent < count {
                connection.send(exchange)?;
                sent += 1;
            }
        }
        while answered < count {
            self.poll.poll(&mut events, Some(SILENCE))?;
            if events.is_empty() {
                return Err("no answer comes".into());
            }
            for event in &events {
                let connection = &mut self.connections[event.token().0];
                if !connection.receive(&exchange.answer)? {
                    continue;
                }
                answered += 1;
                if sent < count {
                    connection.send(exchange)?;
                    sent += 1;
                }
            }
        }
        Ok(start.elapsed().as_secs_f64())
    }
}

impl Connection {
    fn send(&mut self, exchange: &Exchange) -> io::Result<()> {
        self.response.clear();
        let size = self.socket.write(&exchange.request)?;
        if size == exchange.request.len() {
            Ok(())
        } else {
            Err(io::Error::other("a small request wasn't taken whole"))
        }
    }

    /// Reads the available bytes. Returns `true` if the response is complete.
    fn receive(&mut self, answer: &[u8]) -> Result<bool, Error> {
        let mut buffer = [0; RESPONSE_BYTES];
        loop {
            let size = match self.socket.read(&mut buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            self.response.extend_from_slice(&buffer[..size]);
            if let Some(body) = whole_body(&self.response)? {
                return if body == answer {
                    Ok(true)
                } else {
                    Err(unexpected(&self.response))
                };
            }
        }
    }
}

/// Returns the body of a complete response, or `None` if the response is incomplete.
fn whole_body(response: &[u8]) -> Result<Option<&[u8]>, Error> {
    let Some(end) = memmem::find(response, b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, body) = (&response[..end], &response[end + 4..]);
    let length = content_length(head).filter(|_| head.starts_with(b"HTTP/1.1 200 "));
    match length {
        Some(length) if body.len() < length => Ok(None),
        Some(length) if body.len() == length => Ok(Some(body)),
        _ => Err(unexpected(response)),
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let mut lines = head.split(|byte| *byte == b'\n');
    let value = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    })?;
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

#[cold]
fn unexpected(response: &[u8]) -> Error {
    format!("unexpected: {}", String::from_utf8_lossy(response)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx: y\r\n\r\nhello";

    #[test]
    fn a_response_is_complete_at_its_last_byte() {
        for size in 0..RESPONSE.len() {
            assert_eq!(whole_body(&RESPONSE[..size]).expect("valid"), None);
        }
        assert_eq!(whole_body(RESPONSE).expect("valid"), Some(&b"hello"[..]));
    }

    #[test]
    fn unexpected_statuses_framings_and_surplus_bytes_are_errors() {
        for response in [
            &b"HTTP/1.1 422 Unprocessable Content\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n!",
        ] {
            assert!(whole_body(response).is_err());
        }
    }
}
