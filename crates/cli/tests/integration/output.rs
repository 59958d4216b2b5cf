//! Files named by `--output` and `--resume`: their content isn't lost before there is new content.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    running::{Said, Scratch, finish, get, headwater, run, run_with_input},
    server::Server,
};

const OLD: &str = "what was there\nbefore, and longer\n";

fn kept() -> Scratch {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    let file = Scratch::new(&format!("kept-{n}"));
    fs::write(file.path(), OLD).unwrap();
    file
}

/// A URL at which nothing listens.
fn refusing() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

fn gather(args: &[&str]) -> Said {
    finish(headwater(&[&["gather"], args].concat()).spawn().unwrap())
}

fn in_shell(line: &str) -> Said {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("HEADWATER", env!("CARGO_BIN_EXE_headwater"));
    finish(shell.spawn().unwrap())
}

#[test]
fn a_get_without_items_keeps_the_file() {
    let missing = Server::start(|call| call.respond("404 Not Found", "text/plain", "none"));
    let cut = Server::start(|call| {
        call.start("application/x-ndjson");
        call.chunk("{\"half\":");
    });
    let silent = Server::start(|call| {
        call.start("text/event-stream");
        call.wait_for_close();
    });
    let page = Server::answering("text/html", "<p>");
    let broken = Server::answering(
        "text/event-stream",
        "event: headwater:error\ndata: {\"title\":\"x\"}\n\n",
    );
    for (url, args) in [
        (refusing(), &[][..]),
        (refusing(), &["--raw"]),
        (missing.url("/"), &[]),
        (missing.url("/"), &["--raw"]),
        (cut.url("/"), &[]),
        (silent.url("/"), &["--idle-timeout", "200ms"]),
        (page.url("/"), &[]),
        (broken.url("/"), &[]),
        ("http://".to_owned(), &[]),
        ("ftp://127.0.0.1/x".to_owned(), &[]),
        (missing.url("/"), &["-d", "@/nonexistent/body"]),
        (missing.url("/"), &["-H", "bad name: x"]),
    ] {
        let file = kept();
        let said = run(&url, &[args, &["-q", "--output", file.path()]].concat());
        assert_ne!(said.code, 0, "{url} {args:?}");
        assert_eq!(file.content(), OLD, "{url} {args:?}: {said:?}");
        let none = Scratch::new("not-there");
        run(&url, &[args, &["-q", "--output", none.path()]].concat());
        assert!(!Path::new(none.path()).exists(), "{url} {args:?}");
    }
}

#[test]
fn a_get_replaces_the_file_and_an_empty_success_empties_it() {
    for (args, body, content) in [
        (&[][..], "1\n2\n", "1\n2\n"),
        (&["--raw"], "1\n", "1\n"),
        (&[], "", ""),
        (&["--raw"], "", ""),
    ] {
        let server = Server::answering("application/x-ndjson", body);
        let file = kept();
        let said = run(
            &server.url("/"),
            &[args, &["-q", "-o", file.path()]].concat(),
        );
        assert_eq!((said.code, &*file.content()), (0, content), "{said:?}");
    }
}

#[test]
fn special_files_can_be_written_to() {
    let server = Server::answering("application/x-ndjson", "1\n2\n");
    let said = run(&server.url("/"), &["-q", "-o", "/dev/null"]);
    assert_eq!((said.code, &*said.stdout), (0, ""), "{said:?}");
    let said = run(&server.url("/"), &["-q", "-o", "/dev/stdout"]);
    assert_eq!((said.code, &*said.stdout), (0, "1\n2\n"), "{said:?}");
    let said = run(&server.url("/"), &["-q", "-o", "/dev/stderr"]);
    assert_eq!((said.code, &*said.stderr), (0, "1\n2\n"), "{said:?}");
    let pipe = Scratch::new("pipe");
    let line = format!(
        "mkfifo {0}; \"$HEADWATER\" get -q {1} -o {0} & cat {0}; wait",
        pipe.path(),
        server.url("/")
    );
    let said = in_shell(&line);
    assert_eq!(said.stdout, "1\n2\n", "{said:?}");
    let calls = Scratch::new("special-calls");
    fs::write(calls.path(), server.url("/")).unwrap();
    let said = gather(&[calls.path(), "-q", "-o", "/dev/stdout"]);
    assert!(said.stdout.starts_with("{\"index\":0,"), "{said:?}");
    let said = gather(&["/dev/null", "-q", "-o", "/dev/null"]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_file_that_is_both_input_and_output_is_refused_and_untouched() {
    let server = Server::answering("application/x-ndjson", "1\n");
    let file = Scratch::new("both");
    let content = format!("{0}\n{0}\n", server.url("/"));
    fs::write(file.path(), &content).unwrap();
    let (hard, soft) = (Scratch::new("both-hard"), Scratch::new("both-soft"));
    fs::hard_link(file.path(), hard.path()).unwrap();
    std::os::unix::fs::symlink(file.path(), soft.path()).unwrap();
    let path = Path::new(file.path());
    let dotted = path
        .parent()
        .unwrap()
        .join(".")
        .join(path.file_name().unwrap());
    let url = server.url("/");
    for name in [
        file.path(),
        hard.path(),
        soft.path(),
        dotted.to_str().unwrap(),
    ] {
        let f = file.path();
        for line in [
            format!("\"$HEADWATER\" gather -o {name} {f}"),
            format!("\"$HEADWATER\" gather -o {f} {name}"),
            format!("\"$HEADWATER\" gather --resume {name} {f}"),
            format!("\"$HEADWATER\" gather -o {name} < {f}"),
            format!("\"$HEADWATER\" gather -o {name} - < {f}"),
            format!("\"$HEADWATER\" gather -o {name} /dev/stdin < {f}"),
            format!("\"$HEADWATER\" gather {name} >> {f}"),
            format!("\"$HEADWATER\" gather -o /dev/stdout {name} >> {f}"),
            format!("\"$HEADWATER\" get {url} -o {name} -d @{f}"),
            format!("\"$HEADWATER\" get {url} -o {name} -d - < {f}"),
        ] {
            let said = in_shell(&line);
            assert_eq!(said.code, 2, "{line}: {said:?}");
            assert!(
                said.stderr.contains("is both the input and the output"),
                "{line}: {said:?}"
            );
            assert_eq!(file.content(), content, "{line}");
        }
    }
    assert!(
        server.requests().is_empty(),
        "it is refused before any call"
    );
}

#[test]
fn a_gather_without_a_successful_call_keeps_the_file() {
    let missing = Server::start(|call| call.respond("404 Not Found", "text/plain", "none"));
    for (calls, results) in [
        (format!("{0}\n{0}\n", refusing()), 2),
        (missing.url("/"), 1),
        ("no call\n".to_owned(), 1),
        (String::new(), 0),
    ] {
        let (input, file) = (Scratch::new("failing-calls"), kept());
        fs::write(input.path(), &calls).unwrap();
        let said = gather(&["-q", "--retries", "0", input.path(), "-o", file.path()]);
        assert_eq!(said.code, if results == 0 { 0 } else { 4 }, "{said:?}");
        assert_eq!(file.content(), OLD, "{calls}");
        assert!(said.stderr.contains("is left as it was"), "{said:?}");
        assert_eq!(said.stdout.lines().count(), results, "{said:?}");
    }
    for input in ["/nonexistent/calls", "/"] {
        let file = kept();
        let said = gather(&["-q", input, "-o", file.path()]);
        assert_eq!((said.code, &*file.content()), (1, OLD), "{said:?}");
        let file = Scratch::new("cut-results");
        let earlier = "{\"index\":0,\"attempts\":1,\"url\":\"http://a/\"}\n{\"index\":";
        fs::write(file.path(), earlier).unwrap();
        let said = gather(&["-q", input, "--resume", file.path()]);
        assert_eq!((said.code, &*file.content()), (1, earlier), "{said:?}");
    }
}

#[test]
fn a_gather_replaces_the_file_after_the_first_success_and_loses_no_failure() {
    let server = Server::answering("text/plain", "yes");
    let (input, file) = (Scratch::new("mixed-calls"), kept());
    fs::write(
        input.path(),
        format!("no call\n{}\nno call\n", server.url("/")),
    )
    .unwrap();
    let args = ["-q", "--ordered", input.path(), "-o", file.path()];
    let said = gather(&args);
    assert_eq!((said.code, &*said.stdout), (4, ""), "{said:?}");
    assert_eq!(file.content().lines().count(), 3, "{}", file.content());
    assert!(!file.content().contains("what was there"));
}

#[test]
fn an_item_is_in_the_file_before_the_stream_ends() {
    let server = Server::start(|call| {
        call.start("application/x-ndjson");
        call.chunk("1\n");
        call.wait_for_close();
    });
    let file = kept();
    let mut child = get(&server.url("/"), &["-q", "-o", file.path()])
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while file.content() != "1\n" {
        assert!(start.elapsed().as_secs() < 20, "{}", file.content());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // The response to a body from the standard input, which isn't a file.
    let echo = Server::answering("application/x-ndjson", "2\n");
    let said = run_with_input(
        &echo.url("/"),
        &["-q", "-d", "-", "-o", file.path()],
        "body",
    );
    assert_eq!((said.code, &*file.content()), (0, "2\n"), "{said:?}");
}
