//! The rates of senders, and their use.
//!
//! [`RateLimiter::admit`] counts a request when its sender is known. From then on the request's [`Meter`]
//! counts the rest: bodies, messages, streams and readers.
//!
//! A short body is counted before it is read, and refused if nothing is left. A long one is admitted if
//! something is left and then counted as it arrives: while nothing is left, the hub doesn't read on, so the
//! sender's own connection slows it. The same holds for the messages of NDJSON. Such a body is never cut
//! for its rate: its sender couldn't know how much was stored, and would send it again.

mod body;
mod bucket;
mod fields;
mod meter;
mod table;
mod usage;

use axum::body::Body;
use headwater_auth::{Identity, IdentityKind, Rates};
use http::{header, request::Parts};
use http_body::Body as _;

use self::{body::Metered, table::Table, usage::Quantity};
use super::{body::is_short, peer::Peer};
use crate::{
    Options,
    error::Failure,
    limits::{RateLimits, SENDERS},
    protocol::media_type::is_lines,
};

pub(crate) use self::meter::{Meter, Seat};

/// The use of all senders.
pub(crate) struct RateLimiter {
    addresses: Table<Peer>,
    keys: Table<String>,
    subjects: Table<String>,
}

impl RateLimiter {
    /// Returns the limiter of a hub. `None` if it limits no sender: without authorization, no key has rates
    /// of its own.
    pub(crate) fn of(options: &Options) -> Option<Self> {
        let limits = &options.rate_limits;
        let is_needed = *limits != RateLimits::default() || options.auth.is_some();
        is_needed.then(|| Self::new(limits))
    }

    fn new(limits: &RateLimits) -> Self {
        Self {
            addresses: Table::new(limits.address, SENDERS),
            keys: Table::new(limits.key, SENDERS),
            subjects: Table::new(limits.subject, SENDERS),
        }
    }

    /// Counts a request, and stores its meter in its extensions. `identity`: `None` if it has no valid
    /// credentials. Returns the meter, and the body, which counts itself.
    ///
    /// # Errors
    /// 429: its sender has nothing left.
    pub(crate) fn admit(
        &self,
        identity: Option<&Identity>,
        parts: &mut Parts,
        body: Body,
    ) -> Result<(Meter, Body), Failure> {
        let meter = self.meter(identity, parts);
        if !meter.is_limited() {
            return Ok((meter, body));
        }
        meter.take(Quantity::Requests, 1)?;
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let has_lines = content_type.is_some_and(is_lines);
        if has_lines {
            meter.take(Quantity::Messages, 0)?;
        }
        parts.extensions.insert(meter.clone());
        if is_short(&body) {
            let length = body.size_hint().upper().unwrap_or_default();
            if length > 0 {
                meter.take(Quantity::Bytes, length)?;
            }
            return Ok((meter, body));
        }
        meter.take(Quantity::Bytes, 0)?;
        let body = Body::new(Metered::new(body, meter.clone(), has_lines));
        Ok((meter, body))
    }

    /// Returns the meter of a request's sender.
    fn meter(&self, identity: Option<&Identity>, parts: &Parts) -> Meter {
        let of_identity = identity.and_then(|identity| match identity.kind() {
            IdentityKind::Key { id } => Some(self.keys.of(&**id, identity.rates())),
            IdentityKind::Token { .. } if !identity.subject().is_empty() => {
                Some(self.subjects.of(identity.subject(), identity.rates()))
            }
            _ => None,
        });
        match of_identity {
            Some(usage) => Meter::new(usage),
            None => self.meter_of(Peer::of(parts)),
        }
    }

    /// Returns the meter of a host.
    pub(crate) fn meter_of(&self, peer: Option<Peer>) -> Meter {
        Meter::new(peer.and_then(|peer| self.addresses.of(&peer, &Rates::default())))
    }
}

#[cfg(test)]
mod tests;
