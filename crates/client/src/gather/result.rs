use std::{borrow::Cow, fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use headwater_wire::json;
use http::{HeaderMap, StatusCode};
use serde::{Serialize, Serializer, de::DeserializeOwned, ser::SerializeMap as _};
use serde_json::value::RawValue;

use crate::{
    error::{Error, Kind},
    items::deserialize_json,
    session::{check_unencoded, readable_type},
};

/// The byte order mark, which is ignored before JSON (RFC 8259 §8.1).
const BOM: char = '\u{feff}';

/// Maximum nesting depth of a body that is serialised as JSON; a deeper one is serialised as a
/// string.
const MAX_DEPTH: usize = 120;

/// The result of one call.
///
/// It serialises as an object: `{"index", "key", "url", "status", "ms", "attempts", "body"}`. The
/// body is JSON if the answer is JSON; otherwise it is a string, or base64 with
/// `"encoding": "base64"` if it isn't UTF-8. A failed result has
/// `"error": {"type", "title", "detail"}`, and also `status` and `body` if there was an answer. So the body of an
/// answer whose type is JSON is a JSON value, unless there is an error or the body is empty.
/// Empty members are omitted. [`with_headers`](Self::with_headers) adds the answer's headers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatherResult {
    /// The index of the call in the source, from 0.
    pub index: u64,
    /// The call's [key](super::Call::key).
    pub key: Option<String>,
    /// The call's URL without user and password; empty if the source yielded an error.
    pub url: String,
    /// The number of attempts; 0 if the call was never sent, or if an equal call or the cache
    /// answered it.
    pub attempts: u32,
    /// The duration of the call.
    pub timing: Timing,
    /// The answer, if its status is a success, its body is complete and not compressed
    /// (compression is accepted if the call has an `Accept-Encoding`), and a body whose type is JSON is
    /// empty or valid JSON. Otherwise the error;
    /// [`Error::answer`] returns an answer whose status isn't a success, or whose body isn't valid JSON.
    pub outcome: Result<Answer, Error>,
}

/// The durations of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// The time from reading the call from the source to its first attempt.
    pub queued: Duration,
    /// The time from the last attempt's start to the head of its response; `None` if there was
    /// none.
    pub head: Option<Duration>,
    /// The time from the first attempt to the result, including waits between attempts. For a call
    /// that shared another's result, the time since it was read from the source.
    pub total: Duration,
}

/// A complete response. Clones are cheap, except for the headers.
#[derive(Clone)]
pub struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) cached: bool,
}

impl Answer {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body as received. It is compressed according to the header `Content-Encoding` only if
    /// the call had an `Accept-Encoding`, or if the status isn't a success.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// Returns `true` if the body is from the [cache](super::Cache), either fresh or confirmed by
    /// the server.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.cached
    }

    /// Returns the body as UTF-8.
    ///
    /// # Errors
    /// The body isn't UTF-8, or it is compressed.
    pub fn text(&self) -> Result<&str, Error> {
        check_unencoded(&self.headers)?;
        std::str::from_utf8(&self.body).map_err(|error| {
            Error::new(Kind::BodyNotUtf8 {
                offset: error.valid_up_to(),
            })
        })
    }

    /// Deserialises the body as one JSON value, regardless of its content type.
    ///
    /// # Errors
    /// As [`text`](Self::text), or the body isn't JSON or doesn't match `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let text = self.text()?;
        deserialize_json(text.strip_prefix(BOM).unwrap_or(text), None)
    }

    /// Returns the body as it is serialised, and its encoding if it isn't text.
    fn shown(&self) -> (ShownBody<'_>, Option<&'static str>) {
        if let Some(json) = self.as_json() {
            return (ShownBody::Json(json), None);
        }
        match self.text() {
            Ok(text) => (ShownBody::Text(text.into()), None),
            Err(_) => {
                let text = BASE64_STANDARD.encode(&self.body);
                (ShownBody::Text(text.into()), Some("base64"))
            }
        }
    }

    fn is_named_json(&self) -> bool {
        let content_type = readable_type(&self.headers);
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
    }

    /// Checks a body whose type is JSON. It may be empty, as in a response to HEAD.
    ///
    /// # Errors
    /// It isn't valid JSON, or is nested deeper than `MAX_DEPTH`.
    pub(super) fn check_json(&self) -> Result<(), Error> {
        let is_readable = !self.body.is_empty() && check_unencoded(&self.headers).is_ok();
        if !is_readable || !self.is_named_json() {
            return Ok(());
        }
        let mut bom = [0; 3];
        let bom = BOM.encode_utf8(&mut bom).as_bytes();
        let json = self.body.strip_prefix(bom).unwrap_or(&self.body);
        json::check(json, MAX_DEPTH).map_err(|error| Error::new(Kind::BodyNotJson(error)))
    }

    /// Returns the body as JSON on one line, if it is JSON.
    fn as_json(&self) -> Option<Box<RawValue>> {
        let text = self.text().ok()?;
        let text = text.strip_prefix(BOM).unwrap_or(text);
        // A number or a word without a JSON content type is text.
        if !self.is_named_json() && !text.trim_start().starts_with(['{', '[']) {
            return None;
        }
        json::check(text.as_bytes(), MAX_DEPTH).ok()?;
        // In JSON, line breaks occur only between tokens, where a space is equivalent.
        let line = text.replace(['\n', '\r'], " ");
        RawValue::from_string(line).ok()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The headers and the body are left out: they may be secret, and long.
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("cached", &self.cached)
            .finish_non_exhaustive()
    }
}

impl GatherResult {
    /// The answer, even if its status isn't a success; `None` if there was none, or if it was
    /// truncated or too large.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Ok(answer) => Some(answer),
            Err(error) => error.answer(),
        }
    }

    /// Serialises the result with the answer's headers as `"headers"`: an object of strings, or of
    /// lists of strings for repeated headers. Bytes that aren't UTF-8 are replaced.
    pub fn with_headers(&self) -> impl Serialize {
        self.shown(true)
    }

    fn shown(&self, headers: bool) -> Shown<'_> {
        let answer = self.answer();
        let (body, encoding) = answer.map(Answer::shown).unzip();
        Shown {
            index: self.index,
            key: self.key.as_deref(),
            url: Some(&*self.url).filter(|url| !url.is_empty()),
            status: answer.map(|answer| answer.status.as_u16()),
            ms: u64::try_from(self.timing.total.as_millis()).unwrap_or(u64::MAX),
            attempts: self.attempts,
            error: self.outcome.as_ref().err().map(|error| {
                let (kind, title) = error.class();
                let detail = error.to_string();
                ShownError {
                    kind,
                    title,
                    detail,
                }
            }),
            headers: answer
                .filter(|_| headers)
                .map(|answer| ShownHeaders(&answer.headers)),
            encoding: encoding.flatten(),
            body,
        }
    }
}

impl Serialize for GatherResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shown(false).serialize(serializer)
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for GatherResult {
    fn schema_name() -> Cow<'static, str> {
        Shown::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Shown::json_schema(generator)
    }
}

/// The result of one call.
#[derive(Serialize)]
#[cfg_attr(
    feature = "schemars",
    derive(schemars::JsonSchema),
    schemars(rename = "GatherResult")
)]
struct Shown<'a> {
    /// The index of the call in the list, from 0.
    index: u64,
    /// The call's key, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// The call's URL without user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    /// The status of the response, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The time in milliseconds since the call was first sent.
    ms: u64,
    /// Number of times that the call was sent. 0: never, or an equal call received the response.
    attempts: u32,
    /// The reason for which the call failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ShownError<'a>>,
    /// The response's headers, if they are requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schemars",
        schemars(with = "Option<std::collections::BTreeMap<String, super::call::OneOrMore>>")
    )]
    headers: Option<ShownHeaders<'a>>,
    /// `base64` if the body is neither JSON nor text.
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    /// The response's body: a JSON value if it is JSON, otherwise a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schemars", schemars(schema_with = "any"))]
    body: Option<ShownBody<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ShownBody<'a> {
    Json(Box<RawValue>),
    Text(Cow<'a, str>),
}

/// Returns a schema for any JSON. It is an object instead of `true`, which some tools don't
/// support.
#[cfg(feature = "schemars")]
pub(super) fn any(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "description": "Any JSON value." })
}

// A problem document (RFC 9457), whose types are the codes of [`Error::class`].
/// The reason for which a call failed.
#[derive(Serialize)]
#[cfg_attr(
    feature = "schemars",
    derive(schemars::JsonSchema),
    schemars(rename = "GatherError")
)]
struct ShownError<'a> {
    /// The kind of failure.
    #[serde(rename = "type")]
    kind: &'a str,
    /// The kind in words.
    title: &'a str,
    /// The reason for this failure.
    detail: String,
}

struct ShownHeaders<'a>(&'a HeaderMap);

impl Serialize for ShownHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.0.keys_len()))?;
        for name in self.0.keys() {
            let values: Vec<_> = self
                .0
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            match &values[..] {
                [value] => object.serialize_entry(name.as_str(), value)?,
                values => object.serialize_entry(name.as_str(), values)?,
            }
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn shown(content_type: &'static str, body: &'static [u8]) -> String {
        let mut headers = HeaderMap::new();
        if !content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        let answer = Answer {
            status: StatusCode::OK,
            headers,
            body: Bytes::from_static(body),
            cached: false,
        };
        let result = GatherResult {
            index: 7,
            key: None,
            url: String::new(),
            attempts: 1,
            timing: Timing::default(),
            outcome: Ok(answer),
        };
        let line = serde_json::to_string(&result).unwrap();
        let start = r#"{"index":7,"status":200,"ms":0,"attempts":1,"#;
        line.strip_prefix(start).unwrap().to_owned()
    }

    #[test]
    fn a_body_serialises_as_json_or_text_or_base64_on_one_line() {
        for (content_type, body, wanted) in [
            (
                "application/json",
                &b"{\n \"a\": 1.0}\r\n"[..],
                r#""body":{  "a": 1.0}}"#,
            ),
            (
                "application/problem+json; charset=utf-8",
                b"7",
                r#""body":7}"#,
            ),
            ("text/plain", b"[1]", r#""body":[1]}"#),
            ("text/plain", b"7", r#""body":"7"}"#),
            ("", b"{\"a\":", r#""body":"{\"a\":"}"#),
            ("application/json", b"", r#""body":""}"#),
            ("text/plain", b"a\nb", r#""body":"a\nb"}"#),
            (
                "application/json",
                b"\"\xff\"",
                r#""encoding":"base64","body":"Iv8i"}"#,
            ),
        ] {
            assert_eq!(shown(content_type, body), wanted, "{content_type}");
        }
    }

    #[test]
    fn a_body_that_nests_too_deep_serialises_as_text() {
        let deep = |depth: usize| -> &'static [u8] {
            ("[".repeat(depth) + &"]".repeat(depth)).into_bytes().leak()
        };
        assert!(shown("application/json", deep(MAX_DEPTH)).starts_with("\"body\":[["));
        assert!(shown("application/json", deep(MAX_DEPTH + 1)).starts_with("\"body\":\"[["));
    }
}
