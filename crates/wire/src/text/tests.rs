use bytes::Bytes;

use super::{ChunkDecoder, encode_line};
use crate::{
    Format, Limits,
    testing::{Cuts, check, decode_chunks},
};

#[track_caller]
fn lines(input: &[u8], expected: &[&str]) {
    check(Format::Text, Limits::default(), input, expected);
}

#[test]
fn a_string_is_written_unquoted_and_anything_else_as_json() {
    let mut out = Vec::new();
    encode_line("say \"hi\"\t\u{1}ü", &mut out).unwrap();
    encode_line(&["a"], &mut out).unwrap();
    encode_line(&7, &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "say \"hi\"\t\u{1}ü\n[\"a\"]\n7\n"
    );
}

#[test]
fn every_line_is_an_item() {
    lines(b"", &[]);
    lines(b"a\n\n b \r\nc\rd\n\r\n", &["a", "", " b ", "c\rd", ""]);
    lines("\u{feff}ü\n€😀\n".as_bytes(), &["\u{feff}ü", "€😀"]);
}

#[test]
fn the_end_of_the_stream_ends_the_last_line() {
    lines(b"a\nb", &["a", "b"]);
    lines(b"a\nb\r", &["a", "b"]);
}

#[test]
fn invalid_utf8_is_an_error_with_its_offset() {
    lines(
        b"a\nb\xffc\nd\n",
        &["a", "error: text item 2, byte 3: not valid UTF-8"],
    );
    lines(
        b"a\nb\xc3\nd\n",
        &["a", "error: text item 2, byte 3: not valid UTF-8"],
    );
    lines(
        b"a\nb\xff",
        &["a", "error: text item 2, byte 3: not valid UTF-8"],
    );
}

#[test]
fn a_stream_that_ends_inside_a_character_is_truncated() {
    lines(
        b"a\nb\xe2\x82",
        &[
            "a",
            "error: text item 2, byte 3: the stream ended inside the item",
        ],
    );
}

#[test]
fn a_line_of_exactly_the_size_limit_passes_and_a_byte_more_fails() {
    let limits = Limits::default().with_max_item_bytes(5);
    let check = |input: &str, expected: &[&str]| {
        check(Format::Text, limits, input.as_bytes(), expected);
    };
    check("12345\n12345\r\n12345", &["12345"; 3]);
    let error = "error: text item 2, byte 7: larger than the limit of 5 bytes";
    check("a\n123456\n", &["a", error]);
    check("a\n123456", &["a", error]);
    check("a\n12345\r\r\n", &["a", error]);
}

fn chunks(limit: usize, input: &[u8], size: usize) -> (Vec<String>, Option<String>) {
    let limits = Limits::default().with_max_item_bytes(limit);
    let (texts, error) = decode_chunks(limits, input, &Cuts::every(size));
    (texts, error.map(|error| error.to_string()))
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().copied().map(String::from).collect()
}

#[test]
fn chunks_are_returned_unchanged_except_for_split_characters() {
    let input = "aü€b😀c".as_bytes();
    assert_eq!(
        chunks(99, input, 2),
        (texts(&["a", "ü", "€", "b", "😀c"]), None)
    );
    assert_eq!(chunks(99, input, 4), (texts(&["aü", "€b", "😀c"]), None));
    assert_eq!(chunks(99, input, 99), (texts(&["aü€b😀c"]), None));
}

#[test]
fn a_chunk_above_the_size_limit_is_returned_in_pieces() {
    assert_eq!(chunks(5, b"1234567", 99), (texts(&["12345", "67"]), None));
    assert_eq!(
        chunks(5, "1234😀5".as_bytes(), 99),
        (texts(&["1234", "😀5"]), None)
    );
    assert_eq!(
        chunks(0, "😀😀".as_bytes(), 99),
        (texts(&["😀", "😀"]), None)
    );
}

#[test]
fn all_text_before_an_error_is_returned() {
    let utf8 = Some("text item 2, byte 2: not valid UTF-8".to_owned());
    assert_eq!(chunks(99, b"ab\xffcd", 99), (texts(&["ab"]), utf8));
    let utf8 = Some("text item 3, byte 2: not valid UTF-8".to_owned());
    assert_eq!(chunks(99, b"ab\xc3cd", 1), (texts(&["a", "b"]), utf8));
    let cut = Some("text item 2, byte 2: the stream ended inside the item".to_owned());
    assert_eq!(chunks(99, b"ab\xe2\x82", 99), (texts(&["ab"]), cut));
}

#[test]
fn a_chunk_is_not_copied() {
    let chunk = Bytes::from_static("abü".as_bytes());
    let mut decoder = ChunkDecoder::new(Limits::default());
    decoder.push(chunk.clone());
    let event = decoder.next().unwrap().unwrap();
    assert_eq!(event.data.as_ptr(), chunk.as_ptr());
    assert_eq!((decoder.next(), decoder.items()), (Ok(None), 1));
}
