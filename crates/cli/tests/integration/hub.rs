//! `publish`, `tail` and `streams` against a hub.

mod moving;
mod publishing;
mod tailing;

use std::{
    fs,
    io::{Read as _, Write as _},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use crate::{
    proxy::Proxy,
    running::{Said, Scratch, at_terminal, finish, headwater, signal, wait},
    server::Server,
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

#[test]
fn a_hub_whose_log_can_not_be_written_serves_and_ends_as_usual() {
    for is_full in [false, true] {
        let mut command = headwater(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            "memory",
            "-vv",
        ]);
        if is_full {
            command.stderr(fs::File::options().write(true).open("/dev/full").unwrap());
        }
        let mut hub = Hub::run(&mut command);
        // Nothing reads the pipe any more.
        drop(hub.process.stderr.take());
        let said = run(&hub, &["streams", "info", "none"]);
        assert!(said.stderr.contains("no stream none"), "{said:?}");
        done(&hub, &["publish", "some", "1"]);
        signal(&hub.process, "-TERM");
        assert_eq!(wait(&mut hub.process).code(), Some(0), "full: {is_full}");
    }
}

#[test]
fn a_command_whose_stderr_can_not_be_written_has_its_exit_status() {
    let unreachable = || headwater(&["streams", "ls", "--hub", "http://127.0.0.1:1"]);
    let usual = finish(unreachable().spawn().unwrap());
    assert!(usual.stderr.contains("127.0.0.1:1"), "{usual:?}");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let said = finish(unreachable().stderr(full).spawn().unwrap());
    assert_eq!(said.code, usual.code, "{said:?}");
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{n}\n")).collect()
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
fn streams_are_created_listed_described_closed_and_removed() {
    let hub = Hub::start();
    let schema = Scratch::new("schema.json");
    fs::write(schema.path(), "{\"type\":\"number\"}").unwrap();
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
    let wanted = "headwater: there is no stream u: http://";
    assert!(gone.stderr.starts_with(wanted), "{}", gone.stderr);
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
fn a_dash_is_the_output_of_an_export_and_the_input_of_an_import() {
    let (from, to) = (Hub::start(), Hub::start());
    done(&from, &["publish", "s", "1", "2"]);
    let lines = done(&from, &["export", "-o", "-"]);
    assert!(lines.contains("\"complete\":true"), "{lines}");
    let mut import = headwater(&["import", "-", "--hub", to.url()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = import.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    drop(stdin);
    let said = finish(import);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(done(&to, &["tail", "s", "--no-follow"]), "1\n2\n");
}

#[test]
fn a_name_of_a_stream_stays_under_the_root_of_the_streams() {
    let hub = Hub::start();
    for args in [
        &["streams", "rm", ".."][..],
        &["publish", "../healthz", "1"],
        &["streams", "create", ""],
        &["streams", "info", "/"],
        &["tail", "a/../b"],
    ] {
        let said = run(&hub, args);
        assert_eq!(said.code, 2, "{args:?}: {said:?}");
        assert!(said.stderr.contains("a stream's "), "{said:?}");
    }
    let url = format!("{}/streams/..", hub.url());
    let said = run(&hub, &["streams", "rm", &url]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("segments"), "{said:?}");
    assert_eq!(
        run(&hub, &["streams", "create", "/x"]).stdout,
        "created x\n"
    );
}

#[test]
fn a_list_of_streams_that_doesnt_end_is_an_error() {
    let server = Server::answering("application/json", r#"{"streams":[],"after":"x"}"#);
    let said = finish(
        headwater(&["streams", "ls", "--hub", &server.url("")])
            .spawn()
            .unwrap(),
    );
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.stderr.contains("doesn't end"), "{said:?}");
}
