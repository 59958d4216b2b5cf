//! Bounds on the messages, the work and the stack.

use super::*;

#[test]
fn a_long_value_is_truncated_in_a_detail() {
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
fn long_pointers_reduce_the_number_of_kept_faults() {
    let key = "k".repeat(30_000);
    let found = faults(
        &json!({"additionalProperties": {"items": false}}),
        &json!({key: [1, 2, 3, 4]}),
    );
    assert_eq!((found.len(), found.more()), (3, 1));
}

#[test]
fn a_nested_union_takes_bounded_work() {
    // Four branches that all lead to the same member: 4^120 paths without bounds.
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
fn a_nested_tagged_union_is_explained_at_its_depth() {
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
    // The deepest schema that the limits allow at each level, and the deepest value that is read.
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

/// Checks a text. Returns the value or the faults, and the number of steps.
fn checked(schema: &Value, text: &str) -> (Result<Value, Faults>, u64) {
    let schema = Schema::compile(schema).unwrap();
    let mut budget = CheckBudget::for_text(text.len());
    let result = schema.check_text_within(text.as_bytes(), &mut budget);
    (result.unwrap(), budget.granted() - budget.left())
}

fn any_of_constants(count: usize) -> Value {
    let branches: Vec<_> = (0..count).map(|n| json!({"const": n})).collect();
    json!({"items": {"anyOf": branches}})
}

#[test]
fn a_check_that_exceeds_its_budget_is_abandoned() {
    let schema = any_of_constants(900);
    // Only the last branch accepts it, so that each item takes 900 steps.
    let text = format!("[{}899]", "899,".repeat(10_000));
    let (result, steps) = checked(&schema, &text);
    let faults = result.unwrap_err();
    assert!(faults.is_over_budget());
    assert_eq!(faults.len(), 1);
    assert!(
        faults.to_string().contains("was given up after"),
        "{faults}"
    );
    assert!(steps <= CheckBudget::BASE + CheckBudget::PER_BYTE * text.len() as u64);
}

#[test]
fn faults_that_are_found_within_the_budget_are_true() {
    let text = format!("[{}-1]", "-1,".repeat(10_000));
    let (result, _) = checked(&any_of_constants(900), &text);
    let faults = result.unwrap_err();
    assert!(!faults.is_over_budget());
    // Each takes 900 of the steps into invalid parts.
    assert!(faults.len() >= 20, "{}", faults.len());
    for (index, fault) in faults.iter().enumerate() {
        assert_eq!(fault.pointer(), format!("/{index}"));
        assert_eq!(fault.value(), Some(&json!(-1)));
    }
}

#[test]
fn one_budget_bounds_many_small_checks() {
    let schema = Schema::compile(&any_of_constants(900)).unwrap();
    let mut budget = CheckBudget::for_text(10_000 * 5);
    let done = (0..10_000)
        .take_while(|_| {
            schema
                .check_text_within(b"[899]", &mut budget)
                .unwrap()
                .is_ok()
        })
        .count();
    assert!((1000..9999).contains(&done), "{done}");
}

#[test]
fn an_ordinary_check_of_any_size_stays_within_its_budget() {
    let text = json!({"symbol": "ACME", "price": 12.5, "tags": ["a", "b"], "at": "2026-01-31"});
    let properties: serde_json::Map<_, _> = (0..100)
        .map(|n| {
            (
                format!("other{n}"),
                json!({"type": ["string", "null"], "maxLength": 10}),
            )
        })
        .collect();
    let item = json!({
        "type": "object",
        "properties": {
            "symbol": {"type": "string", "pattern": "^[A-Z]{1,5}$"},
            "price": {"type": "number", "minimum": 0},
            "tags": {"items": {"enum": ["a", "b", "c"]}},
            "at": {"type": "string", "format": "date"},
        },
        "anyOf": [{"required": ["symbol"]}, {"properties": properties}],
        "required": ["symbol", "price"],
        "unevaluatedProperties": false,
    });
    let schema = json!({"items": {"$ref": "#/$defs/item"}, "$defs": {"item": item}});
    for count in [1, 100, 5000] {
        let text = serde_json::to_string(&vec![&text; count]).unwrap();
        let (result, _) = checked(&schema, &text);
        assert!(result.is_ok(), "{count}: {:?}", result.unwrap_err());
    }
}

#[test]
fn duplicate_names_and_unique_items_are_charged_their_cost() {
    let text = format!("[{}0]", "0,".repeat(50_000));
    let schema = json!({"allOf": vec![json!({"uniqueItems": true}); 200]});
    assert!(checked(&schema, &text).0.is_err());
    let members: Vec<_> = (0..20_000).map(|n| format!("\"a{n}\":1")).collect();
    let text = format!("{{{}}}", members.join(","));
    let patterns: serde_json::Map<_, _> =
        (0..500).map(|n| (format!("^b{n}"), json!(true))).collect();
    let (result, _) = checked(&json!({"patternProperties": patterns}), &text);
    assert!(result.unwrap_err().is_over_budget());
}

#[test]
fn a_check_ends_when_it_is_cancelled() {
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let text = format!("[{}899]", "899,".repeat(5000));
    let schema = Schema::compile(&any_of_constants(900)).unwrap();
    let mut budget = CheckBudget::for_text(text.len()).cancelled_by(flag);
    let faults = schema
        .check_text_within(text.as_bytes(), &mut budget)
        .unwrap()
        .unwrap_err();
    assert!(faults.is_over_budget());
    assert_eq!(budget.left(), 0);
}
