//! The token of the commands that are clients: its sources, and the servers that get it.

use std::process::Command;

use crate::{
    running::{Said, Scratch, finish, headwater},
    server::{Call, Server},
};

/// Names and values of environment variables.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// A command without variables of its own.
fn command(args: &[&str]) -> Command {
    let mut command = headwater(args);
    for name in ["TOKEN", "TOKEN_FILE", "RELAY_SECRET", "HUB", "ROOT"] {
        command.env_remove(format!("HEADWATER_{name}"));
    }
    command
}

fn run(args: &[&str], variables: Variables<'_>) -> Said {
    let mut command = command(args);
    finish(command.envs(variables.iter().copied()).spawn().unwrap())
}

/// The values of `Authorization` of all requests so far.
fn sent(server: &Server) -> Vec<String> {
    let requests = server.requests().into_iter();
    let values = requests.map(|request| request.header("authorization"));
    values.map(Option::unwrap_or_default).collect()
}

fn scratch(name: &str, content: &str) -> Scratch {
    let scratch = Scratch::new(name);
    std::fs::write(scratch.path(), content).unwrap();
    scratch
}

fn refuse(call: &mut Call) {
    let body = r#"{"title":"Unauthorized","status":401,"detail":"who are you?"}"#;
    call.respond("401 Unauthorized", "application/problem+json", body);
}

#[test]
fn every_command_that_is_a_client_sends_the_token_from_each_of_its_sources() {
    let file = scratch("token-sources", "t\n");
    let options: [(&[&str], Variables<'_>); 4] = [
        (&["--token", "t"], &[]),
        (&["--token-file", file.path()], &[("HEADWATER_TOKEN", "x")]),
        (&[], &[("HEADWATER_TOKEN", "t")]),
        (&[], &[("HEADWATER_TOKEN_FILE", file.path())]),
    ];
    let server = Server::start(refuse);
    let (url, stream) = (server.url(""), server.url("/streams/a"));
    let commands: [&[&str]; 9] = [
        &["get", &stream],
        &["tail", "a", "--hub", &url],
        &["tail", &stream],
        &["tail", "a/*", "--hub", &url],
        &["publish", "a", "1", "--hub", &url],
        &["streams", "ls", "--hub", &url],
        &["streams", "info", "a", "--hub", &url],
        &["streams", "rm", "a", "--hub", &url],
        &["relay", "http://127.0.0.1:9/", "--as", "a", "--hub", &url],
    ];
    for command in commands {
        for (args, variables) in options {
            let before = server.requests().len();
            let said = run(&[command, args].concat(), variables);
            assert_eq!(said.code, 4, "{command:?} {args:?}: {}", said.stderr);
            assert_eq!(
                sent(&server)[before..],
                ["Bearer t"],
                "{command:?} {args:?}"
            );
        }
    }
}

#[test]
fn an_options_token_may_also_precede_the_subcommand() {
    let server = Server::start(refuse);
    let url = server.url("");
    run(&["streams", "--token", "t", "ls", "--hub", &url], &[]);
    assert_eq!(sent(&server), ["Bearer t"]);
    let both = [
        "streams",
        "--token",
        "t",
        "ls",
        "--token-file",
        "f",
        "--hub",
        &url,
    ];
    assert_eq!(run(&both, &[]).code, 2);
}

#[test]
fn a_header_replaces_the_environments_token_and_excludes_an_options() {
    let server = Server::start(refuse);
    let url = server.url("/x");
    let variables = [("HEADWATER_TOKEN", "t")];
    let own = ["-H", "Authorization: Basic eA=="];
    run(&[&["get", &url][..], &own].concat(), &variables);
    let stream = ["tail", &url];
    run(&[&stream[..], &own].concat(), &variables);
    let credentials = url.replace("http://", "http://me:pw@");
    run(&["get", &credentials], &variables);
    let wanted = ["Basic eA==", "Basic eA==", "Basic bWU6cHc="];
    assert_eq!(sent(&server), wanted);
    for option in [["--token", "t"], ["--token-file", "f"]] {
        for command in [["get", &url], stream] {
            let said = run(&[&command[..], &own, &option].concat(), &[]);
            assert_eq!(said.code, 2, "{}", said.stderr);
        }
    }
    let both = ["get", &url, "--token", "t", "--token-file", "f"];
    assert_eq!(run(&both, &[]).code, 2);
    let variables = [("HEADWATER_TOKEN", "t"), ("HEADWATER_TOKEN_FILE", "f")];
    assert_eq!(run(&["get", &url], &variables).code, 2);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn a_refusal_tells_how_to_name_a_token() {
    let server = Server::start(|call| match call.request.line.contains("/streams/a") {
        true => refuse(call),
        false => call.respond_with("403 Forbidden", "x-a: b"),
    });
    let said = run(&["tail", &server.url("/streams/a")], &[]);
    assert_eq!(said.code, 4);
    for part in [
        "who are you?",
        "--token-file",
        "--token ",
        "HEADWATER_TOKEN",
    ] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
    let said = run(&["get", &server.url("/x"), "--token", "hunter2"], &[]);
    assert_eq!(said.code, 4);
    assert!(said.stderr.contains("HEADWATER_TOKEN"), "{}", said.stderr);
    assert!(!said.stderr.contains("hunter2"), "{}", said.stderr);
}

#[test]
fn an_unusable_token_is_an_error_that_shows_the_file_and_no_token() {
    let server = Server::start(refuse);
    let url = server.url("/x");
    let file = scratch("token-unusable", "hunter2\nhunter2\n");
    for (args, part) in [
        (["--token-file", file.path()], file.path()),
        (["--token-file", "/nonexistent/t"], "/nonexistent/t"),
        (["--token", "hunter2\n"], "control character"),
    ] {
        let said = run(&[&["get", &*url][..], &args].concat(), &[]);
        assert_eq!(said.code, 1, "{}", said.stderr);
        assert!(said.stderr.contains(part), "{}", said.stderr);
        assert!(!said.stderr.contains("hunter2"), "{}", said.stderr);
    }
    assert!(server.requests().is_empty());
}

#[test]
fn a_rotated_file_continues_a_stream_whose_token_expires() {
    let file = scratch("token-rotated", "t1");
    let path = file.path().to_owned();
    let server = Server::start(move |call| {
        let token = std::fs::read_to_string(&path).unwrap();
        let value = call.request.header("authorization");
        if value != Some(format!("Bearer {token}")) {
            return refuse(call);
        }
        let seen = call.request.header("last-event-id");
        let next = seen.map_or(1, |id| id.parse::<u32>().unwrap() + 1);
        call.start("text/event-stream");
        if next > 3 {
            return call.chunk("event: headwater:end\nid: headwater:end\ndata: {}\n\n");
        }
        call.chunk(format!("retry: 1\nid: {next}\ndata: {next}\n\n"));
        std::fs::write(&path, format!("t{}", next + 1)).unwrap();
        call.chunk("event: headwater:error\ndata: {\"status\":401,\"code\":\"token_expired\"}\n\n");
    });
    let url = server.url("/streams/a");
    let commands: [&[&str]; 2] = [&["get", &url, "--reconnect"], &["tail", &url]];
    for command in commands {
        std::fs::write(file.path(), "t1").unwrap();
        let said = run(&[command, &["--token-file", file.path()]].concat(), &[]);
        assert_eq!((said.code, &*said.stdout), (0, "1\n2\n3\n"), "{said:?}");
    }
}

#[test]
fn a_gather_sends_no_token() {
    let server = Server::answering("text/plain", "x");
    let calls = scratch("token-gather", &server.url("/x"));
    let said = run(&["gather", calls.path()], &[("HEADWATER_TOKEN", "t")]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(sent(&server), [""]);
}

#[test]
fn a_relay_is_started_with_the_token_or_the_secret_and_followed_only_at_the_hub_with_a_token() {
    let other = Server::start(refuse);
    let elsewhere = other.url("/streams/a");
    let server = Server::start(move |call| {
        let host = call.request.header("host").unwrap();
        let stream = match call.request.line.contains("stream=elsewhere") {
            true => elsewhere.clone(),
            false => format!("http://{host}/streams/a"),
        };
        match call.request.line.starts_with("POST") {
            true => {
                let headers = format!("location: /relay/1?a=b\r\ncontent-location: {stream}");
                call.respond_with("201 Created", &headers);
            }
            false => refuse(call),
        }
    });
    let hub = server.url("");
    let start = |stream: &str, args: &[&str], variables: Variables<'_>| {
        let command = [
            "relay",
            "http://127.0.0.1:9/",
            "--as",
            stream,
            "--hub",
            &hub,
        ];
        let before = server.requests().len();
        let said = run(&[&command, args].concat(), variables);
        assert_eq!(said.code, 4, "{}", said.stderr);
        sent(&server)[before..].to_vec()
    };
    let (token, secret) = (("HEADWATER_TOKEN", "t"), ("HEADWATER_RELAY_SECRET", "s"));
    assert_eq!(start("a", &[], &[token]), ["Bearer t", "Bearer t"]);
    assert_eq!(start("a", &[], &[secret]), ["Bearer s", ""]);
    assert_eq!(start("a", &["--secret", "x"], &[secret]), ["Bearer x", ""]);
    assert_eq!(start("a", &[], &[token, secret]), ["Bearer s", "Bearer t"]);
    let option = ["--token", "x"];
    assert_eq!(
        start("a", &option, &[token, secret]),
        ["Bearer x", "Bearer x"]
    );
    assert_eq!(start("elsewhere", &option, &[]), ["Bearer x"]);
    assert_eq!(sent(&other), [""]);
    // The upstream's credentials have a header of their own.
    start("a", &["--token", "x", "-H", "Authorization: y"], &[]);
    let upstream = server.requests()[11].header("upstream-authorization");
    assert_eq!(upstream.as_deref(), Some("y"));
}
