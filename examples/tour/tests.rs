use headwater::{Format, StatusCode, test::TestClient};
use serde_json::{Value, json};

use super::*;

fn tour() -> TestClient {
    TestClient::new(app(None))
}

#[tokio::test]
async fn the_front_page_lists_the_paths() {
    let greeting: Value = tour().get("/").send().await.json().await;
    assert_eq!(greeting["message"], "Hello from Headwater");
    for next in greeting["next"].as_array().unwrap() {
        let path = next.as_str().unwrap();
        let status = tour()
            .get(path)
            .header("accept", "*/*")
            .send()
            .await
            .status();
        // No log is configured here.
        let expected = if path.starts_with("/tail") { 404 } else { 200 };
        assert_eq!(status.as_u16(), expected, "{path}");
    }
}

#[tokio::test]
async fn ticks_are_the_same_in_every_format() {
    let ndjson: Vec<Value> = tour()
        .get("/ticks?count=20&every_ms=0")
        .stream()
        .await
        .take(20)
        .await;
    assert_eq!(
        ndjson[0],
        json!({
            "n": 1,
            "symbol": "CREEK",
            "price": 101.75,
            "note": "an item of the tour, whole and in order",
        })
    );
    for format in [Format::Sse, Format::JsonSeq, Format::JsonArray] {
        let request = tour().get("/ticks?count=20&every_ms=0").accept(format);
        let mut ticks = request.stream::<Value>().await;
        assert_eq!(ticks.take(20).await, ndjson, "{format}");
        assert_eq!(ticks.next().await, None, "{format}");
    }
}

#[test]
fn a_tick_is_about_93_bytes_of_json() {
    for n in [1, 99, 12_345, 10_000_000] {
        let bytes = serde_json::to_vec(&Tick::nth(n)).unwrap().len();
        assert!((88..=98).contains(&bytes), "{bytes} bytes for n = {n}");
    }
}

#[tokio::test(start_paused = true)]
async fn by_default_there_are_ten_ticks_one_per_second() {
    let start = tokio::time::Instant::now();
    let mut ticks = tour().get("/ticks").stream::<Value>().await;
    assert_eq!(ticks.take(10).await.last().unwrap()["n"], 10);
    assert_eq!(ticks.next().await, None);
    let seconds = start.elapsed().as_secs_f64();
    assert!((9.0..9.5).contains(&seconds), "{seconds} s");
}

#[tokio::test]
async fn ticks_resume_after_the_last_event_id() {
    let again = |id: &'static str| tour().get("/ticks?count=10&every_ms=0").last_event_id(id);
    let mut ticks = again("7").accept(Format::Sse).stream::<Value>().await;
    let first = ticks.next_event().await.unwrap();
    assert_eq!(&*first.id, "8");
    let rest: Vec<_> = ticks
        .take(2)
        .await
        .iter()
        .map(|tick| tick["n"].as_u64())
        .collect();
    assert_eq!(rest, [Some(9), Some(10)]);

    assert_eq!(again("10").stream::<Value>().await.next().await, None);
    assert_eq!(
        again("18446744073709551615")
            .stream::<Value>()
            .await
            .next()
            .await,
        None
    );
    // An id from another stream: the whole stream follows, not an error, which would stop an
    // `EventSource`.
    let all = again("seven").stream::<Value>().await.take(10).await;
    assert_eq!(all.len(), 10);
}

#[tokio::test]
async fn a_bad_parameter_is_a_problem_that_says_what_is_allowed() {
    let with_log = TestClient::new(app(Some("/nowhere/app.log".into())));
    for (client, path, name, words) in [
        (&tour(), "/ticks?count=many", "count", "integer"),
        (&tour(), "/ticks?every_ms=3600001", "every_ms", "3600000"),
        (&tour(), "/system?every_ms=-1", "every_ms", "minimum of 0"),
        (&with_log, "/tail?lines=10001", "lines", "10000"),
        (&with_log, "/tail?lines=all", "lines", "integer"),
    ] {
        let response = client.get(path).send().await;
        assert_eq!(
            response.status(),
            StatusCode::UNPROCESSABLE_ENTITY,
            "{path}"
        );
        let problem: Value = response.json().await;
        let fault = &problem["errors"][0];
        assert_eq!(fault["name"], name, "{path}");
        let detail = fault["detail"].to_string();
        assert!(detail.contains(words), "{path}: {detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_streamed_word_by_word_and_ends_with_its_totals() {
    let question = json!({"prompt": "where to?", "words_per_second": 2});
    let request = tour().post("/answer").json(&question).accept(Format::Sse);
    let mut pieces = request.stream::<Value>().await;
    let mut events = Vec::new();
    while let Some(event) = pieces.next_event().await {
        events.push(format!("{} {}", event.event, event.data));
    }
    assert_eq!(events[0], r#"word {"type":"word","text":"where"}"#);
    assert_eq!(events[1], r#"word {"type":"word","text":"to?"}"#);
    assert!(
        events[2].starts_with(r#"usage {"type":"usage","words":2,"#),
        "{}",
        events[2]
    );
}

#[test]
fn the_document_describes_all_routes_except_its_own() {
    let document = app(None).openapi(OpenApi::V3_2);
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    let expected = [
        "/", "/watch", "/ticks", "/text", "/answer", "/system", "/tail",
    ];
    assert_eq!(paths, expected);
}

#[tokio::test]
async fn without_a_log_tail_explains_the_option() {
    let response = tour().get("/tail").send().await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert!(response.text().await.contains("--log"));
}

#[tokio::test]
async fn tail_lines_have_ids_to_resume_from() {
    // A file that exists and doesn't change.
    let log = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    let client = TestClient::new(app(Some(log)));
    let mut lines = client
        .get("/tail?lines=3")
        .accept(Format::Sse)
        .stream::<Value>()
        .await;
    let first = lines.next_event().await.unwrap();
    let rest = lines.take(2).await;
    assert_eq!(rest[1]["line"], 3);
    lines.leave().await;

    let again = client
        .get("/tail")
        .accept(Format::Sse)
        .last_event_id(&first.id);
    assert_eq!(again.stream::<Value>().await.take(2).await, rest);
    let nowhere = client
        .get("/tail")
        .accept(Format::Sse)
        .last_event_id("first");
    assert_eq!(
        nowhere.stream::<Value>().await.take(3).await.len(),
        3,
        "it starts over"
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_an_error_with_its_status() {
    let client = TestClient::new(app(Some(env!("CARGO_MANIFEST_DIR").into())));
    let response = client.get("/tail").send().await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(response.text().await.contains("can't be read"));
}

#[tokio::test]
async fn the_machines_figures_continue_until_the_reader_disconnects() {
    let mut readings = tour()
        .get("/system?every_ms=250")
        .accept(Format::Sse)
        .stream::<Value>()
        .await;
    let seen = readings.take(2).await;
    assert!(seen[0]["at"].as_u64() < seen[1]["at"].as_u64());
    assert!(seen[0]["memory"]["total"].as_u64() > Some(0));
    readings.leave().await;
}

#[tokio::test]
async fn the_page_needs_no_other_host() {
    let response = tour().get("/watch").send().await;
    assert!(
        response.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.contains("default-src 'none'"));
    let page = response.text().await;
    let outside: Vec<_> = page
        .match_indices("http")
        .map(|(at, _)| page[at..].chars().take(30).collect::<String>())
        .filter(|url| url.contains("://") && !url.starts_with("http://www.w3.org/2000/svg"))
        .collect();
    assert_eq!(outside, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn text_is_ten_messages_one_per_second() {
    let start = tokio::time::Instant::now();
    let text = tour().get("/text").send().await.text().await;
    assert_eq!(text.lines().count(), 10);
    assert!(text.starts_with("message 1 of 10\n") && text.ends_with("message 10 of 10\n"));
    let seconds = start.elapsed().as_secs_f64();
    assert!((9.0..9.5).contains(&seconds), "{seconds} s");
}
