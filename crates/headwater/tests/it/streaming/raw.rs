//! Chunks that are sent unchanged.

use super::*;

#[tokio::test]
async fn raw_chunks_are_sent_unchanged_for_every_accept() {
    let app = Router::new()
        .route("/text", get(async || Raw::text(stream::iter(["a", "ü\n"]))))
        .route(
            "/bytes",
            get(async || Raw::bytes(stream::iter([vec![0_u8, 255], vec![10]]))),
        );
    let client = TestClient::new(app);
    let text = client
        .get("/text")
        .header("accept", "application/json")
        .send()
        .await;
    assert_eq!(text.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(text.headers()["x-accel-buffering"], "no");
    assert_eq!(text.text().await, "aü\n");
    let bytes = client.get("/bytes").send().await;
    assert_eq!(bytes.headers()["content-type"], "application/octet-stream");
    let chunks: Vec<_> = bytes
        .into_data_stream()
        .map(|chunk| chunk.unwrap())
        .collect()
        .await;
    assert_eq!(chunks.concat(), [0, 255, 10]);
}

#[tokio::test]
async fn frames_are_sent_unchanged_without_a_copy() {
    let shared = bytes::Bytes::from_static(b"data: 1\n\n");
    let address = shared.as_ptr();
    let client = client(async move || {
        let frames = stream::iter([Ok(shared.clone()), Ok(shared.clone())]);
        Raw::frames(Format::Sse, frames)
    });
    let response = client.get("/?format=ndjson").send().await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let chunks: Vec<_> = response.into_data_stream().collect().await;
    assert_eq!(chunks.len(), 2, "no end of the framework's own");
    for chunk in chunks {
        assert_eq!(chunk.unwrap().as_ptr(), address);
    }
}

#[tokio::test]
async fn encoded_items_are_shared_and_framed_in_the_format_of_the_client() {
    let address = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for (count, name, body) in [
        (2, "json", "[1\n,2\n]\n"),
        (0, "json", "[]\n"),
        (2, "ndjson", ",1\n,2\n"),
        (
            2,
            "sse",
            ",1\n,2\nevent: headwater:end\nid: headwater:end\ndata: {\"items\":2}\n\n",
        ),
    ] {
        let seen = Arc::clone(&address);
        let client = client(async move || {
            Streaming::<u64>::frames(move |format| {
                assert_eq!(format.name(), name);
                let chunk = bytes::Bytes::from_static(b",1\n,2\n");
                seen.store(chunk.as_ptr() as usize, Ordering::Relaxed);
                stream::iter((0..count / 2).map(move |_| Ok((chunk.clone(), 2))))
            })
        });
        let response = client.get(&format!("/?format={name}")).send().await;
        let chunks: Vec<_> = response.into_data_stream().collect().await;
        let chunks: Vec<_> = chunks.into_iter().map(Result::unwrap).collect();
        assert_eq!(chunks.concat(), body.as_bytes(), "{name}");
        let own = address.load(Ordering::Relaxed);
        let shared = chunks.iter().map(|chunk| chunk.as_ptr() as usize);
        let is_shared = shared.into_iter().any(|at| (own..own + 2).contains(&at));
        assert_eq!(is_shared, count > 0, "{name}");
    }
    let refused = client(async || {
        Streaming::<u64>::frames(|_| stream::pending::<Result<(bytes::Bytes, u64), Problem>>())
    });
    let refused = refused.get("/").header("accept", "image/png").send().await;
    assert_eq!(refused.status(), StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test(start_paused = true)]
async fn sse_frames_have_heartbeats_and_an_error_event_before_an_abort() {
    let client = client(async || {
        let frames = stream::once(async { Ok(bytes::Bytes::from_static(b"data: 1\n\n")) });
        let failure = stream::once(async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            Err(Problem::not_found("it went away"))
        });
        Raw::frames(Format::Sse, frames.chain(failure)).heartbeat(Duration::from_secs(15))
    });
    let mut chunks = client.get("/").send().await.into_data_stream();
    let mut seen = Vec::new();
    let cut = loop {
        match chunks.next().await {
            Some(Ok(chunk)) => seen.push(String::from_utf8(chunk.into()).unwrap()),
            Some(Err(error)) => break error.to_string(),
            None => panic!("it ended as complete"),
        }
    };
    assert_eq!(seen[..3], ["data: 1\n\n", ":\n\n", ":\n\n"]);
    assert!(seen[3].starts_with("event: headwater:error\n") && seen[3].contains("it went away"));
    assert!(!cut.is_empty());
}
