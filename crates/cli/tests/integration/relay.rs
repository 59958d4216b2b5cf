//! `relay` against a hub and an upstream that a test controls.

use std::{
    io::{BufRead as _, BufReader},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use crate::{
    running::{Said, finish, headwater, signal},
    server::Server,
    serving::Hub,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// An upstream that sends the events that it receives, and ends when the sender is dropped.
fn upstream() -> (Server, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel::<&str>();
    let receiver = Arc::new(Mutex::new(receiver));
    let server = Server::start(move |call| {
        call.start("text/event-stream");
        let receiver = receiver.lock().unwrap();
        while let Ok(event) = receiver.recv_timeout(PATIENCE) {
            call.chunk(format!("data: {event}\n\n"));
        }
        call.end();
    });
    (server, sender)
}

fn hub(args: &[&str]) -> Hub {
    Hub::serve(
        &[
            &["--data", "memory", "--allow-upstream", "http://127.0.0.1:*"],
            args,
        ]
        .concat(),
    )
}

fn run(hub: &Hub, args: &[&str]) -> Said {
    let all = [&["relay", "--hub", hub.url()], args].concat();
    finish(headwater(&all).spawn().unwrap())
}

#[test]
fn the_upstreams_events_are_printed_as_they_arrive_and_the_relay_continues_after_an_interrupt() {
    let (hub, (upstream, events)) = (hub(&[]), upstream());
    let url = upstream.url("/chat");
    let args = [
        "relay",
        "--hub",
        hub.url(),
        &url,
        "--as",
        "answers/1",
        "-d",
        "{\"q\":1}",
        "-H",
        "Authorization: Bearer x",
    ];
    let mut follower = headwater(&args).spawn().unwrap();
    events.send("{\"token\":\"a\"}").unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(follower.stdout.as_mut().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "{\"token\":\"a\"}\n");
    signal(&follower, "-INT");
    let said = finish(follower);
    assert_eq!(said.code, 130);
    assert!(said.stderr.contains("continues"), "{}", said.stderr);
    assert!(said.stderr.contains("curl -X PATCH"), "{}", said.stderr);

    // The same command again joins the relay.
    events.send("{\"token\":\"b\"}").unwrap();
    drop(events);
    let said = finish(headwater(&args).spawn().unwrap());
    assert_eq!(
        (said.code, &*said.stdout),
        (0, "{\"token\":\"a\"}\n{\"token\":\"b\"}\n"),
        "{}",
        said.stderr
    );
    let calls = upstream.requests();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].line, "POST /chat HTTP/1.1");
    assert_eq!(calls[0].body, "{\"q\":1}");
    assert_eq!(
        calls[0].header("authorization").as_deref(),
        Some("Bearer x")
    );
    assert_eq!(
        calls[0].header("content-type").as_deref(),
        Some("application/json")
    );
}

#[test]
fn a_detached_relay_can_be_followed_and_aborted_with_the_printed_commands() {
    let (hub, (upstream, events)) = (hub(&["--relay-secret", "s"]), upstream());
    let url = upstream.url("/");
    let refused = run(&hub, &[&url, "--as", "a"]);
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    let said = run(
        &hub,
        &[
            &url,
            "--as",
            "a b",
            "--secret",
            "s",
            "--detach",
            "--keep-for",
            "1h",
        ],
    );
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(said.stdout, format!("{}/streams/a%20b\n", hub.url()));
    events.send("1").unwrap();
    let abort = said
        .stderr
        .lines()
        .next()
        .unwrap()
        .split_once("curl")
        .unwrap()
        .1;
    let abort = format!("exec curl --silent --show-error --fail {abort}");
    let aborted = std::process::Command::new("sh")
        .args(["-c", &abort])
        .status()
        .unwrap();
    assert!(aborted.success());
    let followed = finish(headwater(&["tail", said.stdout.trim()]).spawn().unwrap());
    assert_ne!(followed.code, 0);
    assert!(followed.stderr.contains("cancelled"), "{}", followed.stderr);
}

#[test]
fn a_refusal_of_the_hub_or_the_upstream_is_reported() {
    let hub = hub(&[]);
    let refused = run(&hub, &["http://10.1.2.3/", "--as", "a"]);
    assert_eq!(refused.code, 4);
    assert!(
        refused.stderr.contains("not among the hosts"),
        "{}",
        refused.stderr
    );
    one_sentence(&refused);
    let upstream = Server::start(|call| call.respond("429 Slow", "text/plain", "slow down"));
    // The scheme may be omitted.
    let url = upstream.url("/");
    let refused = run(&hub, &[url.strip_prefix("http://").unwrap(), "--as", "a"]);
    assert_eq!(refused.code, 4);
    assert!(refused.stderr.contains("slow down"), "{}", refused.stderr);
    let upstream = Server::start(|call| {
        let error = "{\"error\":{\"message\":\"no such model\",\"type\":\"x\"}}";
        call.respond("404 Not Found", "application/json", error);
    });
    let refused = run(&hub, &[&upstream.url("/"), "--as", "a"]);
    assert!(refused.stderr.ends_with(": no such model\n"), "{refused:?}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    for args in [
        [&*gone, "--as", "a"],
        [&*gone, "--as", "a//b"],
        ["nonsense", "--as", "a"],
        ["ftp://127.0.0.1/", "--as", "a"],
    ] {
        let refused = run(&hub, &args);
        assert_eq!(refused.code, 4, "{args:?}: {refused:?}");
        one_sentence(&refused);
    }
}

/// Asserts that the message is one line for people.
#[track_caller]
fn one_sentence(said: &Said) {
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    assert!(!said.stderr.contains(['{', '}']), "{}", said.stderr);
}
