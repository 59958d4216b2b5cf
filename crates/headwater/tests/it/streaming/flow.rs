//! Timing of the output: heartbeats, flushing and chunks.

use super::*;

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_silent_sse_stream_alive_from_the_start() {
    let client = client(async || silent().heartbeat(Duration::from_secs(5)));
    let start = Instant::now();
    let response = client.get("/?format=sse").send().await;
    // The longest time that the head waits for the first item.
    assert!(start.elapsed() <= Duration::from_millis(50));
    let mut body = std::pin::pin!(response.into_data_stream());
    for beat in 1..=3 {
        assert_eq!(body.next().await.unwrap().unwrap(), ":\n\n");
        assert_eq!(start.elapsed().as_secs(), 5 * beat);
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_comes_only_after_silence() {
    let client = client(async || {
        let items = stream::unfold(0, async |n| {
            tokio::time::sleep(Duration::from_secs(if n == 3 { 20 } else { 4 })).await;
            Some((n, n + 1))
        });
        Streaming::new(items).heartbeat(Duration::from_secs(5))
    });
    let response = client.get("/?format=sse").send().await;
    let body = response.into_data_stream().take(7);
    let chunks: Vec<_> = body.map(|chunk| chunk.unwrap()).collect().await;
    let expected: [&str; 7] = [
        "data: 0\n\n",
        "data: 1\n\n",
        "data: 2\n\n",
        ":\n\n",
        ":\n\n",
        ":\n\n",
        "data: 3\n\n",
    ];
    assert_eq!(chunks, expected);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_can_be_off_and_other_formats_have_none() {
    let client = client(async || silent().heartbeat(Duration::ZERO));
    for format in Format::ALL {
        let response = client.get("/").accept(format).send().await;
        let mut body = std::pin::pin!(response.into_data_stream());
        let next = tokio::time::timeout(Duration::from_secs(3600), body.next()).await;
        assert!(next.is_err(), "{format}: {next:?}");
    }
}

/// Returns the first chunk that a silent stream sends within an hour, and the time until then.
async fn first_sign(
    client: &TestClient,
    uri: &str,
    format: Format,
    prefer: &str,
) -> Option<(String, Duration)> {
    let request = client.get(uri).accept(format).header("prefer", prefer);
    let response = request.send().await;
    let start = Instant::now();
    let mut body = std::pin::pin!(response.into_data_stream());
    let next = tokio::time::timeout(Duration::from_secs(3601), body.next()).await;
    let chunk = next.ok()?.expect("it is open").expect("it is whole");
    let chunk = String::from_utf8(chunk.to_vec()).unwrap();
    Some((chunk, start.elapsed()))
}

#[tokio::test(start_paused = true)]
async fn a_client_can_request_blank_lines_as_ndjson_heartbeats() {
    let quiet = || silent().first_item_wait(Duration::ZERO);
    let plain = client(async move || quiet());
    let sign = async |uri: &str, format, prefer| first_sign(&plain, uri, format, prefer).await;
    let after = |sign: &str, seconds| Some((sign.to_owned(), Duration::from_secs(seconds)));
    assert_eq!(
        sign("/", Format::Ndjson, "").await,
        None,
        "not every reader takes a blank line"
    );
    assert_eq!(
        sign("/?heartbeat=20", Format::Ndjson, "").await,
        after("\n", 20)
    );
    assert_eq!(
        sign("/", Format::Ndjson, "heartbeat=7").await,
        after("\n", 7)
    );
    assert_eq!(
        sign("/?heartbeat=0", Format::Ndjson, "heartbeat=7").await,
        None
    );
    for format in [Format::JsonArray, Format::JsonSeq, Format::Text] {
        assert_eq!(sign("/?heartbeat=20", format, "").await, None, "{format}");
    }
    // SSE clients can request a shorter interval, but not a longer one: heartbeats show the server
    // which clients are gone.
    assert_eq!(sign("/", Format::Sse, "").await, after(":\n\n", 15));
    assert_eq!(
        sign("/?heartbeat=5", Format::Sse, "").await,
        after(":\n\n", 5)
    );
    assert_eq!(
        sign("/?heartbeat=60", Format::Sse, "heartbeat=0").await,
        after(":\n\n", 15)
    );

    let minute = client(async move || quiet().line_heartbeat(Duration::from_secs(60)));
    assert_eq!(
        first_sign(&minute, "/", Format::Ndjson, "").await,
        after("\n", 60)
    );
    assert_eq!(
        first_sign(&minute, "/?heartbeat=5", Format::Ndjson, "").await,
        after("\n", 5)
    );
    assert_eq!(
        first_sign(&minute, "/?heartbeat=0", Format::Ndjson, "").await,
        None
    );

    let frames = client(async || {
        let silent = stream::pending::<Result<axum::body::Bytes, Problem>>();
        Raw::frames(Format::Ndjson, silent).first_item_wait(Duration::ZERO)
    });
    assert_eq!(
        first_sign(&frames, "/?heartbeat=5", Format::Sse, "").await,
        after("\n", 5)
    );
    let raw =
        client(async || Raw::text(stream::pending::<String>()).first_item_wait(Duration::ZERO));
    assert_eq!(
        first_sign(&raw, "/?heartbeat=5", Format::Text, "").await,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn items_continue_between_blank_lines() {
    let client = client(async || {
        let ticks = stream::unfold(0, async |n| {
            tokio::time::sleep(Duration::from_secs(3)).await;
            (n < 2).then_some((n, n + 1))
        });
        Streaming::new(ticks).first_item_wait(Duration::ZERO)
    });
    let body = client.get("/?heartbeat=2").send().await.text().await;
    assert_eq!(body, "\n0\n\n1\n\n");
    let mut items = client.get("/?heartbeat=2").stream::<u64>().await;
    assert_eq!(items.take(2).await, [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn items_are_sent_when_ready_and_ready_ones_share_a_chunk() {
    let client = client(async || {
        let now = stream::iter([1, 2, 3]);
        let later = stream::once(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            4
        });
        Streaming::new(now.chain(later))
    });
    let response = client.get("/").send().await;
    let start = Instant::now();
    let mut body = std::pin::pin!(response.into_data_stream());
    assert_eq!(body.next().await.unwrap().unwrap(), "1\n2\n3\n");
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(body.next().await.unwrap().unwrap(), "4\n");
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_large_stream_is_sent_in_bounded_chunks() {
    let client = client(async || Streaming::new(stream::repeat("x".repeat(1000)).take(1000)));
    let response = client.get("/").send().await;
    let chunks: Vec<_> = response
        .into_data_stream()
        .map(|chunk| chunk.unwrap())
        .collect()
        .await;
    assert_eq!(
        chunks.iter().map(|chunk| chunk.len()).sum::<usize>(),
        1003 * 1000
    );
    assert!(chunks.iter().all(|chunk| chunk.len() < 64 * 1024 + 1003));
    assert!(chunks.len() < 20);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_opens_quickly_and_an_early_error_has_its_status() {
    let failing_after = async |ms: u64| {
        let failing = move || async move {
            Streaming::try_new(stream::once(async move {
                if ms > 0 {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
                Err::<u64, _>(Problem::new(StatusCode::CONFLICT))
            }))
        };
        let client = client(failing);
        client.get("/?format=sse").send().await
    };
    for ms in [0, 1, 10] {
        assert_eq!(failing_after(ms).await.status(), 409, "after {ms} ms");
    }
    let start = Instant::now();
    let late = failing_after(100).await;
    assert_eq!(late.status(), 200);
    assert!(
        start.elapsed() <= Duration::from_millis(50),
        "{:?}",
        start.elapsed()
    );
    let chunks: Vec<_> = late.into_data_stream().collect().await;
    let told = chunks[0].as_ref().unwrap();
    assert!(
        std::str::from_utf8(told)
            .unwrap()
            .contains("\"status\":409")
    );
    assert!(chunks.last().unwrap().is_err());
}
