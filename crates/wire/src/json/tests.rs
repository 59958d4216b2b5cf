use proptest::prelude::*;
use serde_json::value::RawValue;

use super::{Scan, check, elements, encode_on_one_line, scan::too_deep, trim};

#[test]
fn a_raw_value_with_line_breaks_is_put_on_one_line() {
    let raw = RawValue::from_string("{\n\"a\":\r\n1}".to_owned()).unwrap();
    let mut out = b"x\n".to_vec();
    encode_on_one_line(&raw, &mut out).unwrap();
    assert_eq!(out, b"x\n{ \"a\":  1}");
}

#[test]
fn the_check_accepts_every_form_of_json() {
    for text in [
        "0",
        "-0",
        "10",
        "1.5",
        "-0.0e-0",
        "1E+10",
        "true",
        "false",
        "null",
        "\"\"",
        "[]",
        "{}",
        " [ ] ",
        "\t{\r\n}\n",
        "[1,2]",
        "[[],{}]",
        "{\"\":{\"a\":[{}]}}",
        "{\"a\":1,\"a\":2}",
        r#""\"\\\/\b\f\n\r\t\u00fC""#,
        r#""\ud800""#,
        "\"ü€😀\u{7f}\"",
        "\"a string that is longer than a machine word, with an \\\" escape\"",
    ] {
        assert_eq!(check(text.as_bytes(), 128), Ok(()), "{text}");
    }
}

#[test]
fn the_check_reports_the_expected_syntax_and_its_offset() {
    for (text, error) in [
        ("x", "byte 0: expected a value"),
        ("[1,]", "byte 3: expected a value"),
        ("[,1]", "byte 1: expected a value"),
        ("{,}", "byte 1: expected a name or \"}\""),
        ("{\"a\":1,}", "byte 7: expected a name"),
        ("{1:2}", "byte 1: expected a name or \"}\""),
        ("{\"a\" 1}", "byte 5: expected \":\""),
        ("{\"a\":1 \"b\"}", "byte 7: expected \",\" or \"}\""),
        ("[1 2]", "byte 3: expected \",\" or \"]\""),
        ("[1}", "byte 2: expected \",\" or \"]\""),
        ("{\"a\":1]", "byte 6: expected \",\" or \"}\""),
        ("1 2", "byte 2: expected the end"),
        ("[]]", "byte 2: expected the end"),
        ("01", "byte 1: expected the end"),
        ("-", "byte 1: expected a digit, found the end"),
        ("-x", "byte 1: expected a digit"),
        ("1.", "byte 2: expected a digit, found the end"),
        ("1.x", "byte 2: expected a digit"),
        ("1e+", "byte 3: expected a digit, found the end"),
        ("+1", "byte 0: expected a value"),
        (".5", "byte 0: expected a value"),
        ("trUe", "byte 2: expected true, false or null"),
        ("nul", "byte 3: expected true, false or null, found the end"),
        ("nulll", "byte 4: expected the end"),
        ("\"a", "byte 2: expected the end of a string, found the end"),
        (
            "\"a\nb\"",
            "byte 2: expected no control character in a string",
        ),
        (
            "\"12345678\0\"",
            "byte 9: expected no control character in a string",
        ),
        ("\"\\x\"", "byte 2: expected an escape: one of \"\\/bfnrtu"),
        ("\"\\u12g4\"", "byte 5: expected four hexadecimal digits"),
        (
            "\"\\u12",
            "byte 5: expected four hexadecimal digits, found the end",
        ),
        ("", "byte 0: expected a value, found the end"),
        (" ", "byte 1: expected a value, found the end"),
        ("[1", "byte 2: expected \",\" or \"]\", found the end"),
        ("\u{feff}1", "byte 0: expected a value"),
        ("1\u{1e}", "byte 1: expected the end"),
    ] {
        let found = check(text.as_bytes(), 128).unwrap_err();
        assert_eq!(found.to_string(), error, "{text:?}");
        assert_eq!(found.is_end(), error.ends_with("found the end"), "{text:?}");
        assert!(found.expected().is_some() && !found.is_utf8() && !found.is_too_deep());
    }
}

#[test]
fn the_check_reports_the_first_fault_of_any_kind() {
    for (bytes, error) in [
        (&b"\"a\xffb\""[..], "byte 2: not valid UTF-8"),
        (b"[\"\xc3\", x]", "byte 2: not valid UTF-8"),
        (b"[x, \"\xff\"]", "byte 1: expected a value"),
        (b"\xff", "byte 0: expected a value"),
        (b"\"\xc3\n\"", "byte 1: not valid UTF-8"),
        (b"\"\xed\xa0\x80\"", "byte 1: not valid UTF-8"),
        (b"\"\xc0\xaf\"", "byte 1: not valid UTF-8"),
        (
            b"\"\xc3",
            "byte 2: expected the end of a string, found the end",
        ),
    ] {
        assert_eq!(
            check(bytes, 128).unwrap_err().to_string(),
            error,
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn the_check_needs_no_recursion_and_stops_at_the_depth_limit() {
    let deep = |depth: usize| "[{\"a\":".repeat(depth / 2) + "1" + &"}]".repeat(depth / 2);
    assert_eq!(check(deep(128).as_bytes(), 128), Ok(()));
    let error = check(deep(130).as_bytes(), 128).unwrap_err();
    assert!(error.is_too_deep());
    assert_eq!(
        error.to_string(),
        "byte 384: nested deeper than the limit of 128"
    );
    assert_eq!(check(deep(1_000_000).as_bytes(), usize::MAX), Ok(()));
    assert!(check(b"[]", 0).unwrap_err().is_too_deep());
    assert_eq!(check(b"1", 0), Ok(()));
}

#[test]
fn depth_is_counted_outside_of_strings_only() {
    assert_eq!(too_deep(b"[[1],[2],[3]]", 2), None);
    assert_eq!(too_deep(b"[[1],[2],[[3]]]", 2), Some(10));
    assert_eq!(too_deep(br#"["[[\"[[",{}]"#, 2), None);
    assert_eq!(too_deep(br#"["[[\"[[",{"a":[]}]"#, 2), Some(15));
    // Unmatched closing brackets don't count, and an unterminated string ends the count.
    assert_eq!(too_deep(b"]]]][\"[[[", 2), None);
}

#[test]
fn a_value_in_pieces_ends_with_its_last_bracket() {
    let text = br#"{"a]}\\":["\"]",{}],"b":"}"} , 1"#;
    let end = text.len() - 4;
    assert_eq!(Scan::default().piece(text, 3), Ok(Some(end)));
    for cut in 1..end {
        let mut scan = Scan::default();
        assert_eq!(scan.piece(&text[..cut], 3), Ok(None), "{cut}");
        assert_eq!(scan.piece(&text[cut..], 3), Ok(Some(end - cut)), "{cut}");
    }
}

#[test]
fn white_space_is_trimmed_on_both_sides() {
    assert_eq!(trim(b" \t[ 1 ]\r\n"), 2..7);
    assert_eq!(trim(b"1"), 0..1);
    assert!(trim(b" \n").is_empty() && trim(b"").is_empty());
}

#[test]
fn an_array_may_have_as_many_elements_as_the_limit() {
    for text in ["[]", "[1]", "[1,2]", "[ [1,2,3] , {\"a\":[4,5,6]} ]", "7"] {
        assert!(elements(text.as_bytes(), 128, 2).is_ok(), "{text}");
    }
    for (text, offset) in [("[1,2,3]", 5), ("[1, 2, 3,", 6)] {
        let error = elements(text.as_bytes(), 128, 2).unwrap_err();
        assert!(error.is_too_many(), "{text}: {error}");
        assert_eq!(error.offset(), offset, "{text}");
    }
    let error = elements(b"[1,2,[3", 128, 2).unwrap_err();
    assert!(error.is_end(), "the third is not whole: {error}");
}

#[test]
fn elements_are_separated_by_the_outermost_commas() {
    #[track_caller]
    fn is(text: &str, expected: &[&str]) {
        let found = elements(text.as_bytes(), 128, usize::MAX).unwrap();
        let found: Vec<_> = found.into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, expected, "{text}");
    }
    is("[]", &[]);
    is(" [ \n] ", &[]);
    is("[1]", &["1"]);
    is(" [ 1\t,\r\n 2 ]\n", &["1", "2"]);
    is("[[1,2],[3],[]]", &["[1,2]", "[3]", "[]"]);
    is(
        r#"[{"a":[1,{"b":2}]}, "x,]" , null]"#,
        &[r#"{"a":[1,{"b":2}]}"#, r#""x,]""#, "null"],
    );
    is(r#" {"a": [1, 2]} "#, &[r#"{"a": [1, 2]}"#]);
    is(" 1 ", &["1"]);
    for wrong in ["", "[", "[1,]", "[1][2]", "[1 2]", "1 2", "[1,2", "[[1],2}"] {
        let error = elements(wrong.as_bytes(), 128, usize::MAX).unwrap_err();
        assert_eq!(Err(error), check(wrong.as_bytes(), 128), "{wrong}");
    }
    assert!(elements(b"[[1]]", 1, 9).unwrap_err().is_too_deep());
    assert!(elements(b"[\"\xff\"]", 1, 9).unwrap_err().is_utf8());
}

proptest! {
    #[test]
    fn elements_match_those_of_a_deserialiser(
        values in prop::collection::vec(json_value(), 0..8),
        spaces in prop::collection::vec("[ \t\r\n]{0,2}", 18),
    ) {
        let mut text = format!("{}[", spaces[0]);
        for (n, value) in values.iter().enumerate() {
            if n > 0 {
                text.push(',');
            }
            text.push_str(&format!("{}{value}{}", spaces[1 + 2 * n], spaces[2 + 2 * n]));
        }
        text.push_str(&format!("]{}", spaces[17]));
        let expected: Vec<&RawValue> = serde_json::from_str(&text).unwrap();
        let found = elements(text.as_bytes(), 128, usize::MAX).unwrap();
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.into_iter().zip(expected) {
            prop_assert_eq!(&text[found], expected.get());
        }
    }
}

/// Returns JSON values in varying notation.
fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i32>().prop_map(|number| number.to_string()),
        "[a-z,\\[\\]{} ]{0,6}".prop_map(|text| format!("{text:?}")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let inner = prop::collection::vec(inner, 0..4);
        prop_oneof![
            inner
                .clone()
                .prop_map(|values| format!("[ {} ]", values.join(" ,"))),
            inner.prop_map(|values| {
                let fields: Vec<_> = values
                    .iter()
                    .map(|value| format!("\"k\" :{value}"))
                    .collect();
                format!("{{{}}}", fields.join(", "))
            }),
        ]
    })
}
