//! The size of a value, from which the cost of a check is computed.

use serde_json::Value;

/// The size of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Number of values, including the value itself and the names of members.
    pub(super) values: u64,
    /// Total length of its strings and names, in bytes.
    pub(super) strings: u64,
}

impl Size {
    pub(super) fn of(value: &Value) -> Self {
        let mut size = Self::default();
        size.add(value);
        size
    }

    /// Returns the largest size that a value of a JSON text of `bytes` bytes can have.
    pub(super) fn most_of_text(bytes: usize) -> Self {
        let bytes = bytes as u64;
        Self {
            values: bytes / 2 + 1,
            strings: bytes,
        }
    }

    fn add(&mut self, value: &Value) {
        self.values += 1;
        match value {
            Value::String(text) => self.strings += text.len() as u64,
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(members) => {
                for (name, member) in members {
                    self.values += 1;
                    self.strings += name.len() as u64;
                    self.add(member);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Returns the minimum length of its JSON text: one byte for each value, and one to separate it
    /// from the next.
    pub(super) fn least_text(self) -> usize {
        usize::try_from(2 * self.values + self.strings).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_values_size_is_at_most_that_of_its_text() {
        for value in [
            json!(1),
            json!([1, 2]),
            json!({"ab": "c", "d": [null]}),
            json!(""),
        ] {
            let size = Size::of(&value);
            let text = value.to_string();
            assert!(
                size.values <= Size::most_of_text(text.len()).values,
                "{text}"
            );
            assert!(size.least_text() <= text.len() + 2, "{text}");
        }
        assert_eq!(Size::of(&json!({"ab": "c"})).values, 3);
        assert_eq!(Size::of(&json!({"ab": "c"})).strings, 3);
    }
}
