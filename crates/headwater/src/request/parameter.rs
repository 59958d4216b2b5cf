//! Parameters of a query that have one value.

use std::{borrow::Cow, fmt};

use percent_encoding::percent_decode;

use crate::Problem;

/// A parameter that has one value can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct BadParameter {
    name: &'static str,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It occurs several times. Servers and proxies disagree on the one that counts.
    Twice,
    /// Its bytes are no text.
    NotText,
}

impl BadParameter {
    /// Creates the error of a parameter that occurs several times.
    pub fn twice(name: &'static str) -> Self {
        let why = Why::Twice;
        Self { name, why }
    }

    /// Creates the error of a parameter that isn't UTF-8.
    pub fn not_text(name: &'static str) -> Self {
        let why = Why::NotText;
        Self { name, why }
    }
}

impl fmt::Display for BadParameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Twice => "is given twice",
            Why::NotText => "is not UTF-8 when its `%` are decoded",
        };
        write!(f, "{} {why}", self.name)
    }
}

impl From<BadParameter> for Problem {
    fn from(bad: BadParameter) -> Self {
        Self::bad_request(bad.to_string())
    }
}

/// Returns the decoded parameters of a URL's query. The value of one that isn't UTF-8 is `None`.
#[doc(hidden)]
pub fn query_parameters(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Option<Cow<'_, str>>)> {
    query.split('&').filter_map(|pair| {
        let (name, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
        // It replaces what isn't UTF-8, but can also be in the text.
        let is_text = !value.contains(char::REPLACEMENT_CHARACTER)
            || percent_decode(pair.as_bytes()).decode_utf8().is_ok();
        Some((name, is_text.then_some(value)))
    })
}

/// Returns the decoded value of a parameter that may occur once, if it is present. `query` is a URL's query.
///
/// # Errors
/// It occurs several times, or isn't UTF-8.
#[doc(hidden)]
pub fn query_parameter<'a>(
    query: Option<&'a str>,
    name: &'static str,
) -> Result<Option<Cow<'a, str>>, BadParameter> {
    let mut values = query_parameters(query.unwrap_or_default()).filter(|(given, _)| given == name);
    let first = values.next();
    if values.next().is_some() {
        return Err(BadParameter::twice(name));
    }
    first
        .map(|(_, value)| value.ok_or(BadParameter::not_text(name)))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_at_most_one_value() {
        let read = |query| {
            let value = query_parameter(query, "a");
            value.map(|value| value.map(Cow::into_owned))
        };
        for (query, expected) in [
            (None, None),
            (Some(""), None),
            (Some("b=a&aa=1"), None),
            (Some("a"), Some("")),
            (Some("b=1&b=2&a=x+%2By"), Some("x +y")),
            (Some("%61=1"), Some("1")),
            (Some("a=%EF%BF%BD"), Some("\u{fffd}")),
            (Some("a=%C3%A4&b=%ff"), Some("ä")),
        ] {
            assert_eq!(read(query), Ok(expected.map(str::to_owned)), "{query:?}");
        }
        for query in ["a=1&a=2", "a=1&b=2&a=1", "a&a", "a=1&%61=2"] {
            assert_eq!(read(Some(query)), Err(BadParameter::twice("a")), "{query}");
        }
        for query in ["a=%ff", "b=1&%61=x%C3", "a=%EF%BF%BD%ff"] {
            assert_eq!(
                read(Some(query)),
                Err(BadParameter::not_text("a")),
                "{query}"
            );
        }
    }
}
