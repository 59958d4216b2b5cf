//! How much is said, and how much work and stack it takes.

use super::*;

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
