//! Appends that create their stream, and error messages that help a person who tries things out.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use futures_util::StreamExt as _;
use headwater::test::TestClient;
use headwater_hub::{Hub, Options};
use headwater_log::MemoryLog;
use http::Method;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{Server, header};

/// Sends an append that may create its stream.
async fn create(server: &Server, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let mut post = server
        .request(Method::POST, path)
        .header("stream-create", "true");
    for (name, value) in headers {
        post = post.header(name, value);
    }
    let response = post.body(body.to_owned()).send().await;
    let status = response.status().as_u16();
    let text = response.text().await;
    (status, serde_json::from_str(&text).unwrap_or_default())
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_post_to_a_missing_stream_explains_how_to_create_it() {
    for server in Server::of_each_kind() {
        let missing = server.post("a", "application/json", "1").await;
        assert_eq!(missing.status(), 404);
        assert!(missing.text().await.contains("`Stream-Create: true`"));
        assert_eq!(create(&server, "a", &[JSON], "[1,2]").await.0, 201);
        assert_eq!(create(&server, "a", &[JSON], "3").await.0, 204);
        let read = server.get("a").send().await;
        assert_eq!(header(&read, "content-type"), "application/json");
        assert_eq!(read.json::<Value>().await, json!([1, 2, 3]));
        // The stream has the body's type.
        let text = [("content-type", "text/plain")];
        assert_eq!(create(&server, "text", &text, "x").await.0, 201);
        let read = server.get("text").send().await;
        assert_eq!(header(&read, "content-type"), "text/plain");
        for (value, status) in [("false", 404), ("1", 400)] {
            let post = server
                .request(Method::POST, "b")
                .header("stream-create", value);
            let post = post.header("content-type", "text/plain");
            assert_eq!(post.body("x").send().await.status(), status, "{value}");
        }
    }
}

const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

#[tokio::test]
async fn lines_create_a_json_stream_once_the_first_one_is_there() {
    for server in Server::of_each_kind() {
        let (status, count) = create(&server, "a", &[LINES], "1\n2\n").await;
        assert_eq!((status, &count["appended"]), (201, &json!(2)));
        let read = server.get("a").send().await;
        assert_eq!(header(&read, "content-type"), "application/json");
        assert_eq!(read.json::<Value>().await, json!([1, 2]));
        let (status, count) = create(&server, "a", &[LINES], "3\n").await;
        assert_eq!((status, &count["appended"]), (200, &json!(1)));

        let schema = ("stream-schema", r#"{"type":"integer"}"#);
        let producer = ("producer-id", "p");
        let epoch = ("producer-epoch", "0");
        let seq = ("producer-seq", "0");
        let refused: [(&[_], _, _, _); 5] = [
            (&[LINES], "{\n1\n", 400, json!(1)),
            (&[LINES, schema], "\"x\"\n1\n", 422, json!(1)),
            (&[LINES, ("stream-ttl", "soon")], "1\n", 400, json!(1)),
            (&[LINES, producer, epoch, seq], "1\n", 400, Value::Null),
            (&[LINES], "\n\n", 400, Value::Null),
        ];
        for (headers, body, expected, line) in refused {
            let (status, problem) = create(&server, "b", headers, body).await;
            assert_eq!((status, &problem["line"]), (expected, &line), "{problem}");
            assert_eq!(server.get("b").send().await.status(), 404, "{body}");
        }
        let (status, problem) = create(&server, "b", &[LINES, schema], "1\n\"x\"\n").await;
        assert_eq!((status, &problem["appended"]), (422, &json!(1)));
        let read = server.get("b").send().await;
        assert_eq!(read.json::<Value>().await, json!([1]));

        let closed = [LINES, ("stream-closed", "true")];
        assert_eq!(create(&server, "c", &closed, "").await.0, 201);
        let read = server.get("c").send().await;
        assert_eq!(header(&read, "stream-closed"), "true");
    }
}

#[tokio::test]
async fn lines_that_create_their_stream_are_appended_as_they_arrive() {
    let app = Hub::new(Arc::new(MemoryLog::default())).app().into_router();
    let client = TestClient::new(app.clone());
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel::<&str>();
    let lines = futures_util::stream::poll_fn(move |cx| lines.poll_recv(cx));
    let lines = Body::from_stream(lines.map(Ok::<_, std::io::Error>));
    let post = http::Request::post("/streams/a").header("stream-create", "true");
    let post = post.header(LINES.0, LINES.1).body(lines);
    let post = tokio::spawn(app.oneshot(post.expect("it is valid")));
    sender.send("1\n").expect("it is read");
    while client.get("/streams/a").send().await.text().await != "[1]" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sender.send("2\n").expect("it is read");
    drop(sender);
    let response = post.await.expect("it ends").expect("it is infallible");
    assert_eq!(response.status(), 201);
    assert_eq!(client.get("/streams/a").send().await.text().await, "[1,2]");
}

#[tokio::test]
async fn an_append_that_creates_returns_the_streams_url() {
    let server = Server::new();
    let post = |seq: &str| {
        let post = server
            .request(Method::POST, "a")
            .header("stream-create", "true");
        let post = post.header("content-type", "text/plain");
        let post = post
            .header("producer-id", "p")
            .header("producer-epoch", "0");
        post.header("producer-seq", seq).body("x").send()
    };
    let created = post("0").await;
    assert_eq!(created.status(), 201);
    assert!(header(&created, "location").ends_with("/streams/a"));
    assert_eq!(header(&created, "producer-seq"), "0");
    assert!(created.headers().contains_key("stream-next-offset"));
    let appended = post("1").await;
    assert_eq!(appended.status(), 200);
    assert!(!appended.headers().contains_key("location"));
}

#[tokio::test]
async fn the_default_type_of_curl_is_refused_with_a_hint() {
    let server = Server::new();
    for form in [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-URLEncoded; charset=utf-8",
        "multipart/form-data; boundary=x",
    ] {
        let (status, problem) = create(&server, "a", &[("content-type", form)], "{}").await;
        assert_eq!(status, 415);
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("`Content-Type: application/json`"),
            "{detail}"
        );
    }
    assert_eq!(server.get("a").send().await.status(), 404);
    let put = server.request(Method::PUT, "a");
    let put = put.header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(
        put.send().await.status(),
        201,
        "as who names the type wants it"
    );
}

#[tokio::test]
async fn settings_only_apply_when_the_stream_is_created() {
    let server = Server::new();
    let schema = ("stream-schema", r#"{"type":"integer"}"#);
    let headers = [
        JSON,
        ("stream-ttl", "60"),
        ("stream-max-bytes", "1000"),
        schema,
    ];
    assert_eq!(create(&server, "a", &headers, "1").await.0, 201);
    let head = server.request(Method::HEAD, "a").send().await;
    assert_eq!(header(&head, "stream-ttl"), "60");
    assert_eq!(header(&head, "stream-max-bytes"), "1000");
    assert_eq!(create(&server, "a", &[JSON], "\"x\"").await.0, 422);
    assert_eq!(
        create(&server, "a", &[JSON, ("stream-ttl", "7")], "2")
            .await
            .0,
        204
    );
    let head = server.request(Method::HEAD, "a").send().await;
    assert_eq!(header(&head, "stream-ttl"), "60");
    // A producer's append, and one that closes, work as on an existing stream.
    let producer = [
        ("producer-id", "p"),
        ("producer-epoch", "0"),
        ("producer-seq", "0"),
    ];
    let all = [&producer[..], &[JSON, ("stream-closed", "true")]].concat();
    assert_eq!(create(&server, "b", &all, "1").await.0, 201);
    let read = server.get("b").send().await;
    assert_eq!(header(&read, "stream-closed"), "true");
    assert_eq!(read.json::<Value>().await, json!([1]));
}

#[tokio::test]
async fn an_append_that_is_refused_creates_no_stream() {
    let server = Server::new();
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, u16);
    let cases: &[Case<'_>] = &[
        (&[JSON], "{", 400),
        (&[JSON], "[]", 400),
        (&[JSON], "", 400),
        (&[], "x", 400),
        (&[JSON, ("stream-ttl", "x")], "1", 400),
        (
            &[JSON, ("stream-expires-at", "2001-01-01T00:00:00Z")],
            "1",
            400,
        ),
        (&[JSON, ("stream-forked-from", "b")], "1", 400),
        (&[JSON, ("stream-schema", r#"{"type":"string"}"#)], "1", 422),
        (&[JSON, ("producer-id", "p")], "1", 400),
    ];
    for (headers, body, status) in cases {
        assert_eq!(
            create(&server, "a", headers, body).await.0,
            *status,
            "{headers:?} {body}"
        );
        assert_eq!(
            server.get("a").send().await.status(),
            404,
            "{headers:?} {body}"
        );
    }
}

#[tokio::test]
async fn a_name_with_a_star_or_a_past_expiry_is_refused_at_a_put_too() {
    let server = Server::new();
    for (path, headers, part) in [
        ("a*", &[JSON][..], "has no `*`"),
        ("a/*/b", &[JSON], "has no `*`"),
        (
            "a",
            &[JSON, ("stream-expires-at", "2001-01-01T00:00:00Z")],
            "2001-01-01T00:00:00Z, which has passed",
        ),
    ] {
        for method in [Method::PUT, Method::POST] {
            let request = headers
                .iter()
                .chain(&[("stream-create", "true")])
                .fold(server.request(method, path), |request, (name, value)| {
                    request.header(name, value)
                });
            let response = request.body("1").send().await;
            assert_eq!(response.status(), 400, "{path}");
            let text = response.text().await;
            assert!(text.contains(part), "{text}");
        }
    }
    assert_eq!(server.log.usage().streams, 0);
}

#[tokio::test]
async fn a_stream_of_an_earlier_version_with_a_star_in_its_name_is_usable() {
    let server = Server::new();
    let create = headwater_log::Create::new(headwater_log::Settings::of_type("application/json"));
    let name = "a*".parse().expect("it is a name of the log");
    server.log.create(&name, create).await.expect("it is new");
    assert_eq!(server.put("a*", JSON.1, "").await.status(), 200);
    server.post_json("a*", "1").await;
    assert_eq!(server.get("a*").send().await.text().await, "[1]");
    server.delete("a*").await;
    assert_eq!(server.put("a*", JSON.1, "").await.status(), 400);
}

#[tokio::test]
async fn concurrent_appends_create_one_stream_and_all_succeed() {
    for server in Server::of_each_kind() {
        let posts = (0..50).map(|n| {
            let server = &server;
            async move { create(server, "a", &[JSON], &n.to_string()).await.0 }
        });
        let statuses = futures_util::future::join_all(posts).await;
        let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        assert_eq!((count(201), count(204)), (1, 49), "{statuses:?}");
        let mut all: Vec<u64> = server.get("a").send().await.json().await;
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_conflict_names_the_correct_header() {
    let server = Server::new();
    server.put_json("a", "").await;
    let detail = async |method, headers: &[(&str, &str)]| {
        let mut request = server.request(method, "a");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let response = request.body("1").send().await;
        assert_eq!(response.status(), 409);
        let text = response.text().await;
        assert!(text.ends_with("}\n"), "{text:?}");
        text
    };
    let form = [("content-type", "application/x-www-form-urlencoded")];
    for method in [Method::POST, Method::PUT] {
        let text = detail(method, &form).await;
        assert!(text.contains("`Content-Type: application/json`"), "{text}");
    }
    let text = detail(Method::PUT, &[JSON, ("stream-ttl", "60")]).await;
    assert!(text.contains("leave Stream-TTL"), "{text}");
    let text = detail(Method::PUT, &[JSON, ("stream-closed", "true")]).await;
    assert!(text.contains("leave Stream-Closed"), "{text}");
}

#[tokio::test]
async fn errors_for_unknown_paths_and_methods_list_the_known_ones() {
    let server = Server::new();
    let missing = server.client.get("/nothing").send().await;
    assert_eq!(missing.status(), 404);
    assert_eq!(header(&missing, "content-type"), "application/problem+json");
    let problem: Value = missing.json().await;
    assert_eq!(problem["docs"], "/docs");
    assert!(problem["detail"].as_str().unwrap().contains("/nothing"));
    let refused = server
        .client
        .request(Method::PATCH, "/streams/a")
        .send()
        .await;
    assert_eq!(refused.status(), 405);
    assert!(header(&refused, "allow").contains("PUT"));
    let problem: Value = refused.json().await;
    assert!(
        problem["allow"]
            .as_array()
            .unwrap()
            .contains(&json!("DELETE"))
    );
}

#[tokio::test]
async fn the_index_is_a_page_for_browsers_and_json_for_others_if_enabled() {
    let server = Server::new();
    assert_eq!(server.client.get("/").send().await.status(), 404);
    let server = Server::with(Options::new().index().root("/v1/stream"));
    let response = server.client.get("/").send().await;
    assert_eq!(header(&response, "vary"), "accept");
    let text = response.text().await;
    assert!(text.ends_with("}\n"), "{text:?}");
    let index: Value = serde_json::from_str(&text).unwrap();
    for (name, place) in index.as_object().unwrap() {
        let place = place.as_str().unwrap();
        if ["name", "version", "gather", "relay"].contains(&name.as_str()) {
            continue;
        }
        let query = if name == "events" {
            "?stream=**&live=false"
        } else {
            ""
        };
        let there = server.client.get(&format!("/{place}{query}")).send().await;
        assert!(there.status().is_success(), "{name}: {}", there.status());
    }
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = server.client.get("/").header("accept", browser);
    let page = page.header("host", "hub.example").send().await;
    assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
    assert!(header(&page, "content-security-policy").starts_with("default-src 'none'"));
    let page = page.text().await;
    assert!(
        page.contains("http://hub.example/v1/stream/hello"),
        "{page}"
    );
    assert!(page.contains("href=\"v1/stream\""), "{page}");
    // The list of streams is at the root there.
    let server = Server::with(Options::new().index().root("/"));
    let list = server.client.get("/").send().await;
    assert!(list.json::<Value>().await["streams"].is_array());
}

#[tokio::test]
async fn a_response_with_data_of_others_is_sandboxed_and_the_hubs_own_pages_are_not() {
    let server = Server::new();
    assert_eq!(create(&server, "a", &[JSON], "1").await.0, 201);
    for (path, start) in [
        ("/streams/a", "default-src 'none'; sandbox"),
        ("/streams/none", "default-src 'none'; sandbox"),
        ("/nowhere", "default-src 'none'; sandbox"),
        ("/openapi.json", "base-uri 'none'; object-src 'none'"),
        ("/openapi.json?version=1", "default-src 'none'; sandbox"),
        ("/docs", "default-src 'none'; script-src 'self'"),
    ] {
        let response = server.client.get(path).send().await;
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        let policy = header(&response, "content-security-policy");
        assert!(policy.starts_with(start), "{path}: {policy:?}");
    }
}

/// Ensures a fork of the stream `k`.
async fn fork(server: &Server, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let put = server.request(Method::PUT, path);
    let put = put.header("stream-forked-from", "/streams/k");
    let put = headers
        .iter()
        .fold(put, |put, (name, value)| put.header(name, value));
    let response = put.send().await;
    (response.status().as_u16(), response.text().await)
}

#[tokio::test]
async fn a_fork_is_confirmed_after_its_source_was_deleted() {
    for server in Server::of_each_kind() {
        server.put_json("k", "[1,2,3]").await;
        server.put_json("other", "[]").await;
        let second = server.at("k", 1);
        let forks: [(&str, &[_]); 4] = [
            ("start", &[("stream-fork-offset", "-1")]),
            ("tail", &[]),
            (
                "part",
                &[
                    ("stream-fork-offset", &second),
                    ("stream-fork-sub-offset", "1"),
                ],
            ),
            ("typed", &[JSON]),
        ];
        for (path, headers) in forks {
            assert_eq!(fork(&server, path, headers).await.0, 201, "{path}");
        }
        server.delete("k").await;
        for (path, headers) in forks {
            assert_eq!(
                fork(&server, path, headers).await,
                (200, String::new()),
                "{path}"
            );
        }
        for (path, headers) in [
            ("part", ("stream-fork-sub-offset", "2")),
            ("tail", ("stream-fork-offset", "-1")),
            ("typed", ("content-type", "text/plain")),
            ("typed", ("stream-ttl", "9")),
            ("other", JSON),
            ("new", JSON),
        ] {
            let (status, text) = fork(&server, path, &[headers]).await;
            assert_eq!(status, 409, "{path} {headers:?}");
            assert_eq!(text.contains("was deleted"), path == "new", "{text}");
        }
    }
}
