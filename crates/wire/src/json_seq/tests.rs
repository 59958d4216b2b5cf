use bytes::Bytes;

use super::Decoder;
use crate::{Format, Limits, testing::check};

/// Checks a sequence. In `input` and in the events, `~` represents the record separator.
#[track_caller]
fn sequence(input: &str, expected: &[&str]) {
    limited(1000, 128, input, expected);
}

#[track_caller]
fn limited(bytes: usize, depth: usize, input: &str, expected: &[&str]) {
    let limits = Limits::default()
        .with_max_item_bytes(bytes)
        .with_max_depth(depth);
    check(
        Format::JsonSeq,
        limits,
        input.replace('~', "\x1e").as_bytes(),
        expected,
    );
}

#[test]
fn every_element_is_an_item() {
    sequence("", &[]);
    sequence(
        "~{\"a\":1}\n~[]\n~\"x\"\n~1\n~null\n",
        &["{\"a\":1}", "[]", "\"x\"", "1", "null"],
    );
    sequence("~ {}\r\n~\n[\n1\n,{\n}\n]\n", &["{}", "[\n1\n,{\n}\n]"]);
    sequence("~1 ~2\t~3\r\n", &["1", "2", "3"]);
}

#[test]
fn consecutive_record_separators_count_as_one() {
    sequence("~~~1\n~~2\n", &["1", "2"]);
}

#[test]
fn an_element_is_returned_at_its_line_feed() {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(Bytes::from_static(b"\x1e[1,\n2"));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(Bytes::from_static(b"]\n"));
    assert_eq!(decoder.next().unwrap().unwrap().data, "[1,\n2]");
}

#[test]
fn a_malformed_element_is_reported_and_the_next_one_returned() {
    sequence(
        "~1\n~{\"a\n\"}\n~[1,]\n~{\"b\":\n~[[}\n~2\n",
        &[
            "1",
            "error: json-seq item 2, byte 7: expected no control character in a string",
            "error: json-seq item 3, byte 15: expected a value",
            "error: json-seq item 4, byte 24: the stream ended inside the item",
            "error: json-seq item 5, byte 27: expected a value",
            "2",
        ],
    );
    sequence(
        "~[\n[\n}\n]\n~2\n",
        &[
            "error: json-seq item 1, byte 5: expected \"]\", found \"}\"",
            "2",
        ],
    );
    sequence(
        "~x\n\n~2\n",
        &["error: json-seq item 1, byte 1: expected a value", "2"],
    );
    sequence(
        "~\n \n~2\n",
        &[
            "error: json-seq item 1, byte 4: the stream ended inside the item",
            "2",
        ],
    );
}

#[test]
fn a_top_level_number_or_literal_without_white_space_after_it_is_truncated() {
    let cut =
        |n, at| format!("error: json-seq item {n}, byte {at}: the stream ended inside the item");
    sequence(
        "~12~true~[]~null",
        &[&cut(1, 3), &cut(2, 8), "[]", &cut(4, 16)],
    );
    sequence("~\"a\"~{}", &["\"a\"", "{}"]);
}

#[test]
fn a_sequence_that_ends_inside_an_element_is_truncated() {
    let cut =
        |n, at| format!("error: json-seq item {n}, byte {at}: the stream ended inside the item");
    sequence("~1\n~{\"a\":", &["1", &cut(2, 9)]);
    sequence("~1\n~[\n", &["1", &cut(2, 6)]);
    sequence("~1\n~", &["1", &cut(2, 4)]);
}

#[test]
fn only_white_space_is_allowed_between_elements() {
    sequence("\n ~1\n \n~2\n", &["1", "2"]);
    sequence(
        "x~1\n2\n3\n~4\n",
        &[
            "error: json-seq item 1, byte 0: expected a record separator",
            "1",
            "error: json-seq item 1, byte 4: expected a record separator",
            "4",
        ],
    );
}

#[test]
fn invalid_utf8_is_an_error_and_the_next_element_is_returned() {
    let input = b"\x1e\"a\xff\"\n\x1e2\n\x1e\"\xc3";
    let expected = [
        "error: json-seq item 1, byte 3: not valid UTF-8",
        "2",
        "error: json-seq item 3, byte 12: the stream ended inside the item",
    ];
    check(Format::JsonSeq, Limits::default(), input, &expected);
}

#[test]
fn an_element_of_exactly_the_size_limit_passes_and_a_byte_more_fails() {
    let error =
        |n, at| format!("error: json-seq item {n}, byte {at}: larger than the limit of 5 bytes");
    limited(5, 9, "~12345\n~[123]~[1\n]\n", &["12345", "[123]", "[1\n]"]);
    limited(5, 9, "~123456\n~2\n", &[&error(1, 6), "2"]);
    limited(5, 9, "~[1234]~2\n", &[&error(1, 6), "2"]);
    limited(5, 9, "~[1,\n2]\n~2\n", &[&error(1, 6), "2"]);
    limited(
        5,
        9,
        "~[1,\n}]\n~2\n",
        &[
            "error: json-seq item 1, byte 5: expected \"]\", found \"}\"",
            "2",
        ],
    );
    limited(5, 9, "~\n\n\n\n\n\n\n~2\n", &[&error(1, 6), "2"]);
}

#[test]
fn an_unfinished_element_fails_as_soon_as_it_is_too_large() {
    let mut decoder = Decoder::new(Limits::default().with_max_item_bytes(100));
    decoder.push(Bytes::from(format!("\x1e{}", "x".repeat(100))));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(Bytes::from_static(b"x"));
    assert!(decoder.next().unwrap_err().is_too_large());
    decoder.push(Bytes::from_static(b"xxx\x1e1\n"));
    assert_eq!(decoder.next().unwrap().unwrap().data, "1");
}

#[test]
fn an_element_of_exactly_the_depth_limit_passes_and_one_deeper_fails() {
    limited(
        99,
        2,
        "~[[1]]\n~[[[1]]]\n~[\n[\n[\n1]]]\n~2\n",
        &[
            "[[1]]",
            "error: json-seq item 2, byte 10: nested deeper than the limit of 2",
            "error: json-seq item 3, byte 21: nested deeper than the limit of 2",
            "2",
        ],
    );
}

#[test]
fn an_element_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"\x1e1\n\x1e{\n}\n");
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(chunk.clone());
    decoder.next().unwrap().unwrap();
    assert_eq!(
        decoder.next().unwrap().unwrap().data.as_ptr(),
        chunk[4..].as_ptr()
    );
}
