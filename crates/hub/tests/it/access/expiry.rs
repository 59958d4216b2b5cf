//! Open responses end with the permission behind them.

use std::time::Instant;

use axum::body::Body;
use headwater::test::TestClient;
use headwater_hub::Hub;
use headwater_log::MemoryLog;
use tower::ServiceExt as _;

use super::*;

const JSON_LINES: (&str, &str) = ("content-type", "application/x-ndjson");

/// Longest time between the end of a permission and that of a response.
const PROMPT: Duration = Duration::from_secs(1);

/// A token that is valid for 1 to 2 s, and the time at which it expires.
fn short(granted: &str) -> (String, Instant) {
    let now = SystemTime::now();
    let since = now.duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    let fraction = Duration::from_nanos(u64::from(since.subsec_nanos()));
    let left = Duration::from_secs(2) - fraction;
    (token(granted, left), Instant::now() + left)
}

/// Reads a body until it ends. Returns its text and `true` if it was aborted.
async fn whole(response: TestResponse) -> (String, bool) {
    assert_eq!(response.status(), 200);
    let mut body = response.into_data_stream();
    let mut text = String::new();
    let read = async {
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => text += std::str::from_utf8(&chunk).expect("it is text"),
                Err(_) => return true,
            }
        }
        false
    };
    let is_cut = tokio::time::timeout(Duration::from_secs(10), read).await;
    let is_cut = is_cut.expect("it ends");
    (text, is_cut)
}

/// The requests of live readers, and `true` for SSE.
fn live() -> [(&'static str, &'static str, bool); 5] {
    let (sse, lines) = ("text/event-stream", "application/x-ndjson");
    [
        ("/streams/a", sse, true),
        ("/streams/a?live=sse&offset=-1", "*/*", true),
        ("/streams/a", lines, false),
        ("/events?stream=**&offset=-1", sse, true),
        ("/events?stream=**&offset=-1", lines, false),
    ]
}

#[tokio::test]
async fn a_live_response_ends_within_a_second_of_its_tokens_expiry() {
    let hub = Guarded::new();
    hub.create(&["a"]).await;
    let (token, expires) = short("read:**");
    let readers = live().map(|(path, accept, is_sse)| {
        let get = bearer(hub.request(Method::GET, path), &token);
        let get = get.header("accept", accept);
        async move {
            let (text, is_cut) = whole(get.send().await).await;
            let late = Instant::now().saturating_duration_since(expires);
            assert!(
                is_cut && late < PROMPT,
                "{path} {accept}: {is_cut} {late:?}"
            );
            assert!(
                Instant::now() + Duration::from_millis(50) > expires,
                "{path}: early"
            );
            assert_eq!(
                text.contains("event: headwater:error"),
                is_sse,
                "{path}: {text}"
            );
            assert_eq!(text.contains("\"token_expired\""), is_sse, "{path}: {text}");
            assert_eq!(text.contains("\"status\":401"), is_sse, "{path}: {text}");
        }
    });
    futures_util::future::join_all(readers).await;
}

#[tokio::test]
async fn a_long_poll_ends_with_its_token() {
    let hub = Guarded::new();
    hub.create(&["a"]).await;
    let (token, expires) = short("read:**");
    let get = hub.request(Method::GET, "/streams/a?live=long-poll&offset=now");
    let response = bearer(get, &token).send().await;
    let late = Instant::now().saturating_duration_since(expires);
    assert_eq!(code(response).await, "token_expired");
    assert!(late < PROMPT, "{late:?}");
}

#[tokio::test]
async fn an_endless_append_ends_with_its_token_and_keeps_the_lines_so_far() {
    let options = Options::new().auth(Auth::new(authenticator()));
    let hub = Hub::with_options(Arc::new(MemoryLog::default()), options);
    let app = hub.app().into_router();
    let client = TestClient::new(app.clone());
    let put = client
        .request(Method::PUT, "/streams/a")
        .header(JSON.0, JSON.1);
    let put = bearer(put, &token("create:a", HOUR)).send().await;
    assert_eq!(put.status(), 201);
    let (token, expires) = short("publish:a");
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>("1\n")]);
    let body = Body::from_stream(first.chain(futures_util::stream::pending()));
    let post = http::Request::post("/streams/a").header(JSON.0, "application/x-ndjson");
    let post = post.header("authorization", format!("Bearer {token}"));
    let response = app.oneshot(post.body(body).expect("it is valid")).await;
    let response = response.expect("it is infallible");
    let late = Instant::now().saturating_duration_since(expires);
    assert!(late < PROMPT, "{late:?}");
    assert_eq!(response.status(), 401);
    assert_eq!(
        response.headers()["www-authenticate"].as_bytes()[..6],
        *b"Bearer"
    );
    let problem = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    let problem: Value = serde_json::from_slice(&problem.expect("it is whole")).expect("JSON");
    assert_eq!(problem["code"], "token_expired", "{problem}");
    let get = bearer(client.get("/streams/a"), &super::token("read:a", HOUR));
    assert_eq!(get.send().await.text().await, "[1]");
}

#[tokio::test]
async fn a_revoked_key_ends_its_live_responses() {
    let mut key = String::new();
    let hub = Guarded::with("", |file| {
        let new = file.create("k", grants("read:**"), None, SystemTime::now());
        key = new.expect("the file can be written").token().to_owned();
    });
    hub.create(&["a"]).await;
    let mut open = Vec::new();
    for (path, accept, is_sse) in live() {
        let get = bearer(hub.request(Method::GET, path), &key);
        open.push((path, is_sse, get.header("accept", accept).send().await));
    }
    let poll = hub.request(Method::GET, "/streams/a?live=long-poll&offset=now");
    let poll = tokio::spawn(bearer(poll, &key).send());
    tokio::time::sleep(Duration::from_millis(50)).await;
    hub.file.revoke("k", SystemTime::now()).expect("it exists");
    let revoked = Instant::now();
    for (path, is_sse, response) in open {
        let (text, is_cut) = whole(response).await;
        assert!(is_cut, "{path}");
        assert_eq!(text.contains("\"token_revoked\""), is_sse, "{path}: {text}");
    }
    let poll = poll.await.expect("it doesn't panic");
    assert_eq!(code(poll).await, "token_revoked");
    // The key file is read every 500 ms.
    assert!(
        revoked.elapsed() < Duration::from_millis(1500),
        "{:?}",
        revoked.elapsed()
    );
    let again = bearer(hub.request(Method::GET, "/streams/a"), &key);
    assert_eq!(code(again.send().await).await, "token_revoked");
}

#[tokio::test]
async fn a_long_read_ends_with_its_key() {
    let mut key = String::new();
    let hub = Guarded::with("", |file| {
        let new = file.create("k", grants("all:**"), None, SystemTime::now());
        key = new.expect("the file can be written").token().to_owned();
    });
    hub.create(&["a"]).await;
    let message = format!("\"{}\"", "x".repeat(500_000));
    for _ in 0..4 {
        let post = bearer(hub.request(Method::POST, "/streams/a"), &key);
        let post = post.header("content-type", "application/json");
        assert!(
            post.body(message.clone())
                .send()
                .await
                .status()
                .is_success()
        );
    }
    let read = bearer(hub.request(Method::GET, "/streams/a"), &key)
        .send()
        .await;
    let length: usize = read.headers()["content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let mut body = read.into_data_stream();
    let mut got = body
        .next()
        .await
        .expect("it begins")
        .expect("it is open")
        .len();
    hub.file.revoke("k", SystemTime::now()).expect("it exists");
    tokio::time::sleep(PROMPT).await;
    let is_cut = loop {
        match body.next().await {
            Some(Ok(piece)) => got += piece.len(),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(is_cut && got < length, "{got} of {length}");
}

#[tokio::test]
async fn a_reader_with_a_new_token_loses_and_repeats_nothing() {
    let hub = Guarded::new();
    let put = hub.as_one(Method::PUT, "/streams/a", "create:a");
    put.header(JSON.0, JSON.1).send().await;
    let (token, expires) = short("read:a");
    let reader = |token: &str| {
        let get = bearer(hub.request(Method::GET, "/streams/a"), token);
        get.header("accept", "text/event-stream")
    };
    let read = async {
        let mut got = Vec::new();
        let mut last = String::new();
        let mut events = reader(&token).stream::<u64>().await;
        loop {
            let event = events
                .next_event()
                .await
                .expect("it doesn't end as complete");
            if event.is_error() {
                break;
            }
            last = event.id.to_string();
            got.push(event.data.parse::<u64>().expect("it is a number"));
        }
        events.cut().await;
        let again = reader(&super::token("read:a", HOUR)).last_event_id(&last);
        let mut events = again.stream::<u64>().await;
        while got.last() != Some(&u64::MAX) {
            got.push(events.next().await.expect("it is live"));
        }
        got
    };
    let write = async {
        let count = count_until(&hub, expires).await;
        hub.publish("a", &format!("[{}]", u64::MAX)).await;
        count
    };
    let (got, count) = tokio::join!(read, write);
    assert_eq!(got[..got.len() - 1], (0..count).collect::<Vec<_>>());
}

/// Appends numbers until the token has expired. Returns their count.
async fn count_until(hub: &Guarded, expires: Instant) -> u64 {
    let mut count = 0;
    while Instant::now() < expires + Duration::from_millis(300) {
        hub.publish("a", &format!("[{count}]")).await;
        count += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    count
}

/// Returns the number and the position in an object of `/events`.
fn item(object: &str) -> (u64, String) {
    let object: Value = serde_json::from_str(object).expect("it is an object");
    let number = object["data"].as_u64().expect("it is a number");
    (
        number,
        object["id"].as_str().expect("it is text").to_owned(),
    )
}

#[tokio::test]
async fn a_reader_of_many_streams_with_a_new_token_loses_and_repeats_nothing() {
    let hub = Guarded::new();
    let put = hub.as_one(Method::PUT, "/streams/a", "create:a");
    put.header(JSON.0, JSON.1).send().await;
    let (token, expires) = short("read:a");
    let path = "/events?stream=a&offset=-1";
    let read = async |accept: &str| {
        let get = bearer(hub.request(Method::GET, path), &token);
        whole(get.header("accept", accept).send().await).await
    };
    let (sse, lines, count) = tokio::join!(
        read("text/event-stream"),
        read("application/x-ndjson"),
        count_until(&hub, expires)
    );
    assert!(sse.1 && lines.1, "they are cut");
    let sse = sse
        .0
        .split("\n\n")
        .filter(|event| !event.contains("headwater:"));
    let sse = sse.flat_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
    // A line that was cut off isn't one.
    let (lines, _) = lines.0.rsplit_once('\n').expect("there is a line");
    for begun in [
        sse.map(item).collect::<Vec<_>>(),
        lines
            .lines()
            .filter(|line| line.contains("\"data\""))
            .map(item)
            .collect(),
    ] {
        let (_, last) = begun.last().expect("it got some before its end");
        let path = format!("/events?stream=a&live=false&offset={last}");
        let rest = hub.as_one(Method::GET, &path, "read:a");
        let rest = rest.header("accept", "application/x-ndjson").send().await;
        let rest = rest.text().await;
        let all = begun.into_iter().chain(rest.lines().map(item));
        let all: Vec<_> = all.map(|(number, _)| number).collect();
        assert_eq!(all, (0..count).collect::<Vec<_>>());
    }
}

/// Returns the offset that is a number of messages after another one.
fn further(offset: &str, count: usize) -> String {
    let (number, incarnation) = offset.split_once('_').expect("it is an offset");
    let number: usize = number.parse().expect("it is a number");
    format!("{:016}_{incarnation}", number + count)
}

#[tokio::test]
async fn a_reader_of_lines_with_a_new_token_loses_and_repeats_nothing() {
    let hub = Guarded::new();
    let put = hub.as_one(Method::PUT, "/streams/a", "create:a");
    put.header(JSON.0, JSON.1).send().await;
    hub.publish("a", "[0, 1, 2]").await;
    let (token, expires) = short("read:a");
    let read = async |offset: &str, token: &str, live: bool| {
        let path = format!("/streams/a?offset={offset}&live={live}");
        let path = path.trim_end_matches("&live=true");
        let get = bearer(hub.request(Method::GET, path), token);
        let response = get.header("accept", "application/x-ndjson").send().await;
        let start = header(&response, "stream-next-offset").to_owned();
        let (text, is_cut) = whole(response).await;
        assert_eq!(is_cut, live);
        let (lines, _) = text.rsplit_once('\n').expect("there is a line");
        let lines = lines.lines().map(|line| line.parse().expect("a number"));
        (start, lines.collect::<Vec<u64>>())
    };
    let begin = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        read("-1", &token, true).await
    };
    let ((start, mut all), count) = tokio::join!(begin, count_until(&hub, expires));
    assert!(all.len() > 3, "{all:?}");
    let offset = further(&start, all.len());
    let (_, rest) = read(&offset, &super::token("read:a", HOUR), false).await;
    all.extend(rest);
    let expected: Vec<u64> = (0..3).chain(0..count).collect();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_long_poll_with_a_new_token_loses_and_repeats_nothing() {
    let hub = Guarded::new();
    let put = hub.as_one(Method::PUT, "/streams/a", "create:a");
    put.header(JSON.0, JSON.1).send().await;
    let (short, expires) = short("read:a");
    let read = async {
        let (mut got, mut offset, mut token) = (Vec::new(), "-1".to_owned(), short.clone());
        let mut refused = 0;
        while Instant::now() < expires + Duration::from_secs(1) {
            let path = format!("/streams/a?live=long-poll&offset={offset}");
            let response = bearer(hub.request(Method::GET, &path), &token).send().await;
            match response.status().as_u16() {
                200 => {
                    offset = header(&response, "stream-next-offset").to_owned();
                    got.extend(response.json::<Vec<u64>>().await);
                }
                status => {
                    assert_eq!((status, &*token), (401, &*short));
                    refused += 1;
                    token = super::token("read:a", HOUR);
                }
            }
            if got.last() == Some(&u64::MAX) {
                break;
            }
        }
        (got, refused)
    };
    let write = async {
        let count = count_until(&hub, expires).await;
        hub.publish("a", &format!("[{}]", u64::MAX)).await;
        count
    };
    let ((got, refused), count) = tokio::join!(read, write);
    assert_eq!(refused, 1);
    assert_eq!(got[..got.len() - 1], (0..count).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_relay_that_fills_a_stream_continues_after_its_starters_token_has_expired() {
    let hub = Guarded::new();
    let late = Arc::new(tokio::sync::Notify::new());
    let released = Arc::clone(&late);
    let upstream = axum::routing::get(move || async move {
        let first = futures_util::stream::iter([Ok::<_, std::io::Error>("1\n")]);
        let second = async move {
            released.notified().await;
            Ok("2\n")
        };
        let lines = first.chain(futures_util::stream::once(second));
        ([JSON_LINES], Body::from_stream(lines))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("there is a port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let app = axum::Router::new().route("/", upstream);
    let server = tokio::spawn(async { axum::serve(listener, app).await });

    let (token, expires) = short("relay:**;create,publish:x");
    let post = bearer(hub.request(Method::POST, "/relay?stream=x"), &token);
    let post = post.header("upstream-url", &url);
    let started = post.header("upstream-method", "GET").send().await;
    assert_eq!(started.status(), 201);
    let read = hub.as_one(Method::GET, "/streams/x", "read:x");
    let read = read.header("accept", JSON_LINES.1).send().await;
    tokio::time::sleep_until((expires + Duration::from_millis(200)).into()).await;
    late.notify_one();
    // The relay has ended, and so does a reader with valid credentials.
    let text = tokio::time::timeout(Duration::from_secs(10), read.into_body_text()).await;
    assert_eq!(text.expect("it ends"), "1\n2\n");
    server.abort();
}
