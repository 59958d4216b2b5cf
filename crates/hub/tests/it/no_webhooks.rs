//! A build without webhooks: subscriptions that workers claim.

use headwater::StatusCode;
use headwater_hub::Options;
use http::Method;
use serde_json::{Value, json};

use crate::Server;

async fn ask(server: &Server, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = server.request(method, &format!("__ds/{path}"));
    let response = request.json(body).send().await;
    (response.status(), response.json().await)
}

#[tokio::test]
async fn a_webhook_is_refused_with_the_reason() {
    let server = Server::new();
    let wanted = json!({
        "type": "webhook", "streams": ["a"], "webhook": { "url": "https://worker.example/" },
    });
    let (status, body) = ask(&server, Method::PUT, "subscriptions/s", &wanted).await;
    assert_eq!(status, 400, "{body}");
    assert_eq!(body["error"]["code"], "WEBHOOK_URL_REJECTED");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("built without webhooks"), "{message}");
}

#[tokio::test]
async fn a_worker_claims_pending_work_after_a_restart_too() {
    let server = Server::new();
    server.put_json("wakes", "[]").await;
    let wanted = json!({ "type": "pull-wake", "streams": ["a"], "wake_stream": "wakes" });
    let (status, body) = ask(&server, Method::PUT, "subscriptions/s", &wanted).await;
    assert_eq!(status, 201, "{body}");
    server.put_json("a", "1").await;
    let server = server.restarted(Options::new());
    let worker = json!({ "worker": "w" });
    let (status, body) = ask(&server, Method::POST, "subscriptions/s/claim", &worker).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["streams"][0]["path"], "a");
}

#[tokio::test]
async fn the_endpoints_of_webhooks_are_not_found() {
    let server = Server::new();
    for (method, path) in [
        (Method::GET, "jwks.json"),
        (Method::POST, "subscriptions/s/callback"),
    ] {
        let response = server.request(method, &format!("__ds/{path}")).send().await;
        assert_eq!(response.status(), 404, "{path}");
    }
}
