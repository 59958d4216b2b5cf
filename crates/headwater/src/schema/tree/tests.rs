use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::*;

/// Returns the text as a `Value`, if it can be parsed as a tree. Checks that both are equal.
#[track_caller]
fn parse(text: &str) -> Option<Value> {
    let tree = Tree::parse(text.as_bytes())?;
    let value: Value = serde_json::from_str(text).unwrap();
    assert_eq!(tree.to_value(), value);
    Some(value)
}

#[test]
fn a_text_parses_like_a_value() {
    for text in [
        "null",
        " [true, false, [], {}] ",
        r#"{"": {"": ""}, "\u00fc\n": "\ud83e\udd80", "ü": "a\"b"}"#,
        "[0, -0, -0.0, 1.0, 0.1e1, 1E-400, 18446744073709551615, -9223372036854775808]",
        "[18446744073709551616, -9223372036854775809, 123456789012345678901234567890]",
    ] {
        assert!(parse(text).is_some(), "{text}");
    }
    let zero = Tree::parse(b"-0.0").unwrap().to_value();
    assert!(zero.as_f64().unwrap().is_sign_negative());
}

#[test]
fn invalid_json_is_not_a_tree() {
    for text in ["", "1e400", "[1,]", "{1: 2}", "\"\\ud800\"", "1 2", "nul"] {
        assert!(Tree::parse(text.as_bytes()).is_none(), "{text}");
    }
    assert!(Tree::parse(b"[\"\xff\"]").is_none());
}

#[test]
fn the_nesting_limit_equals_that_of_a_value() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert!(parse(&nested(127)).is_some());
        assert!(serde_json::from_str::<Value>(&nested(128)).is_err());
        assert!(Tree::parse(nested(128).as_bytes()).is_none());
    }
}

#[test]
fn unsuitable_objects_are_left_to_values() {
    assert!(Tree::parse(br#"[{"a": 1, "b": 2, "a": 3}]"#).is_none());
    assert!(Tree::parse(br#"{"a": 1, "\u0061": 2}"#).is_none());
    assert!(Tree::parse(br#"{"$serde_json::private::RawValue": "1"}"#).is_none());
    let object = |members: usize| {
        let members: BTreeMap<_, _> = (0..members).map(|name| (name.to_string(), name)).collect();
        serde_json::to_string(&members).unwrap()
    };
    assert!(parse(&object(MAX_MEMBERS)).is_some());
    assert!(Tree::parse(object(MAX_MEMBERS + 1).as_bytes()).is_none());
}

#[test]
fn strings_without_escapes_are_borrowed() {
    let text = br#"{"name": "text", "\n": "\n"}"#;
    let Some(Tree::Object(members)) = Tree::parse(text) else {
        panic!("an object");
    };
    let borrowed = |text: &Cow<'_, str>| matches!(text, Cow::Borrowed(_));
    let all: Vec<_> = members
        .iter()
        .map(|(name, value)| {
            let Tree::String(value) = value else {
                panic!("a string");
            };
            (borrowed(name), borrowed(value))
        })
        .collect();
    assert_eq!(all, [(true, true), (false, false)]);
}

#[test]
fn the_tree_fulfils_the_contract_of_jsonschema() {
    use jsonschema::json::conformance;
    let text = conformance::document().to_string();
    let tree = Tree::parse(text.as_bytes()).unwrap();
    conformance::assert_conformance::<json::Trees>(&&tree);
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Unit,
    Single(u8),
    Pair(i8, String),
    Fields { a: u8 },
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Symbol(String);

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
    Fields { a: Option<u8> },
    Any(Value),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    A { b: u8 },
    B,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Brackets {
    V(),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Flat {
    a: Option<i8>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Checks that a tree and a `Value` of the same text deserialise equally. A tree may fail where a
/// `Value` succeeds.
#[track_caller]
fn agree<T>(value: &Value, quick: bool)
where
    T: DeserializeOwned + PartialEq + fmt::Debug,
{
    let text = value.to_string();
    let tree = Tree::parse(text.as_bytes()).unwrap();
    let by_tree = T::deserialize(tree).ok();
    let by_value = T::deserialize(value).ok();
    assert_eq!(by_tree.is_some(), quick, "{text}");
    if quick {
        assert_eq!(by_tree, by_value, "{text}");
    }
}

#[test]
fn a_type_deserialises_from_a_tree_as_from_a_value() {
    agree::<(u8, f32, char, Option<()>, bool)>(&json!([1, 2, "x", null, true]), true);
    agree::<Vec<Kind>>(
        &json!(["unit", {"unit": null}, {"single": 1}, {"pair": [1, "a"]}, {"fields": {"a": 1}}]),
        true,
    );
    agree::<Symbol>(&json!("BROOK"), true);
    agree::<BTreeMap<Symbol, Value>>(&json!({"a": {"b": [1.5, -1, "c"]}}), true);
    agree::<Vec<Untagged>>(&json!([1, 256, "a", {"a": 1}, {"a": "1"}, null]), true);
    agree::<Vec<Tagged>>(&json!([{"kind": "A", "b": 1}, {"b": 1, "kind": "B"}]), true);
    agree::<Flat>(&json!({"b": [{}], "a": 1}), true);
    agree::<Value>(&json!({"b": [{"a": null}], "a": -0.0}), true);
    agree::<u128>(&json!(u64::MAX), true);
}

#[test]
fn a_type_refuses_a_tree_as_it_refuses_a_value() {
    for wrong in [
        json!({"unit": 1}),
        json!({}),
        json!({"single": 1, "unit": null}),
        json!({"pair": [1, "a", 2]}),
        json!({"pair": [1]}),
        json!({"fields": [1]}),
        json!(1),
    ] {
        assert!(Kind::deserialize(&wrong).is_err(), "{wrong}");
        agree::<Kind>(&wrong, false);
    }
    agree::<(u8, u8)>(&json!([1, 2, 3]), false);
    agree::<u8>(&json!("1"), false);
    agree::<u8>(&json!(1.0), false);
    agree::<bool>(&json!(1), false);
    agree::<String>(&json!(1), false);
    agree::<()>(&json!(0), false);
    // A `Value` succeeds here, on the complete path.
    agree::<BTreeMap<u8, u8>>(&json!({"1": 1}), false);
}

#[test]
fn a_variant_with_empty_parentheses_deserialises_as_from_text() {
    let text = r#"{"V": []}"#;
    let tree = Tree::parse(text.as_bytes()).unwrap();
    assert_eq!(Brackets::deserialize(tree).unwrap(), Brackets::V());
    assert_eq!(
        serde_json::from_str::<Brackets>(text).unwrap(),
        Brackets::V()
    );
}
