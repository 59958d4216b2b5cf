//! Generated values.

use proptest::prelude::*;
use serde_json::{Number, Value};

use super::check;

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (any::<i32>(), 0..7)
            .prop_map(|(digits, places)| { Value::from(f64::from(digits) / 10_f64.powi(places)) }),
        any::<f64>().prop_map(|float| Number::from_f64(float).map_or(Value::Null, Value::Number)),
        text().prop_map(Value::from),
    ];
    scalar.prop_recursive(6, 200, 10, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..10).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..10)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Mostly plain text, with lengths around a block's, and with all characters that can need an
/// escape.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        20 => prop::char::range(' ', '~'),
        1 => prop::char::range('\0', '\x1f'),
        1 => prop::sample::select(vec!['"', '\\', '/', '\x7f', '\u{85}', '\u{2028}', '\u{2029}', '\u{a0}', '–', 'é', '𝄞']),
        1 => any::<char>(),
    ];
    prop::collection::vec(character, 0..70).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn any_value_is_written_as_serde_json_writes_it(value in value()) {
        check(&value);
    }

    #[test]
    fn any_text_is_written_as_serde_json_writes_it(text in any::<String>(), at in any::<prop::sample::Index>()) {
        check(&text);
        let (start, _) = text.char_indices().nth(at.index(text.chars().count().max(1))).unwrap_or_default();
        check(&text[start..]);
    }

    #[test]
    fn any_float_is_written_as_serde_json_writes_it(bits: u64, small: u32) {
        let finite = |float: f64| if float.is_finite() { float } else { 0.0 };
        let float = finite(f64::from_bits(bits));
        let small = f32::from_bits(small);
        let small = if small.is_finite() { small.to_bits() } else { 0 };
        check(&(float, f32::from_bits(small), f64::from(small) / 1e4, f64::from(small) / 1e5));
        check(&(float % 1e8, (float % 1e8 * 1e4).round() / 1e4));
    }

    #[test]
    fn any_integer_is_written_as_serde_json_writes_it(wide: u128, shift in 0..128_u32) {
        let wide = wide >> shift;
        check(&(wide, wide.cast_signed(), -(wide.cast_signed() >> 1)));
        let [bytes @ .., _, _, _, _, _, _, _, _] = wide.to_le_bytes();
        check(&(u64::from_le_bytes(bytes), i64::from_le_bytes(bytes)));
    }
}
