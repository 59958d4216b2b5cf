//! `publish`, `tail` and `streams` against a hub.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{ChildStdin, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    proxy::Proxy,
    running::{Said, Scratch, at_terminal, finish, headwater, signal, wait},
    serving::Hub,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a command for a hub to its end.
fn run(hub: &Hub, args: &[&str]) -> Said {
    finish(
        headwater(&[args, &["--hub", hub.url()]].concat())
            .spawn()
            .unwrap(),
    )
}

/// Runs a command that must succeed. Returns its output.
#[track_caller]
fn done(hub: &Hub, args: &[&str]) -> String {
    let said = run(hub, args);
    assert_eq!(said.code, 0, "{args:?}: {}", said.stderr);
    said.stdout
}

/// The number of messages in a stream, 0 if it doesn't exist.
fn count(hub: &Hub, stream: &str) -> usize {
    let said = run(hub, &["tail", stream, "--no-follow"]);
    said.stdout.lines().count()
}

/// Waits until a stream has this many messages.
#[track_caller]
fn until(hub: &Hub, stream: &str, least: usize) {
    let start = Instant::now();
    while count(hub, stream) < least {
        assert!(
            start.elapsed() < PATIENCE,
            "{} of {least}",
            count(hub, stream)
        );
        thread::sleep(Duration::from_millis(20));
    }
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
}

/// Writes as much as is read: the reader may be killed.
fn feed(mut stdin: ChildStdin, text: String) -> thread::JoinHandle<()> {
    thread::spawn(move || drop(stdin.write_all(text.as_bytes())))
}

#[test]
fn the_standard_input_is_published_as_it_arrives() {
    let hub = Hub::start();
    let mut command = headwater(&["publish", "a/b", "--hub", hub.url()]);
    let mut publisher = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = publisher.stdin.take().unwrap();
    for n in 1..4 {
        stdin
            .write_all(format!("{{\"n\":{n}}}\n\n").as_bytes())
            .unwrap();
        until(&hub, "a/b", n);
    }
    drop(stdin);
    let said = finish(publisher);
    assert_eq!((said.code, &*said.stdout), (0, ""));
    assert!(
        said.stderr.starts_with("3 items, 21 B in "),
        "{}",
        said.stderr
    );
    let expected = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n";
    assert_eq!(done(&hub, &["tail", "a/b", "--no-follow"]), expected);
}

#[test]
fn an_option_after_the_messages_is_not_a_message() {
    let hub = Hub::start();
    let quiet = run(&hub, &["publish", "s", "1", "-2.5e3", "--quiet"]);
    assert_eq!((quiet.code, &*quiet.stderr), (0, ""));
    assert_eq!(run(&hub, &["publish", "s", "3", "--loud"]).code, 2);
    let text = [
        "publish",
        "s",
        "-q",
        "--text",
        "--hub",
        hub.url(),
        "--",
        "--loud",
    ];
    assert_eq!(finish(headwater(&text).spawn().unwrap()).code, 0);
    assert_eq!(
        done(&hub, &["tail", "s", "--no-follow"]),
        "1\n-2.5e3\n\"--loud\"\n"
    );
}

#[test]
fn an_invalid_line_is_an_error_with_its_number_after_earlier_lines_are_stored() {
    let hub = Hub::start();
    let mut command = headwater(&["publish", "s", "--hub", hub.url()]);
    let mut publisher = command.stdin(Stdio::piped()).spawn().unwrap();
    let feeding = feed(
        publisher.stdin.take().unwrap(),
        "1\n\nplain\n2\n".to_owned(),
    );
    let said = finish(publisher);
    feeding.join().unwrap();
    assert_eq!(said.code, 1);
    assert!(said.stderr.contains("line 3: "), "{}", said.stderr);
    assert!(said.stderr.contains("--text"), "{}", said.stderr);
    assert_eq!(done(&hub, &["tail", "s", "--no-follow"]), "1\n");
}

#[test]
fn a_killed_publisher_that_runs_again_adds_the_missing_messages() {
    let hub = Hub::start();
    let publish = ["publish", "s", "--producer", "import", "--hub", hub.url()];
    let mut most = 0;
    for round in 1..4 {
        let mut publisher = headwater(&publish).stdin(Stdio::piped()).spawn().unwrap();
        let lines = numbers(0..1000 * round);
        let feeding = feed(publisher.stdin.take().unwrap(), lines);
        until(&hub, "s", most + 20);
        publisher.kill().unwrap();
        publisher.wait().unwrap();
        feeding.join().unwrap();
        most = count(&hub, "s");
    }
    let mut publisher = headwater(&publish).stdin(Stdio::piped()).spawn().unwrap();
    let feeding = feed(publisher.stdin.take().unwrap(), numbers(0..4000));
    let said = finish(publisher);
    feeding.join().unwrap();
    assert_eq!(said.code, 0, "{}", said.stderr);
    let there = format!("\n{most} of them were already stored");
    assert!(said.stderr.contains(&there), "{most}: {}", said.stderr);
    assert_eq!(done(&hub, &["tail", "s", "--no-follow"]), numbers(0..4000));
}

/// Publishes these lines. Returns the outcome.
fn publish_lines(hub: &Hub, args: &[&str], lines: String) -> Said {
    let args = [&["publish"], args, &["--hub", hub.url()]].concat();
    let mut publisher = headwater(&args).stdin(Stdio::piped()).spawn().unwrap();
    let feeding = feed(publisher.stdin.take().unwrap(), lines);
    let said = finish(publisher);
    feeding.join().unwrap();
    said
}

#[test]
fn a_producer_with_other_messages_fails_and_reports_the_stored_ones() {
    let hub = Hub::start();
    let publish = |message| run(&hub, &["publish", "s", "--producer", "shop", message]);
    assert_eq!(publish("{\"order\":1}").code, 0);
    for other in ["{\"order\":2}", "{\"order\":3}"] {
        let said = publish(other);
        assert_eq!(said.code, 4, "{}", said.stderr);
        assert!(said.stderr.contains("message 1: "), "{}", said.stderr);
        assert!(said.stderr.contains("nothing is stored"), "{}", said.stderr);
        assert!(said.stderr.starts_with("0 items"), "{}", said.stderr);
    }
    let again = publish("{\"order\":1}");
    assert_eq!(again.code, 0, "{}", again.stderr);
    let there = "1 of them were already stored";
    assert!(again.stderr.contains(there), "{}", again.stderr);
    assert_eq!(done(&hub, &["tail", "s", "--no-follow"]), "{\"order\":1}\n");
    // Without the option it isn't a producer.
    for _ in 0..2 {
        let mut command = headwater(&["publish", "t", "1", "--hub", hub.url()]);
        let publisher = command.env("HEADWATER_PRODUCER", "shop").spawn().unwrap();
        assert_eq!(finish(publisher).code, 0);
    }
    assert_eq!(done(&hub, &["tail", "t", "--no-follow"]), "1\n1\n");
}

#[test]
fn republishing_a_file_adds_only_new_lines() {
    let folder = Scratch::new("again");
    for data in ["memory", folder.path()] {
        let hub = Hub::serve(&["--data", data]);
        for (lines, there) in [
            (20_000, None),
            (20_000, Some(20_000)),
            (20_001, Some(20_000)),
        ] {
            let said = publish_lines(&hub, &["s", "--producer", "p"], numbers(0..lines));
            assert_eq!(said.code, 0, "{}", said.stderr);
            let found = said.stderr.lines().nth(1);
            let expected = there.map(|there| format!("{there} of them were already stored"));
            assert_eq!(found, expected.as_deref(), "{}", said.stderr);
        }
        let said = publish_lines(&hub, &["s", "--producer", "p"], numbers(0..19_999));
        assert_eq!(said.code, 4, "{}", said.stderr);
        assert!(
            said.stderr.contains("only 19999 were given"),
            "{}",
            said.stderr
        );
        assert_eq!(count(&hub, "s"), 20_001);
    }
}

#[test]
fn of_two_concurrent_publishers_of_one_producer_one_fails_and_reports_its_stored_messages() {
    let hub = Hub::start();
    done(&hub, &["streams", "create", "s"]);
    let said: Vec<Said> = thread::scope(|scope| {
        let publish = |first| {
            let hub = &hub;
            scope.spawn(move || {
                let lines = numbers(first..first + 1000);
                publish_lines(hub, &["s", "--producer", "p"], lines)
            })
        };
        let both = [publish(0), publish(5000)];
        both.map(|one| one.join().unwrap()).into()
    });
    let winner = usize::from(said[1].code == 0);
    let loser = &said[1 - winner];
    assert_eq!((said[winner].code, loser.code), (0, 4), "{}", loser.stderr);
    assert!(
        said[winner].stderr.starts_with("1,000 items"),
        "{}",
        said[winner].stderr
    );
    assert!(loser.stderr.starts_with("0 items"), "{}", loser.stderr);
    let is_told = loser
        .stderr
        .contains("0 of the messages before it are stored")
        || loser.stderr.contains("nothing is stored");
    assert!(is_told, "{}", loser.stderr);
    let first = 5000 * u32::try_from(winner).unwrap();
    let expected = numbers(first..first + 1000);
    assert_eq!(done(&hub, &["tail", "s", "--no-follow"]), expected);
}

#[test]
fn a_fenced_publisher_reports_its_stored_messages() {
    let hub = Hub::start();
    let publish = ["publish", "s", "--producer", "p", "--hub", hub.url()];
    let mut first = headwater(&publish).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = first.stdin.take().unwrap();
    stdin.write_all(b"1\n\n2\n").unwrap();
    until(&hub, "s", 2);
    let second = publish_lines(&hub, &["s", "--producer", "p"], numbers(1..4));
    assert_eq!(second.code, 0, "{}", second.stderr);
    stdin.write_all(b"9\n").unwrap();
    let said = finish(first);
    assert_eq!(said.code, 4, "{}", said.stderr);
    assert!(said.stderr.starts_with("2 items"), "{}", said.stderr);
    for part in [
        "line 4: ",
        "shut out",
        "; 2 of the messages before it are stored",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    drop(stdin);
    assert_eq!(done(&hub, &["tail", "s", "--no-follow"]), numbers(1..4));
}

#[test]
fn empty_lines_are_messages_if_lines_are_text() {
    let hub = Hub::start();
    let said = publish_lines(&hub, &["s", "--text"], "a\n\n  \n\r\nb\n".to_owned());
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.starts_with("5 items"), "{}", said.stderr);
    let expected = "\"a\"\n\"\"\n\"  \"\n\"\"\n\"b\"\n";
    assert_eq!(done(&hub, &["tail", "s", "--no-follow"]), expected);
    // In NDJSON, empty lines between values are insignificant.
    let said = publish_lines(&hub, &["t"], "\n1\n\n \n2\n\n".to_owned());
    assert!(said.stderr.starts_with("2 items"), "{}", said.stderr);
    // A stream that can't have an empty message reports it.
    done(&hub, &["streams", "create", "u", "--type", "text/plain"]);
    for args in [&["u"][..], &["u", "--text"]] {
        let said = publish_lines(&hub, args, "a\n\nb\n".to_owned());
        assert_eq!(said.code, 1, "{}", said.stderr);
        assert!(said.stderr.contains("line 2: "), "{}", said.stderr);
        assert!(said.stderr.contains("at least one byte"), "{}", said.stderr);
    }
}

#[test]
fn a_refused_message_ends_a_publisher_that_waits_for_its_next_line() {
    let hub = Hub::start();
    let folder = Scratch::new("refused");
    std::fs::create_dir_all(folder.path()).unwrap();
    let schema = format!("{}/schema.json", folder.path());
    std::fs::write(&schema, "{\"type\":\"integer\"}").unwrap();
    done(&hub, &["streams", "create", "s", "--schema", &schema]);
    let publish = ["publish", "s", "--hub", hub.url()];
    let mut publisher = headwater(&publish).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = publisher.stdin.take().unwrap();
    stdin.write_all(b"1\n\n2\n").unwrap();
    until(&hub, "s", 2);
    stdin.write_all(b"\"four\"\n").unwrap();
    // The input stays open.
    let said = finish(publisher);
    drop(stdin);
    assert_eq!(said.code, 4, "{}", said.stderr);
    for part in [
        "line 4: ",
        "422",
        "; 2 of the messages before it are stored",
    ] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    assert!(said.stderr.starts_with("2 items"), "{}", said.stderr);
}

#[test]
fn a_publisher_that_waits_for_its_next_line_ends_when_its_stream_does() {
    let hub = Hub::start();
    let remove = ["streams", "rm", "s"];
    for (end, word) in [
        (&["publish", "s", "--close", "-q", "3"][..], "closed"),
        (&remove, "404"),
    ] {
        let publish = ["publish", "s", "--hub", hub.url()];
        let mut publisher = headwater(&publish).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = publisher.stdin.take().unwrap();
        stdin.write_all(b"1\n").unwrap();
        until(&hub, "s", 1);
        done(&hub, end);
        let said = finish(publisher);
        drop(stdin);
        assert_eq!(said.code, 4, "{}", said.stderr);
        let stored = "all messages that were given are stored";
        for part in [word, stored] {
            assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
        }
        run(&hub, &remove);
    }
}

#[test]
fn a_publisher_and_a_follower_outlive_a_killed_hub() {
    let folder = Scratch::new("outlive");
    let serve = || Hub::serve(&["--data", folder.path()]);
    let mut hub = serve();
    let proxy = Proxy::to(hub.address());
    let base = proxy.url("");
    let mut publisher = headwater(&["publish", "s", "--hub", &base])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = publisher.stdin.take().unwrap();
    stdin.write_all(b"0\n").unwrap();
    until(&hub, "s", 1);
    let mut follower = headwater(&["tail", "s", "--hub", &base]).spawn().unwrap();
    // Wait until it follows: a break of the first connection would be an error.
    let mut first = [0; 2];
    follower
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut first)
        .unwrap();
    assert_eq!(&first, b"0\n");
    for round in 1..4 {
        let from = round * 100;
        stdin
            .write_all(numbers(from - 99..from + 1).as_bytes())
            .unwrap();
        hub.crash();
        hub = serve();
        proxy.point_at(hub.address());
    }
    drop(stdin);
    let said = finish(publisher);
    assert_eq!(said.code, 0, "{}", said.stderr);
    done(&hub, &["streams", "close", "s"]);
    assert_eq!(done(&hub, &["tail", "s"]), numbers(0..301));
    let followed = finish(follower);
    assert_eq!(
        (followed.code, followed.stdout),
        (0, numbers(1..301)),
        "{}",
        followed.stderr
    );
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
fn streams_are_created_listed_described_closed_and_removed() {
    let hub = Hub::start();
    let schema = Scratch::new("schema.json");
    std::fs::write(schema.path(), "{\"type\":\"number\"}").unwrap();
    let create = [
        "streams",
        "create",
        "t/a",
        "--ttl",
        "7d",
        "--schema",
        schema.path(),
    ];
    assert_eq!(done(&hub, &create), "created t/a\n");
    assert_eq!(
        done(&hub, &create),
        "t/a already exists, with the requested configuration\n"
    );
    done(&hub, &["publish", "t/a", "1", "22"]);
    let refused = run(&hub, &["publish", "t/a", "\"x\""]);
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("422"), "{}", refused.stderr);
    done(&hub, &["publish", "u", "1", "--close"]);
    let (first, second) = (
        "         2         3 B open   t/a\n",
        "         1         1 B closed u\n",
    );
    assert_eq!(done(&hub, &["streams", "ls"]), [first, second].concat());
    // The hub's options may also precede the subcommand.
    let before = headwater(&["streams", "--hub", hub.url(), "ls", "t/"]).spawn();
    assert_eq!(finish(before.unwrap()).stdout, first);
    let ls = ["streams", "ls", "t/", "--hub", hub.url()];
    let seen = at_terminal(&ls, "").stdout.replace('\r', "");
    let heading = "  MESSAGES       BYTES STATE  PATH\n";
    assert_eq!(seen, [heading, first].concat());
    let seen = at_terminal(&[&ls[..], &["--json"]].concat(), "").stdout;
    assert!(seen.starts_with('{'), "{seen}");
    let info = done(&hub, &["streams", "info", "t/a"]);
    assert!(info.contains("ttl           604800\n"), "{info}");
    done(&hub, &["streams", "rm", "t/a", "u"]);
    assert_eq!(done(&hub, &["streams", "ls"]), "");
    let gone = run(&hub, &["streams", "rm", "u"]);
    assert_eq!(gone.code, 4);
    let wanted = "the server answered 404 Not Found: the stream doesn't exist\n";
    assert!(gone.stderr.ends_with(wanted), "{}", gone.stderr);
}

#[test]
fn the_url_of_a_hub_may_omit_http() {
    let hub = Hub::start();
    let bare = hub.url().strip_prefix("http://").unwrap();
    for name in [
        bare.to_owned(),
        format!("localhost:{}", bare.rsplit(':').next().unwrap()),
    ] {
        let run = |args: &[&str]| {
            let said = finish(
                headwater(&[args, &["--hub", &name]].concat())
                    .spawn()
                    .unwrap(),
            );
            assert_eq!(said.code, 0, "{args:?} {name}: {}", said.stderr);
            said.stdout
        };
        run(&["publish", "s", "1"]);
        run(&["streams", "info", "s"]);
        assert!(run(&["streams", "ls"]).contains(" s\n"));
        assert!(run(&["tail", "s", "--no-follow"]).starts_with("1\n"));
    }
    let mut by_variable = headwater(&["tail", "s", "--no-follow"]);
    let said = finish(by_variable.env("HEADWATER_HUB", bare).spawn().unwrap());
    assert_eq!((said.code, &*said.stdout), (0, "1\n1\n"), "{said:?}");
    let said = finish(
        headwater(&["tail", "s", "--hub", "nonsense"])
            .spawn()
            .unwrap(),
    );
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("it should be like http://host/path"),
        "{said:?}"
    );
}

#[test]
fn typed_messages_are_counted_one_by_one() {
    let hub = Hub::start();
    let publish = ["publish", "s", "--hub", hub.url()];
    let seen = at_terminal(&publish, "1\n2\n\u{4}");
    assert_eq!(seen.code, 0, "{seen:?}");
    for wanted in [
        "publishing to s: each line is a message",
        "1 stored",
        "2 stored",
        "2 items",
    ] {
        assert!(seen.stdout.contains(wanted), "{wanted}: {seen:?}");
    }
    let quiet = at_terminal(&[&publish[..], &["-q"]].concat(), "3\n\u{4}");
    assert!(!quiet.stdout.contains("stored"), "{quiet:?}");
    assert_eq!(count(&hub, "s"), 3);
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
