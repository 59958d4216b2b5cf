//! The load generator: raw sockets, large reads, and the minimum of work per byte.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use memchr::{memchr_iter, memmem};
use mio::{Events, Interest, Poll, Token};

use crate::{
    Error,
    chunked::Response,
    item::{FIRST, Framing},
    system,
    tls::Session,
};

const READ_BYTES: usize = 512 * 1024;
/// Time that a socket may be silent before the run is aborted.
pub(crate) const SILENCE: Duration = Duration::from_secs(30);
/// Number of bytes at the end of a stream that are kept to check its last item.
const TAIL_BYTES: usize = 512;
/// Allowance for SSE lines other than items: comments and an end event.
const EXTRA_LINES: u64 = 64;

/// The cost of draining one stream.
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    /// Time from the request to the last byte, in seconds.
    pub seconds: f64,
    /// CPU time of the load generator, in nanoseconds.
    pub cpu_ns: u64,
}

/// Reads a stream of `count` items to its end and checks that all items arrived.
///
/// If `numbered`, the items count up, so that the last one is known.
///
/// # Errors
/// The stream is not complete.
pub fn drain(
    server: SocketAddr,
    framing: Framing,
    count: u64,
    numbered: bool,
) -> Result<Drained, Error> {
    let mut socket = connect(server)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut response = Response::default();
    let mut lines = 0;
    let mut tail = Vec::with_capacity(2 * TAIL_BYTES);
    let cpu = system::own_cpu_ns();
    let start = Instant::now();
    request(
        &mut socket,
        &format!("{}?count={count}", framing.path()),
        framing,
    )?;
    while !response.is_complete() {
        let size = socket.read(&mut buffer)?;
        if size == 0 {
            return Err("the stream was cut".into());
        }
        response.feed(&buffer[..size], |payload| {
            lines += memchr_iter(b'\n', payload).count() as u64;
            keep_tail(&mut tail, payload);
        })?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu_ns = system::own_cpu_ns() - cpu;

    let wanted = count * framing.lines_per_item();
    let allowed = wanted
        + if framing == Framing::Sse {
            EXTRA_LINES
        } else {
            0
        };
    if !(wanted..=allowed).contains(&lines) {
        return Err(format!("{lines} lines came for {count} items").into());
    }
    if numbered && last_number(&tail) != Some(FIRST + count - 1) {
        return Err(format!(
            "the last item is not there: {}",
            String::from_utf8_lossy(&tail)
        )
        .into());
    }
    Ok(Drained { seconds, cpu_ns })
}

fn keep_tail(tail: &mut Vec<u8>, payload: &[u8]) {
    if payload.len() >= TAIL_BYTES {
        tail.clear();
        tail.extend_from_slice(&payload[payload.len() - TAIL_BYTES..]);
    } else {
        if tail.len() + payload.len() > 2 * TAIL_BYTES {
            tail.drain(..tail.len() - TAIL_BYTES);
        }
        tail.extend_from_slice(payload);
    }
}

fn last_number(text: &[u8]) -> Option<u64> {
    number_at(text, memmem::rfind(text, b"\"n\":")? + 4)
}

fn number_at(text: &[u8], start: usize) -> Option<u64> {
    let digits = text.get(start..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

pub(crate) fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&server, SILENCE)?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn request(socket: &mut TcpStream, target: &str, framing: Framing) -> io::Result<()> {
    socket.write_all(&head(target, framing))
}

fn head(target: &str, framing: Framing) -> Vec<u8> {
    let accept = framing.media_type();
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\n\r\n").into_bytes()
}

/// Returns the request of an SSE reader.
pub(crate) fn follow(target: &str) -> Vec<u8> {
    head(target, Framing::Sse)
}

/// Connects `count` readers to `target` and waits until each has received its response's head.
///
/// # Errors
/// A reader doesn't receive a stream.
pub fn attach(server: SocketAddr, target: &str, count: usize) -> Result<Vec<Reader>, Error> {
    let mut readers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut socket = connect(server)?;
        request(&mut socket, target, Framing::Sse)?;
        readers.push(Reader::new(socket, None));
    }
    readers.into_iter().map(Reader::begin).collect()
}

/// One of many connections.
#[derive(Debug)]
pub struct Reader {
    socket: TcpStream,
    /// `None` for a connection without TLS.
    session: Option<Session>,
    response: Response,
    /// The beginning of an incomplete event.
    unfinished: Vec<u8>,
}

impl Reader {
    pub(crate) fn new(socket: TcpStream, session: Option<Session>) -> Self {
        Self {
            socket,
            session,
            response: Response::default(),
            unfinished: Vec::new(),
        }
    }

    /// Reads until the response's head is complete.
    pub(crate) fn begin(mut self) -> Result<Self, Error> {
        let mut buffer = vec![0; 4096];
        while !self.response.has_head() {
            let size = self.socket.read(&mut buffer)?;
            if size == 0 {
                return Err("a reader was turned away".into());
            }
            let (response, unfinished) = (&mut self.response, &mut self.unfinished);
            let mut plain = |piece: &[u8]| {
                response.feed(piece, |payload| unfinished.extend_from_slice(payload))
            };
            match &mut self.session {
                Some(session) => session.feed(&buffer[..size], plain)?,
                None => plain(&buffer[..size])?,
            }
        }
        Ok(self)
    }

    /// Returns the connection, the response parser, and the bytes of the body read so far.
    pub(crate) fn into_parts(self) -> (TcpStream, Option<Session>, Response, Vec<u8>) {
        (self.socket, self.session, self.response, self.unfinished)
    }
}

/// Results of many readers of a paced stream.
#[derive(Debug)]
pub struct Watched {
    /// Time from the item's timestamp to the read of its last byte, in nanoseconds, for each
    /// delivery.
    pub latencies_ns: Vec<u64>,
}

/// Reads the streams of `readers`, which have no TLS, during `window`, after the time `settle`, and records each item's
/// latency.
///
/// # Errors
/// A stream ended.
pub fn watch(readers: Vec<Reader>, settle: Duration, window: Duration) -> Result<Watched, Error> {
    let mut poll = Poll::new()?;
    let mut connections = Vec::with_capacity(readers.len());
    for (index, reader) in readers.into_iter().enumerate() {
        reader.socket.set_nonblocking(true)?;
        let mut socket = mio::net::TcpStream::from_std(reader.socket);
        poll.registry()
            .register(&mut socket, Token(index), Interest::READABLE)?;
        connections.push((socket, reader.response, reader.unfinished));
    }
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    let mut latencies_ns = Vec::new();
    // Items that were sent before the window, or arrive after its end, are not counted.
    let from = system::monotonic_ns() + nanoseconds(settle);
    let until = from + nanoseconds(window);
    // Items sent at the end of the window have a moment to arrive.
    let deadline = until + nanoseconds(Duration::from_secs(1));
    while system::monotonic_ns() < deadline {
        poll.poll(&mut events, Some(Duration::from_millis(50)))?;
        for event in &events {
            let (socket, response, unfinished) = &mut connections[event.token().0];
            loop {
                let size = match socket.read(&mut buffer) {
                    Ok(0) => return Err("a reader's stream ended".into()),
                    Ok(size) => size,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                };
                let now = system::monotonic_ns();
                response.feed(&buffer[..size], |payload| {
                    each_sent(unfinished, payload, |sent| {
                        if (from..until).contains(&sent) {
                            latencies_ns.push(now.saturating_sub(sent));
                        }
                    });
                })?;
                // A short read empties the socket. With edge-triggered epoll, the next bytes cause
                // an event.
                if size < buffer.len() {
                    break;
                }
            }
        }
    }
    Ok(Watched { latencies_ns })
}

/// Calls `sent` with the timestamp of each item whose event ends in `payload`.
fn each_sent(unfinished: &mut Vec<u8>, payload: &[u8], mut sent: impl FnMut(u64)) {
    if unfinished.is_empty() && payload.ends_with(b"\n\n") {
        scan(payload, &mut sent);
        return;
    }
    unfinished.extend_from_slice(payload);
    if let Some(end) = memmem::rfind(unfinished, b"\n\n") {
        scan(&unfinished[..end + 2], &mut sent);
        unfinished.drain(..end + 2);
    }
}

fn scan(events: &[u8], sent: &mut impl FnMut(u64)) {
    for at in memmem::find_iter(events, b"\"n\":") {
        if let Some(number) = number_at(events, at + 4) {
            sent(number);
        }
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Converts nanoseconds to seconds.
#[allow(clippy::cast_precision_loss, reason = "times far below 2^52")]
pub(crate) fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_counts_once_when_its_event_is_complete() {
        let (mut unfinished, mut seen) = (Vec::new(), Vec::new());
        let whole = b": hi\n\ndata: {\"n\":123,\"x\":1}\n\ndata: {\"n\":456,\"x\":1}\n\n";
        for piece in whole.chunks(7) {
            each_sent(&mut unfinished, piece, |sent| seen.push(sent));
        }
        assert_eq!(seen, [123, 456]);
        assert!(unfinished.is_empty());
    }

    #[test]
    fn the_tail_contains_the_last_item_in_all_splits() {
        for size in [1, 10, 600, 5000] {
            let mut tail = Vec::new();
            let text: Vec<u8> = (1..=100)
                .flat_map(|n| format!("{{\"n\":{n},}}\n").into_bytes())
                .collect();
            for piece in text.chunks(size) {
                keep_tail(&mut tail, piece);
            }
            assert_eq!(last_number(&tail), Some(100));
        }
    }
}
