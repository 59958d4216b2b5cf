//! Subscriptions over HTTP: their responses, and the requests to webhooks.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use headwater_hub::{Hub, Limits, Options};
use http::Method;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time::timeout};

use crate::Server;

const PATIENCE: Duration = Duration::from_secs(10);

/// A webhook on its own port.
pub(crate) struct Hook {
    pub(crate) url: String,
    pub(crate) calls: mpsc::UnboundedReceiver<Called>,
    replies: Replies,
    server: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Called {
    headers: HeaderMap,
    body: Bytes,
}

type Replies = Arc<Mutex<VecDeque<Response>>>;

async fn called(
    State((replies, calls)): State<(Replies, mpsc::UnboundedSender<Called>)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let _ = calls.send(Called { headers, body });
    let reply = replies.lock().expect("no test panicked").pop_front();
    reply.unwrap_or_else(|| "{}".into_response())
}

impl Hook {
    /// Starts a webhook that sends these responses, then an empty object.
    pub(crate) async fn new(replies: impl IntoIterator<Item = Response>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let url = format!("http://{}/hook", listener.local_addr().expect("a socket"));
        let (sender, calls) = mpsc::unbounded_channel();
        let replies: Replies = Arc::new(Mutex::new(replies.into_iter().collect()));
        let app = Router::new()
            .fallback(called)
            .with_state((Arc::clone(&replies), sender));
        let server =
            tokio::spawn(async move { axum::serve(listener, app).await.expect("a socket") });
        Self {
            url,
            calls,
            replies,
            server,
        }
    }

    pub(crate) async fn next(&mut self) -> Called {
        timeout(PATIENCE, self.calls.recv())
            .await
            .expect("the webhook is called")
            .expect("the webhook is there")
    }

    pub(crate) fn reply(&self, reply: impl IntoResponse) {
        self.replies
            .lock()
            .expect("no test panicked")
            .push_back(reply.into_response());
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Called {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn signature(&self) -> String {
        self.headers["webhook-signature"]
            .to_str()
            .expect("text")
            .to_owned()
    }
}

pub(crate) fn done() -> Response {
    r#"{"done":true}"#.into_response()
}

impl Server {
    fn subscribing() -> Self {
        Self::with(Options::new().loopback_webhooks())
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        self.ask_as(method, path, "", body).await
    }

    async fn ask_as(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: Value,
    ) -> (StatusCode, Value) {
        let request = self
            .request(method, &format!("__ds/{path}"))
            .header("host", "hub.example");
        let request = match token {
            "" => request,
            token => request.header("authorization", &format!("Bearer {token}")),
        };
        let request = if body.is_null() {
            request
        } else {
            request.json(&body)
        };
        let response = request.send().await;
        let status = response.status();
        let text = response.text().await;
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).expect("JSON")
        };
        (status, body)
    }

    async fn subscribe(&self, hook: &Hook) -> Value {
        let wanted = json!({
            "type": "webhook", "pattern": "events/*", "webhook": { "url": hook.url },
        });
        let (status, view) = self.ask(Method::PUT, "subscriptions/s", wanted).await;
        assert_eq!(status, 201, "{view}");
        view
    }

    async fn show(&self) -> Value {
        let (status, view) = self.ask(Method::GET, "subscriptions/s", Value::Null).await;
        assert_eq!(status, 200, "{view}");
        view
    }

    /// Waits until the subscription satisfies a condition.
    async fn until(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                let view = self.show().await;
                if wanted(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, look)
            .await
            .expect("the subscription gets there")
    }
}

fn code(body: &Value) -> &str {
    body["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_webhook_is_signed_and_done_acknowledges_exactly_its_wake() {
    let server = Server::subscribing();
    let mut hook = Hook::new([]).await;
    let view = server.subscribe(&hook).await;
    assert_eq!(
        view["webhook"]["signing"]["jwks_url"],
        "http://hub.example/streams/__ds/jwks.json"
    );
    hook.reply(done());
    server.put_json("events/a", "[1,2]").await;

    let call = hook.next().await;
    let body = call.json();
    assert_eq!(
        (&body["subscription_id"], &body["generation"]),
        (&json!("s"), &json!(1))
    );
    let streams = json!([{
        "path": "events/a", "link_type": "glob", "acked_offset": server.at("events/a", 0),
        "tail_offset": server.at("events/a", 2), "has_pending": true,
    }]);
    assert_eq!(body["streams"], streams);
    assert_eq!(
        body["callback_url"],
        "http://hub.example/streams/__ds/subscriptions/s/callback"
    );

    let (status, jwks) = server.ask(Method::GET, "jwks.json", Value::Null).await;
    assert_eq!(
        (status, jwks["keys"].as_array().unwrap().len()),
        (StatusCode::OK, 1)
    );
    let signature = call.signature();
    let (head, signature) = signature.split_once(",ed25519=").unwrap();
    let (time, kid) = head
        .strip_prefix("t=")
        .unwrap()
        .split_once(",kid=")
        .unwrap();
    assert_eq!(
        (&jwks["keys"][0]["kid"], &view["webhook"]["signing"]["kid"]),
        (&json!(kid), &json!(kid))
    );
    let public = BASE64
        .decode(jwks["keys"][0]["x"].as_str().unwrap())
        .unwrap();
    let signed = [time.as_bytes(), b".", &call.body].concat();
    let signature = BASE64.decode(signature).unwrap();
    UnparsedPublicKey::new(&ED25519, public)
        .verify(&signed, &signature)
        .unwrap();

    let acked = |number| {
        let offset = server.at("events/a", number);
        move |view: &Value| view["streams"][0]["acked_offset"] == offset
    };
    server.until(acked(2)).await;
    hook.reply(done());
    server.post_json("events/a", "3").await;
    assert_eq!(hook.next().await.json()["generation"], 2);
    server.until(acked(3)).await;
}

#[tokio::test]
async fn a_failed_webhook_is_retried_and_shown_as_failed() {
    let server = Server::subscribing();
    let mut hook = Hook::new([StatusCode::BAD_GATEWAY.into_response(), done()]).await;
    server.subscribe(&hook).await;
    server.put_json("events/a", "1").await;
    let first = hook.next().await.json();
    server.until(|view| view["status"] == "failed").await;
    // The wake that was refused has ended.
    let progress = json!({ "wake_id": first["wake_id"], "generation": 1, "done": true });
    let token = first["callback_token"].as_str().unwrap();
    let (status, body) = server
        .ask_as(Method::POST, "subscriptions/s/callback", token, progress)
        .await;
    assert_eq!((status, code(&body)), (StatusCode::CONFLICT, "FENCED"));
    let second = hook.next().await.json();
    assert_eq!(second["generation"], 2);
    server
        .until(|view| {
            view["status"] == "active"
                && view["streams"][0]["acked_offset"] == server.at("events/a", 1)
        })
        .await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::subscribing();
    let mut elsewhere = Hook::new([]).await;
    let to = (
        StatusCode::TEMPORARY_REDIRECT,
        [(header::LOCATION, elsewhere.url.clone())],
    );
    let mut hook = Hook::new([to.into_response()]).await;
    server.subscribe(&hook).await;
    server.put_json("events/a", "1").await;
    hook.next().await;
    server.until(|view| view["status"] == "failed").await;
    assert!(elsewhere.calls.try_recv().is_err());
}

#[tokio::test]
async fn any_successful_webhook_response_counts_as_one_without_done() {
    let server = Server::subscribing();
    let long = format!(r#"{{"done":true,"more":"{}"}}"#, "x".repeat(70 << 10));
    let mut hook = Hook::new([long.into_response()]).await;
    server.subscribe(&hook).await;
    server.put_json("events/a", "1").await;
    let told = hook.next().await.json();
    // The lease is held until the handler calls back.
    let progress = json!({
        "wake_id": told["wake_id"], "generation": told["generation"], "done": true,
        "acks": [{ "stream": "events/a", "offset": server.at("events/a", 1) }],
    });
    let token = told["callback_token"].as_str().unwrap().to_owned();
    let path = "subscriptions/s/callback";
    let (status, body) = server.ask_as(Method::POST, path, &token, progress).await;
    assert_eq!(
        (status, body),
        (StatusCode::OK, json!({ "ok": true, "next_wake": false }))
    );
}

#[tokio::test]
async fn webhooks_on_this_machine_are_refused_by_default() {
    let server = Server::new();
    let hook = Hook::new([]).await;
    let wanted = json!({ "type": "webhook", "streams": ["a"], "webhook": { "url": hook.url } });
    let (status, body) = server.ask(Method::PUT, "subscriptions/s", wanted).await;
    assert_eq!(
        (status, code(&body)),
        (StatusCode::BAD_REQUEST, "WEBHOOK_URL_REJECTED")
    );
}

#[tokio::test]
async fn local_webhooks_are_not_called_after_they_were_disallowed() {
    let server = Server::subscribing();
    let mut hook = Hook::new([]).await;
    server.subscribe(&hook).await;
    let server = server.restarted(Options::new());
    server.put_json("events/a", "1").await;
    server.until(|view| view["status"] == "failed").await;
    assert!(hook.calls.try_recv().is_err());
}

#[tokio::test]
async fn a_restart_keeps_subscriptions_leases_tokens_and_the_key() {
    let server = Server::subscribing();
    server.put_json("wakes", "[]").await;
    let wanted = json!({ "type": "pull-wake", "pattern": "events/**", "wake_stream": "wakes" });
    let (status, before) = server
        .ask(Method::PUT, "subscriptions/s", wanted.clone())
        .await;
    assert_eq!(status, 201, "{before}");
    server.put_json("events/a", "1").await;
    let worker = json!({ "worker": "w" });
    let (status, claimed) = server
        .ask(Method::POST, "subscriptions/s/claim", worker.clone())
        .await;
    assert_eq!(status, 200, "{claimed}");
    let before = server.show().await;
    let (_, jwks) = server.ask(Method::GET, "jwks.json", Value::Null).await;

    let server = server.restarted(Options::new());
    assert_eq!(server.show().await, before);
    assert_eq!(
        server.ask(Method::GET, "jwks.json", Value::Null).await.1,
        jwks
    );
    assert_eq!(
        server.ask(Method::PUT, "subscriptions/s", wanted).await.0,
        200
    );
    let (status, body) = server
        .ask(Method::POST, "subscriptions/s/claim", worker)
        .await;
    assert_eq!(
        (status, code(&body)),
        (StatusCode::CONFLICT, "ALREADY_CLAIMED")
    );
    assert_eq!(body["error"]["current_holder"], "w");
    // Messages that were appended while the hub was down are pending, too.
    let progress = json!({
        "wake_id": claimed["wake_id"], "generation": claimed["generation"], "done": true,
        "acks": [{ "stream": "events/a", "offset": server.at("events/a", 1) }],
    });
    let token = claimed["token"].as_str().unwrap();
    let (status, body) = server
        .ask_as(Method::POST, "subscriptions/s/ack", token, progress)
        .await;
    assert_eq!(
        (status, body),
        (StatusCode::OK, json!({ "ok": true, "next_wake": false }))
    );
}

#[tokio::test]
async fn messages_appended_without_a_hub_cause_a_wake_later() {
    let server = Server::subscribing();
    let log = Arc::clone(&server.log);
    let mut hook = Hook::new([]).await;
    server.subscribe(&hook).await;
    drop(server);
    let settings = headwater_log::Settings::of_type("application/json");
    let mut create = headwater_log::Create::new(settings);
    create.messages = vec!["1".into()];
    let name = "events/a".parse().unwrap();
    log.create(&name, create).await.unwrap();
    let options = Options::new().loopback_webhooks();
    let hub = Hub::with_options(log.clone(), options);
    hub.start();
    assert_eq!(hook.next().await.json()["streams"][0]["path"], "events/a");
}

#[tokio::test]
async fn an_acknowledgement_without_a_valid_token_is_refused() {
    let server = Server::subscribing();
    server.put_json("wakes", "[]").await;
    let mut tokens = Vec::new();
    for id in ["s", "t"] {
        let wanted = json!({ "type": "pull-wake", "streams": ["a"], "wake_stream": "wakes" });
        let path = format!("subscriptions/{id}");
        assert_eq!(server.ask(Method::PUT, &path, wanted).await.0, 201);
    }
    server.put_json("a", "1").await;
    for id in ["s", "t"] {
        let path = format!("subscriptions/{id}/claim");
        let (status, claimed) = server
            .ask(Method::POST, &path, json!({ "worker": id }))
            .await;
        assert_eq!(status, 200, "{claimed}");
        tokens.push((claimed["token"].as_str().unwrap().to_owned(), claimed));
    }
    let (other, _) = &tokens[1];
    let (own, claimed) = &tokens[0];
    let progress = json!({ "wake_id": claimed["wake_id"], "generation": claimed["generation"] });
    for token in ["", "x", "a.b.c", other.as_str()] {
        for what in ["ack", "release"] {
            let path = format!("subscriptions/s/{what}");
            let (status, body) = server
                .ask_as(Method::POST, &path, token, progress.clone())
                .await;
            assert_eq!(
                (status, code(&body)),
                (StatusCode::UNAUTHORIZED, "TOKEN_INVALID")
            );
        }
    }
    // Workers can't use the endpoint of webhooks.
    let path = "subscriptions/s/callback";
    let (status, body) = server
        .ask_as(Method::POST, path, own, progress.clone())
        .await;
    assert_eq!(
        (status, code(&body)),
        (StatusCode::BAD_REQUEST, "INVALID_REQUEST")
    );
    let path = "subscriptions/s/release";
    assert_eq!(
        server.ask_as(Method::POST, path, own, progress).await.0,
        204
    );
}

#[tokio::test]
async fn a_wake_stream_exists_is_of_json_and_is_open() {
    let server = Server::subscribing();
    server.put("text", "text/plain", "").await;
    server.put_json("closed", "[]").await;
    let close = server.request(Method::POST, "closed");
    let close = close.header("stream-closed", "true");
    assert!(close.send().await.status().is_success());
    server.put_json("wakes", "[]").await;
    let ask = async |wake_stream: &str| {
        let wanted = json!({ "type": "pull-wake", "pattern": "a/*", "wake_stream": wake_stream });
        server.ask(Method::PUT, "subscriptions/s", wanted).await
    };
    for (name, part) in [
        ("missing", "create it first"),
        ("text", "application/json"),
        ("closed", "is closed"),
        ("a//b", "empty"),
    ] {
        let (status, body) = ask(name).await;
        assert_eq!(
            (status, code(&body)),
            (StatusCode::BAD_REQUEST, "INVALID_REQUEST"),
            "{name}"
        );
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(ask("wakes").await.0, 201);
    server.delete("wakes").await;
    assert_eq!(ask("wakes").await.0, 200, "it is confirmed");
}

#[tokio::test]
async fn incomplete_and_contradictory_requests_are_refused() {
    let server = Server::subscribing();
    server.put_json("wakes", "[]").await;
    let streams = |count: usize| (0..count).map(|n| format!("s/{n}")).collect::<Vec<_>>();
    let wanted = |streams: Vec<String>| json!({ "type": "pull-wake", "streams": streams, "wake_stream": "wakes" });
    let path = "subscriptions/s";
    assert_eq!(
        server.ask(Method::PUT, path, wanted(streams(1001))).await.0,
        422
    );
    assert_eq!(
        server.ask(Method::PUT, path, wanted(streams(1000))).await.0,
        201
    );
    for (lease, status) in [(999, 422), (1000, 409), (600_000, 409), (600_001, 422)] {
        let mut wanted = wanted(streams(1000));
        wanted["lease_ttl_ms"] = lease.into();
        assert_eq!(
            server.ask(Method::PUT, path, wanted).await.0,
            status,
            "{lease}"
        );
    }
    let path = "subscriptions/s/streams";
    for hundreds in 1..5 {
        let more = (0..1000)
            .map(|n| format!("m/{hundreds}/{n}"))
            .collect::<Vec<_>>();
        assert_eq!(
            server
                .ask(Method::POST, path, json!({ "streams": more }))
                .await
                .0,
            204
        );
    }
    let (status, body) = server
        .ask(Method::POST, path, json!({ "streams": ["one/more"] }))
        .await;
    assert_eq!(
        (status, code(&body)),
        (StatusCode::TOO_MANY_REQUESTS, "LIMIT_REACHED")
    );
    assert_eq!(
        server
            .ask(Method::POST, path, json!({ "streams": [] }))
            .await
            .0,
        422
    );
    let (status, body) = server
        .ask(Method::POST, path, json!({ "streams": ["__ds/x"] }))
        .await;
    assert_eq!(
        (status, code(&body)),
        (StatusCode::BAD_REQUEST, "INVALID_REQUEST")
    );
    assert_eq!(
        server
            .ask(Method::GET, "subscriptions/none", Value::Null)
            .await
            .0,
        404
    );
    assert_eq!(
        server
            .ask(Method::DELETE, "subscriptions/none", Value::Null)
            .await
            .0,
        204
    );
}

#[tokio::test]
async fn reserved_streams_have_no_path() {
    let server = Server::subscribing();
    assert_eq!(
        server.ask(Method::GET, "jwks.json", Value::Null).await.0,
        200
    );
    let page = server.log.list("__ds/", None, 10).await.unwrap();
    let name = page.streams[0].name.as_str();
    for path in [
        name.to_owned(),
        name.replace('_', "%5F"),
        format!("./{name}"),
    ] {
        for method in [
            Method::GET,
            Method::HEAD,
            Method::PUT,
            Method::POST,
            Method::DELETE,
        ] {
            let status = server.request(method, &path).send().await.status();
            assert!(status.is_client_error(), "{path}: {status}");
        }
    }
    let fork = server
        .request(Method::PUT, "fork")
        .header("stream-forked-from", &format!("/streams/{name}"));
    assert!(fork.send().await.status().is_client_error());
}

#[tokio::test]
async fn a_limit_on_subscriptions_is_no_reason_to_try_again() {
    let mut limits = Limits::default();
    limits.subscriptions = 0;
    let server = Server::with(Options::new().limits(limits));
    let put = server.request(Method::PUT, "__ds/subscriptions/s");
    let body = json!({ "type": "pull-wake", "pattern": "a", "wake_stream": "w" });
    server.put_json("w", "").await;
    let refused = put.json(&body).send().await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(!refused.headers().contains_key("retry-after"));
}
