//! Relays: the Durable Streams Proxy Protocol, section by section, and extensions of it.

mod access;
mod creating;
mod ending;
mod feeds;
mod handler;
mod joining;
mod limits;
mod reading;
pub(crate) mod upstream;

use std::time::{Duration, Instant};

use headwater::test::{TestRequest, TestResponse, TestStream};
use headwater_client::Egress;
use headwater_hub::Options;
use http::Method;
use serde_json::Value;

use self::upstream::{Upstream, reply};
use crate::{Server, header};

const SSE: &str = "text/event-stream";

/// Returns the options of a hub that may call this machine.
fn options() -> Options {
    let egress = Egress::allow(["http://127.0.0.1:*"]).expect("it is a pattern");
    Options::new()
        .upstreams(egress)
        .long_poll(Duration::from_millis(200))
}

fn server() -> Server {
    Server::with(options())
}

impl Server {
    /// Returns a request to relay a call.
    fn relay(&self, query: &str, method: &str, url: &str) -> TestRequest {
        self.client
            .request(Method::POST, &format!("/relay{query}"))
            .header("upstream-url", url)
            .header("upstream-method", method)
            .header("host", "hub.example")
    }

    /// Relays a `GET`, and returns the path of the relay's signed URL.
    async fn relayed(&self, query: &str, url: &str) -> String {
        let response = self.relay(query, "GET", url).send().await;
        let status = response.status();
        assert!(status.is_success(), "{status} {}", response.text().await);
        location(&response)
    }

    async fn text_of(&self, path: &str) -> String {
        let response = self.client.get(path).send().await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await
    }

    /// Reads a relay as an `EventSource` does.
    async fn events_of(&self, path: &str) -> TestStream<Value> {
        let request = self.client.get(path).header("accept", SSE);
        request.send().await.stream().await
    }

    async fn refuses_get(&self, path: &str, status: u16, code: &'static str) {
        refused(self.client.get(path).send().await, status, code).await;
    }

    async fn refuses_patch(&self, path: &str, status: u16, code: &'static str) {
        refused(self.patch(path).await, status, code).await;
    }

    async fn patch(&self, path: &str) -> TestResponse {
        self.client.request(Method::PATCH, path).send().await
    }

    /// Waits until a relay's stream is closed, and returns the problem with which it was.
    async fn ended(&self, path: &str) -> Option<Value> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            let response = self.client.get(&with(path, "offset=now")).send().await;
            assert_eq!(response.status(), 200);
            if header(&response, "stream-closed") == "true" {
                let error = header(&response, "stream-error");
                let problem =
                    (!error.is_empty()).then(|| serde_json::from_str(&error).expect("it is JSON"));
                return problem;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{path} is not closed")
    }

    /// Waits until a relay's stream contains this text.
    async fn comes_to(&self, path: &str, text: &str) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if self.text_of(path).await == text {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?} is not {text:?}", self.text_of(path).await)
    }
}

/// Returns a path with one more parameter.
fn with(path: &str, more: &str) -> String {
    let sign = if path.contains('?') { '&' } else { '?' };
    format!("{path}{sign}{more}")
}

/// Returns a path without its query.
fn bare(path: &str) -> &str {
    path.split('?').next().unwrap_or(path)
}

/// Returns the path of `Location`, with its query.
fn location(response: &TestResponse) -> String {
    let location = header(response, "location");
    let path = location.strip_prefix("http://hub.example");
    path.unwrap_or_else(|| panic!("{location:?}")).to_owned()
}

/// Checks the code of a refusal, in the protocol's form and as a problem.
#[track_caller]
fn refused(response: TestResponse, status: u16, code: &'static str) -> impl Future<Output = Value> {
    assert_eq!(response.status(), status);
    assert_eq!(header(&response, "content-type"), "application/json");
    let challenge = header(&response, "www-authenticate");
    assert_eq!(challenge, if status == 401 { "Bearer" } else { "" });
    async move {
        let body: Value = response.json().await;
        assert_eq!(body["error"]["code"], code, "{body}");
        assert!(
            !body["error"]["message"]
                .as_str()
                .unwrap_or_default()
                .is_empty(),
            "{body}"
        );
        assert_eq!(body["status"], status, "{body}");
        body
    }
}

/// Waits until the upstream's connection is closed. Returns the time that it took.
async fn dropped(sender: &upstream::Sender) -> Duration {
    let start = Instant::now();
    let closed = tokio::time::timeout(Duration::from_secs(5), sender.closed());
    closed.await.expect("the upstream's connection is closed");
    start.elapsed()
}
