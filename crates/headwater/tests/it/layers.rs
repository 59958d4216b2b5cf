//! The layers of an app, which see each of its responses.

use axum::{Router, routing};
use futures_util::stream;
use headwater::{App, Json, Query, StatusCode, Streaming, get, test::TestClient};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use tower_http::cors::CorsLayer;

#[derive(Deserialize, JsonSchema)]
struct Pace {
    count: u64,
}

async fn numbers(Query(pace): Query<Pace>) -> Streaming<u64> {
    assert!(pace.count < 100, "too many");
    Streaming::new(stream::iter(0..pace.count))
}

async fn add(Json(number): Json<u64>) -> Json<u64> {
    Json(number)
}

async fn nothing() -> StatusCode {
    StatusCode::NOT_FOUND
}

fn app() -> App {
    let plain = Router::new().route(
        "/plain",
        routing::get(async || -> String { panic!("it panics") }),
    );
    App::new("Numbers", "1")
        .route("/numbers", get(numbers).post(add))
        .route("/nothing", get(nothing))
        .merge(plain)
        .layer(CorsLayer::permissive())
}

/// Requests of a page: their method, path, a header and the status of their response.
const REQUESTS: [(&str, &str, (&str, &str), u16); 16] = [
    ("GET", "/numbers?count=2", NO_HEADER, 200),
    ("POST", "/numbers", JSON, 200),
    ("POST", "/numbers", ("content-encoding", "br"), 415),
    ("GET", "/numbers?count=2", ("accept", "image/png"), 406),
    ("GET", "/numbers", NO_HEADER, 422),
    ("GET", "/numbers?count=100", NO_HEADER, 500),
    ("GET", "/numbers?count=2", ENDED, 204),
    ("PUT", "/numbers", NO_HEADER, 405),
    ("GET", "/nothing", NO_HEADER, 404),
    ("GET", "/plain", NO_HEADER, 500),
    ("GET", "/nowhere", NO_HEADER, 404),
    ("POST", "/nowhere", ("content-encoding", "br"), 415),
    ("GET", "/nowhere", ENDED, 204),
    ("GET", "/openapi.json", NO_HEADER, 200),
    ("GET", "/docs", NO_HEADER, 200),
    ("GET", "/docs/play", NO_HEADER, 200),
];

const NO_HEADER: (&str, &str) = ("x-none", "");
const JSON: (&str, &str) = ("content-type", "application/json");
const ENDED: (&str, &str) = ("last-event-id", "headwater:end");

/// Sends all requests, and checks if their responses are ones that a layer has seen.
async fn check(client: &TestClient, is_seen: bool) {
    for (method, path, (name, value), status) in REQUESTS {
        let request = client.request(method.parse().unwrap(), path);
        let request = request.header("origin", "https://a.example");
        let response = request.header(name, value).body("1").send().await;
        let place = format!("{method} {path} {name}: {value}");
        assert_eq!(response.status(), status, "{place}");
        let allowed = response.headers().get("access-control-allow-origin");
        assert_eq!(allowed.is_some(), is_seen, "{place}");
        if response.status().is_client_error() || response.status().is_server_error() {
            let content_type = &response.headers()["content-type"];
            assert_eq!(content_type, "application/problem+json", "{place}");
            let problem: Value = response.json().await;
            assert_eq!(problem["status"], status, "{place}");
        }
    }
}

#[tokio::test]
async fn a_layer_covers_every_response_of_an_app() {
    check(&TestClient::new(app()), true).await;
}

#[tokio::test]
async fn a_layer_covers_every_response_under_another_server() {
    // `TestClient` and `serve` have a layer of their own around a router, which refuses requests at once.
    let mut router = app().into_router();
    for (method, path, (name, value), status) in REQUESTS {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(name, value);
        let request = request.body(axum::body::Body::from("1")).unwrap();
        let response = tower_service::Service::call(&mut router, request)
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        let allowed = response.headers().get("access-control-allow-origin");
        assert!(allowed.is_some(), "{method} {path}");
    }
}

#[tokio::test]
async fn routes_that_are_added_after_a_layer_are_outside_of_it() {
    let app = App::new("Outer", "1").merge(app());
    let client = TestClient::new(app.route("/later", get(nothing)));
    for (path, is_seen) in [
        ("/nothing", true),
        ("/later", false),
        ("/docs", false),
        ("/nowhere", false),
    ] {
        let response = client.get(path).send().await;
        let allowed = response.headers().get("access-control-allow-origin");
        assert_eq!(allowed.is_some(), is_seen, "{path}");
    }
}

#[tokio::test]
async fn a_routers_own_fallback_is_kept() {
    let router = Router::new().fallback(async || (StatusCode::NOT_FOUND, "gone"));
    for app in [
        App::from(router.clone()),
        App::new("One", "1").merge(router),
    ] {
        let client = TestClient::new(app.layer(CorsLayer::permissive()));
        for (path, text) in [("/nowhere", "gone"), ("/docs/play", "<")] {
            let response = client.get(path).send().await;
            let allowed = response.headers().get("access-control-allow-origin");
            assert!(allowed.is_some(), "{path}");
            assert!(response.text().await.contains(text), "{path}");
        }
    }
}

#[tokio::test]
async fn a_404_of_a_handler_does_not_deny_that_its_path_exists() {
    let client = TestClient::new(app());
    let problem: Value = client.get("/nothing").send().await.json().await;
    assert_eq!(
        problem,
        serde_json::json!({"title": "Not Found", "status": 404})
    );
    let problem: Value = client.get("/nowhere").send().await.json().await;
    assert_eq!(
        problem["detail"],
        "there is nothing at /nowhere; /docs lists the operations"
    );
}
