//! The JSON checker against `serde_json`.

use headwater_wire::json;
use serde_json::value::RawValue;

use crate::memory::Meter;

/// Checks that the checker accepts what `serde_json` does, and measures depth exactly.
///
/// # Panics
/// If it doesn't.
pub fn json_check(input: &[u8]) {
    let meter = Meter::start();
    let checked = json::check(input, usize::MAX);
    meter.check(input.len(), 256, 1);
    let accepted = std::str::from_utf8(input)
        .is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok());
    assert_eq!(checked.is_ok(), accepted, "{checked:?}");

    match &checked {
        Ok(()) => {
            let depth = (0..).find(|depth| json::check(input, *depth).is_ok());
            let deepest = deepest(input);
            assert_eq!(depth, Some(deepest));
        }
        Err(error) => {
            assert!(error.offset() <= input.len());
            // Later bytes don't move the fault.
            if !error.is_end() {
                let longer = [input, b" \""].concat();
                assert_eq!(json::check(&longer, usize::MAX), checked);
            }
        }
    }
}

/// Returns the depth of a valid JSON text.
fn deepest(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}
