//! Tests that write every value twice, with `serde_json` and with this module.

mod finite;
mod keys;
mod properties;
mod raw;
mod scalars;
mod types;

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer, ser::SerializeSeq as _};
use serde_json::json;

use super::append;

/// Checks that both write the same except for separators, or fail in the same way. Earlier output
/// must be unchanged.
#[track_caller]
fn check<T: Serialize + ?Sized>(value: &T) {
    let mut out = b"before ".to_vec();
    out.shrink_to_fit();
    match (append(value, &mut out), serde_json::to_string(value)) {
        (Ok(()), Ok(expected)) => {
            let expected = expected
                .replace('\u{85}', "\\u0085")
                .replace('\u{2028}', "\\u2028")
                .replace('\u{2029}', "\\u2029");
            assert_eq!(String::from_utf8_lossy(&out), format!("before {expected}"));
        }
        (Err(error), Err(expected)) => {
            assert_eq!(error.to_string(), expected.to_string());
            assert_eq!(error.classify(), expected.classify());
        }
        (result, expected) => panic!("{result:?} instead of {expected:?}"),
    }
}

#[track_caller]
fn written<T: Serialize + ?Sized>(value: &T) -> String {
    let mut out = Vec::new();
    append(value, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_wrongly_announced_length_has_no_effect() {
    struct Liar(usize);
    impl Serialize for Liar {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut elements = serializer.serialize_seq(Some(self.0))?;
            elements.serialize_element(&1)?;
            elements.end()
        }
    }
    assert_eq!(written(&[Liar(0), Liar(9)]), "[[1],[1]]");
}

#[test]
fn an_error_of_the_item_is_returned_unchanged() {
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("out of order"))
        }
    }
    check(&(1, Broken));
    check(&BTreeMap::from([("a", Broken)]));
}

#[test]
fn a_failing_display_is_an_error_and_not_a_panic() {
    struct Fails;
    impl fmt::Display for Fails {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    impl Serialize for Fails {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }
    assert!(append(&Fails, &mut Vec::new()).unwrap_err().is_data());
}

#[test]
fn a_value_may_be_nested_to_any_depth() {
    let mut value = json!("core");
    for depth in 0..500 {
        value = if depth % 2 == 0 {
            json!([value])
        } else {
            json!({ "in": value })
        };
    }
    check(&value);
}

#[test]
fn the_output_grows_at_any_length() {
    let value =
        json!({"n": 12345, "s": "ab", "t": "a longer text\nof two lines", "f": [1.5, 1e300]});
    let expected = serde_json::to_vec(&value).unwrap();
    for spare in 0..expected.len() + 20 {
        let mut out = Vec::with_capacity(spare);
        append(&value, &mut out).unwrap();
        assert_eq!(out, expected);
    }
}
