//! Which host a request is for.

use axum::{Router, routing::get};
use headwater::test::TestClient;

use crate::serve::start_app;

fn app() -> Router {
    Router::new().route("/", get(async || "hello"))
}

#[tokio::test]
async fn a_request_without_exactly_one_valid_host_is_refused() {
    let server = start_app(app(), |serve| serve).await;
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
async fn the_targets_host_counts_and_http_1_0_may_have_none() {
    let server = start_app(app(), |serve| serve).await;
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
async fn a_host_that_is_none_is_refused_behind_the_layer_alone_too() {
    let client = TestClient::new(app());
    assert_eq!(client.get("/").send().await.status(), 200);
    let response = client.get("/").header("host", "a/b").send().await;
    assert_eq!(response.status(), 400);
}
