//! Behaviour that the protocol's conformance suite doesn't cover.

#[macro_use]
mod pass_on;

#[cfg(all(feature = "gather", feature = "relay", feature = "webhooks"))]
mod access;
mod behind;
mod creating;
mod damaged;
mod described;
mod durable;
mod encoded;
mod ends;
mod events;
mod foreign;
mod framed;
#[cfg(feature = "gather")]
mod gather;
mod json;
mod layers;
mod lines;
mod listing;
mod live;
mod many;
mod moving;
#[cfg(not(feature = "webhooks"))]
mod no_webhooks;
mod noise;
mod positions;
mod producers;
mod rates;
mod reads;
mod refusals;
#[cfg(feature = "relay")]
mod relay;
mod schemas;
#[cfg(all(feature = "gather", feature = "relay", feature = "webhooks"))]
mod shared_log;
mod shutdown;
mod slow;
mod starting;
#[cfg(feature = "webhooks")]
mod subscriptions;

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use headwater::test::{TestClient, TestRequest, TestResponse};
use headwater_hub::{Hub, Options};
use headwater_log::{
    Clock, DiskLog, DiskOptions, Durability, Log, Mark, MemoryLog, MemoryOptions, Offset, Position,
    Timestamp,
};
use http::Method;

const START: Timestamp = Timestamp(1_800_000_000_000);

/// A hub, and a client of it.
struct Server {
    client: TestClient,
    clock: Clock,
    log: Arc<dyn Log>,
    /// The folder of the log, if it isn't in memory. Dropped after the log.
    folder: Option<tempfile::TempDir>,
}

impl Server {
    fn new() -> Self {
        Self::with(Options::new().long_poll(Duration::from_millis(200)))
    }

    /// Creates a hub with an in-memory log.
    fn with(options: Options) -> Self {
        let mut settings = MemoryOptions::default();
        settings.clock = Clock::by_hand(START);
        let clock = settings.clock.clone();
        Self::over(Arc::new(MemoryLog::new(settings)), clock, None, options)
    }

    /// Creates a hub with a log on disk.
    fn on_disk(options: Options) -> Self {
        let folder = tempfile::tempdir().expect("there is room");
        let mut settings = DiskOptions::default();
        settings.clock = Clock::by_hand(START);
        settings.durability = Durability::Os;
        let clock = settings.clock.clone();
        let log = DiskLog::open(folder.path(), settings).expect("an empty log opens");
        Self::over(Arc::new(log), clock, Some(folder), options)
    }

    /// Creates a hub for each engine.
    fn of_each_kind() -> [Self; 2] {
        [Self::new(), Self::on_disk(Options::new())]
    }

    /// Creates another hub over the same log, as after a restart.
    fn restarted(self, options: Options) -> Self {
        let Self {
            client,
            clock,
            log,
            folder,
        } = self;
        drop(client);
        Self::over(log, clock, folder, options)
    }

    fn over(
        log: Arc<dyn Log>,
        clock: Clock,
        folder: Option<tempfile::TempDir>,
        options: Options,
    ) -> Self {
        let client = TestClient::new(Hub::with_options(Arc::clone(&log), options).app());
        Self {
            client,
            clock,
            log,
            folder,
        }
    }

    fn request(&self, method: Method, path: &str) -> TestRequest {
        self.client.request(method, &format!("/streams/{path}"))
    }

    fn get(&self, path: &str) -> TestRequest {
        self.request(Method::GET, path)
    }

    /// Returns an `EventSource`'s request.
    fn events(&self, path: &str) -> TestRequest {
        self.get(path).header("accept", "text/event-stream")
    }

    /// Returns a request for lines of JSON.
    fn lines(&self, path: &str) -> TestRequest {
        self.get(path).header("accept", "application/x-ndjson")
    }

    async fn put(&self, path: &str, content_type: &str, body: &str) -> TestResponse {
        let put = self
            .request(Method::PUT, path)
            .header("content-type", content_type);
        put.body(body.to_owned()).send().await
    }

    async fn put_json(&self, path: &str, body: &str) {
        let response = self.put(path, "application/json", body).await;
        assert_eq!(response.status(), 201);
    }

    async fn post(&self, path: &str, content_type: &str, body: &str) -> TestResponse {
        let post = self
            .request(Method::POST, path)
            .header("content-type", content_type);
        post.body(body.to_owned()).send().await
    }

    async fn post_json(&self, path: &str, body: &str) {
        let response = self.post(path, "application/json", body).await;
        assert_eq!(response.status(), 204);
    }

    async fn close(&self, path: &str) {
        let post = self
            .request(Method::POST, path)
            .header("stream-closed", "true");
        assert_eq!(post.send().await.status(), 204);
    }

    /// Returns an offset of a stream, as the hub writes it.
    #[track_caller]
    fn at(&self, path: &str, number: u64) -> String {
        at(&*self.log, path, number)
    }

    /// Returns a position in the global order, as the hub writes it.
    fn order(&self, number: u64) -> String {
        Mark::in_order(Position::new(number), self.log.identity()).to_string()
    }

    async fn delete(&self, path: &str) {
        assert_eq!(
            self.request(Method::DELETE, path).send().await.status(),
            204
        );
    }
}

/// Returns an offset of a stream, as the hub writes it.
#[track_caller]
fn at(log: &dyn Log, path: &str, number: u64) -> String {
    let info = log
        .info(&path.parse().expect("it is a name"))
        .now_or_never();
    // Neither log is pending if the stream was just used.
    let info = info.expect("it is in memory").expect("it is there");
    info.at(Offset::new(number)).to_string()
}

/// Returns `true` if this build has the endpoint at a path.
fn is_built_in(path: &str) -> bool {
    (cfg!(feature = "gather") || !path.starts_with("/gather"))
        && (cfg!(feature = "relay") || !path.starts_with("/relay"))
}

/// Returns a header of a response as text. Empty if there is none.
fn header(response: &TestResponse, name: &str) -> String {
    let value = response
        .headers()
        .get(name)
        .map(|value| value.to_str().expect("it is ASCII"));
    value.unwrap_or_default().to_owned()
}
