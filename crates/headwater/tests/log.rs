//! The output of an app that sets no subscriber.
//!
//! A subscriber belongs to the whole process. So each case runs in its own process: this test
//! program again, with the case's name in its environment.

#![cfg(feature = "log")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use axum::{Router, routing::get};
use futures_util::{StreamExt as _, stream};
use headwater::Streaming;

const CASE: &str = "HEADWATER_TEST_CASE";
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs as the server if this process is one.
///
/// It is a test so that the child process can run it by name. In any other process it passes at
/// once.
#[test]
fn serve_the_case() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let failing = async || {
            let items = stream::iter([Ok(1), Err(std::io::Error::other("the disk sank"))]);
            Streaming::try_new(items)
        };
        let failing_at_once = async || {
            let items = stream::iter([Err::<u64, _>(std::io::Error::other("the key is lost"))]);
            Streaming::try_new(items)
        };
        let open = async || Streaming::new(stream::iter([1_u64]).chain(stream::pending()));
        let app = Router::new()
            .route("/one", get(async || "one"))
            .route("/failing", get(failing))
            .route("/failing-at-once", get(failing_at_once))
            .route("/open", get(open));
        // The log reports the port, or `on_bound` prints it on stdout.
        let server = headwater::serve(with_docs(app), "127.0.0.1:0");
        let told = |server: headwater::Serve| {
            server.on_bound(|address| println!("listening on {address}"))
        };
        match case.as_str() {
            "default" => server.await,
            "quiet" => told(server.quiet()).await,
            "own subscriber" => {
                let none = tracing::subscriber::NoSubscriber::default();
                tracing::subscriber::set_global_default(none).unwrap();
                told(server).await
            }
            other => panic!("no case {other}"),
        }
        .unwrap();
    });
}

#[cfg(feature = "docs")]
fn with_docs(app: Router) -> headwater::App {
    app.into()
}

#[cfg(not(feature = "docs"))]
fn with_docs(app: Router) -> Router {
    app
}

/// A server in its own process, with the lines of its stderr.
struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    address: String,
    seen: String,
}

impl Server {
    fn start(case: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["serve_the_case", "--exact", "--nocapture"])
            .env_remove("RUST_LOG")
            .env_remove("HEADWATER_LOG")
            .env(CASE, case)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = mpsc::channel();
        let of_stdout = BufReader::new(child.stdout.take().unwrap());
        let (send_stdout, stdout) = mpsc::channel();
        thread::spawn(move || {
            of_stdout.lines().map_while(Result::ok).for_each(|line| {
                let _ = send_stdout.send(line);
            });
        });
        let of_stderr = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            of_stderr.lines().map_while(Result::ok).for_each(|line| {
                let _ = send.send(line);
            });
        });
        let mut server = Self {
            child,
            lines,
            address: String::new(),
            seen: String::new(),
        };
        let line = if case == "default" {
            server.line_with("listening on")
        } else {
            loop {
                let line = stdout.recv_timeout(PATIENCE).expect("it listens");
                if line.contains("listening on") {
                    break line;
                }
            }
        };
        let (_, address) = line.split_once("http://").expect("a URL");
        let address = address.split_whitespace().next().expect("an address");
        server.address = address.to_owned();
        server
    }

    /// Waits for a line of stderr that contains `text`.
    fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {text:?} after {:?}", self.seen));
            self.seen.push_str(&line);
            self.seen.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a request. Returns the response up to its end, or until it contains `until`.
    fn get(&self, target: &str, until: Option<&str>) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer s3cret\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 1024];
        while let Ok(read @ 1..) = socket.read(&mut piece) {
            answer.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&answer);
            if until.is_some_and(|until| text.contains(until)) {
                break;
            }
        }
        String::from_utf8(answer).unwrap()
    }

    /// Returns all of stderr after the process has ended.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_app_without_a_subscriber_logs_its_address_and_requests() {
    let mut server = Server::start("default", &[]);
    assert_eq!(
        server.seen.contains("(docs at /docs)"),
        cfg!(feature = "docs"),
        "{}",
        server.seen
    );
    assert!(server.get("/one?token=t0ken", None).contains("200 OK"));
    let line = server.line_with("path=/one");
    assert!(line.contains("INFO headwater::access"), "{line}");
    assert!(
        line.contains("status=200") && line.contains("end=\"complete\""),
        "{line}"
    );
    server.get("/nothing", None);
    let line = server.line_with("path=/nothing");
    assert!(
        line.contains("WARN") && line.contains("status=404"),
        "{line}"
    );
    let seen = server.end();
    assert!(
        !seen.contains("t0ken") && !seen.contains("s3cret"),
        "{seen}"
    );
    assert!(!seen.contains('\u{1b}'), "colours in a pipe: {seen:?}");
}

/// Returns an HTTP/2 request with an invalid path, which h2 logs at debug level.
fn bad_path_over_http2(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    for (index, value) in [(1, "localhost"), (4, path)] {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    bytes
}

#[test]
fn libraries_that_carry_requests_are_logged_only_if_the_filter_names_them() {
    for (filter, is_heard) in [("trace", false), ("info,h2=debug", true)] {
        let server = Server::start("default", &[("HEADWATER_LOG", filter)]);
        let mut socket = TcpStream::connect(&server.address).unwrap();
        let request = bad_path_over_http2("/one?token=t0ken x");
        socket.write_all(&request).unwrap();
        // The server's SETTINGS, their acknowledgement, and the reset of the stream.
        let mut answer = [0; 64];
        let mut read = 0;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        while !answer[..read].windows(4).any(|part| part == [0, 0, 4, 3]) {
            let piece = socket.read(&mut answer[read..]).unwrap();
            assert!(piece > 0, "{answer:?}");
            read += piece;
        }
        let seen = server.end();
        assert_eq!(seen.contains("t0ken"), is_heard, "{filter}: {seen}");
    }
}

#[test]
fn a_response_before_the_end_of_the_requests_body_is_logged_as_early() {
    let mut server = Server::start("default", &[]);
    let mut socket = TcpStream::connect(&server.address).unwrap();
    let head = "POST /one HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
    // An unread body that has already arrived counts as read.
    socket
        .write_all(format!("{head}3\r\n\r\nabc").as_bytes())
        .unwrap();
    let line = server.line_with("path=/one");
    assert!(line.contains("end=\"complete\""), "{line}");
    socket
        .write_all(format!("{head}30\r\n\r\nabc").as_bytes())
        .unwrap();
    let line = server.line_with("path=/one");
    assert!(
        line.contains("status=405") && line.contains("end=\"early\""),
        "{line}"
    );
}

#[test]
fn the_error_behind_a_500_or_an_aborted_stream_is_logged() {
    let mut server = Server::start("default", &[]);
    let answer = server.get("/failing-at-once", None);
    assert!(
        answer.contains("500 Internal") && !answer.contains("the key is lost"),
        "{answer}"
    );
    let line = server.line_with("the key is lost");
    assert!(line.contains("ERROR"), "{line}");
    server.line_with("status=500");
    server.get("/failing", None);
    let line = server.line_with("the disk sank");
    assert!(line.contains("ERROR"), "{line}");
    server.line_with("end=\"cut\"");
}

#[test]
fn an_open_stream_is_logged_at_once_and_again_at_its_end() {
    let mut server = Server::start("default", &[]);
    server.get("/open", Some("\r\n1\n"));
    let line = server.line_with("path=/open");
    assert!(line.contains("end=\"open\""), "{line}");
    let line = server.line_with("path=/open");
    assert!(
        line.contains("end=\"left\"") && line.contains("items=1"),
        "{line}"
    );
    // A response that is complete at once has one line.
    server.get("/one", None);
    server.get("/nothing", None);
    server.line_with("path=/nothing");
    assert_eq!(server.end().matches("path=/one").count(), 1);
}

#[test]
fn the_environment_sets_the_filter() {
    let filter = "info,headwater::access=off";
    let mut server = Server::start("default", &[("HEADWATER_LOG", filter)]);
    server.get("/one", None);
    server.get("/failing", None);
    server.line_with("the disk sank");
    assert!(!server.end().contains("path="));
    let server = Server::start("default", &[("RUST_LOG", "loud=very")]);
    assert!(
        server.seen.contains("RUST_LOG is not a filter"),
        "{}",
        server.seen
    );
}

#[test]
fn quiet_servers_and_servers_with_a_subscriber_print_nothing() {
    for case in ["quiet", "own subscriber"] {
        let server = Server::start(case, &[]);
        server.get("/one", None);
        server.get("/failing", None);
        assert_eq!(server.end(), "", "{case}");
    }
}
