//! The credentials that are accepted, and their scope.

use std::net::SocketAddr;

use axum::{body::Body, extract::ConnectInfo};
use headwater::test::TestClient;
use headwater_auth::limits::TICKETS_PER_SENDER;
use headwater_hub::Hub;
use headwater_log::MemoryLog;
use tower::ServiceExt as _;

use super::*;

#[tokio::test]
async fn a_refusal_is_the_same_for_a_stream_that_does_not_exist() {
    let hub = Guarded::new();
    hub.create(&["secret/here"]).await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
        for granted in [None, Some("read,publish,create,delete:other/**")] {
            let mut answers = Vec::new();
            for path in ["secret/here", "secret/gone"] {
                let method: Method = method.parse().expect("it is a method");
                let request = hub.request(method, &format!("/streams/{path}"));
                let request = match granted {
                    Some(granted) => bearer(request, &token(granted, HOUR)),
                    None => request,
                };
                let request = request.header("stream-create", "true");
                let response = request.header(JSON.0, JSON.1).send().await;
                let headers = format!("{:?}", response.headers());
                answers.push((response.status(), headers, response.text().await));
            }
            assert!(matches!(answers[0].0.as_u16(), 401 | 403));
            assert_eq!(answers[0], answers[1], "{method} {granted:?}");
        }
    }
}

#[tokio::test]
async fn the_name_that_is_checked_is_the_one_that_is_used() {
    let hub = Guarded::new();
    hub.create(&["a/b", "a/c", "A/b", "b"]).await;
    let get = async |path: &str| {
        let get = hub.as_one(Method::GET, &format!("/streams/{path}"), "read:a/b");
        code(get.send().await).await
    };
    for path in ["a/b", "a%2Fb", "a%2fb", "%61/b", "a/%62"] {
        assert_eq!(get(path).await, "200", "{path}");
    }
    for path in ["A/b", "a/c", "a%2Fc", "b", "a/b/c", "a%252Fb"] {
        assert_eq!(get(path).await, "not_granted", "{path}");
    }
    // No stream has such a name.
    for path in [
        "a/b/",
        "a//b",
        "a/b/%2e%2e/c",
        "a/b/../c",
        "%2e%2e/a/b",
        "a/b%00",
    ] {
        assert_eq!(get(path).await, "400", "{path}");
    }
    assert_eq!(get("__ds/subscriptions").await, "404");
    let anonymous = hub
        .request(Method::GET, "/streams/a/b/%2e%2e/c")
        .send()
        .await;
    assert_eq!(code(anonymous).await, "token_missing");
}

#[tokio::test]
async fn anonymous_requests_have_their_own_grants() {
    let hub = Guarded::with("read,list:public/**", |_| {});
    hub.create(&["public/a", "private/a"]).await;
    let get = async |path: &str| code(hub.request(Method::GET, path).send().await).await;
    assert_eq!(get("/streams/public/a").await, "200");
    assert_eq!(get("/streams/private/a").await, "token_missing");
    // Invalid credentials aren't taken for none.
    let garbage = bearer(hub.request(Method::GET, "/streams/public/a"), "garbage");
    assert_eq!(code(garbage.send().await).await, "token_malformed");
    let ticket = hub.request(Method::POST, "/tickets").send().await;
    assert_eq!(code(ticket).await, "token_missing");
}

#[tokio::test]
async fn only_one_bearer_token_in_the_header_is_accepted() {
    let hub = Guarded::new();
    hub.create(&["a"]).await;
    let good = token("read:a", HOUR);
    let get = || hub.request(Method::GET, "/streams/a");
    for (value, expected) in [
        (format!("Bearer {good}"), "200"),
        (format!("bearer  {good}"), "200"),
        (format!("Basic {good}"), "token_malformed"),
        (good.clone(), "token_malformed"),
        ("Bearer".to_owned(), "token_malformed"),
        (format!("Bearer {good} {good}"), "token_malformed"),
    ] {
        let response = get().header("authorization", &value).send().await;
        assert_eq!(code(response).await, expected, "{value}");
    }
    for query in ["access_token", "authorization", "token", "ticket"] {
        let path = format!("/streams/a?{query}={good}");
        let response = hub.request(Method::GET, &path).send().await;
        assert_eq!(response.status(), 401, "{query}");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let options = Options::new().auth(Auth::new(authenticator()));
    let hub = Hub::with_options(Arc::new(MemoryLog::default()), options);
    let value = format!("Bearer {}", token("list:**", HOUR));
    for (count, status) in [(0, 401), (1, 200), (2, 401)] {
        let request = http::Request::get("/streams");
        let request = (0..count).fold(request, |request, _| {
            request.header("authorization", &value)
        });
        let request = request.body(Body::empty()).expect("it is valid");
        let response = hub.app().into_router().oneshot(request).await;
        assert_eq!(
            response.expect("it is infallible").status(),
            status,
            "{count}"
        );
    }
}

#[tokio::test]
async fn a_hub_under_another_path_decides_by_the_same_names() {
    let options = Options::new().auth(Auth::new(authenticator()));
    let hub = Hub::with_options(Arc::new(MemoryLog::default()), options);
    let app = axum::Router::new().nest("/{tenant}/hub", hub.app().into_router());
    let client = TestClient::new(app);
    let send = async |method: Method, path: &str, granted: &str, source: Option<&str>| {
        let request = client.request(method, &format!("/x/hub/streams/{path}"));
        let request = bearer(request, &token(granted, HOUR)).header(JSON.0, JSON.1);
        let request = match source {
            Some(source) => request.header("stream-forked-from", source),
            None => request,
        };
        code(request.send().await).await
    };
    let own = "create,read:a/**";
    assert_eq!(send(Method::PUT, "b/1", own, None).await, "not_granted");
    assert_eq!(send(Method::PUT, "b/1", "create:b/1", None).await, "201");
    assert_eq!(send(Method::PUT, "a/1", own, None).await, "201");
    assert_eq!(send(Method::GET, "a%2F1", own, None).await, "200");
    assert_eq!(send(Method::GET, "b/1", own, None).await, "not_granted");
    for source in ["b/1", "/x/hub/streams/b/1", "/x/hub/streams/b%2F1"] {
        let fork = send(Method::PUT, "a/2", own, Some(source)).await;
        assert_eq!(fork, "not_granted", "{source}");
    }
    let fork = send(Method::PUT, "a/2", own, Some("/x/hub/streams/a/1")).await;
    assert_eq!(fork, "201");
}

pub(super) async fn ticket(hub: &Guarded, token: &str) -> String {
    let post = bearer(hub.request(Method::POST, "/tickets"), token);
    let response = post.send().await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "cache-control"), "no-store");
    let body = response.json::<Value>().await;
    body["ticket"].as_str().expect("it is text").to_owned()
}

#[tokio::test]
async fn a_ticket_authorizes_one_get_that_reads() {
    let hub = Guarded::new();
    hub.create(&["a", "b"]).await;
    let all = token("read,publish,list,admin:a", HOUR);
    let first = ticket(&hub, &all).await;
    let send = async |method: Method, path: &str| {
        let request = hub.request(method, &format!("{path}?ticket={first}"));
        code(request.header(JSON.0, JSON.1).body("[1]").send().await).await
    };
    for (method, path) in [
        (Method::POST, "/streams/a"),
        (Method::POST, "/tickets"),
        (Method::GET, "/streams"),
        (Method::GET, "/"),
    ] {
        assert_eq!(send(method, path).await, "token_missing", "{path}");
    }
    // The one that counts isn't known. Neither is used up.
    for second in [&*first, "hwt_x"] {
        let path = format!("/streams/a?ticket={first}&ticket={second}");
        let response = hub.request(Method::GET, &path).send().await;
        assert_eq!(response.status(), 400, "{second}");
        assert!(response.text().await.contains("ticket is given twice"));
    }
    assert_eq!(send(Method::GET, "/streams/a").await, "200");
    assert_eq!(send(Method::GET, "/streams/a").await, "token_expired");
    let other = ticket(&hub, &all).await;
    let get = hub.request(Method::GET, &format!("/streams/b?ticket={other}"));
    assert_eq!(code(get.send().await).await, "not_granted");
}

#[tokio::test]
async fn tickets_without_a_subject_count_for_the_address() {
    let options = Options::new().auth(Auth::new(authenticator()));
    let hub = Hub::with_options(Arc::new(MemoryLog::default()), options);
    let app = hub.app().into_router();
    let nameless = Claims::new(SystemTime::now() + HOUR).audience(AUDIENCE);
    let nameless = mint(&SECRET, &nameless);
    let named = token("read:a", HOUR);
    let ask = async |host: [u8; 4], token: &str| {
        let post =
            http::Request::post("/tickets").header("authorization", format!("Bearer {token}"));
        let post = post.extension(ConnectInfo(SocketAddr::from((host, 1))));
        let post = post.body(Body::empty()).expect("it is a request");
        app.clone().oneshot(post).await.expect("it never fails")
    };
    let (one, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    for _ in 0..TICKETS_PER_SENDER {
        assert_eq!(ask(one, &nameless).await.status(), 200);
    }
    let refused = ask(one, &nameless).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "30");
    let problem = axum::body::to_bytes(refused.into_body(), 1000).await;
    let problem = problem.expect("it is complete");
    assert!(
        problem
            .windows(18)
            .any(|part| part == b"\"too_many_tickets\""),
        "{problem:?}"
    );
    assert_eq!(ask(other, &nameless).await.status(), 200);
    assert_eq!(ask(one, &named).await.status(), 200);
}

#[tokio::test]
async fn a_ticket_of_a_revoked_key_is_refused() {
    let mut key = String::new();
    let hub = Guarded::with("", |file| {
        let new = file.create("k", grants("read:a"), None, SystemTime::now());
        key = new.expect("the file can be written").token().to_owned();
    });
    hub.create(&["a"]).await;
    let ticket = ticket(&hub, &key).await;
    hub.file.revoke("k", SystemTime::now()).expect("it exists");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let get = hub.request(Method::GET, &format!("/streams/a?ticket={ticket}"));
    assert_eq!(code(get.send().await).await, "token_revoked");
}

#[tokio::test]
async fn a_cookie_reads_and_writes_only_for_pages_of_the_hub() {
    let hub = Guarded::new();
    hub.create(&["a"]).await;
    let cookie = format!("x=1; __Secure-headwater={}", token("read,publish:a", HOUR));
    let send = async |method: Method, headers: &[(&str, &str)]| {
        let request = hub.request(method, "/streams/a").header("cookie", &cookie);
        let request = request.header("host", "hub.example").header(JSON.0, JSON.1);
        let headers = headers.iter();
        let request = headers.fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        code(request.body("[1]").send().await).await
    };
    assert_eq!(send(Method::GET, &[]).await, "200");
    assert_eq!(send(Method::POST, &[]).await, "foreign_page");
    let own = ("sec-fetch-site", "same-origin");
    assert_eq!(send(Method::POST, &[own]).await, "204");
    assert_eq!(
        send(Method::POST, &[("origin", "http://hub.example")]).await,
        "204"
    );
    // The default of `cors` allows such a page, but doesn't list it.
    let local = ("origin", "http://localhost:5173");
    assert_eq!(send(Method::POST, &[local]).await, "foreign_page");
    assert_eq!(send(Method::GET, &[local]).await, "200");
    let foreign = send(Method::POST, &[("origin", "https://evil.example")]).await;
    assert_eq!(foreign, "foreign_page");
    // The header takes precedence.
    let garbage = send(Method::GET, &[("authorization", "Bearer garbage")]).await;
    assert_eq!(garbage, "token_malformed");
}

#[tokio::test]
async fn a_preflight_needs_no_credentials_and_a_refusal_can_be_read_by_an_allowed_page() {
    let hub = Guarded::new();
    let origin = ("origin", "http://localhost:5173");
    let options = hub.request(Method::OPTIONS, "/streams/a");
    let options = options.header(origin.0, origin.1);
    let response = options
        .header("access-control-request-method", "PUT")
        .send()
        .await;
    assert_eq!(response.status(), 204);
    assert!(header(&response, "access-control-allow-headers").contains("authorization"));
    let get = hub
        .request(Method::GET, "/streams/a")
        .header(origin.0, origin.1);
    let response = get.send().await;
    assert_eq!(header(&response, "access-control-allow-origin"), origin.1);
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn a_fork_tells_nothing_of_a_source_that_its_caller_may_not_read() {
    let hub = Guarded::new();
    hub.create(&["secret/kept", "secret/gone", "mine/other"])
        .await;
    let fork = async |path: &str, source: &str, granted: &str| {
        let put = hub.as_one(Method::PUT, &format!("/streams/{path}"), granted);
        let put = put.header("stream-forked-from", &format!("/streams/{source}"));
        let response = put.send().await;
        (response.status().as_u16(), response.text().await)
    };
    let all = "create:**;read:**";
    for (path, source) in [("mine/kept", "secret/kept"), ("mine/gone", "secret/gone")] {
        assert_eq!(fork(path, source, all).await.0, 201, "{path}");
    }
    let delete = hub.as_one(Method::DELETE, "/streams/secret/gone", "delete:**");
    assert_eq!(delete.send().await.status(), 204);
    assert_eq!(fork("mine/gone", "secret/gone", all).await.0, 200);

    // Whether source and fork exist or not.
    let some = "create:mine/**;read:mine/**";
    let expected = fork("mine/new", "secret/missing", some).await;
    assert_eq!(expected.0, 403);
    for path in ["mine/new", "mine/kept", "mine/gone", "mine/other"] {
        for source in ["secret/kept", "secret/gone", "secret/missing"] {
            assert_eq!(fork(path, source, some).await, expected, "{path} {source}");
        }
    }
    for path in ["mine/kept", "mine/gone"] {
        let put = hub.as_one(Method::PUT, &format!("/streams/{path}"), some);
        let response = put.header(JSON.0, JSON.1).send().await;
        assert_eq!(response.status(), 409, "{path}");
        let text = response.text().await;
        assert!(!text.contains("secret/"), "{text}");
    }
}
