use std::{borrow::Cow, error::Error as StdError, fmt, str::FromStr};

use bytes::Bytes;
use headwater_wire::json;
use http::{HeaderMap, HeaderValue, Method, header};
use reqwest::Url;
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::{
    error::{Error, Kind},
    plan::{parse_header, parse_url},
};

/// One HTTP call.
///
/// A call is created from a URL (`&str`, `String`, [`reqwest::Url`]: a GET), by [`Call::new`] and
/// the methods below, or from JSON by `serde_json`:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let call: headwater_client::gather::Call = serde_json::from_str(
///     r#"{"url": "https://api.example/orders", "method": "PUT", "key": "7",
///         "headers": {"Authorization": "Bearer secret"}, "body": {"item": "tea"}}"#,
/// )?;
/// assert_eq!(call.key_str(), Some("7"));
/// # Ok(())
/// # }
/// ```
///
/// In JSON only `url` is required, and a string is a URL. `method` defaults to GET, or to POST if
/// there is a body. The value of a header may be a list. A `body` that is a string is sent as text,
/// any other JSON unchanged, as `application/json`. `repeatable` is as in [`Call::repeatable`].
/// Other members are refused.
///
/// An invalid call (no URL, a header that can't be sent) is reported as its result's error.
#[derive(Clone)]
pub struct Call {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) key: Option<String>,
    pub(super) repeatable: bool,
    /// The first error.
    pub(super) error: Option<Error>,
}

impl Call {
    /// Creates a call of any method.
    ///
    /// ```
    /// use headwater_client::{Method, gather::Call};
    ///
    /// let call = Call::new(Method::PUT, "https://api.example/orders/7")
    ///     .json(&serde_json::json!({ "item": "tea" }))
    ///     .key("7");
    /// assert_eq!(call.method(), Method::PUT);
    /// ```
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body: None,
            key: None,
            repeatable: false,
            error: None,
        }
    }

    /// Creates a GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// Creates a POST.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url)
    }

    /// Adds a header. It replaces a header of the same name that the client sends by default. If
    /// called twice with one name, both values are sent.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        match parse_header(name.as_ref(), value.as_ref()) {
            Ok((name, value)) => {
                self.headers.append(name, value);
            }
            Err(error) => self.fail(error),
        }
        self
    }

    /// Sends `Authorization: Bearer TOKEN`. A redirect to another origin drops it.
    #[must_use]
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header("authorization", format!("Bearer {}", token.as_ref()))
    }

    /// Sends a body as it is.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends `body` as JSON, with `Content-Type: application/json` unless that header is already
    /// set. A float that isn't finite is an error.
    #[must_use]
    pub fn json<B: serde::Serialize + ?Sized>(mut self, body: &B) -> Self {
        let mut json = Vec::new();
        match json::encode_on_one_line(body, &mut json) {
            Ok(()) => {
                self.content_type("application/json");
                self.body = Some(json.into());
            }
            Err(error) => {
                let what = "the body can't be serialised as JSON";
                self.fail(Error::request(what).with_source(error));
            }
        }
        self
    }

    /// Sets a key, which the result also has.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// If `true`, the call may be made more than once regardless of its method: a POST is then
    /// retried like a GET. Default: `false`. (Idempotent methods, RFC 9110 §9.2.2, may always be
    /// retried.)
    #[must_use]
    pub fn repeatable(mut self, repeatable: bool) -> Self {
        self.repeatable = repeatable;
        self
    }

    /// The URL as passed in.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL as in the result: without user and password.
    #[must_use]
    pub fn public_url(&self) -> Cow<'_, str> {
        // Most URLs have neither, and aren't parsed.
        if !self.url.contains('@') {
            return Cow::Borrowed(&self.url);
        }
        match Url::parse(&self.url) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                let mut url = url;
                // This can't fail for a URL that has a user or a password.
                let _ = url.set_username("");
                let _ = url.set_password(None);
                Cow::Owned(url.into())
            }
            _ => Cow::Borrowed(&self.url),
        }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The headers of the call.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The headers of the call, mutably. A service that makes calls on behalf of others may have to
    /// remove some.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The call's key, if it has one.
    #[must_use]
    pub fn key_str(&self) -> Option<&str> {
        self.key.as_deref()
    }

    pub(super) fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    fn content_type(&mut self, value: &'static str) {
        self.headers
            .entry(header::CONTENT_TYPE)
            .or_insert(HeaderValue::from_static(value));
    }
}

impl From<&str> for Call {
    fn from(url: &str) -> Self {
        Self::get(url)
    }
}

impl From<String> for Call {
    fn from(url: String) -> Self {
        Self::get(url)
    }
}

impl From<Url> for Call {
    fn from(url: Url) -> Self {
        Self::get(url)
    }
}

/// Parses one line of a list of calls: a URL, or the JSON object of a call.
impl FromStr for Call {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let line = line.trim();
        if !line.starts_with(['{', '[', '"']) {
            parse_url(line)?;
            return Ok(Self::get(line));
        }
        serde_json::from_str(line).map_err(|error| {
            let what = "not a call: a call is a URL or a JSON object";
            Error::request(what).with_source(json::message_of(&error))
        })
    }
}

impl<'de> Deserialize<'de> for Call {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CallVisitor)
    }
}

/// Accepts a URL or an object, but not an array with the members' values.
struct CallVisitor;

impl<'de> de::Visitor<'de> for CallVisitor {
    type Value = Call;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a URL or an object with the members url, method, headers, body, key and repeatable",
        )
    }

    fn visit_str<E: de::Error>(self, url: &str) -> Result<Call, E> {
        parse_url(url).map_err(E::custom)?;
        Ok(Call::get(url))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Call, A::Error> {
        let fields = Fields::deserialize(de::value::MapAccessDeserializer::new(map))?;
        fields.call().map_err(de::Error::custom)
    }
}

impl Fields {
    fn call(self) -> Result<Call, Error> {
        let method = match self.method {
            Some(name) => name.to_uppercase().parse().map_err(|_| {
                Error::request("`method` may hold only letters, digits and !#$%&'*+-.^_`|~")
            })?,
            None if self.body.is_some() => Method::POST,
            None => Method::GET,
        };
        let mut call = Call::new(method, self.url).repeatable(self.repeatable);
        call.key = self.key;
        for (name, values) in self.headers.unwrap_or_default().0 {
            for value in values {
                call = call.header(&name, value);
            }
        }
        if let Some(error) = call.error.take() {
            return Err(error);
        }
        if let Some(body) = self.body {
            if let Ok(text) = serde_json::from_str::<String>(body.get()) {
                call.content_type("text/plain; charset=utf-8");
                call.body = Some(text.into());
            } else {
                call.content_type("application/json");
                call.body = Some(String::from(Box::<str>::from(body)).into());
            }
        }
        Ok(call)
    }
}

/// A call to make.
#[derive(Deserialize)]
#[cfg_attr(
    feature = "schemars",
    derive(schemars::JsonSchema),
    schemars(rename = "Call")
)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// Its URL.
    url: String,
    /// Its method. Default: POST if there is a body, otherwise GET.
    #[serde(default)]
    method: Option<String>,
    /// Its headers.
    #[serde(default)]
    #[cfg_attr(
        feature = "schemars",
        schemars(with = "Option<std::collections::BTreeMap<String, OneOrMore>>")
    )]
    headers: Option<Headers>,
    // Unparsed, so that a number keeps its digits.
    /// Its body. A string is sent as text, anything else as JSON.
    #[serde(default)]
    #[cfg_attr(feature = "schemars", schemars(schema_with = "super::result::any"))]
    body: Option<Box<RawValue>>,
    /// A name for the call, which its result contains.
    #[serde(default)]
    key: Option<String>,
    /// If `true`, the call may be repeated although its method isn't idempotent.
    #[serde(default)]
    repeatable: bool,
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for Call {
    fn schema_name() -> Cow<'static, str> {
        "Listed".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A call to make: its URL, or an object with further properties.",
            "anyOf": [{"type": "string"}, generator.subschema_for::<Fields>()],
        })
    }
}

/// A value, or the values of a header that is repeated.
#[derive(Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema), schemars(inline))]
#[serde(untagged, expecting = "a header is a string or a list of strings")]
pub(super) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Default)]
struct Headers(Vec<(String, Vec<String>)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> de::Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of headers, each a string or a list of strings")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = Vec::new();
        while let Some((name, values)) = map.next_entry()? {
            let values = match values {
                OneOrMore::One(value) => vec![value],
                OneOrMore::More(values) => values,
            };
            headers.push((name, values));
        }
        Ok(Headers(headers))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL, the headers and the body are left out: they may be secret.
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A source item of [`gather`](crate::gather()): a URL, a [`Call`], or a `Result` of one of them,
/// whose error becomes a failed result.
pub trait IntoCall {
    /// Converts the item to a call, or to the error that becomes its result.
    ///
    /// # Errors
    /// The item isn't a call.
    fn into_call(self) -> Result<Call, Error>;
}

impl IntoCall for Call {
    fn into_call(self) -> Result<Call, Error> {
        Ok(self)
    }
}

impl IntoCall for &str {
    fn into_call(self) -> Result<Call, Error> {
        Ok(self.into())
    }
}

impl IntoCall for String {
    fn into_call(self) -> Result<Call, Error> {
        Ok(self.into())
    }
}

impl IntoCall for Url {
    fn into_call(self) -> Result<Call, Error> {
        Ok(self.into())
    }
}

impl<C: IntoCall, E: Into<Box<dyn StdError + Send + Sync>>> IntoCall for Result<C, E> {
    fn into_call(self) -> Result<Call, Error> {
        let error = match self {
            Ok(call) => return call.into_call(),
            Err(error) => error.into(),
        };
        match error.downcast::<Error>() {
            Ok(error) => Err(*error),
            Err(error) => Err(Error::new(Kind::Source).with_source(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Call {
        line.parse().unwrap()
    }

    fn header<'a>(call: &'a Call, name: &str) -> Vec<&'a str> {
        let all = call.headers.get_all(name).iter();
        all.map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn a_line_is_a_url_or_an_object() {
        let call = read(" http://a.example/?q={1} \n");
        assert_eq!(
            (call.url(), call.method()),
            ("http://a.example/?q={1}", &Method::GET)
        );
        let call = read(
            r#"{"url":"http://a.example/","method":"patch","headers":{"X-A":"1","x-b":["2","3"]},
                "key":"k","repeatable":true}"#,
        );
        assert_eq!((call.method(), call.key_str()), (&Method::PATCH, Some("k")));
        assert_eq!(
            (header(&call, "x-a"), header(&call, "x-b")),
            (vec!["1"], vec!["2", "3"])
        );
        assert!(call.repeatable && call.body.is_none());
    }

    #[test]
    fn a_string_body_is_text_and_any_other_is_unchanged_json() {
        for (body, sent, content_type) in [
            (r#""a\nb""#, "a\nb", "text/plain; charset=utf-8"),
            (
                "[1.0, 12345678901234567890123]",
                "[1.0, 12345678901234567890123]",
                "application/json",
            ),
            ("{}", "{}", "application/json"),
        ] {
            let call = read(&format!(r#"{{"url":"http://a.example/","body":{body}}}"#));
            assert_eq!(call.method, Method::POST);
            assert_eq!(call.body.as_deref(), Some(sent.as_bytes()));
            assert_eq!(header(&call, "content-type"), [content_type]);
        }
        let call = read(r#"{"url":"http://a.example/","body":1,"headers":{"content-type":"x/y"}}"#);
        assert_eq!(header(&call, "content-type"), ["x/y"]);
        let call = read(r#"{"url":"http://a.example/","body":null}"#);
        assert!(call.body.is_none() && call.method == Method::GET);
    }

    #[test]
    fn an_invalid_line_is_explained() {
        for (line, wanted) in [
            (
                r#"{"url":"http://a.example/","ulr":1}"#,
                "unknown field `ulr`, expected one of `url`",
            ),
            (r#"{"method":"GET"}"#, "missing field `url`"),
            (r#"{"url":"http://a.example/""#, "EOF while parsing"),
            (
                r#"{"url":7}"#,
                "invalid type: integer `7`, expected a string",
            ),
            (
                r#"{"url":"http://a.example/","method":"a b"}"#,
                "`method` may hold only letters",
            ),
            (
                r#"{"url":"http://a.example/","headers":{"a":1}}"#,
                "a string or a list of strings",
            ),
            (
                r#"{"url":"http://a.example/","headers":{"a":"secret\n"}}"#,
                "`a` holds a control",
            ),
            ("a.example/?secret", "not a URL"),
            (
                r#"["http://a.example/"]"#,
                "a URL or an object with the members",
            ),
            (r#""a.example/?secret""#, "not a URL"),
        ] {
            let error = line.parse::<Call>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{line}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_error_of_the_source_keeps_its_message() {
        let from_io = Err::<Call, _>(std::io::Error::other("torn"))
            .into_call()
            .unwrap_err();
        assert!(from_io.is_source());
        assert!(from_io.to_string().ends_with("torn"), "{from_io}");
        let own = Err::<&str, _>(Error::request("line 3"))
            .into_call()
            .unwrap_err();
        assert_eq!(own.to_string(), "line 3");
    }
}
