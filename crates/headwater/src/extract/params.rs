//! Parameters: strings that become JSON by their schema, and are then checked as any value is.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use super::{Rejection, RequestFaults, typed};
use crate::{In, per_type::per_type, schema::Schema};

/// How the parameters of one type are read.
pub(crate) struct Params {
    schema: Schema,
    layout: Layout,
}

enum Layout {
    /// A struct or a map: parameters by their names.
    Object {
        properties: Vec<(String, Kinds)>,
        /// Whether a parameter that isn't known is the schema's to judge.
        others: bool,
    },
    /// A tuple: parameters in their order.
    Tuple(Vec<Kinds>),
    /// A single parameter.
    Single(Kinds),
}

/// The JSON types that a value may have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Kinds {
    number: bool,
    boolean: bool,
    string: bool,
    items: Option<Box<Kinds>>,
}

impl Params {
    /// Those of `T`, worked out once.
    pub(crate) fn of<T: JsonSchema + 'static>() -> &'static Self {
        per_type::<T, Self>(|| Self::new(Schema::of::<T>()))
    }

    fn new(schema: Schema) -> Self {
        let root = schema.document();
        let tuple = resolve(root, root)
            .get("prefixItems")
            .and_then(Value::as_array);
        let layout = if let Some(items) = tuple {
            Layout::Tuple(items.iter().map(|item| Kinds::of(item, root)).collect())
        } else if is_object(root) {
            let properties = properties(root);
            let resolved = resolve(root, root);
            let others = ["additionalProperties", "unevaluatedProperties"]
                .iter()
                .any(|keyword| resolved.get(*keyword).is_some());
            Layout::Object {
                properties: properties
                    .into_iter()
                    .map(|property| (property.name, Kinds::of(&property.schema, root)))
                    .collect(),
                others,
            }
        } else {
            Layout::Single(Kinds::of(root, root))
        };
        Self { schema, layout }
    }

    /// Makes a `T` of a request's parameters.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn read<'a, T, I>(&self, place: In, pairs: impl Fn() -> I) -> Result<T, Rejection>
    where
        T: DeserializeOwned,
        I: Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    {
        let value = self.value(place, pairs());
        let faults = if self.schema.is_valid(&value) {
            match typed::deserialize(value, || self.value(place, pairs())) {
                Ok(parameters) => return Ok(parameters),
                Err(faults) => faults,
            }
        } else {
            match self.schema.check(&value) {
                Err(faults) => faults,
                Ok(()) => unreachable!("`is_valid` and `check` agree"),
            }
        };
        let name = |first: &str| match &self.layout {
            Layout::Object { .. } => header_name(place, first).into_owned(),
            Layout::Tuple(_) | Layout::Single(_) => {
                let index = first.parse().unwrap_or(0);
                pairs()
                    .nth(index)
                    .map_or_else(String::new, |(name, _)| name.into_owned())
            }
        };
        Err(RequestFaults::of_parameters(place, &faults, name).into())
    }

    /// What the parameters are in JSON. What can't be the type that is wanted stays a string, for the schema to
    /// find.
    fn value<'a>(
        &self,
        place: In,
        mut pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    ) -> Value {
        let (properties, others) = match &self.layout {
            Layout::Single(kinds) => {
                return pairs
                    .next()
                    .map_or(Value::Null, |(_, text)| kinds.value(text));
            }
            Layout::Tuple(items) => {
                let kinds = items.iter().map(Some).chain(std::iter::repeat(None));
                return pairs
                    .zip(kinds)
                    .map(|((_, text), kinds)| match kinds {
                        Some(kinds) => kinds.value(text),
                        None => Value::String(text.into_owned()),
                    })
                    .collect();
            }
            Layout::Object { properties, others } => (properties, *others),
        };
        let mut object = Map::new();
        for (name, text) in pairs {
            let known = properties
                .iter()
                .find(|(known, _)| header_name(place, known).eq(&name));
            let (name, kinds) = match known {
                Some((name, kinds)) => (name.clone(), Some(kinds)),
                // Every streaming operation knows `?format=`.
                None if !others || matches!(place, In::Header | In::Cookie) || name == "format" => {
                    continue;
                }
                None => (name.into_owned(), None),
            };
            let items = kinds.and_then(|kinds| kinds.items.as_ref());
            match (items, object.get_mut(&name)) {
                (Some(items), Some(Value::Array(array))) => array.push(items.value(text)),
                (Some(items), _) => {
                    object.insert(name, Value::Array(vec![items.value(text)]));
                }
                // Given twice: an array, which the schema refuses.
                (None, Some(Value::Array(array))) => array.push(text.into()),
                (None, Some(first)) => {
                    let first = first.take();
                    object.insert(name, Value::Array(vec![first, text.into()]));
                }
                (None, None) => {
                    let value = match kinds {
                        Some(kinds) => kinds.value(text),
                        None => Value::String(text.into_owned()),
                    };
                    object.insert(name, value);
                }
            }
        }
        object.into()
    }
}

/// The name of a header's parameter: `x_token` stands for `x-token`, as a Rust field can't have the hyphen.
pub(crate) fn header_name(place: In, property: &str) -> Cow<'_, str> {
    match place {
        In::Header if property.contains(|c: char| c == '_' || c.is_ascii_uppercase()) => {
            property.to_ascii_lowercase().replace('_', "-").into()
        }
        _ => property.into(),
    }
}

impl Kinds {
    /// The types that `schema` allows, as far as it says.
    fn of(schema: &Value, root: &Value) -> Self {
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
        let constants = schema.get("const").into_iter();
        let constants = constants.chain(
            schema
                .get("enum")
                .and_then(Value::as_array)
                .into_iter()
                .flatten(),
        );
        for constant in constants {
            self.number |= constant.is_number();
            self.boolean |= constant.is_boolean();
            self.string |= constant.is_string();
        }
        for keyword in ["anyOf", "oneOf", "allOf"] {
            for branch in schema
                .get(keyword)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                self.add(branch, root, depth + 1);
            }
        }
    }

    fn add_type(&mut self, name: &str, schema: &Value, root: &Value) {
        match name {
            "integer" | "number" => self.number = true,
            "boolean" => self.boolean = true,
            "string" => self.string = true,
            "array" => {
                let items = schema.get("items").unwrap_or(&Value::Null);
                self.items = Some(Box::new(Self::of(items, root)));
            }
            _ => {}
        }
    }

    fn value(&self, text: Cow<'_, str>) -> Value {
        if self.number
            && let Ok(number) = text.parse::<Number>()
        {
            return Value::Number(number);
        }
        match (self.boolean, &*text) {
            (true, "true") => Value::Bool(true),
            (true, "false") => Value::Bool(false),
            _ => Value::String(text.into_owned()),
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

/// All properties that `root` names: its own, and those of the schemas that it is put together from.
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
    for (name, schema) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
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
        for branch in schema
            .get(keyword)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            add_properties(branch, root, all, depth + 1, found);
        }
    }
}

fn is_object(root: &Value) -> bool {
    let schema = resolve(root, root);
    schema.get("type").is_some_and(|name| name == "object")
        || schema.get("properties").is_some()
        || ["allOf", "anyOf", "oneOf"].iter().any(|keyword| {
            let branches = schema.get(*keyword).and_then(Value::as_array);
            branches.is_some_and(|branches| {
                branches
                    .iter()
                    .any(|branch| resolve(branch, root).get("properties").is_some())
            })
        })
}

/// What a local `$ref` stands for.
fn resolve<'a>(mut schema: &'a Value, root: &'a Value) -> &'a Value {
    // As many steps as a chain of references may reasonably have: a circle ends too.
    for _ in 0..16 {
        let target = schema.get("$ref").and_then(Value::as_str);
        let Some(target) = target.and_then(|target| root.pointer(target.strip_prefix('#')?)) else {
            break;
        };
        schema = target;
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::Problem;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    struct Search {
        text: String,
        #[serde(default)]
        #[schemars(range(max = 10))]
        page: u8,
        exact: Option<bool>,
        #[serde(default)]
        tag: Vec<u16>,
        min: Option<f64>,
    }

    fn read<T: DeserializeOwned + JsonSchema + 'static>(
        place: In,
        pairs: &[(&str, &str)],
    ) -> Result<T, Value> {
        let pairs = || {
            pairs
                .iter()
                .map(|(name, text)| (Cow::from(*name), Cow::from(*text)))
        };
        Params::of::<T>()
            .read::<T, _>(place, pairs)
            .map_err(|rejection| {
                let problem = serde_json::to_value(Problem::from(rejection)).unwrap();
                problem["errors"].clone()
            })
    }

    #[test]
    fn strings_become_what_the_type_wants() {
        let pairs = [
            ("text", "7"),
            ("page", "3"),
            ("exact", "true"),
            ("tag", "1"),
            ("tag", "2"),
            ("min", "1.5"),
        ];
        let search = Search {
            text: "7".to_owned(),
            page: 3,
            exact: Some(true),
            tag: vec![1, 2],
            min: Some(1.5),
        };
        assert_eq!(read::<Search>(In::Query, &pairs).unwrap(), search);
    }

    #[test]
    fn all_faults_are_listed_by_the_names_of_the_parameters() {
        let pairs = [
            ("page", "11"),
            ("exact", "yes"),
            ("tag", "1"),
            ("tag", "x"),
            ("min", "1"),
            ("min", "2"),
        ];
        let errors = read::<Search>(In::Query, &pairs).unwrap_err();
        let mut names: Vec<_> = errors
            .as_array()
            .unwrap()
            .iter()
            .map(|error| error["name"].as_str().unwrap())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["exact", "min", "page", "tag", "text"]);
        let tag = errors
            .as_array()
            .unwrap()
            .iter()
            .find(|error| error["name"] == "tag")
            .unwrap();
        assert_eq!(tag["pointer"], "#/1");
        assert_eq!(tag["value"], "x");
    }

    #[test]
    fn a_tuple_and_a_single_value_go_by_order() {
        let pairs = [("city", "Oslo"), ("year", "2026")];
        assert_eq!(
            read::<(String, u16)>(In::Path, &pairs).unwrap(),
            ("Oslo".to_owned(), 2026)
        );
        assert_eq!(read::<u16>(In::Path, &pairs[1..]).unwrap(), 2026);
        let errors =
            read::<(String, u16)>(In::Path, &[("city", "Oslo"), ("year", "soon")]).unwrap_err();
        assert_eq!(errors[0]["name"], "year");
        assert_eq!(errors[0]["in"], "path");
    }

    #[test]
    fn a_header_is_found_by_a_fields_name() {
        #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
        struct Trace {
            x_request_id: String,
        }
        let trace = read::<Trace>(In::Header, &[("x-request-id", "7"), ("host", "a")]).unwrap();
        assert_eq!(trace.x_request_id, "7");
        let errors = read::<Trace>(In::Header, &[]).unwrap_err();
        assert_eq!(errors[0]["name"], "x-request-id");
    }

    #[test]
    fn a_parameter_that_is_not_known_is_a_fault_only_where_the_type_says_so() {
        #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct Strict {
            a: u8,
        }
        assert!(read::<Search>(In::Query, &[("text", ""), ("other", "1")]).is_ok());
        assert!(read::<Strict>(In::Query, &[("a", "1"), ("format", "sse")]).is_ok());
        assert!(read::<Strict>(In::Query, &[("a", "1"), ("b", "2")]).is_err());
    }
}
