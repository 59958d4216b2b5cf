//! Schemas from outside, as a program that accepts them uses them.

use headwater::schema::{Faults, Schema, SchemaError};
use serde_json::{Value, json};

fn shared<T: Clone + Send + Sync + 'static>(value: &T) -> T {
    value.clone()
}

#[test]
fn a_schema_is_shared_between_threads() {
    let schema = Schema::compile(&json!({"type": "object", "required": ["id"]})).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|id| {
            let schema = shared(&schema);
            std::thread::spawn(move || {
                assert!(schema.is_valid(&json!({"id": id})));
                schema.check(&json!({})).unwrap_err().to_string()
            })
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), r#"the property "id" is missing"#);
    }
    assert_eq!(
        schema.document(),
        &json!({"type": "object", "required": ["id"]})
    );
}

#[test]
fn faults_serialise_as_the_errors_of_a_problem() {
    let schema = Schema::compile(&json!({
        "properties": {
            "a b": {"items": {"type": "string"}},
            "text": {"type": "string", "maxLength": 1},
        },
    }))
    .unwrap();
    let value = json!({"a b": ["x", 1], "text": "long".repeat(100)});
    let faults: Faults = schema.check(&value).unwrap_err();
    let errors = serde_json::to_value(&faults).unwrap();
    assert_eq!(
        errors[0],
        json!({
            "pointer": "#/a%20b/1",
            "detail": "1 is not a string",
            "value": 1,
            "allowed": {"type": "string"},
        }),
    );
    assert_eq!(errors[1].get("value"), None, "a long value stays out");
    let pointers: Vec<_> = faults
        .iter()
        .map(|fault| value.pointer(fault.pointer()))
        .collect();
    assert!(pointers.iter().all(Option::is_some));
}

#[test]
fn the_error_types_implement_error() {
    fn as_error(error: impl std::error::Error + Send + Sync + 'static) -> String {
        error.to_string()
    }
    let error: SchemaError = Schema::compile(&Value::Null).unwrap_err();
    assert!(as_error(error).starts_with("the document is not a schema"));
    let schema = Schema::compile(&json!(false)).unwrap();
    let faults = schema.check(&json!(1)).unwrap_err();
    assert_eq!(
        as_error(faults),
        "1 is not allowed: no value is allowed here"
    );
}
