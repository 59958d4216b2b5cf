//! The upper bounds: hand-written sockets without a framework.
//!
//! - *items serialised*: `serde_json` serialises each item into a 64 KiB buffer, which is written
//!   at once. This is the minimum work of a typed endpoint.
//! - *same bytes ready*: a prepared chunk is written repeatedly. This is the limit of the socket
//!   and of the load generator at its other end.
//!
//! `/paced` and `/idle` are a single epoll loop on one thread. It serialises an item once for all
//! readers.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use headwater_bench::{
    Error,
    item::{EVENT_BYTES, Framing, Item, LINE_BYTES, MAX_COUNT, items},
    system,
};
use mio::{Events, Interest, Poll, Token, net::TcpListener};

/// Size of the buffer between two writes, in bytes.
const BUFFER: usize = 64 * 1024;
/// Room for a chunk's size before it, in hexadecimal with leading zeros, and its line end.
const CHUNK_HEAD: usize = 8 + 2;
const LISTENER: Token = Token(usize::MAX);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Serialised,
    Ready,
}

pub(crate) fn run(rate: u32, kind: Kind) -> Result<(), Error> {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    crate::announce(listener.local_addr()?);
    let mut readers = Readers::default();
    let mut events = Events::with_capacity(1024);
    let period = Duration::from_secs(1) / rate.max(1);
    let mut next = Instant::now() + period;
    for index in 0.. {
        loop {
            let wait = next.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            poll.poll(&mut events, Some(wait))?;
            for event in &events {
                if event.token() == LISTENER {
                    accept(&listener, &poll, &mut readers)?;
                } else {
                    readers.read_request(event.token(), &poll, kind);
                }
            }
        }
        readers.send(&Item::sent_at(system::monotonic_ns(), index))?;
        next = (next + period).max(Instant::now());
    }
    Ok(())
}

fn accept(listener: &TcpListener, poll: &Poll, readers: &mut Readers) -> io::Result<()> {
    loop {
        let (mut socket, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        socket.set_nodelay(true)?;
        let token = readers.next_token();
        poll.registry()
            .register(&mut socket, token, Interest::READABLE)?;
        readers.waiting.insert(token, socket);
    }
}

#[derive(Default)]
struct Readers {
    issued: usize,
    /// Connected readers whose request is not yet read.
    waiting: HashMap<Token, mio::net::TcpStream>,
    paced: HashMap<Token, mio::net::TcpStream>,
    idle: HashMap<Token, mio::net::TcpStream>,
}

impl Readers {
    fn next_token(&mut self) -> Token {
        self.issued += 1;
        Token(self.issued)
    }

    /// Reads a request, which the load generator sends in one piece, and moves its socket to the
    /// set that its items are sent to. Removes a reader that has disconnected.
    fn read_request(&mut self, token: Token, poll: &Poll, kind: Kind) {
        let Some(mut socket) = self.waiting.remove(&token) else {
            self.paced.remove(&token);
            self.idle.remove(&token);
            return;
        };
        let mut buffer = [0; 4096];
        let Ok(size) = socket.read(&mut buffer) else {
            return;
        };
        let Some(target) = target(&buffer[..size]) else {
            return;
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path {
            "/paced" | "/idle" => {
                let readers = if path == "/paced" {
                    &mut self.paced
                } else {
                    &mut self.idle
                };
                if socket.write_all(head(Framing::Sse).as_bytes()).is_ok() {
                    readers.insert(token, socket);
                }
            }
            "/sse" | "/ndjson" => {
                let framing = if path == "/sse" {
                    Framing::Sse
                } else {
                    Framing::Ndjson
                };
                let count = query
                    .strip_prefix("count=")
                    .and_then(|count| count.parse().ok());
                if poll.registry().deregister(&mut socket).is_err() {
                    return;
                }
                std::thread::spawn(move || {
                    let socket = TcpStream::from(socket);
                    // A client that disconnects early is not an error of the server.
                    let _ = stream(socket, framing, count.unwrap_or(0).min(MAX_COUNT), kind);
                });
            }
            _ => {}
        }
    }

    fn send(&mut self, item: &Item) -> Result<(), Error> {
        let mut chunk = Chunk::new();
        Framing::Sse.write(item, &mut chunk.bytes)?;
        let bytes = chunk.finish();
        // A socket that doesn't accept the whole chunk is too slow to measure and is dropped.
        self.paced
            .retain(|_, socket| matches!(socket.write(bytes), Ok(size) if size == bytes.len()));
        Ok(())
    }
}

fn target(request: &[u8]) -> Option<&str> {
    std::str::from_utf8(request)
        .ok()?
        .strip_prefix("GET ")?
        .split(' ')
        .next()
}

fn head(framing: Framing) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncache-control: no-cache\r\n\
         transfer-encoding: chunked\r\n\r\n",
        framing.media_type()
    )
}

fn stream(mut socket: TcpStream, framing: Framing, count: u64, kind: Kind) -> Result<(), Error> {
    socket.set_nonblocking(false)?;
    socket.set_write_timeout(Some(Duration::from_secs(30)))?;
    socket.write_all(head(framing).as_bytes())?;
    match kind {
        Kind::Serialised => serialised(&mut socket, framing, count)?,
        Kind::Ready => ready(&mut socket, framing, count)?,
    }
    socket.write_all(b"0\r\n\r\n")?;
    Ok(())
}

fn serialised(socket: &mut TcpStream, framing: Framing, count: u64) -> Result<(), Error> {
    let mut chunk = Chunk::new();
    for item in items(count) {
        framing.write(&item, &mut chunk.bytes)?;
        if chunk.bytes.len() >= BUFFER - 2 * EVENT_BYTES {
            socket.write_all(chunk.finish())?;
            chunk.clear();
        }
    }
    if !chunk.is_empty() {
        socket.write_all(chunk.finish())?;
    }
    Ok(())
}

fn ready(socket: &mut TcpStream, framing: Framing, count: u64) -> Result<(), Error> {
    let size = if framing == Framing::Sse {
        EVENT_BYTES
    } else {
        LINE_BYTES
    };
    let per_chunk = (BUFFER / size) as u64;
    let full = made_of(framing, per_chunk)?;
    for _ in 0..count / per_chunk {
        socket.write_all(&full)?;
    }
    socket.write_all(&made_of(framing, count % per_chunk)?)?;
    Ok(())
}

fn made_of(framing: Framing, count: u64) -> Result<Vec<u8>, Error> {
    let mut chunk = Chunk::new();
    for item in items(count) {
        framing.write(&item, &mut chunk.bytes)?;
    }
    Ok(if chunk.is_empty() {
        Vec::new()
    } else {
        chunk.finish().to_vec()
    })
}

/// One chunk of a body, with room for its size in front.
struct Chunk {
    bytes: Vec<u8>,
}

impl Chunk {
    fn new() -> Self {
        let mut bytes = Vec::with_capacity(BUFFER + CHUNK_HEAD + 2);
        bytes.resize(CHUNK_HEAD, 0);
        Self { bytes }
    }

    fn clear(&mut self) {
        self.bytes.truncate(CHUNK_HEAD);
    }

    fn is_empty(&self) -> bool {
        self.bytes.len() == CHUNK_HEAD
    }

    /// Fills in the size and returns the whole chunk.
    fn finish(&mut self) -> &[u8] {
        let size = format!("{:08x}\r\n", self.bytes.len() - CHUNK_HEAD);
        self.bytes[..CHUNK_HEAD].copy_from_slice(size.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
        &self.bytes
    }
}
