//! An untrusted schema and an untrusted value: two JSON texts with a line feed between them.

#![no_main]

use headwater::schema::Schema;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let (Ok(document), Ok(value)) = (
        serde_json::from_slice::<Value>(&input[..end]),
        serde_json::from_slice::<Value>(&input[end + 1..]),
    ) else {
        return;
    };
    let Ok(schema) = Schema::compile(&document) else {
        return;
    };
    match schema.check(&value) {
        Ok(()) => assert!(schema.is_valid(&value)),
        Err(faults) => {
            assert!(!schema.is_valid(&value));
            assert!(faults.iter().next().is_some());
            for fault in faults.iter() {
                assert!(value.pointer(fault.pointer()).is_some(), "{fault}");
            }
        }
    }
});
