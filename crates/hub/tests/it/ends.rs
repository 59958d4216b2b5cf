//! Streams that were closed because of a failure.

use headwater::test::TestResponse;
use http::Method;
use serde_json::{Value, json};

use crate::{Server, header};

const TORN: &str = r#"{"title":"Bad Gateway","status":502,"detail":"torn after two"}"#;

async fn fail(server: &Server, path: &str, error: &str) -> TestResponse {
    let post = server.request(Method::POST, path);
    let post = post
        .header("stream-closed", "true")
        .header("stream-error", error);
    post.send().await
}

/// Creates a stream of two messages that has failed.
async fn failed(server: &Server) {
    server.put_json("a", "[1,2]").await;
    assert_eq!(fail(server, "a", TORN).await.status(), 204);
}

#[tokio::test]
async fn an_event_source_receives_the_close_reason_and_stops() {
    for server in Server::of_each_kind() {
        failed(&server).await;
        let mut events = server.events("a").stream::<Value>().await;
        assert_eq!(events.take(2).await, [json!(1), json!(2)]);
        let event = events.next_event().await.expect("the error event");
        assert!(event.is_error(), "{event:?}");
        assert_eq!((&*event.id, &*event.data), ("headwater:end", TORN));
        assert_eq!(events.cut().await, "the stream failed");
        let back = server.events("a").header("last-event-id", &event.id);
        assert_eq!(back.send().await.status(), 204);
    }
}

#[tokio::test]
async fn a_live_reader_receives_a_failure() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let mut events = server.events("a").stream::<Value>().await;
    let mut lines = server.lines("a").stream::<Value>().await;
    assert_eq!(events.next().await, Some(json!(1)));
    assert_eq!(lines.next().await, Some(json!(1)));
    assert_eq!(fail(&server, "a", TORN).await.status(), 204);
    let event = events.next_event().await.expect("the error event");
    assert!(event.is_error() && &*event.data == TORN, "{event:?}");
    assert_eq!(lines.cut().await, "the stream failed");
}

#[tokio::test]
async fn lines_of_a_failed_stream_break_off_even_if_they_stop_at_the_tail() {
    let server = Server::new();
    failed(&server).await;
    let end = format!("a?live=false&offset={}", server.at("a", 2));
    for path in ["a", "a?live=false", &end] {
        let mut lines = server.lines(path).stream::<Value>().await;
        let _ = lines.take(if path == end { 0 } else { 2 }).await;
        assert_eq!(lines.cut().await, "the stream failed", "{path}");
    }
}

#[tokio::test]
async fn the_protocols_own_reads_report_the_close_reason() {
    let server = Server::new();
    failed(&server).await;
    let end = format!("a?offset={}", server.at("a", 2));
    let polled = format!("{end}&live=long-poll");
    for path in ["a", "a?offset=now", &end, &polled] {
        let response = server.get(path).send().await;
        assert_eq!(header(&response, "stream-closed"), "true", "{path}");
        assert_eq!(header(&response, "stream-error"), TORN, "{path}");
    }
    let head = server.request(Method::HEAD, "a").send().await;
    assert_eq!(header(&head, "stream-error"), TORN);

    let body = server.get("a?offset=-1&live=sse").send().await.text().await;
    let last = body.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let control = last.lines().find_map(|line| line.strip_prefix("data:"));
    let control: Value = serde_json::from_str(control.expect("a control event")).unwrap();
    assert_eq!(control["streamClosed"], true, "{body}");
    assert_eq!(control["streamError"]["detail"], "torn after two");
    assert_eq!(body.matches("streamClosed").count(), 1, "{body}");
    assert!(last.contains("id: headwater:end"), "{body}");
}

#[tokio::test]
async fn a_regularly_closed_stream_has_no_reason() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    server.close("a").await;
    let response = server.get("a").send().await;
    assert_eq!(header(&response, "stream-closed"), "true");
    assert_eq!(header(&response, "stream-error"), "");
}

#[tokio::test]
async fn an_invalid_close_reason_is_refused_and_nothing_is_closed() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let long = format!(r#"{{"status":500,"detail":"{}"}}"#, "x".repeat(5000));
    for bad in ["", "torn", "[]", r#"{"status":1}"#, "%ff", &long] {
        assert_eq!(fail(&server, "a", bad).await.status(), 400, "{bad:?}");
    }
    let open = server.request(Method::POST, "a");
    let open = open.header("stream-error", TORN).body("[2]");
    let open = open.header("content-type", "application/json").send().await;
    assert_eq!(open.status(), 400);
    server.post_json("a", "2").await;
    assert_eq!(server.get("a").send().await.text().await, "[1,2]");
}

#[tokio::test]
async fn a_reason_that_is_not_ascii_is_percent_encoded() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let sent = r#"{"title":"Bad Gateway","status":502,"detail":"100%25 %C3%BC"}"#;
    assert_eq!(fail(&server, "a", sent).await.status(), 204);
    let response = server.get("a").send().await;
    assert_eq!(header(&response, "stream-error"), sent);
}

#[tokio::test]
async fn posted_lines_can_close_with_a_reason() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    let post = server.request(Method::POST, "a");
    let post = post
        .header("content-type", "application/x-ndjson")
        .header("stream-closed", "true")
        .header("stream-error", TORN);
    assert_eq!(post.body("1\n2\n").send().await.status(), 200);
    let response = server.get("a").send().await;
    assert_eq!(header(&response, "stream-error"), TORN);
    assert_eq!(response.text().await, "[1,2]");
}

#[tokio::test]
async fn a_closed_stream_is_closed_in_the_only_control_event_of_a_reader_at_its_tail() {
    for server in Server::of_each_kind() {
        failed(&server).await;
        server.put_json("b", "[1,2]").await;
        server.close("b").await;
        for path in ["a", "b"] {
            for offset in ["now".to_owned(), server.at(path, 2)] {
                // A second reader finds the tail of the first one.
                let read = || {
                    server
                        .get(&format!("{path}?offset={offset}&live=sse"))
                        .send()
                };
                let (one, other) = tokio::join!(read(), read());
                for response in [one, other] {
                    let body = response.text().await;
                    let events: Vec<_> = body.split_terminator("\n\n").collect();
                    assert_eq!(events.len(), 1, "{body}");
                    let control = events[0]
                        .lines()
                        .find_map(|line| line.strip_prefix("data:"));
                    let control = control.expect("a control event");
                    let control: Value = serde_json::from_str(control).unwrap();
                    assert_eq!(control["streamClosed"], true, "{body}");
                    assert_eq!(control["upToDate"], true, "{body}");
                    assert_eq!(control["streamNextOffset"], server.at(path, 2));
                    assert_eq!(control["streamError"].is_object(), path == "a", "{body}");
                }
            }
        }
    }
}
