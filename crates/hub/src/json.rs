//! JSON mode: a body is one message, or an array of them.

use bytes::Bytes;
use headwater_wire::json;
pub(crate) use headwater_wire::json::on_one_line;

use crate::{error::Failure, limits::JSON_DEPTH};

/// The messages of a body: the elements of an array, or the value itself. Every message stands on one line.
///
/// # Errors
/// The body is not one JSON value, or nests too deep.
pub(crate) fn messages(body: Bytes) -> Result<Vec<Bytes>, Failure> {
    let is_array = body.trim_ascii_start().starts_with(b"[");
    // The array is one level around its messages.
    let depth = JSON_DEPTH + usize::from(is_array);
    let elements = json::elements(&body, depth).map_err(|error| not_json(&error.to_string()))?;
    let body = on_one_line(body);
    Ok(elements
        .into_iter()
        .map(|element| body.slice(element))
        .collect())
}

/// The message that is all of `text`: one JSON value.
///
/// # Errors
/// It is not one, or nests too deep.
pub(crate) fn message(text: Bytes) -> Result<Bytes, Failure> {
    let text = checked(text, JSON_DEPTH)?;
    Ok(text.slice_ref(text.trim_ascii()))
}

/// JSON on one line, after it was checked to be JSON as it came: a line break in a string is none.
fn checked(text: Bytes, depth: usize) -> Result<Bytes, Failure> {
    json::check(&text, depth).map_err(|error| not_json(&error.to_string()))?;
    Ok(on_one_line(text))
}

fn not_json(why: &str) -> Failure {
    Failure::bad_request(format!("not a JSON value that is taken here: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &'static str, expected: &[&str]) {
        let found = messages(Bytes::from_static(body.as_bytes()));
        let Ok(found) = found else {
            panic!("{body} was refused")
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn exactly_one_level_of_an_array_is_taken_apart() {
        check(r#" {"a": [1]} "#, &[r#"{"a": [1]}"#]);
        check(r#"[{"a":1}, "x" ,3]"#, &[r#"{"a":1}"#, r#""x""#, "3"]);
        check("[[1,2],[3]]", &["[1,2]", "[3]"]);
        check("[[[1]]]", &["[[1]]"]);
        check("[]", &[]);
        check("null", &["null"]);
    }

    #[test]
    fn a_message_stands_on_one_line_and_means_the_same() {
        check("{\r\n  \"a\": \"x\\ny\"\n}\n", &["{    \"a\": \"x\\ny\" }"]);
        check("[\n1,\n2\n]\n", &["1", "2"]);
    }

    #[test]
    fn what_is_no_json_is_refused() {
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
                messages(Bytes::from_static(bad.as_bytes())).is_err(),
                "{bad:?}"
            );
        }
        assert!(messages(Bytes::from_static(b"\"\xff\"")).is_err());
    }

    #[test]
    fn a_message_is_as_deep_as_the_limit_and_no_deeper() {
        let nested = |depth: usize| Bytes::from("[".repeat(depth) + &"]".repeat(depth));
        assert!(message(nested(JSON_DEPTH)).is_ok());
        assert!(message(nested(JSON_DEPTH + 1)).is_err());
        assert!(
            messages(nested(JSON_DEPTH + 1)).is_ok(),
            "one level is around the message"
        );
        assert!(messages(nested(JSON_DEPTH + 2)).is_err());
        let object = format!(
            "{{\"a\":{}1{}}}",
            "[".repeat(JSON_DEPTH),
            "]".repeat(JSON_DEPTH)
        );
        assert!(messages(object.into()).is_err());
    }
}
