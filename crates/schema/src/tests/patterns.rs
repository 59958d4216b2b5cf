//! Patterns, and other keywords whose cost depends on the text or on the number.

use super::*;
use crate::pattern::Pattern;

/// Checks texts within one budget. Returns the steps, or `None` if there are too few.
fn steps(schema: &Value, texts: &[String]) -> Option<u64> {
    let schema = Schema::compile(schema).unwrap();
    let mut budget = CheckBudget::for_text(texts.iter().map(String::len).sum());
    for text in texts {
        let checked = schema.check_text_within(text.as_bytes(), &mut budget);
        // Faults that were found before the budget was spent are reported instead.
        let is_over = checked.unwrap().is_err_and(|it| it.is_over_budget());
        if is_over || budget.left() == 0 {
            return None;
        }
    }
    Some(budget.granted() - budget.left())
}

/// A text of `0` and `1` without a period.
fn bits(length: usize) -> String {
    let mut state = 1_u32;
    let bits = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 31 == 0 { '0' } else { '1' }
    });
    bits.take(length).collect()
}

fn quoted(text: &str) -> String {
    json!(text).to_string()
}

#[test]
fn a_pattern_with_many_active_states_is_charged_for_them() {
    for document in [
        json!({"pattern": "[01]*1[01]{1000}2"}),
        json!({"pattern": "^[01]*1[01]{1000}2"}),
        json!({"allOf": vec![json!({"pattern": "[01]*1[01]{20}2"}); 100]}),
        json!({
            "$ref": "urn:x",
            "$defs": {"x": {"$id": "urn:x", "pattern": "[01]*1[01]{1000}2"}},
        }),
    ] {
        assert_eq!(
            steps(&document, &[quoted(&bits(30_000))]),
            None,
            "{document}"
        );
        let most = Schema::compile(&document)
            .unwrap()
            .most_steps_for_text(30_000);
        assert!(most > 20_000_000, "{most}");
    }
    for document in [
        json!({"patternProperties": {"[01]*1[01]{1000}2": true}}),
        json!({"propertyNames": {"pattern": "[01]*1[01]{1000}2"}}),
    ] {
        let text = json!({bits(30_000): 1}).to_string();
        assert_eq!(steps(&document, &[text]), None, "{document}");
    }
}

#[test]
fn ordinary_patterns_take_few_steps() {
    let email = json!({"pattern": r"^[a-z0-9._%+-]{1,64}@[a-z0-9.-]{1,255}\.[a-z]{2,}$"});
    let uuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
    let uuid = json!({"pattern": uuid});
    let one_email = quoted("ada.lovelace@example.com!");
    let one_uuid = quoted("123e4567-e89b-12d3-a456-426614174000");
    for count in [1000, 10_000] {
        let taken = steps(&email, &vec![one_email.clone(); count]);
        assert!(taken.unwrap() < 600_000 + 100 * count as u64, "{taken:?}");
    }
    let word = json!({"pattern": r"^\w+$"});
    let taken = steps(&word, &[quoted(&"a".repeat(100_000))]).unwrap();
    assert!(taken < 100_000 / 8, "{taken}");
    let array = format!("[{}]", vec![one_uuid.as_str(); 10_000].join(","));
    let taken = steps(&json!({"items": uuid}), &[array]).unwrap();
    assert!(taken < 10_000 * 10, "{taken}");
    // A row of a table with ten columns of each.
    let column = |n: usize| {
        if usize::is_multiple_of(n, 2) {
            (&uuid, &one_uuid)
        } else {
            (&email, &one_email)
        }
    };
    let schema: serde_json::Map<_, _> = (0..20)
        .map(|n| (n.to_string(), column(n).0.clone()))
        .collect();
    let row: Vec<_> = (0..20)
        .map(|n| format!("\"{n}\":{}", column(n).1))
        .collect();
    let row = format!("{{{}}}", row.join(","));
    let taken = steps(&json!({"properties": schema}), &vec![row.clone(); 1000]).unwrap();
    assert!(taken < 6 * 1000 * row.len() as u64, "{taken}");
}

#[test]
fn a_long_match_ends_when_it_is_cancelled() {
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let text = quoted(&bits(300_000));
    let schema = Schema::compile(&json!({"pattern": "[01]*1[01]{1000}2"})).unwrap();
    let mut budget = CheckBudget::for_text(text.len()).cancelled_by(flag);
    let checked = schema.check_text_within(text.as_bytes(), &mut budget);
    assert!(checked.unwrap().unwrap_err().is_over_budget());
    assert_eq!(budget.left(), 0);
}

#[test]
fn a_patterns_cost_is_bounded_by_the_states_that_may_be_active() {
    let steps = |pattern: &str| Pattern::new(pattern.to_owned()).cost().steps;
    for few in [
        "a+b",
        r"^\w+$",
        r"^\d{4}-\d{2}-\d{2}$",
        "^[a-z][a-z0-9-]{0,62}$",
        r"^\+?[1-9]\d{1,14}$",
        "^.{0,5000}$",
        "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{12}$",
    ] {
        assert_eq!(steps(few), 1, "{few}");
    }
    for (some, most) in [
        (r"^[a-z0-9._%+-]{1,64}@[a-z0-9.-]{1,255}\.[a-z]{2,}$", 80),
        (r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$", 200),
        (r"^\p{L}+$", 60),
    ] {
        assert!((2..=most).contains(&steps(some)), "{some}: {}", steps(some));
    }
    for many in ["[01]*1[01]{1000}2", "^[01]*1[01]{1000}2", "(a?b?){500}2"] {
        assert!(steps(many) >= 4000, "{many}: {}", steps(many));
    }
    assert!(steps("((((((a?){1000}){1000}){1000}){1000}){1000}){1000}") > u64::MAX / 2);
}

#[test]
fn the_arithmetic_of_large_fractions_is_charged() {
    let all = |range: std::ops::Range<i32>| {
        let all = range.map(|n| format!(r#"{{"multipleOf":1e-{n}}}"#));
        let all: Vec<_> = all.collect();
        let text = format!(r#"{{"items":{{"allOf":[{}]}}}}"#, all.join(","));
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let items = |number: &str| vec![format!("[{}]", vec![number; 40_000].join(","))];
    assert_eq!(steps(&all(260..320), &items("1e308")), None);
    assert_eq!(steps(&all(2..20), &items("1e308")), None);
    for (schema, number) in [
        (all(2..3), "12345.67"),
        (all(9..10), "0.000000005"),
        (all(9..10), "5e-9"),
        (all(2..5), "-19.99"),
        (json!({"items": {"multipleOf": 5}}), "18446744073709551615"),
    ] {
        let taken = steps(&schema, &items(number)).unwrap();
        assert!(taken <= 8 * 40_000, "{number}: {taken}");
    }
}

#[test]
fn a_text_of_the_format_regex_has_few_named_groups() {
    let groups = |count: usize| {
        json!(
            (0..count)
                .map(|n| format!("(?<a{n}>b)"))
                .collect::<String>()
        )
    };
    let schema = json!({"format": "regex"});
    check(schema.clone(), groups(64), &[]);
    check(schema.clone(), json!("(?=a)b{2}"), &[]);
    assert_eq!(faults(&schema, &groups(65)).len(), 1);
    assert_eq!(faults(&schema, &json!("(")).len(), 1);
}
