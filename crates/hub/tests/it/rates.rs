//! The rates of senders, and the responses that report them.

use std::net::SocketAddr;

use axum::{
    body::Body,
    extract::{ConnectInfo, State},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use headwater_hub::RateLimits;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::time::{Duration, Instant, timeout};
use tower::ServiceExt as _;

use super::*;

/// A hub whose senders are known by their addresses.
struct Limited(axum::Router);

impl Limited {
    fn new(address: &str) -> Self {
        Self::with(address, |_| axum::Router::new())
    }

    /// Creates a hub beside an app.
    fn with(address: &str, app: impl FnOnce(&Hub) -> axum::Router) -> Self {
        let mut limits = RateLimits::default();
        limits.address = address.parse().expect("they are rates");
        let options = Options::new().rate_limits(limits);
        let log = Arc::new(MemoryLog::new(MemoryOptions::default()));
        let hub = Hub::with_options(log, options.long_poll(Duration::from_secs(5)));
        Self(app(&hub).merge(hub.app().into_router()))
    }

    async fn send(
        &self,
        from: &str,
        request: http::request::Builder,
        body: Body,
    ) -> Response<Body> {
        let address: SocketAddr = format!("{from}:1000").parse().expect("it is an address");
        let request = request.extension(ConnectInfo(address)).body(body);
        let request = request.expect("the request is valid");
        self.0
            .clone()
            .oneshot(request)
            .await
            .expect("it never fails")
    }

    async fn get(&self, from: &str, uri: &str) -> Response<Body> {
        self.send(from, Request::get(uri), Body::empty()).await
    }

    async fn put(&self, from: &str, path: &str) -> Response<Body> {
        let put = Request::put(format!("/streams/{path}"));
        let put = put.header("content-type", "application/json");
        self.send(from, put, Body::empty()).await
    }

    async fn post(&self, from: &str, path: &str, body: &str) -> Response<Body> {
        let post = Request::post(format!("/streams/{path}"));
        let post = post.header("content-type", "application/json");
        self.send(from, post, Body::from(body.to_owned())).await
    }
}

fn field<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().expect("it is ASCII"))
}

async fn problem(response: Response<Body>) -> Value {
    let body = response.into_body().collect().await.expect("it is whole");
    serde_json::from_slice(&body.to_bytes()).expect("it is JSON")
}

const ONE: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";

#[tokio::test(start_paused = true)]
async fn requests_of_one_address_are_refused_beyond_its_rate_and_others_are_not() {
    let hub = Limited::new("requests=4");
    for left in (0..4).rev() {
        let response = hub.get(ONE, "/streams").await;
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "ratelimit-policy"), "\"requests\";q=4;w=1");
        let expected = match left {
            2.. => String::new(),
            left => format!("\"requests\";r={left};t=1"),
        };
        assert_eq!(field(&response, "ratelimit"), expected);
    }
    let refused = hub.get(ONE, "/streams").await;
    assert_eq!(refused.status(), 429);
    assert_eq!(field(&refused, "retry-after"), "1");
    assert_eq!(field(&refused, "ratelimit"), "\"requests\";r=0;t=1");
    assert_eq!(field(&refused, "cache-control"), "no-store");
    assert_eq!(field(&refused, "ratelimit-policy"), "\"requests\";q=4;w=1");
    let problem = problem(refused).await;
    assert_eq!(problem["code"], "rate_limited");
    assert_eq!(
        problem["violated-policies"],
        serde_json::json!(["requests"])
    );
    // A missing route and the health checks don't count, and other addresses aren't affected.
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(hub.get(ONE, path).await.status(), 200, "{path}");
    }
    assert_eq!(hub.get(OTHER, "/streams").await.status(), 200);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(hub.get(ONE, "/streams").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn messages_of_an_append_are_all_stored_or_refused() {
    let hub = Limited::new("messages=10");
    assert_eq!(hub.put(ONE, "a").await.status(), 201);
    assert_eq!(hub.post(ONE, "a", "[1, 2, 3]").await.status(), 204);
    // More than what is left: the rest is owed.
    let many = format!("[{}1]", "1, ".repeat(99));
    assert_eq!(hub.post(ONE, "a", &many).await.status(), 204);
    let refused = hub.post(ONE, "a", "1").await;
    assert_eq!(
        (refused.status().as_u16(), field(&refused, "retry-after")),
        (429, "10")
    );
    assert_eq!(problem(refused).await["violated-policies"][0], "messages");
    assert_eq!(hub.post(OTHER, "a", "1").await.status(), 204);
    // Reading needs none.
    let all = hub.get(ONE, "/streams/a").await.into_body().collect().await;
    let all: Vec<u64> =
        serde_json::from_slice(&all.expect("it is whole").to_bytes()).expect("it is JSON");
    assert_eq!(all.len(), 104);
    tokio::time::advance(Duration::from_secs(10)).await;
    assert_eq!(hub.post(ONE, "a", "1").await.status(), 204);
}

#[tokio::test(start_paused = true)]
async fn streams_are_created_at_the_rate_of_their_creator() {
    let hub = Limited::new("created=60/h:2");
    let create = async |path: &str| {
        let post = Request::post(format!("/streams/{path}")).header("stream-create", "true");
        let post = post.header("content-type", "application/json");
        hub.send(ONE, post, Body::from("1")).await
    };
    assert_eq!(hub.put(ONE, "a").await.status(), 201);
    assert_eq!(hub.put(ONE, "a").await.status(), 200);
    assert_eq!(create("b").await.status(), 201);
    for refused in [hub.put(ONE, "c").await, create("c").await] {
        assert_eq!(
            (refused.status().as_u16(), field(&refused, "retry-after")),
            (429, "60")
        );
    }
    assert_eq!(hub.get(ONE, "/streams/c").await.status(), 404);
    // Existing ones are as before.
    assert_eq!(hub.put(ONE, "a").await.status(), 200);
    assert_eq!(create("b").await.status(), 204);
    assert_eq!(hub.put(OTHER, "c").await.status(), 201);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(hub.put(ONE, "d").await.status(), 201);
    assert_eq!(hub.put(ONE, "e").await.status(), 429);
}

#[tokio::test(start_paused = true)]
async fn an_address_has_only_so_many_live_readers() {
    let hub = Limited::new("open=2");
    assert_eq!(hub.put(ONE, "a").await.status(), 201);
    let live = ["/streams/a?live=sse&offset=-1", "/events?stream=**"];
    let open = [hub.get(ONE, live[0]).await, hub.get(ONE, live[1]).await];
    assert!(open.iter().all(|response| response.status() == 200));
    for uri in [live[0], live[1], "/streams/a?live=long-poll&offset=now"] {
        let refused = hub.get(ONE, uri).await;
        assert_eq!(refused.status(), 429, "{uri}");
        assert_eq!(field(&refused, "retry-after"), "5");
        assert_eq!(field(&refused, "ratelimit"), "\"open\";r=0");
        let policy = "\"open\";q=2;qu=\"concurrent-requests\"";
        assert_eq!(field(&refused, "ratelimit-policy"), policy);
    }
    assert_eq!(hub.get(ONE, "/streams/a").await.status(), 200);
    let other = hub.get(OTHER, live[0]).await;
    assert_eq!(other.status(), 200);
    drop(open);
    assert_eq!(hub.get(ONE, live[0]).await.status(), 200);
}

#[tokio::test]
async fn readers_of_a_durable_handler_count_for_their_address() {
    let endless = async |State(hub): State<Hub>| {
        let numbers = futures_util::stream::pending::<u64>;
        hub.durable("endless").run(numbers).await
    };
    let hub = Limited::with("open=1", |hub| {
        let handler = axum::routing::get(endless);
        let app = axum::Router::new().route("/endless", handler);
        app.layer(headwater::layer()).with_state(hub.clone())
    });
    let open = hub.get(ONE, "/endless").await;
    assert_eq!(open.status(), 200);
    for path in ["/endless", "/streams/endless?live=sse&offset=-1"] {
        let refused = hub.get(ONE, path).await;
        assert_eq!(refused.status(), 429, "{path}");
        let problem = refused.into_body().collect().await.expect("it is whole");
        let problem: Value = serde_json::from_slice(&problem.to_bytes()).expect("it is JSON");
        assert_eq!(problem["code"], "rate_limited", "{path}: {problem}");
    }
    assert_eq!(hub.get(OTHER, "/endless").await.status(), 200);
    drop(open);
    assert_eq!(hub.get(ONE, "/endless").await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn endless_lines_are_slowed_down_and_all_stored() {
    let hub = Limited::new("messages=100");
    assert_eq!(hub.put(ONE, "a").await.status(), 201);
    let line = |n: u64| Ok::<_, std::io::Error>(Bytes::from(format!("{n}\n")));
    let lines = futures_util::stream::iter(0..1000).map(line);
    // One line arrives at a time.
    let lines = lines.then(async |line| {
        tokio::task::yield_now().await;
        line
    });
    let post = Request::post("/streams/a").header("content-type", "application/x-ndjson");
    let start = Instant::now();
    let response = hub.send(ONE, post, Body::from_stream(lines)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(problem(response).await["appended"], 1000);
    let time = start.elapsed().as_secs_f64();
    assert!((8.0..=10.1).contains(&time), "{time}");
}

#[tokio::test(start_paused = true)]
async fn a_paused_body_is_not_late_and_its_memory_is_bounded() {
    let hub = Limited::new("bytes=64KiB");
    assert_eq!(hub.put(ONE, "a").await.status(), 201);
    let piece = |n: usize| {
        let text = if n == 0 {
            "[\""
        } else if n == 99 {
            "\"]"
        } else {
            "x"
        };
        Ok::<_, std::io::Error>(Bytes::from(text.repeat(if text == "x" {
            16 << 10
        } else {
            1
        })))
    };
    let body = Body::from_stream(futures_util::stream::iter((0..100).map(piece)));
    let post = Request::post("/streams/a").header("content-type", "application/json");
    let start = Instant::now();
    let response = timeout(Duration::from_secs(60), hub.send(ONE, post, body)).await;
    assert_eq!(response.expect("it is in time").status(), 204);
    let time = start.elapsed().as_secs_f64();
    assert!((23.0..=25.0).contains(&time), "{time}");
}

#[tokio::test]
async fn without_rates_there_are_no_fields() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let response = server.get("a").send().await;
    assert_eq!(header(&response, "ratelimit-policy"), "");
    assert_eq!(header(&response, "ratelimit"), "");
}
