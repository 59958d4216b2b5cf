//! The text of faults.

use jsonschema::{
    JsonType, ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::{Value, json};

use super::limits::is_longer;

/// The text of a fault, the allowed values, and the information by which faults of a union's
/// branches are merged.
pub(super) struct Words {
    pub(super) detail: String,
    pub(super) allowed: Value,
    pub(super) gist: Gist,
    /// The missing property.
    pub(super) missing: Option<String>,
}

/// The kind of a fault, as far as the search distinguishes it.
#[derive(Clone)]
pub(super) enum Gist {
    /// The value has none of these types.
    Type(Vec<JsonType>),
    /// The value is none of these.
    Options(Vec<Value>),
    /// The object lacks a property, or has an unknown one.
    Shape,
    Other,
}

impl Words {
    fn new(detail: String, allowed: Value) -> Self {
        Self {
            detail,
            allowed,
            gist: Gist::Other,
            missing: None,
        }
    }

    fn about(mut self, gist: Gist) -> Self {
        self.gist = gist;
        self
    }

    fn lacks(mut self, property: &str) -> Self {
        self.missing = Some(property.to_owned());
        self.about(Gist::Shape)
    }
}

/// Describes an error of `jsonschema`.
pub(super) fn of(error: &ValidationError<'_>) -> Words {
    describe(error.kind(), error.instance())
}

pub(super) fn unmatched(value: &Value, pattern: &str) -> Words {
    Words::new(
        format!(
            "{} does not match the pattern {}",
            show(value),
            cut(pattern)
        ),
        json!({"pattern": pattern}),
    )
}

fn describe(kind: &Kind, value: &Value) -> Words {
    let shown = show(value);
    match kind {
        Kind::Type { kind } => wrong_type(
            value,
            match kind {
                TypeKind::Single(one) => vec![*one],
                TypeKind::Multiple(set) => set.iter().collect(),
            },
        ),
        Kind::Enum { options } => none_of(value, options.as_array().cloned().unwrap_or_default()),
        Kind::Constant { expected_value } => none_of(value, vec![expected_value.as_ref().clone()]),
        Kind::Required { property } => missing(property.as_str().unwrap_or_default()),
        Kind::Minimum { limit } => Words::new(
            format!("{shown} is less than the minimum of {limit}"),
            json!({"minimum": limit}),
        ),
        Kind::Maximum { limit } => Words::new(
            format!("{shown} is greater than the maximum of {limit}"),
            json!({"maximum": limit}),
        ),
        Kind::ExclusiveMinimum { limit } => Words::new(
            format!("{shown} is not greater than {limit}"),
            json!({"exclusiveMinimum": limit}),
        ),
        Kind::ExclusiveMaximum { limit } => Words::new(
            format!("{shown} is not less than {limit}"),
            json!({"exclusiveMaximum": limit}),
        ),
        Kind::MultipleOf { multiple_of } => Words::new(
            format!("{shown} is not a multiple of {multiple_of}"),
            json!({"multipleOf": multiple_of}),
        ),
        Kind::MinLength { limit } => {
            let has = count(characters(value), "character");
            let detail = format!("{shown} has {has}, fewer than the minimum of {limit}");
            Words::new(detail, json!({"minLength": limit}))
        }
        Kind::MaxLength { limit } => {
            let has = count(characters(value), "character");
            let detail = format!("{shown} has {has}, more than the maximum of {limit}");
            Words::new(detail, json!({"maxLength": limit}))
        }
        Kind::MinItems { limit } => {
            let has = count(size(value), "item");
            let detail = format!("the array has {has}, fewer than the minimum of {limit}");
            Words::new(detail, json!({"minItems": limit}))
        }
        Kind::MaxItems { limit } => {
            let has = count(size(value), "item");
            let detail = format!("the array has {has}, more than the maximum of {limit}");
            Words::new(detail, json!({"maxItems": limit}))
        }
        Kind::MinProperties { limit } => {
            let has = properties(size(value));
            let detail = format!("the object has {has}, fewer than the minimum of {limit}");
            Words::new(detail, json!({"minProperties": limit}))
        }
        Kind::MaxProperties { limit } => {
            let has = properties(size(value));
            let detail = format!("the object has {has}, more than the maximum of {limit}");
            Words::new(detail, json!({"maxProperties": limit}))
        }
        Kind::UniqueItems => Words::new(
            "the array has items that are equal, and each may occur but once".to_owned(),
            json!({"uniqueItems": true}),
        ),
        Kind::Pattern { pattern } => unmatched(value, pattern),
        Kind::Format { format } => wrong_format(&shown, format),
        Kind::ContentEncoding { content_encoding } => Words::new(
            format!("{shown} is not encoded in {content_encoding}"),
            json!({"contentEncoding": content_encoding}),
        ),
        Kind::ContentMediaType { content_media_type } => Words::new(
            format!("{shown} is not {content_media_type}"),
            json!({"contentMediaType": content_media_type}),
        ),
        Kind::FromUtf8 { .. } => Words::new(
            format!("{shown} is not the encoding of text in UTF-8"),
            json!({}),
        ),
        Kind::FalseSchema => forbidden(value),
        // The search finds the faults of these by itself. This code only describes errors of a
        // schema document, whose meta-schema the search doesn't follow.
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => {
            let fewest = context.iter().filter(|branch| !branch.is_empty());
            match fewest.min_by_key(|branch| branch.len()) {
                Some(branch) => of(&branch[0]),
                None => unmet(value, kind.keyword()),
            }
        }
        Kind::PropertyNames { error } => of(error),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let first = unexpected.first().map_or("", String::as_str);
            unknown(first, &[])
        }
        Kind::AdditionalItems { .. }
        | Kind::UnevaluatedItems { .. }
        | Kind::Contains
        | Kind::Not { .. }
        | Kind::OneOfMultipleValid { .. }
        | Kind::Custom { .. }
        | Kind::BacktrackLimitExceeded { .. }
        | Kind::RegexEngineFailure { .. }
        | Kind::Referencing(_) => unmet(value, kind.keyword()),
    }
}

/// Describes a value of a type that is not allowed.
pub(super) fn wrong_type(value: &Value, types: Vec<JsonType>) -> Words {
    let types = readable(types);
    let names: Vec<_> = types.iter().map(|one| with_article(*one)).collect();
    let detail = format!("{} is {}", show(value), neither(&names));
    let allowed = match &types[..] {
        [one] => json!({"type": one.as_str()}),
        _ => json!({"type": types.iter().map(|one| one.as_str()).collect::<Vec<_>>()}),
    };
    Words::new(detail, allowed).about(Gist::Type(types))
}

/// Describes a value that is none of the options.
pub(super) fn none_of(value: &Value, options: Vec<Value>) -> Words {
    let allowed = match &options[..] {
        [one] => json!({"const": one}),
        _ => json!({"enum": options}),
    };
    let detail = match &options[..] {
        [one] => format!("{} is not {}", show(value), show(one)),
        _ => format!(
            "{} is none of {}",
            show(value),
            list(options.iter().map(show))
        ),
    };
    Words::new(detail, allowed).about(Gist::Options(options))
}

/// Describes a value that is none of the options and of none of the types.
pub(super) fn neither_option_nor_type(
    value: &Value,
    options: &[Value],
    types: Vec<JsonType>,
) -> Words {
    let types = readable(types);
    let names: Vec<_> = types.iter().map(|one| with_article(*one)).collect();
    let detail = format!(
        "{} is none of {}, and {}",
        show(value),
        list(options.iter().map(show)),
        neither(&names),
    );
    let names: Vec<_> = types.iter().map(|one| one.as_str()).collect();
    let allowed = json!({"anyOf": [{"enum": options}, {"type": names}]});
    Words::new(detail, allowed)
}

/// Describes a missing property.
pub(super) fn missing(name: &str) -> Words {
    Words::new(
        format!("the property {} is missing", quote(name)),
        json!({"required": [name]}),
    )
    .lacks(name)
}

/// Describes a missing property that distinguishes the forms of the object.
pub(super) fn missing_tag(name: &str, options: &[Value]) -> Words {
    let wanted = list(options.iter().map(show));
    Words::new(
        format!(
            "the property {} is missing; it is one of {wanted}",
            quote(name)
        ),
        json!({"required": [name], "properties": {name: {"enum": options}}}),
    )
    .lacks(name)
}

/// Describes a property that is not allowed.
pub(super) fn unknown(name: &str, known: &[&str]) -> Words {
    let name = quote(name);
    let detail = if known.is_empty() {
        format!("the property {name} is not known")
    } else {
        let known = list(known.iter().map(|name| quote(name)));
        format!("the property {name} is not known; known are {known}")
    };
    let allowed = if known.is_empty() {
        json!({"additionalProperties": false})
    } else {
        json!({"properties": known, "additionalProperties": false})
    };
    Words::new(detail, allowed).about(Gist::Shape)
}

/// Describes an item beyond the maximum length of an array.
pub(super) fn surplus(index: usize, keyword: &str) -> Words {
    Words::new(
        format!("the item {index} is one too many; the array may have {index}"),
        json!({keyword: false}),
    )
    .about(Gist::Shape)
}

/// Describes a value in a position where none is allowed.
pub(super) fn forbidden(value: &Value) -> Words {
    let detail = format!("{} is not allowed: no value is allowed here", show(value));
    Words::new(detail, json!({"not": {}}))
}

/// Describes too few or too many items that match `contains`.
pub(super) fn contains(found: u64, min: u64, max: u64) -> Words {
    let has = count(found, "item");
    if found < min {
        let detail = format!("the array has {has} of the wanted kind, and needs at least {min}");
        Words::new(detail, json!({"minContains": min}))
    } else {
        let detail = format!("the array has {has} of a kind that it may have {max} of");
        Words::new(detail, json!({"maxContains": max}))
    }
}

/// Describes a value that matches several forms of `oneOf`.
pub(super) fn ambiguous(value: &Value, met: usize, forms: usize) -> Words {
    Words::new(
        format!(
            "{} fits {met} of the {forms} forms, and may fit but one",
            show(value)
        ),
        json!({}),
    )
}

/// Describes a value that equals the one that is excluded.
pub(super) fn excluded(value: &Value) -> Words {
    let detail = format!("{} is the one value that is not allowed", show(value));
    Words::new(detail, json!({"not": {"const": value}}))
}

/// Describes a property name that is not allowed.
pub(super) fn wrong_name(why: &str) -> Words {
    Words::new(format!("the name of a property is wrong: {why}"), json!({}))
}

/// Describes a value that a keyword refuses for a reason that isn't known.
pub(super) fn unmet(value: &Value, keyword: &str) -> Words {
    let detail = format!(
        "{} is not allowed by \"{keyword}\" of the schema",
        show(value)
    );
    Words::new(detail, json!({}))
}

/// Describes a value that is refused for a reason that isn't known.
pub(super) fn invalid(value: &Value) -> Words {
    let detail = format!("{} is not allowed by the schema", show(value));
    Words::new(detail, json!({}))
}

fn wrong_format(shown: &str, format: &str) -> Words {
    let example = match format {
        "date" => "2026-01-31",
        "date-time" => "2026-01-31T12:00:00Z",
        "duration" => "P1DT12H",
        "email" => "ada@example.com",
        "hostname" => "www.example.com",
        "ip" | "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "json-pointer" => "/a/0",
        "time" => "12:00:00Z",
        "uri" | "iri" => "https://example.com/a",
        "uri-reference" | "iri-reference" => "/a?b",
        "uri-template" => "/a/{b}",
        "uuid" => "123e4567-e89b-12d3-a456-426614174000",
        _ => "",
    };
    let such_as = if example.is_empty() {
        String::new()
    } else {
        format!(", such as {example}")
    };
    Words::new(
        format!("{shown} is not of the format {format}{such_as}"),
        json!({"format": format}),
    )
}

/// Prepares types for display: each once, null last, and integer subsumed under number.
fn readable(mut types: Vec<JsonType>) -> Vec<JsonType> {
    types.sort_unstable();
    types.dedup();
    if types.contains(&JsonType::Number) {
        types.retain(|one| *one != JsonType::Integer);
    }
    types.sort_by_key(|one| *one == JsonType::Null);
    types
}

fn with_article(one: JsonType) -> &'static str {
    match one {
        JsonType::Null => "null",
        JsonType::Boolean => "a boolean",
        JsonType::Integer => "an integer",
        JsonType::Number => "a number",
        JsonType::String => "a string",
        JsonType::Array => "an array",
        JsonType::Object => "an object",
    }
}

fn neither(names: &[&str]) -> String {
    match names {
        [one] => format!("not {one}"),
        [one, other] => format!("neither {one} nor {other}"),
        _ => format!("none of {}", names.join(", ")),
    }
}

/// Lists the first twenty parts and the number of the others.
fn list(parts: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 20;
    let more = parts.len().saturating_sub(SHOWN);
    let shown: Vec<_> = parts.take(SHOWN).collect();
    let mut list = shown.join(", ");
    if more > 0 {
        list.push_str(&format!(" and {more} more"));
    }
    list
}

/// Displays a value in a sentence: its JSON, if that is short.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        _ if !is_longer(value, SHOWN_BYTES) => value.to_string(),
        Value::Array(items) => format!("the array of {}", count(items.len() as u64, "item")),
        Value::Object(members) => format!("the object of {}", properties(members.len() as u64)),
        other => other.to_string(),
    }
}

fn quote(text: &str) -> String {
    Value::from(cut(text)).to_string()
}

const SHOWN_BYTES: usize = 60;

/// Truncates a long text.
pub(super) fn cut(text: &str) -> String {
    if text.len() <= SHOWN_BYTES {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(SHOWN_BYTES);
    format!("{}…", &text[..end])
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn properties(number: u64) -> String {
    let noun = if number == 1 {
        "property"
    } else {
        "properties"
    };
    format!("{number} {noun}")
}

fn characters(value: &Value) -> u64 {
    value.as_str().map_or(0, |text| text.chars().count() as u64)
}

fn size(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.len() as u64,
        Value::Object(members) => members.len() as u64,
        _ => 0,
    }
}
