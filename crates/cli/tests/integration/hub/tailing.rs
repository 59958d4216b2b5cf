//! `tail`.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    time::{Duration, Instant},
};

use super::{done, run};
use crate::{
    running::{Said, finish, headwater, signal, wait},
    server::Server,
    serving::Hub,
};

#[test]
fn a_hub_that_is_unavailable_at_first_is_waited_for() {
    for streams in [&["s"][..], &["a", "b"]] {
        let server = Server::start(|call| match call.n {
            0 => call.respond_with("503 Service Unavailable", "retry-after: 0"),
            1 => call.respond_with("502 Bad Gateway", "content-type: text/html"),
            2 => {
                call.start("text/event-stream");
                call.chunk("id: 1\ndata: {\"stream\":\"a\",\"data\":1}\n\n");
                call.chunk("event: headwater:end\nid: headwater:end\ndata: {}\n\n");
            }
            _ => call.respond("404 Not Found", "text/plain", ""),
        });
        let tail = |options: &[&str]| {
            let hub = server.url("");
            let args = [&["tail", "--hub", &hub], streams, options].concat();
            finish(headwater(&args).spawn().unwrap())
        };
        assert_eq!(tail(&["--attempts", "1"]).code, 4);
        let said = tail(&[]);
        assert_eq!((said.code, said.stdout.lines().count()), (0, 1), "{said:?}");
        let start = Instant::now();
        assert_eq!(tail(&[]).code, 4, "4xx ends at once");
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(server.requests().len(), 4);
    }
}

#[test]
fn commands_wait_when_the_hub_asks_them_to() {
    for args in [
        &["get"][..],
        &["tail", "--no-follow", "s"],
        &["publish", "s", "1"],
        &["streams", "ls"],
        &["streams", "info", "s"],
        &["streams", "create", "s"],
        &["streams", "close", "s"],
        &["streams", "rm", "s"],
    ] {
        let server = Server::start(|call| match call.n {
            0 => call.respond_with("429 Too Many Requests", "retry-after: 1"),
            _ => call.respond("404 Not Found", "text/plain", ""),
        });
        let url = server.url("/");
        let hub = ["--hub", &url];
        let args = match args {
            ["get"] => vec!["get", &url],
            _ => [args, &hub[..]].concat(),
        };
        let start = Instant::now();
        let said = finish(headwater(&args).spawn().unwrap());
        // The next answer is final.
        assert!(
            said.stderr.contains("404") || said.stderr.contains("no stream"),
            "{args:?}: {said:?}"
        );
        assert!(start.elapsed() >= Duration::from_secs(1), "{args:?}");
        assert_eq!(server.requests().len(), 2, "{args:?}");
    }
}

#[test]
fn tail_starts_at_the_requested_position() {
    let hub = Hub::start();
    done(&hub, &["publish", "s", "1", "2", "3"]);
    let tail = |args: &[&str]| done(&hub, &[&["tail", "--no-follow"], args].concat());
    let offset = |index: usize| {
        let shown = tail(&["s", "--offsets"]);
        let line = shown.lines().nth(index).unwrap_or_default();
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let second = offset(1);
    assert_eq!(tail(&["s", "--from", &second]), "3\n");
    assert_eq!(tail(&["s", "--from", "now"]), "");
    assert_eq!(tail(&["s", "--since", "1h"]), "1\n2\n3\n");
    assert_eq!(tail(&["s", "--since", "2100-01-01T00:00:00Z"]), "");
    let offsets = tail(&["s", "--offsets", "--max-items", "1"]);
    assert_eq!(offsets, format!("s {} 1\n", offset(0)));
    let id = |line: &str| -> String {
        let envelope: serde_json::Value = serde_json::from_str(line).unwrap();
        envelope["id"].as_str().unwrap_or_default().to_owned()
    };
    let all = tail(&["**", "--envelope"]);
    let ids: Vec<String> = all.lines().map(id).collect();
    let many = tail(&["**", "--envelope", "--from", &ids[1]]);
    assert_eq!(many.lines().map(id).collect::<Vec<_>>(), ids[2..]);
    // An unavailable start is an error, and never replaced by another.
    for (args, code, wanted) in [
        (
            &["s", "--since", "yesterday"][..],
            2,
            "2030-01-31T12:00:00Z",
        ),
        (&["s", "--since", "2030-31-01T00:00:00Z"], 4, "RFC 3339"),
        (&["**", "--since", "1h"], 2, "a single stream"),
        (
            &["s", "--since", "1h", "--from", "now"],
            2,
            "cannot be used",
        ),
        (
            &["s", "--from", "3"],
            4,
            "the offset is not from this server",
        ),
    ] {
        let said = run(&hub, &[&["tail", "--no-follow"], args].concat());
        assert_eq!((said.code, &*said.stdout), (code, ""), "{args:?}");
        assert!(said.stderr.contains(wanted), "{args:?}: {}", said.stderr);
    }
}

#[test]
fn a_stale_position_in_a_recreated_stream_is_reported_and_all_messages_follow() {
    let hub = Hub::start();
    done(&hub, &["publish", "s", "1", "2", "3"]);
    let shown = done(&hub, &["tail", "s", "--no-follow", "--offsets"]);
    let old = shown.lines().nth(1).and_then(|line| line.split(' ').nth(1));
    let old = old.unwrap_or_default();
    let one = hub.url().replace("/events", "");
    let one = format!("{}/streams/s?live=false", one.trim_end_matches('/'));
    let started_over = |said: Said, what: &str| {
        assert_eq!(said.code, 0, "{what}: {}", said.stderr);
        assert!(
            said.stderr.contains("starts over"),
            "{what}: {}",
            said.stderr
        );
        said.stdout
    };
    done(&hub, &["streams", "rm", "s"]);
    done(&hub, &["publish", "s", "10", "11", "12"]);
    let said = run(&hub, &["tail", "s", "--no-follow", "--from", old]);
    assert_eq!(started_over(said, "tail"), "10\n11\n12\n");
    let said = run(&hub, &["tail", "*", "--no-follow", "--from", old]);
    assert_eq!(started_over(said, "tail of many"), "10\n11\n12\n");
    let get = ["get", &one, "-H", "Accept: text/event-stream"];
    let said = finish(
        headwater(&[&get[..], &["--last-event-id", old]].concat())
            .spawn()
            .unwrap(),
    );
    assert_eq!(started_over(said, "get"), "10\n11\n12\n");
    // The event with the position at `now` is not an item.
    for args in [&["tail", "s"][..], &["tail", "*"]] {
        let said = run(&hub, &[args, &["--no-follow", "--from", "now"]].concat());
        assert_eq!(
            (said.code, &*said.stdout),
            (0, ""),
            "{args:?}: {}",
            said.stderr
        );
    }
}

#[test]
fn tail_ends_quietly_when_its_output_is_closed_and_by_signals() {
    let hub = Hub::start();
    done(&hub, &["publish", "s", "1", "2"]);
    let mut follower = headwater(&["tail", "s", "--hub", hub.url()])
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(follower.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    done(&hub, &["publish", "s", "3"]);
    assert!(wait(&mut follower).success());
    let mut stderr = String::new();
    follower
        .stderr
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(stderr, "");
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut follower = headwater(&["tail", "s", "--hub", hub.url()])
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(follower.stdout.as_mut().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        signal(&follower, name);
        assert_eq!(finish(follower).code, code);
    }
}

#[test]
fn a_removed_stream_is_reported_and_not_a_message() {
    let hub = Hub::start();
    for (stream, message) in [("a", "1"), ("b", "2")] {
        assert_eq!(run(&hub, &["publish", stream, message]).code, 0);
    }
    let all = done(&hub, &["tail", "*", "--no-follow", "--envelope"]);
    let last: serde_json::Value = serde_json::from_str(all.lines().last().unwrap()).unwrap();
    let from = last["id"].as_str().unwrap();
    assert_eq!(run(&hub, &["streams", "rm", "a"]).code, 0);
    assert_eq!(run(&hub, &["publish", "b", "3"]).code, 0);
    let said = run(&hub, &["tail", "*", "--no-follow", "--from", from]);
    assert_eq!((said.code, &*said.stdout), (0, "3\n"));
    assert_eq!(said.stderr, "headwater: a was deleted\n");
    // With --envelope it is printed like any other event.
    let said = done(
        &hub,
        &["tail", "*", "--no-follow", "--from", from, "--envelope"],
    );
    let first: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["stream"], &first["deleted"]),
        (&"a".into(), &true.into())
    );
}

#[test]
fn a_stream_that_does_not_exist_is_named_and_the_others_are_printed() {
    let hub = Hub::start();
    done(&hub, &["publish", "till", "1"]);
    let missing = |name: &str| format!("there is no stream {name}: http://");
    let said = run(
        &hub,
        &["tail", "none", "till", "nope", "x/*", "--no-follow"],
    );
    assert_eq!((said.code, &*said.stdout), (4, "1\n"), "{}", said.stderr);
    for name in ["none", "nope"] {
        assert!(said.stderr.contains(&missing(name)), "{}", said.stderr);
    }
    // Nothing has to match a pattern.
    assert_eq!(done(&hub, &["tail", "till", "x/*", "--no-follow"]), "1\n");
    for args in [
        &["tail", "nope"][..],
        &["publish", "--no-create", "nope", "1"],
        &["streams", "info", "nope"],
        &["streams", "close", "nope"],
        &["streams", "rm", "nope"],
    ] {
        let said = run(&hub, args);
        assert_eq!((said.code, &*said.stdout), (4, ""), "{args:?}");
        assert!(said.stderr.contains(&missing("nope")), "{}", said.stderr);
        assert!(!said.stderr.contains("PUT"), "{}", said.stderr);
    }
}
