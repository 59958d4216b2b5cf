//! `GET /events`: many streams on one connection.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use headwater::{Format, OpenApi, test::TestRequest};
use headwater_hub::{Limits, Options, limits::EVENT_PATTERNS};
use headwater_log::Log;
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{Server, header, offset};

impl Server {
    fn many(&self, query: &str, format: Format) -> TestRequest {
        self.client.get(&format!("/events?{query}")).accept(format)
    }

    /// All that there is, by a query.
    async fn all(&self, query: &str) -> Vec<Value> {
        let request = self.many(&format!("{query}&live=false"), Format::Ndjson);
        request.stream::<Value>().await.take(usize::MAX).await
    }
}

fn event(id: u64, stream: &str, at: u64, data: &Value) -> Value {
    json!({"id": offset(id), "stream": stream, "offset": offset(at), "data": data})
}

#[tokio::test]
async fn messages_of_many_streams_come_in_the_order_of_the_hub_each_with_its_place() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    server.put_json("orders/7", "[]").await;
    server.put_json("other", "[0]").await;
    server.post_json("orders/7", r#"[{"n": 1}, [2]]"#).await;
    server.post_json("a", "2").await;
    let expected = [
        event(1, "a", 1, &json!(1)),
        event(3, "orders/7", 1, &json!({"n": 1})),
        event(4, "orders/7", 2, &json!([2])),
        event(5, "a", 2, &json!(2)),
    ];
    assert_eq!(server.all("stream=a&stream=orders/*").await, expected);

    let mut events = server
        .many("stream=a&stream=orders/*", Format::Sse)
        .stream::<Value>()
        .await;
    for expected in &expected {
        let event = events.next_event().await.expect("an event is due");
        assert_eq!(&*event.event, "message", "a browser's onmessage gets it");
        assert_eq!(event.id.to_string(), expected["id"]);
        let data: Value = serde_json::from_str(&event.data).expect("it is JSON");
        assert_eq!(data, *expected);
    }
    server.post_json("other", "1").await;
    server.post_json("a", "3").await;
    assert_eq!(events.next().await, Some(event(7, "a", 3, &json!(3))));
    events.leave().await;
}

#[tokio::test]
async fn a_cut_at_any_event_loses_and_repeats_nothing() {
    let server = Server::new();
    server.put_json("x", "[]").await;
    for n in 0..4 {
        server.put_json(&format!("s/{n}"), "[]").await;
    }
    for n in 0..12 {
        server
            .post_json(&format!("s/{}", n * 7 % 4), &format!("[{n}]"))
            .await;
        server.post_json("x", "0").await;
    }
    let number = |event: &Value| event["data"].as_u64().expect("it is a number");
    for seen in 0..=12 {
        for format in [Format::Sse, Format::Ndjson] {
            let mut first = server.many("stream=s/*", format).stream::<Value>().await;
            let mut got = first.take(seen).await;
            let last = got
                .last()
                .map_or(offset(0), |event| event["id"].as_str().unwrap().to_owned());
            let request = match format {
                // What was seen last counts before what the URL says.
                Format::Sse => server
                    .many("stream=s/*&after=-1", format)
                    .last_event_id(&last),
                _ => server.many(&format!("stream=s/*&after={last}"), format),
            };
            let mut second = request.stream::<Value>().await;
            got.extend(second.take(12 - seen).await);
            let numbers: Vec<_> = got.iter().map(number).collect();
            assert_eq!(
                numbers,
                Vec::from_iter(0..12),
                "{format:?} cut after {seen}"
            );
        }
    }
}

#[tokio::test]
async fn streams_that_are_created_later_are_followed_from_their_first_message() {
    let server = Server::new();
    let query = "stream=exact&stream=new/**";
    let mut events = server.many(query, Format::Sse).stream::<Value>().await;
    server.put_json("unasked", "[0]").await;
    server.put_json("new/a/b", "[1]").await;
    server.put_json("exact", "[2]").await;
    assert_eq!(events.next().await, Some(event(2, "new/a/b", 1, &json!(1))));
    assert_eq!(events.next().await, Some(event(3, "exact", 1, &json!(2))));
}

#[tokio::test]
async fn whoever_starts_now_is_told_where_that_is_and_goes_on_there() {
    let server = Server::new();
    server.put_json("a", "[1,2]").await;
    let response = server.many("stream=a&after=now", Format::Sse).send().await;
    assert_eq!(header(&response, "stream-next-offset"), offset(2));
    let mut chunks = response.into_data_stream();
    let first = chunks.next().await.expect("a chunk").expect("no cut");
    assert_eq!(first, format!("id: {}\n\n", offset(2)));
    server.post_json("a", "3").await;
    let second = chunks.next().await.expect("a chunk").expect("no cut");
    assert!(
        second.starts_with(b"id: 0000000000000003\ndata: {"),
        "{second:?}"
    );
    drop(chunks);

    let response = server
        .many("stream=a&after=now", Format::Ndjson)
        .send()
        .await;
    assert_eq!(header(&response, "stream-next-offset"), offset(3));
    let mut lines = response.stream::<Value>().await;
    server.post_json("a", "4").await;
    assert_eq!(lines.next().await, Some(event(4, "a", 4, &json!(4))));
}

#[tokio::test]
async fn without_live_it_ends_at_the_end_and_whoever_saw_that_gets_204() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let query = "stream=**&live=false";
    let text = server.many(query, Format::Sse).send().await.text().await;
    let end = format!(
        "event: end\nid: headwater:end\ndata: {{\"items\":1,\"id\":\"{}\"}}\n\n",
        offset(1)
    );
    assert!(text.ends_with(&end), "{text}");
    let again = server
        .many(query, Format::Sse)
        .last_event_id("headwater:end")
        .send()
        .await;
    assert_eq!(again.status(), 204);
    assert_eq!(server.all("stream=nothing").await, [] as [Value; 0]);
}

#[tokio::test]
async fn text_is_a_string_and_bytes_are_base64_with_their_type() {
    let server = Server::new();
    server.put("t", "text/plain", "a\nb").await;
    server
        .put("b", "application/octet-stream", "\u{0}\u{1}")
        .await;
    let found = server.all("stream=**").await;
    assert_eq!(found[0]["data"], "a\nb");
    assert_eq!(found[0]["content_type"], "text/plain");
    assert_eq!(found[0].get("encoding"), None);
    assert_eq!(found[1]["data"], "AAE=");
    assert_eq!(found[1]["encoding"], "base64");
    assert_eq!(found[1]["content_type"], "application/octet-stream");
}

#[tokio::test]
async fn of_a_stream_that_was_deleted_nothing_is_sent_and_the_next_of_its_name_has_its_own_type() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    server.put_json("b", "[2]").await;
    server.delete("a").await;
    server.clock.advance(Duration::from_millis(1));
    server.put("a", "text/plain", "3").await;
    let found = server.all("stream=*").await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], event(2, "b", 1, &json!(2)));
    assert_eq!(found[1]["data"], "3");
    assert_eq!(found[1]["content_type"], "text/plain");
}

#[tokio::test]
async fn what_was_trimmed_before_it_was_sent_is_told_with_the_next_message_of_its_stream() {
    let server = Server::new();
    let put = server
        .request(Method::PUT, "a")
        .header("stream-max-bytes", "200000");
    put.header("content-type", "application/json").send().await;
    server.put_json("b", "[0]").await;
    let large = format!("\"{}\"", "x".repeat(100_000));
    let mut live = server
        .many("stream=*", Format::Ndjson)
        .stream::<Value>()
        .await;
    assert_eq!(
        live.next().await.map(|event| event["stream"].clone()),
        Some(json!("b"))
    );
    for n in 1..=10 {
        server.post_json("a", &large).await;
        let event = live.next().await.expect("it is live");
        assert_eq!(event["offset"], offset(n));
        assert_eq!(
            event.get("trimmed"),
            None,
            "a reader that keeps up misses nothing"
        );
    }
    let late = server.all("stream=*").await;
    let of_a: Vec<_> = late.iter().filter(|event| event["stream"] == "a").collect();
    assert!(of_a.len() < 10, "{}", of_a.len());
    assert_eq!(of_a[0]["trimmed"], true);
    assert!(of_a[1..].iter().all(|event| event.get("trimmed").is_none()));
    assert!(
        late.iter()
            .all(|event| event["stream"] == "a" || event.get("trimmed").is_none())
    );

    for _ in 0..5 {
        server.post_json("a", &large).await;
    }
    // The reader in between has the eleventh only if it is still there.
    let next = live.next().await.expect("there is more");
    assert!(
        next["offset"].as_str() > Some(&*offset(11)),
        "{}",
        next["offset"]
    );
    assert_eq!(next["trimmed"], true);
}

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
async fn a_chunk_is_bounded_however_much_there_is() {
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
async fn a_reader_is_told_how_far_it_is_when_much_goes_by_that_it_did_not_ask_for() {
    let server = Server::new();
    let items: Vec<_> = (0..12_000).collect();
    let items = serde_json::to_string(&items).expect("it is JSON");
    server.put_json("noise", &items).await;
    let response = server.many("stream=a", Format::Sse).send().await;
    let mut chunks = response.into_data_stream();
    let place = chunks.next().await.expect("a chunk").expect("no cut");
    assert_eq!(place, format!("id: {}\n\n", offset(12_000)));
    server.put_json("a", "[1]").await;
    let event = chunks.next().await.expect("a chunk").expect("no cut");
    assert!(
        event.starts_with(format!("id: {}\n", offset(12_001)).as_bytes()),
        "{event:?}"
    );
}

#[tokio::test]
async fn silence_has_a_sign_of_life_and_the_end_of_the_hub_is_no_end_of_the_stream() {
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
async fn what_can_not_be_meant_is_refused_with_what_can() {
    let server = Server::new();
    server.put_json("a", "[1]").await;
    let long = "x".repeat(1025);
    for (query, status) in [
        ("", 422),
        ("live=maybe&stream=a", 422),
        ("format=xml&stream=a", 422),
        ("stream=", 400),
        ("stream=/a", 400),
        ("stream=a*", 400),
        (&*format!("stream={long}"), 400),
        ("stream=a&after=x", 400),
        ("stream=a&after=0000000000000002", 400),
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
    let late = server
        .many("stream=a&after=0000000000000002", Format::Sse)
        .send()
        .await;
    assert_eq!(late.json::<Value>().await["tail"], offset(1));
}

#[tokio::test]
async fn patterns_and_readers_are_as_many_as_the_limits_allow_and_no_more() {
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
async fn the_hubs_own_streams_are_neither_followed_nor_listed() {
    let server = Server::new();
    server.put_json("a", "[]").await;
    let subscription = json!({
        "type": "pull-wake", "pattern": "**", "wake_stream": "wakes", "lease_ttl_ms": 30_000,
    });
    let put = server
        .request(Method::PUT, "__ds/subscriptions/s")
        .json(&subscription)
        .send()
        .await;
    assert_eq!(put.status(), 201, "{}", put.text().await);
    server.post_json("a", "1").await;
    let usage = server.log.usage();
    assert!(
        usage.head.number() > 1,
        "the hub wrote something of its own"
    );
    for query in ["stream=**", "stream=__ds/**"] {
        for event in server.all(query).await {
            let stream = event["stream"].as_str().expect("it is text").to_owned();
            assert!(!stream.starts_with("__ds"), "{stream}");
        }
    }
    let listing = server
        .client
        .get("/streams")
        .send()
        .await
        .json::<Value>()
        .await;
    assert!(!listing.to_string().contains("__ds"), "{listing}");
}

#[test]
fn the_document_says_what_an_event_is() {
    let hub = headwater_hub::Hub::new(Arc::new(headwater_log::MemoryLog::default()));
    let document = hub.app().openapi(OpenApi::V3_2);
    let operation = &document["paths"]["/events"]["get"];
    let content = &operation["responses"]["200"]["content"];
    assert!(
        content["application/x-ndjson"]["itemSchema"].is_object(),
        "{content}"
    );
    assert!(
        content["text/event-stream"]["itemSchema"].is_object(),
        "{content}"
    );
    let event = &document["components"]["schemas"]["Event"];
    assert_eq!(
        event["required"],
        json!(["id", "stream", "offset", "data"]),
        "{event}"
    );
    for parameter in operation["parameters"].as_array().expect("there are some") {
        assert!(parameter["description"].is_string(), "{parameter}");
    }
    assert!(document["paths"]["/streams"]["get"]["responses"]["200"].is_object());
}

/// Writers on several threads, and readers that break off at any event and come back: all see one and the same order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_readers_see_one_order_however_often_they_break_off() {
    const EACH: u64 = 300;
    const ALL: usize = 4 * 300;
    let server = Arc::new(Server::new());
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4_u64 {
        let server = Arc::clone(&server);
        tasks.spawn(async move {
            server.put_json(&format!("w/{writer}"), "[]").await;
            for n in 0..EACH {
                server
                    .post_json(&format!("w/{writer}"), &format!("[{n}]"))
                    .await;
                if n % 16 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            None
        });
    }
    for reader in 0..6_u64 {
        let server = Arc::clone(&server);
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(reader);
            let format = if reader % 2 == 0 {
                Format::Sse
            } else {
                Format::Ndjson
            };
            let mut seen: Vec<Value> = Vec::new();
            while seen.len() < ALL {
                let mut request = server.many("stream=w/*", format);
                if let Some(last) = seen.last() {
                    request = request.last_event_id(last["id"].as_str().expect("it is text"));
                }
                let mut events = request.stream::<Value>().await;
                let count = random.usize(1..100).min(ALL - seen.len());
                seen.extend(events.take(count).await);
            }
            Some(seen)
        });
    }
    let all = async {
        let mut orders = Vec::new();
        while let Some(order) = tasks.join_next().await {
            orders.extend(order.expect("no task fails"));
        }
        orders
    };
    let orders = tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("all of it ends");
    for order in &orders[1..] {
        assert_eq!(order, &orders[0]);
    }
    for writer in 0..4 {
        let stream = format!("w/{writer}");
        let own = orders[0].iter().filter(|event| event["stream"] == *stream);
        let numbers: Vec<_> = own.map(|event| event["data"].as_u64()).collect();
        assert_eq!(numbers, (0..EACH).map(Some).collect::<Vec<_>>());
    }
}

/// What a pattern means, tried in every way.
fn means(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=name.len()).any(|take| means(rest, &name[take..])),
        (Some((first, rest)), Some((segment, names))) => {
            (*first == "*" || first == segment) && means(rest, names)
        }
        _ => false,
    }
}

/// Appends in some order to some streams, and which of them a reader gets.
#[derive(Debug)]
struct Case {
    patterns: Vec<Vec<&'static str>>,
    names: Vec<Vec<&'static str>>,
    appends: Vec<(prop::sample::Index, usize)>,
    from: prop::sample::Index,
}

impl Case {
    fn any() -> impl Strategy<Value = Self> {
        let path =
            |words: &'static [&str]| prop::collection::vec(prop::sample::select(words), 1..4);
        let patterns = prop::collection::vec(path(&["a", "b", "*", "**"]), 1..4);
        let names = prop::collection::vec(path(&["a", "b", "c"]), 1..6);
        let index = any::<prop::sample::Index>;
        let appends = prop::collection::vec((index(), 1_usize..4), 0..24);
        (patterns, names, appends, index()).prop_map(|(patterns, names, appends, from)| Self {
            patterns,
            names,
            appends,
            from,
        })
    }

    /// Runs it in a folder of its own.
    async fn check(&self, server: &Server, folder: &str) {
        let base = server.log.usage().head.number();
        for name in &self.names {
            server
                .put(
                    &format!("{folder}/{}", name.join("/")),
                    "application/json",
                    "[]",
                )
                .await;
        }
        let mut order = Vec::new();
        for (which, count) in &self.appends {
            let name = which.get(&self.names);
            let numbers: Vec<_> = (order.len()..order.len() + count).collect();
            let path = format!("{folder}/{}", name.join("/"));
            server.post_json(&path, &json!(numbers).to_string()).await;
            order.extend(numbers.iter().map(|_| name));
        }
        let from = self.from.index(order.len() + 1);
        let mut query = format!("after={}", offset(base + from as u64));
        for pattern in &self.patterns {
            query.push_str(&format!("&stream={folder}/{}", pattern.join("/")));
        }
        let found = server.all(&query).await;
        let found: Vec<_> = found.iter().map(|event| event["data"].as_u64()).collect();
        let is_meant = |n: &usize| {
            self.patterns
                .iter()
                .any(|pattern| means(pattern, order[*n]))
        };
        let expected = (from..order.len()).filter(is_meant);
        assert_eq!(found, Vec::from_iter(expected.map(|n| Some(n as u64))));
    }
}

#[test]
fn a_reader_from_any_place_gets_exactly_what_its_patterns_mean() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("there is a runtime");
    let server = runtime.block_on(async { Server::new() });
    let folder = std::cell::Cell::new(0);
    let config = ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..Default::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let checked = runner.run(&Case::any(), |case| {
        folder.set(folder.get() + 1);
        runtime.block_on(case.check(&server, &format!("case{}", folder.get())));
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}
