//! A call of a webhook and its result.

use std::time::Duration;

use bytes::Bytes;

use super::webhooks::Url;

/// The result of a call.
#[cfg_attr(
    not(feature = "webhooks"),
    expect(dead_code, reason = "only a webhook makes one")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// The receiver has processed everything that the wake listed.
    Done,
    /// The receiver accepted the wake.
    Accepted,
    /// The call failed.
    Failed,
}

/// One call of a webhook.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "webhooks"),
    expect(dead_code, reason = "only a webhook makes one")
)]
pub(super) struct Call {
    pub(super) url: Url,
    pub(super) signature: String,
    pub(super) body: Bytes,
    pub(super) timeout: Duration,
}
