//! Conversion of JSON to a typed value.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Faults, Schema};

/// Checks a value by a schema and converts it to a `T`.
///
/// # Errors
/// The value is invalid, or `T` is stricter than the schema.
pub fn deserialize<T: DeserializeOwned>(schema: &Schema, value: Value) -> Result<T, Faults> {
    schema.check(&value)?;
    typed(value)
}

/// Converts a valid value to a `T`.
///
/// JSON Schema accepts `80.0` as an integer ("any number with a zero fractional part", Validation
/// §6.1.1); serde doesn't. So a valid value that serde refuses is tried again with such numbers as
/// integers.
///
/// # Errors
/// `T` is stricter than its schema.
pub fn typed<T: DeserializeOwned>(mut value: Value) -> Result<T, Faults> {
    if let Ok(typed) = T::deserialize(&value) {
        return Ok(typed);
    }
    to_integers(&mut value);
    serde_path_to_error::deserialize(&value).map_err(|error| Faults::of_serde(&error, &value))
}

fn to_integers(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(integer) = number.as_f64().and_then(to_integer) {
                *value = integer;
            }
        }
        Value::Array(array) => array.iter_mut().for_each(to_integers),
        Value::Object(object) => object.values_mut().for_each(to_integers),
        _ => {}
    }
}

/// Converts a float to an integer, within the range in which every integer has an exact float.
fn to_integer(float: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if float.fract() != 0.0 || float.abs() > EXACT {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "an integer of 53 bits")]
    let integer = float as i64;
    Some(integer.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_float_without_a_fraction_is_an_integer() {
        let schema = Schema::of::<(f64, Vec<f64>, f64)>();
        let read = |value: Value| deserialize::<(u32, Vec<i64>, f64)>(&schema, value);
        assert_eq!(
            read(json!([80.0, [-1.0, 1e3], 2.0])).unwrap(),
            (80, vec![-1, 1000], 2.0)
        );
        assert_eq!(read(json!([80, [], 2])).unwrap(), (80, vec![], 2.0));
        let faults = read(json!([80.5, [], 2.0])).unwrap_err();
        assert_eq!(faults.iter().next().unwrap().pointer(), "/0");
        assert!(read(json!([0, [1e300], 2.0])).is_err());
    }
}
