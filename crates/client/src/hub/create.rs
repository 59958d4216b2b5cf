use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Stream, closed, names, number, offset::Offset, text};
use crate::{error::Error, plan::Plan};

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// What its messages are.
    pub content_type: String,
    /// The offset after its last message.
    pub tail: Offset,
    /// Whether it is closed: nothing can be appended any more.
    pub closed: bool,
    /// It ends by itself when it is neither read nor written for so long.
    pub ttl: Option<Duration>,
    /// It ends by itself at this time (RFC 3339).
    pub expires_at: Option<String>,
    /// Messages go when they are so old.
    pub max_age: Option<Duration>,
    /// The oldest messages go when all are more bytes than this.
    pub max_bytes: Option<u64>,
    /// The first offset that can be read, if messages have gone.
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

    /// Whether the messages are JSON values.
    #[must_use]
    pub fn is_json(&self) -> bool {
        is_json(&self.content_type)
    }
}

pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// A stream to be created: options first, then [`send`](Self::send).
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

    /// Sets what the messages are. Default: `application/json`; a fork has its source's.
    pub fn content_type(self, content_type: &str) -> Self {
        self.header("content-type", content_type)
    }

    /// Ends the stream when it is neither read nor written for so long, in whole seconds.
    pub fn ttl(self, span: Duration) -> Self {
        self.header(names::TTL, &span.as_secs().to_string())
    }

    /// Ends the stream at this time (RFC 3339).
    pub fn expires_at(self, time: &str) -> Self {
        self.header(names::EXPIRES_AT, time)
    }

    /// Lets messages go when they are so old, in whole seconds.
    pub fn max_age(self, age: Duration) -> Self {
        self.header(names::MAX_AGE, &age.as_secs().to_string())
    }

    /// Lets the oldest messages go when all are more bytes than this.
    pub fn max_bytes(self, bytes: u64) -> Self {
        self.header(names::MAX_BYTES, &bytes.to_string())
    }

    /// Has every message checked against this JSON Schema, given as its JSON text.
    pub fn schema(self, json: &str) -> Self {
        let encoded = utf8_percent_encode(json, NON_ALPHANUMERIC).to_string();
        self.header(names::SCHEMA, &encoded)
    }

    /// Makes the stream a fork of another on the same hub, named by the path of its URL.
    pub fn fork_of(self, path: &str) -> Self {
        self.header(names::FORKED_FROM, path)
    }

    /// Forks at this offset. Default: the source's tail.
    pub fn fork_at(self, offset: &Offset) -> Self {
        self.header(names::FORK_OFFSET, offset.as_str())
    }

    /// Creates the stream. If it is there already as it is asked for, nothing happens; the result
    /// says whether it is new.
    ///
    /// # Errors
    /// There's no answer; 409, a stream is there that is not as it is asked for; what it asks for is
    /// refused.
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
