use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use headwater_client::StatusCode;

use crate::{
    server::{Call, Server},
    twins::{cut_short, good},
};

const SHORT: Duration = Duration::from_millis(30);
const END: &str = "event: headwater:end\nid: headwater:end\ndata: {}\n\n";

/// Sends the event after the client's last event id, and then breaks the connection; sends the end
/// mark after 5.
fn one_more(call: &mut Call) {
    let seen = call
        .request
        .header("last-event-id")
        .map_or(0, |id| id.parse().unwrap());
    call.start("text/event-stream");
    if seen == 5 {
        call.chunk(END);
    } else {
        call.chunk(format!(
            "retry: 10\nid: {0}\ndata: {0}\n\ndata: not compl",
            seen + 1
        ));
    }
}

twins! {
    fn a_stream_that_breaks_at_every_item_arrives_completely_and_once() {
        let server = Server::start(one_more);
        let items = wait(client::get(server.url("/")).stream::<u32>());
        assert_eq!(good(all(items)), [1, 2, 3, 4, 5]);
        let ids: Vec<_> = server
            .requests()
            .iter()
            .map(|request| request.header("last-event-id").unwrap_or_default())
            .collect();
        assert_eq!(ids, ["", "1", "2", "3", "4", "5"]);
    }

    fn a_server_with_one_item_per_connection_is_not_called_constantly() {
        let server = Server::start(|call| {
            call.start("text/event-stream");
            call.chunk(format!("retry: 0\nid: {0}\ndata: {0}\n\n", call.n));
        });
        let mut items = wait(client::get(server.url("/")).stream::<u32>()).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1200) {
            good(vec![next(&mut items).unwrap()]);
        }
        let connections = server.requests().len();
        assert!(connections <= 8, "{connections}");
    }

    fn a_servers_wait_is_limited_and_reported() {
        for named in ["retry-after: 9999999999", "retry-after: Tue, 31 Dec 2199 23:59:59 GMT"] {
            let server = Server::start(move |call| match call.n {
                0 => call.respond_with("503 Service Unavailable", named),
                _ => call.respond("200 OK", "text/plain", b"there"),
            });
            let told = Arc::new(Mutex::new(Vec::new()));
            let seen = Arc::clone(&told);
            let client = client::Client::builder()
                .backoff(SHORT, SHORT)
                .max_server_delay(Duration::from_millis(60))
                .on_wait(move |wait| seen.lock().unwrap().push(wait.clone()))
                .build()
                .unwrap();
            let request = client.get(server.url("/")).retry_first_connect(true);
            let start = Instant::now();
            assert_eq!(wait(request.text()).unwrap(), "there");
            assert!(start.elapsed() < Duration::from_secs(10), "{named}");
            let told = told.lock().unwrap();
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].delay, Duration::from_millis(60));
            assert!(told[0].reason.contains("503"), "{:?}", told[0]);
        }
    }

    fn a_later_run_resumes_where_an_earlier_one_left_off() {
        let server = Server::start(one_more);
        let items = wait(client::get(server.url("/")).last_event_id("3").stream::<u32>());
        assert_eq!(good(all(items)), [4, 5]);
    }

    fn a_position_event_is_resumed_from_and_is_not_an_item() {
        let server = Server::start(|call| {
            call.start("text/event-stream");
            match call.n {
                // The connection breaks before the first item.
                0 => call.chunk("retry: 10\nevent: headwater:position\nid: 7\ndata: {\"offset\":\"7\"}\n\n"),
                _ => call.chunk(format!("id: 8\ndata: 8\n\n{END}")),
            }
        });
        let mut items = wait(client::get(server.url("/")).stream::<u32>()).unwrap();
        assert_eq!(next(&mut items).unwrap().unwrap(), 8);
        assert!(next(&mut items).is_none());
        assert_eq!(server.requests()[1].header("last-event-id").as_deref(), Some("7"));
    }

    fn a_reset_is_an_error_after_which_the_stream_continues() {
        let server = Server::start(|call| {
            call.start("text/event-stream");
            match call.n {
                0 => call.chunk("retry: 10\nid: 5_a\ndata: 5\n\n"),
                // The connection breaks once more before the first item.
                1 => call.chunk("event: headwater:reset\nid: 0_b\ndata: {\"detail\":\"it was made again\"}\n\n"),
                _ => call.chunk(format!("id: 1_b\ndata: 1\n\n{END}")),
            }
        });
        let mut items = wait(client::get(server.url("/")).stream::<u32>()).unwrap();
        assert_eq!(next(&mut items).unwrap().unwrap(), 5);
        let error = next(&mut items).unwrap().unwrap_err();
        assert!(error.is_reset() && error.to_string().contains("it was made again"), "{error}");
        assert_eq!(items.last_event_id(), "0_b");
        assert_eq!(next(&mut items).unwrap().unwrap(), 1);
        assert!(next(&mut items).is_none());
        let seen: Vec<_> = server.requests().iter().map(|request| request.header("last-event-id").unwrap_or_default().to_owned()).collect();
        assert_eq!(seen, ["", "5_a", "0_b"]);
    }

    fn a_notice_is_never_an_item_and_is_resumed_from() {
        const TOLD: &str = "retry: 10\nid: 1\ndata: {}\n\nevent: headwater:deleted\nid: 2\ndata: {\"id\":\"2\",\"stream\":\"a/b\",\"deleted\":true,\"reason\":\"expired\"}\n\nevent: headwater:trimmed\nid: 3\ndata: {\"stream\":\"c\",\"trimmed\":true}\n\n";
        let server = Server::start(|call| {
            call.start("text/event-stream");
            match call.n % 2 {
                0 => call.chunk(TOLD),
                _ => call.chunk(format!("id: 4\ndata: {{}}\n\n{END}")),
            }
        });
        // A type that accepts any object.
        let mut items = wait(client::get(server.url("/")).stream::<serde_json::Value>()).unwrap();
        assert_eq!(next(&mut items).unwrap().unwrap(), serde_json::json!({}));
        let error = next(&mut items).unwrap().unwrap_err();
        assert!(error.is_notice() && error.to_string().contains("a/b has expired"), "{error}");
        let event = error.notice().unwrap();
        assert!(event.is_deleted() && &*event.id == "2" && event.data.contains("a/b"));
        let error = next(&mut items).unwrap().unwrap_err();
        assert!(error.notice().is_some_and(|event| event.is_trimmed()), "{error}");
        assert_eq!(items.last_event_id(), "3");
        assert_eq!(next(&mut items).unwrap().unwrap(), serde_json::json!({}));
        assert!(next(&mut items).is_none());
        assert_eq!(server.requests()[1].header("last-event-id").as_deref(), Some("3"));
        // Read as events, they are events with their types.
        let events = good(all(wait(client::get(server.url("/")).events())));
        let types: Vec<_> = events.iter().map(|event| event.event.to_string()).collect();
        assert_eq!(types, ["message", "headwater:deleted", "headwater:trimmed", "message"]);
    }

    fn a_204_stops_a_stream_that_ended_without_the_mark() {
        let server = Server::start(|call| match call.n {
            0 => call.respond("200 OK", "text/event-stream", "retry: 10\nid: 1\ndata: 1\n\n"),
            _ => call.write("HTTP/1.1 204 No Content\r\n\r\n"),
        });
        assert_eq!(good(all(wait(client::get(server.url("/")).stream::<u32>()))), [1]);
        assert_eq!(server.requests().len(), 2);
    }

    fn a_server_without_a_wait_that_ends_each_connection_is_not_called_at_once() {
        let server = Server::start(|call| match call.n {
            n @ 0..6 => call.respond("200 OK", "text/event-stream", format!("retry: 0\nid: {n}\ndata: {n}\n\n")),
            _ => call.write("HTTP/1.1 204 No Content\r\n\r\n"),
        });
        let began = Instant::now();
        assert_eq!(good(all(wait(client::get(server.url("/")).stream::<u32>()))), [0, 1, 2, 3, 4, 5]);
        // 20, 40, 80, 160, 320 and 640 ms.
        assert!(began.elapsed() >= Duration::from_millis(1260), "{:?}", began.elapsed());
        assert_eq!(server.requests().len(), 7);
    }

    fn the_servers_retry_is_waited_for() {
        let times = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&times);
        let server = Server::start(move |call| {
            noted.lock().unwrap().push(Instant::now());
            match call.n {
                0 => call.respond("200 OK", "text/event-stream", "retry: 250\ndata: 1\n\n"),
                _ => call.respond("200 OK", "text/event-stream", END),
            }
        });
        assert_eq!(good(all(wait(client::get(server.url("/")).stream::<u32>()))), [1]);
        let times = times.lock().unwrap();
        let waited = times[1] - times[0];
        assert!(waited >= Duration::from_millis(250), "{waited:?}");
    }

    fn a_server_that_is_down_for_a_while_is_retried_until_it_responds() {
        let server = Server::start(|call| match call.n {
            0 => {
                call.start("text/event-stream");
                call.chunk("id: 1\ndata: 1\n\n");
            }
            1 => call.respond_with("503 Service Unavailable", "retry-after: 0"),
            2 => call.write(""),
            3 => call.respond_with("429 Too Many Requests", "x: y"),
            _ => call.respond("200 OK", "text/event-stream", format!("data: 2\n\n{END}")),
        });
        let request = client::get(server.url("/")).backoff(SHORT, SHORT);
        assert_eq!(good(all(wait(request.stream::<u32>()))), [1, 2]);
        assert_eq!(server.requests().len(), 5);
    }

    fn a_server_that_stays_down_is_an_error() {
        let server = Server::start(|call| match call.n {
            0 => call.respond("200 OK", "text/event-stream", "data: 1\n\n"),
            _ => call.respond_with("503 Service Unavailable", "x: y"),
        });
        let request = client::get(server.url("/")).backoff(SHORT, SHORT).max_attempts(3);
        let (items, error) = cut_short(all(wait(request.stream::<u32>())));
        assert_eq!(items, [1]);
        assert_eq!(error.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert!(error.to_string().ends_with("(gave up after 3 attempts in a row)"), "{error}");
        assert_eq!(server.requests().len(), 4);
    }

    fn a_404_or_another_format_ends_the_reconnects() {
        for content_type in ["text/html", "application/x-ndjson", "404"] {
            let server = Server::start(move |call| match call.n {
                0 => call.respond("200 OK", "text/event-stream", "retry: 10\ndata: 1\n\n"),
                _ if content_type == "404" => call.respond_with("404 Not Found", "x: y"),
                _ => call.respond("200 OK", content_type, ""),
            });
            let (items, error) = cut_short(all(wait(client::get(server.url("/")).stream::<u32>())));
            assert_eq!(items, [1]);
            assert!(error.is_content_type() || error.is_status(), "{error}");
            assert_eq!(server.requests().len(), 2);
        }
    }

    fn silence_makes_an_sse_stream_reconnect() {
        let server = Server::start(|call| {
            call.start("text/event-stream");
            if call.n == 0 {
                call.chunk("retry: 10\nid: 1\ndata: 1\n\n");
                assert!(call.wait_for_close(), "the old connection is closed");
            } else {
                call.chunk(format!("id: 2\ndata: 2\n\n{END}"));
            }
        });
        let request = client::get(server.url("/")).idle_timeout(Duration::from_millis(300));
        assert_eq!(good(all(wait(request.stream::<u32>()))), [1, 2]);
        assert_eq!(server.requests()[1].header("last-event-id").unwrap(), "1");
    }

    fn a_post_is_never_sent_twice_without_replay() {
        let server = Server::start(|call| match call.n {
            0 | 1 => {
                call.start("text/event-stream");
                call.chunk("retry: 10\nid: 1\ndata: 1\n\n");
            }
            _ => call.respond("200 OK", "text/event-stream", format!("data: 2\n\n{END}")),
        });
        let post = || client::post(server.url("/")).body("ask");
        let (items, error) = cut_short(all(wait(post().stream::<u32>())));
        assert_eq!(items, [1]);
        assert!(error.is_truncated(), "{error}");
        assert_eq!(server.requests().len(), 1);

        assert_eq!(good(all(wait(post().replay(true).stream::<u32>()))), [1, 2]);
        let requests = server.requests();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.body == "ask"), "{requests:?}");
    }

    fn the_clean_end_of_a_posts_response_ends_the_stream() {
        let server = Server::answering("text/event-stream", "data: 1\n\n");
        assert_eq!(good(all(wait(client::post(server.url("/")).stream::<u32>()))), [1]);
        assert_eq!(server.requests().len(), 1);
    }
}
