use std::{
    io::{BufRead as _, BufReader},
    process::Command,
};

use crate::{
    running::{Scratch, finish, get, run, signal, wait},
    server::Server,
};

/// Sends one item, and no more until the client disconnects.
fn one_and_silence() -> Server {
    Server::start(|call| {
        call.start("application/x-ndjson");
        call.chunk("1\n");
        call.wait_for_close();
    })
}

/// Sends items until the client disconnects.
fn endless() -> Server {
    Server::start(|call| {
        call.start("application/x-ndjson");
        let chunk = "{\"n\":1}\n".repeat(1000);
        for _ in 0..100_000 {
            if !call.chunk_arrives(&chunk) {
                return;
            }
        }
        panic!("the client stays for ever");
    })
}

#[test]
fn a_truncated_stream_exits_with_3_after_its_items() {
    let server = Server::start(|call| {
        call.start("application/x-ndjson");
        call.chunk("1\n2\n{\"half\":");
    });
    let said = run(&server.url("/x?token=secret"), &[]);
    assert_eq!((said.code, &*said.stdout), (3, "1\n2\n"));
    let wanted = format!("headwater: GET {}: the body was cut", server.url("/x"));
    assert!(said.stderr.starts_with(&wanted), "{}", said.stderr);
    assert!(!said.stderr.contains("secret"), "{}", said.stderr);
}

#[test]
fn an_unsuccessful_status_exits_with_4_and_the_servers_message() {
    let server = Server::start(|call| {
        let problem = "{\"title\":\"No such stream\",\"detail\":\"try /ticks\"}";
        call.respond("404 Not Found", "application/problem+json", problem);
    });
    let said = run(&server.url("/"), &[]);
    assert_eq!((said.code, &*said.stdout), (4, ""));
    let wanted = "the server answered 404 Not Found: No such stream: try /ticks\n";
    assert!(said.stderr.ends_with(wanted), "{}", said.stderr);
}

#[test]
fn silence_exits_with_5() {
    let server = one_and_silence();
    let said = run(&server.url("/"), &["--idle-timeout", "300ms"]);
    assert_eq!((said.code, &*said.stdout), (5, "1\n"));
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for args in [
        &["--raw", "--timestamps"][..],
        &["--format", "xml"],
        &["-n", "0"],
        &["-H", "x"],
    ] {
        assert_eq!(run("http://localhost/", args).code, 2, "{args:?}");
    }
}

#[test]
fn other_errors_exit_with_1_and_the_remedy() {
    let said = run("ftp://localhost:8000/ticks", &[]);
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("only http and https are known"),
        "{}",
        said.stderr
    );

    let server = Server::answering("text/html", "<p>");
    let said = run(&server.url("/"), &[]);
    assert_eq!(said.code, 1);
    assert!(
        said.stderr.contains("--raw prints any body"),
        "{}",
        said.stderr
    );

    let body = "data: 1\n\nevent: headwater:error\ndata: {\"title\":\"Out of ticks\"}\n\n";
    let server = Server::answering("text/event-stream", body);
    let said = run(&server.url("/"), &[]);
    assert_eq!((said.code, &*said.stdout), (1, "1\n"));
    assert!(
        said.stderr.ends_with("in the stream: Out of ticks\n"),
        "{}",
        said.stderr
    );
}

#[test]
fn events_named_error_or_end_are_printed_like_any_other() {
    let body = "event: error\ndata: 1\n\nid: headwater:end\ndata: 2\n\nevent: end\ndata: 3\n\n\
                event: headwater:end\nid: headwater:end\ndata: {}\n\n";
    let server = Server::answering("text/event-stream", body);
    let said = run(&server.url("/"), &[]);
    assert_eq!((said.code, &*said.stdout), (0, "1\n2\n3\n"));
}

#[test]
fn ctrl_c_exits_with_130_and_the_received_items_are_written() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let server = one_and_silence();
        let file = Scratch::new(name);
        let child = get(&server.url("/"), &["--output", file.path()])
            .spawn()
            .unwrap();
        while !std::fs::read(file.path()).is_ok_and(|content| content == b"1\n") {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        signal(&child, name);
        let said = finish(child);
        assert_eq!(said.code, code);
        assert_eq!(file.content(), "1\n");
        assert!(
            said.stderr.starts_with("1 item, 2 B in "),
            "{}",
            said.stderr
        );
    }
}

#[test]
fn ctrl_c_ends_it_even_if_its_output_is_not_read() {
    let server = endless();
    let mut child = get(&server.url("/"), &[]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    // By now it prints into a full pipe, or soon will.
    std::thread::sleep(std::time::Duration::from_millis(200));
    signal(&child, "-INT");
    assert_eq!(wait(&mut child).code(), Some(130));
}

#[test]
fn a_closed_output_is_not_an_error() {
    let server = endless();
    let mut child = get(&server.url("/"), &[]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let said = finish(child);
    assert_eq!((&*line, said.code, &*said.stderr), ("{\"n\":1}\n", 0, ""));
}

#[test]
fn it_ends_after_max_items_and_disconnects() {
    let server = endless();
    let said = run(&server.url("/"), &["--max-items", "1500"]);
    assert_eq!((said.code, said.stdout.lines().count()), (0, 1500));
}

#[test]
fn a_broken_sse_stream_is_resumed_only_with_reconnect() {
    let server = Server::start(|call| {
        call.start("text/event-stream");
        if call.request.header("last-event-id").is_some() {
            call.chunk("data: 2\n\nevent: headwater:end\nid: headwater:end\ndata: {}\n\n");
        } else {
            call.chunk("retry: 10\nid: 1\ndata: 1\n\n");
        }
    });
    let said = run(&server.url("/"), &[]);
    assert_eq!((said.code, &*said.stdout), (3, "1\n"));
    let said = run(&server.url("/"), &["--reconnect"]);
    assert_eq!((said.code, &*said.stdout), (0, "1\n2\n"));
    let said = run(&server.url("/"), &["--last-event-id", "1"]);
    assert_eq!((said.code, &*said.stdout), (0, "2\n"));
}

#[test]
fn without_arguments_it_lists_the_commands() {
    let output = Command::new(env!("CARGO_BIN_EXE_headwater"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("Usage: headwater <COMMAND>")
    );
}

#[test]
fn a_requested_wait_is_reported_on_stderr() {
    let server = Server::start(|call| {
        call.start("text/event-stream");
        call.chunk("retry: 2147483647\nid: 1\ndata: 1\n\n");
    });
    let mut child = get(&server.url("/"), &["--reconnect"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = lines.next().unwrap().unwrap();
    assert!(told.ends_with("; trying again in 60 s"), "{told}");
    signal(&child, "-TERM");
    assert_eq!(wait(&mut child).code(), Some(143));
    assert_eq!(server.requests().len(), 1);
}
