//! Parameters: one for each property of the extractors' types.

use serde_json::{Map, Value, json};

use super::components::Components;
use crate::{
    extract::{header_name, is_expressible, properties},
    operation::{In, Operation, ParametersOf},
};

/// Returns the parameters of an operation. `names` are the names in its path.
///
/// # Errors
/// The mismatch between the handler's types and the path.
pub(crate) fn parameters(
    operation: &Operation,
    names: &[&str],
    components: &mut Components,
) -> Result<Vec<Value>, String> {
    let mut found: Vec<Value> = Vec::new();
    let mut add = |parameter: Value| {
        let same =
            |other: &Value| other["name"] == parameter["name"] && other["in"] == parameter["in"];
        if !found.iter().any(same) {
            found.push(parameter);
        }
    };
    for parameters in &operation.parameters {
        let place = parameters.place;
        let of = match &parameters.of {
            ParametersOf::Named {
                name,
                description,
                schema,
                required,
            } => {
                let mut schema = components.input(*schema);
                strip_null(&mut schema);
                let mut parameter = parameter(place, name, schema, *required);
                parameter["description"] = description.as_str().into();
                add(parameter);
                continue;
            }
            ParametersOf::Type(of) => *of,
        };
        let root = components.input_root(of);
        let type_name = (of.type_name)();
        if let Some(items) = root.get("prefixItems").and_then(Value::as_array) {
            if place != In::Path {
                return Err(format!(
                    "`{type_name}` has no names for its {} parameters: use a struct",
                    place.as_str()
                ));
            }
            if items.len() != names.len() {
                return Err(format!(
                    "the route has {} parameters, and `{type_name}` {}",
                    names.len(),
                    items.len()
                ));
            }
            for (name, schema) in names.iter().zip(items) {
                add(parameter(place, name, schema.clone(), true));
            }
            continue;
        }
        let properties = properties(&root);
        if properties.is_empty() {
            match (place, names) {
                (In::Path, [name]) => add(parameter(place, name, bare(&root), true)),
                (In::Path, _) if root.get("additionalProperties").is_none() => {
                    return Err(format!(
                        "the route has {} parameters, and `{type_name}` is a single value",
                        names.len()
                    ));
                }
                (In::Query, _) if is_object(&root) => {
                    // A map: parameters with any name (OpenAPI 3.2, Style Values: `form` of an
                    // object).
                    if root.get("additionalProperties").is_some() {
                        add(json!({
                            "name": "parameters",
                            "in": "query",
                            "style": "form",
                            "explode": true,
                            "schema": bare(&root),
                        }));
                    }
                }
                (In::Path, _) => {}
                (_, _) if is_object(&root) => {}
                _ => {
                    return Err(format!(
                        "`{type_name}` has no names for its {} parameters: use a struct",
                        place.as_str()
                    ));
                }
            }
        }
        for property in properties {
            let name = header_name(place, &property.name);
            if place == In::Path && !names.contains(&&*name) {
                return Err(format!(
                    "`{type_name}` needs the path parameter `{name}`, which the route does not have"
                ));
            }
            if !is_expressible(&property.schema, &root) {
                return Err(format!(
                    "`{type_name}` has the field `{}`, which no {} parameter can express: a parameter is a text, a number, a boolean or \
                     a list of these; put `#[serde(flatten)]` on a struct to have its fields as parameters, or read it from the \
                     body with `Json`",
                    property.name,
                    place.as_str()
                ));
            }
            let required = property.required || place == In::Path;
            add(parameter(place, &name, property.schema, required));
        }
    }
    for name in names {
        add(parameter(In::Path, name, json!({"type": "string"}), true));
    }
    Ok(found)
}

fn parameter(place: In, name: &str, mut schema: Value, required: bool) -> Value {
    let mut parameter = Map::new();
    parameter.insert("name".to_owned(), name.into());
    parameter.insert("in".to_owned(), place.as_str().into());
    if let Some(schema) = schema.as_object_mut() {
        // The field's annotations belong to the parameter.
        for keyword in ["description", "deprecated"] {
            if let Some(value) = schema.shift_remove(keyword) {
                parameter.insert(keyword.to_owned(), value);
            }
        }
    }
    if required {
        parameter.insert("required".to_owned(), true.into());
    }
    strip_null(&mut schema);
    parameter.insert("schema".to_owned(), schema);
    parameter.into()
}

/// Removes `null` from the allowed values: a parameter can be missing, but it can't be null.
fn strip_null(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    if schema.get("default").is_some_and(Value::is_null) {
        schema.shift_remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(branches)) = schema.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = &mut branches[..] {
            let only = std::mem::take(only);
            schema.shift_remove("anyOf");
            for (keyword, value) in only {
                schema.entry(keyword).or_insert(value);
            }
        }
    }
}

fn is_object(root: &Value) -> bool {
    root.get("type").is_some_and(|name| name == "object")
}

/// Returns a root without the definitions beside it.
fn bare(root: &Value) -> Value {
    let mut root = root.clone();
    if let Some(root) = root.as_object_mut() {
        root.shift_remove("components");
    }
    root
}
