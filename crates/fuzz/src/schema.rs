//! A schema and a value: two JSON texts with a line feed between them.

use headwater::schema::{Schema, SchemaLimits};
use serde_json::Value;

use crate::memory::Meter;

/// Bytes that the validator allocates once: regular expressions of formats, and caches of a pattern's matcher.
const SHARED: usize = 2 << 20;

/// Compiles the schema and checks the value, and that the faults that are reported point into it.
///
/// # Panics
/// If they don't, or two ways to check differ.
pub fn schema(input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (Ok(document), Ok(value)) = (
        serde_json::from_slice::<Value>(&input[..end]),
        serde_json::from_slice::<Value>(&input[end + 1..]),
    ) else {
        return;
    };
    let meter = Meter::start();
    let limits = SchemaLimits::default().with_max_compiled_patterns(1 << 20);
    let compiled = Schema::compile_with(&document, &limits);
    meter.check(end, SHARED + (2 << 20), 256);
    let Ok(schema) = compiled else {
        return;
    };
    let meter = Meter::start();
    let checked = schema.check(&value);
    meter.check(input.len(), SHARED, 256);
    match checked {
        Ok(()) => assert!(schema.is_valid(&value)),
        Err(faults) => {
            assert!(!schema.is_valid(&value));
            assert!(faults.iter().next().is_some());
            for fault in faults.iter() {
                assert!(value.pointer(fault.pointer()).is_some(), "{fault}");
            }
        }
    }
}
