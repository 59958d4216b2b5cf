//! JSON text with detection of duplicate names in objects.
//!
//! A [`Value`] keeps the last member of a name. A check of it ignores the others, and another
//! reader of the same text may use the first: "Objects in I-JSON messages MUST NOT have members
//! with duplicate names" (RFC 7493 §2.3).

use std::{fmt, mem};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, json, map::Entry};

use super::{
    CheckBudget, Schema,
    fault::{Fault, Faults},
    fault_text,
    search::Path,
};

impl Schema {
    /// Checks a JSON text against this schema and for duplicate names in its objects. Names are
    /// compared after decoding their escapes: `"a"` and `"\u0061"` are equal.
    ///
    /// Returns the value, or all its faults. The text may be nested at most 127 levels deep.
    ///
    /// ```
    /// use headwater_schema::Schema;
    /// use serde_json::json;
    ///
    /// let schema = Schema::compile(&json!({"type": "object"}))?;
    /// assert_eq!(schema.check_text(br#"{"a": 1}"#)?, Ok(json!({"a": 1})));
    /// let faults = schema.check_text(br#"{"a": 1, "a": 2}"#)?.unwrap_err();
    /// assert_eq!(
    ///     faults.to_string(),
    ///     r#"/a: the name "a" occurs more than once in the object"#,
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn check_text(&self, text: &[u8]) -> Result<Result<Value, Faults>, serde_json::Error> {
        self.check_text_within(text, &mut CheckBudget::for_text(text.len()))
    }

    /// Checks a JSON text as [`check_text`](Self::check_text) does, within a budget that other
    /// checks may share.
    ///
    /// # Errors
    /// As [`check_text`](Self::check_text).
    pub fn check_text_within(
        &self,
        text: &[u8],
        budget: &mut CheckBudget,
    ) -> Result<Result<Value, Faults>, serde_json::Error> {
        let (value, repeated) = parse(text)?;
        Ok(match (repeated, self.check_within(&value, budget)) {
            (None, Ok(())) => Ok(value),
            (Some(faults), Ok(())) | (None, Err(faults)) => Err(faults),
            (Some(repeated), Err(faults)) => Err(repeated.and(faults)),
        })
    }
}

/// Parses JSON. The value has the last of several members with the same name, and each such name is
/// a fault.
///
/// # Errors
/// The text is not JSON.
fn parse(text: &[u8]) -> Result<(Value, Option<Faults>), serde_json::Error> {
    let mut repeated = Repeated::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let at = At {
        path: &Path::Root,
        repeated: &mut repeated,
    };
    let value = at.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, repeated.faults()))
}

/// Maximum total length of the pointers of reported names, in bytes.
const MAX_POINTERS: usize = 64 * 1024;

/// The names that occur more than once.
#[derive(Default)]
struct Repeated {
    kept: Vec<Fault>,
    more: usize,
    pointers: usize,
}

impl Repeated {
    #[cold]
    fn add(&mut self, path: &Path<'_>, name: &str, value: &Value) {
        if self.kept.len() >= Faults::MAX || self.pointers > MAX_POINTERS {
            self.more += 1;
            return;
        }
        let pointer = Path::Member(path, name).pointer();
        self.pointers += pointer.len() + 1;
        let name = fault_text::cut(name);
        let detail = format!("the name {name:?} occurs more than once in the object");
        let fault = Fault::new(pointer, detail, value, json!({}));
        match self
            .kept
            .iter_mut()
            .find(|known| known.pointer() == fault.pointer())
        {
            // The third or a later member with this name.
            Some(known) => *known = fault,
            None => self.kept.push(fault),
        }
    }

    fn faults(self) -> Option<Faults> {
        let is_any = !self.kept.is_empty();
        is_any.then(|| Faults::new(self.kept, self.more))
    }
}

/// Deserialises the value at a path.
struct At<'a> {
    path: &'a Path<'a>,
    repeated: &'a mut Repeated,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).map(Value::Number);
        number.ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let item = At {
                path: &Path::Item(self.path, items.len()),
                repeated: &mut *self.repeated,
            };
            match access.next_element_seed(item)? {
                Some(item) => items.push(item),
                None => return Ok(items.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(At {
                path: &Path::Member(self.path, &name),
                repeated: &mut *self.repeated,
            })?;
            match members.entry(name) {
                Entry::Vacant(member) => drop(member.insert(value)),
                Entry::Occupied(mut member) => {
                    self.repeated.add(self.path, &member.key().clone(), &value);
                    let _ = mem::replace(member.get_mut(), value);
                }
            }
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pointers(text: &str) -> Vec<String> {
        let (_, faults) = parse(text.as_bytes()).unwrap();
        let faults = faults.into_iter().flatten();
        faults.map(|fault| fault.pointer().to_owned()).collect()
    }

    #[test]
    fn a_duplicate_name_is_found_at_any_depth_and_in_any_spelling() {
        for (text, expected) in [
            (r#"{"a": 1, "b": {"a": 1}}"#, &[][..]),
            (r#"[{"a": 1}, {"a": 1}]"#, &[]),
            (r#"{"a": 1, "A": 1, "": 1}"#, &[]),
            (r#"{"a": 1, "a": 1}"#, &["/a"]),
            (r#"{"a": 1, "\u0061": 2}"#, &["/a"]),
            (r#"{"\u00e9": 1, "é": 2}"#, &["/é"]),
            (r#"{"\ud834\udd1e": 1, "𝄞": 2}"#, &["/𝄞"]),
            (r#"{"/": 1, "\/": 2}"#, &["/~1"]),
            (r#"{"": 1, "": 2}"#, &["/"]),
            (r#"{"a": 1, "a": 2, "a": 3, "b": 1, "b": 2}"#, &["/a", "/b"]),
            (r#"[1, {"b": [{"c": 1, "d": 2, "c": {}}]}]"#, &["/1/b/0/c"]),
            (r#"{"a": {"x": 1, "x": 2}, "a": 3}"#, &["/a/x", "/a"]),
        ] {
            assert_eq!(pointers(text), expected, "{text}");
        }
    }

    #[test]
    fn faults_of_names_and_of_the_schema_are_reported_together() {
        let schema = json!({"properties": {"a": {"maximum": 3}}});
        let schema = Schema::compile(&schema).unwrap();
        let check = |text: &str| schema.check_text(text.as_bytes()).unwrap();
        let faults = check(r#"{"a": 7, "b": 1, "b": 2}"#).unwrap_err();
        let all: Vec<_> = faults
            .iter()
            .map(|fault| (fault.pointer(), fault.value()))
            .collect();
        assert_eq!(all, [("/b", Some(&json!(2))), ("/a", Some(&json!(7)))]);
        assert_eq!(check(r#"{"a": 3}"#), Ok(json!({"a": 3})));
        assert!(schema.check_text(b"{").is_err());
        assert!(schema.check_text(b"{} {}").is_err());
    }

    #[test]
    fn the_work_and_the_list_are_bounded() {
        let many: Vec<_> = (0..1000).map(|n| format!(r#""n{}":0"#, n / 2)).collect();
        let (_, faults) = parse(format!("{{{}}}", many.join(",")).as_bytes()).unwrap();
        let faults = faults.unwrap();
        assert_eq!((faults.len(), faults.more()), (Faults::MAX, 400));
        // Repeats a short name in an object that has a long name.
        let again = r#""a":0,"#.repeat(10_000);
        let text = format!(r#"{{"{}":{{{again}"b":0}}}}"#, "x".repeat(100_000));
        assert_eq!(parse(text.as_bytes()).unwrap().1.unwrap().len(), 1);
    }

    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec(("[ab~/\"\u{e9}]{0,2}", inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_text_without_repeated_names_reads_as_serde_json_reads_it(value in value()) {
            let text = value.to_string();
            let (read, faults) = parse(text.as_bytes()).unwrap();
            prop_assert_eq!(read, serde_json::from_str::<Value>(&text).unwrap());
            prop_assert!(faults.is_none());
        }

        #[test]
        fn any_bytes_read_as_serde_json_reads_them_or_are_refused(text in r#"[\[\]{}:,"ab\\u0061 1.e-]{0,20}"#) {
            let ours = parse(text.as_bytes()).map(|(value, _)| value).ok();
            prop_assert_eq!(ours, serde_json::from_str::<Value>(&text).ok());
        }

        #[test]
        fn a_duplicated_member_is_found(value in value(), name in "[ab~/\u{e9}]{0,2}") {
            let name = Value::from(name);
            let text = format!("{{{name}:{value},{name}:{value}}}");
            let (read, faults) = parse(text.as_bytes()).unwrap();
            let faults = faults.unwrap();
            prop_assert_eq!(faults.len(), 1);
            let fault = faults.iter().next().unwrap();
            prop_assert_eq!(read.pointer(fault.pointer()), Some(&value));
        }
    }
}
