//! The permits of a bounded resource.

use std::sync::Arc;

use headwater::{Problem, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::temporary;

/// A slot of a bounded resource, released on drop.
pub(crate) type Permit = OwnedSemaphorePermit;

/// The slots of a bounded resource.
#[derive(Debug)]
pub(crate) struct Permits {
    free: Arc<Semaphore>,
    limit: usize,
    /// The `code` of the problem when all slots are taken.
    code: &'static str,
    /// Describes that all slots are taken, given their number.
    detail: fn(usize) -> String,
}

impl Permits {
    pub(crate) fn new(limit: usize, code: &'static str, detail: fn(usize) -> String) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(limit)),
            limit,
            code,
            detail,
        }
    }

    /// Takes a slot.
    ///
    /// # Errors
    /// 429: all slots are taken.
    pub(crate) fn take(&self) -> Result<Permit, Problem> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| {
            temporary(StatusCode::TOO_MANY_REQUESTS, (self.detail)(self.limit))
                .with("code", self.code)
                .with("limit", self.limit)
        })
    }

    /// Returns the number of taken slots.
    pub(crate) fn taken(&self) -> usize {
        self.limit - self.free.available_permits()
    }
}
