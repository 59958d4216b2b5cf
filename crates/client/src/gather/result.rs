use std::{fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use headwater_wire::json;
use http::{HeaderMap, StatusCode};
use serde::{
    Serialize, Serializer,
    de::DeserializeOwned,
    ser::{SerializeMap as _, SerializeStruct as _},
};
use serde_json::value::RawValue;

use crate::{
    error::{Error, Kind},
    items::deserialize_json,
    session::{check_unencoded, readable_type},
};

/// A byte order mark, which is ignored before JSON (RFC 8259 §8.1).
const BOM: char = '\u{feff}';

/// A body that nests deeper isn't shown as JSON but as a string.
const MAX_DEPTH: usize = 120;

/// What came of one call.
///
/// Serialised, it is an object: `{"index", "key", "url", "status", "ms", "attempts", "body"}`, where the
/// body is JSON if it is JSON, else a string, or base64 with `"encoding": "base64"` if it isn't UTF-8.
/// A failed one has `"error": {"type", "title", "detail"}`, and `status` and `body` where there was an
/// answer. Members that say nothing are left out. [`with_headers`](Self::with_headers) adds the
/// answer's headers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatherResult {
    /// Which call of the source it was, from 0.
    pub index: u64,
    /// The call's [key](super::Call::key).
    pub key: Option<String>,
    /// The call's URL without user and password; empty where the source gave an error.
    pub url: String,
    /// How many times it was sent; 0 if it never was, or an equal call or the cache answered.
    pub attempts: u32,
    /// How long it took.
    pub timing: Timing,
    /// The answer, if its status is a success and its body is complete and not compressed, unless the call
    /// has an `Accept-Encoding`. Else why not;
    /// [`Error::answer`] has the answer whose status is no success.
    pub outcome: Result<Answer, Error>,
}

/// How long one call took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// From when it was taken from the source until it was first sent.
    pub queued: Duration,
    /// From when it was last sent until the head of its answer was there; none if there is none.
    pub head: Option<Duration>,
    /// From when it was first sent until its result was there, pauses between attempts included.
    pub total: Duration,
}

/// A complete answer. Cloning it is cheap, but for its headers.
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

    /// The body as it came. It is compressed, as the header `Content-Encoding` says, only if the call
    /// had an `Accept-Encoding`, or the status is no success.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// Whether the body is the [cache](super::Cache)'s, confirmed by the server or fresh.
    #[must_use]
    pub fn is_cached(&self) -> bool {
        self.cached
    }

    /// The body as UTF-8.
    ///
    /// # Errors
    /// It isn't UTF-8, or it is compressed.
    pub fn text(&self) -> Result<&str, Error> {
        check_unencoded(&self.headers)?;
        std::str::from_utf8(&self.body).map_err(|error| {
            Error::new(Kind::BodyNotUtf8 {
                offset: error.valid_up_to(),
            })
        })
    }

    /// The body as one JSON value, whatever its content type.
    ///
    /// # Errors
    /// As [`text`](Self::text), or it isn't JSON, or not what `T` wants.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let text = self.text()?;
        deserialize_json(text.strip_prefix(BOM).unwrap_or(text), None)
    }

    /// The body as JSON on one line, if that is what it is.
    fn as_json(&self) -> Option<Box<RawValue>> {
        let text = self.text().ok()?;
        let text = text.strip_prefix(BOM).unwrap_or(text);
        let is_named_json = {
            let content_type = readable_type(&self.headers);
            let essence = content_type.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
        };
        // A number or a word that isn't said to be JSON is text.
        if !is_named_json && !text.trim_start().starts_with(['{', '[']) {
            return None;
        }
        json::check(text.as_bytes(), MAX_DEPTH).ok()?;
        // In JSON a line break stands only between tokens, where a space means the same.
        let line = text.replace(['\n', '\r'], " ");
        RawValue::from_string(line).ok()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither headers nor body: they may be secret, and long.
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("cached", &self.cached)
            .finish_non_exhaustive()
    }
}

impl GatherResult {
    /// The answer, whether its status is a success or not; none if there was none, or it was cut or
    /// too large.
    #[must_use]
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Ok(answer) => Some(answer),
            Err(error) => error.answer(),
        }
    }

    /// The same for a serialiser, with the answer's headers as `"headers"`: an object of strings, and
    /// of lists of strings where a header came more than once. What isn't UTF-8 in them is replaced.
    pub fn with_headers(&self) -> impl Serialize {
        Shown {
            result: self,
            headers: true,
        }
    }
}

impl Serialize for GatherResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let headers = false;
        let shown = Shown {
            result: self,
            headers,
        };
        shown.serialize(serializer)
    }
}

struct Shown<'a> {
    result: &'a GatherResult,
    headers: bool,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { result, headers } = *self;
        let mut object = serializer.serialize_struct("GatherResult", 10)?;
        object.serialize_field("index", &result.index)?;
        if let Some(key) = &result.key {
            object.serialize_field("key", key)?;
        }
        if !result.url.is_empty() {
            object.serialize_field("url", &result.url)?;
        }
        let answer = result.answer();
        if let Some(answer) = answer {
            object.serialize_field("status", &answer.status.as_u16())?;
        }
        let milliseconds = u64::try_from(result.timing.total.as_millis()).unwrap_or(u64::MAX);
        object.serialize_field("ms", &milliseconds)?;
        object.serialize_field("attempts", &result.attempts)?;
        if let Err(error) = &result.outcome {
            object.serialize_field("error", &ShownError(error))?;
        }
        if let Some(answer) = answer {
            if headers {
                object.serialize_field("headers", &ShownHeaders(&answer.headers))?;
            }
            if let Some(json) = answer.as_json() {
                object.serialize_field("body", &json)?;
            } else if let Ok(text) = answer.text() {
                object.serialize_field("body", text)?;
            } else {
                object.serialize_field("encoding", "base64")?;
                object.serialize_field("body", &BASE64_STANDARD.encode(&answer.body))?;
            }
        }
        object.end()
    }
}

/// As a problem document (RFC 9457); its types are these words.
struct ShownError<'a>(&'a Error);

impl Serialize for ShownError<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let error = self.0;
        let (kind, title) = error.class();
        let mut object = serializer.serialize_struct("Error", 3)?;
        object.serialize_field("type", kind)?;
        object.serialize_field("title", title)?;
        object.serialize_field("detail", &error.to_string())?;
        object.end()
    }
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
