//! Sequential requests on one connection, for publishers. Reads whole responses with any framing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use memchr::{memchr, memmem};

use crate::{Error, load};

/// Maximum size of a head, in bytes.
const MAX_HEAD: usize = 16 * 1024;
const READ_BYTES: usize = 256 * 1024;

/// An incremental parser of one response.
#[derive(Debug, Default)]
pub struct Answer {
    head: Vec<u8>,
    status: u16,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    /// This many bytes remain.
    Sized(u64),
    /// A chunk's size, then the remaining bytes of its data, then its line end.
    Size,
    Chunk(u64),
    AfterChunk,
    /// The line after the last chunk. The servers here send no trailers.
    Last,
    Done,
}

impl Answer {
    /// Parses received bytes and calls `body` with each piece of the body.
    ///
    /// # Errors
    /// The bytes are not an HTTP/1.1 response with a known end.
    pub fn feed(&mut self, mut input: &[u8], mut body: impl FnMut(&[u8])) -> Result<(), Error> {
        while !input.is_empty() && self.state != State::Done {
            match &mut self.state {
                State::Head | State::Size | State::AfterChunk | State::Last => {
                    let Some(end) = memchr(b'\n', input) else {
                        self.head.extend_from_slice(input);
                        break;
                    };
                    self.head.extend_from_slice(&input[..=end]);
                    input = &input[end + 1..];
                    self.line_read()?;
                }
                State::Sized(left) | State::Chunk(left) => {
                    let size =
                        usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    body(&input[..size]);
                    input = &input[size..];
                    *left -= size as u64;
                    match self.state {
                        State::Sized(0) => self.state = State::Done,
                        State::Chunk(0) => self.state = State::AfterChunk,
                        _ => (),
                    }
                }
                State::Done => (),
            }
        }
        if self.head.len() > MAX_HEAD {
            return Err("the head of an answer is too long".into());
        }
        Ok(())
    }

    /// Prepares for the next response on the same connection.
    pub fn clear(&mut self) {
        self.head.clear();
        self.status = 0;
        self.state = State::Head;
    }

    /// Returns `true` if the response is complete.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    /// Returns the status, or 0 before the head is read.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(&self.head).ok()?;
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Processes the line that has just ended, which is the last one of `head`. In a chunked body,
    /// such lines follow the head.
    fn line_read(&mut self) -> Result<(), Error> {
        if self.state == State::Head {
            if !self.head.ends_with(b"\r\n\r\n") {
                return Ok(());
            }
            return self.head_read();
        }
        let head = memmem::find(&self.head, b"\r\n\r\n").map_or(0, |end| end + 4);
        let line = self.head.split_off(head);
        let line = std::str::from_utf8(&line)?.trim();
        self.state = match self.state {
            State::Size => {
                let digits = line.split(';').next().unwrap_or_default();
                match u64::from_str_radix(digits.trim(), 16)? {
                    0 => State::Last,
                    size => State::Chunk(size),
                }
            }
            State::AfterChunk if line.is_empty() => State::Size,
            State::Last if line.is_empty() => State::Done,
            _ => return Err(format!("unexpected in a chunked body: {line:?}").into()),
        };
        Ok(())
    }

    fn head_read(&mut self) -> Result<(), Error> {
        let head = std::str::from_utf8(&self.head)?;
        self.status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .ok_or("an answer that is not HTTP/1.1")?
            .parse()?;
        if self.status == 100 {
            self.clear();
            return Ok(());
        }
        self.state = if matches!(self.status, 204 | 304) {
            State::Done
        } else if let Some(size) = self.header("content-length") {
            match size.parse()? {
                0 => State::Done,
                size => State::Sized(size),
            }
        } else if self.header("transfer-encoding") == Some("chunked") {
            State::Size
        } else {
            return Err("an answer without a framing".into());
        };
        Ok(())
    }
}

/// A connection that waits for each response.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    answer: Answer,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects to `server`.
    ///
    /// # Errors
    /// The connection is refused.
    pub fn open(server: SocketAddr) -> Result<Self, Error> {
        Ok(Self {
            socket: load::connect(server)?,
            answer: Answer::default(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Sends a request and calls `body` with each piece of its response's body.
    ///
    /// # Errors
    /// The connection is closed, or the response is invalid.
    pub fn ask(&mut self, request: &[u8], mut body: impl FnMut(&[u8])) -> Result<&Answer, Error> {
        self.socket.write_all(request)?;
        self.answer.clear();
        while !self.answer.is_complete() {
            let size = self.socket.read(&mut self.buffer)?;
            if size == 0 {
                return Err("the connection was cut".into());
            }
            self.answer.feed(&self.buffer[..size], &mut body)?;
        }
        Ok(&self.answer)
    }

    /// Sends a request like [`ask`](Self::ask). The request must succeed.
    ///
    /// # Errors
    /// The request fails, or its status is not 2xx.
    pub fn must(&mut self, request: &[u8]) -> Result<&Answer, Error> {
        let mut said = Vec::new();
        let status = self
            .ask(request, |body| said.extend_from_slice(body))?
            .status();
        if !(200..300).contains(&status) {
            let first = request
                .split(|byte| *byte == b'\r')
                .next()
                .unwrap_or_default();
            return Err(format!(
                "{} was answered with {status}: {}",
                String::from_utf8_lossy(first),
                String::from_utf8_lossy(&said)
            )
            .into());
        }
        Ok(&self.answer)
    }
}

/// Returns the bytes of a request. It has `Content-Length` even if the body is empty, because some
/// servers refuse a `PUT` without it.
#[must_use]
pub fn request(method: &str, target: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n").into_bytes();
    if method != "GET" {
        let length = body.len();
        let head = format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n");
        bytes.extend_from_slice(head.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: [(&str, u16, &str); 4] = [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            200,
            "hello",
        ),
        ("HTTP/1.1 204 No Content\r\nX-Y: z\r\n\r\n", 204, ""),
        ("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, ""),
        (
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\n\r\n",
            404,
            "hello",
        ),
    ];

    #[test]
    fn a_response_is_parsed_equally_in_all_splits() {
        for (text, status, body) in ANSWERS {
            for size in 1..=text.len() {
                let (mut answer, mut out) = (Answer::default(), Vec::new());
                for piece in text.as_bytes().chunks(size) {
                    assert!(!answer.is_complete(), "{text}");
                    answer
                        .feed(piece, |body| out.extend_from_slice(body))
                        .expect("valid");
                }
                assert!(answer.is_complete(), "{text}");
                assert_eq!((answer.status(), out.as_slice()), (status, body.as_bytes()));
            }
        }
    }

    #[test]
    fn a_response_with_an_unknown_end_is_an_error() {
        let mut answer = Answer::default();
        assert!(answer.feed(b"HTTP/1.1 200 OK\r\n\r\n", |_| ()).is_err());
    }
}
