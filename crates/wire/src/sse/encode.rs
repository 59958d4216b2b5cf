use std::time::Duration;

use memchr::{memchr, memchr2};
use serde::Serialize;

use crate::{EncodeError, Meta, error::EncodeKind, json};

/// Appends one event whose data is `item` as JSON.
///
/// # Errors
///
/// If `meta` contains a character that an SSE field can't, or `item` can't be serialised. The bytes
/// that were appended before the error stay in `out`.
#[inline]
pub fn encode_json<T: Serialize + ?Sized>(
    meta: &Meta<'_>,
    item: &T,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    encode_meta(meta, out)?;
    out.extend_from_slice(b"data: ");
    json::encode_on_one_line(item, out)?;
    out.extend_from_slice(b"\n\n");
    Ok(())
}

/// Appends one event whose data is `data`, with one `data:` line for each line.
///
/// A CR or CRLF in `data` arrives as LF, because the format has no other line end (WHATWG HTML
/// §9.2.6).
///
/// # Errors
///
/// If `meta` contains a character that an SSE field can't. The bytes that were appended before the
/// error stay in `out`.
pub fn encode_text(meta: &Meta<'_>, data: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    encode_meta(meta, out)?;
    encode_lines(b"data: ", data.as_bytes(), out);
    out.push(b'\n');
    Ok(())
}

/// Appends a comment, which readers ignore: a heartbeat, or a note for people.
pub fn encode_comment(comment: &str, out: &mut Vec<u8>) {
    encode_lines(b": ", comment.as_bytes(), out);
    out.push(b'\n');
}

/// Appends the reconnection time, in whole milliseconds.
pub fn encode_retry(retry: Duration, out: &mut Vec<u8>) {
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(retry.as_millis().to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[inline]
fn encode_meta(meta: &Meta<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if let Some(event) = meta.event {
        encode_field("event", event, out)?;
    }
    if let Some(id) = meta.id {
        // "If the field value contains U+0000 NULL, then ignore the field" (§9.2.6): an id with one
        // would be lost silently.
        if memchr(0, id.as_bytes()).is_some() {
            return Err(EncodeError(EncodeKind::Field {
                field: "id",
                found: "a NUL",
            }));
        }
        encode_field("id", id, out)?;
    }
    if let Some(retry) = meta.retry {
        out.extend_from_slice(b"retry: ");
        out.extend_from_slice(retry.as_millis().to_string().as_bytes());
        out.push(b'\n');
    }
    Ok(())
}

fn encode_field(field: &'static str, value: &str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if memchr2(b'\n', b'\r', value.as_bytes()).is_some() {
        return Err(EncodeError(EncodeKind::Field {
            field,
            found: "a line break",
        }));
    }
    out.extend_from_slice(field.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
    Ok(())
}

/// Appends each line of `text` (ended by LF, CR or CRLF) after `prefix`, the name of a field with its
/// colon. Readers remove one space after the colon, so if `prefix` has none, a value that starts with a
/// space gets another one (§9.2.6).
pub fn encode_lines(prefix: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        out.extend_from_slice(prefix);
        if rest.starts_with(b" ") && prefix.ends_with(b":") {
            out.push(b' ');
        }
        let Some(at) = memchr2(b'\n', b'\r', rest) else {
            out.extend_from_slice(rest);
            out.push(b'\n');
            return;
        };
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        let end = if rest[at..].starts_with(b"\r\n") {
            2
        } else {
            1
        };
        rest = &rest[at + end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(meta: &Meta<'_>, data: &str) -> String {
        let mut out = Vec::new();
        encode_text(meta, data, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_of_the_data_becomes_a_field() {
        assert_eq!(
            text(&Meta::default(), "a\nb\r\nc\rd"),
            "data: a\ndata: b\ndata: c\ndata: d\n\n"
        );
        assert_eq!(text(&Meta::default(), ""), "data: \n\n");
        assert_eq!(text(&Meta::default(), "a\n"), "data: a\ndata: \n\n");
    }

    #[test]
    fn metadata_comes_before_the_data() {
        let meta = Meta::default()
            .event("tick")
            .id("7")
            .retry(Duration::from_millis(1500));
        assert_eq!(
            text(&meta, "x"),
            "event: tick\nid: 7\nretry: 1500\ndata: x\n\n"
        );
    }

    #[test]
    fn a_value_that_the_format_cannot_represent_is_refused() {
        for (meta, message) in [
            (
                Meta::default().id("a\nb"),
                "an SSE id can't hold a line break",
            ),
            (Meta::default().id("a\0b"), "an SSE id can't hold a NUL"),
            (
                Meta::default().event("a\rb"),
                "an SSE event can't hold a line break",
            ),
        ] {
            let error = encode_text(&meta, "x", &mut Vec::new()).unwrap_err();
            assert!(error.is_field());
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_comment_of_two_lines_stays_a_comment() {
        let mut out = Vec::new();
        encode_comment("one\ntwo", &mut out);
        assert_eq!(out, b": one\n: two\n\n");
    }
}
