//! Schemas within schemas: conditions, unions, references.

use super::*;

#[test]
fn conditions_and_negations_are_followed() {
    let schema = json!({
        "if": {"required": ["card"]},
        "then": {"required": ["holder"]},
        "else": {"required": ["iban"]},
    });
    check(
        schema.clone(),
        json!({"card": 1}),
        &[r#"the property "holder" is missing"#],
    );
    check(schema, json!({}), &[r#"the property "iban" is missing"#]);
    check(
        json!({"dependentSchemas": {"a": {"properties": {"b": {"type": "null"}}}}}),
        json!({"a": 1, "b": 2}),
        &["/b: 2 is not null"],
    );
    check(
        json!({"type": "integer", "not": {"const": 0}}),
        json!(0),
        &["0 is the one value that is not allowed"],
    );
    check(
        json!({"not": {"type": "string"}}),
        json!("a"),
        &[r#""a" is not allowed by "not" of the schema"#],
    );
}

#[test]
fn a_tagged_unions_branch_is_selected_by_its_tag() {
    for keyword in ["oneOf", "anyOf"] {
        let schema = json!({
            keyword: [
                {
                    "type": "object",
                    "properties": {"type": {"const": "circle"}, "radius": {"type": "number"}},
                    "required": ["type", "radius"],
                },
                {"$ref": "#/$defs/Square"},
                {"type": "null"},
            ],
            "$defs": {"Square": {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "const": "square"},
                    "side": {"type": "number"},
                    "colour": {"type": "string"},
                },
                "required": ["type", "side", "colour"],
            }},
        });
        check(
            schema.clone(),
            json!({"type": "square", "side": "x"}),
            &[
                r#"the property "colour" is missing"#,
                r#"/side: "x" is not a number"#,
            ],
        );
        check(
            schema.clone(),
            json!({"type": "line"}),
            &[r#"/type: "line" is none of "circle", "square""#],
        );
        check(
            schema.clone(),
            json!({"radius": 1}),
            &[r#"the property "type" is missing; it is one of "circle", "square""#],
        );
        check(schema, json!(7), &["7 is neither an object nor null"]);
    }
}

#[test]
fn an_untagged_union_is_explained_by_its_best_branch() {
    let external = |name: &str, wanted: Value| {
        json!({
            "type": "object",
            "properties": {name: wanted},
            "required": [name],
            "additionalProperties": false,
        })
    };
    let schema = json!({"oneOf": [
        external("circle", json!({"required": ["x", "y", "radius"]})),
        external("square", json!({"type": "object"})),
        {"type": "string", "enum": ["empty"]},
    ]});
    check(
        schema.clone(),
        json!({"circle": {}}),
        &[
            r#"/circle: the property "x" is missing"#,
            r#"/circle: the property "y" is missing"#,
            r#"/circle: the property "radius" is missing"#,
        ],
    );
    check(
        schema.clone(),
        json!("full"),
        &[r#""full" is none of "empty", and not an object"#],
    );
    let optional = json!({
        "anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}],
        "$defs": {"A": {"type": "object", "properties": {"a": {"items": {"minimum": 1}}}}},
    });
    check(
        optional,
        json!({"a": [1, 0]}),
        &["/a/1: 0 is less than the minimum of 1"],
    );
    check(
        json!({"oneOf": [{"const": "a"}, {"enum": ["b", "c"]}, {"type": "null"}]}),
        json!("d"),
        &[r#""d" is none of "a", "b", "c", null"#],
    );
    check(
        json!({"oneOf": [{"type": "string"}, {"maxLength": 3}, {"type": "null"}]}),
        json!("abc"),
        &[r#""abc" fits 2 of the 3 forms, and may fit but one"#],
    );
}

#[test]
fn references_are_followed_inside_the_document() {
    check(
        json!({"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": {"type": "string"}}}),
        json!(1),
        &["1 is not a string"],
    );
    check(
        json!({"items": {"$ref": "#one"}, "$defs": {"x": {"$anchor": "one", "minimum": 1}}}),
        json!([0]),
        &["/0: 0 is less than the minimum of 1"],
    );
    check(
        json!({"properties": {"next": {"$ref": "#"}}, "required": ["id"]}),
        json!({"id": 1, "next": {"id": 2, "next": {}}}),
        &[r#"/next/next: the property "id" is missing"#],
    );
    // The content of a part with its own URI is checked, but not explained.
    check(
        json!({
            "items": {"$ref": "urn:x"},
            "$defs": {"x": {"$id": "urn:x", "type": "integer"}},
        }),
        json!(["a"]),
        &[r#"["a"] is not allowed by the schema"#],
    );
}

#[test]
fn older_drafts_are_supported() {
    let draft_7 = "http://json-schema.org/draft-07/schema#";
    check(
        json!({
            "$schema": draft_7,
            "properties": {"a": {"$ref": "#/definitions/a", "maximum": 0}},
            "dependencies": {"a": ["b"]},
            "items": [{"type": "string"}],
            "additionalItems": false,
            "definitions": {"a": {"type": "integer"}},
        }),
        json!({"a": 1}),
        &[r#"the property "b" is missing"#],
    );
    check(
        json!({"$schema": draft_7, "items": [{"type": "string"}], "additionalItems": false}),
        json!([1, 2]),
        &[
            "/0: 1 is not a string",
            "/1: the item 1 is one too many; the array may have 1",
        ],
    );
    check(
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 1, "exclusiveMaximum": true}),
        json!(1),
        &["1 is not less than 1"],
    );
}
