//! Subscriptions are limited to streams that their owner may subscribe to.

use serde_json::json;

use super::*;

const PATH: &str = "/streams/__ds/subscriptions/one";

async fn send(
    hub: &Guarded,
    method: &Method,
    path: &str,
    granted: &str,
    body: &Value,
) -> (u16, String) {
    let request = hub.as_one(method.clone(), path, granted);
    let request = request.header(JSON.0, JSON.1).body(body.to_string());
    let response = request.send().await;
    (response.status().as_u16(), response.text().await)
}

#[tokio::test]
async fn a_subscription_needs_grants_of_all_that_it_covers() {
    let hub = Guarded::new();
    hub.create(&["wakes", "a/1"]).await;
    let pattern = json!({"type": "pull-wake", "pattern": "a/**", "wake_stream": "wakes"});
    let streams = json!({"type": "pull-wake", "streams": ["a/1", "b/1"], "wake_stream": "wakes"});
    for (wanted, granted, expected) in [
        (&pattern, "subscribe:a/*;publish:wakes", 403),
        (&pattern, "subscribe:a/1;publish:wakes", 403),
        (&pattern, "subscribe:a/**", 403),
        (&pattern, "subscribe:a/**;publish:wakes", 201),
        (&streams, "subscribe:a/**;publish:wakes", 403),
    ] {
        let (status, body) = send(&hub, &Method::PUT, PATH, granted, wanted).await;
        assert_eq!(status, expected, "{granted}: {body}");
        assert_eq!(body.contains("NOT_GRANTED"), expected == 403, "{body}");
    }
}

#[tokio::test]
async fn subscriptions_to_streams_of_others_are_out_of_reach() {
    let hub = Guarded::new();
    hub.create(&["wakes", "a/1", "b/1"]).await;
    let wanted = json!({"type": "pull-wake", "pattern": "a/**", "wake_stream": "wakes"});
    let owner = "subscribe:a/**,b/**;publish:wakes";
    let (status, body) = send(&hub, &Method::PUT, PATH, owner, &wanted).await;
    assert_eq!(status, 201, "{body}");
    let (worker, more) = (json!({"worker": "w"}), json!({"streams": ["b/1"]}));
    let part = |end: &str| format!("{PATH}{end}");
    let tries = [
        (Method::GET, part(""), &Value::Null),
        (Method::POST, part("/streams"), &more),
        (Method::DELETE, part("/streams/a/1"), &Value::Null),
        (Method::POST, part("/claim"), &worker),
        (Method::DELETE, part(""), &Value::Null),
    ];
    let missing = |path: &str| path.replace("/one", "/missing");
    for (method, path, body) in &tries {
        let refused = send(&hub, method, path, "subscribe:b/**", body).await;
        assert_eq!(refused.0, 404, "{method} {path}: {}", refused.1);
        // Nothing tells it from one that doesn't exist.
        let unknown = send(&hub, method, &missing(path), "subscribe:b/**", body).await;
        assert_eq!(refused, unknown, "{method} {path}");
    }
    // A stream that was added later counts, too.
    let (status, body) = send(&hub, &Method::POST, &part("/streams"), owner, &more).await;
    assert_eq!(status, 204, "{body}");
    for (method, path, body) in &tries {
        let (status, text) = send(&hub, method, path, "subscribe:a/**", body).await;
        // To add a stream that isn't granted is refused whatever the subscription is.
        let expected = if *body == &more { 403 } else { 404 };
        assert_eq!(status, expected, "{method} {path}: {text}");
    }
    let granted = "subscribe:a/**;publish:wakes";
    let (status, text) = send(&hub, &Method::PUT, PATH, granted, &wanted).await;
    assert_eq!(status, 409, "{text}");
    assert!(text.contains("SUBSCRIPTION_ALREADY_EXISTS"), "{text}");
    let (status, text) = send(&hub, &Method::GET, PATH, owner, &Value::Null).await;
    assert_eq!(status, 200, "{text}");
    let (status, text) = send(&hub, &Method::DELETE, PATH, owner, &Value::Null).await;
    assert_eq!(status, 204, "{text}");
}

#[tokio::test]
async fn anonymous_callers_are_told_that_credentials_are_missing() {
    let hub = Guarded::with("subscribe:public/**", |_| {});
    let wanted = json!({"type": "pull-wake", "pattern": "a/**", "wake_stream": "wakes"});
    let put = hub.request(Method::PUT, PATH).header(JSON.0, JSON.1);
    let response = put.body(wanted.to_string()).send().await;
    assert_eq!(response.status(), 401);
    assert_eq!(header(&response, "www-authenticate"), "Bearer");
    assert!(response.text().await.contains("TOKEN_MISSING"));
}
