//! `publish`.

use std::{
    io::Write as _,
    process::{ChildStdin, Stdio},
    thread,
};

use super::{count, done, numbers, run, until};
use crate::{
    running::{Said, Scratch, at_terminal, finish, headwater},
    serving::Hub,
};

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
