//! Errors, ends, and resumption after a disconnect.

use super::*;

#[tokio::test]
async fn an_error_before_the_first_item_has_its_own_status() {
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
async fn a_later_error_aborts_every_format_and_sse_reports_it() {
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
async fn a_permanent_failure_has_the_id_that_stops_an_event_source() {
    for permanent in [true, false] {
        let client = client(async move || {
            let failure = Problem::new(StatusCode::BAD_GATEWAY);
            let failure = if permanent {
                failure.permanent()
            } else {
                failure
            };
            Streaming::try_new(stream::iter([Ok(Item::new(1).id("a")), Err(failure)]))
        });
        let mut items = client.get("/").accept(Format::Sse).stream::<u64>().await;
        assert_eq!(items.next().await, Some(1));
        let event = items.next_event().await.expect("the error event");
        assert!(event.is_error() && !event.is_end());
        assert_eq!(&*event.id, if permanent { "headwater:end" } else { "a" });
        assert_eq!(items.cut().await, "the stream failed");
    }
}

#[tokio::test]
async fn an_invalid_item_fails_the_stream_after_the_items_before_it() {
    for bad in ["a\nb", "headwater:end", "headwater:mine"] {
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

#[tokio::test]
async fn a_reserved_event_name_fails_the_stream_in_every_format() {
    let client = client(async || {
        let own = ["error", "end", "headwater", "headwater:error"];
        Streaming::new(stream::iter(own.map(|name| Item::new(1).event(name))))
    });
    for format in Format::ALL {
        let mut items = client.get("/").accept(format).stream::<u64>().await;
        for name in ["error", "end", "headwater"] {
            let item = items.next_event().await.expect("an item");
            assert_eq!(&*item.data, "1");
            if format == Format::Sse {
                assert_eq!(&*item.event, name);
            }
        }
        assert_eq!(items.cut().await, "the stream failed", "{format}");
    }
}

#[tokio::test]
async fn a_client_that_reconnects_after_the_end_receives_204() {
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
async fn only_get_requests_receive_204_after_the_end() {
    let app = Router::new().route("/", get(async || silent()).post(async || "done"));
    let client = TestClient::new(app);
    let back = |method| client.request(method, "/").last_event_id("headwater:end");
    assert_eq!(
        back(Method::GET).send().await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(back(Method::POST).send().await.text().await, "done");
}
