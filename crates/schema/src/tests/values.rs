//! Types, numbers, texts, objects and arrays.

use super::*;

#[test]
fn a_fault_names_the_expected_type() {
    let integer = json!({"type": "integer"});
    check(
        integer.clone(),
        json!("abc"),
        &[r#""abc" is not an integer"#],
    );
    check(integer.clone(), json!(2.5), &["2.5 is not an integer"]);
    check(integer.clone(), json!(2.0), &[]);
    check(integer, json!([1, 2]), &["[1,2] is not an integer"]);
    check(json!({"type": "null"}), json!(0), &["0 is not null"]);
    check(
        json!({"type": ["null", "string"]}),
        json!(true),
        &["true is neither a string nor null"],
    );
    check(
        json!({"type": ["integer", "number", "array", "null"]}),
        json!({}),
        &["{} is none of a number, an array, null"],
    );
    check(
        json!(false),
        json!(1),
        &["1 is not allowed: no value is allowed here"],
    );
}

#[test]
fn faults_of_numbers_name_their_bounds() {
    check(
        json!({"maximum": 1000}),
        json!(2000),
        &["2000 is greater than the maximum of 1000"],
    );
    check(
        json!({"minimum": 0}),
        json!(-1),
        &["-1 is less than the minimum of 0"],
    );
    check(
        json!({"exclusiveMinimum": 0}),
        json!(0),
        &["0 is not greater than 0"],
    );
    check(
        json!({"exclusiveMaximum": 1.5}),
        json!(1.5),
        &["1.5 is not less than 1.5"],
    );
    check(
        json!({"multipleOf": 5}),
        json!(7),
        &["7 is not a multiple of 5"],
    );
    check(
        json!({"maximum": u64::MAX}),
        json!(1e20),
        &["1e+20 is greater than the maximum of 18446744073709551615"],
    );
}

#[test]
fn faults_of_texts_name_length_pattern_and_format() {
    check(
        json!({"minLength": 2, "maxLength": 3}),
        json!("ü"),
        &[r#""ü" has 1 character, fewer than the minimum of 2"#],
    );
    check(
        json!({"maxLength": 3}),
        json!("abcd"),
        &[r#""abcd" has 4 characters, more than the maximum of 3"#],
    );
    check(
        json!({"pattern": "^[a-z]+$"}),
        json!("A"),
        &[r#""A" does not match the pattern ^[a-z]+$"#],
    );
    for (format, good, such_as) in [
        ("date-time", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("email", "a@b.example", "ada@example.com"),
        ("ip", "::1", "192.0.2.1"),
        ("ipv4", "127.0.0.1", "192.0.2.1"),
        ("uri", "urn:a:b", "https://example.com/a"),
        (
            "uuid",
            "00000000-0000-0000-0000-000000000000",
            "123e4567-e89b-12d3-a456-426614174000",
        ),
    ] {
        let schema = json!({"format": format});
        check(schema.clone(), json!(good), &[]);
        let expected = format!(r#""%" is not of the format {format}, such as {such_as}"#);
        check(schema.clone(), json!("%"), &[&expected]);
        check(schema, json!(such_as), &[]);
    }
    check(json!({"format": "uint32"}), json!("not known"), &[]);
    check(
        json!({"type": "number", "format": "double"}),
        json!(0.5),
        &[],
    );
}

#[test]
fn options_are_listed() {
    let order = json!({"type": "string", "enum": ["asc", "desc"]});
    check(
        order.clone(),
        json!("x"),
        &[r#""x" is none of "asc", "desc""#],
    );
    check(order, json!(7), &[r#"7 is none of "asc", "desc""#]);
    check(json!({"const": "x"}), json!("y"), &[r#""y" is not "x""#]);
    let many: Vec<u32> = (1..=23).collect();
    check(
        json!({"enum": many}),
        json!(0),
        &[
            "0 is none of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 and 3 more",
        ],
    );
}

#[test]
fn each_missing_property_is_a_fault_of_the_object() {
    let schema = json!({"items": {"required": ["a", "b"]}});
    let value = json!([{"a": 1}, {}]);
    let expected = [
        r#"/0: the property "b" is missing"#,
        r#"/1: the property "a" is missing"#,
        r#"/1: the property "b" is missing"#,
    ];
    check(schema.clone(), value.clone(), &expected);
    let faults = faults(&schema, &value);
    let first = faults.iter().next().unwrap();
    assert_eq!(first.missing(), Some("b"));
    assert_eq!(first.allowed(), &json!({"required": ["b"]}));
    check(
        json!({"dependentRequired": {"a": ["b"]}}),
        json!({"a": 1}),
        &[r#"the property "b" is missing"#],
    );
}

#[test]
fn each_unknown_property_is_a_fault_that_lists_the_known_ones() {
    let schema = json!({
        "properties": {"name": {}, "age": {}},
        "additionalProperties": false,
    });
    check(
        schema.clone(),
        json!({"nmae": 1, "age": 2, "x": 3}),
        &[
            r#"/nmae: the property "nmae" is not known; known are "name", "age""#,
            r#"/x: the property "x" is not known; known are "name", "age""#,
        ],
    );
    let found = faults(&schema, &json!({"nmae": 1}));
    let allowed = json!({"properties": ["name", "age"], "additionalProperties": false});
    assert_eq!(found.iter().next().unwrap().allowed(), &allowed);
    check(
        json!({
            "allOf": [{"properties": {"a": {"type": "integer"}}}],
            "anyOf": [{"required": ["b"], "properties": {"b": {}}}, {}],
            "unevaluatedProperties": false,
        }),
        json!({"a": 1, "b": 2, "c": 3}),
        &[r#"/c: the property "c" is not known"#],
    );
    check(
        json!({
            "allOf": [{"required": ["b"], "properties": {"a": {}}}],
            "unevaluatedProperties": false,
        }),
        json!({"a": 1, "c": 2}),
        &[
            r#"the property "b" is missing"#,
            r#"/c: the property "c" is not known"#,
        ],
    );
    check(
        json!({"anyOf": [{"unevaluatedProperties": false}], "unevaluatedItems": false}),
        json!([1]),
        &["/0: the item 0 is one too many; the array may have 0"],
    );
    check(
        json!({"allOf": [{"unevaluatedProperties": true}], "unevaluatedProperties": false}),
        json!({"a": 1}),
        &[],
    );
    check(
        json!({
            "anyOf": [{"required": ["b"], "properties": {"a": {}}}, {}],
            "unevaluatedProperties": false,
        }),
        json!({"a": 1}),
        &[r#"/a: the property "a" is not known"#],
    );
}

#[test]
fn faults_have_their_full_pointer() {
    check(
        json!({
            "properties": {"a/b": {"items": {"additionalProperties": {"type": "string"}}}},
            "patternProperties": {"^x~": {"type": "null"}},
        }),
        json!({"a/b": [{}, {"c": 1, "d": "d"}], "x~1": true}),
        &["/a~1b/1/c: 1 is not a string", "/x~01: true is not null"],
    );
}

#[test]
fn faults_of_arrays_name_sizes_and_items() {
    check(
        json!({"minItems": 2}),
        json!([1]),
        &["the array has 1 item, fewer than the minimum of 2"],
    );
    check(
        json!({"maxItems": 1, "uniqueItems": true}),
        json!([1, 1]),
        &[
            "the array has 2 items, more than the maximum of 1",
            "the array has items that are equal, and each may occur but once",
        ],
    );
    check(
        json!({"prefixItems": [{"type": "string"}, {"type": "integer"}], "items": false}),
        json!([1, 2, 3]),
        &[
            "/0: 1 is not a string",
            "/2: the item 2 is one too many; the array may have 2",
        ],
    );
    check(
        json!({"contains": {"type": "string"}, "minContains": 2}),
        json!(["a", 1]),
        &["the array has 1 item of the wanted kind, and needs at least 2"],
    );
    check(
        json!({"prefixItems": [true], "unevaluatedItems": false}),
        json!([1, 2]),
        &["/1: the item 1 is one too many; the array may have 1"],
    );
}

#[test]
fn faults_of_objects_name_sizes_and_names() {
    check(
        json!({"minProperties": 1}),
        json!({}),
        &["the object has 0 properties, fewer than the minimum of 1"],
    );
    check(
        json!({"maxProperties": 1}),
        json!({"a": 1, "b": 2}),
        &["the object has 2 properties, more than the maximum of 1"],
    );
    check(
        json!({"propertyNames": {"maxLength": 1}}),
        json!({"ab": 1}),
        &[r#"the name of a property is wrong: "ab" has 2 characters, more than the maximum of 1"#],
    );
}
