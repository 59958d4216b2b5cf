use std::os::unix::fs::PermissionsExt as _;
use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, routing::get};
use futures_util::stream;
use headwater::{Serve, Streaming, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Notify,
    task::JoinHandle,
    time::Instant,
};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Arc<Notify>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start(configure: impl FnOnce(Serve) -> Serve) -> Server {
    let app = Router::new()
        .route("/", get(async || "hello"))
        .route(
            "/peer",
            get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()),
        )
        .route(
            "/silent",
            get(async || Streaming::new(stream::pending::<u64>()).first_item_wait(Duration::ZERO)),
        )
        .route(
            "/broken",
            get(async || {
                Streaming::try_new(stream::iter([
                    Ok(1),
                    Err(std::io::Error::other("on purpose")),
                ]))
            }),
        )
        .route(
            "/finish",
            get(async || {
                let item = async {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    7
                };
                Streaming::new(stream::once(item)).finish_on_shutdown()
            }),
        );
    start_app(app, configure).await
}

pub(crate) async fn start_app(app: Router, configure: impl FnOnce(Serve) -> Serve) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let server = serve(app, listener).shutdown_on(async move { stopped.notified().await });
    let task = tokio::spawn(configure(server).into_future());
    Server {
        address,
        stop,
        task,
    }
}

impl Server {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends one request and reads until the server closes the connection.
    pub(crate) async fn ask(&self, request: &str) -> String {
        let mut socket = self.connect().await;
        socket.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut socket).await
    }

    pub(crate) async fn stop(self) -> Duration {
        let start = Instant::now();
        self.stop.notify_one();
        self.task.await.unwrap().unwrap();
        start.elapsed()
    }
}

pub(crate) async fn read_all(socket: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    let read = socket.read_to_end(&mut bytes);
    // A reset is also a close.
    let _ = tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("the server hung");
    String::from_utf8(bytes).unwrap()
}

/// Reads until `end` is received.
pub(crate) async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut buf = [0; 1024];
        let read = tokio::time::timeout(Duration::from_secs(20), socket.read(&mut buf)).await;
        let read = read.expect("the server hung").unwrap();
        assert!(read > 0, "the server closed after {text:?}");
        text.push_str(std::str::from_utf8(&buf[..read]).unwrap());
    }
    text
}

const CLOSE: &str = "host: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn it_serves_http_1_and_tells_handlers_the_peer() {
    let server = start(|serve| serve).await;
    let answer = server.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"),
        "{answer}"
    );
    let answer = server.ask(&format!("GET /peer HTTP/1.1\r\n{CLOSE}")).await;
    assert!(answer.contains("127.0.0.1:"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_resembles_the_http_2_preface_is_http_1() {
    let server = start(|serve| serve).await;
    let mut socket = server.connect().await;
    for byte in b"PR" {
        socket.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    socket
        .write_all(format!("OPFIND / HTTP/1.1\r\n{CLOSE}").as_bytes())
        .await
        .unwrap();
    let answer = read_all(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn slow_heads_and_idle_connections_are_closed_and_streams_are_not() {
    let server = start(|serve| {
        serve
            .header_read_timeout(Duration::from_millis(400))
            .idle_timeout(Duration::from_millis(800))
    })
    .await;
    let mut streaming = server.connect().await;
    streaming
        .write_all(b"GET /silent HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut streaming, "\r\n\r\n").await;

    for beginning in ["", "P", "GET / HTTP/1.1\r\nhost:"] {
        let start = Instant::now();
        let answer = server.ask(beginning).await;
        let waited = start.elapsed();
        assert_eq!(answer, "", "{beginning:?}");
        assert!(
            waited > Duration::from_millis(350),
            "{beginning:?}: {waited:?}"
        );
    }

    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "hello").await;
    let start = Instant::now();
    tokio::time::sleep(Duration::from_millis(600)).await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut idle, "hello").await;
    assert_eq!(read_all(&mut idle).await, "");
    assert!(
        start.elapsed() > Duration::from_millis(1350),
        "{:?}",
        start.elapsed()
    );

    let mut buf = [0; 1];
    let read = tokio::time::timeout(Duration::from_millis(50), streaming.read(&mut buf)).await;
    assert!(read.is_err(), "the stream was closed");
    server.stop().await;
}

#[tokio::test]
async fn a_head_at_the_size_limit_is_accepted_and_one_byte_more_is_refused() {
    let server = start(|serve| serve.max_head_bytes(10_000)).await;
    let head = |size: usize| {
        let rest = format!("GET / HTTP/1.1\r\nx: \r\n{CLOSE}").len();
        format!(
            "GET / HTTP/1.1\r\nx: {}\r\n{CLOSE}",
            "a".repeat(size - rest)
        )
    };
    let answer = server.ask(&head(10_000)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = server.ask(&head(10_001)).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_room() {
    let server = start(|serve| serve.max_connections(1)).await;
    let mut first = server.connect().await;
    first
        .write_all(b"GET /silent HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut first, "\r\n\r\n").await;
    let mut second = server.connect().await;
    second
        .write_all(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes())
        .await
        .unwrap();
    let mut buf = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(200), second.read(&mut buf)).await;
    assert!(
        early.is_err(),
        "the second connection was served beside the first"
    );
    drop(first);
    assert!(read_all(&mut second).await.ends_with("hello"));
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_aborts_endless_streams_and_finishes_finite_ones() {
    let server = start(|serve| serve).await;
    let ask = async |path: &str, accept: &str| {
        let mut socket = server.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    };
    let mut sse = ask("/silent", "text/event-stream").await;
    let mut ndjson = ask("/silent", "*/*").await;
    let mut finite = ask("/finish", "*/*").await;
    let mut kept = ask("/", "*/*").await;
    read_until(&mut sse, "\r\n\r\n").await;
    read_until(&mut ndjson, "\r\n\r\n").await;
    read_until(&mut kept, "hello").await;
    tokio::time::sleep(Duration::from_millis(50)).await;

    let took = server.stop().await;
    let sse = read_all(&mut sse).await;
    assert!(
        sse.contains("retry: ") && sse.contains(": the server is shutting down"),
        "{sse}"
    );
    assert!(
        !sse.contains("event: headwater:end") && !sse.ends_with("0\r\n\r\n"),
        "{sse}"
    );
    assert_eq!(read_all(&mut ndjson).await, "", "no clean end");
    let finite = read_all(&mut finite).await;
    assert!(finite.ends_with("2\r\n7\n\r\n0\r\n\r\n"), "{finite}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_shutdown_ends_by_its_deadline() {
    let server = start(|serve| serve.shutdown_deadline(Duration::from_millis(100))).await;
    let mut finite = server.connect().await;
    finite
        .write_all(b"GET /finish HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let took = server.stop().await;
    assert!(took < Duration::from_millis(250), "{took:?}");
    let finite = read_all(&mut finite).await;
    assert!(
        finite.ends_with("\r\n\r\n") && !finite.ends_with("0\r\n\r\n"),
        "no end: {finite}"
    );
}

#[tokio::test]
async fn over_http_1_0_only_an_aborted_response_ends_with_a_reset() {
    let server = start(|serve| serve).await;
    let ask = async |path: &str| {
        let mut socket = server.connect().await;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let ended = socket.read_to_end(&mut bytes).await;
        (
            String::from_utf8(bytes).unwrap(),
            ended.map_err(|error| error.kind()),
        )
    };
    let (body, ended) = ask("/broken").await;
    assert!(body.ends_with("\r\n\r\n1\n"), "{body}");
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
    let (body, ended) = ask("/finish").await;
    assert!(body.ends_with("\r\n\r\n7\n"), "{body}");
    assert!(ended.is_ok(), "{ended:?}");
    assert!(ask("/").await.1.is_ok());
    server.stop().await;
}

#[tokio::test]
async fn a_unix_sockets_file_is_created_and_removed() {
    let dir = std::env::temp_dir().join(format!("headwater-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("app.sock");
    // A killed server leaves its file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());

    let app = Router::new().route("/", get(async || "hello"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (bound, told) = tokio::sync::oneshot::channel();
    let server = serve(app, format!("unix:{}", path.display()))
        .on_bound(|address| bound.send(address.to_string()).unwrap())
        .shutdown_on(async { drop(stopped.await) });
    let task = tokio::spawn(server.into_future());
    assert_eq!(told.await.unwrap(), format!("unix:{}", path.display()));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "only its owner may connect");
    let mut socket = UnixStream::connect(&path).await.unwrap();
    socket
        .write_all(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes())
        .await
        .unwrap();
    assert!(read_all(&mut socket).await.ends_with("hello"));
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
    assert!(!path.exists());
    std::fs::remove_dir(&dir).unwrap();
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_named_in_the_error() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = serve(Router::new(), address).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}
