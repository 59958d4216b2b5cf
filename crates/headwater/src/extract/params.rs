//! Parameters: strings that are converted to JSON by their schema, and then validated like any
//! value.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    Rejection, RequestFaults,
    param_schema::{Kinds, is_object, properties, resolve},
};
use crate::{In, last_event_id, per_type::per_type, schema::Schema};

/// Reads the parameters of one type.
pub(crate) struct Params {
    schema: Schema,
    layout: Layout,
}

enum Layout {
    /// A struct or a map: parameters are matched by name.
    Object {
        properties: Vec<Known>,
        /// If `true`, unknown parameters are included for the schema to judge.
        others: bool,
    },
    /// A tuple: parameters are matched by order.
    Tuple(Vec<Kinds>),
    /// A single parameter.
    Single(Kinds),
}

/// A parameter that the type declares.
struct Known {
    property: String,
    /// Its name as a header.
    header: String,
    kinds: Kinds,
}

impl Params {
    /// Returns the reader for `T`, which is created once.
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
                    .map(|property| Known {
                        header: header_name(In::Header, &property.name).into_owned(),
                        kinds: Kinds::of(&property.schema, root),
                        property: property.name,
                    })
                    .collect(),
                others,
            }
        } else {
            Layout::Single(Kinds::of(root, root))
        };
        Self { schema, layout }
    }

    /// Converts a request's parameters to a `T`.
    ///
    /// # Errors
    /// All faults of the parameters.
    pub(crate) fn read<'a, T, I>(&'a self, place: In, pairs: impl Fn() -> I) -> Result<T, Rejection>
    where
        T: DeserializeOwned,
        I: Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    {
        let faults = match headwater_schema::deserialize(&self.schema, self.value(place, pairs())) {
            Ok(parameters) => return Ok(parameters),
            Err(faults) => faults,
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

    /// Converts the parameters to JSON. A value that doesn't have the expected type stays a string,
    /// so that the schema reports it.
    fn value<'a>(
        &self,
        place: In,
        mut pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    ) -> Value {
        let (properties, others) = match &self.layout {
            Layout::Single(kinds) => {
                return pairs
                    .next()
                    .map_or(Value::Null, |(_, text)| kinds.value(&text));
            }
            Layout::Tuple(items) => {
                let kinds = items.iter().map(Some).chain(std::iter::repeat(None));
                let items = pairs
                    .zip(kinds)
                    .map(|((_, text), kinds)| value(kinds, &text));
                return items.collect();
            }
            Layout::Object { properties, others } => (properties, *others),
        };
        let mut members = Map::new();
        for (name, text) in pairs {
            let known = properties.iter().find(|known| match place {
                In::Header => known.header == name,
                _ => known.property == name,
            });
            let (name, kinds) = match known {
                Some(known) => (&*known.property, Some(&known.kinds)),
                None if !others
                    || matches!(place, In::Header | In::Cookie)
                    || is_of_every_stream(&name) =>
                {
                    continue;
                }
                None => (&*name, None),
            };
            let items = kinds.and_then(|kinds| kinds.items.as_ref());
            match (members.get_mut(name), items) {
                (Some(Value::Array(array)), Some(items)) => array.push(items.value(&text)),
                // Repeated: an array, which the schema refuses.
                (Some(Value::Array(array)), None) => array.push(value(kinds, &text)),
                (Some(first), _) => {
                    *first = Value::Array(vec![first.take(), value(kinds, &text)]);
                }
                (None, items) => {
                    let value = match items {
                        Some(items) => Value::Array(vec![items.value(&text)]),
                        None => value(kinds, &text),
                    };
                    members.insert(name.to_owned(), value);
                }
            }
        }
        Value::Object(members)
    }
}

/// Converts a parameter's text to JSON, if its types are known.
fn value(kinds: Option<&Kinds>, text: &str) -> Value {
    kinds.map_or_else(|| text.into(), |kinds| kinds.value(text))
}

/// Returns `true` for a parameter that every stream accepts: `format`, `heartbeat`, or a polyfill's
/// `lastEventId`.
fn is_of_every_stream(name: &str) -> bool {
    name == "format" || name == "heartbeat" || last_event_id::is_parameter(name)
}

/// Returns a parameter's name in the request. For a header, `x_token` means `x-token`, because a
/// Rust field can't contain a hyphen.
pub(crate) fn header_name(place: In, property: &str) -> Cow<'_, str> {
    match place {
        In::Header if property.contains(|c: char| c == '_' || c.is_ascii_uppercase()) => {
            property.to_ascii_lowercase().replace('_', "-").into()
        }
        _ => property.into(),
    }
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
    fn strings_are_converted_to_the_expected_types() {
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
    fn a_tuple_and_a_single_value_are_matched_by_order() {
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
    fn a_repeated_header_is_a_fault_unless_it_is_a_list() {
        #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
        struct Trace {
            x_request_id: Option<String>,
            #[serde(default)]
            x_hop: Vec<String>,
        }
        let read = |pairs: &[_]| read::<Trace>(In::Header, pairs);
        let hops = read(&[("x-hop", "a"), ("x-hop", "b")]).unwrap().x_hop;
        assert_eq!(hops, ["a", "b"]);
        let errors = read(&[("x-request-id", "7"), ("x-request-id", "7")]).unwrap_err();
        assert_eq!(errors[0]["name"], "x-request-id");
    }

    #[test]
    fn an_unknown_parameter_is_a_fault_only_if_the_type_denies_it() {
        #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct Strict {
            a: u8,
        }
        assert!(read::<Search>(In::Query, &[("text", ""), ("other", "1")]).is_ok());
        assert!(read::<Strict>(In::Query, &[("a", "1"), ("format", "sse")]).is_ok());
        assert!(read::<Strict>(In::Query, &[("a", "1"), ("lastEventId", "7")]).is_ok());
        assert!(read::<Strict>(In::Query, &[("a", "1"), ("b", "2")]).is_err());
    }

    #[test]
    fn unknown_parameters_are_kept_if_the_type_accepts_them() {
        #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
        struct Open {
            #[serde(default)]
            tag: Vec<u16>,
            #[serde(flatten)]
            rest: std::collections::BTreeMap<String, Value>,
        }
        let names: Vec<_> = (0..100).map(|n| format!("n{n}")).collect();
        let mut pairs: Vec<_> = names.iter().map(|name| (&**name, "1")).collect();
        pairs.extend([("tag", "1"), ("n7", "2"), ("tag", "2")]);
        let open: Open = read(In::Query, &pairs).unwrap();
        assert_eq!(open.tag, [1, 2]);
        assert_eq!(open.rest.len(), 100);
        assert_eq!(open.rest["n7"], serde_json::json!(["1", "2"]));
        assert_eq!(open.rest["n8"], "1");
    }

    #[test]
    fn one_type_can_describe_headers_and_other_parameters() {
        #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
        struct Token {
            x_token: String,
        }
        let token = Token {
            x_token: "a".to_owned(),
        };
        assert_eq!(
            read::<Token>(In::Header, &[("x-token", "a")]).unwrap(),
            token
        );
        assert_eq!(
            read::<Token>(In::Query, &[("x_token", "a")]).unwrap(),
            token
        );
        assert!(read::<Token>(In::Query, &[("x-token", "a")]).is_err());
    }
}
