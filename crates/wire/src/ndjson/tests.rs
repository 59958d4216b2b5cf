use bytes::Bytes;

use super::Decoder;
use crate::{Format, Limits, testing::check};

#[track_caller]
fn ndjson(input: &[u8], expected: &[&str]) {
    check(Format::Ndjson, Limits::default(), input, expected);
}

#[track_caller]
fn limited(bytes: usize, depth: usize, input: &str, expected: &[&str]) {
    let limits = Limits::default()
        .with_max_item_bytes(bytes)
        .with_max_depth(depth);
    check(Format::Ndjson, limits, input.as_bytes(), expected);
}

#[test]
fn every_line_is_an_item() {
    ndjson(
        b"{\"a\":1}\n[]\n\"x\"\n1\nnull\n",
        &[r#"{"a":1}"#, "[]", "\"x\"", "1", "null"],
    );
    ndjson(b"", &[]);
}

#[test]
fn blank_lines_crlf_and_a_byte_order_mark_are_tolerated() {
    ndjson(b"\n\r\n \t\n1\r\n\n 2 \r\n", &["1", "2"]);
    ndjson(b"\xef\xbb\xbf1\n2\n", &["1", "2"]);
    ndjson(b"\xef\xbb\xbf", &[]);
}

#[test]
fn a_last_line_without_its_lf_must_be_complete() {
    ndjson(b"1\n{\"a\":2}", &["1", "{\"a\":2}"]);
    ndjson(b"1\n2\r", &["1", "2"]);
    ndjson(b"1\n  ", &["1"]);
    let cut = "error: ndjson item 2, byte 7: the stream ended inside the item";
    ndjson(b"1\n{\"a\":", &["1", cut]);
    ndjson(b"1\n\"abc\xc3", &["1", cut]);
    ndjson(
        b"\xef\xbb",
        &["error: ndjson item 1, byte 2: the stream ended inside the item"],
    );
}

#[test]
fn invalid_utf8_is_an_error_with_its_offset() {
    ndjson(
        b"1\n \"a\xff\"\n2\n",
        &["1", "error: ndjson item 2, byte 5: not valid UTF-8"],
    );
    // A truncated mark isn't a mark.
    ndjson(
        b"\xef\xbb1\n",
        &["error: ndjson item 1, byte 0: not valid UTF-8"],
    );
}

#[test]
fn the_grammar_is_not_checked() {
    ndjson(b"{]\nfoo\n", &["{]", "foo"]);
}

#[test]
fn an_item_of_exactly_the_size_limit_passes_and_a_byte_more_fails() {
    limited(5, 9, "12345\n12345\r\n", &["12345", "12345"]);
    limited(5, 9, "12345", &["12345"]);
    let error = "error: ndjson item 2, byte 7: larger than the limit of 5 bytes";
    limited(5, 9, "1\n123456\n", &["1", error]);
    limited(5, 9, "1\n123456\r\n", &["1", error]);
    limited(5, 9, "1\n123456", &["1", error]);
    limited(5, 9, "1\n12345\r6\n", &["1", error]);
}

#[test]
fn an_unfinished_line_fails_as_soon_as_it_is_too_large() {
    let mut decoder = Decoder::new(Limits::default().with_max_item_bytes(100));
    decoder.push(Bytes::from("x".repeat(100)));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(Bytes::from_static(b"x"));
    assert!(decoder.next().unwrap_err().is_too_large());
}

#[test]
fn an_item_of_exactly_the_depth_limit_passes_and_one_deeper_fails() {
    let error = "error: ndjson item 2, byte 9: nested deeper than the limit of 2";
    limited(
        99,
        2,
        "[[],{}]\n[{\"a\":[]}]\n",
        &[
            "[[],{}]",
            "error: ndjson item 2, byte 14: nested deeper than the limit of 2",
        ],
    );
    limited(99, 2, "[[1]]\n [[[1]]]", &["[[1]]", error]);
    // Brackets in strings don't count.
    limited(99, 1, "[\"[[[\\\"[[[\"]\n", &["[\"[[[\\\"[[[\"]"]);
    limited(99, 0, "1\n", &["1"]);
}

#[test]
fn an_item_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"1\n {}\n");
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(chunk.clone());
    decoder.next().unwrap().unwrap();
    assert_eq!(
        decoder.next().unwrap().unwrap().data.as_ptr(),
        chunk[3..].as_ptr()
    );
}
