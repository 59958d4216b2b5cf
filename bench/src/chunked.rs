//! A minimal HTTP/1.1 parser for readers of streams: the status, and a body that is chunked or that
//! ends with the connection.

use memchr::memchr;

/// An incremental parser of one response. It doesn't copy the payload.
#[derive(Debug, Default)]
pub struct Response {
    state: State,
    line: Vec<u8>,
    chunked: bool,
    sized: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Status,
    Header,
    Size,
    Data(usize),
    AfterData,
    Trailer,
    Done,
    /// A body without framing. Its end can't be distinguished from a cut.
    Open,
}

/// Maximum length of a line of a head, in bytes.
const MAX_LINE: usize = 8192;

impl Response {
    /// Parses received bytes and calls `payload` with each piece of the payload.
    ///
    /// # Errors
    /// The bytes are not a `200 OK` with a stream's body.
    pub fn feed(&mut self, mut input: &[u8], mut payload: impl FnMut(&[u8])) -> Result<(), String> {
        while !input.is_empty() && self.state != State::Done {
            if self.state == State::Open {
                payload(input);
                return Ok(());
            }
            if let State::Data(left) = self.state {
                let size = left.min(input.len());
                payload(&input[..size]);
                input = &input[size..];
                self.state = if size == left {
                    State::AfterData
                } else {
                    State::Data(left - size)
                };
                continue;
            }
            let Some(end) = memchr(b'\n', input) else {
                self.line.extend_from_slice(input);
                return if self.line.len() > MAX_LINE {
                    Err("a line of the head is too long".to_owned())
                } else {
                    Ok(())
                };
            };
            self.state = if self.line.is_empty() {
                self.line_read(&input[..end])?
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&input[..end]);
                self.line_read(&line)?
            };
            input = &input[end + 1..];
        }
        Ok(())
    }

    /// Returns `true` if the head is read.
    #[must_use]
    pub fn has_head(&self) -> bool {
        !matches!(self.state, State::Status | State::Header)
    }

    /// Returns `true` if the body ended with its last chunk.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == State::Done
    }

    fn line_read(&mut self, line: &[u8]) -> Result<State, String> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            State::Status if line.starts_with(b"HTTP/1.1 200") => Ok(State::Header),
            State::Header if line.is_empty() && self.chunked => Ok(State::Size),
            State::Header if line.is_empty() && !self.sized => Ok(State::Open),
            State::Header if !line.is_empty() => {
                self.sized |=
                    line.len() > 15 && line[..15].eq_ignore_ascii_case(b"content-length:");
                self.chunked |= line.eq_ignore_ascii_case(b"transfer-encoding: chunked");
                Ok(State::Header)
            }
            State::Size => {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let size = std::str::from_utf8(digits)
                    .ok()
                    .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
                match size {
                    Some(0) => Ok(State::Trailer),
                    Some(size) => Ok(State::Data(size)),
                    None => Err(format!(
                        "{:?} is no chunk size",
                        String::from_utf8_lossy(line)
                    )),
                }
            }
            State::AfterData if line.is_empty() => Ok(State::Size),
            State::Trailer => Ok(if line.is_empty() {
                State::Done
            } else {
                State::Trailer
            }),
            _ => Err(format!("unexpected: {:?}", String::from_utf8_lossy(line))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nhello\r\n00a;x=y\r\n, world, a\r\n0\r\n\r\n";

    #[test]
    fn the_payload_is_the_same_in_all_splits() {
        for size in 1..RESPONSE.len() {
            let (mut response, mut out) = (Response::default(), Vec::new());
            for piece in RESPONSE.chunks(size) {
                assert!(!response.is_complete());
                response
                    .feed(piece, |payload| out.extend_from_slice(payload))
                    .expect("valid");
            }
            assert_eq!(out, b"hello, world, a");
            assert!(response.is_complete());
        }
    }

    #[test]
    fn a_body_without_framing_continues() {
        let (mut response, mut out) = (Response::default(), Vec::new());
        for piece in [b"HTTP/1.1 200 OK\r\n\r".as_slice(), b"\nhel", b"lo"] {
            let take = |payload: &[u8]| out.extend_from_slice(payload);
            response.feed(piece, take).expect("valid");
        }
        assert_eq!(out, b"hello");
        assert!(!response.is_complete());
    }

    #[test]
    fn unexpected_statuses_and_framings_are_errors() {
        for head in [
            "HTTP/1.1 404 Not Found\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
        ] {
            assert!(Response::default().feed(head.as_bytes(), |_| ()).is_err());
        }
    }
}
