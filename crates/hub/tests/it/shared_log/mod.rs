//! Hubs that share a log, over sockets.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod forwarding;
mod relays;
mod subscriptions;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::stream;
use headwater::{App, Path, Problem, State, post};
use headwater_client::{Egress, internals};
use headwater_hub::{Durable, Hub, Options};
use headwater_log::{Append, Create, Log, MemoryLog, Settings, StreamName};
use http::Method;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime, time::sleep};

const PATIENCE: Duration = Duration::from_secs(60);

/// A hub as a process of its own: it has a runtime, which can be killed.
struct Member {
    hub: Hub,
    url: String,
    runtime: Option<Runtime>,
    client: Client,
}

/// Counts. All requests for one id share the numbers.
async fn count(
    State(hub): State<Hub>,
    Path(id): Path<String>,
    body: String,
) -> Result<Durable<String>, Problem> {
    let numbers = move || stream::iter((0..3).map(move |n| format!("{body}{n}")));
    hub.durable(format!("counts/{id}")).run(numbers).await
}

/// An app with routes of its own, of which some are nested.
fn app(hub: &Hub) -> App {
    let counts = || {
        let counts = App::new("Counts", "1.0.0").route("/counts/{id}", post(count));
        counts.layer(hub.owner_layer()).with_state(hub.clone())
    };
    counts().nest("/nested", counts()).merge(hub.app())
}

fn options() -> Options {
    let egress = Egress::allow(["http://127.0.0.1:*"]).expect("it is a pattern");
    Options::new().upstreams(egress).loopback_webhooks()
}

impl Member {
    async fn new(log: &Arc<MemoryLog>) -> Self {
        Self::with(log, options(), true).await
    }

    async fn with(log: &Arc<MemoryLog>, options: Options, advertises: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let log: Arc<dyn Log> = Arc::clone(log) as _;
        let started = runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
            let url = format!("http://{}", listener.local_addr().expect("a socket"));
            let options = match advertises {
                true => options.shared_log().advertise(&url).expect("a URL"),
                false => options.shared_log(),
            };
            let hub = Hub::with_options(log, options);
            hub.start();
            let server = headwater::serve(app(&hub), listener)
                .hosts(headwater::Hosts::any())
                .quiet();
            tokio::spawn(server.into_future());
            (hub, url)
        });
        let (hub, url) = started.await.expect("it starts");
        Self {
            hub,
            url,
            runtime: Some(runtime),
            client: client(),
        }
    }

    /// Ends it as `kill -9` does.
    fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// Requests a subscription's path, with JSON unless it is null.
    async fn ask(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.request(method, &format!("/streams/__ds/{path}"));
        let request = match body {
            Value::Null => request,
            body => request
                .header("content-type", "application/json")
                .body(body.to_string()),
        };
        answer(request).await
    }

    async fn publish(&self, stream: &str, message: &str) {
        let request = self.request(Method::POST, &format!("/streams/{stream}"));
        let request = request
            .header("stream-create", "true")
            .header("content-type", "application/json");
        let status = request
            .body(message.to_owned())
            .send()
            .await
            .unwrap()
            .status();
        assert!(status.is_success(), "{status}");
    }

    /// Waits until requests for the owner's state are answered here.
    async fn serves(&self) {
        let start = Instant::now();
        while self
            .ask(Method::GET, "subscriptions/none", Value::Null)
            .await
            .0
            != 404
        {
            assert!(start.elapsed() < PATIENCE, "there is no owner");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a request. Returns the status and the JSON of the response, which can be empty.
async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn client() -> Client {
    let http = internals::http().expect("TLS");
    http.no_proxy().build().expect("a client")
}

/// Starts two hubs over one log. The first one is the owner.
async fn two() -> (Member, Member) {
    let log = Arc::new(MemoryLog::default());
    let owner = Member::new(&log).await;
    owner.serves().await;
    let other = Member::new(&log).await;
    other.serves().await;
    (owner, other)
}

/// Writes the record of an owner at this URL to a log. Hubs wait for the end of its lease.
async fn claimed(log: &MemoryLog, url: &str) {
    let name: StreamName = "__ds/owner".parse().unwrap();
    let json = Create::new(Settings::of_type("application/json"));
    log.create(&name, json).await.unwrap();
    let record = serde_json::json!({"hub": "of the test", "term": 1, "url": url});
    let append = Append::new(vec![record.to_string().into()]).by("__ds/owner", 1, 0);
    log.append(&name, append).await.unwrap();
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}
