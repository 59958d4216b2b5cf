//! The result of one call, as it is sent.

use headwater_client::gather::GatherResult;
use serde::{Serialize, Serializer};

/// One result: the same object that `headwater gather` prints.
pub(super) struct Sent {
    pub(super) result: GatherResult,
    /// `true` if it includes the response's headers.
    pub(super) headers: bool,
}

impl Serialize for Sent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.headers {
            true => self.result.with_headers().serialize(serializer),
            false => self.result.serialize(serializer),
        }
    }
}
