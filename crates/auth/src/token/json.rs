//! JSON without duplicate names and with bounded depth.
//!
//! RFC 7515 section 4 and RFC 7519 section 4 let a reader take the last of two members with one name
//! or refuse them. Readers that differ in this read different claims from one token, so this one
//! refuses, at every level.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::limits::TOKEN_DEPTH;

/// Parses an object. The error describes the reason.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let strict = Strict { depth: TOKEN_DEPTH };
    let value = strict.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    match value.map_err(|error| error.to_string())? {
        Value::Object(object) => Ok(object),
        _ => Err("not a JSON object".to_owned()),
    }
}

/// Reads a value with at most `depth` levels of arrays and objects.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn inner<E: Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom(format_args!(
                "nested more than {TOKEN_DEPTH} levels"
            ))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{name:?} occurs twice")));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn duplicate_names_are_refused_at_every_level() {
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":[{"b":{"a":1,"c":2,"a":3}}]}"#,
        ] {
            let error = object(bad.as_bytes()).unwrap_err();
            assert!(error.contains("\"a\" occurs twice"), "{error}");
        }
    }

    #[test]
    fn the_depth_is_limited() {
        let nested = |depth: usize| {
            let inner = depth - 1;
            format!("{{\"a\":{}{}}}", "[".repeat(inner), "]".repeat(inner))
        };
        assert!(object(nested(TOKEN_DEPTH).as_bytes()).is_ok());
        let error = object(nested(TOKEN_DEPTH + 1).as_bytes()).unwrap_err();
        assert!(error.contains("nested more than 16 levels"), "{error}");
        assert!(object(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn only_one_whole_object_is_accepted() {
        for bad in [
            "",
            "[]",
            "1",
            "{} {}",
            "{}x",
            "{\"a\":1e999}",
            "{\"a\":NaN}",
            "\u{feff}{}",
        ] {
            assert!(object(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
        assert!(object(b" {} \n").is_ok());
    }

    proptest! {
        #[test]
        fn other_objects_are_read_as_serde_json_reads_them(
            names in prop::collection::btree_set("[a-c]{1,2}", 0..5),
            number in any::<f64>(),
            integer in any::<i64>(),
        ) {
            let members: Map<String, Value> = names
                .into_iter()
                .map(|name| (name, serde_json::json!([number, integer, {"x": null, "y": true}, "é"])))
                .collect();
            let json = serde_json::to_vec(&members).unwrap();
            let expected: Map<String, Value> = serde_json::from_slice(&json).unwrap();
            prop_assert_eq!(object(&json).unwrap(), expected);
        }
    }
}
