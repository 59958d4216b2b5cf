//! Bounds on readers and their requests.

use std::time::Duration;

use futures_util::StreamExt;
use headwater::Format;
use headwater_hub::{Limits, Options, limits::EVENT_PATTERNS};
use serde_json::Value;

use crate::{Server, header};

#[tokio::test]
async fn a_reader_that_stalls_gets_everything_when_it_goes_on() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    server.put_json("b", "[]").await;
    let mut events = server.many("stream=*", Format::Sse).stream::<Value>().await;
    let pad = "x".repeat(20_000);
    for n in 0..200 {
        let stream = if n % 3 == 0 { "a" } else { "b" };
        server.post_json(stream, &format!("[[{n}, {pad:?}]]")).await;
    }
    for n in 0..200 {
        let event = events.next().await.expect("it goes on");
        assert_eq!(event["data"][0], n);
    }
}

#[tokio::test]
async fn the_size_of_a_chunk_is_bounded() {
    let server = Server::new();
    let items: Vec<_> = (0..20_000).collect();
    server
        .put_json("a", &serde_json::to_string(&items).expect("it is JSON"))
        .await;
    let response = server
        .many("stream=a&live=false", Format::Ndjson)
        .send()
        .await;
    let mut chunks = response.into_data_stream();
    let mut lines = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.expect("no cut");
        assert!(chunk.len() < (64 << 10) + 256, "{}", chunk.len());
        lines += chunk.iter().filter(|&&byte| byte == b'\n').count();
    }
    assert_eq!(lines, 20_000);
}

#[tokio::test]
async fn silent_responses_have_heartbeats_and_a_shutdown_is_not_the_end() {
    let server = Server::with(Options::new().heartbeat(Duration::from_millis(20)));
    let response = server.many("stream=a", Format::Sse).send().await;
    let mut chunks = response.into_data_stream();
    assert_eq!(
        chunks.next().await.expect("a chunk").expect("no cut"),
        ":\n\n"
    );
    let mut lines = server
        .many("stream=a", Format::Ndjson)
        .stream::<Value>()
        .await;
    let mut events = server.many("stream=a", Format::Sse).stream::<Value>().await;
    server.log.close().await.expect("it closes");
    lines.cut().await;
    let last = events.next_event().await.expect("an error is due");
    assert!(last.is_error() && last.data.contains("503"), "{last:?}");
    events.cut().await;
}

#[tokio::test]
async fn invalid_parameters_are_refused_with_the_valid_ones() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let long = "x".repeat(1025);
    for (query, status) in [
        ("", 422),
        ("live=maybe&stream=a", 422),
        ("format=xml&stream=a", 400),
        ("format=sse&format=sse&stream=a", 400),
        ("stream=", 400),
        ("stream=/a", 400),
        ("stream=a*", 400),
        (&*format!("stream={long}"), 400),
        ("stream=a&after=x", 400),
    ] {
        let response = server.many(query, Format::Sse).send().await;
        assert_eq!(response.status(), status, "{query}");
        assert_eq!(
            header(&response, "content-type"),
            "application/problem+json"
        );
    }
    let unwanted = server
        .client
        .get("/events?stream=a")
        .header("accept", "image/png")
        .send()
        .await;
    assert_eq!(unwanted.status(), 406);
}

#[tokio::test]
async fn the_numbers_of_patterns_and_readers_are_limited() {
    let mut limits = Limits::default();
    limits.subscribers = 2;
    let server = Server::with(Options::new().limits(limits));
    let patterns = |count: usize| vec!["stream=a/*"; count].join("&");
    let most = server
        .many(&patterns(EVENT_PATTERNS), Format::Sse)
        .send()
        .await;
    assert_eq!(most.status(), 200);
    let more = server
        .many(&patterns(EVENT_PATTERNS + 1), Format::Sse)
        .send()
        .await;
    assert_eq!(more.status(), 422);
    let second = server.many("stream=a", Format::Ndjson).send().await;
    assert_eq!(second.status(), 200);
    let third = server.many("stream=a", Format::Sse).send().await;
    assert_eq!(third.status(), 429);
    drop(most);
    assert_eq!(
        server.many("stream=a", Format::Sse).send().await.status(),
        200
    );
}

#[tokio::test]
async fn exact_paths_and_globs_can_be_combined_up_to_the_limit() {
    for server in Server::of_each_kind() {
        let mut patterns: Vec<_> = (2..EVENT_PATTERNS).map(|n| format!("exact/{n}")).collect();
        patterns.push("one/*".to_owned());
        patterns.push("any/**/end".to_owned());
        let query: Vec<_> = patterns
            .iter()
            .map(|pattern| format!("stream={pattern}"))
            .collect();
        let query = query.join("&");
        let mut live = server.many(&query, Format::Sse).stream::<Value>().await;
        let wanted = ["exact/2", "one/a", "any/end", "exact/99", "any/a/b/end"];
        let unwanted = ["exact/1", "exact/100", "one", "one/a/b", "any/a"];
        for path in wanted.iter().zip(unwanted).flat_map(|(a, b)| [*a, b]) {
            server.put_json(path, "[1]").await;
        }
        let streams = |events: Vec<Value>| -> Vec<Value> {
            events.iter().map(|event| event["stream"].clone()).collect()
        };
        assert_eq!(streams(server.all(&query).await), wanted);
        assert_eq!(streams(live.take(wanted.len()).await), wanted);
    }
}

#[tokio::test]
async fn lines_have_no_heartbeats_and_events_have() {
    let server = Server::with(Options::new().heartbeat(Duration::from_millis(20)));
    server.put_json("a", "[]").await;
    let response = server.many("stream=a", Format::Sse).send().await;
    let mut chunks = response.into_data_stream();
    let response = server.many("stream=a", Format::Ndjson).send().await;
    let mut lines = response.into_data_stream();
    for n in 1..=2 {
        assert_eq!(
            chunks.next().await.expect("a chunk").expect("no cut"),
            ":\n\n"
        );
        server.post_json("a", "1").await;
        let line = lines.next().await.expect("a chunk").expect("no cut");
        assert!(line.starts_with(b"{"), "{line:?}");
        loop {
            let event = chunks.next().await.expect("a chunk").expect("no cut");
            if event != ":\n\n" {
                assert!(event.starts_with(format!("id: {}\n", server.order(n)).as_bytes()));
                break;
            }
        }
    }
}
