use std::{
    io::{BufRead as _, BufReader},
    sync::{Mutex, mpsc},
};

use crate::{
    running::{Scratch, finish, get, run},
    server::Server,
};

const SSE: &str = "id: 7\nevent: tick\ndata: {\"n\":\ndata: 1}\n\ndata: {\"n\":2}\n\n\
    event: headwater:end\nid: headwater:end\ndata: {}\n\n";

#[test]
fn items_of_every_format_are_printed_one_a_line() {
    for (content_type, body) in [
        ("text/event-stream", SSE),
        ("application/x-ndjson", "{\"n\": 1}\n{\"n\":2}\n"),
        ("application/json-seq", "\x1e{\"n\":\n1}\n\x1e{\"n\":2}\n"),
        ("application/json", "[{\"n\":\n1},{\"n\":2}]"),
        ("text/plain", "{\"n\": 1}\n{\"n\":2}"),
    ] {
        let server = Server::answering(content_type, body);
        let said = run(&server.url("/"), &[]);
        assert_eq!(said.stdout, "{\"n\": 1}\n{\"n\":2}\n", "{content_type}");
        assert_eq!((said.code, &*said.stderr), (0, ""), "{content_type}");
    }
}

#[test]
fn each_item_is_printed_before_the_next_one_is_sent() {
    let (seen, wait_until_seen) = mpsc::sync_channel(0);
    let wait_until_seen = Mutex::new(wait_until_seen);
    let server = Server::start(move |call| {
        call.start("application/x-ndjson");
        for n in 1..=3 {
            call.chunk(format!("{n}\n"));
            wait_until_seen.lock().unwrap().recv().unwrap();
        }
        call.end();
    });
    let mut child = get(&server.url("/"), &[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 1..=3 {
        assert_eq!(lines.next().unwrap().unwrap(), n.to_string());
        seen.send(()).unwrap();
    }
    assert!(lines.next().is_none());
    assert_eq!(finish(child).code, 0);
}

#[test]
fn event_type_id_and_time_are_shown_on_request() {
    let server = Server::answering("text/event-stream", SSE);
    let said = run(&server.url("/"), &["-i"]);
    assert_eq!(said.stdout, "tick 7 {\"n\": 1}\nmessage 7 {\"n\":2}\n");
    let said = run(&server.url("/"), &["-it"]);
    for (line, rest) in said
        .stdout
        .lines()
        .zip(["tick 7 {\"n\": 1}", "message 7 {\"n\":2}"])
    {
        let (time, line) = line.split_once(' ').unwrap();
        assert!(
            time.starts_with("20") && time.ends_with('Z') && time.len() == 24,
            "{time}"
        );
        assert_eq!(line, rest);
    }
}

#[test]
fn colours_are_for_terminals_or_on_request() {
    let server = Server::answering("application/x-ndjson", "{\"n\":1}\n");
    let said = run(&server.url("/"), &["--color", "always"]);
    assert_eq!(
        said.stdout,
        "{\u{1b}[34m\"n\"\u{1b}[0m:\u{1b}[36m1\u{1b}[0m}\n"
    );
    for args in [&[][..], &["--color", "never"], &["--color", "auto"]] {
        assert_eq!(
            run(&server.url("/"), args).stdout,
            "{\"n\":1}\n",
            "{args:?}"
        );
    }
}

#[test]
fn raw_prints_unchanged_bytes() {
    let server = Server::answering("text/html", "<p>\r\n no line feed at the end");
    let said = run(&server.url("/"), &["--raw"]);
    assert_eq!(
        (said.code, &*said.stdout),
        (0, "<p>\r\n no line feed at the end")
    );
}

#[test]
fn items_go_to_the_file_and_the_summary_to_stderr() {
    let server = Server::answering("application/x-ndjson", "{\"n\":1}\n{\"n\":2}\n");
    let file = Scratch::new("items");
    let said = run(&server.url("/"), &["--output", file.path()]);
    assert_eq!((said.code, &*said.stdout), (0, ""));
    assert_eq!(file.content(), "{\"n\":1}\n{\"n\":2}\n");
    assert!(
        said.stderr.starts_with("2 items, 16 B in "),
        "{}",
        said.stderr
    );
    let said = run(&server.url("/"), &["--quiet", "--output", file.path()]);
    assert_eq!((said.code, &*said.stderr), (0, ""));
    let said = run(&server.url("/"), &["--raw", "--output", file.path()]);
    assert!(said.stderr.starts_with("16 B in "), "{}", said.stderr);
    let said = run(&server.url("/"), &["--output", "/nonexistent/items"]);
    assert_eq!(said.code, 1);
    assert!(
        said.stderr
            .starts_with("headwater: --output /nonexistent/items: "),
        "{}",
        said.stderr
    );
}

#[test]
fn the_body_can_be_read_in_another_format_than_its_content_type() {
    let server = Server::answering("application/octet-stream", "1\n2\n");
    let said = run(&server.url("/"), &["--format", "ndjson", "-n", "1"]);
    assert_eq!((said.code, &*said.stdout), (0, "1\n"));
    let accept = server.requests()[0].header("accept").unwrap();
    assert!(accept.starts_with("application/x-ndjson"), "{accept}");
}

#[test]
fn a_line_that_is_not_json_is_printed_and_reported() {
    let server = Server::answering("application/x-ndjson", "1\n{\"a\":\n3\n");
    let said = run(&server.url("/"), &[]);
    assert_eq!((said.code, &*said.stdout), (1, "1\n{\"a\":\n3\n"));
    assert!(
        said.stderr.contains("item 2 is not JSON"),
        "{}",
        said.stderr
    );
    assert_eq!(said.stderr.lines().count(), 1);
}

#[test]
fn a_damaged_record_of_a_json_sequence_is_reported_and_the_rest_is_printed() {
    let server = Server::answering("application/json-seq", "\x1e1\n\x1e{\n\x1e3\n");
    let said = run(&server.url("/"), &[]);
    assert_eq!((said.code, &*said.stdout), (1, "1\n3\n"));
    assert!(said.stderr.contains("json-seq item 2"), "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 1);
}

#[test]
fn a_cut_body_has_the_same_exit_status_in_every_format() {
    for (content_type, body) in [
        ("application/x-ndjson", "1\n{"),
        ("application/json", "[1,"),
        ("application/json-seq", "\x1e1\n\x1e{\"a\":"),
        ("application/json-seq", "\x1e1\n\x1e12"),
        // The damaged record before it isn't the end.
        ("application/json-seq", "\x1e{\n\x1e1\n\x1e12"),
    ] {
        let server = Server::answering(content_type, body);
        let said = run(&server.url("/"), &[]);
        assert_eq!((said.code, &*said.stdout), (3, "1\n"), "{body:?}");
    }
    let server = Server::answering("application/json-seq", "\x1e12\x1e3\n");
    let said = run(&server.url("/"), &[]);
    assert_eq!((said.code, &*said.stdout), (1, "3\n"));
}
