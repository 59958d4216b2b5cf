//! A network between servers, whose links can be cut, reset and delayed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::support::{outside, runtime};

/// Bytes of one read.
const CHUNK: usize = 64 << 10;
/// Number of reads that a link holds.
const HELD: usize = 1024;

/// The state of a link between two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    /// Everything arrives after this time.
    Slow(Duration),
    /// Nothing arrives, and neither side notices, as if packets were dropped. What was sent arrives
    /// once the link is up.
    Silent,
    /// Connections are reset, and new ones closed.
    Down,
}

/// A proxy for each direction between any two servers. The servers reach each other through these alone.
#[derive(Debug)]
pub(crate) struct Network {
    /// For each pair of servers, the lower index first.
    links: Vec<((usize, usize), watch::Sender<Link>)>,
    /// For each direction, the port to connect to.
    ports: Vec<((usize, usize), u16)>,
}

impl Network {
    /// Creates the links between servers whose routes listen on these ports.
    pub(crate) fn between(routes: &[u16]) -> Self {
        let mut network = Self {
            links: Vec::new(),
            ports: Vec::new(),
        };
        for a in 0..routes.len() {
            for b in a + 1..routes.len() {
                let link = watch::Sender::new(Link::Up);
                for (from, to) in [(a, b), (b, a)] {
                    let port = outside(listen(routes[to], link.subscribe()));
                    network.ports.push(((from, to), port));
                }
                network.links.push(((a, b), link));
            }
        }
        network
    }

    /// Returns the ports by which a server reaches the others.
    pub(crate) fn ports_of(&self, server: usize) -> impl Iterator<Item = u16> {
        let ports = self.ports.iter();
        ports.filter_map(move |((from, _), port)| (*from == server).then_some(*port))
    }

    /// Sets the link between two servers.
    pub(crate) fn set(&self, a: usize, b: usize, to: Link) {
        let pair = (a.min(b), a.max(b));
        let (_, link) = self.links.iter().find(|(of, _)| *of == pair).unwrap();
        link.send_replace(to);
    }

    /// Sets the links between a server and all others.
    pub(crate) fn set_all_of(&self, server: usize, to: Link) {
        for ((a, b), link) in &self.links {
            if *a == server || *b == server {
                link.send_replace(to);
            }
        }
    }
}

/// Opens a port that leads to another one. Returns it and its link.
pub(crate) fn door(to: u16) -> (u16, watch::Sender<Link>) {
    let link = watch::Sender::new(Link::Up);
    let port = outside(listen(to, link.subscribe()));
    (port, link)
}

/// Forwards connections to a port while the link lets them through. Ends with the link's sender.
async fn listen(to: u16, mut link: watch::Receiver<Link>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime().spawn(async move {
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((from, _)) = accepted else { continue };
                    runtime().spawn(forward(from, to, link.clone()));
                }
                changed = link.changed() => if changed.is_err() { return },
            }
        }
    });
    port
}

/// Forwards one connection until either side closes it or the link is down.
async fn forward(from: TcpStream, to: u16, mut link: watch::Receiver<Link>) {
    let passes = |link: &Link| *link != Link::Silent;
    if link.wait_for(passes).await.is_err() {
        return;
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
    let Ok(onward) = TcpStream::connect(address).await else {
        return;
    };
    let _ = (from.set_nodelay(true), onward.set_nodelay(true));
    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), onward.into_split());
    let mut down = link.clone();
    tokio::select! {
        () = copy(from_read, to_write, link.clone()) => {}
        () = copy(to_read, from_write, link) => {}
        _ = down.wait_for(|link| *link == Link::Down) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut link: watch::Receiver<Link>) {
    let (sender, mut held) = mpsc::channel::<(Instant, Vec<u8>)>(HELD);
    let state = link.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let delay = match *state.borrow() {
                Link::Slow(delay) => delay,
                _ => Duration::ZERO,
            };
            let due = Instant::now() + delay;
            if sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = held.recv().await {
            sleep_until(due).await;
            let passes = |link: &Link| *link != Link::Silent;
            let is_up = link.wait_for(passes).await.is_ok();
            if !is_up || to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    // What was read is still written after the end of the reads.
    tokio::join!(read, write);
}
