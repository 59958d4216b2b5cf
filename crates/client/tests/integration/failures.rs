use std::{net::TcpListener, thread, time::Duration};

use headwater_client::{Method, StatusCode};

use crate::{
    server::Server,
    twins::{cut_short, good},
};

const SHORT: Duration = Duration::from_millis(300);

twins! {
    fn a_truncated_body_is_an_error_after_its_complete_items() {
        for (content_type, start) in [
            ("application/x-ndjson", "1\n2\n"),
            ("application/x-ndjson", "1\n2\n{\"a\":"),
            ("application/json", "[1,2,"),
            ("application/json-seq", "\x1e1\n\x1e2\n\x1e"),
            ("text/event-stream", "data: 1\n\ndata: 2\n\ndata: 3\n"),
        ] {
            let server = Server::start(move |call| {
                call.start(content_type);
                call.chunk(start);
            });
            let request = client::get(server.url("/")).reconnect(false);
            let (items, error) = cut_short(all(wait(request.stream::<u32>())));
            assert_eq!(items, [1, 2], "{content_type}");
            assert!(error.is_truncated(), "{content_type}: {error}");
        }
    }

    fn a_body_that_is_shorter_than_its_length_is_truncated() {
        let server = Server::start(|call| {
            call.write("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\n1\n2\n");
        });
        let error = wait(client::get(server.url("/")).text()).unwrap_err();
        assert!(error.is_truncated(), "{error}");
        let (lines, error) = cut_short(all(wait(client::get(server.url("/")).lines())));
        assert_eq!(lines, ["1", "2"]);
        assert!(error.is_truncated(), "{error}");
        let (chunks, error) = cut_short(all(wait(client::get(server.url("/")).chunks(3))));
        assert_eq!(chunks, ["1\n2"]);
        assert!(error.is_truncated(), "{error}");
    }

    fn a_clean_end_in_the_middle_of_an_item_is_a_truncation() {
        for (content_type, body) in
            [("application/x-ndjson", "1\n{\"a\":"), ("application/json", "[1,"), ("application/json", "{")]
        {
            let server = Server::answering(content_type, body);
            let items = all(wait(client::get(server.url("/")).stream::<serde_json::Value>()));
            let (_, error) = cut_short(items);
            assert!(error.is_truncated(), "{content_type}: {error}");
        }
    }

    fn an_unreachable_server_is_a_connect_error_at_once() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://me:secret@{free}/x?token=secret");
        let error = wait(client::get(url).stream::<u32>()).unwrap_err();
        assert!(error.is_connect() && !error.is_timeout());
        let text = error.to_string();
        assert!(text.starts_with(&format!("GET http://{free}/x: no response: ")), "{text}");
        assert!(text.contains("refused"), "{text}");
        let debug = format!("{error:?}");
        assert!(debug.starts_with(&format!("GET http://{free}/x: no response: ")), "{debug}");
        let (_, cause) = text.split_once("no response: ").unwrap();
        assert!(debug.ends_with(cause) && debug.len() > text.len(), "{debug}");
        let mut source: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = source {
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
            source = error.source();
        }
    }

    fn a_connection_that_breaks_before_the_response_is_a_connect_error() {
        let server = Server::start(|call| call.write("HTTP/1.1 200"));
        let error = wait(client::get(server.url("/")).stream::<u32>()).unwrap_err();
        assert!(error.is_connect(), "{error}");
    }

    fn an_unsuccessful_status_is_an_error_with_the_problem() {
        let server = Server::start(|call| {
            let body = r#"{"title":"No such stream","detail":"/nope","hint":"/ticks"}"#;
            call.respond("404 Not Found", "application/problem+json", body);
        });
        let checks = |error: headwater_client::Error| {
            assert!(error.is_status() && error.is_problem());
            assert_eq!(error.status(), Some(StatusCode::NOT_FOUND));
            assert_eq!(error.problem().unwrap().get("hint").unwrap(), "/ticks");
            assert_eq!(
                error.to_string(),
                format!(
                    "GET {}: the server answered 404 Not Found: No such stream: /nope",
                    server.url("/nope")
                )
            );
        };
        checks(wait(client::get(server.url("/nope")).stream::<u32>()).unwrap_err());
        checks(wait(client::get(server.url("/nope")).text()).unwrap_err());
        checks(wait(client::get(server.url("/nope")).lines()).unwrap_err());
    }

    fn a_500_on_the_first_connection_is_an_error_unless_retries_are_enabled() {
        let server = Server::start(|call| match call.n {
            0 | 2 => call.respond_with("500 Internal Server Error", "content-type: text/plain"),
            _ => call.respond("200 OK", "application/x-ndjson", "1\n"),
        });
        let error = wait(client::get(server.url("/")).stream::<u32>()).unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
        assert_eq!(good(all(wait(client::get(server.url("/")).stream::<u32>()))), [1]);
        let request = client::get(server.url("/")).retry_first_connect(true).backoff(SHORT / 10, SHORT / 10);
        assert_eq!(good(all(wait(request.stream::<u32>()))), [1]);
        assert_eq!(server.requests().len(), 4);
    }

    fn a_503_on_the_first_connection_is_waited_out() {
        let server = Server::start(|call| match call.n {
            0 | 1 => call.respond("503 Service Unavailable", "text/plain", ""),
            _ => call.respond("200 OK", "application/x-ndjson", "1\n"),
        });
        let request = || client::get(server.url("/")).backoff(SHORT / 10, SHORT / 10);
        let error = wait(request().reconnect(false).stream::<u32>()).unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(good(all(wait(request().stream::<u32>()))), [1]);
        assert_eq!(server.requests().len(), 3);
    }

    fn a_request_is_repeated_when_the_server_asks_to_wait() {
        for status in ["429 Too Many Requests", "503 Service Unavailable"] {
            let server = Server::start(move |call| match call.n % 2 {
                0 => call.respond_with(status, "retry-after: 0"),
                _ => call.respond("200 OK", "application/json", "[1]"),
            });
            let get = || client::get(server.url("/")).backoff(SHORT / 10, SHORT / 10);
            assert_eq!(good(all(wait(get().stream::<u32>()))), [1]);
            assert_eq!(wait(get().value::<Vec<u32>>()).unwrap(), [1]);
            assert_eq!(wait(get().text()).unwrap(), "[1]");
            let stream = client::stream(server.url("/s"));
            wait(stream.info()).unwrap();
            wait(stream.delete()).unwrap();
            wait(stream.close()).unwrap();
            wait(stream.create().send()).unwrap();
            assert_eq!(server.requests().len(), 14);
            assert!(wait(get().max_attempts(1).text()).unwrap_err().is_status());
        }
        // Without the wait, and for a request that isn't safe to repeat, the error is reported at once.
        let server = Server::start(|call| match call.n {
            0 => call.respond("429 Too Many Requests", "text/plain", "no"),
            _ => call.respond_with("429 Too Many Requests", "retry-after: 0"),
        });
        assert!(wait(client::get(server.url("/")).text()).unwrap_err().is_status());
        assert!(wait(client::post(server.url("/")).text()).unwrap_err().is_status());
        assert_eq!(server.requests().len(), 2);
        let error = wait(client::get(server.url("/")).max_attempts(2).backoff(SHORT / 10, SHORT / 10).text()).unwrap_err();
        assert!(error.to_string().contains("gave up after 2 attempts"), "{error}");
    }

    fn the_url_of_a_stream_has_no_dot_segments() {
        let server = Server::answering("application/json", "1");
        for path in ["/streams/..", "/streams/%2E%2e/healthz", "/streams/./a", "/streams/a\\..\\b"] {
            let stream = client::stream(server.url(path));
            for error in [wait(stream.delete()).unwrap_err(), wait(stream.info()).unwrap_err()] {
                assert!(error.is_request(), "{path}: {error}");
                assert!(error.to_string().contains("segments"), "{error}");
            }
        }
        assert!(server.requests().is_empty());
        wait(client::stream(server.url("/a..b/.c?x=/../y")).info()).unwrap();
    }

    fn a_page_is_not_a_stream() {
        let server = Server::answering("text/html", "<p>");
        let error = wait(client::get(server.url("/")).stream::<u32>()).unwrap_err();
        assert!(error.is_content_type(), "{error}");
    }

    fn a_204_is_an_empty_stream() {
        let server = Server::start(|call| call.write("HTTP/1.1 204 No Content\r\n\r\n"));
        assert_eq!(good(all(wait(client::get(server.url("/")).stream::<u32>()))), [0; 0]);
        assert_eq!(wait(client::get(server.url("/")).text()).unwrap(), "");
    }

    fn silence_is_a_timeout_if_the_stream_cannot_be_resumed() {
        let server = Server::start(|call| {
            call.start("application/x-ndjson");
            call.chunk("1\n");
            call.wait_for_close();
        });
        let request = client::get(server.url("/")).idle_timeout(SHORT);
        let (items, error) = cut_short(all(wait(request.stream::<u32>())));
        assert_eq!(items, [1]);
        assert!(error.is_timeout(), "{error}");
        let text = error.to_string();
        assert!(text.ends_with("no data arrived within 300ms while waiting for more of the body"), "{text}");
    }

    fn silence_before_the_response_is_a_timeout() {
        let server = Server::start(|call| assert!(call.wait_for_close()));
        let request = client::get(server.url("/")).idle_timeout(SHORT);
        let error = wait(request.stream::<u32>()).unwrap_err();
        assert!(error.is_timeout() && !error.is_connect(), "{error}");
    }

    fn a_refusal_that_comes_byte_by_byte_is_an_error_after_the_idle_timeout() {
        let server = Server::start(|call| {
            call.write("HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n");
            while call.chunk_arrives("x") {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let request = client::get(server.url("/")).idle_timeout(SHORT);
        let error = wait(request.stream::<u32>()).unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::BAD_REQUEST), "{error}");
        assert!(error.to_string().contains("xx"), "{error}");
    }

    fn bytes_without_an_item_keep_a_stream_from_timing_out() {
        let server = Server::start(|call| {
            call.start("text/event-stream");
            for _ in 0..12 {
                call.chunk(": still here\n\n");
                thread::sleep(Duration::from_millis(50));
            }
            call.chunk("data: 1\n\n");
            call.end();
        });
        let request = client::get(server.url("/")).reconnect(false);
        let request = request.idle_timeout(Duration::from_millis(400));
        assert_eq!(good(all(wait(request.stream::<u32>()))), [1]);
    }

    fn a_slow_reader_does_not_run_into_the_idle_timeout() {
        let server = Server::start(|call| {
            call.start("application/x-ndjson");
            for n in 0..4 {
                call.chunk(format!("{n}\n"));
                thread::sleep(Duration::from_millis(10));
            }
            call.end();
        });
        let request = client::get(server.url("/")).idle_timeout(Duration::from_millis(300));
        let mut items = wait(request.stream::<u32>()).unwrap();
        for n in 0..4 {
            assert_eq!(next(&mut items).unwrap().unwrap(), n);
            thread::sleep(Duration::from_millis(if n == 0 { 500 } else { 0 }));
        }
        assert!(next(&mut items).is_none());
    }

    fn a_reported_error_is_a_problem_and_ends_the_stream() {
        let body = "data: 1\n\nevent: headwater:error\ndata: {\"title\":\"Out of ticks\",\"status\":503}\n\n";
        let server = Server::start(move |call| {
            call.start("text/event-stream");
            call.chunk(body);
        });
        let (items, error) = cut_short(all(wait(client::get(server.url("/")).stream::<u32>())));
        assert_eq!(items, [1]);
        assert!(error.is_problem() && !error.is_status() && !error.is_truncated());
        assert_eq!(error.problem().unwrap().status(), Some(503));
        assert_eq!(server.requests().len(), 1, "no reconnect");
    }

    fn events_that_a_server_calls_error_or_end_are_items() {
        let body = "event: error\ndata: 1\n\nevent: headwater:end\ndata: 2\n\nevent: end\nid: headwater:end\ndata: 3\n\n\
                    event: headwater:end\nid: headwater:end\ndata\n\n";
        let server = Server::start(move |call| {
            call.start("text/event-stream");
            call.chunk(body);
        });
        let items = all(wait(client::get(server.url("/")).stream::<u32>()));
        let items: Result<Vec<_>, _> = items.into_iter().collect();
        assert_eq!(items.unwrap(), [1, 2, 3]);
        assert_eq!(server.requests().len(), 1, "no reconnect");
    }

    fn a_refused_method_is_an_error_that_names_it() {
        let server = Server::start(|call| call.respond("405 Method Not Allowed", "text/plain", "no"));
        let error = wait(client::request(Method::DELETE, server.url("/")).text()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("DELETE {}: the server answered 405 Method Not Allowed: no", server.url("/"))
        );
    }
}
