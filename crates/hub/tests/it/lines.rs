use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use headwater::test::TestClient;
use headwater_hub::{Hub, Limits, Options};
use headwater_log::{MemoryLog, MemoryOptions};
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt;

use crate::{Server, header};

const NDJSON: &str = "application/x-ndjson";

#[tokio::test]
async fn lines_continue_live_after_the_existing_messages() {
    let server = Server::new();
    server.put_json("a", "[1, {\"n\":\n2}]").await;
    let mut lines = server.lines("a").stream::<Value>().await;
    assert_eq!(lines.take(2).await, [json!(1), json!({"n": 2})]);
    server.post_json("a", "3").await;
    assert_eq!(lines.next().await, Some(json!(3)));
    server.close("a").await;
    assert_eq!(lines.next().await, None);
}

#[tokio::test]
async fn lines_stop_at_the_tail_on_request() {
    let server = Server::new();
    server.put_json("a", "[1,2]").await;
    assert_eq!(
        server.lines("a?live=false").send().await.text().await,
        "1\n2\n"
    );
    assert_eq!(
        server
            .lines("a?live=false&offset=now")
            .send()
            .await
            .text()
            .await,
        ""
    );
    let from = format!("a?live=false&offset={}", server.at("a", 1));
    assert_eq!(server.lines(&from).send().await.text().await, "2\n");
    server.put("t", "text/plain", "a\n\"b\"").await;
    assert_eq!(
        server.lines("t?live=false").send().await.text().await,
        "\"a\\n\\\"b\\\"\"\n"
    );
}

#[tokio::test]
async fn silent_lines_have_heartbeats_on_request() {
    let first = async |server: &Server, uri: &str, prefer: &str| {
        let request = server.client.get(uri).header("accept", NDJSON);
        let response = request.header("prefer", prefer).send().await;
        let mut body = std::pin::pin!(response.into_data_stream());
        let next = tokio::time::timeout(Duration::from_secs(20), body.next()).await;
        next.expect("a sign of life")
            .expect("it is open")
            .expect("it is whole")
    };
    let server = Server::new();
    server.put_json("a", "[]").await;
    for uri in ["/streams/a?offset=-1", "/events?stream=**"] {
        let join = if uri.contains('?') { '&' } else { '?' };
        assert_eq!(
            first(&server, &format!("{uri}{join}heartbeat=1"), "").await,
            "\n"
        );
        assert_eq!(first(&server, uri, "heartbeat=1").await, "\n");
    }
    let server = Server::with(Options::new().line_heartbeat(Duration::from_secs(1)));
    server.put_json("a", "[]").await;
    for uri in ["/streams/a?offset=-1", "/events?stream=**"] {
        assert_eq!(first(&server, uri, "").await, "\n");
    }
}

#[tokio::test]
async fn each_posted_line_is_a_message() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    let response = server.post("a", NDJSON, "1\n\n [2] \r\n{\"n\":3}").await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "stream-next-offset"), server.at("a", 3));
    assert_eq!(
        response.json::<Value>().await,
        json!({"appended": 3, "next_offset": server.at("a", 3)})
    );
    assert_eq!(
        server.get("a").send().await.text().await,
        "[1,[2],{\"n\":3}]"
    );
    let empty = server.post("a", NDJSON, "\n").await;
    assert_eq!(empty.json::<Value>().await["appended"], 0);
}

#[tokio::test]
async fn a_bad_line_is_reported_and_earlier_ones_are_kept() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    let response = server.post("a", NDJSON, "1\n\n2\n{oops}\n4\n").await;
    assert_eq!(response.status(), 400);
    let problem = response.json::<Value>().await;
    assert_eq!(problem["line"], 4);
    assert_eq!(problem["appended"], 2);
    assert_eq!(problem["next_offset"], json!(server.at("a", 2)));
    assert_eq!(server.get("a").send().await.text().await, "[1,2]");
}

#[tokio::test]
async fn a_line_longer_than_a_message_is_reported_and_earlier_ones_are_kept() {
    let mut settings = MemoryOptions::default();
    settings.limits.message_bytes = 10;
    let log = Arc::new(MemoryLog::new(settings));
    let client = TestClient::new(Hub::new(Arc::clone(&log) as _).app());
    let post = |content_type, body: &'static str| {
        let post = client.request(Method::POST, "/streams/a");
        post.header("content-type", content_type).body(body).send()
    };
    let put = client.request(Method::PUT, "/streams/a");
    let put = put.header("content-type", "application/json").send().await;
    assert_eq!(put.status(), 201);
    let response = post(NDJSON, "1\n\n1234567890\n12345678901\n4\n").await;
    assert_eq!(response.status(), 413);
    let problem = response.json::<Value>().await;
    assert_eq!(problem["line"], 4, "{problem}");
    assert_eq!(problem["appended"], 2, "{problem}");
    assert_eq!(
        problem["next_offset"],
        crate::at(&*log, "a", 2),
        "{problem}"
    );
    let first = post(NDJSON, "12345678901\n").await.json::<Value>().await;
    assert_eq!((&first["line"], &first["appended"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn lines_can_close_the_stream_and_a_closed_one_refuses_them() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    let post = server
        .request(Method::POST, "a")
        .header("content-type", NDJSON);
    let response = post
        .header("stream-closed", "true")
        .body("1\n2\n")
        .send()
        .await;
    assert_eq!(header(&response, "stream-closed"), "true");
    let late = server.post("a", NDJSON, "3\n").await;
    assert_eq!(late.status(), 409);
    assert_eq!(header(&late, "stream-closed"), "true");
    assert_eq!(late.json::<Value>().await["appended"], 0);
}

#[tokio::test]
async fn lines_are_refused_for_producers_and_other_streams() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    let post = server
        .request(Method::POST, "a")
        .header("content-type", NDJSON);
    let post = post
        .header("producer-id", "p")
        .header("producer-epoch", "0");
    assert_eq!(
        post.header("producer-seq", "0")
            .body("1\n")
            .send()
            .await
            .status(),
        400
    );
    server.put("t", "text/plain", "").await;
    assert_eq!(server.post("t", NDJSON, "1\n").await.status(), 409);
    server.put("n", NDJSON, "").await;
    assert_eq!(
        server.post("n", NDJSON, "1\n2\n").await.status(),
        204,
        "there it is a message"
    );
}

#[tokio::test]
async fn a_line_is_as_long_as_the_limit_and_no_longer() {
    let mut limits = Limits::default();
    limits.line_bytes = 10;
    let server = Server::with(Options::new().limits(limits));
    server.put_json("a", "[]").await;
    assert_eq!(
        server.post("a", NDJSON, "1234567890\n12").await.status(),
        200
    );
    let over = server.post("a", NDJSON, "1\n12345678901").await;
    assert_eq!(over.status(), 413);
    let problem = over.json::<Value>().await;
    assert_eq!(
        (&problem["line"], &problem["appended"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn a_line_is_appended_before_the_next_arrives() {
    let hub = Hub::new(Arc::new(MemoryLog::default()));
    let app = hub.app().into_router();
    let request = |method: Method, uri: &str, content_type: &str, body| {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", content_type);
        request.body(body).expect("it is a request")
    };
    let put = request(Method::PUT, "/streams/a", "application/json", Body::empty());
    assert_eq!(
        app.clone().oneshot(put).await.expect("it answers").status(),
        201
    );

    let (sender, mut pieces) = mpsc::channel::<Bytes>(1);
    let pieces = futures_util::stream::poll_fn(move |cx| {
        pieces
            .poll_recv(cx)
            .map(|piece| piece.map(Ok::<_, Infallible>))
    });
    let post = request(
        Method::POST,
        "/streams/a",
        NDJSON,
        Body::from_stream(pieces),
    );
    let posting = tokio::spawn(app.clone().oneshot(post));
    for (piece, expected) in [("1\n2", "[1]"), ("2\n", "[1,22]"), ("3\n4\n", "[1,22,3,4]")] {
        sender
            .send(Bytes::from_static(piece.as_bytes()))
            .await
            .expect("the body is read");
        let shown = async {
            loop {
                let get = request(Method::GET, "/streams/a", "", Body::empty());
                let response = app.clone().oneshot(get).await.expect("it answers");
                let body = axum::body::to_bytes(response.into_body(), 100)
                    .await
                    .expect("it is whole");
                if body == expected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), shown)
            .await
            .expect("it is appended");
    }
    drop(sender);
    let response = posting.await.expect("it ends").expect("it answers");
    assert_eq!(response.status(), 200);
}
