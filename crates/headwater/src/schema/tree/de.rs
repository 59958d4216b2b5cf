//! Deserialisation of a tree, by the rules of `serde_json` for a [`Value`](serde_json::Value).
//!
//! It may fail where a `Value` succeeds, but doesn't succeed where a `Value` fails. The exception
//! is an enum's variant with empty parentheses, `V()`, which it accepts from `{"V": []}`, as
//! `serde_json` does from the text. Its error messages are not used: a failure is repeated with a
//! `Value`.

use serde::de::{
    Deserializer, Error as _, IntoDeserializer, Visitor,
    value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer},
};
use serde_json::Error;

use super::Tree;

impl<'de> IntoDeserializer<'de, Error> for Tree<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn refused() -> Error {
    Error::custom("another type is wanted")
}

/// Defines a deserialiser's methods that accept only some kinds of JSON.
macro_rules! only {
    ($($method:ident($($hint:ty),*): $kinds:pat,)*) => {$(
        fn $method<V: Visitor<'de>>(self, $(_: $hint,)* visitor: V) -> Result<V::Value, Error> {
            match self {
                $kinds => self.deserialize_any(visitor),
                _ => Err(refused()),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Tree<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        use std::borrow::Cow::{Borrowed, Owned};
        match self {
            Tree::Null => visitor.visit_unit(),
            Tree::Bool(value) => visitor.visit_bool(value),
            Tree::Number(number) => number.deserialize_any(visitor),
            Tree::String(Borrowed(text)) => visitor.visit_borrowed_str(text),
            Tree::String(Owned(text)) => visitor.visit_string(text),
            Tree::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter());
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Tree::Object(members) => {
                // A name is a tree, because the type may require an enum or a newtype around a
                // string.
                let members = members.into_iter();
                let members = members.map(|(name, value)| (Tree::String(name), value));
                let mut members = MapDeserializer::new(members);
                let value = visitor.visit_map(&mut members)?;
                members.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Tree::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Tree::String(name) => visitor.visit_enum(name.into_deserializer()),
            Tree::Object(members) if members.len() == 1 => visitor.visit_enum(
                MapAccessDeserializer::new(MapDeserializer::new(members.into_iter())),
            ),
            _ => Err(refused()),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    only! {
        deserialize_bool(): Tree::Bool(_),
        deserialize_i8(): Tree::Number(_),
        deserialize_i16(): Tree::Number(_),
        deserialize_i32(): Tree::Number(_),
        deserialize_i64(): Tree::Number(_),
        deserialize_i128(): Tree::Number(_),
        deserialize_u8(): Tree::Number(_),
        deserialize_u16(): Tree::Number(_),
        deserialize_u32(): Tree::Number(_),
        deserialize_u64(): Tree::Number(_),
        deserialize_u128(): Tree::Number(_),
        deserialize_f32(): Tree::Number(_),
        deserialize_f64(): Tree::Number(_),
        deserialize_char(): Tree::String(_),
        deserialize_str(): Tree::String(_),
        deserialize_string(): Tree::String(_),
        deserialize_identifier(): Tree::String(_),
        deserialize_bytes(): Tree::String(_) | Tree::Array(_),
        deserialize_byte_buf(): Tree::String(_) | Tree::Array(_),
        deserialize_unit(): Tree::Null,
        deserialize_unit_struct(&'static str): Tree::Null,
        deserialize_seq(): Tree::Array(_),
        deserialize_tuple(usize): Tree::Array(_),
        deserialize_tuple_struct(&'static str, usize): Tree::Array(_),
        deserialize_map(): Tree::Object(_),
        deserialize_struct(&'static str, &'static [&'static str]): Tree::Object(_) | Tree::Array(_),
    }
}
