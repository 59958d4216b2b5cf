//! JSON mode: a body is one message, or an array of messages.

use bytes::{Buf, Bytes};
pub(crate) use headwater_wire::json::on_one_line;
use headwater_wire::json::{self, CheckError};

use crate::{error::Failure, limits::JSON_DEPTH};

/// Returns the messages of a body: the elements of an array, or the value itself. Every message is
/// on one line. A byte order mark before the body is ignored.
///
/// # Errors
/// The body is not one JSON value, or nests too deep. 413: it has more than `most` messages;
/// further ones are not examined.
pub(crate) fn messages(mut body: Bytes, most: usize) -> Result<Vec<Bytes>, Failure> {
    body.advance(body.len() - json::without_bom(&body).len());
    let is_array = body.trim_ascii_start().starts_with(b"[");
    // The array is one level around its messages.
    let depth = JSON_DEPTH + usize::from(is_array);
    let elements =
        json::elements(&body, depth, most).map_err(|error| match error.is_too_many() {
            true => Failure::too_many_messages(most),
            false => not_json(&error),
        })?;
    let body = json::unfolded(body);
    let messages = elements.into_iter().map(|element| body.slice(element));
    // Checked once for the whole body, as most bodies have none.
    Ok(match json::has_line_separators(&body) {
        false => messages.collect(),
        true => messages.map(json::escape_line_separators).collect(),
    })
}

/// Returns the message that consists of all of `text`: one JSON value.
///
/// # Errors
/// It is not a JSON value, or nests too deep.
pub(crate) fn message(text: Bytes) -> Result<Bytes, Failure> {
    // Checked before unfolding: a line break within a string is not JSON.
    json::check(&text, JSON_DEPTH).map_err(|error| not_json(&error))?;
    let text = on_one_line(text);
    Ok(text.slice_ref(text.trim_ascii()))
}

fn not_json(error: &CheckError) -> Failure {
    let why = match error.is_too_deep() {
        // An array around messages isn't a level of theirs.
        true => format!(
            "byte {}: a message is nested deeper than the limit of {JSON_DEPTH} levels",
            error.offset()
        ),
        false => error.to_string(),
    };
    Failure::bad_request(format!("not an accepted JSON value: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &'static str, expected: &[&str]) {
        let found = messages(Bytes::from_static(body.as_bytes()), 9);
        let Ok(found) = found else {
            panic!("{body} was refused")
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn exactly_one_level_of_an_array_is_split() {
        check(r#" {"a": [1]} "#, &[r#"{"a": [1]}"#]);
        check(r#"[{"a":1}, "x" ,3]"#, &[r#"{"a":1}"#, r#""x""#, "3"]);
        check("[[1,2],[3]]", &["[1,2]", "[3]"]);
        check("[[[1]]]", &["[[1]]"]);
        check("[]", &[]);
        check("null", &["null"]);
    }

    #[test]
    fn a_message_is_on_one_line_and_means_the_same() {
        check("{\r\n  \"a\": \"x\\ny\"\n}\n", &["{    \"a\": \"x\\ny\" }"]);
        check("[\n1,\n2\n]\n", &["1", "2"]);
    }

    #[test]
    fn no_reader_finds_a_line_break_in_a_message() {
        let escaped = r#"{"a\u2028": "b\u2029\u0085–"}"#;
        let raw = "{\"a\u{2028}\": \"b\u{2029}\u{85}–\"}";
        check(raw, &[escaped]);
        let array = Box::leak(format!("[1,\n{raw} ,\"–\", {raw}]").into_boxed_str());
        check(array, &["1", escaped, "\"–\"", escaped]);
        assert_eq!(message(raw.into()).ok().unwrap(), escaped);
    }

    #[test]
    fn a_byte_order_mark_is_only_ignored_at_the_start() {
        check("\u{feff}[1, \"\u{feff}\"]", &["1", "\"\u{feff}\""]);
        check("\u{feff} {}", &["{}"]);
        for bad in ["\u{feff}", "\u{feff}\u{feff}1", " \u{feff}1", "[\u{feff}1]"] {
            assert!(messages(bad.into(), 9).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn invalid_json_is_refused() {
        for bad in [
            "",
            " ",
            "{",
            "[1,]",
            "1 2",
            "nul",
            "\"\u{1}\"",
            "[1][2]",
            "\u{c}1",
            "\"a\nb\"",
            "[\"a\rb\"]",
        ] {
            assert!(
                messages(Bytes::from_static(bad.as_bytes()), 9).is_err(),
                "{bad:?}"
            );
        }
        assert!(messages(Bytes::from_static(b"\"\xff\""), 9).is_err());
    }

    #[test]
    fn the_depth_of_a_message_is_limited() {
        let nested = |depth: usize| Bytes::from("[".repeat(depth) + &"]".repeat(depth));
        assert!(message(nested(JSON_DEPTH)).is_ok());
        assert!(message(nested(JSON_DEPTH + 1)).is_err());
        assert!(
            messages(nested(JSON_DEPTH + 1), 9).is_ok(),
            "one level is around the message"
        );
        for failed in [
            message(nested(JSON_DEPTH + 1)).map(drop),
            messages(nested(JSON_DEPTH + 2), 9).map(drop),
        ] {
            let problem = failed.err().unwrap().into_problem().to_string();
            assert!(problem.ends_with("the limit of 127 levels"), "{problem}");
        }
        let object = format!(
            "{{\"a\":{}1{}}}",
            "[".repeat(JSON_DEPTH),
            "]".repeat(JSON_DEPTH)
        );
        assert!(messages(object.into(), 9).is_err());
    }
}
