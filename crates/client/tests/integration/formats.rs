use std::{sync::mpsc, thread, time::Duration};

use headwater_client::{Event, Format};
use serde::Deserialize;

use crate::{
    server::Server,
    twins::{cut_short, good},
};

#[derive(Deserialize, Debug, PartialEq, Clone)]
struct Tick {
    n: u64,
    price: f64,
}

fn ticks(count: u64) -> Vec<Tick> {
    (1..=count).map(|n| Tick { n, price: 1.5 }).collect()
}

/// Three ticks in each format, with the format's content type.
const THREE: [(&str, &str); 6] = [
    (
        "text/event-stream",
        "\u{feff}: hi\r\nid: 1\r\ndata: {\"n\":1,\r\ndata: \"price\":1.5}\r\n\r\n\
         data:{\"n\":2,\"price\":1.5}\n\nevent: tick\ndata: {\"n\":3,\"price\":1.5}\n\n\
         event: headwater:end\nid: headwater:end\ndata: {\"items\":3}\n\n",
    ),
    (
        "application/x-ndjson; charset=utf-8",
        "{\"n\":1,\"price\":1.5}\n{\"n\":2,\"price\":1.5}\r\n{\"n\":3,\"price\":1.5}\n",
    ),
    (
        "application/jsonl",
        "{\"n\":1,\"price\":1.5}\n{\"n\":2,\"price\":1.5}\n{\"n\":3,\"price\":1.5}\n",
    ),
    (
        "application/json-seq",
        "\x1e{\"n\":1,\"price\":1.5}\n\x1e{\"n\":2,\n\"price\":1.5}\n\x1e{\"n\":3,\"price\":1.5}\n",
    ),
    (
        "application/json",
        " [{\"n\":1,\"price\":1.5}, {\"n\":2,\"price\":1.5},\n{\"n\":3,\"price\":1.5}] ",
    ),
    (
        "Application/Hal+JSON",
        "[{\"n\":1,\"price\":1.5},{\"n\":2,\"price\":1.5},{\"n\":3,\"price\":1.5}]",
    ),
];

/// An item whose JSON has this many bytes.
fn item_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

const MIB: usize = 1024 * 1024;

twins! {
    fn items_arrive_in_every_format() {
        for (content_type, body) in THREE {
            let server = Server::answering(content_type, body);
            let items = wait(client::get(server.url("/")).stream::<Tick>());
            assert_eq!(good(all(items)), ticks(3), "{content_type}");
        }
    }

    fn a_byte_order_mark_before_json_is_ignored() {
        for (content_type, body) in THREE {
            if !content_type.to_lowercase().contains("json") || content_type.contains("seq") {
                continue;
            }
            let server = Server::start(move |call| {
                call.start(content_type);
                for byte in "\u{feff}".bytes().chain(body.bytes()) {
                    call.chunk([byte]);
                }
                call.end();
            });
            let items = wait(client::get(server.url("/")).stream::<Tick>());
            assert_eq!(good(all(items)), ticks(3), "{content_type}");
        }
        let server = Server::answering("application/json", "\u{feff}{\"n\":1,\"price\":1.5}");
        assert_eq!(wait(client::get(server.url("/")).value::<Tick>()).unwrap(), ticks(1)[0]);
        assert_eq!(good(all(wait(client::get(server.url("/")).stream::<Tick>()))), ticks(1));
    }

    fn a_body_with_a_float_that_is_not_finite_is_not_sent() {
        let server = Server::answering("application/json", "1");
        let request = client::post(server.url("/")).json(&[1.5, f64::NAN]);
        let error = wait(request.value::<u64>()).unwrap_err();
        assert!(error.to_string().contains("serialised"), "{error}");
        assert!(server.requests().is_empty());
    }

    fn bytes_that_arrive_one_at_a_time_form_the_same_items() {
        for (content_type, body) in THREE {
            let server = Server::start(move |call| {
                call.start(content_type);
                for byte in body.bytes() {
                    call.chunk([byte]);
                }
                call.end();
            });
            let items = wait(client::get(server.url("/")).stream::<Tick>());
            assert_eq!(good(all(items)), ticks(3), "{content_type}");
        }
    }

    fn each_item_is_yielded_before_the_next_one_is_sent() {
        for (content_type, items) in [
            ("text/event-stream", ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"]),
            ("application/x-ndjson", ["1\n", "2\n", "3\n"]),
            ("application/json-seq", ["\x1e1\n", "\x1e2\n", "\x1e3\n"]),
            ("application/json", ["[1,", "2,", "3]"]),
        ] {
            let (seen, wait_until_seen) = mpsc::sync_channel(0);
            let wait_until_seen = std::sync::Mutex::new(wait_until_seen);
            let server = Server::start(move |call| {
                call.start(content_type);
                for item in items {
                    call.chunk(item);
                    wait_until_seen.lock().unwrap().recv().unwrap();
                }
                call.end();
            });
            let request = client::get(server.url("/")).reconnect(false);
            let mut items = wait(request.stream::<u32>()).unwrap();
            for n in 1..=3 {
                assert_eq!(next(&mut items).unwrap().unwrap(), n, "{content_type}");
                seen.send(()).unwrap();
            }
            assert!(next(&mut items).is_none());
            assert!(next(&mut items).is_none(), "the end stays the end");
        }
    }

    fn lines_of_plain_text_are_unchanged_strings() {
        let server = Server::answering("text/plain; charset=utf-8", "one\ntwo \"2\"\n\ngrüße");
        let items = wait(client::get(server.url("/")).stream::<String>());
        assert_eq!(good(all(items)), ["one", "two \"2\"", "", "grüße"]);
    }

    fn events_have_their_id_and_type() {
        let body = "id: 7\nevent: tick\ndata: a\ndata: b\n\ndata: c\n\n";
        let server = Server::answering("text/event-stream", body);
        let request = client::get(server.url("/")).reconnect(false);
        let mut items = wait(request.events()).unwrap();
        assert_eq!(items.format(), Some(Format::Sse));
        let Event { data, event, id, .. } = next(&mut items).unwrap().unwrap();
        assert_eq!((&*data, &*event, &*id), ("a\nb", "tick", "7"));
        let Event { data, event, id, .. } = next(&mut items).unwrap().unwrap();
        assert_eq!((&*data, &*event, &*id), ("c", "message", "7"));
        assert_eq!(items.last_event_id(), "7");
        assert!(next(&mut items).is_none());
        assert_eq!(items.last_event_id(), "7", "also when the stream is over");
    }

    fn items_of_one_chunk_are_yielded_without_waiting() {
        let server = Server::answering("application/x-ndjson", "1\n2\n3\n");
        let mut items = wait(client::get(server.url("/")).stream::<u32>()).unwrap();
        assert_eq!(next(&mut items).unwrap().unwrap(), 1);
        assert_eq!(items.next_ready().unwrap().unwrap(), 2);
        assert_eq!(items.next_ready().unwrap().unwrap(), 3);
        assert!(items.next_ready().is_none());
        assert!(next(&mut items).is_none());
    }

    fn an_item_of_the_wrong_shape_is_located_and_the_stream_continues() {
        let body = "{\"n\":1,\"price\":1.5}\n{\"n\":2,\"price\":\"high\"}\n7\n{\"n\":4,\"price\":1.5}\n";
        let server = Server::answering("application/x-ndjson", body);
        let items = all(wait(client::get(server.url("/a?key=secret")).stream::<Tick>()));
        let [first, second, third, fourth] = <[_; 4]>::try_from(items).unwrap();
        assert_eq!(first.unwrap().n, 1);
        let error = second.unwrap_err();
        assert!(error.is_deserialize());
        assert_eq!((error.item(), error.path()), (Some(2), Some("price")));
        assert_eq!(
            error.to_string(),
            format!(
                "GET {}: item 2, at price: invalid type: string \"high\", expected f64 \
                 at line 1 column 21",
                server.url("/a")
            )
        );
        let error = third.unwrap_err();
        assert_eq!((error.item(), error.path()), (Some(3), Some("")));
        assert_eq!(fourth.unwrap().n, 4);
    }

    fn seven_mebibytes_are_an_item_and_nine_are_too_large() {
        for (content_type, before, after) in [
            ("text/event-stream", "data: ", "\n\n"),
            ("application/x-ndjson", "", "\n"),
            ("application/json", "[", ""),
        ] {
            let server = Server::start(move |call| {
                call.start(content_type);
                let first = format!("{before}{}{after}", item_of(7 * MIB));
                call.chunk(if before == "[" { format!("{first},") } else { first });
                let before = if before == "[" { "" } else { before };
                call.chunk(format!("{before}{}{after}", item_of(9 * MIB)));
                call.wait_for_close();
            });
            let items = all(wait(client::get(server.url("/")).stream::<String>()));
            let (items, error) = cut_short(items);
            assert_eq!(items.len(), 1, "{content_type}");
            assert_eq!(items[0].len(), 7 * MIB - 2, "{content_type}");
            assert!(error.is_too_large(), "{content_type}: {error}");
            assert_eq!(error.item(), Some(2), "{content_type}");

            let request = client::get(server.url("/")).max_item_bytes(10 * MIB).reconnect(false);
            let mut items = wait(request.stream::<String>()).unwrap();
            assert!(next(&mut items).unwrap().is_ok(), "{content_type}");
            assert_eq!(next(&mut items).unwrap().unwrap().len(), 9 * MIB - 2, "{content_type}");
        }
    }

    fn an_item_that_nests_too_deep_is_refused() {
        let deep = format!("{}{}\n", "[".repeat(129), "]".repeat(129));
        let server = Server::answering("application/x-ndjson", format!("1\n{deep}"));
        let items = all(wait(client::get(server.url("/")).stream::<serde_json::Value>()));
        let (items, error) = cut_short(items);
        assert_eq!(items, [1]);
        assert!(error.is_too_deep(), "{error}");
    }

    fn invalid_utf8_is_an_error_except_in_sse_where_it_is_replaced() {
        let bad = b"\"a\"\n\"\xff\"\n";
        let server = Server::answering("application/x-ndjson", bad);
        let (items, error) = cut_short(all(wait(client::get(server.url("/")).stream::<String>())));
        assert_eq!(items, ["a"]);
        assert!(error.is_decode(), "{error}");
        assert!(wait(client::get(server.url("/")).text()).unwrap_err().is_decode());
        assert!(wait(client::get(server.url("/")).value::<String>()).unwrap_err().is_decode());

        let server = Server::answering("text/event-stream", b"data: \"\xff\"\n\n");
        let request = client::get(server.url("/")).reconnect(false);
        assert_eq!(good(all(wait(request.stream::<String>()))), ["\u{fffd}"]);
    }

    fn lines_are_read_in_any_content_type() {
        let server = Server::answering("text/html", "<p>\r\ngrüße\n</p>");
        let lines = good(all(wait(client::get(server.url("/")).lines())));
        assert_eq!(lines, ["<p>", "grüße", "</p>"]);
    }

    fn all_chunks_but_the_last_have_the_requested_size() {
        let server = Server::start(|call| {
            call.start("application/octet-stream");
            for part in ["0123456", "789abcdef01234", "56789abcdef!"] {
                call.chunk(part);
                thread::sleep(Duration::from_millis(5));
            }
            call.end();
        });
        let chunks = good(all(wait(client::get(server.url("/")).chunks(16))));
        assert_eq!(chunks, [&b"0123456789abcdef"[..], b"0123456789abcdef", b"!"]);
        let error = wait(client::get(server.url("/")).chunks(0)).unwrap_err();
        assert!(error.is_request(), "{error}");
    }

    fn a_body_can_be_read_raw_or_as_a_whole() {
        let body = "{\"n\": 1, \"price\": 1.5}\n";
        let server = Server::answering("application/json", body);
        let raw = good(all(wait(client::get(server.url("/")).raw())));
        assert_eq!(raw.concat(), body.as_bytes());
        assert_eq!(wait(client::get(server.url("/")).text()).unwrap(), body);
        assert_eq!(wait(client::get(server.url("/")).bytes()).unwrap(), body);
        assert_eq!(wait(client::get(server.url("/")).value::<Tick>()).unwrap(), ticks(1)[0]);
        let error = wait(client::get(server.url("/")).value::<Vec<u32>>()).unwrap_err();
        assert!(error.is_deserialize());
        let error = wait(client::get(server.url("/")).max_body_bytes(22).text()).unwrap_err();
        assert!(error.is_too_large(), "{error}");
        assert!(wait(client::get(server.url("/")).max_body_bytes(23).text()).is_ok());
    }

    fn a_compressed_body_is_read_as_bytes_but_not_as_text_or_a_value() {
        let server = Server::start(|call| {
            call.write("HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 2\r\n\r\n{}");
        });
        assert_eq!(wait(client::get(server.url("/")).bytes()).unwrap(), "{}");
        let error = wait(client::get(server.url("/")).text()).unwrap_err();
        assert!(error.is_content_type() && error.to_string().contains("(br)"), "{error}");
        let error = wait(client::get(server.url("/")).value::<serde_json::Value>()).unwrap_err();
        assert!(error.is_content_type(), "{error}");
    }

    fn one_json_object_is_one_item() {
        let server = Server::answering("application/json", "{\"n\":1,\n\"price\":1.5}");
        let items = wait(client::get(server.url("/")).stream::<Tick>());
        assert_eq!(good(all(items)), ticks(1));
    }
}
