//! The extractors of parameters.

use std::borrow::Cow;

use axum::extract::{FromRequestParts, OptionalFromRequestParts, RawPathParams};
use http::{header, request::Parts};
use percent_encoding::percent_decode;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{Rejection, faults::Invalid, params::Params};
use crate::{In, Operation, OperationInput, Problem, StatusCode, operation::HasSchema};

/// Defines an extractor of parameters: its name, their location, and how they are read.
macro_rules! parameters {
    (
        $(#[$docs:meta])*
        $name:ident in $place:ident: |$parts:ident, $state:ident| { $($before:tt)* } $pairs:expr
    ) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name<T>(pub T);

        impl<T: HasSchema + 'static> OperationInput for $name<T> {
            fn describe(operation: &mut Operation) {
                operation.parameters::<T>(In::$place);
                invalid(operation);
                // Derives the schema at startup, not at the first request.
                Params::of::<T>();
            }
        }

        impl<T, S> FromRequestParts<S> for $name<T>
        where
            T: DeserializeOwned + JsonSchema + 'static,
            S: Send + Sync,
        {
            type Rejection = Rejection;

            async fn from_request_parts($parts: &mut Parts, $state: &S) -> Result<Self, Rejection> {
                $($before)*
                Params::of::<T>().read(In::$place, || $pairs).map(Self)
            }
        }
    };
}

/// Adds the error for an invalid request.
pub(crate) fn invalid(operation: &mut Operation) {
    operation.problem_of::<Invalid>(
        StatusCode::UNPROCESSABLE_ENTITY,
        "The request does not have the form that is described here",
    );
}

parameters!(
    /// Extracts the parameters of the path and validates them against `T`'s schema.
    ///
    /// `T` is a struct with a field for each `{name}` of the route, a tuple with a value for each,
    /// or a single value.
    ///
    /// ```
    /// use headwater::{App, Path, get};
    ///
    /// async fn price(Path((market, symbol)): Path<(String, String)>) -> String {
    ///     format!("{market}/{symbol}")
    /// }
    ///
    /// let app: App = App::new("Prices", "1.0.0").route("/prices/{market}/{symbol}", get(price));
    /// ```
    Path in Path: |parts, state| {
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|error| Rejection::problem(error.into()))?;
    }
    params.iter().map(|(name, text)| (name.into(), text.into()))
);

parameters!(
    /// Extracts the parameters of the query and validates them against `T`'s schema.
    ///
    /// `T` is a struct with a field for each parameter. Use `Option` or `#[serde(default)]` for an
    /// optional parameter, `Vec` for one that may be repeated, and `#[schemars(range(min = 1))]`
    /// and the like to constrain values. Unknown parameters are ignored, unless `T` has
    /// `#[serde(deny_unknown_fields)]`.
    /// ```
    /// use headwater::Query;
    /// use schemars::JsonSchema;
    ///
    /// #[derive(serde::Deserialize, JsonSchema)]
    /// struct Page {
    ///     /// Number of items to show.
    ///     #[serde(default = "ten")]
    ///     #[schemars(range(min = 1, max = 100))]
    ///     limit: u32,
    /// }
    ///
    /// fn ten() -> u32 {
    ///     10
    /// }
    ///
    /// async fn list(Query(page): Query<Page>) -> String {
    ///     format!("{} at most", page.limit)
    /// }
    /// ```
    Query in Query: |parts, _state| {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        if percent_decode(query).decode_utf8().is_err() {
            let problem = Problem::bad_request("the query is not UTF-8 when its `%` are decoded");
            return Err(Rejection::problem(problem));
        }
    }
    form_urlencoded::parse(query)
);

parameters!(
    /// Extracts headers and validates them against `T`'s schema.
    ///
    /// `T` is a struct with a field for each header, such as `x_request_id` for `X-Request-Id`. Use
    /// `Vec` for one that may be repeated. Invalid UTF-8 is replaced by U+FFFD.
    ///
    /// ```
    /// use headwater::Headers;
    /// use schemars::JsonSchema;
    ///
    /// #[derive(serde::Deserialize, JsonSchema)]
    /// struct Trace {
    ///     x_request_id: Option<String>,
    /// }
    ///
    /// async fn show(Headers(trace): Headers<Trace>) -> String {
    ///     trace.x_request_id.unwrap_or_default()
    /// }
    /// ```
    Headers in Header: |parts, _state| {}
    parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (Cow::from(name.as_str()), value)
    })
);

parameters!(
    /// Extracts cookies and validates them against `T`'s schema.
    ///
    /// `T` is a struct with a field for each cookie. A value is used as sent, without enclosing
    /// double quotes (RFC 6265 §4.1.1).
    Cookies in Cookie: |parts, _state| {
        let lines: Vec<_> = parts
            .headers
            .get_all(header::COOKIE)
            .iter()
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
    }
    lines.iter().flat_map(|line| cookies(line))
);

/// Returns the names and values of a `Cookie` header (RFC 6265 §4.2.1).
fn cookies(line: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    line.split(';').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let value = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'))
            .unwrap_or(value);
        Some((name.trim().into(), value.into()))
    })
}

/// The extractor returns `None` for a route without parameters.
impl<T, S> OptionalFromRequestParts<S> for Path<T>
where
    T: DeserializeOwned + JsonSchema + 'static,
    S: Send + Sync,
{
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Rejection> {
        match RawPathParams::from_request_parts(parts, state).await {
            Ok(params) if params.iter().next().is_some() => {
                <Self as FromRequestParts<S>>::from_request_parts(parts, state)
                    .await
                    .map(Some)
            }
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_split_and_stripped_of_their_quotes() {
        let found: Vec<_> = cookies("a=1; b=\"two\" ;c;d==; e=").collect();
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(found, [("a", "1"), ("b", "two"), ("d", "="), ("e", "")]);
    }
}
