use std::time::Duration;

use headwater_hub::{Cors, Limits, Options};
use headwater_log::{Create, Settings};
use http::Method;
use serde_json::{Value, json};

use crate::{Server, header};

#[tokio::test]
async fn the_size_of_a_body_is_limited() {
    let mut limits = Limits::default();
    limits.body_bytes = 100;
    let server = Server::with(Options::new().limits(limits));
    assert_eq!(
        server
            .put("t", "text/plain", &"x".repeat(100))
            .await
            .status(),
        201
    );
    assert_eq!(
        server
            .post("t", "text/plain", &"x".repeat(100))
            .await
            .status(),
        204
    );
    let over = server.post("t", "text/plain", &"x".repeat(101)).await;
    assert_eq!(over.status(), 413);
    assert_eq!(over.json::<Value>().await["limit"], 100);
    assert_eq!(
        server
            .put("u", "text/plain", &"x".repeat(101))
            .await
            .status(),
        413
    );
}

#[tokio::test]
async fn the_length_of_a_path_is_limited() {
    let server = Server::new();
    let longest = "p".repeat(headwater_log::limits::NAME_BYTES);
    assert_eq!(server.put(&longest, "text/plain", "").await.status(), 201);
    let too_long = format!("{longest}p");
    let refused = server.put(&too_long, "text/plain", "").await;
    assert_eq!(refused.status(), 414);
    assert_eq!(refused.json::<Value>().await["limit"], 1024);
    // A name that isn't in the URL is a value like others.
    let fork = server.request(Method::PUT, "fork");
    let fork = fork.header("stream-forked-from", &format!("/streams/{too_long}"));
    let refused = fork.send().await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json::<Value>().await["limit"], 1024);
}

#[tokio::test]
async fn a_parameter_that_is_not_utf_8_is_refused() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    for query in ["cursor=%ff", "live=%C3", "format=%ff", "since=%ff"] {
        let refused = server.get(&format!("a?{query}")).send().await;
        assert_eq!(refused.status(), 400, "{query}");
        let problem = refused.json::<Value>().await;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("is not UTF-8"), "{query}: {problem}");
    }
    assert_eq!(server.get("a?other=%ff").send().await.status(), 200);
}

#[tokio::test]
async fn a_pattern_of_the_hubs_own_streams_is_refused() {
    let server = Server::new();
    for (pattern, status) in [
        ("__ds/**", 400),
        ("__ds", 400),
        ("__dsx/**", 200),
        ("**", 200),
    ] {
        let events = server
            .client
            .get(&format!("/events?stream={pattern}&live=false"));
        assert_eq!(events.send().await.status(), status, "{pattern}");
    }
    server.put_json("w", "").await;
    for (pattern, status) in [("__ds/**", 400), ("/__ds/x", 400), ("__dsx/**", 201)] {
        let put = server.request(Method::PUT, "__ds/subscriptions/s");
        let body = json!({ "type": "pull-wake", "pattern": pattern, "wake_stream": "w" });
        let response = put.json(&body).send().await;
        assert_eq!(response.status(), status, "{pattern}");
    }
}

#[tokio::test]
async fn a_header_with_one_value_is_refused_if_it_is_repeated() {
    let server = Server::new();
    server.put("t", "text/plain", "").await;
    for (method, path, name, values) in [
        (Method::PUT, "u", "Stream-TTL", ["5", "500000"]),
        (Method::PUT, "u", "Stream-Closed", ["true", "false"]),
        (Method::PUT, "u", "Stream-Schema", ["{}", "true"]),
        (Method::PUT, "u", "Content-Type", ["text/plain", "text/css"]),
        (Method::POST, "t", "Producer-Id", ["a", "b"]),
        (Method::POST, "t", "Stream-Seq", ["a", "b"]),
        (Method::POST, "t", "Stream-Create", ["true", "false"]),
        (Method::HEAD, "t", "Producer-Id", ["a", "b"]),
        (Method::GET, "t", "Last-Event-ID", ["a", "b"]),
    ] {
        let is_head = method == Method::HEAD;
        let [first, second] = values;
        let request = server
            .request(method, path)
            .header(name, first)
            .append_header(name, second);
        let response = request.body("x").send().await;
        assert_eq!(response.status(), 400, "{name}");
        if !is_head {
            let detail = response.json::<Value>().await["detail"].clone();
            assert_eq!(detail, format!("{name} is given twice"));
        }
    }
    assert_eq!(server.get("u").send().await.status(), 404);
    assert_eq!(server.get("t").send().await.text().await, "");
}

#[tokio::test]
async fn a_content_type_that_is_no_media_type_is_refused() {
    let server = Server::new();
    for (bad, good) in [("foo", "foo/bar"), ("text/plain; x", "text/plain; x=y")] {
        let refused = server.put("t", bad, "").await;
        assert_eq!(refused.status(), 400, "{bad}");
        assert!(
            refused
                .text()
                .await
                .contains("Content-Type is a media type")
        );
        assert_eq!(server.put("t", good, "").await.status(), 201);
        server.delete("t").await;
    }
}

#[tokio::test]
async fn the_number_of_segments_of_a_path_and_of_a_pattern_is_limited() {
    let server = Server::new();
    let longest = vec!["p"; headwater_hub::limits::PATH_SEGMENTS].join("/");
    assert_eq!(server.put(&longest, "text/plain", "").await.status(), 201);
    let refused = server.put(&format!("{longest}/p"), "text/plain", "").await;
    assert_eq!(refused.status(), 400);
    let problem = refused.json::<Value>().await;
    assert_eq!(problem["limit"], 128);
    assert_eq!(
        problem["detail"],
        "a stream's path has at most 128 segments, and this one has 129"
    );
}

#[tokio::test]
async fn existing_streams_with_more_segments_are_read_appended_to_and_deleted() {
    let server = Server::new();
    let longer = vec!["p"; headwater_hub::limits::PATH_SEGMENTS + 1].join("/");
    let name = headwater_log::StreamName::new(&longer).unwrap();
    let create = Create::new(Settings::of_type("text/plain"));
    server.log.create(&name, create).await.unwrap();
    server.post(&longer, "text/plain", "x").await;
    assert_eq!(server.get(&longer).send().await.text().await, "x");
    assert_eq!(server.put(&longer, "text/plain", "").await.status(), 200);
    server.delete(&longer).await;
}

#[tokio::test]
async fn the_number_of_live_readers_is_limited() {
    let mut limits = Limits::default();
    limits.subscribers = 2;
    let server = Server::with(
        Options::new()
            .limits(limits)
            .long_poll(Duration::from_millis(50)),
    );
    server.put_json("a", "[1]").await;
    let first = server.events("a").stream::<u64>().await;
    let second = server.lines("a").stream::<u64>().await;
    let third = server.events("a").send().await;
    assert_eq!(third.status(), 429);
    assert_eq!(header(&third, "retry-after"), "1");
    assert_eq!(third.json::<Value>().await["limit"], 2);
    let poll = "a?offset=now&live=long-poll";
    assert_eq!(server.get(poll).send().await.status(), 429);
    assert_eq!(
        server.get("a").send().await.status(),
        200,
        "others are not kept out"
    );
    first.leave().await;
    assert_eq!(server.get(poll).send().await.status(), 204);
    second.leave().await;
}

#[tokio::test]
async fn an_offset_past_the_tail_is_refused_with_the_tail() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    for mode in ["", "&live=sse", "&live=long-poll"] {
        let response = server
            .get(&format!("a?offset={}{mode}", server.at("a", 2)))
            .send()
            .await;
        assert_eq!(response.status(), 400, "{mode:?}");
        assert_eq!(
            response.json::<Value>().await["tail"],
            json!(server.at("a", 1))
        );
    }
}

#[tokio::test]
async fn invalid_stream_paths_are_refused() {
    let server = Server::new();
    assert_eq!(server.put("__ds/x", "text/plain", "").await.status(), 404);
    assert_eq!(server.put("a//b", "text/plain", "").await.status(), 400);
    assert_eq!(
        server.put("a/%2e%2e/b", "text/plain", "").await.status(),
        400
    );
    assert_eq!(server.put("a%00", "text/plain", "").await.status(), 400);
    assert_eq!(server.put("a%FF", "text/plain", "").await.status(), 400);
}

#[tokio::test]
async fn pages_of_other_origins_are_allowed_by_the_options() {
    let allowed = async |cors: Cors, origin: &str| {
        let server = Server::with(Options::new().cors(cors));
        let response = server.put("a", "text/plain", "").await;
        assert!(response.headers().contains_key("x-content-type-options"));
        let response = server.get("a").header("origin", origin).send().await;
        header(&response, "access-control-allow-origin")
    };
    let only = || Cors::Only(vec!["https://a.example".to_owned()]);
    assert_eq!(allowed(Cors::Any, "https://b.example").await, "*");
    assert_eq!(
        allowed(only(), "https://a.example").await,
        "https://a.example"
    );
    assert_eq!(allowed(only(), "https://b.example").await, "");
    assert_eq!(allowed(Cors::Off, "https://a.example").await, "");
    let here = "http://localhost:5173";
    assert_eq!(allowed(Cors::Loopback, here).await, here);
    assert_eq!(allowed(Cors::Loopback, "https://b.example").await, "");
    assert_eq!(allowed(Cors::default(), "null").await, "");
}

#[tokio::test]
async fn pages_may_embed_only_what_they_may_read() {
    let embedders = async |cors: Cors, host: &str| {
        let server = Server::with(Options::new().cors(cors));
        let response = server.get("a").header("host", host).send().await;
        header(&response, "cross-origin-resource-policy")
    };
    assert_eq!(embedders(Cors::Any, "hub.example").await, "cross-origin");
    assert_eq!(
        embedders(Cors::Loopback, "localhost:8000").await,
        "same-site"
    );
    assert_eq!(
        embedders(Cors::Loopback, "hub.example").await,
        "same-origin"
    );
    assert_eq!(embedders(Cors::Off, "localhost:8000").await, "same-origin");
}

#[tokio::test]
async fn a_stream_in_use_does_not_expire_and_an_idle_one_does() {
    let server = Server::new();
    let put = server.request(Method::PUT, "a").header("stream-ttl", "10");
    put.header("content-type", "application/json").send().await;
    for _ in 0..3 {
        server.clock.advance(Duration::from_secs(9));
        assert_eq!(server.get("a").send().await.status(), 200);
    }
    server.clock.advance(Duration::from_secs(9));
    assert_eq!(server.request(Method::HEAD, "a").send().await.status(), 200);
    server.clock.advance(Duration::from_secs(2));
    assert_eq!(
        server.get("a").send().await.status(),
        404,
        "to look is no use"
    );
}

#[tokio::test]
async fn a_closed_log_is_reported() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let mut events = server.events("a").stream::<u64>().await;
    assert_eq!(events.next().await, Some(1));
    headwater_log::Log::close(&*server.log)
        .await
        .expect("it closes");
    assert_eq!(server.get("a").send().await.status(), 503);
    events.cut().await;
}

#[tokio::test]
async fn the_longest_time_to_live_is_accepted() {
    let server = Server::new();
    let put = |path, ttl| {
        let put = server.request(Method::PUT, path).header("stream-ttl", ttl);
        put.header("content-type", "application/json").send()
    };
    assert_eq!(put("a", "9007199254740").await.status(), 201);
    assert_eq!(put("a", "9007199254740").await.status(), 200);
    assert_eq!(put("b", "9007199254741").await.status(), 400);
    let mut events = server.events("a").stream::<u64>().await;
    server.post_json("a", "1").await;
    assert_eq!(events.next().await, Some(1));
}

#[tokio::test]
async fn content_of_another_charset_or_boundary_is_refused() {
    const LATIN: &str = "text/plain; charset=iso-8859-1";
    for server in Server::of_each_kind() {
        for (own, others, equals) in [
            (
                "text/plain",
                [LATIN, "text/plain; charset=utf-16"],
                ["text/plain;charset=UTF-8", "Text/Plain; charset=\"utf8\""],
            ),
            (
                LATIN,
                ["text/plain", "text/plain; charset=utf-8"],
                ["text/plain;Charset=ISO-8859-1", LATIN],
            ),
            (
                "multipart/mixed; boundary=AbC",
                ["multipart/mixed; boundary=abc", "multipart/mixed"],
                [
                    "multipart/mixed;boundary=\"AbC\"",
                    "multipart/mixed; Boundary=AbC",
                ],
            ),
        ] {
            assert_eq!(server.put("t", own, "").await.status(), 201);
            for other in others {
                assert_eq!(
                    server.post("t", other, "x").await.status(),
                    409,
                    "{own} {other}"
                );
                assert_eq!(
                    server.put("t", other, "").await.status(),
                    409,
                    "{own} {other}"
                );
                let long = "x".repeat(100_000);
                assert_eq!(
                    server.post("t", other, &long).await.status(),
                    409,
                    "{own} {other}"
                );
                let fork = server
                    .request(Method::PUT, "fork")
                    .header("content-type", other);
                let fork = fork.header("stream-forked-from", "/streams/t").send().await;
                assert_eq!(fork.status(), 409, "{own} {other}");
            }
            for equal in equals {
                assert_eq!(
                    server.post("t", equal, "x").await.status(),
                    204,
                    "{own} {equal}"
                );
                assert_eq!(
                    server.put("t", equal, "").await.status(),
                    200,
                    "{own} {equal}"
                );
            }
            server.delete("t").await;
        }
    }
}

#[tokio::test]
async fn a_percent_sign_without_two_digits_is_refused_wherever_it_would_be_decoded() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    for (method, path) in [
        (Method::PUT, "/streams/zz%zz"),
        (Method::GET, "/streams/a%"),
        (Method::DELETE, "/streams/a%2"),
        (Method::GET, "/streams/a?offset=%zz"),
        (Method::GET, "/streams?prefix=100%"),
        (Method::GET, "/events?streams=%g0"),
        (Method::GET, "/events?lastEventId=%"),
        (Method::GET, "/streams/__ds/subscriptions/%zz"),
        (Method::GET, "/relay/%zz"),
        (Method::GET, "/nothing%zz"),
    ] {
        let response = server.client.request(method, path).send().await;
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(
            header(&response, "content-type"),
            "application/problem+json"
        );
        let detail = response.json::<Value>().await["detail"].clone();
        let detail = detail.as_str().unwrap_or_default();
        assert!(
            detail.contains("two hexadecimal digits"),
            "{path}: {detail}"
        );
    }
    let fork = server
        .request(Method::PUT, "b")
        .header("stream-forked-from", "/streams/a%zz");
    assert_eq!(fork.send().await.status(), 400);
    assert_eq!(server.put("zz%25zz", "text/plain", "").await.status(), 201);
}

#[tokio::test]
async fn head_is_cached_as_get_is_except_that_of_a_stream() {
    let server = Server::with(Options::new().index());
    server.put_json("a", "[1]").await;
    let cached = async |method, path: &str| {
        let response = server.client.request(method, path).send().await;
        assert_eq!(response.status(), 200, "{path}");
        header(&response, "cache-control")
    };
    for path in [
        "/",
        "/docs",
        "/openapi.json",
        "/streams",
        "/healthz",
        "/streams/__ds/jwks.json",
    ] {
        if path.ends_with("jwks.json") && !cfg!(feature = "webhooks") {
            continue;
        }
        let get = cached(Method::GET, path).await;
        assert_eq!(cached(Method::HEAD, path).await, get, "{path}");
    }
    assert_eq!(cached(Method::HEAD, "/streams/a").await, "no-store");
    assert_ne!(cached(Method::GET, "/streams/a").await, "no-store");
}
