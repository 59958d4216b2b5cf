use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use headwater_log::Timestamp;

use crate::subscriptions::limits::RETRIES;

/// An event that a subscription waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A lease ends.
    Lease,
    /// A webhook can be called.
    Webhook,
    /// A wake event can be written.
    WakeEvent,
}

/// The times at which subscriptions are due. Each subscription has at most one entry.
#[derive(Debug, Default)]
pub(super) struct Agenda([BTreeSet<(Timestamp, Arc<str>)>; 3]);

impl Agenda {
    pub(super) fn add(&mut self, wait: Wait, at: Timestamp, id: &Arc<str>) {
        self.0[wait as usize].insert((at, Arc::clone(id)));
    }

    pub(super) fn remove(&mut self, wait: Wait, at: Timestamp, id: &Arc<str>) {
        self.0[wait as usize].remove(&(at, Arc::clone(id)));
    }

    /// Returns the first subscription that is due.
    pub(super) fn due(&self, wait: Wait, now: Timestamp) -> Option<Arc<str>> {
        let (at, id) = self.0[wait as usize].first()?;
        (*at <= now).then(|| Arc::clone(id))
    }

    /// Returns the next due time.
    pub(super) fn next(&self, waits: &[Wait]) -> Option<Timestamp> {
        waits
            .iter()
            .filter_map(|wait| Some(self.0[*wait as usize].first()?.0))
            .min()
    }
}

/// Returns the wait after a number of consecutive failures. `chance`, from 0 to 1, changes it by up
/// to a fifth in either direction.
pub(in crate::subscriptions) fn backoff(failures: u32, chance: f64) -> Duration {
    let wait = RETRIES.bound(failures.saturating_sub(1));
    wait.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
}
