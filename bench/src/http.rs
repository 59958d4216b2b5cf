//! One request after another on a connection, as a publisher needs it: whole answers of any framing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use memchr::{memchr, memmem};

use crate::{Error, load};

/// The longest head that is read.
const MAX_HEAD: usize = 16 * 1024;
const READ_BYTES: usize = 256 * 1024;

/// One answer as it comes off the socket.
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
    /// So many bytes are still to come.
    Sized(u64),
    /// A chunk's size, then so many bytes of it, then its line end.
    Size,
    Chunk(u64),
    AfterChunk,
    /// The line after the last chunk; no server here sends trailers.
    Last,
    Done,
}

impl Answer {
    /// Takes what came off the socket and gives the body in it, piece by piece.
    ///
    /// # Errors
    /// Not an answer of HTTP/1.1 whose end can be known.
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

    /// Makes it ready for the next answer on the same connection.
    pub fn clear(&mut self) {
        self.head.clear();
        self.status = 0;
        self.state = State::Head;
    }

    /// Whether the answer is whole.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    /// The status; 0 before the head is read.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = std::str::from_utf8(&self.head).ok()?;
        head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The line that has just ended is the last one of `head`, which in a chunked body goes on after the head.
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

/// A connection that waits for each answer.
#[derive(Debug)]
pub struct Connection {
    socket: TcpStream,
    answer: Answer,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Nobody listens.
    pub fn open(server: SocketAddr) -> Result<Self, Error> {
        Ok(Self {
            socket: load::connect(server)?,
            answer: Answer::default(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Sends a request and gives the body of its answer, piece by piece.
    ///
    /// # Errors
    /// The connection is cut, or the answer is none.
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

    /// As [`ask`](Self::ask), for a request that must succeed.
    ///
    /// # Errors
    /// It didn't.
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

/// The bytes of a request. The body has a length even where it is empty: not every server takes a `PUT` without.
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
    fn an_answer_is_the_same_wherever_it_is_cut() {
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
    fn an_answer_whose_end_is_unknown_is_an_error() {
        let mut answer = Answer::default();
        assert!(answer.feed(b"HTTP/1.1 200 OK\r\n\r\n", |_| ()).is_err());
    }
}
