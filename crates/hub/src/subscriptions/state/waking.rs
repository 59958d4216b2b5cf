//! Starts and ends of wakes.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_log::{StreamName, Timestamp};

use super::agenda::{Wait, backoff};
use super::subscription::Told;
use super::{Ack, Link, Registry, Wake};
use crate::subscriptions::limits::{SNAPSHOT_BYTES, SNAPSHOT_STREAMS};
use crate::subscriptions::refusal::Refusal;

impl Registry {
    /// Returns the streams of a wake that is issued now.
    pub(in crate::subscriptions) fn choose(&self, id: &str) -> Vec<StreamName> {
        self.subscriptions
            .get(id)
            .map(|known| known.links.choose(SNAPSHOT_STREAMS, SNAPSHOT_BYTES))
            .unwrap_or_default()
    }

    /// Returns the next subscription to wake, by a wake event or, if `webhooks` is set, by a
    /// webhook.
    pub(in crate::subscriptions) fn due(&self, webhooks: bool, now: Timestamp) -> Option<Arc<str>> {
        let webhook = webhooks
            .then(|| self.agenda.due(Wait::Webhook, now))
            .flatten();
        webhook.or_else(|| self.agenda.due(Wait::WakeEvent, now))
    }

    /// Returns the next time at which something is due.
    pub(in crate::subscriptions) fn next_due(&self, webhooks: bool) -> Option<Timestamp> {
        let waits = [Wait::Lease, Wait::WakeEvent, Wait::Webhook];
        self.agenda
            .next(if webhooks { &waits } else { &waits[..2] })
    }

    /// Starts a wake if messages are still pending.
    pub(in crate::subscriptions) fn issue(
        &mut self,
        id: &Arc<str>,
        wake_id: String,
        told: &[StreamName],
        now: Timestamp,
    ) -> bool {
        let issued = self.change(id, |known| {
            let due = known.wake.is_none() && known.links.pending() > 0;
            if due {
                known.issue(wake_id, told, now);
            }
            due
        });
        issued == Some(true)
    }

    /// Ends the leases that have expired.
    pub(in crate::subscriptions) fn expire(&mut self, now: Timestamp) {
        while let Some(id) = self.agenda.due(Wait::Lease, now) {
            self.change(&id, |known| known.wake = None);
        }
    }

    /// Gives a worker a wake.
    pub(in crate::subscriptions) fn claim(
        &mut self,
        id: &Arc<str>,
        worker: String,
        wake_id: String,
        told: &[StreamName],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let claimed = self.change(id, |known| known.claim(worker, wake_id, told, now));
        claimed.unwrap_or(Err(Refusal::NotFound))
    }

    /// Applies an acknowledgement. Returns `true` if messages are still pending.
    pub(in crate::subscriptions) fn ack(
        &mut self,
        id: &Arc<str>,
        ack: &Ack,
        done: &BTreeMap<StreamName, Link>,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        let acks = self
            .change(id, |known| known.ack(ack, done, now))
            .ok_or(Refusal::NotFound)??;
        self.advance_cursors(id, &acks);
        Ok(self
            .subscriptions
            .get(id)
            .is_some_and(|known| known.links.pending() > 0))
    }

    /// Ends a claimed wake.
    pub(in crate::subscriptions) fn release(
        &mut self,
        id: &Arc<str>,
        wake_id: &str,
        generation: u64,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let released = self.change(id, |known| {
            known.check(wake_id, generation, now)?;
            known.wake = None;
            Ok(())
        });
        released.unwrap_or(Err(Refusal::NotFound))
    }

    /// Records that a wake was delivered. `done` means that the response reported everything as
    /// processed.
    pub(in crate::subscriptions) fn delivered(&mut self, id: &Arc<str>, wake_id: &str, done: bool) {
        let told = self.change(id, |known| {
            if !is_current(known.wake.as_ref(), wake_id) {
                return Vec::new();
            }
            known.failures = 0;
            if done { known.finish() } else { Vec::new() }
        });
        self.advance_cursors(id, &told.unwrap_or_default());
    }

    /// Records that a wake could not be delivered.
    pub(in crate::subscriptions) fn failed(
        &mut self,
        id: &Arc<str>,
        wake_id: &str,
        now: Timestamp,
        chance: f64,
    ) {
        self.change(id, |known| {
            if is_current(known.wake.as_ref(), wake_id) {
                known.fail(now.after(backoff(known.failures.saturating_add(1), chance)));
            }
        });
    }

    /// Postpones a wake that could not be started.
    pub(in crate::subscriptions) fn postpone(&mut self, id: &str, now: Timestamp, chance: f64) {
        self.change(id, |known| {
            known.retry_at = Some(now.after(backoff(1, chance)));
        });
    }

    /// Limits waits that were stored to the longest ones from now on. The clock can have been ahead when they began.
    pub(in crate::subscriptions) fn limit_waits(&mut self, now: Timestamp) {
        let ids: Vec<_> = self.subscriptions.keys().cloned().collect();
        for id in ids {
            self.change(&id, |known| known.limit_waits(now));
        }
    }

    /// Advances cursors. They never move back, and never past the tail.
    fn advance_cursors(&mut self, id: &Arc<str>, to: &[Told]) {
        for (name, stream, offset) in to {
            // A link that was removed in the meantime is dropped again, as it has no flags. A
            // stream that was created again is not processed at all.
            self.change_link(id, name, |link| {
                if link.stream == *stream {
                    link.acked = link.acked.max((*offset).min(link.tail));
                }
            });
        }
    }
}

fn is_current(wake: Option<&Wake>, wake_id: &str) -> bool {
    wake.is_some_and(|wake| wake.id == wake_id)
}
