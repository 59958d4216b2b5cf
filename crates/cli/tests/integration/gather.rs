use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    running::{Said, Scratch, at_terminal, finish, headwater, signal, wait},
    server::{Call, Server},
};

/// Starts `headwater gather` with these arguments and these calls on the standard input.
fn begin(args: &[&str], input: &str) -> Child {
    let mut command: Command = headwater(&["gather"]);
    let mut child = command.args(args).stdin(Stdio::piped()).spawn().unwrap();
    // The process may have ended already, for example after a wrong command line.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child
}

fn gather(args: &[&str], input: &str) -> Said {
    finish(begin(args, input))
}

/// Parses the results, without the times.
fn results(text: &str) -> Vec<Value> {
    let mut results: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for result in &mut results {
        assert!(
            result
                .as_object_mut()
                .unwrap()
                .remove("ms")
                .unwrap()
                .is_u64()
        );
    }
    results
}

fn path(call: &Call) -> String {
    call.request.line.split(' ').nth(1).unwrap().to_owned()
}

/// Responds with the path; to `/bad…` with 404, and to `/slow…` when the client disconnects.
fn echo() -> Server {
    Server::start(|call| {
        let path = path(call);
        if path.starts_with("/bad") {
            call.respond("404 Not Found", "text/plain", "none");
        } else if path.starts_with("/slow") {
            call.wait_for_close();
        } else {
            call.respond(
                "200 OK",
                "application/json",
                format!("{{\"path\":\n\"{path}\"}}"),
            );
        }
    })
}

#[test]
fn an_unrequested_compressed_body_is_a_failed_call() {
    let server = Server::start(|call| {
        call.write("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc");
    });
    let said = gather(&[], &server.url("/a"));
    assert_eq!(said.code, 4, "{said:?}");
    let result = &results(&said.stdout)[0];
    assert_eq!(result["error"]["type"], "content");
    let detail = result["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("compressed (gzip)"), "{detail}");
}

#[test]
fn urls_and_objects_yield_one_line_each() {
    let server = echo();
    let input = format!(
        "{0}/a\r\n\n{{\"url\":\"{0}/b\",\"method\":\"post\",\"headers\":{{\"x-a\":\"1\"}},\"body\":[1],\"key\":\"k\"}}",
        server.url("")
    );
    let said = gather(&["--ordered", "-H", "X-A: 0"], &input);
    assert_eq!(said.code, 0, "{said:?}");
    let wanted = [
        json!({"index":0,"url":server.url("/a"),"status":200,"attempts":1,"body":{"path":"/a"}}),
        json!({"index":1,"key":"k","url":server.url("/b"),"status":200,"attempts":1,"body":{"path":"/b"}}),
    ];
    assert_eq!(results(&said.stdout), wanted);
    assert!(
        said.stderr.starts_with("2 calls, 0 failed, in 0."),
        "{}",
        said.stderr
    );
    let mut seen = server.requests();
    seen.sort_by_key(|request| request.line.clone());
    assert_eq!(seen[0].header("x-a").unwrap(), "0");
    assert_eq!(
        (&*seen[1].line, &*seen[1].body),
        ("POST /b HTTP/1.1", "[1]")
    );
    assert_eq!(seen[1].header("x-a").unwrap(), "1");
}

#[test]
fn a_byte_order_mark_before_the_calls_is_ignored_and_each_result_is_one_line_to_any_reader() {
    let text = "a\u{2028}b\u{2029}c\u{85}d";
    for content_type in ["text/plain; charset=utf-8", "application/json"] {
        let server = Server::start(move |call| {
            call.respond("200 OK", content_type, format!("\u{feff}[\"{text}\"]"));
        });
        let said = gather(
            &["--ordered"],
            &format!("\u{feff}{0}/1\n{0}/2\n", server.url("")),
        );
        assert_eq!(said.code, 0, "{said:?}");
        assert!(
            !said.stdout.contains(['\u{85}', '\u{2028}', '\u{2029}']),
            "{said:?}"
        );
        for result in results(&said.stdout) {
            assert_eq!(result["body"], json!([text]), "it starts as JSON does");
        }
    }
}

#[test]
fn a_failure_is_in_its_result_and_in_the_exit_status() {
    let server = echo();
    let input = format!(
        "{0}/1\nno url\n{{\"ulr\":1}}\n{0}/bad\n{0}/2\n",
        server.url("")
    );
    let said = gather(&["--ordered", "--quiet"], &input);
    assert_eq!((said.code, &*said.stderr), (4, ""));
    let results = results(&said.stdout);
    let detail = |n: usize| results[n]["error"]["detail"].as_str().unwrap();
    assert_eq!(results[0]["body"]["path"], "/1");
    assert_eq!(
        detail(1),
        "the call can't be read: line 2: not a URL; it should be like http://host/path"
    );
    assert!(detail(2).contains("line 3: not a call"), "{}", detail(2));
    assert!(detail(2).contains("unknown field `ulr`"), "{}", detail(2));
    assert!(!detail(2).contains(" at line "), "{}", detail(2));
    assert_eq!(results[1]["error"]["type"], "call");
    assert_eq!(
        (&results[3]["status"], &results[3]["body"]),
        (&json!(404), &json!("none"))
    );
    assert_eq!(results[3]["error"]["type"], "status");
    assert_eq!(results[4]["body"]["path"], "/2");
}

#[test]
fn headers_are_printed_on_request_and_bytes_as_base64() {
    let server = Server::answering("image/x", b"\xff\x00");
    let said = gather(&["--headers"], &server.url("/"));
    let result = &results(&said.stdout)[0];
    assert_eq!(result["headers"]["content-type"], "image/x");
    assert_eq!(
        (&result["body"], &result["encoding"]),
        (&json!("/wA="), &json!("base64"))
    );
}

#[test]
fn a_result_is_printed_as_soon_as_it_arrives() {
    let server = echo();
    let file = Scratch::new("calls");
    let calls = format!("{0}/slow\n{0}/1\n", server.url(""));
    std::fs::write(file.path(), calls).unwrap();
    let mut child = headwater(&["gather", file.path()]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("{\"index\":1,"));
    signal(&child, "-INT");
    assert_eq!(wait(&mut child).code(), Some(130));
    assert!(lines.next().is_none());
}

#[test]
fn calls_are_made_while_the_input_continues() {
    let server = echo();
    let mut child = headwater(&["gather"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 0..3 {
        writeln!(stdin, "{}", server.url(&format!("/{n}"))).unwrap();
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("{{\"index\":{n},")), "{line}");
    }
    drop(stdin);
    assert_eq!(finish(child).code, 0);
}

#[test]
fn an_interrupted_run_is_resumed() {
    let server = Server::start(|call| {
        let path = path(call);
        // In the first run these get no response, or a 404.
        if path.contains("slow") && call.n < 7 {
            call.wait_for_close();
        } else if path.contains("bad") && call.n < 7 {
            call.respond("404 Not Found", "text/plain", "none");
        } else {
            call.respond("200 OK", "text/plain", path);
        }
    });
    let url = server.url("");
    let input = format!(
        "{url}/0\n{{\"url\":\"{url}/1\",\"key\":\"one\"}}\n{url}/slow2\n{url}/bad3\n\n{url}/4\nbad line\n\
         {{\"url\":\"{url}/slow6\",\"key\":\"six\"}}\n{url}/0\n"
    );
    let file = Scratch::new("results");
    let mut child = begin(&["--resume", file.path(), "--no-share"], &input);
    let start = Instant::now();
    while std::fs::read_to_string(file.path())
        .unwrap_or_default()
        .lines()
        .count()
        < 6
    {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(5));
    }
    signal(&child, "-INT");
    assert_eq!(wait(&mut child).code(), Some(130));
    let first = file.content();
    assert_eq!(results(&first).len(), 6, "{first}");
    // As if the machine had stopped in the middle of a line.
    std::fs::write(
        file.path(),
        format!("{first}{{\"index\":6,\"key\":\"six\",\"ur"),
    )
    .unwrap();

    let said = gather(&["--resume", file.path()], &input);
    assert_eq!((said.code, &*said.stdout), (4, ""), "{said:?}");
    assert!(said.stderr.contains("4 calls, 1 failed"), "{}", said.stderr);
    assert!(
        said.stderr.ends_with("4 were made earlier\n"),
        "{}",
        said.stderr
    );
    let all = file.content();
    let again = all.strip_prefix(&first).unwrap();
    let mut again: Vec<_> = results(again)
        .iter()
        .map(|r| (r["index"].as_u64().unwrap(), r["status"].clone()))
        .collect();
    again.sort_by_key(|(index, _)| *index);
    assert_eq!(
        again,
        [
            (2, json!(200)),
            (3, json!(200)),
            (5, json!(null)),
            (6, json!(200))
        ]
    );
    assert_eq!(server.requests().len(), 7 + 3);

    let said = gather(&["--resume", file.path()], &input);
    assert!(said.stderr.contains("1 call, 1 failed"), "{}", said.stderr);
    assert_eq!(server.requests().len(), 7 + 3);
}

#[test]
fn an_interrupted_run_prints_the_command_that_continues_it() {
    let server = echo();
    let url = server.url("");
    let (calls, file) = (Scratch::new("hint calls"), Scratch::new("hint-results"));
    // The scheme may be omitted here, too.
    let bare = url.strip_prefix("http://").unwrap();
    std::fs::write(
        calls.path(),
        format!("{bare}/1\n{{\"url\":\"{bare}/2\"}}\n\"{bare}/3\"\n{url}/slow\n"),
    )
    .unwrap();
    let interrupted = |args: &[&str], lines: usize| {
        let child = headwater(&[&["gather"], args].concat()).spawn().unwrap();
        let start = Instant::now();
        while std::fs::read_to_string(file.path())
            .unwrap_or_default()
            .lines()
            .count()
            < lines
            || server.requests().len() < 4
        {
            assert!(start.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(5));
        }
        signal(&child, "-INT");
        let said = finish(child);
        assert_eq!(said.code, 130, "{said:?}");
        let line = said.stderr.split_once("to continue:\n  ").unwrap().1;
        line.trim_end().to_owned()
    };
    let line = interrupted(&["-H", "X-A: it's", "-o", file.path(), calls.path()], 3);
    let wanted = format!(
        r"gather -H 'X-A: it'\''s' '{}' --resume {}",
        calls.path(),
        file.path()
    );
    assert!(line.ends_with(&wanted), "{line}");
    // The printed command line can be pasted.
    std::fs::write(
        calls.path(),
        format!("{url}/1\n{url}/2\n{url}/3\n{url}/4\n"),
    )
    .unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {line}")]);
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let said = finish(shell.spawn().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.ends_with("3 were made earlier\n"), "{said:?}");
    assert_eq!(file.content().lines().count(), 4);
}

#[test]
fn the_bar_of_a_resumed_run_starts_where_the_earlier_run_stopped() {
    let server = echo();
    let url = server.url("");
    let (calls, file) = (Scratch::new("bar-calls"), Scratch::new("bar-results"));
    let made: String = (0..3).map(|n| format!("{url}/{n}\n")).collect();
    std::fs::write(calls.path(), &made).unwrap();
    assert_eq!(
        finish(
            headwater(&["gather", "-o", file.path(), calls.path()])
                .spawn()
                .unwrap()
        )
        .code,
        0
    );
    std::fs::write(calls.path(), made + &format!("{url}/slow\n")).unwrap();
    let args = [
        "gather",
        "--resume",
        file.path(),
        "--timeout",
        "1s",
        calls.path(),
    ];
    let seen = at_terminal(&args, "");
    assert_eq!(seen.code, 4, "{seen:?}");
    assert!(
        seen.stdout.contains(" 75%  3 done, 1 in flight"),
        "{seen:?}"
    );
}

#[test]
fn a_file_without_results_is_not_modified() {
    let file = Scratch::new("other");
    for content in [
        "a line of something\n",
        "{\"a\":1}\n",
        "no line feed",
        "{\"index\":0}\n",
    ] {
        std::fs::write(file.path(), content).unwrap();
        let said = gather(&["--resume", file.path()], "http://localhost/\n");
        assert_eq!(said.code, 1);
        assert!(
            said.stderr.contains("line 1 is not a result"),
            "{}",
            said.stderr
        );
        assert_eq!(file.content(), content);
    }
}

#[test]
fn posts_are_repeated_only_on_request() {
    for (args, line, requests) in [
        (&[][..], r#"{"url":"URL","method":"POST"}"#, 1),
        (&["--retry-post"], r#"{"url":"URL","method":"POST"}"#, 2),
        (&[], r#"{"url":"URL","method":"POST","repeatable":true}"#, 2),
        (&[], r#"{"url":"URL"}"#, 2),
        (&["--retries", "0"], r#"{"url":"URL"}"#, 1),
    ] {
        let server = Server::start(|call| match call.n {
            0 => call.respond("503 Service Unavailable", "text/plain", ""),
            _ => call.respond("200 OK", "text/plain", ""),
        });
        let said = gather(args, &line.replace("URL", &server.url("/")));
        assert_eq!(said.code, if requests == 2 { 0 } else { 4 }, "{line}");
        assert_eq!(server.requests().len(), requests, "{line}");
    }
}

#[test]
fn time_and_size_limits_hold() {
    let server = echo();
    let said = gather(&["--timeout", "200ms"], &server.url("/slow"));
    assert_eq!(results(&said.stdout)[0]["error"]["type"], "timeout");
    let said = gather(&["--max-body-bytes", "3"], &server.url("/1"));
    assert_eq!(results(&said.stdout)[0]["error"]["type"], "too-large");
    let calls = format!("{0}/slow\n{0}/2\n{0}/3\n", server.url(""));
    let said = gather(&["--total-timeout", "300ms", "-c", "1"], &calls);
    assert_eq!(said.code, 4);
    let results = results(&said.stdout);
    assert_eq!(results.len(), 2);
    assert!(
        results[1]["error"]["detail"]
            .as_str()
            .unwrap()
            .contains("none was read")
    );
    let start = Instant::now();
    let calls: String = (0..6)
        .map(|n| format!("{}\n", server.url(&format!("/{n}"))))
        .collect();
    assert_eq!(gather(&["--rate", "10"], &calls).code, 0);
    assert!(start.elapsed() > Duration::from_millis(490));
}

#[test]
fn an_unreadable_input_exits_with_1_and_a_wrong_command_line_with_2() {
    let said = gather(&["/nonexistent/calls"], "");
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.starts_with("headwater: /nonexistent/calls: "),
        "{}",
        said.stderr
    );
    let said = gather(&["/"], "");
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("headwater: /: "), "{}", said.stderr);
    assert_eq!(gather(&["--output", "/nonexistent/results"], "").code, 1);
    for args in [
        &["--rate", "0"][..],
        &["--concurrency", "0"],
        &["--per-host", "x"],
        &["--resume", "a", "--output", "b"],
    ] {
        let said = gather(args, "");
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
    }
    let said = gather(&[], "");
    assert_eq!((said.code, &*said.stdout), (0, ""));
}

#[test]
fn a_closed_output_is_not_an_error() {
    let server = echo();
    let calls: String = (0..2000)
        .map(|n| format!("{}\n", server.url(&format!("/{n}"))))
        .collect();
    let file = Scratch::new("many");
    std::fs::write(file.path(), calls).unwrap();
    let mut child = headwater(&["gather", "-q", file.path()]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    let said = finish(child);
    assert_eq!((said.code, &*said.stderr), (0, ""));
    assert!(server.requests().len() < 2000);
}
