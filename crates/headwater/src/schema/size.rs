//! The size of a value, for the cost of a check.

use serde_json::Value;

/// The size of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Number of values in it, itself and the names of members included.
    pub(super) values: u64,
    /// The bytes of its strings and names together.
    strings: u64,
}

impl Size {
    pub(super) fn of(value: &Value) -> Self {
        let mut size = Self::default();
        size.add(value);
        size
    }

    /// The most that a JSON text of so many bytes can have in it.
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

    /// The values, and the strings by each eight of their bytes.
    pub(super) fn weight(self) -> u64 {
        self.values + self.strings / 8
    }

    /// The bytes that its JSON text has at least: one for each value, one that separates it from the next.
    pub(super) fn least_text(self) -> usize {
        usize::try_from(2 * self.values + self.strings).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_size_is_within_that_of_its_text() {
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
