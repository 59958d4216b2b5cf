//! Publishers: connections that send the next append when the previous one is acknowledged.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use crate::{
    Error,
    http::{Answer, request},
    item::Item,
    load, system,
};

/// A connection with the requests that it sends in turn.
#[derive(Debug)]
pub struct Publisher {
    requests: Vec<Vec<u8>>,
}

/// Number of different requests of a publisher: enough that no block of a file contains one twice.
const DIFFERENT: u64 = 64;

impl Publisher {
    /// Creates a publisher that appends `batch` items at a time to the stream at `target`. `number`
    /// makes the items different from those of other publishers.
    #[must_use]
    pub fn new(target: &str, number: u64, batch: u64) -> Self {
        let first = number * DIFFERENT * batch;
        let requests = (0..DIFFERENT)
            .map(|turn| append(target, first + turn * batch, batch))
            .collect();
        Self { requests }
    }

    /// Creates a publisher of these requests.
    #[must_use]
    pub fn of(requests: Vec<Vec<u8>>) -> Self {
        Self { requests }
    }
}

/// Returns an append of `count` items from `first`: one item as a JSON object, several as an array.
#[must_use]
pub fn append(target: &str, first: u64, count: u64) -> Vec<u8> {
    let items: Vec<Item> = (first..first + count).map(Item::at).collect();
    let body = match items.as_slice() {
        [item] => serde_json::to_vec(item),
        items => serde_json::to_vec(items),
    };
    // Plain fields always serialise.
    request(
        "POST",
        target,
        "application/json",
        &body.unwrap_or_default(),
    )
}

/// Results of the publishers.
#[derive(Debug, Default)]
pub struct Published {
    /// Appends acknowledged within the window.
    pub appends: u64,
    /// Length of the window, in seconds.
    pub seconds: f64,
    /// Time from a request's first byte to its response's last, in nanoseconds, for each append.
    pub latencies_ns: Vec<u64>,
}

/// End of publishing.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// After a duration.
    Time(Duration),
    /// When each publisher has sent all its requests once.
    Sent,
}

struct Line {
    socket: TcpStream,
    requests: Vec<Vec<u8>>,
    /// Index of the current request, and the number of its bytes that are sent.
    turn: usize,
    sent: usize,
    began_ns: u64,
    answer: Answer,
    is_over: bool,
}

/// Runs all publishers concurrently on one thread.
///
/// # Errors
/// An append isn't acknowledged.
pub fn run(
    server: SocketAddr,
    publishers: Vec<Publisher>,
    until: Until,
) -> Result<Published, Error> {
    let mut poll = Poll::new()?;
    let mut lines = Vec::with_capacity(publishers.len());
    for (index, publisher) in publishers.into_iter().enumerate() {
        let socket = load::connect(server)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut socket, Token(index), interest)?;
        lines.push(Line {
            socket,
            requests: publisher.requests,
            turn: 0,
            sent: 0,
            began_ns: 0,
            answer: Answer::default(),
            is_over: false,
        });
    }
    let start = system::monotonic_ns();
    let sends_once = matches!(until, Until::Sent);
    let to = match until {
        Until::Time(window) => start + load::nanoseconds(window),
        Until::Sent => u64::MAX,
    };
    let mut published = Published::default();
    for line in &mut lines {
        line.began_ns = system::monotonic_ns();
        line.send()?;
    }
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 64 * 1024]);
    let mut open = lines.len();
    let mut last = start;
    while open > 0 {
        poll.poll(&mut events, Some(load::SILENCE))?;
        if events.is_empty() {
            return Err("no answer came for a long time".into());
        }
        for event in &events {
            let line = &mut lines[event.token().0];
            if line.is_over || (event.is_writable() && !line.send()?) {
                continue;
            }
            while line.receive(&mut buffer)? {
                let now = system::monotonic_ns();
                if now < to {
                    published.appends += 1;
                    published.latencies_ns.push(now - line.began_ns);
                    last = now;
                }
                let is_last = sends_once && line.turn + 1 == line.requests.len();
                if now >= to || is_last {
                    line.is_over = true;
                    open -= 1;
                    break;
                }
                line.next(now)?;
            }
        }
    }
    // A time window ends on time; otherwise the end is the last response.
    let end = if sends_once { last } else { to };
    published.seconds = load::seconds(end - start);
    Ok(published)
}

impl Line {
    /// Sends until the socket blocks. Returns `true` if the whole request is sent.
    fn send(&mut self) -> Result<bool, Error> {
        let request = &self.requests[self.turn];
        while self.sent < request.len() {
            match self.socket.write(&request[self.sent..]) {
                Ok(size) => self.sent += size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Reads the available bytes. Returns `true` if the response is complete.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<bool, Error> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err("a publisher's connection was cut".into()),
                Ok(size) => self.answer.feed(&buffer[..size], |_| ())?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error.into()),
            }
            if self.answer.is_complete() {
                let status = self.answer.status();
                return if (200..300).contains(&status) {
                    Ok(true)
                } else {
                    Err(format!("a request was answered with {status}").into())
                };
            }
        }
    }

    fn next(&mut self, now: u64) -> Result<(), Error> {
        self.turn = (self.turn + 1) % self.requests.len();
        self.sent = 0;
        self.began_ns = now;
        self.answer.clear();
        self.send()?;
        Ok(())
    }
}
