//! Analysis of parameters' schemas: an object's properties and the types that a value may have.

use serde_json::{Number, Value, json};

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
    properties_of(root, root, 0)
}

fn properties_of(schema: &Value, root: &Value, depth: u8) -> Vec<Property> {
    let schema = resolve(schema, root);
    let mut found = Vec::new();
    if depth > 16 {
        return found;
    }
    let required = schema.get("required").and_then(Value::as_array);
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        found.push(Property {
            name: name.clone(),
            schema: schema.clone(),
            required: required.is_some_and(|names| names.iter().any(|known| known == name)),
        });
    }
    let branches = |keyword| -> Vec<_> {
        let branches = schema[keyword].as_array().into_iter().flatten();
        branches
            .map(|branch| properties_of(branch, root, depth + 1))
            .collect()
    };
    let mut combined = branches("allOf").concat();
    combined.extend(of_one_branch(&branches("anyOf")));
    combined.extend(of_one_branch(&branches("oneOf")));
    for property in combined {
        match found.iter_mut().find(|known| known.name == property.name) {
            Some(known) => known.required |= property.required,
            None => found.push(property),
        }
    }
    found
}

/// Returns the properties of an object that has those of any one branch.
fn of_one_branch(branches: &[Vec<Property>]) -> Vec<Property> {
    let mut found: Vec<Property> = Vec::new();
    for Property { name, .. } in branches.iter().flatten() {
        if found.iter().any(|known| known.name == *name) {
            continue;
        }
        let of_name = branches
            .iter()
            .flatten()
            .filter(|other| other.name == *name);
        let (mut schemas, mut required) = (Vec::new(), 0);
        for property in of_name {
            required += usize::from(property.required);
            if !schemas.contains(&property.schema) {
                schemas.push(property.schema.clone());
            }
        }
        found.push(Property {
            name: name.clone(),
            schema: any_of(schemas),
            required: required == branches.len(),
        });
    }
    found
}

/// Returns the schema of the values that any one of different schemas allows. The tags of an enum become one list.
fn any_of(mut schemas: Vec<Value>) -> Value {
    if schemas.len() == 1 {
        return schemas.remove(0);
    }
    let tags = schemas.iter().map(|schema| schema.get("const")?.as_str());
    match tags.collect::<Option<Vec<_>>>() {
        Some(tags) => json!({"type": "string", "enum": tags}),
        None => json!({"anyOf": schemas}),
    }
}

/// Returns `true` if a parameter can express some value of `schema`: a text, a number, a boolean, or a list of these.
pub(crate) fn is_expressible(schema: &Value, root: &Value) -> bool {
    has_text(schema, root, true, 0)
}

fn has_text(schema: &Value, root: &Value, may_be_list: bool, depth: u8) -> bool {
    let schema = resolve(schema, root);
    if depth > 16 {
        return true;
    }
    let has_text = |schema, may_be_list| has_text(schema, root, may_be_list, depth + 1);
    let is_text = |name: &str| match name {
        "object" | "null" => false,
        "array" => {
            may_be_list
                && schema
                    .get("items")
                    .is_none_or(|items| has_text(items, false))
        }
        _ => true,
    };
    let is_typed = match schema.get("type") {
        Some(Value::String(name)) => is_text(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(is_text),
        _ => schema.get("properties").is_none(),
    };
    let branches = |keyword| schema.get(keyword).and_then(Value::as_array);
    let is_any = |keyword| {
        branches(keyword).is_none_or(|all| all.iter().any(|branch| has_text(branch, may_be_list)))
    };
    let is_all = |keyword| {
        branches(keyword).is_none_or(|all| all.iter().all(|branch| has_text(branch, may_be_list)))
    };
    is_typed && is_any("anyOf") && is_any("oneOf") && is_all("allOf")
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
