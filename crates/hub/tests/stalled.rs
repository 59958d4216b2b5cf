//! A reader that stops reading while much is published. Runs alone in its process, whose memory it
//! measures.

use std::sync::Arc;

use headwater::test::TestClient;
use headwater_hub::Hub;
use headwater_log::{MemoryLog, MemoryOptions};
use http::Method;

const PIECE: usize = 256 << 10;
/// 512 MiB.
const PIECES: usize = 2048;
/// Maximum growth of the process by then: the log's own cap, a ring, a chunk for each reader, and
/// some tolerance.
const MOST: usize = 48 << 20;

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = pages.split(' ').nth(1).expect("there are fields");
    pages.parse::<usize>().expect("it is a number") * 4096
}

#[tokio::test]
async fn stalled_readers_have_bounded_memory_and_receive_a_notice() {
    let log = Arc::new(MemoryLog::new(MemoryOptions::default()));
    let client = TestClient::new(Hub::new(log).app());
    let put = client
        .request(Method::PUT, "/streams/a")
        .header("stream-max-bytes", "1000000");
    let put = put.header("content-type", "application/json");
    assert_eq!(put.body("[\"first\"]").send().await.status(), 201);
    let mut readers = Vec::new();
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let request = client.get("/streams/a").header("accept", accept);
        let mut reader = request.stream::<String>().await;
        assert_eq!(reader.next().await.as_deref(), Some("first"));
        readers.push(reader);
    }
    let mut followers = Vec::new();
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let request = client.get("/events?stream=*").header("accept", accept);
        let mut follower = request.stream::<serde_json::Value>().await;
        assert_eq!(follower.next().await.expect("it is there")["data"], "first");
        followers.push(follower);
    }
    let piece = bytes::Bytes::from(format!("\"{}\"", "x".repeat(PIECE)));
    let publish = async |pieces: usize| {
        for _ in 0..pieces {
            let post = client
                .post("/streams/a")
                .header("content-type", "application/json");
            assert_eq!(post.body(piece.clone()).send().await.status(), 204);
        }
    };
    publish(32).await;
    let before = resident();
    publish(PIECES).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < MOST, "it grew by {grown} bytes");
    for reader in &mut readers {
        let reason = reader.cut().await;
        assert!(!reason.is_empty());
    }
    for follower in &mut followers {
        // At most the data that was sent already precedes the notice.
        let mut before = 0;
        let told = loop {
            let event = follower.next().await.expect("it is live");
            if event.get("trimmed").is_some() {
                break event;
            }
            before += 1;
        };
        assert!(before < 8, "{before} pieces were kept for it");
        let next = follower.next().await.expect("it is live");
        assert!(next["offset"].as_str() > told["offset"].as_str(), "{told}");
    }
}
