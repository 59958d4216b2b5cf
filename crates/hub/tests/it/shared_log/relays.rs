//! Relays and other ingest jobs on hubs that share a log.

use futures_util::{StreamExt as _, stream};
use headwater::Problem;
use headwater_hub::Durable;
use tokio::time::timeout;

use super::*;
use crate::relay::upstream::{self, Upstream};

impl Member {
    async fn relay(&self, query: &str, url: &str) -> Response {
        let request = self.request(Method::POST, &format!("/relay{query}"));
        let request = request
            .header("upstream-url", url)
            .header("upstream-method", "GET")
            .header("host", "hub.example");
        request.send().await.unwrap()
    }

    /// Reads events at a path.
    async fn events(&self, path: &str) -> Response {
        let request = self.request(Method::GET, path);
        let response = request
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response
    }
}

/// Returns the path of a relay's signed URL.
fn location(response: &Response) -> String {
    let location = header(response, "location");
    let path = location.strip_prefix("http://hub.example");
    path.unwrap_or_else(|| panic!("{location:?}")).to_owned()
}

/// Reads a body until it has this text.
async fn comes_to(response: &mut Response, wanted: &str) {
    let mut text = String::new();
    let read = async {
        while !text.contains(wanted) {
            let chunk = response.chunk().await.unwrap().expect("it isn't over");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    let read = timeout(Duration::from_secs(10), read).await;
    assert!(read.is_ok(), "{wanted:?} isn't in {text:?}");
}

async fn is_closed_within(upstream: &upstream::Sender, time: Duration) -> bool {
    timeout(time, upstream.closed()).await.is_ok()
}

#[tokio::test]
async fn a_relay_is_created_joined_and_read_live_at_any_hub() {
    let (owner, other) = two().await;
    let (upstream, sender) = Upstream::streaming("text/plain").await;
    let relay = other.relay("?join=request&keep_for=1", &upstream.url).await;
    assert_eq!(relay.status(), 201);
    let path = location(&relay);
    let joined = owner.relay("?join=request&keep_for=1", &upstream.url).await;
    assert_eq!(joined.status(), 200, "{:?}", upstream.calls());
    let bare = |path: &str| path.split('?').next().unwrap().to_owned();
    assert_eq!(bare(&location(&joined)), bare(&path));
    let mut reader = other.events(&path).await;
    sender.send(Ok("one")).unwrap();
    comes_to(&mut reader, "one").await;
    // The reader at the other hub keeps the call alive, and its end ends it.
    assert!(!is_closed_within(&sender, Duration::from_secs(3)).await);
    sender.send(Ok("two")).unwrap();
    comes_to(&mut reader, "two").await;
    drop(reader);
    assert!(is_closed_within(&sender, Duration::from_secs(3)).await);
    assert_eq!(upstream.calls().len(), 1);
}

#[tokio::test]
async fn readers_of_a_public_relay_count_at_any_hub() {
    let (_owner, other) = two().await;
    let (upstream, sender) = Upstream::streaming("text/plain").await;
    let relay = other
        .relay("?stream=public&keep_for=1", &upstream.url)
        .await;
    assert_eq!(relay.status(), 201);
    sender.send(Ok("one")).unwrap();
    let mut reader = other.events("/streams/public").await;
    comes_to(&mut reader, "one").await;
    assert!(!is_closed_within(&sender, Duration::from_secs(3)).await);
    drop(reader);
    assert!(is_closed_within(&sender, Duration::from_secs(5)).await);
    // A stream that isn't filled any more is read anywhere.
    let path = "/streams/public?live=false";
    let read = other.request(Method::GET, path).send().await.unwrap();
    assert_eq!(read.text().await.unwrap(), "one");
}

#[tokio::test]
async fn a_relay_is_aborted_and_deleted_at_any_hub() {
    let (_owner, other) = two().await;
    let (upstream, sender) = Upstream::streaming("text/plain").await;
    let path = location(&other.relay("", &upstream.url).await);
    let abort = other.request(Method::PATCH, &format!("{path}&action=abort"));
    assert_eq!(abort.send().await.unwrap().status(), 204);
    assert!(is_closed_within(&sender, Duration::from_secs(5)).await);
    let bare = path.split('?').next().unwrap();
    let delete = other.request(Method::DELETE, bare).send().await.unwrap();
    assert_eq!(delete.status(), 204);
    let gone = other.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(gone.status(), 404);
}

#[tokio::test]
async fn relays_end_with_their_owner_and_feeds_continue_at_the_next_one() {
    let (owner, other) = two().await;
    let (plain, _sender) = Upstream::streaming("text/plain").await;
    let plain = location(&other.relay("", &plain.url).await);
    let feed = Upstream::new(|call| {
        let last = call.headers.get("last-event-id");
        let text = match last.map(|id| id.to_str().unwrap().to_owned()).as_deref() {
            None => "id: 1\ndata: one\n\n",
            Some("1") => "id: 2\ndata: two\n\n",
            other => panic!("{other:?}"),
        };
        let rest = stream::pending::<Result<&'static str, std::io::Error>>();
        let body = stream::once(async move { Ok(text) }).chain(rest);
        http::Response::builder()
            .header("content-type", "text/event-stream")
            .body(axum::body::Body::from_stream(body))
            .unwrap()
    })
    .await;
    let feed = location(&other.relay("?stream=feed", &feed.url).await);
    let mut reader = other.events(&feed).await;
    comes_to(&mut reader, "one").await;
    owner.hub.stop().await;
    other.serves().await;
    // The response of the earlier owner ends, and is cut.
    let rest = timeout(Duration::from_secs(5), async {
        while reader.chunk().await?.is_some() {}
        Ok(())
    });
    let rest: Result<(), reqwest::Error> = rest.await.expect("it ends");
    assert!(rest.is_err());
    let mut reader = owner.events(&feed).await;
    comes_to(&mut reader, "two").await;
    let ended = other.request(Method::GET, &format!("{plain}&offset=now"));
    let ended = ended.send().await.unwrap();
    assert_eq!(header(&ended, "stream-closed"), "true");
    assert!(header(&ended, "stream-error").contains("interrupted"));
}

#[tokio::test]
async fn a_stored_gather_runs_on_the_owner_and_another_one_anywhere() {
    let (_owner, other) = two().await;
    let upstream = Upstream::saying("application/json", "1").await;
    let gather = |query: &str| {
        let request = other.request(Method::POST, &format!("/gather{query}"));
        let request = request.header("content-type", "application/x-ndjson");
        request
            .body(format!("{{\"url\":\"{}\"}}\n", upstream.url))
            .send()
    };
    assert_eq!(gather("").await.unwrap().status(), 200);
    assert_eq!(gather("?stream=results").await.unwrap().status(), 202);
}

#[tokio::test]
async fn requests_of_routes_with_the_layer_reach_durable_handlers_on_the_owner() {
    let (mut owner, other) = two().await;
    let count = async |hub: &Member, path: &str| {
        let request = hub.request(Method::POST, path).body("n");
        let answer = request
            .header("accept", "application/x-ndjson")
            .send()
            .await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let whole = (200, "\"n0\"\n\"n1\"\n\"n2\"\n".to_owned());
    for (hub, id) in [(&other, "one"), (&owner, "two")] {
        assert_eq!(count(hub, &format!("/counts/{id}")).await, whole);
        assert_eq!(
            count(hub, &format!("/nested/counts/nested-{id}")).await,
            whole
        );
    }
    // The stream is there for all.
    let stored = other.request(Method::GET, "/streams/counts/nested-one?live=false");
    assert_eq!(stored.send().await.unwrap().status(), 200);
    // Its own preflight isn't forwarded.
    let preflight = other.request(Method::OPTIONS, "/counts/one");
    let preflight = preflight.header("headwater-forwarded", "1").send();
    assert_ne!(preflight.await.unwrap().status(), 503);
    owner.kill();
    // 502 if a connection was there still.
    let (status, problem) = count(&other, "/counts/three").await;
    assert!(matches!(status, 502 | 503), "{status}: {problem}");
    assert!(problem.contains("\"owner_"), "{problem}");
}

#[tokio::test]
async fn durable_handlers_run_on_the_owner_alone() {
    let (owner, other) = two().await;
    let run = async |hub: &Hub| {
        let run = hub.durable("d").run(|| stream::iter([1]));
        let run: Result<Durable<u64>, Problem> = run.await;
        run.map(drop)
    };
    let problem = run(&other.hub).await.unwrap_err();
    let problem = serde_json::to_value(&problem).unwrap();
    assert_eq!(
        (&problem["status"], &problem["code"]),
        (&503.into(), &"not_owner".into())
    );
    assert!(run(&owner.hub).await.is_ok());
    // A stream that is there is joined.
    assert!(run(&other.hub).await.is_ok());
}
