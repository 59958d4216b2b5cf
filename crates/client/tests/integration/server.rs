//! A server that writes exactly the bytes that a test specifies.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Longer than any test takes: a server that waits this long fails its test.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection, with or without TLS.
pub(crate) trait Connection: Read + Write + Send {}

impl<T: Read + Write + Send> Connection for T {}

pub(crate) struct Server {
    scheme: &'static str,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A request as received.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    /// The value of a header, or all its values joined if it is repeated.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .headers
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// One request being served; the connection closes with it.
pub(crate) struct Call {
    /// The number of this request, from 0.
    pub(crate) n: usize,
    pub(crate) request: Request,
    stream: BufReader<Box<dyn Connection>>,
}

impl Server {
    /// Serves each request on its own thread.
    pub(crate) fn start(answer: impl Fn(&mut Call) + Send + Sync + 'static) -> Self {
        Self::over("http", |stream| Box::new(stream), answer)
    }

    /// As [`start`](Self::start), over the result of `wrap` for each TCP connection.
    pub(crate) fn over(
        scheme: &'static str,
        wrap: impl Fn(TcpStream) -> Box<dyn Connection> + Send + Sync + 'static,
        answer: impl Fn(&mut Call) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let handlers = Arc::new((wrap, answer));
        let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (handlers, seen) = (Arc::clone(&handlers), Arc::clone(&seen));
                thread::spawn(move || {
                    let stream = stream.unwrap();
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_write_timeout(Some(PATIENCE)).unwrap();
                    stream.set_nodelay(true).unwrap();
                    let (wrap, answer) = &*handlers;
                    serve(wrap(stream), answer, &seen);
                });
            }
        });
        Self {
            scheme,
            address,
            stop,
            requests,
        }
    }

    /// Responds to every request with this.
    pub(crate) fn answering(content_type: &str, body: impl AsRef<[u8]>) -> Self {
        let (content_type, body) = (content_type.to_owned(), body.as_ref().to_vec());
        Self::start(move |call| call.respond("200 OK", &content_type, &body))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: Box<dyn Connection>, answer: &dyn Fn(&mut Call), seen: &Mutex<Vec<Request>>) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read_request(&mut stream) else {
        return;
    };
    let n = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    answer(&mut Call { n, request, stream });
}

fn read_request(stream: &mut BufReader<Box<dyn Connection>>) -> Option<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).ok()?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request {
        line: line.trim().to_owned(),
        headers,
        body: String::new(),
    };
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).unwrap();
    Some(request)
}

impl Call {
    /// Writes bytes. A client that has disconnected is not a fault.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.arrives(bytes.as_ref());
    }

    /// Writes bytes. Returns `true` if the client is still connected.
    fn arrives(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Sends a whole response.
    pub(crate) fn respond(&mut self, status: &str, content_type: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        self.write(format!(
            "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            body.len()
        ));
        self.write(body);
    }

    /// Sends a response with this status and these header lines, and no body.
    pub(crate) fn respond_with(&mut self, status: &str, headers: &str) {
        self.write(format!(
            "HTTP/1.1 {status}\r\n{headers}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ));
    }

    /// Sends the head of a response with a chunked body.
    pub(crate) fn start(&mut self, content_type: &str) {
        self.write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\
             connection: close\r\n\r\n"
        ));
    }

    pub(crate) fn chunk(&mut self, bytes: impl AsRef<[u8]>) {
        self.chunk_arrives(bytes);
    }

    /// Sends a chunk. Returns `true` if the client is still connected.
    pub(crate) fn chunk_arrives(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.arrives(&chunk)
    }

    /// Sends the final chunk. Without it the body is truncated.
    pub(crate) fn end(&mut self) {
        self.write("0\r\n\r\n");
    }

    /// Waits until the client closes the connection. Returns `true` if it did.
    pub(crate) fn wait_for_close(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
