//! The faults of a value, one for each thing to correct.

use std::{
    error::Error,
    fmt::{self, Write},
    slice,
};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::{Map, Value, json};
use serde_path_to_error::Segment;

use super::{fault_text, limits::is_longer, reference::escape};

/// One part of a value that its schema doesn't allow.
///
/// As JSON, it is an entry of a problem's `errors`, with the pointer as a URI fragment as in RFC
/// 9457 §3:
///
/// ```
/// use headwater_schema::Schema;
/// use serde_json::json;
///
/// let schema = Schema::compile(&json!({"properties": {"count": {"maximum": 1000}}})).unwrap();
/// let faults = schema.check(&json!({"count": 2000})).unwrap_err();
/// assert_eq!(
///     serde_json::to_value(&faults).unwrap(),
///     json!([{
///         "pointer": "#/count",
///         "detail": "2000 is greater than the maximum of 1000",
///         "value": 2000,
///         "allowed": {"maximum": 1000},
///     }]),
/// );
/// ```
#[derive(Clone, PartialEq)]
pub struct Fault {
    pointer: String,
    detail: String,
    value: Option<Value>,
    allowed: Value,
    missing: Option<String>,
}

impl Fault {
    /// Maximum length of the JSON of [`value`](Self::value), in bytes.
    pub const MAX_VALUE_BYTES: usize = 200;

    /// Maximum length of the JSON of [`allowed`](Self::allowed), in bytes.
    pub const MAX_ALLOWED_BYTES: usize = 1000;

    /// Creates a fault of `value`, which is located at `pointer`. `allowed` is an object of
    /// keywords with their constraints.
    pub(crate) fn new(
        pointer: impl Into<String>,
        detail: impl Into<String>,
        value: &Value,
        allowed: Value,
    ) -> Self {
        let is_short = !is_longer(value, Self::MAX_VALUE_BYTES);
        let allowed = if is_longer(&allowed, Self::MAX_ALLOWED_BYTES) {
            Value::Object(Map::new())
        } else {
            allowed
        };
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
            value: is_short.then(|| value.clone()),
            allowed,
            missing: None,
        }
    }

    /// Sets the missing property of the object.
    pub(super) fn of_missing(mut self, property: Option<String>) -> Self {
        self.missing = property;
        self
    }

    /// Returns the location in the value as a JSON Pointer (RFC 6901), such as `/a/0/b`. An empty
    /// pointer is the value itself. The pointer always resolves: for a missing property, it is that
    /// of the object.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Returns [`pointer`](Self::pointer) as a URI fragment (RFC 6901 §6), such as `#/a/0/b`.
    #[must_use]
    pub fn fragment(&self) -> String {
        fragment(&self.pointer)
    }

    /// Describes the fault, with the value and the allowed values, as a clause without a final
    /// period. A long value is truncated and ends in `…`.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Returns the invalid value, or `None` if its JSON is longer than
    /// [`MAX_VALUE_BYTES`](Self::MAX_VALUE_BYTES).
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    /// Returns the allowed values: an object of the schema's keywords with their constraints, such
    /// as `{"maximum": 1000}`. It is empty if its JSON would exceed
    /// [`MAX_ALLOWED_BYTES`](Self::MAX_ALLOWED_BYTES) or no constraint can be given.
    #[must_use]
    pub fn allowed(&self) -> &Value {
        &self.allowed
    }

    /// Returns the name of the property, if the fault is that it is missing.
    #[must_use]
    pub fn missing(&self) -> Option<&str> {
        self.missing.as_deref()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.pointer.is_empty() {
            write!(f, "{}: ", fault_text::cut(&self.pointer))?;
        }
        f.write_str(&self.detail)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({self})")
    }
}

impl Serialize for Fault {
    /// Serialises `{"pointer", "detail", "value", "allowed"}`, without `value` if that is too long.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = 3 + usize::from(self.value.is_some());
        let mut object = serializer.serialize_struct("Fault", fields)?;
        object.serialize_field("pointer", &self.fragment())?;
        object.serialize_field("detail", &self.detail)?;
        if let Some(value) = &self.value {
            object.serialize_field("value", value)?;
        }
        object.serialize_field("allowed", &self.allowed)?;
        object.end()
    }
}

/// All faults of a value, up to [`MAX`](Self::MAX).
///
/// There is at least one. As JSON, it is an array.
#[derive(Clone, PartialEq)]
pub struct Faults {
    kept: Vec<Fault>,
    more: usize,
    is_over_budget: bool,
}

impl Faults {
    /// Maximum number of kept faults. Fewer are kept if their pointers exceed 64 KiB in total.
    pub const MAX: usize = 100;

    /// Creates a list. `kept` must contain at least one fault.
    pub(super) fn new(kept: Vec<Fault>, more: usize) -> Self {
        Self {
            kept,
            more,
            is_over_budget: false,
        }
    }

    /// Creates the fault of a check that was abandoned after `steps` steps.
    #[cold]
    pub(super) fn over_budget(value: &Value, steps: u64) -> Self {
        let detail = format!(
            "the check was given up after {steps} steps: the schema applies too many subschemas to a value of this size; \
             send less at once, or use a schema with fewer alternatives"
        );
        Self {
            kept: vec![Fault::new(String::new(), detail, value, json!({}))],
            more: 0,
            is_over_budget: true,
        }
    }

    /// Returns `true` if the check was abandoned because it exceeded its
    /// [`CheckBudget`](crate::CheckBudget). The value may be valid or invalid.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.is_over_budget
    }

    /// Appends the faults of `others`.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.is_over_budget |= others.is_over_budget;
        self.more += others.more;
        for fault in others.kept {
            if self.kept.len() < Self::MAX {
                self.kept.push(fault);
            } else {
                self.more += 1;
            }
        }
        self
    }

    /// Creates the fault of a `value` that its schema accepts but the type doesn't: 1.0 as an
    /// integer, or a further requirement of the type's own `Deserialize`.
    pub(crate) fn of_serde(
        error: &serde_path_to_error::Error<serde_json::Error>,
        value: &Value,
    ) -> Self {
        let mut pointer = String::new();
        let mut at = value;
        for segment in error.path() {
            let (token, below) = match segment {
                Segment::Seq { index } => (index.to_string(), at.get(index)),
                // A variant is a member of its own in only one of serde's representations.
                Segment::Map { key } | Segment::Enum { variant: key } => (escape(key), at.get(key)),
                Segment::Unknown => (String::new(), None),
            };
            let Some(below) = below else { continue };
            pointer.push('/');
            pointer.push_str(&token);
            at = below;
        }
        let detail = headwater_wire::json::message_of(error.inner());
        Self::new(vec![Fault::new(pointer, detail, at, json!({}))], 0)
    }

    /// Returns an iterator over the faults, in the order of the value.
    pub fn iter(&self) -> slice::Iter<'_, Fault> {
        self.kept.iter()
    }

    /// Returns the number of kept faults, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Returns the number of further faults, which are not kept. The search has a bound, so with
    /// thousands of faults there may be still more.
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }
}

impl fmt::Display for Faults {
    /// Writes the first ten faults on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        let all = self.kept.len() + self.more;
        if all > 1 {
            write!(f, "{all} faults: ")?;
        }
        for (index, fault) in self.kept.iter().take(SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{fault}")?;
        }
        if all > SHOWN.min(self.kept.len()) {
            write!(f, "; and {} more", all - SHOWN.min(self.kept.len()))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({self})")
    }
}

impl Error for Faults {}

impl Serialize for Faults {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.kept.serialize(serializer)
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.into_iter()
    }
}

/// Encodes a JSON Pointer as a URI fragment (RFC 6901 §6).
fn fragment(pointer: &str) -> String {
    let mut fragment = String::with_capacity(pointer.len() + 1);
    fragment.push('#');
    for byte in pointer.bytes() {
        // RFC 3986 §3.5.
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte) {
            fragment.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(fragment, "%{byte:02X}");
        }
    }
    fragment
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde_json::{Value, json};

    use super::{Fault, Faults};

    #[test]
    fn a_pointer_is_serialised_as_a_uri_fragment() {
        for (pointer, expected) in [
            ("", "#"),
            ("/a/0/b", "#/a/0/b"),
            ("/c%d", "#/c%25d"),
            ("/a~1b/m~0n", "#/a~1b/m~0n"),
            ("/k\"l/ü", "#/k%22l/%C3%BC"),
            ("/ ", "#/%20"),
        ] {
            let fault = Fault::new(pointer, "is wrong", &Value::Null, json!({}));
            let json = serde_json::to_value(&fault).unwrap();
            assert_eq!(json["pointer"], expected, "{pointer}");
        }
    }

    #[test]
    fn a_fault_contains_values_up_to_200_bytes_of_json() {
        for (len, is_given) in [(198, true), (199, false), (100_000, false)] {
            let value = Value::String("x".repeat(len));
            let fault = Fault::new("", "is wrong", &value, json!({}));
            assert_eq!(fault.value(), is_given.then_some(&value), "{len}");
            let json = serde_json::to_value(&fault).unwrap();
            assert_eq!(json.get("value").is_some(), is_given, "{len}");
        }
    }

    #[test]
    fn a_types_own_error_has_the_values_pointer() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only read")]
        enum Shape {
            Circle { radii: Vec<u8> },
        }
        let text = r#"{"a/b": {"Circle": {"radii": [1, 2.0]}}}"#;
        let mut input = serde_json::Deserializer::from_str(text);
        let error = serde_path_to_error::deserialize::<_, HashMap<String, Shape>>(&mut input);
        let value = serde_json::from_str(text).unwrap();
        let faults = Faults::of_serde(&error.unwrap_err(), &value);
        assert_eq!(
            faults.to_string(),
            "/a~1b/Circle/radii/1: invalid type: floating point `2.0`, expected u8",
        );
        let fault = faults.iter().next().unwrap();
        assert_eq!(value.pointer(fault.pointer()), fault.value());
    }

    #[test]
    fn long_allowed_values_are_omitted() {
        let long: Vec<u32> = (0..1000).collect();
        let fault = Fault::new("", "is wrong", &Value::Null, json!({"enum": long}));
        assert_eq!(fault.allowed(), &json!({}));
    }

    #[test]
    fn faults_display_on_one_line() {
        let fault =
            |pointer: &str, detail: &str| Fault::new(pointer, detail, &Value::Null, json!({}));
        let one = Faults::new(vec![fault("", "null is not a string")], 0);
        assert_eq!(one.to_string(), "null is not a string");
        let two = vec![
            fault("/a", "1 is not a string"),
            fault("/b", "2 is not a string"),
        ];
        assert_eq!(
            Faults::new(two.clone(), 0).to_string(),
            "2 faults: /a: 1 is not a string; /b: 2 is not a string",
        );
        assert_eq!(
            Faults::new(two, 3).to_string(),
            "5 faults: /a: 1 is not a string; /b: 2 is not a string; and 3 more",
        );
    }
}
