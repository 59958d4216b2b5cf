//! The content of `serde_json`'s own types.

use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use serde_json::value::RawValue;

use super::{
    check,
    types::{External, Flat},
    written,
};

#[test]
fn a_raw_value_is_written_unchanged_on_one_line() {
    for json in ["null", "1.00", r#"{"a" : "\n\u000a", "b":[1 ,2]}"#] {
        check(&RawValue::from_string(json.to_owned()).unwrap());
    }
    let raw = RawValue::from_string("{\n\"a\":\r\n[1,\n2]}".to_owned()).unwrap();
    assert_eq!(
        written(&[&raw, &raw]),
        r#"[{ "a":  [1, 2]},{ "a":  [1, 2]}]"#
    );
}

/// A copy of `serde_json`'s own types: a struct with a secret name, and one field of that name.
struct Token<T>(&'static str, T);

impl<T: Serialize> Serialize for Token<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct(self.0, 1)?;
        fields.serialize_field(self.0, &self.1)?;
        fields.end()
    }
}

#[test]
fn a_number_that_keeps_its_digits_is_written_with_them() {
    let token = "$serde_json::private::Number";
    assert_eq!(written(&[Token(token, "1.2300e+99")]), "[1.2300e+99]");
}

#[test]
fn raw_json_that_is_not_a_string_is_refused() {
    let token = "$serde_json::private::RawValue";
    check(&Token(token, 1));
    check(&Token(token, true));
    check(&Token(token, 1.0));
    check(&Token(token, 'a'));
    check(&Token(token, ()));
    check(&Token(token, Some("1")));
    check(&Token(token, [1]));
    check(&Token(token, External::Unit));
    check(&Token(token, Flat { x: 1, y: None }));
}
