//! Relays that a handler starts.

use std::sync::Arc;

use headwater::{Format, test::TestClient};
use headwater_hub::{Hub, Relay};
use headwater_log::MemoryLog;
use serde_json::json;

use super::*;

/// A hub, and a client of it.
fn hub() -> (Hub, TestClient) {
    let hub = Hub::with_options(Arc::new(MemoryLog::default()), options());
    let client = TestClient::new(hub.app());
    (hub, client)
}

#[tokio::test]
async fn one_call_is_made_for_each_path() {
    let (hub, client) = hub();
    let (upstream, sender) = Upstream::streaming(SSE).await;
    let relay = Relay::post(&upstream.url)
        .bearer("secret")
        .header("x-one", "1")
        .json(&json!({"n": 1}));
    let all = (0..50).map(|_| hub.relay("a/b", relay.clone()));
    let all = futures_util::future::join_all(all).await;
    let new = all.iter().filter(|one| one.as_ref().unwrap().is_new);
    assert_eq!(new.count(), 1);
    let other = hub.relay("a/b", Relay::get(&upstream.url)).await.unwrap();
    assert!(!other.is_new);
    assert_eq!(other.content_type, SSE);

    let calls = upstream.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(
        (&calls[0].method, &*calls[0].body),
        (&Method::POST, r#"{"n":1}"#)
    );
    assert_eq!(calls[0].headers["authorization"], "Bearer secret");
    assert_eq!(calls[0].headers["content-type"], "application/json");
    assert_eq!(calls[0].headers["x-one"], "1");

    sender.send(Ok("data: 1\n\n")).unwrap();
    let items = client.get("/streams/a/b").accept(Format::Sse);
    let mut items = items.stream::<u64>().await;
    assert_eq!(items.next().await, Some(1));
    sender.send(Ok("data: 2\n\ndata: [DONE]\n\n")).unwrap();
    assert_eq!(items.next().await, Some(2));
    assert_eq!(items.next().await, None);
    let later = hub.relay("a/b", relay).await.unwrap();
    assert!(!later.is_new);
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn a_path_that_can_not_be_created_calls_nothing() {
    let (hub, _) = hub();
    let upstream = Upstream::saying(SSE, "data: 1\n\n").await;
    let relay = hub.relay("a/".repeat(128) + "a", Relay::get(&upstream.url));
    let problem = relay.await.unwrap_err();
    assert_eq!(problem.status(), 400);
    assert!(upstream.calls().is_empty());
}

#[tokio::test]
async fn a_cancel_closes_the_connection_to_the_upstream() {
    let (hub, _) = hub();
    let (upstream, sender) = Upstream::streaming(SSE).await;
    hub.relay("a", Relay::get(&upstream.url)).await.unwrap();
    assert!(hub.cancel("a").await);
    assert!(dropped(&sender).await < Duration::from_millis(100));
    assert!(!hub.cancel("a").await);
}

#[tokio::test]
async fn a_stream_that_is_not_a_handlers_relay_is_unchanged() {
    let server = server();
    let upstream = Upstream::saying("text/plain", "ok").await;
    let hub = Hub::with_options(Arc::clone(&server.log), options());
    server.relayed("?stream=posted", &upstream.url).await;
    let put = server.client.request(Method::PUT, "/streams/made");
    put.header("content-type", "text/plain").send().await;
    for path in ["posted", "made"] {
        let refused = hub.relay(path, Relay::get(&upstream.url)).await;
        assert_eq!(refused.unwrap_err().status(), 409, "{path}");
    }
    // Nor does a request join a handler's relay.
    hub.relay("handled", Relay::get(&upstream.url))
        .await
        .unwrap();
    let posted = server.relay("?stream=handled", "GET", &upstream.url);
    refused(posted.send().await, 409, "STREAM_EXISTS").await;
    assert_eq!(upstream.calls().len(), 2);
}

#[tokio::test]
async fn a_failed_relay_is_a_problem_and_can_be_retried() {
    let (hub, client) = hub();
    let upstream = Upstream::new(|_| reply(401, "text/plain", "no such key"));
    let upstream = upstream.await;
    let get = || Relay::get(&upstream.url);
    let elsewhere = Relay::get("http://127.0.0.2/");
    for (path, relay, status) in [
        ("a", get(), 502),
        ("a", elsewhere, 403),
        ("a", Relay::get("/relative"), 400),
        ("a", get().header("x y", "1"), 400),
        ("", get(), 400),
    ] {
        let problem = hub.relay(path, relay).await.unwrap_err();
        assert_eq!(problem.status(), status);
        let problem = serde_json::to_value(&problem).unwrap();
        assert!(problem["detail"].is_string(), "{problem}");
        let said = (status == 502).then_some(401);
        assert_eq!(problem["upstream_status"].as_u64(), said, "{problem}");
    }
    // No redirect is followed, and it isn't the fault of the handler's client.
    let elsewhere = Upstream::new(|_| reply(302, "text/plain", "elsewhere"));
    let elsewhere = elsewhere.await;
    let problem = hub
        .relay("a", Relay::get(&elsewhere.url))
        .await
        .unwrap_err();
    assert_eq!(problem.status(), 502);
    assert_eq!(
        serde_json::to_value(&problem).unwrap()["upstream_status"],
        302
    );
    assert_eq!(client.get("/streams/a").send().await.status(), 404);
    let good = Upstream::saying("text/plain", "ok").await;
    assert!(hub.relay("a", Relay::get(&good.url)).await.unwrap().is_new);
}

#[tokio::test]
async fn a_relays_stream_stays_unless_it_has_an_expiry() {
    let server = server();
    let hub = Hub::with_options(Arc::clone(&server.log), options());
    let upstream = Upstream::saying("text/plain", "ok").await;
    hub.relay("stays", Relay::get(&upstream.url)).await.unwrap();
    let expires = Relay::get(&upstream.url).expires_after(Duration::from_secs(60));
    hub.relay("goes", expires).await.unwrap();
    for path in ["/streams/stays", "/streams/goes"] {
        assert_eq!(server.ended(path).await, None);
    }
    server
        .clock
        .advance(Duration::from_secs(365 * 24 * 60 * 60));
    assert_eq!(server.text_of("/streams/stays").await, "ok");
    let gone = server.client.get("/streams/goes").send().await;
    assert!(gone.status().is_client_error(), "{}", gone.status());
}
