//! A slow endpoint: `GET /MILLISECONDS…` is answered with a small JSON body that long after its
//! request is read. One epoll loop on one thread, with persistent connections.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, ErrorKind, Read, Write},
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use headwater_bench::Error;
use mio::{Events, Interest, Poll, Token, net::TcpListener, net::TcpStream, unix::SourceFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

const LISTENER: Token = Token(usize::MAX);
const TIMER: Token = Token(usize::MAX - 1);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 93\r\n\r\n\
    {\"n\":1000000,\"symbol\":\"ALFA\",\"price\":100.01,\"note\":\"last trade, regular session, venue one\"}\n";

pub(crate) fn run() -> Result<(), Error> {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    // epoll's own timeout has a resolution of 1 ms, an error of five percent here.
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    poll.registry()
        .register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
    crate::announce(listener.local_addr()?);
    let mut events = Events::with_capacity(1024);
    let mut sockets: HashMap<Token, TcpStream> = HashMap::new();
    // By the time of the response, and a number that makes equal times unique.
    let mut due: BTreeMap<(Instant, u64), Token> = BTreeMap::new();
    let mut issued = 0_usize;
    let mut requests = 0_u64;
    loop {
        if let Err(error) = poll.poll(&mut events, None)
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error.into());
        }
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, &poll, &mut sockets, &mut issued)?,
                // The number of expiries is not used, but must be read.
                TIMER => drop(rustix::io::read(&timer, &mut [0_u8; 8])),
                token => {
                    let Some(socket) = sockets.get_mut(&token) else {
                        continue;
                    };
                    match read(socket) {
                        Ok(delays) => {
                            for delay in delays {
                                requests += 1;
                                due.insert((Instant::now() + delay, requests), token);
                            }
                        }
                        Err(_) => drop(sockets.remove(&token)),
                    }
                }
            }
        }
        while let Some(next) = due.first_entry()
            && next.key().0 <= Instant::now()
        {
            let token = next.remove();
            // A response fits the socket's buffer. A client that disconnects is not an error of the
            // server.
            let gone = sockets
                .get_mut(&token)
                .is_some_and(|socket| socket.write_all(ANSWER).is_err());
            if gone {
                sockets.remove(&token);
            }
        }
        if let Some(((at, _), _)) = due.first_key_value() {
            // Zero would disarm the timer.
            let wait = at
                .saturating_duration_since(Instant::now())
                .max(Duration::from_nanos(1));
            let at = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec::try_from(wait)?,
            };
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &at)?;
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    sockets: &mut HashMap<Token, TcpStream>,
    issued: &mut usize,
) -> io::Result<()> {
    loop {
        let (mut socket, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        socket.set_nodelay(true)?;
        *issued += 1;
        let token = Token(*issued);
        poll.registry()
            .register(&mut socket, token, Interest::READABLE)?;
        sockets.insert(token, socket);
    }
}

/// Returns the delays of the available requests. A client here sends each in one piece.
fn read(socket: &mut TcpStream) -> io::Result<Vec<Duration>> {
    let mut delays = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(size) => {
                let text = String::from_utf8_lossy(&buffer[..size]);
                for request in text.split_inclusive("\r\n\r\n") {
                    let path = request.split(' ').nth(1).unwrap_or_default();
                    let digits = path.trim_start_matches('/').split(['/', '?']).next();
                    let milliseconds = digits.and_then(|digits| digits.parse().ok());
                    delays.push(Duration::from_millis(milliseconds.unwrap_or(0)));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(delays),
            Err(error) => return Err(error),
        }
    }
}
