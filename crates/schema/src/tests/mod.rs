//! Messages for values: schema, value, and the text of the faults.

mod applied;
mod bounds;
mod patterns;
mod refused;
mod values;

use serde_json::{Value, json};

use super::{CheckBudget, Fault, Faults, Schema, SchemaLimits};

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "`json!` is called in place")]
fn check(schema: Value, value: Value, expected: &[&str]) {
    let compiled = Schema::compile(&schema).unwrap();
    assert_eq!(lines(&compiled, &value), expected, "{value} by {schema}");
}

/// Returns the faults of a value, one per line, after checking the properties that all faults have.
#[track_caller]
fn lines(schema: &Schema, value: &Value) -> Vec<String> {
    let result = schema.check(value);
    assert_eq!(schema.is_valid(value), result.is_ok());
    let faults: Vec<Fault> = result.err().into_iter().flatten().collect();
    for fault in &faults {
        let at = value.pointer(fault.pointer());
        assert!(at.is_some(), "{} leads nowhere", fault.pointer());
        assert!(
            fault.value().is_none_or(|value| at == Some(value)),
            "{fault}"
        );
        assert!(fault.allowed().is_object(), "{fault}");
    }
    faults.iter().map(ToString::to_string).collect()
}

fn faults(schema: &Value, value: &Value) -> Faults {
    Schema::compile(schema).unwrap().check(value).unwrap_err()
}
