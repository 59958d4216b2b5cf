//! Streams move from one hub to another by `GET /export` and `POST /import`.

use headwater_hub::limits::PATH_SEGMENTS;
use headwater_log::{Append, Create, Expiry, Outcome, ReadFrom, Settings, StreamName};
use serde_json::{Value, json};

use super::*;

async fn export(server: &Server, query: &str) -> String {
    let request = server
        .client
        .request(Method::GET, &format!("/export{query}"));
    let response = request.send().await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "content-type"), "application/x-ndjson");
    response.text().await
}

/// Imports lines. Returns the status and the JSON of the response.
async fn import(server: &Server, query: &str, lines: &str) -> (u16, Value) {
    let path = format!("/import{query}");
    let request = server.client.request(Method::POST, &path);
    let response = request.body(lines.to_owned()).send().await;
    (response.status().as_u16(), response.json().await)
}

fn counts(imported: u64, unchanged: u64, skipped: u64) -> Value {
    json!({ "imported": imported, "unchanged": unchanged, "skipped": skipped, "expired": 0, "dropped": 0 })
}

/// Fills a hub with streams of several kinds.
async fn filled(server: &Server) {
    let append = |path: &str, message: &str, seq: u64| {
        let request = server.request(Method::POST, path);
        let request = request.header("content-type", "application/json");
        let request = request
            .header("producer-id", "p")
            .header("producer-epoch", "3");
        request
            .header("producer-seq", &seq.to_string())
            .body(message.to_owned())
    };
    server.put_json("shop/orders", "").await;
    for seq in 0..3 {
        let message = format!(r#"{{"n":{seq}, "text":"ä\n"}}"#);
        assert_eq!(
            append("shop/orders", &message, seq).send().await.status(),
            200
        );
        server.clock.advance(Duration::from_secs(1));
    }
    let put = server.request(Method::PUT, "shop/fork");
    let put = put.header("stream-forked-from", "/streams/shop/orders");
    assert_eq!(put.send().await.status(), 201);
    server.post_json("shop/fork", "null").await;
    server.close("shop/fork").await;
    server.put("text", "text/plain", "one\ntwo").await;
    let bytes = "bytes".parse::<StreamName>().expect("it is a name");
    let create = Create::new(Settings::of_type("application/octet-stream"));
    server.log.create(&bytes, create).await.expect("it is new");
    let append = Append::new(vec![vec![0, 255].into(), "x".into()]).closing_for("{}".into());
    server.log.append(&bytes, append).await.expect("it is open");
    server.put_json("empty", "").await;
}

#[tokio::test]
async fn a_copy_has_the_same_streams_offsets_and_producers() {
    for from in Server::of_each_kind() {
        filled(&from).await;
        let lines = export(&from, "").await;
        for to in Server::of_each_kind() {
            to.clock.advance(Duration::from_secs(3600));
            let done = import(&to, "", &lines).await;
            assert_eq!(done, (200, counts(5, 0, 0)), "{lines}");
            for path in ["shop/orders", "shop/fork", "text", "bytes", "empty"] {
                let name = path.parse().expect("it is a name");
                let mut copy = to.log.image(&name).await.expect("it is there");
                // Its own incarnation.
                copy.0.marks.pop();
                assert_eq!(copy, from.log.image(&name).await.expect("it is there"));
                let read = |log: Arc<dyn Log>| {
                    let name = name.clone();
                    async move {
                        let chunk = log.read(&name, ReadFrom::Start, usize::MAX).await;
                        let chunk = chunk.expect("it is there");
                        chunk.messages().collect::<Vec<_>>()
                    }
                };
                let (copy, source) = (read(Arc::clone(&to.log)), read(Arc::clone(&from.log)));
                assert_eq!(copy.await, source.await, "{path}");
            }
            // A reader's position of the source continues here.
            let offset = from.at("shop/orders", 2);
            let rest = to.get(&format!("shop/orders?offset={offset}")).send().await;
            assert_eq!(rest.text().await, r#"[{"n":2, "text":"ä\n"}]"#);
            let append = |seq, message: &str| {
                let name = "shop/orders".parse::<StreamName>().expect("it is a name");
                let append = Append::new(vec![message.to_owned().into()]).by("p", 3, seq);
                let log = Arc::clone(&to.log);
                async move { log.append(&name, append).await.expect("it is open") }
            };
            let again = append(2, r#"{"n":2, "text":"ä\n"}"#).await;
            assert!(matches!(again, Outcome::Duplicate(_)), "{again:?}");
            assert!(matches!(append(3, "3").await, Outcome::Appended(_)));

            // Everything is there already.
            assert_eq!(import(&to, "", &lines).await, (200, counts(0, 5, 0)));
        }
    }
}

#[tokio::test]
async fn the_lines_are_as_documented() {
    let server = Server::new();
    server.put_json("a", "1").await;
    server.put("b", "text/plain", "x").await;
    let lines = export(&server, "").await;
    let mut lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect();
    assert!(lines[0]["time"].is_u64());
    lines[0]["time"] = 0.into();
    let time = START.0;
    let mark = |path| json!([server.at(path, 1)]);
    let digest = |line: &Value| line["digest"].clone();
    let expected = json!([
        {"headwater": "export", "version": 1, "time": 0},
        {"stream": "a", "content_type": "application/json", "created": time, "appended": time, "floor": 0,
         "marks": mark("a"), "closed": false},
        {"offset": 0, "time": time, "json": 1},
        {"end": "a", "messages": 1, "bytes": 1, "digest": digest(&lines[3])},
        {"stream": "b", "content_type": "text/plain", "created": time, "appended": time, "floor": 0,
         "marks": mark("b"), "closed": false},
        {"offset": 0, "time": time, "text": "x"},
        {"end": "b", "messages": 1, "bytes": 1, "digest": digest(&lines[6])},
        {"complete": true, "streams": 2, "dropped": 0},
    ]);
    assert_eq!(Value::from(lines), expected);
}

/// Reads lines as documented: returns them with the offset that a client counts.
async fn counted(server: &Server, path: &str, offset: &str) -> (String, String) {
    let lines = server.lines(&format!("{path}?live=false&offset={offset}"));
    let response = lines.send().await;
    assert_eq!(response.status(), 200, "{path} {offset}");
    let next = header(&response, "stream-next-offset").to_owned();
    let lines = response.text().await;
    let (digits, rest) = next.split_once('_').expect("it is an offset");
    let count = digits.parse::<usize>().expect("digits") + lines.lines().count();
    (lines, format!("{count:016}_{rest}"))
}

#[tokio::test]
async fn a_reader_of_lines_counts_over_the_offsets_of_a_fork_and_of_an_import() {
    let server = Server::new();
    server.put_json("a", "[1,2]").await;
    let fork = server.request(Method::PUT, "b");
    let fork = fork.header("stream-forked-from", "/streams/a").send();
    assert_eq!(fork.await.status(), 201);
    server.post_json("b", "3").await;
    let mut positions = vec![counted(&server, "b", "-1").await.1];
    let mut servers = vec![server];
    for n in 4..7 {
        let lines = export(&servers[servers.len() - 1], "?stream=b").await;
        let server = Server::new();
        assert_eq!(import(&server, "", &lines).await.0, 200);
        // Of each server before, and of this one.
        positions.push(counted(&server, "b", "-1").await.1);
        server.post_json("b", &n.to_string()).await;
        for (place, position) in positions.iter().enumerate() {
            let since: String = (3 + place..=n).map(|n| format!("{n}\n")).collect();
            let since = since.strip_prefix("3\n").unwrap_or(&since);
            assert_eq!(
                counted(&server, "b", position).await.0,
                *since,
                "{positions:?}"
            );
        }
        servers.push(server);
    }
    // The source of the fork has other messages there.
    let other = servers[0].lines(&format!("a?live=false&offset={}", positions[0]));
    assert_eq!(other.send().await.status(), 410);
}

#[tokio::test]
async fn a_reader_of_lines_continues_over_copies_that_were_not_appended_to() {
    let server = Server::new();
    server.put_json("a", "[1,2]").await;
    let mut positions = Vec::new();
    let mut servers = vec![server];
    for _ in 0..3 {
        let last = &servers[servers.len() - 1];
        let (lines, position) = counted(last, "a", "-1").await;
        assert_eq!(lines, "1\n2\n");
        positions.push(position);
        let lines = export(last, "").await;
        let copy = Server::new();
        assert_eq!(import(&copy, "", &lines).await, (200, counts(1, 0, 0)));
        servers.push(copy);
    }
    let last = servers.pop().expect("there are some");
    last.post_json("a", "3").await;
    for position in &positions {
        assert_eq!(
            counted(&last, "a", position).await.0,
            "3\n",
            "{positions:?}"
        );
    }
    // The original has the messages of its copies.
    let lines = export(&servers[2], "").await;
    for server in &servers {
        assert_eq!(import(server, "", &lines).await, (200, counts(0, 1, 0)));
    }
}

#[tokio::test]
async fn an_export_has_the_streams_that_are_named() {
    let server = Server::new();
    for path in ["a", "b/1", "b/2", "c"] {
        server.put_json(path, "").await;
    }
    let hidden = "__ds/relay/x".parse::<StreamName>().expect("it is a name");
    let journal = "__ds/journal/0"
        .parse::<StreamName>()
        .expect("it is a name");
    for name in [&hidden, &journal] {
        let create = Create::new(Settings::of_type("application/json"));
        server.log.create(name, create).await.expect("it is new");
    }
    for (query, expected) in [
        ("", &["a", "b/1", "b/2", "c"][..]),
        ("?prefix=", &["a", "b/1", "b/2", "c"]),
        ("?prefix=b/", &["b/1", "b/2"]),
        ("?prefix=x", &[]),
        ("?after=b/1", &["b/2", "c"]),
        ("?stream=b/2", &["b/2"]),
    ] {
        let lines = export(&server, query).await;
        let streams: Vec<_> = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"))
            .filter_map(|line| Some(line["end"].as_str()?.to_owned()))
            .collect();
        assert_eq!(streams, expected, "{query}");
        let last = lines.lines().last().unwrap_or_default();
        let streams = expected.len();
        assert_eq!(
            last,
            format!(r#"{{"complete":true,"streams":{streams},"dropped":0}}"#)
        );
    }
    for (query, status) in [
        ("?stream=x", 404),
        ("?stream=a&prefix=a", 400),
        ("?stream=__ds/relay/x", 404),
    ] {
        let request = server
            .client
            .request(Method::GET, &format!("/export{query}"));
        assert_eq!(request.send().await.status(), status, "{query}");
    }
}

#[tokio::test]
async fn an_import_that_was_cut_off_continues_and_leaves_nothing_half() {
    let from = Server::new();
    filled(&from).await;
    let lines = export(&from, "").await;
    for to in Server::of_each_kind() {
        to.clock.advance(Duration::from_secs(3600));
        let ends: Vec<usize> = lines.match_indices('\n').map(|(at, _)| at + 1).collect();
        for (line, end) in ends.iter().enumerate().take(ends.len() - 1) {
            let (status, problem) = import(&to, "", &lines[..*end]).await;
            assert_eq!(status, 400, "{problem}");
            assert_eq!(problem["line"], line as u64 + 1);
            // A stream is there as a whole or not at all.
            for info in to
                .log
                .list("", None, 99)
                .await
                .expect("it can be read")
                .streams
            {
                let there = from.log.info(&info.name).await.expect("it was exported");
                assert_eq!((info.tail, info.closed), (there.tail, there.closed));
            }
        }
        // In the middle of a line.
        let (status, _) = import(&to, "", &lines[..lines.len() - 9]).await;
        assert_eq!(status, 400);
        let (status, summary) = import(&to, "", &lines).await;
        assert_eq!(
            (status, &summary["imported"], &summary["unchanged"]),
            (200, &json!(0), &json!(5))
        );
    }
}

#[tokio::test]
async fn another_stream_is_refused_or_left_as_it_is() {
    let (from, to) = (Server::new(), Server::new());
    from.put_json("a", "1").await;
    from.put_json("b", "2").await;
    to.put_json("a", "3").await;
    let lines = export(&from, "").await;
    let (status, problem) = import(&to, "", &lines).await;
    assert_eq!((status, &problem["code"]), (409, &json!("stream_exists")));
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|text| text.contains("\"a\"")),
        "{problem}"
    );
    assert_eq!(
        import(&to, "?existing=skip", &lines).await,
        (200, counts(0, 1, 1))
    );
    assert_eq!(to.get("a").send().await.text().await, "[3]");
    assert_eq!(to.get("b").send().await.text().await, "[2]");
    // It was appended to at the source since.
    from.post_json("b", "4").await;
    let (status, _) = import(&to, "", &export(&from, "?stream=b").await).await;
    assert_eq!(status, 409);
}

#[tokio::test]
async fn bad_lines_are_refused_with_their_number() {
    let from = Server::new();
    from.put_json("a", "[1,2]").await;
    let good = export(&from, "").await;
    let lines: Vec<&str> = good.lines().collect();
    let with = |at: usize, line: &str| {
        let mut changed: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        line.clone_into(&mut changed[at]);
        changed.join("\n")
    };
    let replaced = |at: usize, from: &str, to: &str| with(at, &lines[at].replace(from, to));
    let long = vec!["x"; PATH_SEGMENTS * 8 + 1].join("/");
    for (body, line, detail) in [
        // Without a line.
        (String::new(), 0, "the body is empty"),
        (
            "x".to_owned(),
            1,
            "can't be read: it isn't JSON at column 1",
        ),
        (lines[1..].join("\n"), 1, "it isn't an export"),
        (
            replaced(0, "\"version\":1", "\"version\":2"),
            1,
            "version 2",
        ),
        (replaced(0, "export", "backup"), 1, "it isn't an export"),
        (
            with(0, &format!("{0}\n{0}", lines[0])),
            2,
            "first line of another export",
        ),
        (replaced(1, "\"a\"", "\"../a\""), 2, "\"..\""),
        (
            replaced(1, "\"a\"", "\"__ds/journal/0\""),
            2,
            "the hub's own",
        ),
        (replaced(1, "\"a\"", &format!("\"{long}\"")), 2, "limit"),
        (replaced(1, "\"marks\"", "\"mark\""), 2, "unknown field"),
        (
            replaced(2, "\"offset\":0", "\"offset\":2"),
            3,
            "the offset 2",
        ),
        (
            replaced(3, "\"offset\":1", "\"offset\":0"),
            4,
            "the offset 0",
        ),
        (replaced(2, "\"json\":1", "\"text\":\"1\""), 3, "is JSON"),
        (replaced(2, "\"json\":1", "\"json\":7"), 5, "were changed"),
        (with(2, ""), 5, "were changed"),
        (
            replaced(4, "\"messages\":2", "\"messages\":1"),
            5,
            "were changed",
        ),
        (
            replaced(4, "\"end\":\"a\"", "\"end\":\"b\""),
            5,
            "were changed",
        ),
        (with(4, lines[1]), 5, "has no last line"),
        (with(1, lines[2]), 2, "belongs to no stream"),
        (
            replaced(5, "\"streams\":1", "\"streams\":2"),
            6,
            "2 streams, and 1",
        ),
        (good.clone() + lines[1], 7, "follows the last one"),
    ] {
        let to = Server::new();
        let (status, problem) = import(&to, "", &body).await;
        assert!(matches!(status, 400 | 413), "{problem}");
        assert_eq!(problem["line"].as_u64().unwrap_or(0), line, "{problem}");
        let text = problem["detail"].as_str().unwrap_or_default();
        assert!(text.contains(detail), "{problem}");
        let there = to.log.list("", None, 9).await.expect("it can be read");
        // The stream is whole before what follows it.
        assert_eq!(there.streams.len(), usize::from(line > 5), "{problem}");
    }
}

#[tokio::test]
async fn an_incomplete_stream_is_unavailable_and_can_be_deleted() {
    let (from, to) = (Server::new(), Server::new());
    from.put_json("a", "[1,2]").await;
    // More than an import keeps in memory.
    let many = vec!["3"; 5000].join(",");
    from.post_json("a", &format!("[{many}]")).await;
    let lines = export(&from, "").await;
    let cut = lines.len() - 200;
    assert_eq!(import(&to, "", &lines[..cut]).await.0, 400);
    let read = to.get("a").send().await;
    assert_eq!(read.status(), 503);
    assert_eq!(header(&read, "retry-after"), "1");
    assert!(read.text().await.contains("being restored"));
    assert_eq!(to.put("a", "application/json", "").await.status(), 503);
    to.delete("a").await;
    to.put_json("a", "1").await;
}

// On one thread, an append would continue only where a copy waits for something, and the number of copies would depend
// on the time that this takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_consistent_while_appends_continue() {
    let from = Server::on_disk(Options::new());
    let name = "a".parse::<StreamName>().expect("it is a name");
    let create = Create::new(Settings::of_type("application/json"));
    from.log.create(&name, create).await.expect("it is new");
    let log = Arc::clone(&from.log);
    let writer = tokio::spawn(async move {
        for seq in 0..2000 {
            let append = Append::new(vec![seq.to_string().into()]).by("p", 0, seq);
            log.append(&name, append).await.expect("it is open");
            if seq % 4 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut copies = 0;
    while !writer.is_finished() || copies == 0 {
        let lines = export(&from, "").await;
        let to = Server::new();
        to.clock.advance(Duration::from_secs(3600));
        assert_eq!(import(&to, "", &lines).await.0, 200);
        let name = "a".parse().expect("it is a name");
        let (image, producers) = to.log.image(&name).await.expect("it is there");
        let messages = producers.first().map_or(0, |it| it.published.messages);
        assert_eq!(image.tail().at.number(), messages);
        copies += 1;
    }
    writer.await.expect("it doesn't panic");
}

#[tokio::test]
async fn streams_that_have_expired_are_left_out() {
    let (from, to) = (Server::new(), Server::new());
    let name = "a".parse::<StreamName>().expect("it is a name");
    let mut settings = Settings::of_type("text/plain");
    // The hub compares with the clock of the machine.
    settings.expiry = Some(Expiry::At(START.after(Duration::from_secs(3600))));
    from.log
        .create(&name, Create::new(settings))
        .await
        .expect("it is new");
    let lines = export(&from, "").await.replace(
        &format!("\"expires\":{}", START.0 + 3_600_000),
        "\"expires\":1000",
    );
    // The digest is of the original line.
    let (status, problem) = import(&to, "", &lines).await;
    assert_eq!(status, 400, "{problem}");
    from.clock.advance(Duration::from_secs(3600));
    let lines = export(&from, "").await;
    assert!(!lines.contains("stream\":\"a"), "{lines}");
}

#[tokio::test]
async fn a_line_and_the_number_of_moves_are_limited() {
    const LINE: usize = 1 << 20;
    let mut limits = headwater_hub::Limits::default();
    limits.body_bytes = 0;
    let server = Server::with(Options::new().limits(limits));
    let start = r#"{"headwater":"export","version":1,"time":0}"#;
    for (bytes, status) in [(LINE, 200), (LINE + 1, 413)] {
        let line = format!("{start}{}\n", " ".repeat(bytes - start.len()));
        let end = r#"{"complete":true,"streams":0,"dropped":0}"#;
        let done = import(&server, "", &(line + end)).await;
        assert_eq!(done.0, status, "{}", done.1);
    }
    let mut open = Vec::new();
    for status in [200, 200, 200, 200, 429] {
        let response = server.client.get("/export").send().await;
        assert_eq!(response.status(), status);
        let is_told = response.headers().contains_key("retry-after");
        assert_eq!(is_told, status == 429);
        open.push(response);
    }
    drop(open);
    export(&server, "").await;
}
