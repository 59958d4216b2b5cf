//! https, over loopback.

mod certificate;
mod client;
mod http2;
mod redirect;
mod reload;

use std::{convert::Infallible, io, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    http::StatusCode,
    routing::get,
};
use futures_util::{StreamExt, stream};
use headwater::{RequestOrigin, Serve, Streaming};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, sleep, timeout},
};

use self::{
    certificate::Certificate,
    client::{Client, TlsSocket, ask, http2, read_until},
};
use crate::{
    connections::{self, Dropped},
    serve::{Server, read_all, start_app},
};

const CLOSE: &str = "host: localhost\r\nconnection: close\r\n\r\n";
const LIMIT: Duration = Duration::from_secs(20);

async fn start(
    app: Router,
    certificate: &Certificate,
    configure: impl FnOnce(Serve) -> Serve,
) -> Server {
    let tls = certificate.tls();
    start_app(app, |serve| configure(serve.tls(tls))).await
}

fn app() -> Router {
    let origin = async |origin: RequestOrigin| {
        format!("{} {}", origin.scheme(), origin.host().unwrap_or("-"))
    };
    let count = async || {
        Streaming::new(stream::iter(1..=3_u64).then(async |n| {
            sleep(Duration::from_millis(50)).await;
            n
        }))
    };
    Router::new()
        .route("/", get(origin))
        .route("/count", get(count))
        .route(
            "/brief",
            get(async || {
                sleep(Duration::from_millis(100)).await;
                "done"
            }),
        )
        .route(
            "/broken",
            get(async || {
                Streaming::try_new(stream::iter([Ok(1), Err(io::Error::other("on purpose"))]))
            }),
        )
}

#[tokio::test]
async fn it_serves_both_versions_of_tls_and_of_http() {
    let certificate = Certificate::new();
    let server = start(app(), &certificate, |serve| serve).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for alpn in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
            let client = Client::new(&certificate).versions(&[version]).alpn(alpn);
            let mut socket = client.connect(&server).await.unwrap();
            let (_, session) = socket.get_ref();
            assert_eq!(session.protocol_version(), Some(version.version));
            let agreed = session.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(agreed.as_deref(), alpn.first().map(|name| name.as_bytes()));
            let port = server.address.port();
            if alpn.contains(&"h2") {
                let uri = format!("https://localhost:{port}/");
                let (status, body) = client::get(&mut http2(socket).await, &uri).await;
                assert_eq!(
                    (status, &*body),
                    (StatusCode::OK, &*format!("https localhost:{port}"))
                );
            } else {
                let answer = ask(&mut socket, &format!("GET / HTTP/1.1\r\n{CLOSE}"))
                    .await
                    .unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
                assert!(answer.ends_with("https localhost"), "{answer}");
            }
        }
    }
    let client = Client::new(&certificate).alpn(&["spdy/3"]);
    assert!(
        client.connect(&server).await.is_err(),
        "nothing is agreed on"
    );
    server.stop().await;
}

#[tokio::test]
async fn keys_of_all_kinds_and_forms_are_accepted() {
    for certificate in Certificate::of_all_kinds() {
        let server = start(app(), &certificate, |serve| serve).await;
        let mut socket = Client::new(&certificate).connect(&server).await.unwrap();
        let answer = ask(&mut socket, &format!("GET / HTTP/1.1\r\n{CLOSE}"))
            .await
            .unwrap();
        assert!(answer.ends_with("https localhost"), "{answer}");
        server.stop().await;
    }
}

#[tokio::test]
async fn event_streams_arrive_over_both_versions_of_http() {
    let certificate = Certificate::new();
    let server = start(app(), &certificate, |serve| serve).await;
    let mut socket = Client::new(&certificate).connect(&server).await.unwrap();
    let request = format!("GET /count?format=sse HTTP/1.1\r\n{CLOSE}");
    let answer = ask(&mut socket, &request).await.unwrap();
    for n in 1..=3 {
        assert!(answer.contains(&format!("data: {n}\n")), "{answer}");
    }
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
    let socket = Client::new(&certificate)
        .alpn(&["h2"])
        .connect(&server)
        .await
        .unwrap();
    let uri = "https://localhost/count?format=sse";
    let (status, body) = client::get(&mut http2(socket).await, uri).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        body.contains("data: 3\n") && body.contains("headwater:end"),
        "{body}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_cut_stream_ends_without_an_announcement_and_a_complete_one_with_it() {
    let certificate = Certificate::new();
    let server = start(app(), &certificate, |serve| serve).await;
    let client = Client::new(&certificate);
    let mut socket = client.connect(&server).await.unwrap();
    ask(&mut socket, &format!("GET /count HTTP/1.1\r\n{CLOSE}"))
        .await
        .unwrap();
    let mut socket = client.connect(&server).await.unwrap();
    let cut = ask(
        &mut socket,
        "GET /broken HTTP/1.1\r\nhost: localhost\r\n\r\n",
    )
    .await;
    let error = cut.unwrap_err();
    let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
    assert!(kinds.contains(&error.kind()), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn plain_http_is_answered_with_the_hint_that_the_port_speaks_https() {
    let certificate = Certificate::new();
    let server = start(app(), &certificate, |serve| serve).await;
    let answer = server.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("speaks https"), "{answer}");
    // Neither TLS nor HTTP.
    let mut socket = server.connect().await;
    socket.write_all(&[0; 100]).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(LIMIT, socket.read_to_end(&mut answer))
        .await
        .unwrap();
    assert!(answer.len() < 20, "at most an alert: {answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_slow_handshake_is_cut_and_counts_as_a_connection() {
    let certificate = Certificate::new();
    let server = start(app(), &certificate, |serve| {
        serve
            .max_connections(1)
            .header_read_timeout(Duration::from_millis(600))
    })
    .await;
    let start = Instant::now();
    for begin in [&[][..], &[22, 3, 1, 0, 200, 1]] {
        let mut slow = server.connect().await;
        slow.write_all(begin).await.unwrap();
        // It waits for the slow one's place.
        let mut socket = timeout(LIMIT, Client::new(&certificate).connect(&server)).await;
        let socket = socket.as_mut().unwrap().as_mut().unwrap();
        let answer = ask(socket, &format!("GET / HTTP/1.1\r\n{CLOSE}"))
            .await
            .unwrap();
        assert!(answer.ends_with("https localhost"), "{answer}");
        assert!(start.elapsed() >= Duration::from_millis(500));
        assert_eq!(read_all(&mut slow).await, "");
    }
    // The time for the first head includes that of the handshake.
    let mut socket = Client::new(&certificate).connect(&server).await.unwrap();
    let start = Instant::now();
    socket.write_all(b"GET / HT").await.unwrap();
    let mut end = Vec::new();
    let _ = timeout(LIMIT, socket.read_to_end(&mut end)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    server.stop().await;
}

#[tokio::test]
async fn a_disconnect_is_detected_during_a_silent_response() {
    let certificate = Certificate::new();
    for path in [
        "/silent?format=sse",
        "/silent?format=ndjson",
        "/waiting",
        "/text",
    ] {
        for is_announced in [false, true] {
            let dropped = Dropped::default();
            let server = start(connections::app(&dropped), &certificate, |serve| serve).await;
            let mut socket = Client::new(&certificate).connect(&server).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
            socket.write_all(request.as_bytes()).await.unwrap();
            if path == "/waiting" {
                sleep(Duration::from_millis(100)).await;
                if is_announced {
                    // Such a peer may still wait for the response.
                    continue;
                }
            } else {
                read_until(&mut socket, "\r\n\r\n").await;
            }
            sleep(Duration::from_millis(100)).await;
            if is_announced {
                socket.shutdown().await.unwrap();
            }
            drop(socket);
            dropped.within(Duration::from_secs(2)).await;
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_half_closed_client_receives_its_response() {
    let certificate = Certificate::new();
    let server = start(
        connections::app(&Dropped::default()),
        &certificate,
        |serve| serve,
    )
    .await;
    for (request, end) in [
        ("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", "hello"),
        (
            "POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n12345",
            "5",
        ),
        (
            "GET /count HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "2\r\n3\n\r\n0\r\n\r\n",
        ),
        (
            "POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n12GET / HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "hello",
        ),
    ] {
        let mut socket = Client::new(&certificate).connect(&server).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        // `close_notify`, then the end of TCP's data.
        socket.shutdown().await.unwrap();
        let answer = client::read_to_end(&mut socket).await.unwrap();
        assert!(
            answer.contains(" 200 OK\r\n") && answer.ends_with(end),
            "{answer}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_costs_bounded_memory() {
    let certificate = Certificate::new();
    let (taken, sent) = (
        std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)),
        64 * 1024,
    );
    let dropped = Dropped::default();
    let counter = std::sync::Arc::clone(&taken);
    let flood = get(async move || {
        let piece = Bytes::from(vec![b'x'; sent]);
        Body::from_stream(stream::repeat_with(move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            Ok::<_, Infallible>(piece.clone())
        }))
    });
    let app = connections::app(&dropped).route("/endless", flood);
    let server = start(app, &certificate, |serve| {
        serve.write_timeout(Duration::from_millis(700))
    })
    .await;
    for (path, request) in [("/flood", false), ("/endless", true)] {
        let mut socket = Client::new(&certificate).connect(&server).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let start = Instant::now();
        if request {
            sleep(Duration::from_millis(1500)).await;
            let held = taken.load(std::sync::atomic::Ordering::SeqCst) * sent;
            // Mostly both sockets' own buffers.
            assert!(held < 16 << 20, "{held} bytes were taken from the body");
        } else {
            dropped.within(Duration::from_secs(5)).await;
            assert!(start.elapsed() >= Duration::from_millis(600));
        }
        let end = timeout(LIMIT, socket.read_to_end(&mut Vec::new()))
            .await
            .unwrap();
        assert!(end.is_err(), "it is reset");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_slow_reader_is_not_disconnected() {
    let certificate = Certificate::new();
    let length = 6 << 20;
    let app = Router::new().route("/", get(async move || vec![b'x'; length]));
    let server = start(app, &certificate, |serve| {
        serve.write_timeout(Duration::from_millis(500))
    })
    .await;
    let mut socket = Client::new(&certificate).connect(&server).await.unwrap();
    socket
        .write_all(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes())
        .await
        .unwrap();
    let mut read = 0;
    let mut buf = vec![0; 256 * 1024];
    loop {
        match timeout(LIMIT, socket.read(&mut buf))
            .await
            .unwrap()
            .unwrap()
        {
            0 => break,
            more => read += more,
        }
        // It takes more than three times as long as the time limit.
        sleep(Duration::from_millis(12)).await;
    }
    assert!(read > length);
    server.stop().await;
}

#[tokio::test]
async fn a_shutdown_ends_connections_politely() {
    let certificate = Certificate::new();
    let server = start(app(), &certificate, |serve| serve).await;
    let client = Client::new(&certificate);
    let mut idle = client.connect(&server).await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    idle.write_all(request.as_bytes()).await.unwrap();
    read_until(&mut idle, "https localhost").await;
    let mut busy = client.connect(&server).await.unwrap();
    let request = "GET /brief HTTP/1.1\r\nhost: localhost\r\n\r\n";
    busy.write_all(request.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(30)).await;
    let stopped = tokio::spawn(server.stop());
    // Without `close_notify`, these would be errors.
    assert_eq!(client::read_to_end(&mut idle).await.unwrap(), "");
    assert!(
        client::read_to_end(&mut busy)
            .await
            .unwrap()
            .ends_with("done")
    );
    assert!(stopped.await.unwrap() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_idle_connection_is_closed_with_an_announcement() {
    let certificate = Certificate::new();
    let server = start(app(), &certificate, |serve| {
        serve.idle_timeout(Duration::from_millis(300))
    })
    .await;
    let mut socket = Client::new(&certificate).connect(&server).await.unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let answer = client::read_to_end(&mut socket).await.unwrap();
    assert!(answer.ends_with("https localhost"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn refusals_reach_their_clients() {
    let certificate = Certificate::new();
    let server = start(
        connections::app(&Dropped::default()),
        &certificate,
        |serve| serve,
    )
    .await;
    let client = Client::new(&certificate);
    let long = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n",
        "x".repeat(50_000)
    );
    for (request, status, text) in [
        (long.as_str(), "431", "32768 bytes"),
        (
            "GET /\u{1} HTTP/1.1\r\nhost: localhost\r\n\r\n",
            "400",
            "can't be read",
        ),
        (
            "GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
            "421",
            "evil.example",
        ),
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n", "400", "Host"),
    ] {
        let mut socket = client.connect(&server).await.unwrap();
        let answer = ask(&mut socket, request).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(text), "{answer}");
    }
    // This client reads the refusal only after it has sent everything.
    let mut socket: TlsSocket = client.connect(&server).await.unwrap();
    let head = "POST /forbidden HTTP/1.1\r\nhost: localhost\r\ncontent-length: 8388608\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&vec![b'x'; 8 << 20]).await.unwrap();
    let answer = client::read_to_end(&mut socket).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn the_bound_address_is_one_of_https() {
    let (tell, told) = tokio::sync::oneshot::channel();
    let server = headwater::serve(app(), "127.0.0.1:0")
        .tls(Certificate::new().tls())
        .shutdown_on(std::future::ready(()))
        .on_bound(|address| {
            let _ = tell.send(address.to_string());
        });
    server.await.unwrap();
    assert!(told.await.unwrap().starts_with("https://127.0.0.1:"));
}
