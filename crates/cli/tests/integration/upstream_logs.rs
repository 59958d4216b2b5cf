//! The log of a hub about the upstreams that it calls.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::{
    running::{signal, wait},
    serving::Hub,
};

/// A text that must not be logged.
const SECRET: &str = "hunter2";

/// An upstream whose responses make its caller log errors, with the secret in the responses.
/// Returns its URL.
fn awkward_upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let here = url.clone();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let here = here.clone();
            thread::spawn(move || awkward_answer(socket, &here));
        }
    });
    url
}

fn awkward_answer(mut socket: TcpStream, here: &str) {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match socket.read(&mut piece) {
            Ok(read @ 1..) => head.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split([' ', '?']).nth(1).unwrap_or_default();
    let answer = match path {
        "/redirect" => {
            format!(
                "HTTP/1.1 302 Found\r\nLocation: {here}/broken?key={SECRET}\r\nContent-Length: 0\r\n\r\n"
            )
        }
        "/loop" => {
            format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {here}/loop?key={SECRET}\r\nContent-Length: 0\r\n\r\n"
            )
        }
        "/broken" => format!("HTTP/1.1 200 OK\r\nno header {SECRET}\r\n\r\n"),
        "/nonsense" => format!("{SECRET} is no answer\r\n\r\n"),
        "/twice" => format!(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx{SECRET} HTTP/1.1 too much\r\n\r\n"
        ),
        "/short" => format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{SECRET}"),
        "/chunks" => format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7;{SECRET}\r\n{SECRET}\r\n{SECRET}\r\n"
        ),
        "/events" => {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {{\"{SECRET}\n\ndata: {SECRET}"
            )
        }
        "/lines" => {
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n{{\"{SECRET}\n")
        }
        "/failed" => format!(
            "HTTP/1.1 500 {SECRET}\r\nSet-Cookie: {SECRET}\r\nContent-Length: {}\r\n\r\n{SECRET}",
            SECRET.len()
        ),
        _ => return,
    };
    let _ = socket.write_all(answer.as_bytes());
}

/// An HTTP/2 request with an invalid path, which h2 logs together with the path.
fn bad_path_over_http2() -> Vec<u8> {
    let path = format!("/?key={SECRET} x");
    let mut block = vec![0x82, 0x86];
    for (index, value) in [(1, "localhost"), (4, &*path)] {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    bytes
}

/// Sends bytes to a hub and waits for the end of the response, up to a time limit.
fn send_bytes(address: &str, bytes: &[u8]) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    socket.write_all(bytes).unwrap();
    let mut piece = [0; 4096];
    while let Ok(1..) = socket.read(&mut piece) {}
}

#[test]
fn no_log_contains_upstream_requests_or_responses_even_from_libraries() {
    let upstream = awkward_upstream();
    let paths = [
        "redirect", "loop", "broken", "nonsense", "twice", "short", "chunks", "events", "lines",
        "failed", "closed",
    ];
    for level in [&[][..], &["-v"], &["-vv"], &["--log", "trace"]] {
        let allowed = ["--data", "memory", "--allow-upstream", "http://127.0.0.1:*"];
        let mut hub = Hub::serve(&[&allowed, level].concat());
        let mut stderr = hub.process.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        let address = hub.address().to_owned();
        let request = |target: &str, headers: &str, body: &str| {
            let length = body.len();
            format!(
                "POST {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
            )
        };
        let calls = paths.map(|path| {
            format!(
                "{{\"url\":\"{upstream}/{path}?key={SECRET}\",\"headers\":{{\"authorization\":\"Bearer {SECRET}\",\"x-key\":\"{SECRET}\"}}}}\n"
            )
        });
        let ndjson = "Content-Type: application/x-ndjson\r\n";
        thread::scope(|scope| {
            let send = |text: String| {
                let address = &address;
                scope.spawn(move || send_bytes(address, text.as_bytes()));
            };
            send(request("/gather", ndjson, &calls.concat()));
            send(request("/gather?stream=gathered", ndjson, &calls.concat()));
            send(request(
                "/gather",
                ndjson,
                &format!("{{\"url\":\"{upstream}/?key={SECRET}\",\"method\":\"CONNECT\"}}\n"),
            ));
            send(request(
                "/gather",
                ndjson,
                &format!("{{\"url\":\"http://u:{SECRET}@127.0.0.1:1/?key={SECRET}\"}}\n"),
            ));
            for path in paths {
                let headers = format!(
                    "Upstream-URL: {upstream}/{path}?key={SECRET}\r\nUpstream-Method: GET\r\nUpstream-Authorization: Bearer {SECRET}\r\n\
                     Upstream-Cookie: {SECRET}\r\nX-Key: {SECRET}\r\n"
                );
                send(request(&format!("/relay?stream={path}"), &headers, ""));
                send(request("/relay", &headers, ""));
            }
            let host = format!(
                "HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {SECRET}\r\n"
            );
            send(format!("CONNECT a?key={SECRET}:80 {host}\r\n"));
            send(format!("CONNECT {address} {host}\r\n"));
            send(format!("GET http://u:{SECRET}@a/?key={SECRET} {host}\r\n"));
            send(format!(
                "GET /streams/a?key={SECRET} {host}no header {SECRET}\r\n\r\n"
            ));
            send(format!("GET /streams/a?offset={SECRET} {host}\r\n"));
            scope.spawn(|| send_bytes(&address, &bad_path_over_http2()));
        });
        signal(&hub.process, "-TERM");
        wait(&mut hub.process);
        let log = log.join().unwrap();
        assert!(!log.contains(SECRET), "{level:?}: {log}");
        if !level.is_empty() {
            assert!(
                log.contains("path=/gather"),
                "it logged too little to tell: {log}"
            );
        }
    }
}
