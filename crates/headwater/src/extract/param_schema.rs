//! Analysis of parameters' schemas: an object's properties and the types that a value may have.

use serde_json::{Number, Value};

/// The JSON types besides strings that a value may have. Strings need no conversion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    number: bool,
    boolean: bool,
    pub(super) items: Option<Box<Kinds>>,
}

impl Kinds {
    /// Returns the types that `schema` allows, as far as it restricts them.
    pub(super) fn of(schema: &Value, root: &Value) -> Self {
        let mut kinds = Self::default();
        kinds.add(schema, root, 0);
        kinds
    }

    fn add(&mut self, schema: &Value, root: &Value, depth: u8) {
        let schema = resolve(schema, root);
        if depth > 16 {
            return;
        }
        match schema.get("type") {
            Some(Value::String(name)) => self.add_type(name, schema, root),
            Some(Value::Array(names)) => {
                for name in names.iter().filter_map(Value::as_str) {
                    self.add_type(name, schema, root);
                }
            }
            _ => {}
        }
        let constants = schema["enum"].as_array().into_iter().flatten();
        for constant in constants.chain(schema.get("const")) {
            self.number |= constant.is_number();
            self.boolean |= constant.is_boolean();
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for branch in schema[keyword].as_array().into_iter().flatten() {
                self.add(branch, root, depth + 1);
            }
        }
    }

    fn add_type(&mut self, name: &str, schema: &Value, root: &Value) {
        match name {
            "integer" | "number" => self.number = true,
            "boolean" => self.boolean = true,
            "array" => {
                let items = schema.get("items").unwrap_or(&Value::Null);
                self.items = Some(Box::new(Self::of(items, root)));
            }
            _ => {}
        }
    }

    /// Converts a parameter's text to JSON. A text that doesn't have an allowed type stays a
    /// string.
    pub(super) fn value(&self, text: &str) -> Value {
        if self.number
            && let Ok(number) = text.parse::<Number>()
        {
            return Value::Number(number);
        }
        match (self.boolean, text) {
            (true, "true") => Value::Bool(true),
            (true, "false") => Value::Bool(false),
            _ => text.into(),
        }
    }
}

/// A property of an object's schema.
#[derive(Debug, Clone)]
pub(crate) struct Property {
    pub(crate) name: String,
    pub(crate) schema: Value,
    pub(crate) required: bool,
}

/// Returns all properties of `root`: its own, and those of the schemas that it combines.
pub(crate) fn properties(root: &Value) -> Vec<Property> {
    let mut found = Vec::new();
    add_properties(root, root, true, 0, &mut found);
    found
}

fn add_properties(schema: &Value, root: &Value, all: bool, depth: u8, found: &mut Vec<Property>) {
    let schema = resolve(schema, root);
    if depth > 16 {
        return;
    }
    let required = schema.get("required").and_then(Value::as_array);
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        let required = all && required.is_some_and(|names| names.iter().any(|known| known == name));
        match found.iter_mut().find(|property| property.name == *name) {
            Some(property) => property.required |= required,
            None => found.push(Property {
                name: name.clone(),
                schema: schema.clone(),
                required,
            }),
        }
    }
    for (keyword, all) in [("allOf", all), ("anyOf", false), ("oneOf", false)] {
        for branch in schema[keyword].as_array().into_iter().flatten() {
            add_properties(branch, root, all, depth + 1, found);
        }
    }
}

/// Returns `true` if `root` is the schema of an object.
pub(super) fn is_object(root: &Value) -> bool {
    let schema = resolve(root, root);
    schema.get("type").is_some_and(|name| name == "object")
        || schema.get("properties").is_some()
        || ["allOf", "anyOf", "oneOf"].iter().any(|keyword| {
            let mut branches = schema[*keyword].as_array().into_iter().flatten();
            branches.any(|branch| resolve(branch, root).get("properties").is_some())
        })
}

/// Returns the target of a local `$ref`.
pub(super) fn resolve<'a>(mut schema: &'a Value, root: &'a Value) -> &'a Value {
    // The bound on a chain of references also ends cycles.
    for _ in 0..16 {
        let target = schema.get("$ref").and_then(Value::as_str);
        let Some(target) = target.and_then(|target| root.pointer(target.strip_prefix('#')?)) else {
            break;
        };
        schema = target;
    }
    schema
}
