//! A proxy that breaks connections, and that can be redirected to another server.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Longer than any test takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The point at which connections break.
#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Every n-th response: when its first byte arrives, which isn't forwarded.
    Answer(usize),
    /// After this many bytes of responses on a connection.
    Bytes(usize),
}

pub(crate) struct Proxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
    answers: Arc<AtomicUsize>,
    target: Arc<Mutex<SocketAddr>>,
}

impl Proxy {
    /// A proxy that breaks nothing.
    pub(crate) fn to(target: &str) -> Self {
        Self::start(target, Fault::None)
    }

    /// Sends new connections to another server.
    pub(crate) fn point_at(&self, target: &str) {
        *self.target.lock().unwrap() = target.parse().unwrap();
    }

    /// Breaks connections where every `n`-th response would begin: the request was delivered and
    /// processed.
    pub(crate) fn cutting_answers(target: &str, n: usize) -> Self {
        Self::start(target, Fault::Answer(n))
    }

    /// Breaks each connection after this many bytes from the server.
    pub(crate) fn cutting_after(target: &str, bytes: usize) -> Self {
        Self::start(target, Fault::Bytes(bytes))
    }

    fn start(target: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let cuts = Arc::new(AtomicUsize::new(0));
        let answers = Arc::new(AtomicUsize::new(0));
        let target: Arc<Mutex<SocketAddr>> = Arc::new(Mutex::new(target.parse().unwrap()));
        let pointed = Arc::clone(&target);
        let relayed = Arc::clone(&answers);
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&cuts));
        thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (cuts, answers) = (Arc::clone(&counted), Arc::clone(&relayed));
                let target = *pointed.lock().unwrap();
                thread::spawn(move || {
                    // Either side may close at any time.
                    let (Ok(client), Ok(server)) = (client, TcpStream::connect(target)) else {
                        return;
                    };
                    relay(&client, &server, fault, &cuts, &answers);
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        Self {
            address,
            stop,
            cuts,
            answers,
            target,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The number of responses that began.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    /// The number of connections that were broken.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn relay(
    mut client: &TcpStream,
    mut server: &TcpStream,
    fault: Fault,
    cuts: &AtomicUsize,
    answers: &AtomicUsize,
) {
    for stream in [client, server] {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        let _ = stream.set_nodelay(true);
    }
    let (Ok(mut from), Ok(mut to)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut passed = 0;
    let mut bytes = [0; 512];
    loop {
        let Ok(read) = server.read(&mut bytes) else {
            return;
        };
        let piece = &bytes[..read];
        if piece.is_empty() {
            return;
        }
        let is_answer = piece.starts_with(b"HTTP/1.1");
        let answers = answers.fetch_add(usize::from(is_answer), Ordering::SeqCst) + 1;
        let is_cut = match fault {
            Fault::Answer(n) => is_answer && answers.is_multiple_of(n),
            Fault::None => false,
            Fault::Bytes(most) => passed + piece.len() > most,
        };
        if is_cut {
            cuts.fetch_add(1, Ordering::SeqCst);
            return;
        }
        passed += piece.len();
        if client.write_all(piece).is_err() {
            return;
        }
    }
}
