//! What is said of values: schema, value, and the faults as they read.

use serde_json::{Value, json};

use super::{Fault, Faults, Schema, SchemaLimits};

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "`json!` is called in place")]
fn check(schema: Value, value: Value, expected: &[&str]) {
    let compiled = Schema::compile(&schema).unwrap();
    assert_eq!(lines(&compiled, &value), expected, "{value} by {schema}");
}

/// The faults of a value, one a line, after looking at what holds for all of them.
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

#[test]
fn a_value_of_the_wrong_type_is_told_what_it_is_to_be() {
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
        &["1 stands where no value is allowed"],
    );
}

#[test]
fn numbers_are_told_their_bounds() {
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
fn texts_are_told_their_length_pattern_and_format() {
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
fn each_unknown_property_is_a_fault_that_names_the_known() {
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
fn faults_stand_at_their_full_pointer() {
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
fn arrays_are_told_their_size_and_items() {
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
fn objects_are_told_their_size_and_names() {
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
fn a_tagged_union_is_told_by_its_tag() {
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
fn another_union_is_told_by_the_branch_that_fits_best() {
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
    // A part with a URI of its own: what is behind it is checked, and not explained.
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
fn an_older_draft_is_honoured() {
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

#[test]
fn a_long_value_is_cut_in_a_detail() {
    let value = json!({"a": "x".repeat(1000)});
    let found = faults(&json!({"properties": {"a": {"type": "null"}}}), &value);
    let expected = format!("/a: \"{}…\" is not null", "x".repeat(60));
    assert_eq!(found.to_string(), expected);
    check(
        json!({"type": "null"}),
        value,
        &["the object of 1 property is not null"],
    );
    check(
        json!({"type": "null"}),
        json!(vec![1; 100]),
        &["the array of 100 items is not null"],
    );
}

#[test]
fn a_hundred_faults_are_kept_and_the_rest_is_counted() {
    let schema = json!({"items": {"type": "string"}});
    for (items, kept, more) in [(100, 100, 0), (101, 100, 1), (5000, 100, 4900)] {
        let found = faults(&schema, &json!(vec![0; items]));
        assert_eq!((found.len(), found.more()), (kept, more), "{items} items");
    }
    let found = faults(&schema, &json!(vec![0; 1_000_000]));
    assert_eq!(found.len(), 100);
    assert!(found.more() > 10_000, "{}", found.more());
}

#[test]
fn pointers_that_are_long_leave_room_for_fewer_faults() {
    let key = "k".repeat(30_000);
    let found = faults(
        &json!({"additionalProperties": {"items": false}}),
        &json!({key: [1, 2, 3, 4]}),
    );
    assert_eq!((found.len(), found.more()), (3, 1));
}

#[test]
fn a_union_that_nests_takes_bounded_work() {
    // Four branches that all lead into the same member: 4^120 ways without bounds.
    let branch = |name: &str| {
        json!({
            "properties": {"op": {"type": "string", "minLength": 1}, "of": {"$ref": "#"}},
            "required": [name],
        })
    };
    let schema = json!({
        "anyOf": [branch("a"), branch("b"), branch("c"), branch("d"), {"type": "integer"}],
    });
    let mut value = json!("leaf");
    for _ in 0..120 {
        value = json!({"of": value});
    }
    let started = std::time::Instant::now();
    let found = faults(&schema, &value);
    assert!(found.len() > 0);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn a_tagged_union_that_nests_is_explained_at_its_depth() {
    let branch = |name: &str| {
        json!({
            "type": "object",
            "properties": {"op": {"const": name}, "of": {"$ref": "#"}},
            "required": ["op", "of"],
        })
    };
    let schema = json!({"oneOf": [branch("a"), branch("b"), branch("c"), {"type": "integer"}]});
    let mut value = json!("leaf");
    for _ in 0..60 {
        value = json!({"op": "b", "of": value});
    }
    let pointer = "/of".repeat(60);
    let found = faults(&schema, &value);
    let fault = found.iter().next().unwrap();
    assert_eq!(fault.pointer(), pointer);
    assert_eq!(
        fault.detail(),
        r#""leaf" is neither an integer nor an object"#
    );
}

#[test]
fn the_deepest_value_fits_the_stack_of_a_worker_thread() {
    // As deep a schema at each level as the limits let through, and as deep a value as is read.
    let mut schema = json!({"properties": {"a": {"$ref": "#"}}, "required": ["x"]});
    for _ in 0..SchemaLimits::DEFAULT_MAX_NESTING - 2 {
        schema = json!({"allOf": [schema]});
    }
    let text = format!("{}0{}", "{\"a\":".repeat(127), "}".repeat(127));
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let checked = thread.spawn(move || {
        let schema = Schema::compile(&schema).unwrap();
        schema
            .check(&serde_json::from_str(&text).unwrap())
            .unwrap_err()
    });
    assert_eq!(checked.unwrap().join().unwrap().len(), 100);
}

#[test]
fn a_long_chain_of_references_fits_the_stack_of_a_worker_thread() {
    let mut definitions = serde_json::Map::new();
    for index in 0..330 {
        let next = json!({"$ref": format!("#/$defs/{}", index + 1)});
        let part = json!({"patternProperties": {"^a": {"allOf": [next]}}});
        definitions.insert(index.to_string(), part);
    }
    definitions.insert("330".to_owned(), json!({"type": "null"}));
    let document = json!({"$ref": "#/$defs/0", "$defs": definitions});
    let thread = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let compiled =
        thread.spawn(move || Schema::compile(&document).map(|it| it.is_valid(&json!({}))));
    assert!(compiled.unwrap().join().unwrap().unwrap());
}

#[test]
fn a_schema_is_refused_above_a_limit_and_taken_at_it() {
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
fn a_schema_that_would_take_forever_is_refused() {
    // Each of 100 definitions refers twice to the next.
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
fn what_is_no_schema_is_refused_with_the_place() {
    for (document, expected) in [
        (
            json!({"properties": {"a": {"minimum": "x"}}}),
            r#"the document is not a schema: at "/properties/a/minimum", "x" is not a number"#,
        ),
        (
            json!({"$ref": "https://example.com/other.json"}),
            "the schema refers to https://example.com/other.json, which is not in it, and nothing is fetched",
        ),
        (json!({"$ref": "#/$defs/none"}), "a reference leads nowhere"),
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
            "the dialect of the schema is not known",
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
fn a_reference_to_another_document_is_told_apart() {
    let error = Schema::compile(&json!({"$ref": "file:///etc/passwd"})).unwrap_err();
    assert!(error.is_outside_reference());
    assert!(
        !Schema::compile(&json!(7))
            .unwrap_err()
            .is_outside_reference()
    );
}
