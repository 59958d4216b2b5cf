use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use futures_util::{StreamExt, stream};
use headwater::{Format, Item, LastEventId, Problem, Raw, StatusCode, Streaming, test::TestClient};
use http::Method;
use tokio::time::Instant;

fn client<H, T>(handler: H) -> TestClient
where
    H: axum::handler::Handler<T, ()>,
    T: 'static,
{
    TestClient::new(Router::new().route("/", get(handler)))
}

/// An endless stream that never has an item.
fn silent() -> Streaming<u64> {
    Streaming::new(stream::pending::<u64>())
}

#[tokio::test]
async fn every_format_carries_the_items_and_the_same_headers() {
    let client = client(async || Streaming::new(stream::iter(["a", "b\nc"])));
    for (name, content_type, body) in [
        ("ndjson", "application/x-ndjson", "\"a\"\n\"b\\nc\"\n"),
        (
            "sse",
            "text/event-stream",
            "data: \"a\"\n\ndata: \"b\\nc\"\n\nevent: end\nid: headwater:end\ndata: {\"items\":2}\n\n",
        ),
        (
            "json-seq",
            "application/json-seq",
            "\x1e\"a\"\n\x1e\"b\\nc\"\n",
        ),
        ("json", "application/json", "[\"a\"\n,\"b\\nc\"\n]\n"),
        ("text", "text/plain; charset=utf-8", "a\nb\nc\n"),
    ] {
        let response = client.get(&format!("/?format={name}")).send().await;
        assert_eq!(response.status(), StatusCode::OK);
        for (header, value) in [
            ("content-type", content_type),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no"),
            ("x-content-type-options", "nosniff"),
            ("vary", "accept"),
        ] {
            assert_eq!(response.headers()[header], value, "{name}: {header}");
        }
        assert_eq!(response.text().await, body, "{name}");
    }
}

#[tokio::test]
async fn an_empty_stream_is_complete_in_every_format() {
    let client = client(async || Streaming::new(stream::empty::<u64>()));
    for format in Format::ALL {
        let mut items = client.get("/").accept(format).stream::<u64>().await;
        assert_eq!(items.next().await, None, "{format}");
    }
    let body = client.get("/?format=json").send().await.text().await;
    assert_eq!(body, "[]\n");
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_the_list() {
    let client = client(async || silent());
    let response = client.get("/").header("accept", "image/png").send().await;
    assert_eq!(response.status(), StatusCode::NOT_ACCEPTABLE);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let problem: serde_json::Value = response.json().await;
    assert_eq!(problem["formats"][1], "sse");
    assert_eq!(problem["media_types"][1], "text/event-stream");
}

#[tokio::test]
async fn headers_and_status_that_the_handler_sets_stay() {
    let client = client(async || {
        let headers = [("cache-control", "no-store"), ("x-mine", "1")];
        (
            StatusCode::ACCEPTED,
            headers,
            Streaming::new(stream::iter([1])),
        )
    });
    let response = client.get("/?format=json").send().await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-mine"], "1");
    assert_eq!(response.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn head_has_the_headers_and_no_body() {
    let client = client(async || silent());
    let response = client.request(Method::HEAD, "/?format=sse").send().await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.text().await, "");
}

#[tokio::test]
async fn without_the_layer_every_client_gets_ndjson() {
    use http_body_util::BodyExt;
    use tower_service::Service;
    let mut app: Router =
        Router::new().route("/", get(async || Streaming::new(stream::iter([1, 2]))));
    let request = http::Request::get("/").header("accept", "text/event-stream");
    let response = app
        .call(request.body(axum::body::Body::empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "1\n2\n"
    );
}

#[tokio::test]
async fn ids_names_and_retry_times_reach_sse_clients() {
    let client = client(async || {
        let retry = Duration::from_millis(2500);
        let items = [Item::new(1).id("a").event("one"), Item::new(2).retry(retry)];
        Streaming::new(stream::iter(items)).retry(Duration::from_secs(3))
    });
    let body = client.get("/?format=sse").send().await.text().await;
    assert!(
        body.starts_with(
            "retry: 3000\n\nevent: one\nid: a\ndata: 1\n\nretry: 2500\ndata: 2\n\nevent: end"
        ),
        "{body}"
    );
    assert_eq!(client.get("/").send().await.text().await, "1\n2\n");
}

#[tokio::test]
async fn an_error_before_the_first_item_has_its_real_status() {
    let client = client(async || {
        let teapot = Problem::new(StatusCode::IM_A_TEAPOT).detail("short and stout");
        let late = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Err::<u64, _>(teapot)
        };
        Streaming::try_new(stream::once(late))
    });
    for format in Format::ALL {
        let response = client.get("/").accept(format).send().await;
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT, "{format}");
        let problem: serde_json::Value = response.json().await;
        assert_eq!(problem["detail"], "short and stout");
    }
}

#[tokio::test]
async fn a_later_error_cuts_every_format_and_sse_says_why() {
    let client = client(async || {
        let failure = Problem::new(StatusCode::BAD_GATEWAY).detail("no more prices");
        Streaming::try_new(stream::iter([Ok(1), Ok(2), Err(failure), Ok(3)]))
    });
    for format in Format::ALL {
        let mut items = client.get("/").accept(format).stream::<u64>().await;
        for n in ["1", "2"] {
            assert_eq!(
                &*items.next_event().await.expect("an item").data,
                n,
                "{format}"
            );
        }
        assert_eq!(items.cut().await, "the stream failed", "{format}");
    }
    let mut events = client.get("/").accept(Format::Sse).stream::<u64>().await;
    let _ = events.take(2).await;
    let event = events.next_event().await.expect("an event");
    assert!(event.is_error());
    assert_eq!(
        &*event.data,
        r#"{"title":"Bad Gateway","status":502,"detail":"no more prices"}"#
    );
}

#[tokio::test]
async fn an_item_that_cannot_be_sent_fails_the_stream_after_what_came_before() {
    for bad in ["a\nb", "headwater:end"] {
        let client = client(async move || {
            Streaming::new(stream::iter([Item::new(1).id("a"), Item::new(2).id(bad)]))
        });
        let mut items = client.get("/").accept(Format::Sse).stream::<u64>().await;
        assert_eq!(items.next().await, Some(1));
        let error = items.next_event().await.expect("the error event");
        assert!(
            error.is_error() && error.data.contains("500"),
            "{bad:?}: {error:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_silent_sse_stream_alive_from_the_start() {
    let client = client(async || silent().heartbeat(Duration::from_secs(5)));
    let start = Instant::now();
    let response = client.get("/?format=sse").send().await;
    // The head does not wait for the first item for longer than this.
    assert_eq!(start.elapsed(), Duration::from_secs(1));
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

#[tokio::test(start_paused = true)]
async fn an_item_goes_out_when_it_is_ready_and_ready_ones_go_together() {
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
async fn a_large_stream_goes_out_in_chunks_of_bounded_size() {
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

#[tokio::test]
async fn a_client_that_comes_back_after_the_end_is_told_to_stop() {
    let called = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&called);
    let client = client(async move || {
        seen.store(true, Ordering::Relaxed);
        silent()
    });
    let response = client
        .get("/")
        .accept(Format::Sse)
        .last_event_id("headwater:end")
        .send()
        .await;
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert!(!called.load(Ordering::Relaxed), "the handler was called");
}

#[tokio::test]
async fn a_handler_resumes_after_the_last_event_id() {
    let client = client(async |LastEventId(last): LastEventId| {
        let seen = last.map_or(0, |id| id.parse().unwrap());
        Streaming::new(stream::iter((seen + 1..=5_u64).map(|n| Item::new(n).id(n))))
    });
    let resumed = client
        .get("/")
        .last_event_id("3")
        .stream::<u64>()
        .await
        .take(9)
        .await;
    assert_eq!(resumed, [4, 5]);
    let fresh = client
        .get("/")
        .last_event_id("")
        .stream::<u64>()
        .await
        .take(9)
        .await;
    assert_eq!(fresh, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn leaving_drops_the_handlers_stream() {
    struct Guard(Arc<AtomicBool>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dropped);
    let client = client(async move || {
        let guard = Guard(flag);
        Streaming::new(stream::iter(0..).map(move |n: u64| {
            let _held = &guard;
            n
        }))
    });
    let mut items = client.get("/").stream::<u64>().await;
    assert_eq!(items.take(1000).await.len(), 1000);
    assert!(!dropped.load(Ordering::Relaxed));
    items.leave().await;
    assert!(dropped.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_blocking_iterator_runs_off_the_async_threads_and_stops_when_the_client_leaves() {
    let running = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&running);
    let client = client(async move || {
        struct Counter(u64, Arc<AtomicBool>);
        impl Iterator for Counter {
            type Item = u64;
            fn next(&mut self) -> Option<u64> {
                std::thread::sleep(Duration::from_millis(1));
                self.0 += 1;
                Some(self.0)
            }
        }
        impl Drop for Counter {
            fn drop(&mut self) {
                self.1.store(false, Ordering::Relaxed);
            }
        }
        Streaming::blocking(Counter(0, flag))
    });
    let mut items = client.get("/").stream::<u64>().await;
    assert_eq!(items.take(3).await, [1, 2, 3]);
    items.leave().await;
    for _ in 0..1000 {
        if !running.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the iterator still runs");
}

#[tokio::test]
async fn a_blocking_iterator_that_ends_is_complete_and_one_that_panics_is_cut() {
    let good = client(async || Streaming::blocking(1..=100));
    assert_eq!(
        good.get("/").stream::<u64>().await.take(1000).await.len(),
        100
    );
    let bad = client(async || {
        Streaming::blocking((1..).map(|n: u64| if n < 3 { n } else { panic!("on purpose") }))
    });
    let mut items = bad.get("/").stream::<u64>().await;
    assert_eq!(items.take(2).await, [1, 2]);
    assert_eq!(items.cut().await, "the stream failed");
}

#[tokio::test]
async fn a_sender_ends_its_stream_by_word_and_a_lost_one_cuts_it() {
    enum Ending {
        Finish,
        Fail,
        Drop,
    }
    let with = |ending: fn() -> Ending| {
        client(async move || {
            let (sender, stream) = Streaming::channel(1);
            tokio::spawn(async move {
                sender.send(1).await.unwrap();
                sender.send(Item::new(2).id("x")).await.unwrap();
                match ending() {
                    Ending::Finish => sender.finish().await,
                    Ending::Fail => sender.fail(Problem::new(StatusCode::GONE)).await,
                    Ending::Drop => drop(sender),
                }
            });
            stream
        })
    };
    let mut items = with(|| Ending::Finish).get("/").stream::<u64>().await;
    assert_eq!(items.take(9).await, [1, 2]);
    for (ending, status) in [
        ((|| Ending::Fail) as fn() -> Ending, "410"),
        (|| Ending::Drop, "500"),
    ] {
        let mut items = with(ending)
            .get("/")
            .accept(Format::Sse)
            .stream::<u64>()
            .await;
        assert_eq!(items.take(2).await, [1, 2]);
        let error = items.next_event().await.expect("the error event");
        assert!(error.is_error() && error.data.contains(status), "{error:?}");
        assert_eq!(items.cut().await, "the stream failed");
    }
}

#[tokio::test]
async fn a_sender_learns_that_nobody_reads_any_more() {
    let (report, reported) = tokio::sync::oneshot::channel();
    let report = Arc::new(std::sync::Mutex::new(Some(report)));
    let client = client(async move || {
        let (sender, stream) = Streaming::channel(1);
        tokio::spawn(async move {
            sender.send(1).await.unwrap();
            sender.closed().await;
            let refused = sender.send(2).await.is_err();
            let _ = report
                .lock()
                .unwrap()
                .take()
                .map(|report| report.send(refused));
        });
        stream
    });
    let mut items = client.get("/").stream::<u64>().await;
    assert_eq!(items.next().await, Some(1));
    items.leave().await;
    assert_eq!(reported.await, Ok(true));
}

#[tokio::test]
async fn raw_chunks_go_out_as_they_are_whatever_is_asked_for() {
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

/// A layer of an app, as compression or CORS is one: it sees the response and wraps its body.
async fn stamp(mut response: axum::response::Response) -> axum::response::Response {
    let content_type = response.headers()["content-type"].clone();
    response.headers_mut().insert("x-seen", content_type);
    response.map(|body| {
        let stamped = body
            .into_data_stream()
            .map(|chunk| chunk.map(|bytes| [b"> ", &bytes[..]].concat()));
        axum::body::Body::from_stream(stamped)
    })
}

#[tokio::test]
async fn the_layers_of_an_app_see_the_real_response_and_may_wrap_its_body() {
    let app = Router::new()
        .route("/", get(async || Streaming::new(stream::iter([1]))))
        .layer(axum::middleware::map_response(stamp));
    let response = TestClient::new(app).get("/?format=json").send().await;
    assert_eq!(response.headers()["x-seen"], "application/json");
    assert_eq!(response.text().await, "> [1\n]\n");
}

#[tokio::test]
async fn an_early_error_keeps_the_headers_that_layers_have_set() {
    let app = Router::new()
        .route(
            "/",
            get(async || {
                let failure = Problem::new(StatusCode::BAD_GATEWAY);
                Streaming::<u64>::try_new(stream::iter([Err::<u64, _>(failure)]))
            }),
        )
        .layer(axum::middleware::map_response(stamp));
    let response = TestClient::new(app).get("/").send().await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.headers()["x-seen"], "application/x-ndjson");
    assert_eq!(response.headers().get_all("content-type").iter().count(), 1);
    assert_eq!(
        response.text().await,
        r#"{"title":"Bad Gateway","status":502}"#
    );
}

#[tokio::test]
async fn what_an_extractor_rejects_becomes_a_problem_by_the_question_mark() {
    use axum::extract::{Query, rejection::QueryRejection};
    #[derive(serde::Deserialize)]
    struct Asked {
        count: u64,
    }
    let client = client(async |asked: Result<Query<Asked>, QueryRejection>| {
        let Query(Asked { count }) = asked?;
        Ok::<_, Problem>(Streaming::new(stream::iter(0..count)))
    });
    assert_eq!(
        client.get("/?count=2").stream::<u64>().await.take(9).await,
        [0, 1]
    );
    let response = client.get("/?count=many").send().await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let problem: serde_json::Value = response.json().await;
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("count: invalid digit"),
        "{problem}"
    );
}

#[tokio::test]
async fn frames_go_out_as_they_are_and_without_a_copy() {
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

#[tokio::test(start_paused = true)]
async fn frames_of_sse_have_heartbeats_and_an_error_is_an_event_before_the_cut() {
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
    assert!(seen[3].starts_with("event: error\n") && seen[3].contains("it went away"));
    assert!(!cut.is_empty());
}

#[tokio::test]
async fn only_what_an_event_source_can_send_is_stopped_after_the_end() {
    let app = Router::new().route("/", get(async || silent()).post(async || "done"));
    let client = TestClient::new(app);
    let back = |method| client.request(method, "/").last_event_id("headwater:end");
    assert_eq!(
        back(Method::GET).send().await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(back(Method::POST).send().await.text().await, "done");
}
