//! Properties of every schema and every value.

use std::collections::BTreeMap;

use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{CheckBudget, Schema, pattern::Pattern, plan::Plan, search};

const NAMES: [&str; 4] = ["a", "b", "a/b", "kind"];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        prop::sample::select(vec![0.5, 1.0, -2.5, -0.0, 1e30]).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(vec!["", "a", "b", "ab", "x~1", "2026-01-31", "ü"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            members(inner).prop_map(Value::from),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::vec((prop::sample::select(&NAMES[..]), value), 0..4).prop_map(|members| {
        let members = members.into_iter();
        members
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    })
}

fn keyword(name: &'static str, value: impl Into<Value>) -> (&'static str, Value) {
    (name, value.into())
}

/// Generates a schema from the keywords of draft 2020-12.
fn schema() -> impl Strategy<Value = Value> {
    let types = [
        "null", "boolean", "integer", "number", "string", "array", "object",
    ];
    let names = prop::collection::vec(prop::sample::select(&NAMES[..]), 0..3);
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        prop::sample::select(types.to_vec()).prop_map(|name| json!({"type": name})),
        prop::sample::subsequence(types.to_vec(), 1..3).prop_map(|names| json!({"type": names})),
        prop::sample::select(vec!["a", "b", "ab"]).prop_map(|text| json!({"const": text})),
        value().prop_map(|value| json!({"const": value})),
        prop::sample::subsequence(vec![json!("a"), json!("b"), json!(1), Value::Null], 1..4)
            .prop_map(|options| json!({"enum": options})),
        prop::sample::select(vec![
            keyword("minimum", 0),
            keyword("maximum", 1.5),
            keyword("exclusiveMaximum", 2),
            keyword("multipleOf", 2),
            keyword("minLength", 1),
            keyword("maxLength", 1),
            keyword("pattern", "^a"),
            keyword("format", "date"),
            keyword("minItems", 1),
            keyword("maxItems", 1),
            keyword("uniqueItems", true),
            keyword("minProperties", 1),
            keyword("maxProperties", 1),
            keyword("$ref", "#"),
            keyword("$ref", "#/$defs/shared"),
        ])
        .prop_map(|(name, value)| json!({name: value})),
        names.prop_map(|names| {
            let mut names = names;
            names.sort_unstable();
            names.dedup();
            json!({"required": names})
        }),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4);
        let all = prop::sample::select(vec!["allOf", "anyOf", "oneOf", "prefixItems"]);
        let one = prop::sample::select(vec![
            "additionalProperties",
            "contains",
            "else",
            "if",
            "items",
            "not",
            "propertyNames",
            "then",
            "unevaluatedItems",
            "unevaluatedProperties",
        ]);
        let by_name = prop::sample::select(vec!["dependentSchemas", "properties"]);
        let part = prop_oneof![
            (all, list).prop_map(|(keyword, list)| (keyword, Value::from(list))),
            (one, inner.clone()),
            (by_name, members(inner.clone())).prop_map(|(key, map)| (key, Value::from(map))),
            inner.prop_map(|schema| ("patternProperties", json!({"^a": schema}))),
        ];
        prop::collection::vec(part, 1..4).prop_map(|parts| {
            let parts = parts.into_iter();
            parts
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()
        })
    })
}

/// Generates a regular expression.
fn pattern() -> impl Strategy<Value = String> {
    let atoms = vec![
        "", "a", "b", "é", "ab", "[ab]", "[^a]", ".", "\\w", "\\W", "\\s", "\\pL", "\\b", "\\B",
        "^", "$", "[^é]", "(?i)A", "[^\\pL]",
    ];
    let atom = prop::sample::select(atoms).prop_map(str::to_owned);
    let part = atom.prop_recursive(4, 16, 4, |inner| {
        let times = vec!["*", "+", "?", "{2}", "{0,3}", "{1,}", "*?", "{0}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            prop::collection::vec(inner.clone(), 2..4)
                .prop_map(|parts| format!("(?:{})", parts.join("|"))),
            inner.clone().prop_map(|part| format!("({part})")),
            (inner, prop::sample::select(times))
                .prop_map(|(part, times)| format!("(?:{part}){times}")),
        ]
    });
    (any::<bool>(), part).prop_map(|(anchored, part)| match anchored {
        true => format!("^(?:{part})"),
        false => part,
    })
}

fn document() -> impl Strategy<Value = Value> {
    (schema(), schema()).prop_map(|(root, shared)| {
        let mut root = match root {
            Value::Object(root) => root,
            other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
        };
        root.insert("$defs".to_owned(), json!({"shared": shared}));
        root.into()
    })
}

proptest! {
    #[test]
    fn invalid_values_have_faults_with_resolvable_pointers(
        document in document(),
        value in value(),
    ) {
        // A schema that recurs on the same value is refused.
        let Ok(schema) = Schema::compile(&document) else { return Ok(()) };
        let valid = schema.is_valid(&value);
        prop_assert_eq!(schema.check(&value).is_ok(), valid);
        for fault in schema.check(&value).err().iter().flatten() {
            let at = value.pointer(fault.pointer());
            prop_assert!(at.is_some(), "{} leads nowhere", fault.pointer());
            prop_assert!(fault.value().is_none_or(|value| at == Some(value)), "{}", fault);
        }
    }

    #[test]
    fn the_search_and_the_validator_agree(document in document(), value in value()) {
        let Ok(schema) = Schema::compile(&document) else { return Ok(()) };
        let plan = Plan::new(&document, jsonschema::Draft::Draft202012);
        let mut budget = CheckBudget::unlimited();
        prop_assert_eq!(search::is_valid(&plan, &value, &mut budget), Some(schema.is_valid(&value)));
    }

    #[test]
    fn a_pattern_is_matched_like_by_jsonschema_within_its_bounds(
        pattern in pattern(),
        text in "[abé \u{300}]{0,12}",
    ) {
        let document = json!({"pattern": pattern});
        let Ok(schema) = Schema::compile(&document) else { return Ok(()) };
        let read = Pattern::new(pattern);
        let mut budget = CheckBudget::unlimited();
        let matches = read.is_match(&text, &mut budget);
        prop_assert_eq!(matches, schema.is_valid(&json!(text)));
        let cost = read.cost();
        if cost.steps > 1 {
            let steps = u64::MAX - budget.left();
            prop_assert!(steps <= cost.steps * (text.len() as u64 + 1) / 8, "{steps}: {cost:?}");
        }
        // Each has a bit more memory, for its tables.
        let memory = read.memory();
        prop_assert!(memory <= cost.memory + 1024, "{memory}: {cost:?}");
    }

    #[test]
    fn serialised_values_match_their_schema(order in order()) {
        let value = serde_json::to_value(&order).unwrap();
        prop_assert_eq!(Schema::of_serialized::<Order>().check(&value), Ok(()));
        prop_assert_eq!(Schema::of::<Order>().check(&value), Ok(()));
    }
}

/// An order that uses a bit of everything that types can require.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Order {
    #[schemars(range(min = 1, max = 1000))]
    count: u32,
    #[schemars(length(min = 1, max = 8))]
    symbol: String,
    price: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    legs: Vec<Order>,
    side: Side,
    #[serde(flatten)]
    route: Route,
    notes: BTreeMap<String, i64>,
    large: (u64, i32, char),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Side {
    Buy,
    /// Documented, so that it has a separate schema.
    Sell,
    Swap(u8, bool),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "at")]
enum Route {
    Direct,
    Through { hops: Vec<std::net::IpAddr> },
}

fn order() -> impl Strategy<Value = Order> {
    let side = prop_oneof![
        Just(Side::Buy),
        Just(Side::Sell),
        any::<(u8, bool)>().prop_map(|(first, second)| Side::Swap(first, second)),
    ];
    let hops = prop::collection::vec(any::<std::net::IpAddr>(), 0..3);
    let route = prop_oneof![
        Just(Route::Direct),
        hops.prop_map(|hops| Route::Through { hops }),
    ];
    let single = (
        1_u32..=1000,
        "[a-zü]{1,8}",
        prop::option::of(-1e9..1e9_f64),
        side,
        route,
        prop::collection::btree_map(".{0,3}", any::<i64>(), 0..3),
        any::<(u64, i32, char)>(),
    )
        .prop_map(|(count, symbol, price, side, route, notes, large)| Order {
            count,
            symbol,
            price,
            legs: Vec::new(),
            side,
            route,
            notes,
            large,
        });
    single.prop_recursive(3, 8, 3, |inner| {
        (inner.clone(), prop::collection::vec(inner, 0..3)).prop_map(|(mut order, legs)| {
            order.legs = legs;
            order
        })
    })
}
