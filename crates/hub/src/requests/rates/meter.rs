//! The meter of one request.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use headwater::OperationInput;
use http::{HeaderMap, request::Parts};

use super::{
    bucket::Spent,
    fields,
    usage::{OpenReader, Quantity, Usage},
};
use crate::{error::Failure, permits::Permit};

/// Counts what a request uses for its sender. By default, the sender isn't limited.
#[derive(Clone, Default)]
pub(crate) struct Meter(Option<Arc<Usage>>);

impl Meter {
    pub(super) fn new(usage: Option<Arc<Usage>>) -> Self {
        Self(usage)
    }

    pub(super) fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// Uses an amount if there is something left of the quantity, even if it is less: then nothing is
    /// left until the rest is refilled, too.
    ///
    /// # Errors
    /// 429: there is nothing left. Nothing is used.
    pub(super) fn take(&self, quantity: Quantity, amount: u64) -> Result<(), Failure> {
        let Some(usage) = &self.0 else { return Ok(()) };
        let taken = usage.take(quantity, amount);
        taken.map_err(|excess| fields::refusal(excess, usage))
    }

    pub(super) fn owe(&self, quantity: Quantity, amount: u64) {
        if let Some(usage) = &self.0 {
            usage.owe(quantity, amount);
        }
    }

    /// Counts messages that are about to be appended.
    ///
    /// # Errors
    /// 429: none is left.
    pub(crate) fn take_messages(&self, count: usize) -> Result<(), Failure> {
        match count {
            0 => Ok(()),
            count => self.take(Quantity::Messages, count as u64),
        }
    }

    /// Counts messages that were appended. The request's body pauses while none is left.
    pub(crate) fn owe_messages(&self, count: u64) {
        self.owe(Quantity::Messages, count);
    }

    /// Counts a stream that is about to be created.
    ///
    /// # Errors
    /// 429: none is left.
    pub(crate) fn take_stream(&self) -> Result<(), Failure> {
        self.take(Quantity::Created, 1)
    }

    /// Takes back the count of a stream that wasn't created.
    pub(crate) fn give_back_stream(&self) {
        if let Some(usage) = &self.0 {
            usage.give_back(Quantity::Created, 1);
        }
    }

    /// Returns the time until something is left of a quantity. `None` if something is.
    pub(super) fn wait(&self, quantity: Quantity) -> Option<Duration> {
        let left = self.0.as_ref()?.left(quantity)?;
        left.err().map(|Spent(wait)| wait)
    }

    /// Gives a live reader its place among those of its sender, beside the permit that it has.
    ///
    /// # Errors
    /// 429: the sender has as many readers as it may.
    pub(crate) fn seat(&self, permit: Permit) -> Result<Seat, Failure> {
        let open = match &self.0 {
            Some(usage) => {
                let open = usage.open();
                Some(open.map_err(|excess| fields::refusal(excess, usage))?)
            }
            None => None,
        };
        Ok(Seat {
            _permit: permit,
            _open: open,
        })
    }

    /// Adds the header fields of rates to a response.
    pub(crate) fn note(&self, headers: &mut HeaderMap) {
        if let Some(usage) = &self.0 {
            fields::note(headers, usage);
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates = self.0.as_ref().map(|usage| usage.rates());
        f.debug_tuple("Meter").field(&rates).finish()
    }
}

impl<S: Sync> FromRequestParts<S> for Meter {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

impl OperationInput for Meter {}

/// The place of a live reader, among all and among those of its sender. Freed on drop.
pub(crate) struct Seat {
    _permit: Permit,
    _open: Option<OpenReader>,
}
