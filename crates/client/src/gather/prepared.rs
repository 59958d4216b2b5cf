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

/// A valid call, ready to be sent.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) method: Method,
    pub(super) url: Url,
    /// The headers, including the client's.
    pub(super) headers: HeaderMap,
    body: Option<Bytes>,
    repeatable: bool,
}

impl Prepared {
    /// Validates a call.
    ///
    /// # Errors
    /// The call is invalid.
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

    /// Writes the key of a host, for limits of rate and concurrency: scheme, host and port.
    pub(super) fn write_host(&self, host: &mut String) {
        host.clear();
        let port = self.url.port_or_known_default().unwrap_or_default();
        let name = self.url.host_str().unwrap_or_default();
        // Writing to a string can't fail.
        let _ = write!(host, "{}://{name}:{port}", self.url.scheme());
    }

    /// The method and the URL without the parts that may be secret.
    pub(super) fn place(&self) -> String {
        place(&self.method, &self.url)
    }

    /// Returns `true` if the call may be sent more than once.
    pub(super) fn is_repeatable(&self) -> bool {
        self.repeatable || self.method.is_idempotent()
    }

    /// Returns `true` if an equal call would have the same answer.
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

    /// Builds the request. With `stored` it is conditional, so that the server can confirm the
    /// stored response.
    pub(super) fn plan(&self, settings: &Settings, stored: Option<&Stored>) -> Plan {
        let mut settings = settings.clone();
        // The calls go to any number of hosts.
        settings.token = None;
        let mut plan = Plan::for_url(self.method.clone(), self.url.clone(), settings);
        plan.headers = self.headers.clone();
        plan.body = self.body.clone();
        if let Some(stored) = stored {
            stored.conditions(&mut plan.headers);
        }
        plan
    }
}
