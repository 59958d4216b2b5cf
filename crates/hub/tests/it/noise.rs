use std::{collections::HashSet, sync::Arc, time::Duration};

use headwater::OpenApi;
use headwater_hub::{Hub, Options};
use headwater_log::MemoryLog;
use http::Method;

use crate::Server;

fn any<T: Copy>(of: &[T]) -> T {
    of[fastrand::usize(..of.len())]
}

const PATHS: [&str; 12] = [
    "a",
    "b",
    "c/d",
    "a",
    "b",
    "..",
    "a//b",
    "%00",
    "%ff%fe",
    "__ds/x",
    "*",
    "%f0%9f%8c%8a",
];
const TEXTS: [&str; 24] = [
    "",
    "0",
    "1",
    "-1",
    "now",
    "true",
    "TRUE",
    "0000000000000000",
    "0000000000000001",
    "9999999999999999",
    "18446744073709551615",
    "9007199254740992",
    "1e9",
    "01",
    "2026-01-01T00:00:00Z",
    "2999-12-31T23:59:59.999+23:59",
    "a",
    "/streams/a",
    "/streams/b",
    "%7B%7D",
    "%7B%22type%22%3A%22string%22%7D",
    "headwater:end",
    "*",
    "\"x\", *",
];
const HEADERS: [&str; 18] = [
    "stream-ttl",
    "stream-expires-at",
    "stream-seq",
    "stream-closed",
    "stream-forked-from",
    "stream-fork-offset",
    "stream-fork-sub-offset",
    "stream-schema",
    "stream-max-age",
    "stream-max-bytes",
    "producer-id",
    "producer-epoch",
    "producer-seq",
    "last-event-id",
    "if-none-match",
    "origin",
    "host",
    "access-control-request-method",
];
const TYPES: [&str; 8] = [
    "application/json",
    "application/json; charset=utf-8",
    "APPLICATION/JSON",
    "application/x-ndjson",
    "text/plain",
    "text/plain;x",
    ";",
    "application/octet-stream",
];
const BODIES: [&str; 12] = [
    "",
    "[]",
    "1",
    "[1,2]",
    "{",
    "\"a\"\n\"b\"\n{",
    "\n\n",
    "[[[]]]",
    "null",
    "\u{0}\u{1}",
    "1 2",
    "x",
];
const ACCEPTS: [&str; 6] = [
    "*/*",
    "text/event-stream",
    "application/x-ndjson",
    "a/b",
    "text/event-stream;q=x",
    ",,;q=",
];

/// Random requests: the hub responds to each, with a response that its OpenAPI document describes.
#[tokio::test]
async fn every_response_to_random_requests_is_in_the_document() {
    let document = Hub::new(Arc::new(MemoryLog::default()))
        .app()
        .openapi(OpenApi::V3_2);
    let operations = &document["paths"]["/streams/{path}"];
    let server = Server::with(Options::new().long_poll(Duration::from_millis(1)));
    let seed = fastrand::u64(..);
    fastrand::seed(seed);
    let mut seen = HashSet::new();
    for _ in 0..6000 {
        let method = any(&[
            Method::GET,
            Method::HEAD,
            Method::PUT,
            Method::POST,
            Method::POST,
            Method::DELETE,
        ]
        .each_ref());
        let mut path = any(&PATHS).to_owned();
        if fastrand::bool() {
            let live = any(&["long-poll", "sse", "false", "x"]);
            path += &format!("?offset={}&live={live}&cursor={}", any(&TEXTS), any(&TEXTS));
            path = path.replace(['"', ' '], "");
        }
        let mut request = server.request(method.clone(), &path);
        for _ in 0..fastrand::usize(..4) {
            request = request.header(any(&HEADERS), any(&TEXTS));
        }
        if fastrand::bool() {
            request = request.header("accept", any(&ACCEPTS));
        }
        if fastrand::u8(..) < 200 {
            request = request.header("content-type", any(&TYPES));
        }
        let response = request.body(any(&BODIES)).send().await;
        let status = response.status();
        let replies = &operations[method.as_str().to_lowercase()]["responses"];
        let known = replies[status.as_str()].is_object();
        assert!(
            !status.is_server_error() && known,
            "{method} {path}: {response:?}, seed {seed}"
        );
        seen.insert((method.clone(), status.as_u16()));
    }
    for expected in [
        (Method::GET, 200),
        (Method::PUT, 201),
        (Method::POST, 204),
        (Method::POST, 409),
    ] {
        assert!(
            seen.contains(&expected),
            "{expected:?} was never answered: {seen:?}"
        );
    }
}
