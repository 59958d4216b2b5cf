//! Queries: one list is the parameters' struct, their parser and their description.

use headwater::Problem;
use serde::{
    Deserialize,
    de::{IntoDeserializer, value::Error},
};

/// Defines a struct with a query's parameters. A field has the name of its parameter, the
/// parameter's type in the document, and a function that parses its name and text. A function that
/// returns `None` ignores the text. A parameter that is given twice, or isn't UTF-8, is refused. Unknown parameters
/// are ignored. `check` judges all of them together. The mark `(required)` is for the document.
macro_rules! query {
    (
        $(#[$meta:meta])*
        $vis:vis struct $query:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident $(($required:ident))?: $type:ty as $schema:ty = $parse:expr,
            )*
        }
        $(check $check:expr)?
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        $vis struct $query {
            $($(#[doc = $doc])+ $vis $field: Option<$type>,)*
        }

        impl $query {
            $vis fn parse(query: &str) -> Result<Self, headwater::Problem> {
                let mut parsed = Self::default();
                for (name, text) in headwater::query_parameters(query) {
                    match &*name {
                        $(stringify!($field) => {
                            if parsed.$field.is_some() {
                                return Err(headwater::BadParameter::twice(stringify!($field)).into());
                            }
                            let text = text
                                .ok_or(headwater::BadParameter::not_text(stringify!($field)))?;
                            parsed.$field = ($parse)(stringify!($field), &*text)?.into();
                        })*
                        _ => {}
                    }
                }
                $(($check)(&parsed)?;)?
                Ok(parsed)
            }
        }

        impl headwater::OperationInput for $query {
            fn describe(operation: &mut headwater::Operation) {
                $(
                    let text = concat!($($doc),+).trim_start();
                    let name = stringify!($field);
                    query!(@parameter operation, $schema, name, text $(, $required)?);
                )*
            }
        }
    };
    (@parameter $operation:ident, $schema:ty, $name:ident, $text:ident) => {
        $operation.parameter::<$schema>(headwater::In::Query, $name, $text)
    };
    (@parameter $operation:ident, $schema:ty, $name:ident, $text:ident, required) => {
        $operation.required_parameter::<$schema>(headwater::In::Query, $name, $text)
    };
}
pub(crate) use query;

/// Parses one of an enum's words.
pub(crate) fn word<'a, T: Deserialize<'a>>(name: &str, text: &'a str) -> Result<T, Problem> {
    T::deserialize(text.into_deserializer())
        .map_err(|error: Error| Problem::bad_request(format!("{name}: {error}")))
}

/// Accepts any text.
pub(crate) fn any(_: &str, text: &str) -> Result<String, Problem> {
    Ok(text.to_owned())
}
