use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Stream, closed, names, number, offset::Offset, text};
use crate::{error::Error, plan::Plan};

/// The metadata of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// The content type of its messages.
    pub content_type: String,
    /// The offset after its last message.
    pub tail: Offset,
    /// `true` if the stream is closed to appends.
    pub closed: bool,
    /// The stream expires after this time without a read or write.
    pub ttl: Option<Duration>,
    /// The stream expires at this time (RFC 3339).
    pub expires_at: Option<String>,
    /// Messages older than this are trimmed.
    pub max_age: Option<Duration>,
    /// The oldest messages are trimmed when all messages exceed this many bytes.
    pub max_bytes: Option<u64>,
    /// The first readable offset, if messages were trimmed.
    pub floor: Option<Offset>,
}

impl Info {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let owned = |name| text(headers, name).map(str::to_owned);
        Self {
            content_type: owned(header::CONTENT_TYPE.as_str()).unwrap_or_default(),
            tail: text(headers, names::NEXT_OFFSET)
                .map(Offset::from)
                .unwrap_or_default(),
            closed: closed(headers),
            ttl: number(headers, names::TTL).map(Duration::from_secs),
            expires_at: owned(names::EXPIRES_AT),
            max_age: number(headers, names::MAX_AGE).map(Duration::from_secs),
            max_bytes: number(headers, names::MAX_BYTES),
            floor: text(headers, names::FLOOR).map(Offset::from),
        }
    }

    /// Returns `true` if the messages are JSON values.
    #[must_use]
    pub fn is_json(&self) -> bool {
        is_json(&self.content_type)
    }
}

pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The options of a new stream: set them first, then call [`send`](Self::send).
#[must_use = "nothing is sent before `send`"]
pub struct Create {
    stream: Stream,
    plan: Plan,
}

impl Create {
    pub(super) fn new(stream: Stream) -> Self {
        let plan = stream.plan(Method::PUT);
        Self { stream, plan }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.plan.header(name, value);
        self
    }

    /// Sets the content type of the messages. Default: `application/json`, or for a fork that of
    /// its source.
    pub fn content_type(self, content_type: &str) -> Self {
        self.header("content-type", content_type)
    }

    /// Expires the stream after this time without a read or write, in whole seconds.
    pub fn ttl(self, span: Duration) -> Self {
        self.header(names::TTL, &span.as_secs().to_string())
    }

    /// Expires the stream at this time (RFC 3339).
    pub fn expires_at(self, time: &str) -> Self {
        self.header(names::EXPIRES_AT, time)
    }

    /// Trims messages older than this, in whole seconds.
    pub fn max_age(self, age: Duration) -> Self {
        self.header(names::MAX_AGE, &age.as_secs().to_string())
    }

    /// Trims the oldest messages when all messages exceed this many bytes.
    pub fn max_bytes(self, bytes: u64) -> Self {
        self.header(names::MAX_BYTES, &bytes.to_string())
    }

    /// Validates every message against this JSON Schema, passed as its JSON text.
    pub fn schema(self, json: &str) -> Self {
        let encoded = utf8_percent_encode(json, NON_ALPHANUMERIC).to_string();
        self.header(names::SCHEMA, &encoded)
    }

    /// Creates the stream as a fork of another stream on the same hub, named by the path of its
    /// URL.
    pub fn fork_of(self, path: &str) -> Self {
        self.header(names::FORKED_FROM, path)
    }

    /// Forks at this offset. Default: the source's tail.
    pub fn fork_at(self, offset: &Offset) -> Self {
        self.header(names::FORK_OFFSET, offset.as_str())
    }

    /// Creates the stream. Returns `true` if it is new, and `false` if it already existed with the
    /// same settings, in which case nothing changes.
    ///
    /// # Errors
    /// There is no response; 409: the stream exists with other settings; the hub refuses the
    /// settings.
    pub async fn send(mut self) -> Result<bool, Error> {
        if !self.plan.headers.contains_key(names::FORKED_FROM) {
            self.plan
                .default_header(header::CONTENT_TYPE, "application/json");
        }
        let reply = self.stream.call(self.plan).await?;
        Ok(reply.status == StatusCode::CREATED)
    }
}

impl std::fmt::Debug for Create {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Create({})", self.plan.place())
    }
}
