//! A page of another site can't do anything to a hub on a loopback address. Over sockets, in both
//! versions of HTTP.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use headwater::Hosts;
use headwater_hub::{Cors, Hub, Options};
use headwater_log::{MemoryLog, MemoryOptions};
use http::{HeaderMap, Method, Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::timeout,
};

use crate::is_built_in;

const PATIENCE: Duration = Duration::from_secs(20);
const EVIL: &str = "http://evil.example";

#[derive(Clone, Copy, Debug)]
enum Version {
    One,
    Two,
}

const VERSIONS: [Version; 2] = [Version::One, Version::Two];

fn hub(options: Options) -> Hub {
    Hub::with_options(Arc::new(MemoryLog::new(MemoryOptions::default())), options)
}

/// Starts a hub with one stream of one message, `/streams/a`.
async fn start(options: Options, hosts: Hosts) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = headwater::serve(hub(options.index()).app(), listener).hosts(hosts);
    tokio::spawn(server.quiet().into_future());
    let put = Asked::new(Method::PUT, "/streams/a").body("first");
    assert_eq!(put.send(address, Version::One).await.status(), 201);
    address
}

#[derive(Clone)]
struct Asked {
    method: Method,
    path: String,
    host: String,
    headers: Vec<(&'static str, String)>,
    body: &'static str,
}

impl Asked {
    fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            path: path.to_owned(),
            host: "localhost".to_owned(),
            headers: vec![("content-type", "text/plain".to_owned())],
            body: "",
        }
    }

    fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }

    async fn send(&self, address: SocketAddr, version: Version) -> Response<String> {
        let socket = TcpStream::connect(address).await.unwrap();
        let answer = async {
            match version {
                Version::One => self.over_one(socket).await,
                Version::Two => self.over_two(socket).await,
            }
        };
        timeout(PATIENCE, answer).await.expect("it hung")
    }

    async fn over_one(
        &self,
        mut socket: impl AsyncReadExt + AsyncWriteExt + Unpin,
    ) -> Response<String> {
        let Self {
            method, path, host, ..
        } = self;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let body = self.body;
        let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("there is a head");
        let mut lines = head.lines();
        let status = lines.next().unwrap()[9..12].parse::<u16>().unwrap();
        let mut response = Response::builder().status(status);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            response = response.header(name, value);
        }
        response.body(body.to_owned()).unwrap()
    }

    async fn over_two(&self, socket: TcpStream) -> Response<String> {
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(format!("http://{}{}", self.host, self.path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let (response, mut body) = client
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        let _ = body.send_data(Bytes::from_static(self.body.as_bytes()), true);
        let (parts, mut body) = response.await.unwrap().into_parts();
        let mut text = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            let _ = body.flow_control().release_capacity(piece.len());
            text.extend(piece);
        }
        connection.abort();
        Response::from_parts(parts, String::from_utf8(text).unwrap())
    }
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// Checks that the stream is unchanged.
async fn nothing_has_changed(address: SocketAddr) {
    let read = Asked::new(Method::GET, "/streams/a")
        .send(address, Version::One)
        .await;
    assert_eq!((read.status().as_u16(), &**read.body()), (200, "first"));
    let list = Asked::new(Method::GET, "/streams")
        .send(address, Version::One)
        .await;
    assert_eq!(
        list.body().matches("\"path\"").count().max(1),
        1,
        "{}",
        list.body()
    );
    assert!(!list.body().contains("evil"), "{}", list.body());
}

/// Returns all kinds of requests that change something.
fn changes() -> Vec<Asked> {
    let all = [
        Asked::new(Method::PUT, "/streams/evil").body("x"),
        Asked::new(Method::POST, "/streams/a").body("evil"),
        Asked::new(Method::POST, "/streams/evil")
            .header("stream-create", "true")
            .body("x"),
        Asked::new(Method::POST, "/streams/a").header("stream-closed", "true"),
        Asked::new(Method::DELETE, "/streams/a"),
        Asked::new(Method::POST, "/gather").body("{\"url\":\"http://127.0.0.1:9/\"}"),
        Asked::new(Method::POST, "/relay").header("upstream-url", "http://127.0.0.1:9/"),
        Asked::new(Method::PATCH, "/relay/x"),
        Asked::new(Method::DELETE, "/relay/x"),
        Asked::new(Method::PUT, "/streams/__ds/subscriptions/evil").body("{}"),
        Asked::new(Method::DELETE, "/streams/__ds/subscriptions/evil"),
        Asked::new(Method::POST, "/streams/__ds/subscriptions/evil/claim"),
    ];
    all.into_iter()
        .filter(|asked| is_built_in(&asked.path))
        .collect()
}

#[tokio::test]
async fn a_rebound_host_name_is_refused_by_every_endpoint() {
    let address = start(Options::new().cors(Cors::Any), Hosts::default()).await;
    let reads = [
        "/",
        "/docs",
        "/docs/play",
        "/docs/assets/icon.svg",
        "/openapi.json",
        "/streams",
        "/streams/a",
        "/events?stream=**",
        "/relay/x",
        "/healthz",
        "/readyz",
        "/streams/__ds/jwks.json",
        "/nowhere",
    ];
    for version in VERSIONS {
        let reads = reads.map(|path| Asked::new(Method::GET, path));
        for asked in reads.into_iter().chain(changes()) {
            let (method, path) = (asked.method.clone(), asked.path.clone());
            let host = format!("evil.example:{}", address.port());
            let asked = asked
                .host(&host)
                .header("origin", &format!("http://{host}"));
            let answer = asked.send(address, version).await;
            assert_eq!(answer.status(), 421, "{version:?} {method} {path}");
            assert_eq!(value(answer.headers(), "access-control-allow-origin"), "");
            assert!(
                answer.body().contains("--allow-host evil.example`"),
                "{}",
                answer.body()
            );
        }
        nothing_has_changed(address).await;
    }
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing_and_reads_nothing() {
    let only = Cors::Only(vec!["https://a.example".to_owned()]);
    for cors in [Cors::default(), only, Cors::Off] {
        let address = start(Options::new().cors(cors), Hosts::default()).await;
        for version in VERSIONS {
            for (name, origin) in [
                ("origin", EVIL),
                ("origin", "null"),
                ("origin", "http://localhost.evil.com"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-site", "same-site"),
            ] {
                for asked in changes() {
                    let (method, path) = (asked.method.clone(), asked.path.clone());
                    let answer = asked.header(name, origin).send(address, version).await;
                    assert_eq!(answer.status(), 403, "{version:?} {origin} {method} {path}");
                    assert_eq!(value(answer.headers(), "access-control-allow-origin"), "");
                    assert!(answer.body().contains("--cors"), "{}", answer.body());
                }
                let read = Asked::new(Method::GET, "/streams/a").header(name, origin);
                let read = read.send(address, version).await;
                assert_eq!(value(read.headers(), "access-control-allow-origin"), "");
                let policy = value(read.headers(), "cross-origin-resource-policy");
                assert!(["same-origin", "same-site"].contains(&policy), "{policy}");
            }
        }
        nothing_has_changed(address).await;
    }
}

#[tokio::test]
async fn a_foreign_page_is_refused_before_its_body_is_read() {
    let address = start(Options::new(), Hosts::default()).await;
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /streams/a HTTP/1.1\r\nhost: localhost\r\norigin: {EVIL}\r\ncontent-type: text/plain\r\ncontent-length: 1000000\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    let read = timeout(Duration::from_secs(5), socket.read_exact(&mut start)).await;
    read.expect("it waits for the body").unwrap();
    assert_eq!(&start, b"HTTP/1.1 403");
}

#[tokio::test]
async fn pages_of_this_machine_and_programs_may_use_the_hub() {
    let address = start(Options::new(), Hosts::default()).await;
    let own = format!("http://localhost:{}", address.port());
    let host = format!("localhost:{}", address.port());
    for version in VERSIONS {
        for (headers, seen) in [
            (&[][..], ""),
            (
                &[
                    ("origin", "http://localhost:5173"),
                    ("sec-fetch-site", "same-site"),
                ],
                "http://localhost:5173",
            ),
            (
                &[
                    ("origin", "https://127.0.0.1:1"),
                    ("sec-fetch-site", "cross-site"),
                ],
                "https://127.0.0.1:1",
            ),
            (&[("origin", "http://[::1]:5173")], "http://[::1]:5173"),
            (
                &[("origin", own.as_str()), ("sec-fetch-site", "same-origin")],
                own.as_str(),
            ),
            (&[("sec-fetch-site", "same-origin")], ""),
            (&[("sec-fetch-site", "none")], ""),
        ] {
            let ask = |method, path| {
                let asked = Asked::new(method, path).host(&host);
                headers
                    .iter()
                    .fold(asked, |asked, (name, value)| asked.header(name, value))
            };
            let put = ask(Method::PUT, "/streams/b")
                .body("x")
                .send(address, version)
                .await;
            assert_eq!(put.status(), 201, "{version:?} {headers:?}");
            assert_eq!(value(put.headers(), "access-control-allow-origin"), seen);
            assert!(
                put.headers()
                    .get_all("vary")
                    .iter()
                    .any(|vary| vary == "origin")
            );
            let post = ask(Method::POST, "/streams/b")
                .body("y")
                .send(address, version)
                .await;
            assert_eq!(post.status(), 204);
            let read = ask(Method::GET, "/streams/b").send(address, version).await;
            assert_eq!(read.body(), "xy");
            let gone = ask(Method::DELETE, "/streams/b")
                .send(address, version)
                .await;
            assert_eq!(gone.status(), 204);
        }
    }
}

#[tokio::test]
async fn a_preflight_only_answers_allowed_pages() {
    let address = start(Options::new(), Hosts::default()).await;
    for version in VERSIONS {
        let preflight = async |origin: &str| {
            let asked = Asked::new(Method::OPTIONS, "/streams/a").header("origin", origin);
            let asked = asked.header("access-control-request-method", "DELETE");
            asked.send(address, version).await
        };
        let good = preflight("http://localhost:1").await;
        assert_eq!(good.status(), 204);
        assert!(value(good.headers(), "access-control-allow-methods").contains("DELETE"));
        let bad = preflight(EVIL).await;
        assert_eq!(bad.status(), 403);
        let told = bad
            .headers()
            .keys()
            .find(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(told, None);
    }
}

#[tokio::test]
async fn listed_hosts_and_any_origin_are_allowed_by_options() {
    let hosts = Hosts::allow(["hub.example"]).unwrap();
    let address = start(Options::new().cors(Cors::Any), hosts).await;
    for version in VERSIONS {
        let post = Asked::new(Method::POST, "/streams/a")
            .host("hub.example:8443")
            .body("x");
        for (name, value) in [
            ("origin", EVIL),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let answer = post
                .clone()
                .header(name, value)
                .send(address, version)
                .await;
            assert_eq!(answer.status(), 204, "{version:?} {value}");
        }
        let other = Asked::new(Method::GET, "/streams/a").host("other.example");
        assert_eq!(other.send(address, version).await.status(), 421);
    }
}

#[tokio::test]
async fn a_hub_at_a_unix_socket_answers_for_any_host() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub");
    let listener = UnixListener::bind(&path).unwrap();
    let server = headwater::serve(hub(Options::new()).app(), listener).quiet();
    tokio::spawn(server.into_future());
    let socket = UnixStream::connect(&path).await.unwrap();
    let asked = Asked::new(Method::GET, "/streams").host("hub.example");
    assert_eq!(asked.over_one(socket).await.status(), 200);
}
