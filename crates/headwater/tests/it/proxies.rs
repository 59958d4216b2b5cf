//! Trusted proxies, as an app sees their clients.

use std::net::SocketAddr;

use axum::{Router, extract::ConnectInfo, routing::get};
use headwater::{RequestOrigin, TrustedProxies};
use tokio::io::AsyncWriteExt as _;

use crate::serve::{Server, read_all, start_app};

async fn seen(server: &Server, headers: &str) -> String {
    let request =
        format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    let answer = server.ask(&request).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

fn app() -> Router {
    let handler = async |peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
                         origin: RequestOrigin| {
        let peer = peer.map(|peer| peer.0.0.ip().to_string());
        let peer = peer.unwrap_or_else(|| "-".to_owned());
        format!(
            "{peer} {} {}",
            origin.scheme(),
            origin.host().unwrap_or("-")
        )
    };
    Router::new().route("/", get(handler))
}

const FORWARDED: [&str; 2] = [
    "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\nx-forwarded-host: hub.example\r\n",
    "forwarded: for=203.0.113.9;proto=https;host=hub.example\r\n",
];

#[tokio::test]
async fn only_trusted_proxies_report_their_clients() {
    let server = start_app(app(), |serve| serve).await;
    for headers in FORWARDED {
        assert_eq!(seen(&server, headers).await, "127.0.0.1 http localhost");
    }
    server.stop().await;
    let trusted = TrustedProxies::parse(["127.0.0.0/8"]).unwrap();
    let server = start_app(app(), |serve| serve.trusted_proxies(trusted)).await;
    for headers in FORWARDED {
        assert_eq!(
            seen(&server, headers).await,
            "203.0.113.9 https hub.example"
        );
    }
    assert_eq!(seen(&server, "").await, "127.0.0.1 http localhost");
    server.stop().await;
}

#[tokio::test]
async fn hosts_are_checked_by_host_and_not_by_what_a_proxy_reports() {
    let trusted = TrustedProxies::parse(["127.0.0.1"]).unwrap();
    let server = start_app(app(), |serve| serve.trusted_proxies(trusted)).await;
    let request = "GET / HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: localhost\r\nconnection: close\r\n\r\n";
    let answer = server.ask(request).await;
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn the_peers_of_a_unix_socket_are_trusted_by_their_own_word() {
    for (word, expected) in [
        ("unix", "203.0.113.9 https hub.example"),
        ("127.0.0.1", "- http localhost"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let stop = tokio_util::sync::CancellationToken::new();
        let (bound, is_bound) = tokio::sync::oneshot::channel();
        let server = headwater::serve(app(), format!("unix:{}", path.display()))
            .trusted_proxies(TrustedProxies::parse([word]).unwrap())
            .on_bound(move |_| {
                let _ = bound.send(());
            })
            .shutdown_on(stop.clone().cancelled_owned());
        let server = tokio::spawn(server.into_future());
        is_bound.await.unwrap();
        let mut socket = tokio::net::UnixStream::connect(&path).await.unwrap();
        let headers = FORWARDED[0];
        let request =
            format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = read_all(&mut socket).await;
        assert!(answer.ends_with(expected), "{word}: {answer}");
        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
