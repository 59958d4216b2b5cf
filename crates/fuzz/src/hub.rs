//! A sequence of requests to a hub.
//!
//! A request is a line with a method, a path and a query, then header lines, an empty line and the body. A line `---`
//! ends it.

use std::{cell::RefCell, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use headwater::test::{TestClient, TestResponse};
use headwater_hub::{Hub, Limits, Options};
use headwater_log::{Log, MemoryLog, MemoryOptions};
use http::{HeaderName, HeaderValue, Method, Uri};
use serde_json::{Value, value::RawValue};
use tokio::runtime::Runtime;

use crate::memory::Meter;

/// The most requests of one input. More of them find nothing that fewer don't.
const REQUESTS: usize = 16;

/// The statuses in the hub's OpenAPI document. A response has no other one.
const STATUSES: [u16; 18] = [
    200, 201, 204, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 503, 507,
];

struct Request<'a> {
    method: Method,
    uri: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: &'a [u8],
}

/// Parses one request. Returns `None` if no client could send it.
fn parse(input: &[u8]) -> Option<Request<'_>> {
    let mut rest = input;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, after) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &[][..]),
        };
        rest = after;
        std::str::from_utf8(line).ok()
    };
    let (method, uri) = line()?.split_once(' ')?;
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        HeaderName::try_from(name).ok()?;
        HeaderValue::try_from(value.trim()).ok()?;
        headers.push((name, value.trim()));
    }
    let method = Method::try_from(method).ok()?;
    if !uri.starts_with('/') || uri.parse::<Uri>().is_err() {
        return None;
    }
    // A webhook would call another host.
    if uri.contains("__ds") && rest.windows(7).any(|bytes| bytes == b"webhook") {
        return None;
    }
    Some(Request {
        method,
        uri,
        headers,
        body: rest,
    })
}

/// Reads a body until it ends or stays idle. Returns its bytes and whether it ended.
async fn body(response: TestResponse) -> (Vec<u8>, bool) {
    let mut chunks = response.into_data_stream();
    let mut body = Vec::new();
    loop {
        // The clock is paused and advances when nothing else can happen, so this takes no time.
        match tokio::time::timeout(Duration::from_millis(50), chunks.next()).await {
            Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
            Ok(None) => return (body, true),
            Ok(Some(Err(_))) | Err(_) => return (body, false),
        }
    }
}

async fn send(client: &TestClient, request: &Request<'_>) {
    let mut sent = client.request(request.method.clone(), request.uri);
    for (name, value) in &request.headers {
        sent = sent.header(name, value);
    }
    let response = sent.body(request.body.to_vec()).send().await;
    let status = response.status().as_u16();
    assert!(STATUSES.contains(&status), "status {status}");
    let header = |name| {
        let value = response.headers().get(name);
        value.and_then(|value| value.to_str().ok().map(str::to_owned))
    };
    let content_type = header("content-type").unwrap_or_default();
    let (body, ended) = body(response).await;
    if status >= 400 {
        assert!(ended, "an error has an end");
        let is_problem = content_type == "application/problem+json";
        let is_protocols = content_type.starts_with("application/json");
        let has_none = body.is_empty();
        assert!(
            is_problem || is_protocols || has_none,
            "{status} of type {content_type:?}"
        );
        if !has_none {
            serde_json::from_slice::<Value>(&body).expect("an error is JSON");
        }
    }
}

/// Checks that a stream has the same messages as an array and as lines.
async fn check(client: &TestClient, path: &str) {
    let response = client.get(path).send().await;
    if response.status() != 200 {
        return;
    }
    let is_json = response.headers()["content-type"]
        .to_str()
        .is_ok_and(|text| text.split(';').next() == Some("application/json"));
    let up_to_date = response.headers().contains_key("stream-up-to-date");
    let (whole, ended) = body(response).await;
    assert!(ended, "a catch-up read has an end");
    if !is_json || !up_to_date {
        return;
    }
    let whole: Vec<Box<RawValue>> =
        serde_json::from_slice(&whole).expect("a stream of JSON reads as an array");
    let request = client.get(&format!("{path}?live=false"));
    let request = request.header("accept", "application/x-ndjson");
    let response = request.send().await;
    assert_eq!(response.status(), 200);
    let (lines, ended) = body(response).await;
    assert!(ended, "live=false has an end");
    let lines: Vec<Box<RawValue>> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("a line is JSON"))
        .collect();
    let values = |messages: Vec<Box<RawValue>>| -> Vec<Option<Value>> {
        let value = |message: Box<RawValue>| serde_json::from_str(message.get()).ok();
        messages.into_iter().map(value).collect()
    };
    assert_eq!(values(whole), values(lines), "an array and lines differ");
}

/// Sends the requests, and checks each response and the streams that result.
///
/// # Panics
/// If a status or body isn't as documented, or reads of a stream differ.
pub fn hub(input: &[u8]) {
    let mut requests = Vec::new();
    let mut rest = input;
    while !rest.is_empty() && requests.len() < REQUESTS {
        let end = rest.windows(5).position(|bytes| bytes == b"\n---\n");
        let (request, after) = match end {
            Some(end) => (&rest[..end], &rest[end + 5..]),
            None => (rest, &[][..]),
        };
        requests.extend(parse(request));
        rest = after;
    }
    if requests.is_empty() {
        return;
    }
    HUB.with(|hub| {
        let mut hub = hub.borrow_mut();
        let Server {
            runtime,
            log,
            client,
        } = hub.get_or_insert_with(Server::new);
        let is_clean = runtime.block_on(async {
            let meter = Meter::start();
            for request in &requests {
                send(client, request).await;
            }
            meter.check(input.len(), 64 << 10, 64);
            for path in ["/streams/a", "/streams/b", "/streams/c/d"] {
                check(client, path).await;
            }
            clean(log).await
        });
        // Subscriptions have no listing to delete them by.
        if !is_clean || requests.iter().any(|request| request.uri.contains("__ds")) {
            *hub = None;
        }
    });
}

/// A hub, and the runtime that it runs on. Building one takes a debug build 70 ms, so the next input gets it too.
struct Server {
    runtime: Runtime,
    log: Arc<MemoryLog>,
    client: TestClient,
}

thread_local! {
    static HUB: RefCell<Option<Server>> = const { RefCell::new(None) };
}

impl Server {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        // Small, so that inputs reach them.
        let mut limits = Limits::default();
        limits.body_bytes = 1024;
        limits.line_bytes = 256;
        limits.response_bytes = 4096;
        limits.read_bytes = 512;
        limits.subscribers = 4;
        let options = Options::new().limits(limits);
        let log = Arc::new(MemoryLog::new(MemoryOptions::default()));
        let client = runtime.block_on(async {
            let client = TestClient::new(Hub::with_options(log.clone(), options).app());
            // The first request builds what all share: that isn't the input's.
            send(&client, &parse(b"GET /streams").expect("a request")).await;
            client
        });
        Self {
            runtime,
            log,
            client,
        }
    }
}

/// Deletes all streams. Returns whether none is left.
async fn clean(log: &MemoryLog) -> bool {
    let list = async || log.list("", None, 1000).await.map(|page| page.streams);
    for info in list().await.unwrap_or_default() {
        // A stream may end by itself meanwhile.
        let _ = log.delete(&info.name).await;
    }
    list().await.is_ok_and(|streams| streams.is_empty())
}
