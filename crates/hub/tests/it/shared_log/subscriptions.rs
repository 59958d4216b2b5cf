//! Subscriptions on hubs that share a log.

use serde_json::json;

use super::*;
use crate::subscriptions::{Hook, done};

impl Member {
    async fn subscribe(&self, hook: &Hook) {
        let wanted = json!({
            "type": "webhook", "pattern": "events/*", "webhook": { "url": hook.url },
        });
        let (status, view) = self.ask(Method::PUT, "subscriptions/s", wanted).await;
        assert_eq!(status, 201, "{view}");
    }
}

/// Checks that the webhook isn't called any more.
async fn is_quiet(hook: &mut Hook) {
    sleep(Duration::from_millis(1500)).await;
    assert!(hook.calls.try_recv().is_err(), "it is called again");
}

#[tokio::test]
async fn a_subscription_works_at_every_hub() {
    let (owner, other) = two().await;
    let mut hook = Hook::new([done(), done()]).await;
    other.subscribe(&hook).await;
    other.publish("events/a", "1").await;
    assert_eq!(hook.next().await.json()["streams"][0]["path"], "events/a");
    owner.publish("events/b", "2").await;
    assert_eq!(hook.next().await.json()["streams"][0]["path"], "events/b");
    is_quiet(&mut hook).await;
    let [one, two] = [&owner, &other].map(async |hub: &Member| {
        let (status, mut view) = hub.ask(Method::GET, "subscriptions/s", Value::Null).await;
        assert_eq!(status, 200, "{view}");
        // Its URLs are those of the hub that was asked.
        view.as_object_mut().unwrap().remove("webhook");
        view
    });
    assert_eq!(one.await, two.await);
    let keys = |hub: &Member| answer(hub.request(Method::GET, "/streams/__ds/jwks.json"));
    assert_eq!(keys(&owner).await, keys(&other).await);
}

#[tokio::test]
async fn a_takeover_between_two_wakes_repeats_and_loses_none() {
    let (owner, other) = two().await;
    let mut hook = Hook::new([done()]).await;
    other.subscribe(&hook).await;
    other.publish("events/a", "1").await;
    let first = hook.next().await.json();
    // Its acknowledgement is stored with the next turn.
    sleep(Duration::from_millis(200)).await;
    owner.hub.stop().await;
    other.publish("events/a", "2").await;
    hook.reply(done());
    let start = Instant::now();
    let second = hook.next().await.json();
    assert!(start.elapsed() < Duration::from_secs(5), "it was released");
    let generation = |wake: &Value| wake["generation"].as_u64().unwrap();
    assert_eq!(generation(&second), generation(&first) + 1);
    is_quiet(&mut hook).await;
    // The first hub forwards now.
    let (status, _) = owner.ask(Method::GET, "subscriptions/s", Value::Null).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn another_hub_delivers_what_is_pending_when_the_owner_was_killed() {
    let (mut owner, other) = two().await;
    let mut hook = Hook::new([done()]).await;
    other.subscribe(&hook).await;
    owner.kill();
    other.publish("events/a", "1").await;
    let (status, problem) = other.ask(Method::GET, "subscriptions/s", Value::Null).await;
    // The second one, if the hub had a connection that it could use again.
    let code = problem["code"].as_str().unwrap_or_default();
    assert!(status == 503 && ["owner_unreachable", "owner_lost"].contains(&code));
    let start = Instant::now();
    let called = tokio::time::timeout(PATIENCE, hook.calls.recv()).await;
    let took = start.elapsed();
    assert_eq!(
        called.unwrap().unwrap().json()["streams"][0]["path"],
        "events/a"
    );
    assert!(took > Duration::from_secs(5), "{took:?}");
    is_quiet(&mut hook).await;
    assert_eq!(
        other
            .ask(Method::GET, "subscriptions/s", Value::Null)
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn a_worker_claims_at_one_hub_and_acknowledges_at_another_also_after_a_takeover() {
    let (owner, other) = two().await;
    other.publish("wakes", "0").await;
    let wanted = json!({"type": "pull-wake", "pattern": "jobs/*", "wake_stream": "wakes"});
    let (status, view) = other.ask(Method::PUT, "subscriptions/p", wanted).await;
    assert_eq!(status, 201, "{view}");
    owner.publish("jobs/a", "1").await;
    let worker = json!({"worker": "w"});
    let (status, claimed) = other
        .ask(Method::POST, "subscriptions/p/claim", worker.clone())
        .await;
    assert_eq!(status, 200, "{claimed}");
    let (status, taken) = owner
        .ask(Method::POST, "subscriptions/p/claim", worker)
        .await;
    assert_eq!(status, 409, "{taken}");
    let ack = async |hub: &Member, done: bool| {
        let stream = &claimed["streams"][0];
        let progress = json!({
            "wake_id": claimed["wake_id"], "generation": claimed["generation"], "done": done,
            "acks": [{"stream": stream["path"], "offset": stream["tail_offset"]}],
        });
        let request = hub.request(Method::POST, "/streams/__ds/subscriptions/p/ack");
        let request = request
            .bearer_auth(claimed["token"].as_str().unwrap())
            .header("content-type", "application/json");
        answer(request.body(progress.to_string())).await
    };
    let (status, body) = ack(&owner, false).await;
    assert_eq!(status, 200, "{body}");
    owner.hub.stop().await;
    other.serves().await;
    let (status, body) = ack(&owner, true).await;
    assert_eq!(status, 200, "{body}");
    let (status, body) = ack(&other, true).await;
    assert_eq!((status, &body["error"]["code"]), (409, &json!("FENCED")));
}
