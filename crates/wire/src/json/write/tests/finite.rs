//! Floats that aren't finite, which JSON can't represent.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

use super::{append, check, types::External, written};

#[track_caller]
fn refused<T: Serialize + ?Sized>(value: &T, expected: &str) {
    // An earlier item isn't part of the location.
    let mut out = br#"{"before":[1,{"a":"#.to_vec();
    let error = append(value, &mut out).unwrap_err();
    let expected = format!("{expected}: JSON has only finite numbers (RFC 8259 §6)");
    assert_eq!(error.to_string(), expected);
}

#[derive(Serialize)]
struct Reading {
    name: &'static str,
    values: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<f32>,
    #[serde(flatten)]
    rest: BTreeMap<&'static str, f64>,
}

fn reading() -> Reading {
    Reading {
        name: "a \"{[,]}: \\",
        values: vec![1.5, 2.0],
        best: None,
        rest: BTreeMap::new(),
    }
}

#[test]
fn a_float_that_is_not_finite_is_an_error_with_its_location() {
    refused(&f64::NAN, "NaN at \"#\"");
    refused(&f32::INFINITY, "Infinity at \"#\"");
    refused(&Some(f64::NEG_INFINITY), "-Infinity at \"#\"");
    refused(&[1.0, f32::NAN], "NaN at \"#/1\"");
    refused(&(1, "NaN", (), -f64::NAN), "NaN at \"#/3\"");
    let mut late = reading();
    late.values.push(f64::INFINITY);
    refused(&[reading(), late], "Infinity at \"#/1/values/2\"");
    let best = Some(f32::NEG_INFINITY);
    refused(&Reading { best, ..reading() }, "-Infinity at \"#/best\"");
    let rest = BTreeMap::from([("a/b~", f64::NAN)]);
    refused(&Reading { rest, ..reading() }, "NaN at \"#/a~1b~0\"");
    refused(
        &BTreeMap::from([("NaN", [[f32::NAN]])]),
        "NaN at \"#/NaN/0/0\"",
    );
    let long = "x".repeat(1000);
    let cut = format!("NaN at \"#/{}…\"", "x".repeat(198));
    refused(&BTreeMap::from([(long, f64::NAN)]), &cut);
}

#[test]
fn a_missing_number_is_still_null() {
    check(&[None, Some(1.5_f64)]);
    assert_eq!(
        written(&json!({"a": f64::NAN})),
        r#"{"a":null}"#,
        "`json!` made it null"
    );
}

#[test]
fn an_error_of_another_kind_is_unchanged() {
    let text = [Value::from("NaN"), Value::from("Infinity")];
    check(&text);
    check(&BTreeMap::from([(vec![1], External::Unit)]));
}

proptest! {
    #[test]
    fn the_location_is_a_valid_pointer_to_the_value(
        before in 0..5_usize, names in prop::collection::vec("[a-z~/\"\\\\{}\\[\\],:]{0,6}", 1..6)
    ) {
        /// An array with a number at its end, inside an object for each name.
        struct Nested<'a>(&'a [String], usize);
        impl Serialize for Nested<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Self(names, before) = *self;
                match names {
                    [] => serializer.collect_seq((0..=before).map(|n| if n == before { f64::NAN } else { 1.0 })),
                    [name, rest @ ..] => serializer.collect_map([("first", None), (name, Some(Nested(rest, before)))]),
                }
            }
        }
        let error = append(&Nested(&names, before), &mut Vec::new()).unwrap_err().to_string();
        let path: String = names.iter().map(|name| {
            // Names are shown as they are written in JSON.
            let name = serde_json::to_string(name).unwrap();
            format!("/{}", name[1..name.len() - 1].replace('~', "~0").replace('/', "~1"))
        }).collect();
        let expected = format!("NaN at {:?}: ", format!("#{path}/{before}"));
        prop_assert!(error.starts_with(&expected), "{} instead of {}", error, expected);
    }
}
