//! JSON that borrows from its text: the fast path from a request to a typed value.
//!
//! A [`Value`] copies every name and string and has a hash table for every object. Creating it is
//! most of the cost of a small body. A [`Tree`] avoids both. It is checked by the same schema
//! ([`TreeSchema`]) and deserialises like a `Value`, so that a result on the fast path equals the
//! result by `Value`. If the fast path fails, the `Value` provides the reason.

use std::{borrow::Cow, fmt};

use jsonschema::Validator;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use super::{Schema, build};

mod de;
mod json;

/// A JSON value whose names and strings without escapes are slices of its text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Tree<'a>>),
    /// Members in their order, with unique names.
    Object(Vec<(Cow<'a, str>, Tree<'a>)>),
}

/// Maximum number of members of an object in a parsed tree. Names are compared pairwise, so this
/// bounds the work to its product with the text's length.
const MAX_MEMBERS: usize = 64;

/// Prefix of the names by which `serde_json` distinguishes its own types from objects.
const PRIVATE: &str = "$serde_json::private::";

impl<'a> Tree<'a> {
    /// Parses JSON that is nested at most 127 levels deep.
    ///
    /// Returns `None` if the text is invalid, or if an object in it must be left to [`Value`]: one
    /// with more than 64 members, a duplicate name, or a name with a meaning for `serde_json`.
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        // Validating the text as UTF-8 at once is faster than validating each string.
        serde_json::from_str(str::from_utf8(text).ok()?).ok()
    }

    /// Converts the tree to a [`Value`].
    pub(crate) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::String(text) => Value::String(text.to_string()),
            Self::Array(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(members) => {
                let members = members.iter();
                members
                    .map(|(name, value)| (name.to_string(), value.to_value()))
                    .collect()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyJson)
    }
}

struct AnyJson;

impl<'de> Visitor<'de> for AnyJson {
    type Value = Tree<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree<'de>, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree<'de>, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree<'de>, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree<'de>, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree<'de>, E> {
        Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Tree<'de>, E> {
        Ok(Tree::String(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree<'de>, E> {
        Ok(Tree::String(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tree<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Tree::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Tree<'de>, A::Error> {
        let mut members: Vec<(Cow<'_, str>, _)> = Vec::new();
        while let Some(name) = access.next_key()? {
            let Tree::String(name) = name else {
                return Err(A::Error::custom("a name is a string"));
            };
            if members.len() == MAX_MEMBERS
                || name.starts_with(PRIVATE)
                || members.iter().any(|(known, _)| *known == name)
            {
                return Err(A::Error::custom("an object that is left to `Value`"));
            }
            members.push((name, access.next_value()?));
        }
        Ok(Tree::Object(members))
    }
}

/// A schema compiled for trees.
pub(crate) struct TreeSchema(Option<Validator<json::Trees>>);

impl TreeSchema {
    pub(crate) fn of(schema: &Schema) -> Self {
        // The document has already compiled with the same options.
        Self(build(schema.document()).ok())
    }

    /// Returns `true` if a tree is valid. The result equals that of [`Schema::is_valid`] for the
    /// same `Value`.
    pub(crate) fn is_valid(&self, tree: &Tree<'_>) -> bool {
        self.0.as_ref().is_some_and(|it| it.is_valid(tree))
    }
}

#[cfg(test)]
mod tests;
