use bytes::Bytes;

use super::Decoder;
use crate::{Format, Limits, testing::check};

#[track_caller]
fn array(input: &[u8], expected: &[&str]) {
    check(Format::JsonArray, Limits::default(), input, expected);
}

#[track_caller]
fn limited(bytes: usize, depth: usize, input: &str, expected: &[&str]) {
    let limits = Limits::default()
        .with_max_item_bytes(bytes)
        .with_max_depth(depth);
    check(Format::JsonArray, limits, input.as_bytes(), expected);
}

#[test]
fn every_element_is_an_item() {
    array(b"[]", &[]);
    array(b" [ ] \r\n", &[]);
    array(b"[1]", &["1"]);
    array(
        b" [ -1.5e+3 ,\ttrue,null , \"a,]\\\\\" ,[1 , [2]],{ \"]\": \"\\\"}\" }\n]\n",
        &[
            "-1.5e+3",
            "true",
            "null",
            "\"a,]\\\\\"",
            "[1 , [2]]",
            "{ \"]\": \"\\\"}\" }",
        ],
    );
    array(
        "[\"ü\",{\"é\":\"😀\"}]".as_bytes(),
        &["\"ü\"", "{\"é\":\"😀\"}"],
    );
}

#[test]
fn a_byte_order_mark_is_ignored_only_at_the_start() {
    array("\u{feff}[1]".as_bytes(), &["1"]);
    array(
        "\u{feff} [1,\"\u{feff}\"]".as_bytes(),
        &["1", "\"\u{feff}\""],
    );
    for (input, at) in [
        ("\u{feff}\u{feff}[]", 3),
        (" \u{feff}[]", 1),
        ("\u{feff}{}", 3),
    ] {
        let error = format!("error: json item 1, byte {at}: expected \"[\"");
        array(input.as_bytes(), &[&error]);
    }
    array(
        b"\xef\xbb[]",
        &["error: json item 1, byte 2: expected \"[\""],
    );
    array(
        b"\xef [\xbb",
        &["error: json item 1, byte 2: expected \"[\""],
    );
}

#[test]
fn a_malformed_array_is_an_error_with_its_offset() {
    let error = |n, at, what| format!("error: json item {n}, byte {at}: expected {what}");
    for (input, given, error) in [
        ("1", 0, error(1, 0, "\"[\"")),
        ("{}", 0, error(1, 0, "\"[\"")),
        ("[,1]", 0, error(1, 1, "a value or \"]\"")),
        ("[x]", 0, error(1, 1, "a value or \"]\"")),
        ("[1 2]", 1, error(2, 3, "\",\" or \"]\"")),
        ("[1\"a\"]", 1, error(2, 2, "\",\" or \"]\"")),
        ("[1}", 1, error(2, 2, "\",\" or \"]\"")),
        ("[1,]", 1, error(2, 3, "a value")),
        ("[1,,2]", 1, error(2, 3, "a value")),
        ("[1] 2", 1, error(2, 4, "the end after \"]\"")),
        ("[[}]", 0, error(1, 2, "\"]\", found \"}\"")),
        ("[{]}", 0, error(1, 2, "\"}\", found \"]\"")),
    ] {
        let mut expected = vec!["1"; given];
        expected.push(&error);
        array(input.as_bytes(), &expected);
    }
}

#[test]
fn an_array_without_its_end_is_truncated() {
    for input in ["", " ", "[", "[1", "[1 ", "[1,", "[1,{\"a", "[1,\"\\"] {
        let item = if input.starts_with("[1") && input != "[1" {
            2
        } else {
            1
        };
        let at = input.len();
        let error = format!("error: json item {item}, byte {at}: the stream ended inside the item");
        let expected = [&["1"][..item - 1], &[&error]].concat();
        array(input.as_bytes(), &expected);
    }
    // The last element may be complete, but the bytes after it are unknown.
    array(
        b"[1,[2]",
        &[
            "1",
            "[2]",
            "error: json item 3, byte 6: the stream ended inside the item",
        ],
    );
}

#[test]
fn invalid_utf8_is_an_error_with_its_offset() {
    array(
        b"[1,\"a\xff\"]",
        &["1", "error: json item 2, byte 5: not valid UTF-8"],
    );
    array(
        b"[\xff]",
        &["error: json item 1, byte 1: expected a value or \"]\""],
    );
}

#[test]
fn an_element_of_exactly_the_size_limit_passes_and_a_byte_more_fails() {
    limited(
        5,
        9,
        "[12345 ,\"123\", [{}] ,12345]",
        &["12345", "\"123\"", "[{}]", "12345"],
    );
    let error = "error: json item 2, byte 8: larger than the limit of 5 bytes";
    limited(5, 9, "[1,123456]", &["1", error]);
    limited(5, 9, "[1,\"1234\"]", &["1", error]);
    limited(5, 9, "[1,[123]]", &["1", "[123]"]);
    limited(5, 9, "[1,[1234]]", &["1", error]);
    limited(
        5,
        9,
        "[1,[123}}",
        &[
            "1",
            "error: json item 2, byte 7: expected \"]\", found \"}\"",
        ],
    );
    limited(5, 9, "[1,[1234}", &["1", error]);
}

#[test]
fn an_unfinished_element_fails_as_soon_as_it_is_too_large() {
    let mut decoder = Decoder::new(Limits::default().with_max_item_bytes(100));
    decoder.push(Bytes::from(format!("[\"{}", "x".repeat(99))));
    assert_eq!(decoder.next(), Ok(None));
    decoder.push(Bytes::from_static(b"x"));
    assert!(decoder.next().unwrap_err().is_too_large());
}

#[test]
fn an_element_of_exactly_the_depth_limit_passes_and_one_deeper_fails() {
    let error = "error: json item 2, byte 9: nested deeper than the limit of 2";
    limited(99, 2, "[[[1]],[{[", &["[[1]]", error]);
    limited(
        99,
        0,
        "[1,\"[\",[]]",
        &[
            "1",
            "\"[\"",
            "error: json item 3, byte 7: nested deeper than the limit of 0",
        ],
    );
}

#[test]
fn an_element_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"[1, {}]");
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(chunk.clone());
    decoder.next().unwrap().unwrap();
    assert_eq!(
        decoder.next().unwrap().unwrap().data.as_ptr(),
        chunk[4..].as_ptr()
    );
}
