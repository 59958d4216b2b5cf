//! The size of a value, from which the cost of a check is computed.

use serde_json::{Number, Value};

/// The size of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Number of values, including the value itself and the names of members.
    pub(super) values: u64,
    /// Total length of its strings and names, in bytes.
    pub(super) strings: u64,
    /// Number of numbers that are large (see [`is_large`]).
    pub(super) large_numbers: u64,
}

/// Returns `true` if the arithmetic of `multipleOf` may be slow for a number: it is exact, and
/// fast only for operands of up to 38 digits.
pub(super) fn is_large(number: &Number) -> bool {
    const LARGE: f64 = 1e16;
    number.as_f64().is_none_or(|number| number.abs() >= LARGE)
}

/// Returns the steps of a `multipleOf` for each number, and those in addition for a large one.
pub(super) fn of_multiple(multiple: f64) -> (u64, u64) {
    /// Steps of the division of two fractions with numerators and denominators of 1,000 bits.
    const SLOW: u64 = 256;
    /// Decimal places up to which the division by a fraction is fast.
    const PLACES: usize = 20;
    // An `f64` is written without an exponent.
    let text = multiple.to_string();
    match text.split_once('.') {
        None => (1, 0),
        Some((_, decimals)) if decimals.len() <= PLACES => (4, SLOW),
        Some(_) => (SLOW, SLOW),
    }
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
            // `1e99` and a comma.
            large_numbers: bytes / 5 + 1,
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
            Value::Number(number) => self.large_numbers += u64::from(is_large(number)),
            Value::Null | Value::Bool(_) => {}
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
