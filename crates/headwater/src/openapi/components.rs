//! The schemas that the operations share.
//!
//! A type has up to two schemas: one for input (in which `#[serde(default)]` makes a property
//! optional) and one for output. If they are equal, they are one component, `Name`. Otherwise they
//! are two, `NameInput` and `NameOutput`.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{Schema, SchemaGenerator, generate::Contract, transform::RecursiveTransform};
use serde_json::{Map, Value};

use crate::operation::SchemaOf;

/// Preliminary locations of the components, by which the generators refer to them. `finish`
/// replaces these references.
const INPUT: &str = "#/components/in/";
const OUTPUT: &str = "#/components/out/";
const SCHEMAS: &str = "#/components/schemas/";

pub(crate) struct Components {
    input: SchemaGenerator,
    output: SchemaGenerator,
}

impl Components {
    pub(crate) fn new() -> Self {
        let generator = |contract, path: &str| {
            let mut settings = headwater_schema::settings(contract);
            settings.definitions_path = path.trim_end_matches('/').to_owned().into();
            settings.meta_schema = None;
            settings
                .with_transform(RecursiveTransform(leave_out_wide_bounds))
                .into_generator()
        };
        Self {
            input: generator(Contract::Deserialize, INPUT),
            output: generator(Contract::Serialize, OUTPUT),
        }
    }

    /// Returns the schema of an input, or a reference to it.
    pub(crate) fn input(&mut self, of: SchemaOf) -> Value {
        transformed(&mut self.input, of.referenced).to_value()
    }

    /// Returns the schema of an output, or a reference to it.
    pub(crate) fn output(&mut self, of: SchemaOf) -> Schema {
        transformed(&mut self.output, of.referenced)
    }

    /// Returns the inlined schema of an input, including its definitions, where `resolve` finds
    /// them.
    pub(crate) fn input_root(&mut self, of: SchemaOf) -> Value {
        let mut schema = transformed(&mut self.input, of.inline);
        let definitions = Value::Object(self.input.definitions().clone());
        schema.insert(
            "components".to_owned(),
            serde_json::json!({"in": definitions}),
        );
        schema.to_value()
    }

    /// Returns all components by name, and replaces the references in `document`.
    pub(crate) fn finish(mut self, document: &mut Value) -> Map<String, Value> {
        let input: BTreeMap<_, _> = self.input.take_definitions(true).into_iter().collect();
        let output: BTreeMap<_, _> = self.output.take_definitions(true).into_iter().collect();
        let apart = apart(&input, &output);
        let names = |reference: &str| {
            let (name, suffix) = match reference.strip_prefix(INPUT) {
                Some(name) => (name, "Input"),
                None => (reference.strip_prefix(OUTPUT)?, "Output"),
            };
            let suffix = if apart.contains(name) { suffix } else { "" };
            Some(format!("{SCHEMAS}{name}{suffix}"))
        };
        let mut components = BTreeMap::new();
        for (definitions, suffix) in [(input, "Input"), (output, "Output")] {
            for (name, mut schema) in definitions {
                let component = if apart.contains(&name) {
                    format!("{name}{suffix}")
                } else {
                    name
                };
                rename(&mut schema, &names);
                components.insert(component, schema);
            }
        }
        rename(document, &names);
        components.into_iter().collect()
    }
}

/// Removes bounds beyond 2⁵³, which JavaScript tools would read as other numbers. The `format`
/// implies them.
fn leave_out_wide_bounds(schema: &mut Schema) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    for bound in ["minimum", "maximum"] {
        let value = schema.get(bound).and_then(Value::as_f64);
        if schema.get("format").is_some() && value.is_some_and(|value| value.abs() > EXACT) {
            schema.remove(bound);
        }
    }
}

fn transformed(
    generator: &mut SchemaGenerator,
    make: fn(&mut SchemaGenerator) -> Schema,
) -> Schema {
    let mut schema = make(generator);
    for transform in generator.transforms_mut() {
        transform.transform(&mut schema);
    }
    schema
}

/// Returns the names whose input and output schemas differ, directly or in a schema that they refer
/// to.
fn apart(input: &BTreeMap<String, Value>, output: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let neutral = |schema: &Value| {
        let mut schema = schema.clone();
        rename(&mut schema, &|reference| {
            let name = reference
                .strip_prefix(INPUT)
                .or_else(|| reference.strip_prefix(OUTPUT))?;
            Some(format!("{SCHEMAS}{name}"))
        });
        schema
    };
    let both: Vec<_> = input
        .iter()
        .filter_map(|(name, schema)| Some((name, neutral(schema), neutral(output.get(name)?))))
        .collect();
    let mut apart: BTreeSet<String> = both
        .iter()
        .filter(|(_, input, output)| input != output)
        .map(|(name, ..)| (*name).clone())
        .collect();
    loop {
        let before = apart.len();
        for (name, schema, _) in &both {
            if refers_to(schema, &apart) {
                apart.insert((*name).clone());
            }
        }
        if apart.len() == before {
            return apart;
        }
    }
}

fn refers_to(schema: &Value, names: &BTreeSet<String>) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| match value {
            Value::String(reference) if key == "$ref" => reference
                .strip_prefix(SCHEMAS)
                .is_some_and(|name| names.contains(name)),
            value => refers_to(value, names),
        }),
        Value::Array(array) => array.iter().any(|value| refers_to(value, names)),
        _ => false,
    }
}

/// Replaces the target of each `$ref` in `value`.
fn rename(value: &mut Value, names: &impl Fn(&str) -> Option<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(reference) if key == "$ref" => {
                        if let Some(renamed) = names(reference) {
                            *reference = renamed;
                        }
                    }
                    value => rename(value, names),
                }
            }
        }
        Value::Array(array) => {
            for value in array {
                rename(value, names);
            }
        }
        _ => {}
    }
}
