//! Followers: many SSE readers of one stream. Each must receive every message.

use std::{
    io::{self, Read},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use memchr::memmem;
use mio::{Events, Interest, Poll, Token};

use crate::{Error, chunked::Response, load, system, tls::Session};

/// Bytes that every message contains exactly once.
const MARK: &[u8] = b"\"n\":";
const READ_BYTES: usize = 256 * 1024;
/// Interval at which an idle poll checks for completion.
const LOOK: Duration = Duration::from_millis(20);

struct Follower {
    socket: mio::net::TcpStream,
    session: Option<Session>,
    response: Response,
    marks: Marks,
}

/// Counts messages in a body that arrives in pieces.
#[derive(Debug, Default)]
pub struct Marks {
    /// Number of messages so far.
    pub count: u64,
    /// The last bytes, fewer than a mark has. A mark may continue in the next piece.
    end: Vec<u8>,
}

impl Marks {
    /// Processes a piece.
    pub fn feed(&mut self, piece: &[u8]) {
        const REST: usize = MARK.len() - 1;
        // A mark across the boundary ends in the first bytes of the piece.
        self.end.extend_from_slice(&piece[..piece.len().min(REST)]);
        self.count += memmem::find_iter(&self.end, MARK).count() as u64;
        self.count += memmem::find_iter(piece, MARK).count() as u64;
        if piece.len() > REST {
            self.end.clear();
            self.end.extend_from_slice(&piece[piece.len() - REST..]);
        } else {
            self.end.drain(..self.end.len().saturating_sub(REST));
        }
    }
}

/// Reads until each of `readers` has received `published` messages. Returns the time of the last
/// delivery, in nanoseconds of `CLOCK_MONOTONIC`.
///
/// `published` is `u64::MAX` while messages are still being published.
///
/// # Errors
/// A reader's stream ends, or a reader receives too few or too many messages.
pub fn follow(readers: Vec<load::Reader>, published: &AtomicU64) -> Result<u64, Error> {
    let mut poll = Poll::new()?;
    let mut followers = Vec::with_capacity(readers.len());
    for (index, reader) in readers.into_iter().enumerate() {
        let (socket, session, response, begun) = reader.into_parts();
        socket.set_nonblocking(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket);
        poll.registry()
            .register(&mut socket, Token(index), Interest::READABLE)?;
        let mut marks = Marks::default();
        marks.feed(&begun);
        followers.push(Follower {
            socket,
            session,
            response,
            marks,
        });
    }
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; READ_BYTES]);
    let mut last = system::monotonic_ns();
    let patience = load::nanoseconds(load::SILENCE);
    loop {
        poll.poll(&mut events, Some(LOOK))?;
        for event in &events {
            let follower = &mut followers[event.token().0];
            let before = follower.marks.count;
            follower.read(&mut buffer)?;
            if follower.marks.count > before {
                last = system::monotonic_ns();
            }
        }
        let wanted = published.load(Ordering::Acquire);
        if wanted == u64::MAX {
            continue;
        }
        if followers
            .iter()
            .all(|follower| follower.marks.count == wanted)
        {
            return Ok(last);
        }
        if let Some(more) = followers
            .iter()
            .find(|follower| follower.marks.count > wanted)
        {
            return Err(format!("{} messages came of {wanted}", more.marks.count).into());
        }
        if system::monotonic_ns() > last + patience {
            let missing: u64 = followers.iter().map(|one| wanted - one.marks.count).sum();
            return Err(format!("{missing} deliveries are missing").into());
        }
    }
}

impl Follower {
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        loop {
            let size = match self.socket.read(buffer) {
                Ok(0) => return Err("a reader's stream ended".into()),
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let (marks, response) = (&mut self.marks, &mut self.response);
            let mut plain = |piece: &[u8]| response.feed(piece, |payload| marks.feed(payload));
            match &mut self.session {
                Some(session) => session.feed(&buffer[..size], plain)?,
                None => plain(&buffer[..size])?,
            }
            // A short read empties the socket. With edge-triggered epoll, the next bytes cause an
            // event.
            if size < buffer.len() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_counts_once_in_all_splits() {
        let text = b"data: {\"n\":1,\"x\":\"n\"}\n\ndata: [{\"n\":2},{\"n\":3}]\n\n";
        for size in 1..text.len() {
            let mut marks = Marks::default();
            for piece in text.chunks(size) {
                marks.feed(piece);
            }
            assert_eq!(marks.count, 3, "in pieces of {size}");
        }
    }
}
