use std::time::Duration;

use bytes::Bytes;

use super::{Decoder, reserved_field};
use crate::{
    Format, Limits,
    testing::{Cuts, Outcome, check, decode},
};

fn limits(max_item_bytes: usize) -> Limits {
    Limits::default().with_max_item_bytes(max_item_bytes)
}

#[track_caller]
fn sse(input: &str, expected: &[&str]) -> Outcome {
    check(Format::Sse, Limits::default(), input.as_bytes(), expected)
}

#[test]
fn the_examples_of_the_standard_decode_as_documented() {
    // WHATWG HTML §9.2.6 and §9.2.1, with the results that the standard gives.
    for (input, expected) in [
        ("data: YHOO\ndata: +2\ndata: 10\n\n", &["YHOO\n+2\n10"][..]),
        (
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
            &["first event", "second event", " third event"],
        ),
        ("data\n\ndata\ndata\n\ndata:", &["", "\n"]),
        ("data:test\n\ndata: test\n\n", &["test", "test"]),
        (
            "data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\ndata: This is the third message.\n\n",
            &[
                "This is the first message.",
                "This is the second message, it\nhas two lines.",
                "This is the third message.",
            ],
        ),
        (
            "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
            &["73857293", "2153", "113411"],
        ),
    ] {
        sse(input, expected);
    }
}

#[test]
fn the_event_type_holds_for_one_event() {
    let outcome = sse(
        "event: add\ndata: 1\n\ndata: 2\n\nevent:\ndata: 3\n\nevent: lost\n\ndata: 4\n\nevent: a\nevent: b\ndata: 5\n\n",
        &["1", "2", "3", "4", "5"],
    );
    let types: Vec<_> = outcome
        .results
        .iter()
        .flatten()
        .map(|event| &*event.event)
        .collect();
    assert_eq!(types, ["add", "message", "message", "message", "b"]);
}

#[test]
fn the_id_before_an_event_is_known_until_the_next_one() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(Bytes::from_static(
        b"data: a\n\nid: 1\ndata: b\n\nid: 2\n\ndata: c\n\nid:\ndata: d\n\n",
    ));
    for (id, before) in [("", ""), ("1", ""), ("2", "2"), ("", "2")] {
        let event = decoder.next().unwrap().unwrap();
        assert_eq!((&*event.id, &**decoder.id_before()), (id, before));
    }
    assert_eq!(decoder.next().unwrap(), None);
    assert_eq!(&**decoder.id_before(), "");
}

#[test]
fn the_last_event_id_persists_until_it_is_set_again() {
    let outcome = sse(
        "data: a\n\nid: 1\ndata: b\n\ndata: c\n\nid: x\0y\ndata: d\n\nid\ndata: e\n\nid: 9\n\nid: 10\ndata: lost\n",
        &["a", "b", "c", "d", "e"],
    );
    let ids: Vec<_> = outcome
        .results
        .iter()
        .flatten()
        .map(|event| &*event.id)
        .collect();
    assert_eq!(ids, ["", "1", "1", "1", ""]);
    // "9" is in a block without data, which dispatches no event but sets the id. "10" is in a block
    // that is cut by the end of the stream.
    assert_eq!(outcome.last_event_id, "9");
}

#[test]
fn lines_end_with_lf_cr_or_crlf() {
    for end in ["\n", "\r", "\r\n"] {
        let input = "data: a|data: b||event: x|data: c||||data: d||".replace('|', end);
        sse(&input, &["a\nb", "c", "d"]);
    }
    sse("data: a\r\n\rdata: b\n\r\ndata: c\r\r\n", &["a", "b", "c"]);
}

#[test]
fn an_event_that_ends_with_a_lone_cr_is_returned_at_once() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(Bytes::from_static(b"data: a\r\r"));
    assert_eq!(decoder.next().unwrap().unwrap().data, "a");
    // This LF belongs to the CR before it. The next one is an empty line.
    decoder.push(Bytes::from_static(b"\n"));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(Bytes::from_static(b"data: b\r"));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(Bytes::from_static(b"\n"));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(Bytes::from_static(b"\n"));
    assert_eq!(decoder.next().unwrap().unwrap().data, "b");
}

#[test]
fn one_byte_order_mark_at_the_start_is_dropped() {
    sse("\u{feff}data: a\n\n", &["a"]);
    sse("\u{feff}\u{feff}data: a\n\ndata: b\n\n", &["b"]);
    sse("data: a\n\n\u{feff}data: b\n\n", &["a"]);
    sse("\u{feff}", &[]);
    check(
        Format::Sse,
        Limits::default(),
        b"\xef\xbbdata: a\n\ndata: b\n\n",
        &["b"],
    );
}

#[test]
fn a_retry_consists_only_of_digits() {
    for (value, expected) in [
        ("1500", Some(1500)),
        ("0", Some(0)),
        ("007", Some(7)),
        ("99999999999999999999999", Some(u64::MAX)),
        ("", None),
        ("1.5", None),
        ("-1", None),
        ("+1", None),
        ("1s", None),
        (" 1", None),
        ("\u{0661}", None),
    ] {
        let outcome = sse(&format!("retry: {value}\n"), &[]);
        assert_eq!(
            outcome.retry,
            expected.map(Duration::from_millis),
            "{value:?}"
        );
        let outcome = sse(&format!("retry:5\nretry: {value}\n"), &[]);
        assert_eq!(
            outcome.retry,
            Some(Duration::from_millis(expected.unwrap_or(5))),
            "{value:?}"
        );
    }
}

#[test]
fn other_fields_and_comments_are_skipped() {
    sse(
        ":\n: data: no\ndata2: no\nDATA: no\n data: no\ndat: no\ndata : no\nfoo\ndata: yes\ndataset\n\n",
        &["yes"],
    );
}

#[test]
fn a_value_loses_one_space_and_keeps_its_colons() {
    sse(
        "data:  a : b:c \n\ndata::\n\ndata: \n\ndata:\t\n\n",
        &[" a : b:c ", ":", "", "\t"],
    );
}

#[test]
fn an_event_without_its_empty_line_is_dropped() {
    sse("data: a\n\ndata: b\n", &["a"]);
    sse("data: a\n\ndata: b", &["a"]);
    sse("data: a", &[]);
    sse("", &[]);
}

#[test]
fn invalid_utf8_is_replaced() {
    let input = b"event: \xff\ndata: a\xc3\ndata: \xf0\x9fb\nid: \x80\n\n";
    let outcome = check(
        Format::Sse,
        Limits::default(),
        input,
        &["a\u{fffd}\n\u{fffd}b"],
    );
    let event = outcome.results[0].as_ref().unwrap();
    assert_eq!((&*event.event, &*event.id), ("\u{fffd}", "\u{fffd}"));
}

#[test]
fn data_of_exactly_the_limit_passes_and_a_byte_more_fails() {
    let check = |input: &str, expected: &[&str]| {
        check(Format::Sse, limits(5), input.as_bytes(), expected);
    };
    check("data: 12345\n\ndata:12345\r\n\r\n", &["12345", "12345"]);
    check("data: ab\ndata: cd\n\n", &["ab\ncd"]);
    check(
        "data: 1\n\ndata: 123456\n\n",
        &[
            "1",
            "error: sse item 2, byte 20: larger than the limit of 5 bytes",
        ],
    );
    check(
        "data:  12345\n\n",
        &["error: sse item 1, byte 11: larger than the limit of 5 bytes"],
    );
    check(
        "data: ab\ndata: cde\n\n",
        &["error: sse item 1, byte 17: larger than the limit of 5 bytes"],
    );
    // Empty lines of data count too, by the LF that joins them.
    check(&"data\n".repeat(6), &[]);
    check(
        &"data\n".repeat(7),
        &["error: sse item 1, byte 30: larger than the limit of 5 bytes"],
    );
    for field in ["id", "event", "retry"] {
        check(&format!("{field}: 12345\ndata: a\n\n"), &["a"]);
        let at = field.len() + 7;
        let error = format!("error: sse item 1, byte {at}: larger than the limit of 5 bytes");
        check(&format!("{field}: 123456\ndata: a\n\n"), &[&error]);
    }
}

#[test]
fn an_unfinished_line_fails_as_soon_as_it_is_too_large() {
    let mut decoder = Decoder::new(limits(100));
    decoder.push(Bytes::from(format!("data: {}", "x".repeat(100))));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(Bytes::from_static(b"x"));
    assert!(decoder.next().unwrap_err().is_too_large());
    decoder.push(Bytes::from_static(b"\n\ndata: a\n\n"));
    assert!(decoder.next().unwrap_err().is_too_large(), "an error stays");
}

#[test]
fn comments_and_unknown_fields_can_have_any_size() {
    let long = "x".repeat(1000);
    let input = format!(":{long}\n{long}: {long}\ndata{long}\ndata: a\n\n");
    for size in [1, 7, 64, 5000] {
        let outcome = decode(Format::Sse, limits(5), input.as_bytes(), &Cuts::every(size));
        assert_eq!(outcome.data(), ["a"], "in pieces of {size}");
    }
}

#[test]
fn an_event_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"id: 7\nevent: tick\ndata: abc\n\n");
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(chunk.clone());
    let event = decoder.next().unwrap().unwrap();
    assert_eq!(event.id.as_ptr(), chunk[4..].as_ptr());
    assert_eq!(event.event.as_ptr(), chunk[13..].as_ptr());
    assert_eq!(event.data.as_ptr(), chunk[24..].as_ptr());
}

#[test]
fn an_unfinished_event_keeps_no_chunk() {
    let chunk = Bytes::from(b"id: 1\ndata: a\n\nid: 2\nevent: tick\ndata: b\n".to_vec());
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(chunk.clone());
    assert_eq!(decoder.next().unwrap().unwrap().data, "a");
    assert_eq!(decoder.next(), Ok(None));
    assert!(chunk.is_unique());

    decoder.push(Bytes::from_static(b"data: c\n\n"));
    let event = decoder.next().unwrap().unwrap();
    assert_eq!(
        (&*event.id, &*event.event, &*event.data),
        ("2", "tick", "b\nc")
    );
}

#[test]
fn reserved_types_and_ids_are_found_in_every_line() {
    for (text, expected) in [
        ("event: headwater:end", Some(("event", "headwater:end"))),
        ("data: 1\nid:headwater:x\n\n", Some(("id", "headwater:x"))),
        ("\u{feff}id: headwater:\r\r", Some(("id", "headwater:"))),
        ("data: headwater:end\n: id: headwater:end\n\n", None),
        (
            "event:  headwater:end\nid: Headwater:end\nids: headwater:end\n\n",
            None,
        ),
        ("event: end\nid: end\n\n", None),
    ] {
        let found = reserved_field(text.as_bytes());
        let found = found.as_ref().map(|(field, value)| (*field, &**value));
        assert_eq!(found, expected, "{text:?}");
    }
}
