use bytes::Bytes;

use super::{Decoder, Splitter};
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

/// Returns the lines of a stream, and then `error` if there is one.
fn split(limit: usize, chunks: &mut dyn Iterator<Item = &[u8]>) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new(Limits::default().with_max_item_bytes(limit));
    let mut found = Vec::new();
    let mut next = |splitter: &mut Splitter| {
        loop {
            match splitter.next() {
                Ok(Some(line)) => found.push(line.to_vec()),
                Ok(None) => return found.len(),
                Err(error) => {
                    assert!(error.is_too_large());
                    assert_eq!(error.item(), splitter.items() + 1);
                    found.push(b"error".to_vec());
                    return found.len();
                }
            }
        }
    };
    for chunk in chunks {
        splitter.push(Bytes::copy_from_slice(chunk));
        if next(&mut splitter) as u64 > splitter.items() {
            return found;
        }
    }
    splitter.finish();
    next(&mut splitter);
    found
}

#[test]
fn any_chunking_leads_to_the_same_unchanged_lines() {
    let plain = "1\n\n 22\r\n333\n4";
    for text in [plain, &format!("\u{feff}{plain}"), &format!("{plain}\n")] {
        for size in 1..=text.len() {
            let lines = split(100, &mut text.as_bytes().chunks(size));
            assert_eq!(lines.len(), 5);
            let all = text.trim_start_matches('\u{feff}');
            assert_eq!(lines.concat(), all.as_bytes(), "in pieces of {size}");
            assert!(lines.iter().rev().skip(1).all(|line| line.ends_with(b"\n")));
        }
    }
}

#[test]
fn an_incomplete_byte_order_mark_belongs_to_the_line() {
    for text in [&b"\xef"[..], b"\xef\xbb", b"\xef\xbb1\n", b" \xef\xbb\xbf"] {
        for size in [1, 100] {
            assert_eq!(split(100, &mut text.chunks(size)), [text]);
        }
    }
    assert!(split(100, &mut b"\xef\xbb\xbf".chunks(1)).is_empty());
}

#[test]
fn a_line_is_as_long_as_the_limit_and_no_longer() {
    for size in [1, 2, 100] {
        let split = |text: &'static str| split(4, &mut text.as_bytes().chunks(size));
        assert_eq!(split("1234\n1234"), [b"1234\n", &b"1234"[..]]);
        assert_eq!(split("1\n12345\n"), [b"1\n", &b"error"[..]]);
        assert_eq!(split("12345"), [b"error"]);
    }
}

#[test]
fn a_line_that_looked_like_a_byte_order_mark_is_limited() {
    for text in [&b"\xef\xbb1\n"[..], b"\xef\xbb\n", b"\xef1", b"\xef\xbb"] {
        let len = text.strip_suffix(b"\n").unwrap_or(text).len();
        for size in 1..=text.len() {
            for limit in 0..len {
                assert_eq!(split(limit, &mut text.chunks(size)), [b"error"], "{limit}");
            }
            assert_eq!(split(len, &mut text.chunks(size)), [text]);
        }
    }
}

#[test]
fn buffered_bytes_are_those_that_were_not_returned() {
    let mut splitter = Splitter::new(Limits::default());
    splitter.push("1\n23".into());
    splitter.push("4".into());
    assert_eq!(splitter.buffered(), 5);
    assert!(splitter.next().unwrap().is_some());
    assert_eq!(splitter.buffered(), 3);
    assert!(splitter.next().unwrap().is_none());
    assert_eq!(splitter.buffered(), 3);
    splitter.push("\n".into());
    assert_eq!(splitter.next().unwrap().unwrap(), "234\n");
    assert_eq!(splitter.buffered(), 0);
}
