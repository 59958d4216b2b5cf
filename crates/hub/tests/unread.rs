//! Readers that take one chunk and stop reading. Runs alone in its process, whose memory it
//! measures.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use headwater_hub::Hub;
use headwater_log::{
    Append, Create, DiskLog, DiskOptions, Durability, Log, MemoryLog, Settings, StreamName,
};
use http::Request;
use http_body::Body as _;
use http_body_util::BodyExt;
use tower::ServiceExt;

const READERS: usize = 100;
/// Bytes that one reader may hold in these tests: a chunk, with some tolerance.
const EACH: usize = 160 << 10;
/// Shared and transient memory: concurrent reads, the budget, and buffers of the log.
const IN_ALL: usize = 160 << 20;

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = pages.split(' ').nth(1).expect("there are fields");
    pages.parse::<usize>().expect("it is a number") * 4096
}

async fn stream(log: &Arc<dyn Log>, name: &str, messages: Vec<Bytes>) {
    let name = StreamName::new(name).expect("it is a name");
    let create = Create::new(Settings::of_type("application/json"));
    log.create(&name, create).await.expect("there is room");
    for messages in messages.chunks(10_000) {
        let append = Append::new(messages.to_vec());
        log.append(&name, append).await.expect("there is room");
    }
}

/// A reader after its first chunk.
struct Reader {
    _chunk: Bytes,
    body: Body,
}

async fn read_one(app: &axum::Router, uri: &str, accept: &str) -> Reader {
    let request = Request::get(uri)
        .header("accept", accept)
        .header("host", "localhost");
    let request = request.body(Body::empty()).expect("it is a request");
    let response = app.clone().oneshot(request).await.expect("it never fails");
    assert_eq!(response.status(), 200, "{uri}");
    let mut body = response.into_body();
    loop {
        let frame = body
            .frame()
            .await
            .expect("it goes on")
            .expect("it is whole");
        let chunk = frame.into_data().expect("it is data");
        // The first chunk contains the position of `now`.
        if chunk.len() > 1000 {
            return Reader {
                _chunk: chunk,
                body,
            };
        }
    }
}

async fn check(log: Arc<dyn Log>) {
    let large = format!("\"{}\"", "x".repeat(4 << 20));
    stream(&log, "large", vec![large.into()]).await;
    let small = (0..30_000).map(|n| format!("1000{n:05}").into());
    stream(&log, "small", small.collect()).await;
    let app = Hub::new(log).app().into_router();
    let (sse, lines) = ("text/event-stream", "application/x-ndjson");
    for (uri, accept) in [
        ("/streams/large", sse),
        ("/streams/large", lines),
        ("/streams/large?live=sse&offset=-1", sse),
        ("/streams/large?live=false", lines),
        ("/events?stream=large", sse),
        ("/events?stream=large", lines),
        ("/streams/small", sse),
        ("/streams/small", lines),
        ("/streams/small?live=sse&offset=-1", sse),
        ("/events?stream=small", sse),
    ] {
        read_one(&app, uri, accept).await;
        let before = resident();
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(read_one(&app, uri, accept).await);
        }
        let grown = resident().saturating_sub(before);
        assert!(
            grown < READERS * EACH + IN_ALL / 4,
            "{uri} as {accept}: {grown} bytes"
        );
        // With many small messages there is more to read.
        let mut last = readers.pop().expect("there are many");
        if uri.contains("small") {
            let next = last.body.frame().await.expect("it goes on");
            assert!(next.is_ok(), "{uri}");
        }
        assert!(!last.body.is_end_stream());
    }
    // A plain read is one chunk, or counts towards the shared budget.
    let before = resident();
    let mut answers = Vec::new();
    for _ in 0..READERS {
        let request = Request::get("/streams/small").header("host", "localhost");
        let request = request.body(Body::empty()).expect("it is a request");
        answers.push(app.clone().oneshot(request).await.expect("it never fails"));
    }
    let grown = resident().saturating_sub(before);
    assert!(
        grown < READERS * EACH + IN_ALL,
        "plain reads: {grown} bytes"
    );
    assert!(answers.iter().all(|answer| answer.status() == 200));
}

#[tokio::test]
async fn stalled_readers_hold_one_chunk_each_and_share_large_messages() {
    check(Arc::new(MemoryLog::default())).await;
    let folder = tempfile::tempdir().expect("there is room");
    let mut options = DiskOptions::default();
    options.durability = Durability::Os;
    check(Arc::new(
        DiskLog::open(folder.path(), options).expect("it is empty"),
    ))
    .await;
}
