//! §4.1 creating, §5 headers, §6 the allowlist, §8.1 timeouts, §10 CORS, §11 refusals.

use axum::response::Response;

use super::*;

#[tokio::test]
async fn a_relay_is_created_before_its_response_is_complete_and_read_by_its_url() {
    let (upstream, sender) = Upstream::streaming("text/event-stream; charset=utf-8").await;
    let server = server();
    let post = server.relay("", "POST", &format!("{}/v1/chat?x=1", upstream.url));
    let post = post
        .header("content-type", "application/json")
        .body("{\"stream\":true}");
    let response = post.send().await;
    assert_eq!(response.status(), 201);
    assert_eq!(
        header(&response, "upstream-content-type"),
        "text/event-stream; charset=utf-8"
    );
    assert_eq!(header(&response, "cache-control"), "no-store");
    let path = location(&response);
    assert!(
        path.contains("expires=") && path.contains("&signature="),
        "{path}"
    );
    assert_eq!(response.text().await, "");

    let call = upstream.calls().pop().expect("it was called");
    assert_eq!(
        (call.method, call.path.as_str()),
        (Method::POST, "/v1/chat?x=1")
    );
    assert_eq!(call.body, "{\"stream\":true}");
    assert_eq!(call.headers["content-type"], "application/json");

    sender.send(Ok("data: 1\n\nda")).unwrap();
    server.comes_to(&path, "data: 1\n\n").await;
    sender.send(Ok("ta: 2\n\n")).unwrap();
    drop(sender);
    assert_eq!(server.ended(&path).await, None);
    assert_eq!(server.text_of(&path).await, "data: 1\n\ndata: 2\n\n");
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn supported_methods_are_used_and_others_are_refused() {
    let upstream = Upstream::saying("text/plain", "ok").await;
    let server = server();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        assert_eq!(
            server
                .relay("", method, &upstream.url)
                .send()
                .await
                .status(),
            201
        );
        assert_eq!(upstream.calls().pop().unwrap().method.as_str(), method);
    }
    for method in [
        "HEAD", "OPTIONS", "CONNECT", "TRACE", "", "X", "get", "gEt", "Delete",
    ] {
        let response = server.relay("", method, &upstream.url).send().await;
        refused(response, 400, "INVALID_UPSTREAM_METHOD").await;
    }
    assert_eq!(upstream.calls().len(), 5);
}

#[tokio::test]
async fn missing_headers_are_reported_in_the_protocols_order() {
    let server = server();
    let post = || server.client.request(Method::POST, "/relay");
    refused(post().send().await, 400, "MISSING_UPSTREAM_URL").await;
    let post = post().header("upstream-url", "nothing that is allowed");
    refused(post.send().await, 400, "MISSING_UPSTREAM_METHOD").await;
    let response = server
        .relay("", "BREW", "http://elsewhere.example")
        .send()
        .await;
    refused(response, 400, "INVALID_UPSTREAM_METHOD").await;
    let response = server
        .relay("", "GET", "http://elsewhere.example")
        .send()
        .await;
    refused(response, 403, "UPSTREAM_NOT_ALLOWED").await;
}

#[tokio::test]
async fn headers_are_forwarded_except_those_for_the_connection_and_the_hub() {
    let upstream = Upstream::saying("text/plain", "ok").await;
    let server = server();
    let mut post = server.relay("", "POST", &upstream.url);
    for (name, value) in [
        ("authorization", "Bearer the-hub's"),
        ("upstream-authorization", "Bearer the-upstream's"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("proxy-authorization", "Basic x"),
        ("te", "trailers"),
        ("trailers", "x"),
        ("upgrade", "h2c"),
        ("x-end-to-end", "1"),
        ("accept", "text/event-stream"),
        ("cookie", "hub=1"),
        ("upstream-cookie", "a=b"),
    ] {
        post = post.header(name, value);
    }
    assert_eq!(post.body("body").send().await.status(), 201);
    let call = upstream.calls().pop().unwrap();
    assert_eq!(call.headers["authorization"], "Bearer the-upstream's");
    assert_eq!(
        format!("http://{}", call.headers["host"].to_str().unwrap()),
        upstream.url
    );
    assert_eq!(call.headers["cookie"], "a=b");
    for kept in ["x-end-to-end", "accept"] {
        assert!(call.headers.contains_key(kept), "{kept}");
    }
    for gone in [
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailers",
        "upgrade",
        "upstream-url",
        "upstream-method",
        "upstream-authorization",
        "transfer-encoding",
    ] {
        assert!(!call.headers.contains_key(gone), "{gone}");
    }
    assert_eq!(call.headers["accept-encoding"], "identity");
    // Without credentials of its own, the upstream receives none.
    let post = server
        .relay("", "GET", &upstream.url)
        .header("authorization", "Bearer x");
    assert_eq!(post.send().await.status(), 201);
    assert!(
        !upstream
            .calls()
            .pop()
            .unwrap()
            .headers
            .contains_key("authorization")
    );
}

#[tokio::test]
async fn only_listed_upstreams_are_called() {
    let upstream = Upstream::saying("text/plain", "ok").await;
    let nothing = Server::with(Options::new());
    let response = nothing.relay("", "GET", &upstream.url).send().await;
    refused(response, 403, "UPSTREAM_NOT_ALLOWED").await;

    let server = server();
    for url in [
        "https://127.0.0.1/",
        "ftp://127.0.0.1/",
        "http://[::1]/",
        "http://10.0.0.1/",
        "http://user:hunter2@127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
    ] {
        let response = server.relay("", "GET", url).send().await;
        let body = refused(response, 403, "UPSTREAM_NOT_ALLOWED").await;
        assert!(!body.to_string().contains("hunter2"), "{body}");
    }
    for url in ["/relative", "", "not a url", "https://", "foo"] {
        let response = server.relay("", "GET", url).send().await;
        refused(response, 400, "INVALID_UPSTREAM_URL").await;
    }
    assert_eq!(upstream.calls().len(), 0);
}

#[tokio::test]
async fn a_host_that_resolves_to_a_disallowed_address_is_refused() {
    let upstream = Upstream::saying("text/plain", "ok").await;
    let port = upstream.url.rsplit(':').next().unwrap().to_owned();
    let egress = Egress::allow(["http://*:*"]).unwrap().with_lookup({
        let port: u16 = port.parse().unwrap();
        move |_| async move { Ok(vec![([127, 0, 0, 1], port).into()]) }
    });
    let server = Server::with(Options::new().upstreams(egress));
    let url = format!("http://rebound.example:{port}/");
    let response = server.relay("", "GET", &url).send().await;
    refused(response, 403, "UPSTREAM_NOT_ALLOWED").await;
    assert_eq!(upstream.calls().len(), 0);
}

#[tokio::test]
async fn no_redirect_is_followed_even_to_an_allowed_url() {
    let upstream = Upstream::new(|call| match call.path.as_str() {
        "/" => Response::builder()
            .status(302)
            .header("location", "/allowed")
            .body(axum::body::Body::empty())
            .unwrap(),
        _ => reply(200, "text/plain", "followed"),
    });
    let (upstream, server) = (upstream.await, server());
    let response = server.relay("", "GET", &upstream.url).send().await;
    assert_eq!(header(&response, "upstream-status"), "302");
    refused(response, 400, "REDIRECT_NOT_ALLOWED").await;
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn the_upstreams_error_response_is_forwarded_and_truncated() {
    let long: &'static str = String::leak("x".repeat(200_000));
    let upstream = Upstream::new(move |call| match call.path.as_str() {
        "/429" => {
            let mut response = reply(429, "application/json", "{\"slow\":\"down\"}");
            response.headers_mut().insert("retry-after", 7.into());
            response
        }
        "/500" => reply(500, "text/plain", long),
        _ => reply(404, "text/plain", ""),
    });
    let (upstream, server) = (upstream.await, server());
    let at = |path: &str| server.relay("?key=k", "POST", &format!("{}{path}", upstream.url));
    let response = at("/429").send().await;
    assert_eq!(response.status(), 502);
    assert_eq!(header(&response, "upstream-status"), "429");
    assert_eq!(header(&response, "content-type"), "application/json");
    assert_eq!(header(&response, "retry-after"), "7");
    assert_eq!(response.text().await, "{\"slow\":\"down\"}");
    let response = at("/500").send().await;
    assert_eq!(header(&response, "upstream-status"), "500");
    assert!((1..=65_536).contains(&response.text().await.len()));
    let response = at("/404").send().await;
    assert_eq!(header(&response, "upstream-status"), "404");
    refused(response, 502, "UPSTREAM_ERROR").await;
    // No stream was created, so the key is free.
    assert_eq!(at("/429").send().await.status(), 502);
    assert_eq!(upstream.calls().len(), 4);
}

#[tokio::test]
async fn an_upstream_that_does_not_respond_times_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::with(options().upstream_head_timeout(Duration::from_millis(50)));
    let response = server.relay("", "GET", &silent).send().await;
    refused(response, 504, "UPSTREAM_TIMEOUT").await;
    drop(listener);
    let response = server
        .relay("", "GET", &format!("{silent}/?token=hunter2"))
        .send()
        .await;
    let body = refused(response, 502, "UPSTREAM_ERROR").await;
    assert!(!body.to_string().contains("hunter2"), "{body}");
}

#[tokio::test]
async fn pages_of_other_origins_may_use_it() {
    let server = server();
    for path in ["/relay", "/relay/x"] {
        let response = server
            .client
            .request(Method::OPTIONS, path)
            .header("origin", "http://localhost:5173")
            .send()
            .await;
        assert_eq!(response.status(), 204);
        assert!(header(&response, "access-control-allow-methods").contains("PATCH"));
        for name in [
            "upstream-url",
            "upstream-authorization",
            "upstream-method",
            "idempotency-key",
        ] {
            assert!(
                header(&response, "access-control-allow-headers").contains(name),
                "{name}"
            );
        }
        for name in [
            "location",
            "upstream-content-type",
            "upstream-status",
            "stream-next-offset",
            "content-location",
        ] {
            assert!(
                header(&response, "access-control-expose-headers").contains(name),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn a_foreign_page_can_not_relay() {
    let upstream = Upstream::saying("text/plain", "x").await;
    let server = server();
    let options = server.client.request(Method::OPTIONS, "/relay");
    let response = options.header("origin", "https://a.example").send().await;
    assert_eq!(response.status(), 204);
    assert_eq!(header(&response, "access-control-allow-methods"), "");
    for (name, value) in [
        ("origin", "https://a.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let relay = server.relay("", "GET", &upstream.url);
        let response = relay.header(name, value).send().await;
        assert_eq!(response.status(), 403, "{name}: {value}");
    }
    assert!(upstream.calls().is_empty());
}

#[tokio::test]
async fn unknown_relay_paths_are_reported() {
    let response = server().client.get("/relay/x/y").send().await;
    refused(response, 404, "NOT_FOUND").await;
}
