//! Calls that the hub makes for its clients.

mod upstream;

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use headwater::{Format, test::TestRequest};
use headwater_client::Egress;
use headwater_hub::{Hub, Limits, Options};
use headwater_log::MemoryLog;
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt;

use crate::{Server, header};
use upstream::Upstream;

const NDJSON: &str = "application/x-ndjson";
const PATIENCE: Duration = Duration::from_secs(10);

fn ask(server: &Server, query: &str, calls: &Value) -> TestRequest {
    server.client.post(&format!("/gather{query}")).json(calls)
}

/// Returns the results of calls, in their order.
async fn results(server: &Server, query: &str, calls: Value) -> Vec<Value> {
    let response = ask(server, query, &calls)
        .accept(Format::Ndjson)
        .send()
        .await;
    assert_eq!(response.status(), 200);
    lines(&response.text().await)
}

fn lines(text: &str) -> Vec<Value> {
    let line = |line| serde_json::from_str(line).expect("a line is JSON");
    let mut results: Vec<Value> = text.lines().map(line).collect();
    results.sort_by_key(|result| result["index"].as_u64());
    results
}

#[tokio::test]
async fn gather_is_off_until_upstreams_are_allowed() {
    let server = Server::new();
    let response = ask(&server, "", &json!([{"url": "http://127.0.0.1:9/"}]))
        .send()
        .await;
    assert_eq!(response.status(), 403);
    let problem = response.json::<Value>().await;
    let detail = problem["detail"].as_str().expect("it says why");
    assert!(
        detail.contains("--allow-upstream") && detail.contains("[upstream]"),
        "{detail}"
    );
}

#[tokio::test]
async fn an_unrequested_content_coding_is_an_error_that_names_it() {
    let upstream = Upstream::start().await;
    let server = upstream.hub();
    let calls = ["gzip", "br"].map(|coding| upstream.url(&format!("encoded/{coding}")));
    let results = results(&server, "", json!(calls)).await;
    for (result, coding) in results.iter().zip(["gzip", "br"]) {
        assert_eq!(result["error"]["type"], "content");
        let detail = result["error"]["detail"].as_str().expect("it says why");
        assert!(
            detail.contains(&format!("compressed ({coding})")),
            "{detail}"
        );
        assert_eq!(result.get("body"), None);
    }
}

#[tokio::test]
async fn a_hub_with_a_secret_makes_no_calls_without_it() {
    let upstream = Upstream::start().await;
    let egress = Egress::allow([upstream.url("")]).expect("it is a pattern");
    let server = Server::with(Options::new().upstreams(egress).relay_secret("the secret"));
    let calls = json!([upstream.url("echo")]);
    for query in ["", "?stream=results"] {
        let response = ask(&server, query, &calls).send().await;
        assert_eq!(response.status(), 401, "{query}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let bad = ask(&server, query, &calls).header("authorization", "Bearer another");
        assert_eq!(bad.send().await.status(), 401, "{query}");
    }
    assert_eq!(upstream.calls(), 0);
    let good = ask(&server, "", &calls).header("authorization", "Bearer the secret");
    let response = good.accept(Format::Ndjson).send().await;
    assert_eq!(response.status(), 200);
    let results = lines(&response.text().await);
    assert_eq!((results.len(), upstream.calls()), (1, 1), "{results:?}");
}

#[tokio::test]
async fn each_result_is_sent_as_soon_as_it_arrives_in_every_format() {
    let upstream = Upstream::start().await;
    let server = upstream.hub();
    let calls = json!([
        {"url": upstream.url("endless"), "key": "slow"},
        {"url": upstream.url("wait/1"), "key": "quick"},
    ]);
    for format in Format::ALL {
        let mut stream = ask(&server, "", &calls)
            .accept(format)
            .stream::<Value>()
            .await;
        let result = stream.next().await.expect("one comes");
        // As lines of text they are strings.
        let result = match &result {
            Value::String(text) => serde_json::from_str(text).expect("it is JSON"),
            _ => result,
        };
        assert_eq!(
            (&result["index"], &result["key"]),
            (&json!(1), &json!("quick"))
        );
        assert_eq!(
            (&result["status"], &result["body"]),
            (&json!(200), &json!({"waited": 1}))
        );
        stream.leave().await;
        upstream.wait_for(0).await;
    }
}

#[tokio::test]
async fn calls_are_made_while_the_list_still_arrives() {
    let upstream = Upstream::start().await;
    let egress = Egress::allow([upstream.url("")]).expect("it is a pattern");
    let hub = Hub::with_options(
        Arc::new(MemoryLog::default()),
        Options::new().upstreams(egress),
    );
    for (content_type, first, second) in [
        (
            NDJSON,
            format!("{}\n", upstream.url("wait/1")),
            upstream.url("wait/2"),
        ),
        (
            "application/json",
            format!("[{}", json!({"url": upstream.url("wait/1")})),
            format!(",{}]", json!({"url": upstream.url("wait/2")})),
        ),
    ] {
        let (sender, mut pieces) = mpsc::channel::<Bytes>(1);
        let pieces = futures_util::stream::poll_fn(move |cx| {
            let piece = pieces.poll_recv(cx);
            piece.map(|piece| piece.map(Ok::<_, Infallible>))
        });
        let post = Request::post("/gather").header("content-type", content_type);
        let post = post
            .body(Body::from_stream(pieces))
            .expect("it is a request");
        sender.send(first.into()).await.expect("it is read");
        let response = hub
            .app()
            .into_router()
            .oneshot(post)
            .await
            .expect("it answers");
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let mut next = async || {
            let frame = tokio::time::timeout(PATIENCE, body.frame())
                .await
                .expect("in time");
            let data = frame
                .expect("there is more")
                .expect("it is whole")
                .into_data();
            String::from_utf8(data.expect("it is data").into()).expect("it is text")
        };
        assert!(next().await.contains("\"waited\":1"));
        sender.send(second.into()).await.expect("it is read");
        drop(sender);
        assert!(next().await.contains("\"waited\":2"));
    }
}

#[tokio::test]
async fn one_failed_call_is_one_failed_result() {
    let upstream = Upstream::start().await;
    let server = upstream.hub();
    let calls = json!([
        {"url": upstream.url("echo"), "body": {"a": 1}, "key": "a"},
        {"url": upstream.url("status/500")},
        {"url": "no url"},
        {"ulr": "x"},
        {"url": upstream.url("echo"), "body": "text"},
    ]);
    let found = results(&server, "?retries=0", calls).await;
    assert_eq!(found.len(), 5);
    assert_eq!(
        (&found[0]["body"], &found[0]["key"]),
        (&json!({"a": 1}), &json!("a"))
    );
    assert_eq!(
        (&found[1]["status"], &found[1]["body"]),
        (&json!(500), &json!("because"))
    );
    assert_eq!(found[1]["error"]["type"], "status");
    assert_eq!(found[2]["error"]["type"], "call");
    let detail = found[3]["error"]["detail"].as_str().expect("it says why");
    assert!(
        detail.starts_with("the call can't be read: unknown field `ulr`"),
        "{detail}"
    );
    assert_eq!(found[4]["body"], "text");
}

#[tokio::test]
async fn forbidden_upstreams_are_not_called_and_no_secret_is_revealed() {
    let (upstream, secret) = (Upstream::start().await, Upstream::start().await);
    let server = upstream.hub();
    let port = secret.address.port();
    let calls = json!([
        {"url": secret.url("echo"), "headers": {"authorization": "Bearer hunter2"}},
        {"url": format!("http://2130706433:{port}/echo")},
        {"url": format!("http://localhost:{port}/echo")},
        {"url": format!("http://[::ffff:127.0.0.1]:{port}/echo")},
        {"url": format!("http://me:hunter2@{}/echo", upstream.address)},
        {"url": "http://169.254.169.254/latest/meta-data/"},
        {"url": "file:///etc/passwd"},
        {"url": upstream.url(&format!("to/{}", secret.url("echo")))},
    ]);
    let found = results(&server, "", calls).await;
    for result in &found {
        let kind = result["error"]["type"].as_str();
        assert!(matches!(kind, Some("refused" | "call")), "{result}");
        assert!(!result.to_string().contains("hunter2"), "{result}");
    }
    assert_eq!((found.len(), secret.calls(), upstream.calls()), (8, 0, 1));
}

#[tokio::test]
async fn end_to_end_headers_are_forwarded() {
    let upstream = Upstream::start().await;
    let server = upstream.hub();
    let headers = json!({
        "authorization": "Bearer x", "x-mine": ["1", "2"], "connection": "x-hop", "x-hop": "1",
        "proxy-authorization": "Basic eA==", "te": "trailers", "host": "elsewhere.test",
    });
    let calls = json!([{"url": upstream.url("echo"), "headers": headers, "body": 1}]);
    let found = results(&server, "?headers=true", calls).await;
    assert_eq!(found[0]["body"], "1");
    assert_eq!(found[0]["headers"]["content-length"], "1");
    let seen = upstream.seen.headers.lock().expect("no panic").remove(0);
    assert_eq!(seen["authorization"], "Bearer x");
    assert_eq!(seen.get_all("x-mine").iter().count(), 2);
    assert_eq!(seen["host"], upstream.address.to_string());
    for gone in ["x-hop", "proxy-authorization", "te", "connection"] {
        assert!(!seen.contains_key(gone), "{gone}");
    }
}

#[tokio::test]
async fn a_list_is_json_or_lines_and_nothing_else() {
    let upstream = Upstream::start().await;
    let server = upstream.hub();
    let post = async |content_type: &str, body: &'static str| {
        let post = server
            .client
            .post("/gather")
            .header("content-type", content_type);
        post.body(body).send().await
    };
    assert_eq!(
        post("application/x-www-form-urlencoded", "").await.status(),
        415
    );
    for (body, status) in [("", 400), ("{}", 400), ("[", 400), ("[]", 200)] {
        assert_eq!(
            post("application/json", body).await.status(),
            status,
            "{body}"
        );
    }
    assert_eq!(post("application/jsonl", "").await.text().await, "");
    assert_eq!(post("application/json", "[]").await.text().await, "");
}

#[tokio::test]
async fn a_list_that_breaks_off_leads_to_its_results_and_an_error() {
    let upstream = Upstream::start().await;
    let server = upstream.hub();
    let body = format!("[{},", json!({"url": upstream.url("wait/1")}));
    let post = server
        .client
        .post("/gather")
        .header("content-type", "application/json");
    let response = post
        .header("accept", "text/event-stream")
        .body(body)
        .send()
        .await;
    assert_eq!(response.status(), 200);
    let mut events = response.stream::<Value>().await;
    assert_eq!(events.next().await.expect("one comes")["body"]["waited"], 1);
    let error = events.next_event().await.expect("one comes");
    assert_eq!(&*error.event, "headwater:error");
    let problem: Value = serde_json::from_str(&error.data).expect("it is JSON");
    assert_eq!(problem["status"], 400, "{problem}");
    events.cut().await;
}

#[tokio::test]
async fn limits_hold_at_their_edge() {
    let upstream = Upstream::start().await;
    let mut limits = Limits::default();
    limits.gather_calls = 2;
    limits.gather_concurrency = 4;
    limits.gather_body_bytes = 10;
    let server = upstream.hub_with(limits);
    let call = |path| json!({"url": upstream.url(path)});
    let found = results(
        &server,
        "?concurrency=4&per_host=4",
        json!([call("bytes/10"), call("bytes/11")]),
    )
    .await;
    assert_eq!(found[0]["body"], "xxxxxxxxxx");
    assert_eq!(found[1]["error"]["type"], "too-large");
    let three = json!([call("wait/0"), call("wait/0"), call("wait/0")]);
    let stored = ask(&server, "?stream=a", &three).send().await;
    assert_eq!(stored.status(), 413);
    assert_eq!(stored.json::<Value>().await["limit"], 2);
    for (query, status) in [
        ("?concurrency=5", 400),
        ("?per_host=5", 400),
        ("?concurrency=0", 422),
        ("?retries=11", 422),
        ("?rate=0", 422),
        ("?timeout=-1", 422),
    ] {
        let response = ask(&server, query, &json!([])).send().await;
        assert_eq!(response.status(), status, "{query}");
    }
}

#[tokio::test]
async fn concurrent_gathers_are_limited() {
    let upstream = Upstream::start().await;
    let mut limits = Limits::default();
    limits.gathers = 1;
    let server = upstream.hub_with(limits);
    let calls = json!([{"url": upstream.url("endless")}, {"url": upstream.url("wait/0")}]);
    let mut first = ask(&server, "", &calls).stream::<Value>().await;
    assert!(first.next().await.is_some());
    let second = ask(&server, "", &json!([])).send().await;
    assert_eq!(second.status(), 429);
    assert_eq!(header(&second, "retry-after"), "1");
    first.leave().await;
    upstream.wait_for(0).await;
    assert_eq!(ask(&server, "", &json!([])).send().await.status(), 200);
}

#[tokio::test]
async fn results_are_stored_in_a_stream_without_watchers() {
    let upstream = Upstream::start().await;
    let server = upstream.hub();
    let calls = json!([
        {"url": upstream.url("wait/50"), "key": "a"},
        {"url": upstream.url("status/404"), "key": "b"},
    ]);
    let post = || {
        let post = ask(&server, "?stream=shop/tea%20time&ordered=true", &calls);
        post.header("host", "hub.test").send()
    };
    let response = post().await;
    assert_eq!(response.status(), 202);
    let url = "http://hub.test/streams/shop/tea%20time";
    assert_eq!(header(&response, "location"), url);
    let told = json!({"stream": "shop/tea time", "url": url});
    assert_eq!(response.json::<Value>().await, told);
    let mut lines = server.lines("shop/tea%20time").stream::<Value>().await;
    assert_eq!(lines.next().await.expect("one comes")["body"]["waited"], 50);
    assert_eq!(lines.next().await.expect("one comes")["status"], 404);
    assert_eq!(lines.next().await, None, "the stream is closed");
    // The repeated request makes no calls and has the same response.
    let again = post().await;
    assert_eq!(
        (again.status().as_u16(), header(&again, "location")),
        (202, url.to_owned())
    );
    assert_eq!(again.json::<Value>().await, told);
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test]
async fn a_foreign_stream_is_a_conflict() {
    let upstream = Upstream::start().await;
    let server = upstream.hub();
    let calls = json!([{"url": upstream.url("wait/0")}]);
    server.put("text", "text/plain", "").await;
    server.put_json("json", "[]").await;
    assert_eq!(
        ask(&server, "?stream=mine", &json!([]))
            .send()
            .await
            .status(),
        202
    );
    for (name, word) in [
        ("text", "text/plain"),
        ("json", "created for results"),
        ("mine", "other calls"),
    ] {
        let response = ask(&server, &format!("?stream={name}"), &calls)
            .send()
            .await;
        assert_eq!(response.status(), 409, "{name}");
        let problem = response.json::<Value>().await;
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|text| text.contains(word)),
            "{problem}"
        );
    }
    for (name, status) in [("__ds/x", 404), ("a//b", 400), ("", 422)] {
        let response = ask(&server, &format!("?stream={name}"), &calls)
            .send()
            .await;
        assert_eq!(response.status(), status, "{name}");
    }
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test]
async fn deleting_the_stream_cancels_the_remaining_calls() {
    let upstream = Upstream::start().await;
    let mut limits = Limits::default();
    limits.gathers = 1;
    let server = upstream.hub_with(limits);
    let calls = json!([{"url": upstream.url("endless")}]);
    assert_eq!(ask(&server, "?stream=a", &calls).send().await.status(), 202);
    upstream.wait_for(1).await;
    assert_eq!(ask(&server, "?stream=b", &calls).send().await.status(), 429);
    assert_eq!(
        ask(&server, "?stream=a", &calls).send().await.status(),
        202,
        "it joins"
    );
    server.delete("a").await;
    upstream.wait_for(0).await;
    let next = async {
        while ask(&server, "?stream=b", &json!([])).send().await.status() != 202 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, next)
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn the_stream_is_closed_with_a_reason_when_the_hub_stops() {
    let upstream = Upstream::start().await;
    let egress = Egress::allow([upstream.url("")]).expect("it is a pattern");
    let hub = Hub::with_options(
        Arc::new(MemoryLog::default()),
        Options::new().upstreams(egress),
    );
    let client = headwater::test::TestClient::new(hub.app());
    let calls = json!([{"url": upstream.url("endless")}]);
    let post = client.post("/gather?stream=a").json(&calls);
    assert_eq!(post.send().await.status(), 202);
    upstream.wait_for(1).await;
    hub.stop().await;
    let head = client.request(Method::HEAD, "/streams/a").send().await;
    assert_eq!(header(&head, "stream-closed"), "true");
    assert!(
        header(&head, "stream-error").contains("interrupted"),
        "{:?}",
        head.headers()
    );
    upstream.wait_for(0).await;
}
