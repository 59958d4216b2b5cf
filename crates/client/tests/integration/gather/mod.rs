//! Many calls at once.

mod caching;
mod leaving;
mod limits;
mod repeating;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use headwater_client::gather::{Call, GatherResult};

use crate::server::{Call as Served, Server};

const SOON: Duration = Duration::from_secs(5);

/// The number in the request's path, such as 7 in `/7`.
fn number(call: &Served) -> u64 {
    let path = call.request.line.split(' ').nth(1).unwrap();
    path[1..].split('?').next().unwrap().parse().unwrap()
}

/// Responds to each request with its number, after that many milliseconds.
fn echo() -> Server {
    Server::start(|call| {
        let n = number(call);
        thread::sleep(Duration::from_millis(n));
        call.respond("200 OK", "application/json", n.to_string());
    })
}

fn indexes(results: &[GatherResult]) -> Vec<u64> {
    results.iter().map(|result| result.index).collect()
}

/// Counts how many are inside at a time, and the maximum.
#[derive(Default)]
struct Crowd {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Crowd {
    fn enter(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

twins! {
    fn results_arrive_when_ready_each_with_its_call() {
        let server = echo();
        let calls = [300, 150, 0].map(|n| Call::get(server.url(&format!("/{n}"))).key(format!("k{n}")));
        let results = gathered(client::gather(calls).send());
        assert_eq!(indexes(&results), [2, 1, 0]);
        for result in &results {
            let answer = result.outcome.as_ref().unwrap();
            let n: u64 = answer.json().unwrap();
            assert_eq!(result.key.as_deref(), Some(&*format!("k{n}")));
            assert_eq!(result.url, server.url(&format!("/{n}")));
            assert_eq!((answer.text().unwrap(), &answer.bytes()[..]), (&*n.to_string(), n.to_string().as_bytes()));
            assert_eq!(answer.headers()["content-type"], "application/json");
            assert_eq!((answer.status().as_u16(), result.attempts, answer.is_cached()), (200, 1, false));
            let timing = result.timing;
            let took = Duration::from_millis(n);
            assert!(timing.head.unwrap() >= took && timing.total >= timing.head.unwrap());
            assert!(timing.total < took + SOON && timing.queued < SOON);
        }
    }

    fn ordered_results_have_the_order_of_the_calls() {
        let server = echo();
        let calls = [200, 0, 100, 50].map(|n| server.url(&format!("/{n}")));
        let results = gathered(client::gather(calls).ordered().send());
        assert_eq!(indexes(&results), [0, 1, 2, 3]);
        // With a concurrency of 1 the results are in order too, and none waits for a later call.
        let calls = [20, 0, 10].map(|n| server.url(&format!("/{n}")));
        let results = gathered(client::gather(calls).ordered().concurrency(1).look_ahead(1).send());
        assert_eq!(indexes(&results), [0, 1, 2]);
    }

    fn method_headers_and_body_are_sent() {
        let server = Server::answering("text/plain", "ok");
        let with_defaults = client::Client::builder().header("x-a", "client").bearer("t").build().unwrap();
        let json = r#"{"url":"URL","headers":{"x-a":["1","2"]},"body":{"a":[1]}}"#;
        let calls = [
            Call::new(headwater_client::Method::PUT, server.url("/put")).body("plain"),
            json.replace("URL", &server.url("/json")).parse().unwrap(),
            Call::get(server.url("/get?a=b#c")),
        ];
        let results = gathered(client::gather(calls).client(&with_defaults).concurrency(1).send());
        assert!(results.iter().all(|result| result.outcome.is_ok()), "{results:?}");
        let seen = server.requests();
        assert_eq!((&*seen[0].line, &*seen[0].body), ("PUT /put HTTP/1.1", "plain"));
        assert_eq!(seen[0].header("x-a").unwrap(), "client");
        assert_eq!((&*seen[1].line, &*seen[1].body), ("POST /json HTTP/1.1", "{\"a\":[1]}"));
        assert_eq!(seen[1].header("x-a").unwrap(), "1, 2");
        assert_eq!(seen[1].header("content-type").unwrap(), "application/json");
        assert_eq!(seen[1].header("authorization").unwrap(), "Bearer t");
        assert_eq!((&*seen[2].line, &*seen[2].body), ("GET /get?a=b HTTP/1.1", ""));
    }

    fn one_failed_call_is_one_failed_result() {
        let server = Server::start(|call| match number(call) {
            1 => call.respond("404 Not Found", "application/problem+json", "{\"title\":\"None\",\"a\":1}"),
            2 => {
                call.start("text/plain");
                call.chunk("half");
            }
            3 => call.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"),
            4 => call.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nlonger than it says"),
            5 => call.respond_with("302 Found", "location: /5"),
            6 => call.respond("204 No Content", "text/plain", ""),
            _ => call.respond("200 OK", "text/plain", "ok"),
        });
        let url = |n: usize| Ok(Call::get(server.url(&format!("/{n}"))));
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let calls = [
            url(0),
            url(1),
            url(2),
            url(3),
            url(4),
            url(5),
            url(6),
            Ok(Call::get("no url?token=secret")),
            Ok(Call::get(format!("http://{closed}/"))),
            Ok(Call::get("http://a.example/").header("x", "secret\n")),
            Err(std::io::Error::other("line 11 is torn")),
            url(0),
        ];
        let results = gathered(client::gather(calls).retries(0).ordered().send());
        let good = |n: usize| results[n].outcome.as_ref().unwrap();
        let bad = |n: usize| results[n].outcome.as_ref().unwrap_err();
        assert_eq!(results.len(), 12);
        assert_eq!(good(0).text().unwrap(), "ok");
        assert_eq!(good(11).text().unwrap(), "ok");
        assert_eq!(bad(1).status().unwrap(), 404);
        let answer = bad(1).answer().unwrap();
        assert_eq!(answer.bytes(), "{\"title\":\"None\",\"a\":1}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        assert_eq!(bad(1).problem().unwrap().title(), Some("None"));
        assert!(bad(2).is_truncated() && bad(3).is_truncated(), "{:?}", bad(3));
        assert_eq!(good(4).text().unwrap(), "longe");
        assert!(bad(5).is_redirect());
        assert_eq!((good(6).status().as_u16(), good(6).bytes().len()), (204, 0));
        assert!(bad(7).is_request() && bad(9).is_request());
        assert!(bad(8).is_connect());
        assert!(bad(10).is_source() && bad(10).to_string().ends_with("line 11 is torn"));
        assert!(!format!("{:?}{:?}", bad(7), bad(9)).contains("secret"));
        assert_eq!((results[7].attempts, results[8].attempts, results[10].attempts), (0, 1, 0));
    }

    fn an_unrequested_compressed_body_is_an_error_of_its_call() {
        let server = Server::start(|call| {
            let (status, headers, body): (_, _, &[u8]) = match number(call) {
                0 => ("200 OK", "content-encoding: gzip", b"\x1f\x8b\x08\0"),
                1 => ("200 OK", "content-encoding: identity\r\ncontent-encoding: br", b"{}"),
                2 => ("404 Not Found", "content-encoding: gzip", b"\x1f\x8b\x08\0"),
                3 => ("200 OK", "content-encoding: Identity", b"{}"),
                4 => ("200 OK", "content-encoding: gzip", b""),
                _ => ("200 OK", "content-encoding: gzip", b"\x1f\x8b"),
            };
            let length = if number(call) == 5 { 100 } else { body.len() };
            call.write(format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}\r\ncontent-length: {length}\r\n\r\n"
            ));
            call.write(body);
        });
        let get = |n: u64| Call::get(server.url(&format!("/{n}")));
        let mut calls: Vec<_> = (0..6).map(get).collect();
        calls.push(get(0).header("accept-encoding", "gzip"));
        let results = gathered(client::gather(calls).retries(0).ordered().send());
        let bad = |n: usize| results[n].outcome.as_ref().unwrap_err();
        assert!(bad(0).is_content_type() && bad(1).is_content_type() && bad(5).is_content_type());
        let detail = "the body is compressed (gzip), and the client doesn't decode compressed bodies";
        let shown = serde_json::to_value(&results[0]).unwrap();
        assert_eq!(shown["error"]["type"], "content");
        assert_eq!(shown["error"]["detail"], format!("GET {}: {detail}", server.url("/0")));
        assert_eq!((shown.get("body"), shown.get("status")), (None, None));
        assert!(bad(1).to_string().contains("(br)"));
        assert_eq!(bad(2).status().unwrap(), 404);
        assert!(bad(2).to_string().ends_with("404 Not Found"), "{}", bad(2));
        assert_eq!(results[3].outcome.as_ref().unwrap().text().unwrap(), "{}");
        assert!(results[4].outcome.as_ref().unwrap().bytes().is_empty());
        let asked = results[6].outcome.as_ref().unwrap();
        assert_eq!(asked.bytes(), &b"\x1f\x8b\x08\0"[..]);
        assert!(asked.text().unwrap_err().is_content_type());
    }

    fn a_result_serialises_as_an_object() {
        let server = Server::start(|call| match number(call) {
            0 => call.respond("200 OK", "application/json", "{\"a\":\n1}"),
            _ => call.respond("503 Service Unavailable", "text/plain", "later"),
        });
        let url = server.url("/0").replace("http://", "http://me:secret@");
        let calls = [Call::get(url).key("k"), Call::post(server.url("/1"))];
        let results = gathered(client::gather(calls).ordered().send());
        let shown = |n: usize| serde_json::to_value(&results[n]).unwrap();
        let mut first = shown(0);
        assert!(first["ms"].take().is_u64());
        assert_eq!(first, serde_json::json!({
            "index": 0, "key": "k", "url": server.url("/0"), "status": 200, "ms": null, "attempts": 1,
            "body": {"a": 1},
        }));
        let mut second = shown(1);
        assert!(second["ms"].take().is_u64());
        let detail = format!("POST {}: the server answered 503 Service Unavailable: later", server.url("/1"));
        assert_eq!(second, serde_json::json!({
            "index": 1, "url": server.url("/1"), "status": 503, "ms": null, "attempts": 1, "body": "later",
            "error": {"type": "status", "title": "The status is not a success", "detail": detail},
        }));
        let with_headers = serde_json::to_value(results[0].with_headers()).unwrap();
        assert_eq!(with_headers["headers"]["content-type"], "application/json");
    }

    fn a_json_body_that_isnt_json_is_an_error_with_the_body_as_text() {
        let bodies = ["{\"a\":", "\"{\\\"a\\\":\"", "", "nothing", "[]"];
        let server = Server::start(move |call| {
            call.respond("200 OK", "application/json", bodies[usize::try_from(number(call)).unwrap()]);
        });
        let calls = (0..bodies.len()).map(|n| Call::get(server.url(&format!("/{n}"))));
        let results = gathered(client::gather(calls.collect::<Vec<_>>()).ordered().send());
        let wrong = ["json", "", "", "json", ""];
        for ((result, kind), body) in results.iter().zip(wrong).zip(bodies) {
            let shown = serde_json::to_value(result).unwrap();
            assert_eq!(shown["error"]["type"].as_str().unwrap_or_default(), kind, "{shown}");
            assert_eq!(shown["status"], 200);
            assert_eq!(result.answer().unwrap().text().unwrap(), body);
        }
        let shown = serde_json::to_value(&results[0]).unwrap();
        assert_eq!(shown["body"], "{\"a\":");
        let detail = shown["error"]["detail"].as_str().unwrap();
        assert!(detail.contains("the body is not JSON: "), "{detail}");
    }

    fn equal_calls_share_the_result_of_the_first_in_flight() {
        let server = Server::start(|call| {
            thread::sleep(Duration::from_millis(200));
            let status = if number(call) == 2 { "404 Not Found" } else { "200 OK" };
            call.respond(status, "text/plain", "ok");
        });
        let url = server.url("/1");
        let get = || Call::get(&*url);
        let calls = [
            get(),
            Call::get(format!("{url}#other")).key("k"),
            get().header("x", "1"),
            get().header("x", "2"),
            Call::get(server.url("/1?q")),
            Call::post(&*url).body("a"),
            Call::post(&*url).body("a"),
            Call::get(server.url("/2")),
            Call::get(server.url("/2")),
        ];
        let results = gathered(client::gather(calls.clone()).ordered().send());
        assert_eq!(server.requests().len(), 7);
        let attempts: Vec<_> = results.iter().map(|result| result.attempts).collect();
        assert_eq!(attempts, [1, 0, 1, 1, 1, 1, 1, 1, 0]);
        assert_eq!(results[1].outcome.as_ref().unwrap().text().unwrap(), "ok");
        assert_eq!((results[1].key.as_deref(), &*results[1].url), (Some("k"), &*format!("{url}#other")));
        assert_eq!(results[8].outcome.as_ref().unwrap_err().status().unwrap(), 404);
        gathered(client::gather(calls).share_equal(false).send());
        assert_eq!(server.requests().len(), 7 + 9);
    }

    fn an_invalid_option_fails_before_any_call() {
        let url = "http://a.example/";
        for bad in [
            client::gather([url]).concurrency(0),
            client::gather([url]).per_host(0),
            client::gather([url]).look_ahead(0),
            client::gather([url]).rate_per_host(0.0),
            client::gather([url]).rate_per_host(-1.0),
            client::gather([url]).rate_per_host(f64::NAN),
            client::gather([url]).rate_per_host(1e-300),
        ] {
            assert!(bad.send().unwrap_err().is_request());
        }
        assert!(gathered(client::gather([] as [&str; 0]).send()).is_empty());
    }

    fn calls_continue_while_the_consumer_is_busy() {
        let server = echo();
        let calls = [0, 100, 100, 100].map(|n| server.url(&format!("/{n}")));
        let mut results = client::gather(calls).share_equal(false).timeout(Duration::from_millis(400)).send().unwrap();
        next_result(&mut results).unwrap().outcome.unwrap();
        pause(Duration::from_millis(600));
        while let Some(result) = next_result(&mut results) {
            assert!(result.outcome.is_ok(), "{result:?}");
        }
    }
}
