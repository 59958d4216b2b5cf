//! The listener that redirects to https.

use std::time::Duration;

use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::{CLOSE, Certificate, app, start};
use crate::serve::read_all;

#[tokio::test]
async fn the_second_listener_redirects_to_https() {
    let certificate = Certificate::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = listener.local_addr().unwrap();
    let server = start(app(), &certificate, |serve| {
        serve
            .redirect_http(listener)
            .header_read_timeout(Duration::from_millis(500))
    })
    .await;
    let ask = async |request: String| {
        let mut socket = tokio::net::TcpStream::connect(plain).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut socket).await
    };
    let answer = ask(format!("POST /a?b=c HTTP/1.1\r\n{CLOSE}")).await;
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    let port = server.address.port();
    let location = format!("location: https://localhost:{port}/a?b=c\r\n");
    assert!(answer.contains(&location), "{answer}");
    for (request, status) in [
        (
            "GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n",
            "421",
        ),
        (
            "GET / HTTP/1.1\r\nhost: a/b\r\nconnection: close\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.0\r\n\r\n", "400"),
    ] {
        let answer = ask(request.to_owned()).await;
        assert!(answer.starts_with("HTTP/1."), "{answer}");
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
    }
    assert_eq!(ask("GET /".to_owned()).await, "", "a slow head is cut");
    server.stop().await;
}

#[tokio::test]
async fn a_redirect_without_a_certificate_is_an_error() {
    let server = headwater::serve(app(), "127.0.0.1:0").redirect_http("127.0.0.1:0");
    let error = server.await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
}
