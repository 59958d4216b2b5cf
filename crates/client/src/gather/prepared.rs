use std::{
    fmt::Write as _,
    hash::{BuildHasher, Hash as _, Hasher as _, RandomState},
};

use bytes::Bytes;
use http::{HeaderMap, Method};
use reqwest::Url;

use super::{Call, cache::Stored};
use crate::{
    error::Error,
    plan::{Plan, Settings, parse_url, place, with_defaults, without_fragment},
};

/// A call that can be made.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The client's own among them.
    pub(super) headers: HeaderMap,
    body: Option<Bytes>,
    repeatable: bool,
}

impl Prepared {
    /// # Errors
    /// Something in the call is wrong.
    pub(super) fn new(mut call: Call, defaults: &HeaderMap) -> Result<Self, Error> {
        let located = |error: Error| error.at(call.method.as_str());
        if let Some(error) = call.error {
            return Err(located(error));
        }
        let url = parse_url(&call.url).map_err(located)?;
        with_defaults(&mut call.headers, defaults);
        Ok(Self {
            method: call.method,
            url,
            headers: call.headers,
            body: call.body,
            repeatable: call.repeatable,
        })
    }

    /// Writes what a rate and a number of connections are for: scheme, host and port.
    pub(super) fn write_host(&self, host: &mut String) {
        host.clear();
        let port = self.url.port_or_known_default().unwrap_or_default();
        let name = self.url.host_str().unwrap_or_default();
        // Writing to a string can't fail.
        let _ = write!(host, "{}://{name}:{port}", self.url.scheme());
    }

    /// The method and the URL without what may be secret.
    pub(super) fn place(&self) -> String {
        place(&self.method, &self.url)
    }

    /// Whether it may be sent more than once.
    pub(super) fn is_repeatable(&self) -> bool {
        self.repeatable || self.method.is_idempotent()
    }

    /// Whether an equal call would have the same answer.
    pub(super) fn is_shareable(&self) -> bool {
        self.method.is_safe()
    }

    pub(super) fn is_equal(&self, other: &Self) -> bool {
        self.method == other.method
            && without_fragment(&self.url) == without_fragment(&other.url)
            && self.headers == other.headers
            && self.body == other.body
    }

    /// Equal calls have equal hashes.
    pub(super) fn hash(&self, state: &RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        self.method.hash(&mut hasher);
        without_fragment(&self.url).hash(&mut hasher);
        self.headers.len().hash(&mut hasher);
        self.body.hash(&mut hasher);
        hasher.finish()
    }

    /// The request, which asks whether `stored` still holds.
    pub(super) fn plan(&self, settings: &Settings, stored: Option<&Stored>) -> Plan {
        let mut plan = Plan::for_url(self.method.clone(), self.url.clone(), settings.clone());
        plan.headers = self.headers.clone();
        plan.body = self.body.clone();
        if let Some(stored) = stored {
            stored.conditions(&mut plan.headers);
        }
        plan
    }
}
