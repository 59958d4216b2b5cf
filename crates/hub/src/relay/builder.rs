//! Relays that a handler starts: the same as `POST /relay`, without HTTP.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use headwater::{Problem, StatusCode};
use headwater_log::Expiry;
use headwater_wire::json;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use reqwest::Url;
use serde::Serialize;

use super::{
    create::{Plan, begin},
    refusal::Refusal,
    request::{Ask, Join},
};
use crate::{Hub, protocol::path::name_of};

/// The request fingerprint of all handlers' relays: they are identified by the stream alone.
const REQUEST: &str = "handler";

/// An upstream call whose response becomes a durable stream: see [`Hub::relay`].
///
/// It is built step by step, like a client's request. Errors in it are returned when it is
/// [started](Hub::relay).
#[derive(Clone)]
#[must_use = "nothing is called yet"]
pub struct Relay {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Bytes,
    keep_for: Option<Duration>,
    expiry: Option<Duration>,
    fault: Option<&'static str>,
}

/// A relay that exists: see [`Hub::relay`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStream {
    /// `true` if the upstream was called now, `false` if the stream existed.
    pub is_new: bool,
    /// The content type of the stream: that of the upstream's response, or `application/octet-stream` if it
    /// has none.
    pub content_type: String,
}

impl Relay {
    /// Creates a `GET` of a URL.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// Creates a `POST` to a URL.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url)
    }

    /// Creates a call with any method.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            keep_for: None,
            expiry: None,
            fault: None,
        }
    }

    /// Sets a header. Replaces a previous one of the same name.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let name = HeaderName::try_from(name.as_ref());
        let value = HeaderValue::try_from(value.as_ref());
        match (name, value) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(name == header::AUTHORIZATION || name == header::COOKIE);
                self.headers.insert(name, value);
            }
            _ => self.fault = Some("a header of the relay is invalid"),
        }
        self
    }

    /// Sends a token: `Authorization: Bearer …`. It is never logged or written to disk.
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header("authorization", format!("Bearer {}", token.as_ref()))
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body and its content type. A value that can't be encoded, such as a float that
    /// isn't finite, is an error when the relay is started.
    pub fn json<B: Serialize + ?Sized>(mut self, body: &B) -> Self {
        let mut text = Vec::new();
        match json::encode_on_one_line(body, &mut text) {
            Ok(()) => self.body = text.into(),
            Err(_) => self.fault = Some("the body of the relay can't be written as JSON"),
        }
        self.header("content-type", "application/json")
    }

    /// Sets how long the call continues without watchers. After that it is cancelled. Zero: until
    /// the last watcher leaves. Default: it continues to its end, with or without watchers.
    pub fn keep_for(mut self, time: Duration) -> Self {
        self.keep_for = Some(time);
        self
    }

    /// Deletes the stream when it was neither read nor written for this long. Default: it stays
    /// until it is deleted.
    pub fn expires_after(mut self, idle: Duration) -> Self {
        self.expiry = Some(idle);
        self
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers, the body and the URL's query may contain secrets.
        f.debug_struct("Relay")
            .field("method", &self.method)
            .field("keep_for", &self.keep_for)
            .finish_non_exhaustive()
    }
}

impl Hub {
    /// Calls an upstream once, and fills the stream at `path` (the part after `/streams/`) with its
    /// response, item by item: events, lines, JSON values, text or bytes, depending on the
    /// upstream's content type. Returns when the head of the upstream's response has arrived, which
    /// is long before all of it.
    ///
    /// The path alone identifies the call: if a relay of a handler fills the stream, has filled it,
    /// or waits for the upstream's head, this joins it, even if the call differs, and makes no
    /// call. The call continues without the request that started it. [`Hub::cancel`](Hub::cancel)
    /// ends it.
    ///
    /// ```
    /// use headwater::Problem;
    /// use headwater_hub::{Hub, Relay};
    /// use serde_json::json;
    ///
    /// /// Relays the answer to a question, once.
    /// async fn answer(hub: &Hub, id: u64, question: &str, key: &str) -> Result<String, Problem> {
    ///     let messages = [json!({"role": "user", "content": question})];
    ///     let body = json!({"model": "brook-1", "messages": messages, "stream": true});
    ///     let call = Relay::post("https://api.example.com/v1/chat/completions")
    ///         .bearer(key)
    ///         .json(&body);
    ///     hub.relay(format!("answers/{id}"), call).await?;
    ///     Ok(format!("/streams/answers/{id}"))
    /// }
    /// ```
    ///
    /// # Errors
    /// - 400: the path, the URL or a header is invalid.
    /// - 403: the [upstream](crate::Options::upstreams) isn't allowed.
    /// - 409: the stream at that path isn't filled by a handler's relay.
    /// - 429: the limit of concurrent ingest jobs is reached.
    /// - 502, 504: the upstream can't be reached, refuses, or doesn't respond; `upstream_status` is
    ///   the status of its response.
    /// - 503: the hub is [stopping](Hub::stop), or isn't the owner of a
    ///   [shared log](crate::Options::shared_log) now.
    /// - Errors of the log.
    ///
    /// # Cancel safety
    /// If the future is dropped early, the call is made and its stream filled nevertheless.
    pub async fn relay(&self, path: impl AsRef<str>, relay: Relay) -> Result<RelayStream, Problem> {
        let hub = Arc::clone(&self.0);
        hub.ensure_started();
        let name = name_of(path.as_ref())?;
        if let Some(fault) = relay.fault {
            return Err(Problem::bad_request(fault));
        }
        let url = Url::parse(&relay.url);
        let url = url.map_err(|_| Problem::bad_request("the URL of the relay is invalid"))?;
        let allowed = hub.options.upstream.allow.check(&url);
        allowed
            .map_err(|refused| Problem::new(StatusCode::FORBIDDEN).detail(refused.to_string()))?;
        let ask = Ask {
            method: relay.method,
            url,
            headers: relay.headers,
            join: Join::Never,
            stream: Some(name),
            ttl: None,
            keep_for: relay.keep_for,
            feed: true,
        };
        let held = hub.bodies.hold(&hub.options.limits, None);
        let expiry = relay.expiry.map(Expiry::Idle);
        let plan = Plan::of_handler(ask, relay.body, held, expiry, REQUEST);
        let begun = match plan {
            Ok(plan) => begin(&hub, plan).await,
            Err(refusal) => Err(refusal),
        };
        let (relay, is_new) = begun.map_err(Refusal::into_problem)?;
        Ok(RelayStream {
            is_new,
            content_type: relay.content_type,
        })
    }
}
