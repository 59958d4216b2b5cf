use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use headwater_log::Timestamp;

use crate::subscriptions::limits::{RETRY_FIRST, RETRY_LAST};

/// What a subscription waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A lease ends.
    Lease,
    /// A webhook can be called.
    Webhook,
    /// A wake event can be written.
    WakeEvent,
}

/// When to look at which subscription. Each stands in it once at the most.
#[derive(Debug, Default)]
pub(super) struct Agenda([BTreeSet<(Timestamp, Arc<str>)>; 3]);

impl Agenda {
    pub(super) fn add(&mut self, wait: Wait, at: Timestamp, id: &Arc<str>) {
        self.0[wait as usize].insert((at, Arc::clone(id)));
    }

    pub(super) fn remove(&mut self, wait: Wait, at: Timestamp, id: &Arc<str>) {
        self.0[wait as usize].remove(&(at, Arc::clone(id)));
    }

    /// The first whose time has come.
    pub(super) fn due(&self, wait: Wait, now: Timestamp) -> Option<Arc<str>> {
        let (at, id) = self.0[wait as usize].first()?;
        (*at <= now).then(|| Arc::clone(id))
    }

    /// When to look next.
    pub(super) fn next(&self, waits: &[Wait]) -> Option<Timestamp> {
        waits
            .iter()
            .filter_map(|wait| Some(self.0[*wait as usize].first()?.0))
            .min()
    }
}

/// How long to wait after so many failures in a row. `chance` is from 0 to 1, and makes it up to a
/// fifth shorter or longer.
pub(in crate::subscriptions) fn backoff(failures: u32, chance: f64) -> Duration {
    let doubled = RETRY_FIRST.saturating_mul(
        1_u32
            .checked_shl(failures.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    doubled
        .min(RETRY_LAST)
        .mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
}
