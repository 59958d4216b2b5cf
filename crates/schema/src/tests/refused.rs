//! Schemas that are refused.

use super::*;

#[test]
fn a_schema_is_accepted_at_a_limit_and_refused_above_it() {
    let limits = SchemaLimits::default();
    let mut nested = json!({});
    for _ in 1..8 {
        nested = json!({"items": nested});
    }
    let chained = json!({"allOf": [{"allOf": [{"type": "null"}]}]});
    let doubling = json!({
        "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}},
        "$defs": {"x": {"items": {"type": "null"}}},
    });
    for (document, at, under) in [
        (
            json!({"const": "x".repeat(88)}),
            limits.with_max_bytes(100),
            limits.with_max_bytes(99),
        ),
        (
            nested.clone(),
            limits.with_max_depth(8),
            limits.with_max_depth(7),
        ),
        (
            nested,
            limits.with_max_subschemas(8),
            limits.with_max_subschemas(7),
        ),
        (
            chained,
            limits.with_max_nesting(3),
            limits.with_max_nesting(2),
        ),
        (
            doubling,
            limits.with_max_applications(7),
            limits.with_max_applications(6),
        ),
        (
            json!({"pattern": "[a-z]"}),
            limits.with_max_pattern_bytes(5),
            limits.with_max_pattern_bytes(4),
        ),
        (
            json!({"pattern": "a", "patternProperties": {"b": true}}),
            limits.with_max_compiled_patterns(64 << 10),
            limits.with_max_compiled_patterns((64 << 10) - 1),
        ),
        (
            json!({"pattern": "[01]{1000}2"}),
            limits.with_max_compiled_patterns(256 << 10),
            limits.with_max_compiled_patterns(128 << 10),
        ),
        (
            json!({"pattern": "(?i)[a-e]", "items": {"pattern": "[a-e][a-e]"}}),
            limits.with_max_class_work(6 + 2),
            limits.with_max_class_work(6 + 1),
        ),
        (
            json!({"$ref": "urn:x", "$defs": {"x": {"$id": "urn:x", "pattern": "[a-z]"}}}),
            limits.with_max_pattern_bytes(5),
            limits.with_max_pattern_bytes(4),
        ),
        (
            json!({"patternProperties": {"[a-z]": true}}),
            limits.with_max_pattern_bytes(5),
            limits.with_max_pattern_bytes(4),
        ),
    ] {
        Schema::compile_with(&document, &at).unwrap();
        let error = Schema::compile_with(&document, &under).unwrap_err();
        assert!(error.is_over_limit(), "{error}");
    }
}

#[test]
fn a_schema_of_exponential_cost_is_refused() {
    // Each of 100 definitions refers to the next twice.
    let definitions: serde_json::Map<_, _> = (0..100)
        .map(|index| {
            let next = json!({"$ref": format!("#/$defs/{}", index + 1)});
            (
                index.to_string(),
                json!({"properties": {"a": next, "b": next}}),
            )
        })
        .chain([("100".to_owned(), json!({}))])
        .collect();
    let document = json!({"$ref": "#/$defs/0", "$defs": definitions});
    assert!(Schema::compile(&document).unwrap_err().is_over_limit());
}

#[test]
fn an_invalid_schema_is_refused_with_its_location() {
    for (document, expected) in [
        (
            json!({"properties": {"a": {"minimum": "x"}}}),
            r#"the document is not a schema: at "/properties/a/minimum", "x" is not a number"#,
        ),
        (
            json!({"$ref": "https://example.com/other.json"}),
            "the schema refers to https://example.com/other.json, which it does not contain, and external schemas \
             aren't fetched",
        ),
        (json!({"$ref": "#/$defs/none"}), "a reference has no target"),
        (
            json!({"allOf": [{"$ref": "#"}]}),
            "the schema leads back to itself without going into the value",
        ),
        (
            json!({"pattern": "(?=a)b"}),
            "the schema has a pattern that is not a regular expression",
        ),
        (
            json!({"pattern": "((a{100}){100}){100}"}),
            "the schema has a pattern that is not a regular expression",
        ),
        (
            json!({"$schema": "https://example.com/dialect"}),
            "the schema's dialect is unknown",
        ),
        (json!(7), "the document is not a schema"),
    ] {
        let error = Schema::compile(&document).unwrap_err();
        assert!(
            error.to_string().starts_with(expected),
            "{error} for {document}"
        );
        assert!(!error.is_over_limit());
    }
}

#[test]
fn a_reference_to_another_document_has_its_own_error() {
    let error = Schema::compile(&json!({"$ref": "file:///etc/passwd"})).unwrap_err();
    assert!(error.is_outside_reference());
    assert!(
        !Schema::compile(&json!(7))
            .unwrap_err()
            .is_outside_reference()
    );
}
