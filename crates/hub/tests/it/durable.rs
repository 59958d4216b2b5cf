//! Durable streams of handlers.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, State},
    http::Request,
};
use futures_util::{Stream, StreamExt as _, stream};
use headwater::{
    App, Format, OpenApi, Path, Problem, StatusCode, get,
    test::{TestClient, TestStream},
};
use headwater_hub::{Durable, DurableBuilder, Hub, Limits, Options};
use headwater_log::{DiskLog, DiskOptions, Durability, Log, MemoryLog, MemoryOptions};
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Token {
    n: u64,
}

type Said = mpsc::UnboundedReceiver<Result<u64, Problem>>;

/// State that the handlers of a test share.
#[derive(Clone)]
struct Model {
    hub: Hub,
    keep: fn(DurableBuilder) -> DurableBuilder,
    /// Number of times that the model was called.
    asked: Arc<AtomicUsize>,
    /// Number of its streams that exist.
    running: Arc<AtomicUsize>,
    /// The tokens, in order, for the first caller.
    says: Arc<Mutex<Option<Said>>>,
}

/// Counts as running until it is dropped.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Model {
    fn ask(self) -> impl Stream<Item = Result<Token, Problem>> + Send {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(self.running);
        let says = self.says.lock().expect("no panic").take();
        let says = says.expect("it is asked once");
        stream::unfold((says, running), |(mut says, running)| async {
            let said = says.recv().await?;
            Some((said.map(|n| Token { n }), (says, running)))
        })
    }
}

/// Answers, token by token.
#[headwater::operation]
async fn answer(
    State(model): State<Model>,
    Path(id): Path<String>,
) -> Result<Durable<Token>, Problem> {
    let stream = model.hub.durable(format!("answers/{id}"));
    (model.keep)(stream).try_run(|| model.ask()).await
}

/// Returns three numbers.
#[headwater::operation]
async fn numbers(State(model): State<Model>) -> Result<Durable<Token>, Problem> {
    let numbers = stream::iter((1..=3).map(|n| Token { n }));
    model.hub.durable("numbers").run(|| numbers).await
}

/// Returns numbers, one of which isn't finite.
#[headwater::operation]
async fn floats(State(model): State<Model>) -> Result<Durable<f64>, Problem> {
    let numbers = stream::iter([1.5, f64::NAN, 2.5]);
    model.hub.durable("floats").run(|| numbers).await
}

#[tokio::test]
async fn a_float_that_is_not_finite_fails_the_stream() {
    let server = Server::new(|stream| stream);
    let mut items = server.client.get("/floats").stream::<f64>().await;
    assert_eq!(items.next().await, Some(1.5));
    items.cut().await;
    let kept = server.client.get("/streams/floats").send().await;
    assert!(kept.headers().contains_key("stream-error"));
    assert_eq!(kept.text().await.trim_end(), "[1.5]");
}

struct Server {
    client: TestClient,
    log: Arc<dyn Log>,
    model: Model,
    /// Sends the model's next token.
    say: mpsc::UnboundedSender<Result<u64, Problem>>,
}

impl Server {
    fn new(keep: fn(DurableBuilder) -> DurableBuilder) -> Self {
        let log = MemoryLog::new(MemoryOptions::default());
        Self::over(Arc::new(log), keep)
    }

    fn over(log: Arc<dyn Log>, keep: fn(DurableBuilder) -> DurableBuilder) -> Self {
        let (say, says) = mpsc::unbounded_channel();
        let model = Model {
            hub: Hub::new(Arc::clone(&log)),
            keep,
            asked: Arc::default(),
            running: Arc::default(),
            says: Arc::new(Mutex::new(Some(says))),
        };
        Self {
            client: TestClient::new(app(&model)),
            log,
            model,
            say,
        }
    }

    fn say(&self, numbers: impl IntoIterator<Item = u64>) {
        for n in numbers {
            self.say.send(Ok(n)).expect("it is listened to");
        }
    }

    /// Returns an offset of a stream, as the hub writes it.
    fn at(&self, path: &str, number: u64) -> String {
        crate::at(&*self.log, path, number)
    }

    /// Ends the model's stream.
    fn done(&mut self) {
        self.say = mpsc::unbounded_channel().0;
    }

    async fn watch(&self, id: &str) -> TestStream<Token> {
        let request = self.client.get(&format!("/answers/{id}"));
        request.accept(Format::Sse).stream().await
    }

    fn asked(&self) -> usize {
        self.model.asked.load(Ordering::SeqCst)
    }

    fn is_running(&self) -> bool {
        self.model.running.load(Ordering::SeqCst) > 0
    }

    async fn stopped(&self) {
        let start = Instant::now();
        while self.is_running() {
            assert!(start.elapsed() < PATIENCE, "it is running still");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the stream is closed, and returns the problem with which it was.
    async fn reason(&self, path: &str) -> Value {
        let start = Instant::now();
        loop {
            let known = self.client.request(http::Method::HEAD, path).send().await;
            if known.headers().contains_key("stream-closed") {
                let error = known.headers().get("stream-error").expect("it failed");
                let text = error.to_str().expect("it is ASCII");
                return serde_json::from_str(text).expect("it is JSON");
            }
            assert!(start.elapsed() < PATIENCE, "it is open still");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

fn app(model: &Model) -> App {
    App::new("Answers", "1.0.0")
        .route("/answers/{id}", get(answer))
        .route("/numbers", get(numbers))
        .route("/floats", get(floats))
        .with_state(model.clone())
        .merge(model.hub.app())
}

async fn all(mut stream: TestStream<Token>) -> Vec<u64> {
    let mut numbers = Vec::new();
    while let Some(token) = stream.next().await {
        numbers.push(token.n);
    }
    numbers
}

#[tokio::test]
async fn only_the_first_request_runs_the_handlers_stream_in_any_format() {
    let server = Server::new(DurableBuilder::keep);
    for format in Format::ALL {
        let request = server.client.get("/numbers").accept(format);
        let response = request.send().await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-location"], "/streams/numbers");
        let text = response.text().await;
        let expected = match format {
            Format::Ndjson => "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n",
            Format::JsonSeq => "\u{1e}{\"n\":1}\n\u{1e}{\"n\":2}\n\u{1e}{\"n\":3}\n",
            Format::JsonArray => "[{\"n\":1}\n,{\"n\":2}\n,{\"n\":3}\n]\n",
            Format::Sse => {
                let [one, two, three] = [1, 2, 3].map(|n| server.at("numbers", n));
                &format!(
                    "id: {one}\ndata: {{\"n\":1}}\n\nid: {two}\ndata: {{\"n\":2}}\n\nid: {three}\ndata: {{\"n\":3}}\n\n\
                     event: headwater:end\nid: headwater:end\ndata: {{\"items\":3}}\n\n"
                )
            }
            _ => "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n",
        };
        assert_eq!(text, expected, "{format}");
    }
    // It is an ordinary stream.
    let stream = server.client.get("/streams/numbers").send().await;
    assert_eq!(stream.headers()["stream-closed"], "true");
    assert_eq!(stream.text().await, "[{\"n\":1},{\"n\":2},{\"n\":3}]");
}

#[tokio::test]
async fn a_durable_stream_continues_without_its_client_and_others_join() {
    let mut server = Server::new(DurableBuilder::keep);
    server.say([1]);
    let mut first = server.watch("42").await;
    assert_eq!(first.next().await, Some(Token { n: 1 }));
    first.leave().await;
    server.say([2, 3]);

    let mut second = server.watch("42").await;
    let mut third = server
        .client
        .get("/streams/answers/42")
        .accept(Format::Ndjson)
        .stream::<Token>()
        .await;
    for n in 1..=3 {
        assert_eq!(second.next().await, Some(Token { n }));
        assert_eq!(third.next().await, Some(Token { n }));
    }
    server.say([4]);
    server.done();
    assert_eq!(all(second).await, [4]);
    assert_eq!(all(third).await, [4]);
    assert_eq!(all(server.watch("42").await).await, [1, 2, 3, 4]);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_reconnecting_client_resumes_after_its_last_id() {
    let mut server = Server::new(DurableBuilder::keep);
    server.say([1, 2, 3]);
    let mut first = server.watch("a").await;
    first.next().await;
    let seen = first.next_event().await.expect("the second").id.to_string();
    first.leave().await;

    let request = server.client.get("/answers/a").accept(Format::Sse);
    let mut back = request.last_event_id(&seen).stream::<Token>().await;
    assert_eq!(back.next().await, Some(Token { n: 3 }));
    let uri = format!("/answers/a?offset={seen}");
    let mut by_query = server.client.get(&uri).stream::<Token>().await;
    assert_eq!(by_query.next().await, Some(Token { n: 3 }));
    let mut live = server
        .client
        .get("/answers/a?offset=now")
        .stream::<Token>()
        .await;
    server.say([4]);
    for stream in [&mut back, &mut by_query, &mut live] {
        assert_eq!(stream.next().await, Some(Token { n: 4 }));
    }
    server.done();
    for stream in [back, by_query, live] {
        assert!(all(stream).await.is_empty());
    }
    assert_eq!(server.asked(), 1);

    let request = server
        .client
        .get("/answers/a")
        .last_event_id("headwater:end");
    assert_eq!(request.send().await.status(), StatusCode::NO_CONTENT);
    server.client.get("/numbers").send().await.text().await;
    let (beyond, other) = (server.at("answers/a", 99), server.at("numbers", 1));
    for (wrong, status, reason) in [
        ("nonsense", StatusCode::GONE, "other_stream"),
        ("0000000000000001", StatusCode::GONE, "other_stream"),
        (&other, StatusCode::GONE, "other_stream"),
        (&beyond, StatusCode::BAD_REQUEST, "beyond_tail"),
    ] {
        let request = server.client.get("/answers/a").last_event_id(wrong);
        let response = request.send().await;
        assert_eq!(response.status(), status, "{wrong}");
        assert_eq!(response.json::<Value>().await["reason"], reason, "{wrong}");
        // That would stop an `EventSource` for good, so it receives a notice and all items instead.
        let request = server.client.get("/answers/a").accept(Format::Sse);
        let mut events = request.last_event_id(wrong).stream::<Token>().await;
        let reset = events.next_event().await.expect("a reset");
        assert!(reset.is_reset(), "{reset:?}");
        assert_eq!(&*reset.id, server.at("answers/a", 0));
        assert_eq!(events.take(9).await.len(), 4, "{wrong}");
    }
    // Nothing is run again for a client that received items which are gone.
    let request = server.client.get("/answers/gone").last_event_id(&seen);
    assert_eq!(request.send().await.status(), StatusCode::GONE);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn cancelling_drops_the_handlers_stream_at_once_and_is_reported() {
    for by_delete in [false, true] {
        let server = Server::new(DurableBuilder::keep);
        server.say([1]);
        let mut watcher = server.watch("42").await;
        assert_eq!(watcher.next().await, Some(Token { n: 1 }));
        assert!(server.is_running());
        let start = Instant::now();
        if by_delete {
            let delete = server
                .client
                .request(http::Method::DELETE, "/streams/answers/42");
            assert_eq!(delete.send().await.status(), StatusCode::NO_CONTENT);
        } else {
            assert!(server.model.hub.cancel("answers/42").await);
        }
        server.stopped().await;
        assert!(
            start.elapsed() < Duration::from_millis(100),
            "{:?}",
            start.elapsed()
        );
        let event = watcher.next_event().await.expect("an error event");
        assert!(event.is_error());
        let expected = if by_delete { 410 } else { 409 };
        let problem: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(problem["status"], expected);
        assert_eq!(&*event.id, "headwater:end", "an EventSource is stopped");
        if !by_delete {
            assert!(!server.model.hub.cancel("answers/42").await, "it is over");
        }
    }
    assert!(
        !Server::new(DurableBuilder::keep)
            .model
            .hub
            .cancel("..")
            .await
    );
}

#[tokio::test]
async fn a_durable_stream_continues_for_keep_for_without_watchers() {
    for keep in [
        (|stream| stream.keep_for(Duration::from_millis(150)))
            as fn(DurableBuilder) -> DurableBuilder,
        DurableBuilder::cancel_when_left,
    ] {
        let server = Server::new(keep);
        server.say([1]);
        let mut one = server.watch("a").await;
        let mut two = server.watch("a").await;
        for watcher in [&mut one, &mut two] {
            assert_eq!(watcher.next().await, Some(Token { n: 1 }));
        }
        one.leave().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.say([2]);
        assert_eq!(two.next().await, Some(Token { n: 2 }), "one watches still");
        two.leave().await;
        server.stopped().await;
        let reason = server.reason("/streams/answers/a").await;
        assert_eq!(reason["type"], "urn:headwater:unwatched");
    }
}

#[tokio::test]
async fn an_error_of_the_handlers_stream_ends_it_for_all_readers() {
    let server = Server::new(DurableBuilder::keep);
    server.say([1]);
    let problem = || Problem::new(StatusCode::BAD_GATEWAY).detail("the model fell over");
    server.say.send(Err(problem())).unwrap();
    let mut watcher = server.watch("a").await;
    assert_eq!(watcher.next().await, Some(Token { n: 1 }));
    let event = watcher.next_event().await.expect("an error event");
    assert!(event.is_error() && event.data.contains("the model fell over"));
    let reason = server.reason("/streams/answers/a").await;
    assert_eq!(reason["status"], 502);
    let mut later = server.client.get("/answers/a").stream::<Token>().await;
    assert_eq!(later.next().await, Some(Token { n: 1 }));
    later.cut().await;

    // A client that has received all items learns of the end as one that was connected does.
    let request = server.client.get("/answers/a").accept(Format::Sse);
    let response = request
        .last_event_id(&server.at("answers/a", 1))
        .send()
        .await;
    assert_eq!(response.status(), StatusCode::OK);
    let event = response.stream::<Token>().await.next_event().await;
    let event = event.expect("an error event");
    assert!(event.is_error() && event.data.contains("the model fell over"));
    assert_eq!(&*event.id, "headwater:end");

    // Before the first item, it is the response's status.
    let server = Server::new(DurableBuilder::keep);
    server.say.send(Err(problem())).unwrap();
    let response = server.client.get("/answers/a").send().await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn a_foreign_stream_is_a_conflict_and_an_invalid_path_is_refused() {
    let server = Server::new(DurableBuilder::keep);
    let put = server
        .client
        .request(http::Method::PUT, "/streams/answers/taken")
        .header("content-type", "application/json");
    assert_eq!(put.send().await.status(), StatusCode::CREATED);
    let response = server.client.get("/answers/taken").send().await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    for path in ["/answers/..%2F__ds", "/answers/a%2F%2Fb"] {
        let response = server.client.get(path).send().await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn concurrent_requests_run_the_stream_once() {
    let mut server = Server::new(DurableBuilder::keep);
    server.say(1..=20);
    let asked = (0..50).map(|_| server.watch("a"));
    let watchers: Vec<_> = futures_util::future::join_all(asked).await;
    server.done();
    let expected: Vec<_> = (1..=20).collect();
    for watcher in watchers {
        assert_eq!(all(watcher).await, expected);
    }
    assert_eq!(server.asked(), 1);
}

#[test]
fn a_stream_that_ran_when_the_process_ended_is_closed_as_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    // A runtime simulates a process: dropping it aborts all its tasks.
    let process = |work: fn(Server) -> futures_util::future::BoxFuture<'static, ()>| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let mut options = DiskOptions::default();
        options.durability = Durability::Os;
        let log: Arc<dyn Log> = Arc::new(DiskLog::open(folder.path(), options).unwrap());
        runtime.block_on(async {
            work(Server::over(Arc::clone(&log), DurableBuilder::keep)).await;
        });
        drop(runtime);
    };
    process(|server| {
        Box::pin(async move {
            server.say([1, 2]);
            let mut watcher = server.watch("a").await;
            assert_eq!(watcher.take(2).await.len(), 2);
        })
    });
    process(|server| {
        Box::pin(async move {
            let mut watcher = server.watch("a").await;
            assert_eq!(watcher.take(2).await, [Token { n: 1 }, Token { n: 2 }]);
            let event = watcher.next_event().await.expect("an error event");
            assert!(event.is_error() && event.data.contains("urn:headwater:interrupted"));
            assert_eq!(server.asked(), 0);
        })
    });
}

#[tokio::test]
async fn the_document_describes_the_items_and_the_location() {
    let server = Server::new(DurableBuilder::keep);
    let document = app(&server.model).openapi(OpenApi::V3_2);
    let responses = &document["paths"]["/answers/{id}"]["get"]["responses"];
    let sse = &responses["200"]["content"]["text/event-stream"];
    assert!(sse["itemSchema"].to_string().contains("Token"), "{sse}");
    assert!(responses["200"]["headers"]["content-location"].is_object());
    assert!(responses["409"].is_object() && responses["410"].is_object());
}

#[tokio::test]
async fn a_durable_stream_runs_without_a_request_and_without_readers() {
    let hub = Hub::new(Arc::new(MemoryLog::new(MemoryOptions::default())));
    let endless = || {
        stream::iter(0_u64..).then(|n| async move {
            tokio::task::yield_now().await;
            n
        })
    };
    let numbers: Durable<u64> = hub.durable("endless").run(endless).await.unwrap();
    drop(numbers);
    assert!(hub.cancel("endless").await);
}

#[tokio::test]
async fn readers_that_read_nothing_leave_room_for_those_of_other_addresses() {
    let mut limits = Limits::default();
    limits.outgoing_bytes = 4 << 20;
    let hub = Hub::with_options(
        Arc::new(MemoryLog::default()),
        Options::new().limits(limits),
    );
    let large = async |State(hub): State<Hub>, Path(bytes): Path<usize>| {
        let item = "x".repeat(bytes);
        hub.durable(format!("large/{bytes}"))
            .run(|| stream::iter([item]))
            .await
    };
    let app = Router::new()
        .route("/{bytes}", axum::routing::get(large))
        .layer(headwater::layer())
        .with_state(hub);
    let read = |bytes: usize, address: [u8; 4]| {
        let request = Request::get(format!("/{bytes}"))
            .extension(ConnectInfo(SocketAddr::from((address, 1))))
            .body(Body::empty())
            .expect("it is a request");
        app.clone().oneshot(request)
    };
    let (slow, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let held = read(1_000_000, slow).await.expect("it never fails");
    // A message and its encoding take twice its size, which is the whole share.
    let waiting = read(1_000_001, slow).await.expect("it never fails");
    let mut waiting = waiting.into_body();
    let first = tokio::time::timeout(Duration::from_millis(300), waiting.frame());
    assert!(first.await.is_err(), "the share is used up");
    let response = read(1_000_002, other).await.expect("it never fails");
    let whole = to_bytes(response.into_body(), 2 << 20).await;
    assert!(whole.is_ok_and(|body| body.len() > 1_000_000));
    drop(held);
    let first = waiting.frame().await.expect("it has an item");
    assert!(
        first
            .expect("it isn't cut")
            .data_ref()
            .is_some_and(|data| data.len() > 1_000_000)
    );
}
