use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use reqwest::Url;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{Instant, sleep},
};

/// A step of the server on a connection.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Send(Vec<u8>),
    Wait(Duration),
    /// Ends the connection as if the process had been killed.
    Reset,
    /// Sends this repeatedly.
    Flood(Vec<u8>),
    /// Leaves the connection open.
    Hang,
}

pub(super) fn send(text: impl AsRef<[u8]>) -> Act {
    Act::Send(text.as_ref().to_vec())
}

/// A response head without a length: the end of the connection is the end of the body.
pub(super) fn head(content_type: &str) -> Act {
    send(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n"
    ))
}

/// A response head with a chunked body: see [`chunk`].
pub(super) fn chunked(content_type: &str) -> Act {
    send(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    ))
}

pub(super) fn chunk(data: &str) -> Act {
    send(format!("{:x}\r\n{data}\r\n", data.len()))
}

pub(super) fn last_chunk() -> Act {
    send("0\r\n\r\n")
}

/// A server of raw bytes: the n-th connection runs the n-th script, and later ones the last script.
pub(super) struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
    closed: Arc<Mutex<Option<Instant>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn new(scripts: impl IntoIterator<Item = Vec<Act>>) -> Self {
        let scripts: Vec<_> = scripts.into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let closed = Arc::new(Mutex::new(None));
        let (seen, left) = (Arc::clone(&requests), Arc::clone(&closed));
        let task = tokio::spawn(async move {
            for n in 0.. {
                let Ok((socket, _)) = listener.accept().await else {
                    return;
                };
                let script = scripts[n.min(scripts.len() - 1)].clone();
                let (seen, left) = (Arc::clone(&seen), Arc::clone(&left));
                tokio::spawn(async move {
                    serve(socket, script, &seen).await;
                    *left.lock().unwrap() = Some(Instant::now());
                });
            }
        });
        Self {
            port,
            requests,
            closed,
            task,
        }
    }

    pub(super) fn url(&self) -> Url {
        format!("http://127.0.0.1:{}/a?b=c", self.port)
            .parse()
            .unwrap()
    }

    /// Returns the requests so far, in lower case.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns the time at which a client was last seen to disconnect.
    pub(super) fn closed(&self) -> Option<Instant> {
        *self.closed.lock().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, script: Vec<Act>, seen: &Mutex<Vec<String>>) {
    socket.set_nodelay(true).unwrap();
    let Some(request) = read_request(&mut socket).await else {
        return;
    };
    seen.lock().unwrap().push(request);
    for act in script {
        match act {
            Act::Send(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Act::Wait(time) => sleep(time).await,
            Act::Reset => {
                socket.set_zero_linger().unwrap();
                return;
            }
            Act::Flood(bytes) => while socket.write_all(&bytes).await.is_ok() {},
            Act::Hang => while socket.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {},
        }
    }
}

async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = socket
            .read(&mut buffer)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        request.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return Some(text);
        }
    }
}
