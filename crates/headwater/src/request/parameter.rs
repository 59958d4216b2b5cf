//! Parameters of a query that have one value.

use std::{borrow::Cow, fmt};

use crate::Problem;

/// A parameter that has one value occurs several times. Servers and proxies disagree on the one that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub struct Twice(&'static str);

impl fmt::Display for Twice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is given twice", self.0)
    }
}

impl From<Twice> for Problem {
    fn from(twice: Twice) -> Self {
        Self::bad_request(twice.to_string())
    }
}

/// Returns the decoded value of a parameter that may occur once, if it is present. `query` is a URL's query.
///
/// # Errors
/// It occurs several times.
#[doc(hidden)]
pub fn query_parameter<'a>(
    query: Option<&'a str>,
    name: &'static str,
) -> Result<Option<Cow<'a, str>>, Twice> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(given, _)| given == name);
    let first = values.next();
    match values.next() {
        None => Ok(first.map(|(_, value)| value)),
        Some(_) => Err(Twice(name)),
    }
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
        ] {
            assert_eq!(read(query), Ok(expected.map(str::to_owned)), "{query:?}");
        }
        for query in ["a=1&a=2", "a=1&b=2&a=1", "a&a", "a=1&%61=2"] {
            assert_eq!(read(Some(query)), Err(Twice("a")), "{query}");
        }
    }
}
