#![no_main]

use headwater_wire::json;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|input: &[u8]| {
    let checked = json::check(input, usize::MAX);
    let accepted = std::str::from_utf8(input)
        .is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok());
    assert_eq!(checked.is_ok(), accepted, "{checked:?}");

    match &checked {
        Ok(()) => {
            // The exact depth is accepted, and one less isn't.
            let depth = (0..).find(|depth| json::check(input, *depth).is_ok());
            let deepest = deepest(input);
            assert_eq!(depth, Some(deepest));
        }
        Err(error) => {
            assert!(error.offset() <= input.len());
            // The fault is independent of the bytes after it.
            if !error.is_end() {
                let longer = [input, b" \""].concat();
                assert_eq!(json::check(&longer, usize::MAX), checked);
            }
        }
    }
});

/// Returns the nesting depth of a valid JSON text.
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
