//! `headwater serve`: the sources of its settings, its output, and its end.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command},
    time::{Duration, Instant},
};

use crate::running::{Scratch, finish, headwater, signal, wait};

/// A hub in its own process, which ends at the latest when this is dropped.
pub(crate) struct Hub {
    pub(crate) process: Child,
    /// The lines that it printed when it listened.
    greeting: Vec<String>,
}

impl Hub {
    /// Starts a hub in memory, on a free port.
    pub(crate) fn start() -> Self {
        Self::serve(&["--data", "memory"])
    }

    /// Starts a hub on a free port.
    pub(crate) fn serve(args: &[&str]) -> Self {
        Self::run(&mut headwater(
            &[&["serve", "--listen", "127.0.0.1:0"], args].concat(),
        ))
    }

    /// Starts a hub by this command.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut process = command.spawn().unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        // An address, a place, who may use it, an empty line, a heading, and three lines to paste.
        let greeting = stdout.lines().take(8).map_while(Result::ok).collect();
        Self { process, greeting }
    }

    pub(crate) fn url(&self) -> &str {
        let line = self.greeting.first().expect("it said where it listens");
        line.rsplit(' ').next().unwrap()
    }

    /// The lines that it printed when it listened.
    pub(crate) fn greeting(&self) -> &[String] {
        &self.greeting
    }

    pub(crate) fn address(&self) -> &str {
        self.url().strip_prefix("http://").unwrap()
    }

    /// Ends it like a crash.
    pub(crate) fn crash(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // The process may already have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_printed_commands_work() {
    let hub = Hub::start();
    let lines: Vec<_> = hub
        .greeting
        .iter()
        .filter(|line| line.contains("curl"))
        .collect();
    let outputs = lines.iter().map(|line| {
        // The last command follows without end; each line is independent of the others.
        let line = format!("exec {} --silent --show-error --max-time 3", line.trim());
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    });
    let outputs: Vec<_> = outputs.collect();
    let [(created, none), (published, nothing), (followed, _)] = &*outputs else {
        panic!("{lines:?}")
    };
    assert_eq!([created, none, published, nothing], ["", "", "", ""]);
    assert_eq!(followed, "{\"hello\":\"world\"}\n");
}

#[test]
fn an_argument_overrides_the_environment_which_overrides_the_file() {
    let file = Scratch::new("precedence.toml");
    let at = |host: u8| format!("127.0.0.{host}:0");
    let text = format!("listen = \"{}\"\ndata = \"memory\"\n", at(1));
    std::fs::write(file.path(), text).unwrap();
    let start = |environment: Option<u8>, argument: Option<u8>| {
        let mut command = headwater(&["serve", "--config", file.path()]);
        if let Some(host) = environment {
            command.env("HEADWATER_LISTEN", at(host));
        }
        if let Some(host) = argument {
            command.args(["--listen", &at(host)]);
        }
        let hub = Hub::run(&mut command);
        hub.address().split(':').next().unwrap().to_owned()
    };
    assert_eq!(start(None, None), "127.0.0.1");
    assert_eq!(start(Some(2), None), "127.0.0.2");
    assert_eq!(start(Some(2), Some(3)), "127.0.0.3");
}

#[test]
fn an_invalid_setting_stops_the_start_with_its_name() {
    let file = Scratch::new("wrong.toml");
    for (text, wanted) in [
        ("body_bytes = 1\n", "body_bytes"),
        ("[limits]\nmesage_bytes = 1\n", "mesage_bytes"),
        ("durability = \"none\"\n", "expected one of `fsync`, `os`"),
        ("max_connections = 0\n", "max_connections"),
        ("long_poll = \"20\"\n", "write 20s for seconds"),
        ("memory_bytes = 0\n", "memory_bytes"),
        ("[limits]\nbody_bytes = 0\n", "body_bytes"),
        ("[limits]\nstreams = 0\n", "expected a nonzero"),
        (
            "public_url = \"example.com\"\n",
            "\"example.com\" is not a public URL",
        ),
        (
            "cors = [\"example.com\"]\n",
            "\"example.com\" is not an origin",
        ),
    ] {
        std::fs::write(file.path(), text).unwrap();
        let args = ["serve", "--data", "memory", "--config", file.path()];
        let said = finish(headwater(&args).spawn().unwrap());
        assert_eq!((said.code, &*said.stdout), (1, ""), "{text}");
        assert!(said.stderr.contains(wanted), "{text}: {}", said.stderr);
    }
}

#[test]
fn an_invalid_filter_or_root_is_a_wrong_command_line() {
    for (option, value, wanted) in [
        (
            "--log",
            "loud",
            "\"loud\" is not a level; the levels are off, error",
        ),
        ("--log", "info,headwater::access=", "\"\" is not a level"),
        ("--root", "/docs", "something else at /docs"),
        ("--root", "/{a}", "is not a root"),
    ] {
        let said = finish(
            headwater(&["serve", "--data", "memory", option, value])
                .spawn()
                .unwrap(),
        );
        assert_eq!((said.code, &*said.stdout), (2, ""), "{value}");
        assert!(said.stderr.contains(wanted), "{value}: {}", said.stderr);
    }
    let mut command = headwater(&["serve", "--data", "memory"]);
    let said = finish(command.env("HEADWATER_LOG", "5").spawn().unwrap());
    assert_eq!(said.code, 2, "{}", said.stderr);
}

#[test]
fn the_printed_settings_are_a_valid_file() {
    let said = finish(headwater(&["serve", "--print-config"]).spawn().unwrap());
    assert_eq!((said.code, &*said.stderr), (0, ""));
    let file = Scratch::new("printed.toml");
    std::fs::write(file.path(), &said.stdout).unwrap();
    let hub = Hub::serve(&["--data", "memory", "--config", file.path()]);
    assert!(hub.url().starts_with("http://127.0.0.1:"));
}

/// Sends a request. Returns the response up to `until`.
fn ask(address: &str, request: &str, until: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    write!(socket, "{request} HTTP/1.1\r\nHost: {address}\r\n").unwrap();
    write!(
        socket,
        "Accept: application/x-ndjson\r\nContent-Length: 0\r\n\r\n"
    )
    .unwrap();
    let mut said = String::new();
    let mut piece = [0; 1024];
    while !said.contains(until) {
        let read = socket.read(&mut piece).unwrap();
        assert!(read > 0, "{said:?}");
        said.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    said
}

#[test]
fn refusals_are_logged_by_default_and_readers_with_v() {
    for verbose in [false, true] {
        let args: &[&str] = if verbose { &["-v"] } else { &[] };
        let mut hub = Hub::serve(&[&["--data", "memory"], args].concat());
        let mut stderr = BufReader::new(hub.process.stderr.take().unwrap());
        let mut line_with = |text: &str| loop {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "no {text}");
            assert!(!line.contains('\u{1b}'), "{line:?}");
            if line.contains(text) {
                break line;
            }
        };
        let address = hub.address().to_owned();
        if verbose {
            ask(&address, "PUT /streams/a", "201");
            line_with("status=201");
            ask(&address, "GET /streams/a", "200 OK");
            line_with("end=\"open\"");
            line_with("end=\"left\"");
        }
        ask(&address, "GET /streams/none?token=s3cret", "404");
        let line = line_with("status=404");
        assert!(
            line.contains("WARN") && line.contains("path=/streams/none"),
            "{line}"
        );
        assert!(!line.contains("s3cret"), "{line}");
        ask(&address, "PATCH /streams/a", "405");
        line_with("status=405");
    }
}

#[test]
fn the_streams_are_under_the_root_and_the_index_shows_it() {
    let hub = Hub::serve(&["--data", "memory", "--root", "/v1/stream"]);
    assert!(
        hub.greeting
            .iter()
            .any(|line| line.contains("/v1/stream/hello"))
    );
    ask(hub.address(), "PUT /v1/stream/a", "201");
    let index = ask(hub.address(), "GET /", "}\n");
    assert!(index.contains("\"streams\":\"v1/stream\""), "{index}");
    ask(
        hub.address(),
        "GET /streams",
        "there is nothing at /streams",
    );
}

#[test]
fn an_unusable_folder_is_reported_with_the_reason() {
    let file = Scratch::new("no-folder");
    std::fs::write(file.path(), "").unwrap();
    let said = finish(
        headwater(&["serve", "--data", file.path()])
            .spawn()
            .unwrap(),
    );
    assert_eq!((said.code, &*said.stdout), (1, ""));
    for wanted in [file.path(), "not a folder"] {
        assert!(said.stderr.contains(wanted), "{}", said.stderr);
    }
}

#[test]
fn a_cluster_that_cannot_be_used_is_reported_with_the_reason() {
    let serve = |args: &[&str]| {
        let run = headwater(&[&["serve", "--data"], args].concat()).spawn();
        let said = finish(run.unwrap());
        assert_eq!((said.code, &*said.stdout), (1, ""), "{args:?}");
        said.stderr
    };
    let (no_server, in_os) = match cfg!(feature = "nats") {
        true => (
            "can't connect to the servers 127.0.0.1:1",
            "`os` is for a folder",
        ),
        false => ("--features nats", "--features nats"),
    };
    let said = serve(&["nats://user:secret@127.0.0.1:1", "--advertise", "http://a"]);
    assert!(said.contains(no_server), "{said}");
    assert!(!said.contains("secret"), "{said}");
    let said = serve(&["nats://127.0.0.1:1", "--durability", "os"]);
    assert!(said.contains(in_os), "{said}");
    let said = serve(&["redis://127.0.0.1:1"]);
    assert!(
        said.contains("redis://127.0.0.1:1 is not a folder"),
        "{said}"
    );
    let said = serve(&["memory", "--durability", "replicated"]);
    assert!(said.contains("are for a cluster"), "{said}");
}

#[test]
fn it_ends_at_sigterm_with_followers_and_publishers_connected() {
    let mut hub = Hub::start();
    let publish = ["publish", "s", "1", "--quiet", "--hub", hub.url()];
    assert_eq!(finish(headwater(&publish).spawn().unwrap()).code, 0);
    let tail = ["tail", "s", "--attempts", "1", "--hub", hub.url()];
    let mut followers: Vec<_> = (0..3).map(|_| headwater(&tail).spawn().unwrap()).collect();
    for follower in &mut followers {
        let mut line = String::new();
        let mut stdout = BufReader::new(follower.stdout.as_mut().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "1\n");
    }
    let start = Instant::now();
    signal(&hub.process, "-TERM");
    assert!(wait(&mut hub.process).success());
    assert!(start.elapsed() < Duration::from_secs(10));
    for follower in followers {
        // Followers must not mistake a shutdown of the hub for the end of the stream.
        assert_ne!(finish(follower).code, 0);
    }
}

#[test]
fn a_variable_that_is_no_setting_is_reported_at_the_start_with_the_nearest_one() {
    let mut command = headwater(&["serve", "--listen", "127.0.0.1:0", "--data", "memory"]);
    command
        .env("HEADWATER_LISTN", "0.0.0.0:1")
        .env("HEADWATER_ROOT", "/a");
    let mut hub = Hub::run(&mut command);
    signal(&hub.process, "-TERM");
    wait(&mut hub.process);
    let mut stderr = String::new();
    let said = hub
        .process
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr);
    said.unwrap();
    let wanted =
        "HEADWATER_LISTN, which isn't a setting of Headwater; did you mean HEADWATER_LISTEN?";
    assert!(stderr.contains(wanted), "{stderr}");
    assert!(!stderr.contains("HEADWATER_ROOT"), "{stderr}");
}
