//! The host that a request is for.

use axum::{Router, routing::get};
use headwater::{Hosts, test::TestClient};

use crate::serve::start_app;

fn app() -> Router {
    Router::new().route("/", get(async || "hello"))
}

#[tokio::test]
async fn a_request_without_exactly_one_valid_host_is_refused() {
    let server = start_app(app(), |serve| serve.hosts(Hosts::any())).await;
    for (hosts, is_fine) in [
        ("", false),
        ("host: a\r\n", true),
        ("host: a:8000\r\n", true),
        ("host: [::1]:8000\r\n", true),
        ("host: a\r\nhost: a\r\n", false),
        ("host: a\r\nHOST: b\r\n", false),
        ("host:\r\n", false),
        ("host: a b\r\n", false),
        ("host: a/b\r\n", false),
        ("host: user@a\r\n", false),
        ("host: a:port\r\n", false),
        ("host: a:70000\r\n", false),
        ("host: ::1\r\n", false),
        ("host: \u{fc}\r\n", false),
    ] {
        let request = format!("GET / HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let answer = server.ask(&request).await;
        let status = if is_fine {
            "HTTP/1.1 200"
        } else {
            "HTTP/1.1 400"
        };
        assert!(answer.starts_with(status), "{hosts:?}: {answer}");
        assert_eq!(
            answer.contains("application/problem+json"),
            !is_fine,
            "{hosts:?}: {answer}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_header_with_one_value_is_refused_if_it_is_repeated() {
    let client = TestClient::new(app());
    for (name, is_single) in [
        ("Content-Type", true),
        ("Last-Event-ID", true),
        ("Accept", false),
        ("X-Other", false),
    ] {
        let request = client
            .get("/")
            .header(name, "a/b")
            .append_header(name, "a/b");
        let response = request.send().await;
        assert_eq!(response.status() == 400, is_single, "{name}");
        if is_single {
            let problem = response.text().await;
            let told = format!("{name} is given twice");
            assert!(problem.contains(&told), "{problem}");
        }
    }
}

#[tokio::test]
async fn a_head_request_has_the_head_of_an_error() {
    let server = start_app(app(), |serve| serve).await;
    let head = async |method: &str, path: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = server.ask(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let lines = head.lines().filter(|line| !line.starts_with("date"));
        (lines.collect::<Vec<_>>().join("\n"), body.len())
    };
    let (get, length) = head("GET", "/nowhere").await;
    assert!(get.contains(&format!("content-length: {length}")), "{get}");
    assert_eq!(head("HEAD", "/nowhere").await, (get, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_transfer_coding_but_chunked_is_refused() {
    let server = start_app(app(), |serve| serve).await;
    for (coding, status) in [
        ("chunked", "405"),
        ("Chunked", "405"),
        ("gzip, chunked", "501"),
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: {coding}\r\n\r\n0\r\n\r\n"
        );
        let answer = server.ask(&request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{coding}: {answer}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn the_targets_host_is_used_and_http_1_0_may_omit_it() {
    let server = start_app(app(), |serve| serve.hosts(Hosts::any())).await;
    for (start, is_fine) in [
        ("GET / HTTP/1.0\r\n", true),
        ("GET / HTTP/1.0\r\nhost: a b\r\n", false),
        ("GET http://a/ HTTP/1.1\r\nhost: b\r\n", true),
        ("GET http://a/ HTTP/1.1\r\n", false),
        ("GET http://user@a/ HTTP/1.1\r\nhost: a\r\n", false),
        ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n", false),
    ] {
        let answer = server
            .ask(&format!("{start}connection: close\r\n\r\n"))
            .await;
        let status = if is_fine { " 200 " } else { " 400 " };
        assert!(answer[8..].starts_with(status), "{start:?}: {answer}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_invalid_host_is_refused_by_the_layer_without_a_server() {
    let client = TestClient::new(app());
    assert_eq!(client.get("/").send().await.status(), 200);
    let response = client.get("/").header("host", "a/b").send().await;
    assert_eq!(response.status(), 400);
}

/// Returns the status of a request for `host`.
async fn status(server: &crate::serve::Server, host: &str) -> u16 {
    let head = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let answer = server.ask(&head).await;
    answer[9..12].parse().expect("it is a status")
}

#[tokio::test]
async fn a_server_on_a_loopback_address_serves_only_loopback_hosts() {
    let server = start_app(app(), |serve| serve).await;
    for good in [
        "localhost",
        "LOCALHOST.:1",
        "a.localhost",
        "127.0.0.9:80",
        "[::1]",
    ] {
        assert_eq!(status(&server, good).await, 200, "{good}");
    }
    for bad in [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.com",
        "127.0.0.1.evil.com",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
    ] {
        assert_eq!(status(&server, bad).await, 421, "{bad}");
    }
    for bad in ["a@localhost", "localhost\r\nhost: localhost"] {
        assert_eq!(status(&server, bad).await, 400, "{bad}");
    }
    let head = "GET http://evil.example/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = server.ask(head).await;
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains("--allow-host evil.example`"), "{answer}");
    let answer = server.ask("GET / HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.contains(" 200 "),
        "no browser sends a request without a host: {answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn listed_hosts_are_served() {
    let hosts = Hosts::allow(["app.example"]).unwrap();
    let server = start_app(app(), |serve| serve.hosts(hosts)).await;
    for (host, expected) in [
        ("app.example:8443", 200),
        ("localhost", 200),
        ("b.example", 421),
    ] {
        assert_eq!(status(&server, host).await, expected, "{host}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_nested_layer_checks_its_hosts() {
    let checked = app().layer(headwater::layer().hosts(Hosts::loopback()));
    let client = TestClient::new(Router::new().nest("/in", checked));
    for (host, expected) in [("localhost:1", 200), ("evil.example", 421)] {
        let response = client.get("/in").header("host", host).send().await;
        assert_eq!(response.status(), expected, "{host}");
    }
}
