use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_log::{Offset, Position, StreamName, Timestamp};
use serde::{Deserialize, Serialize};

use super::agenda::{Wait, backoff};
use super::{Acked, Config, Link, Links, Target};
use crate::subscriptions::limits::EXPLICIT_BYTES;
use crate::subscriptions::refusal::Refusal;

/// Approximate memory of a subscription in bytes, besides its configuration and links.
const FIXED_BYTES: usize = 1024;

/// One subscription.
#[derive(Debug)]
pub(in crate::subscriptions) struct Subscription {
    pub(in crate::subscriptions) config: Arc<Config>,
    /// Approximate memory in bytes, without links.
    fixed: usize,
    pub(in crate::subscriptions) digest: Vec<u8>,
    pub(in crate::subscriptions) created: Timestamp,
    /// The URL of the streams' root, for callbacks.
    pub(in crate::subscriptions) base: String,
    /// Number of wakes. Each fences the previous ones.
    pub(in crate::subscriptions) generation: u64,
    pub(in crate::subscriptions) links: Links,
    /// The current wake.
    pub(in crate::subscriptions) wake: Option<Wake>,
    /// Number of failed deliveries since the last success.
    pub(in crate::subscriptions) failures: u32,
    /// The time of the next attempt.
    pub(in crate::subscriptions) retry_at: Option<Timestamp>,
    /// The position from which the log's order contains streams that there was no room for.
    pub(in crate::subscriptions) blocked: Option<Position>,
}

/// A wake that was issued and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::subscriptions) struct Wake {
    pub(in crate::subscriptions) id: String,
    /// The worker that claimed it.
    pub(in crate::subscriptions) holder: Option<String>,
    /// The end of the lease. `None` for a wake event that isn't claimed yet.
    pub(in crate::subscriptions) lease: Option<Timestamp>,
    /// The streams of the wake, by name and number, each with its tail. Not stored: it is only
    /// needed for the response to a request, which ends with the process.
    pub(in crate::subscriptions) snapshot: Vec<Told>,
}

/// A stream, by name and number, and an offset in it.
pub(in crate::subscriptions) type Told = (StreamName, Option<u64>, Offset);

/// The part of a subscription that is stored and changes, except its links. Times are in
/// milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::subscriptions) struct State {
    generation: u64,
    wake: Option<WakeRecord>,
    failures: u32,
    retry_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocked: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WakeRecord {
    id: String,
    holder: Option<String>,
    lease: Option<u64>,
}

/// An acknowledgement of a wake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::subscriptions) struct Ack {
    pub(in crate::subscriptions) wake_id: String,
    pub(in crate::subscriptions) generation: u64,
    pub(in crate::subscriptions) acks: Vec<(StreamName, Acked)>,
    pub(in crate::subscriptions) done: bool,
}

impl Subscription {
    pub(in crate::subscriptions) fn new(
        id: &str,
        config: Config,
        base: String,
        created: Timestamp,
    ) -> Self {
        Self {
            digest: config.digest(),
            fixed: FIXED_BYTES + 2 * id.len() + base.len() + config.bytes(),
            config: Arc::new(config),
            created,
            base,
            generation: 0,
            links: Links::default(),
            wake: None,
            failures: 0,
            retry_at: None,
            blocked: None,
        }
    }

    /// Returns the approximate memory in bytes, with streams by name and without streams of the
    /// pattern.
    pub(in crate::subscriptions) fn bytes(&self) -> usize {
        self.fixed + self.links.explicit_bytes() + self.links.explicit() * EXPLICIT_BYTES
    }

    /// Returns the part that is stored and changes, except the links.
    pub(in crate::subscriptions) fn state(&self) -> State {
        State {
            generation: self.generation,
            wake: self.wake.as_ref().map(|wake| WakeRecord {
                id: wake.id.clone(),
                holder: wake.holder.clone(),
                lease: wake.lease.map(|lease| lease.0),
            }),
            failures: self.failures,
            retry_at: self.retry_at.map(|at| at.0),
            blocked: self.blocked.map(Position::number),
        }
    }

    /// Restores the stored part.
    pub(in crate::subscriptions) fn set_state(&mut self, state: State) {
        self.generation = state.generation;
        self.wake = state.wake.map(|wake| Wake {
            id: wake.id,
            holder: wake.holder,
            lease: wake.lease.map(Timestamp),
            snapshot: Vec::new(),
        });
        self.failures = state.failures;
        self.retry_at = state.retry_at.map(Timestamp);
        self.blocked = state.blocked.map(Position::new);
    }

    /// Returns the event that the subscription waits for, and since or until when.
    pub(super) fn waits(&self) -> Option<(Wait, Timestamp)> {
        if let Some(wake) = &self.wake {
            return wake.lease.map(|at| (Wait::Lease, at));
        }
        let wait = match self.config.target {
            Target::Webhook(_) => Wait::Webhook,
            Target::WakeStream(_) => Wait::WakeEvent,
        };
        (self.links.pending() > 0).then(|| (wait, self.retry_at.unwrap_or_default()))
    }

    /// Limits the lease and the wait for a retry to the longest ones from now on.
    pub(super) fn limit_waits(&mut self, now: Timestamp) {
        let longest = self.lease_from(now);
        if let Some(lease) = self.wake.as_mut().and_then(|wake| wake.lease.as_mut()) {
            *lease = longest.min(*lease);
        }
        let longest = now.after(backoff(u32::MAX, 1.0));
        self.retry_at = self.retry_at.map(|at| longest.min(at));
    }

    fn lease_from(&self, now: Timestamp) -> Timestamp {
        now.after(Duration::from_millis(self.config.lease_ms))
    }

    /// Starts a wake. A webhook's lease starts with it.
    pub(super) fn issue(&mut self, wake_id: String, told: &[StreamName], now: Timestamp) {
        self.generation += 1;
        self.retry_at = None;
        let is_webhook = matches!(self.config.target, Target::Webhook(_));
        self.wake = Some(Wake {
            id: wake_id,
            holder: None,
            lease: is_webhook.then(|| self.lease_from(now)),
            snapshot: Vec::new(),
        });
        self.tell(told);
    }

    /// Gives a worker the current wake, or a new one.
    pub(super) fn claim(
        &mut self,
        worker: String,
        wake_id: String,
        told: &[StreamName],
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if let Target::Webhook(_) = self.config.target {
            let why = "a webhook's subscription can't be claimed";
            return Err(Refusal::Invalid(why.to_owned()));
        }
        if let Some(Wake {
            holder: Some(holder),
            ..
        }) = &self.wake
        {
            let holder = holder.clone();
            return Err(Refusal::AlreadyClaimed {
                holder,
                generation: self.generation,
            });
        }
        if self.links.pending() == 0 {
            self.wake = None;
            return Err(Refusal::NoPendingWork);
        }
        if self.wake.is_none() {
            self.issue(wake_id, told, now);
        } else {
            self.tell(told);
        }
        let lease = self.lease_from(now);
        if let Some(wake) = &mut self.wake {
            wake.holder = Some(worker);
            wake.lease = Some(lease);
        }
        Ok(())
    }

    fn tell(&mut self, told: &[StreamName]) {
        let link = |name: &StreamName| {
            self.links
                .get(name)
                .map(|link| (name.clone(), link.clone()))
        };
        let links: Vec<(StreamName, Link)> = told.iter().filter_map(link).collect();
        let last = links.iter().rev().find(|(_, link)| link.is_pending());
        self.links.told(last.map(|(name, _)| name.clone()));
        if let Some(wake) = &mut self.wake {
            wake.snapshot = links
                .into_iter()
                .map(|(name, link)| (name, link.stream, link.tail))
                .collect();
        }
    }

    /// Refuses a request that isn't for the current wake.
    pub(super) fn check(
        &self,
        wake_id: &str,
        generation: u64,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let current = self.wake.as_ref().filter(|wake| {
            generation == self.generation
                && wake.id == wake_id
                && wake.lease.is_some_and(|lease| lease > now)
        });
        current.map(drop).ok_or(Refusal::Fenced)
    }

    /// Applies an acknowledgement, all of it or nothing. Returns the cursors that advance. `done`
    /// contains the streams of the pattern that have no link, which are completely processed.
    pub(super) fn ack(
        &mut self,
        ack: &Ack,
        done: &BTreeMap<StreamName, Link>,
        now: Timestamp,
    ) -> Result<Vec<Told>, Refusal> {
        self.check(&ack.wake_id, ack.generation, now)?;
        let mut acks = Vec::new();
        for (name, at) in &ack.acks {
            let own = self.links.get(name);
            let Some(link) = own.or_else(|| done.get(name)) else {
                let why = format!("{name} is not a stream of this subscription");
                return Err(Refusal::Invalid(why));
            };
            let Some(offset) = link.find(*at) else {
                let why = format!(
                    "the offset is not one of the current {name}: it was deleted, or created again"
                );
                return Err(Refusal::InvalidOffset(why));
            };
            if offset > link.tail {
                let (tail, offset) = (link.text(link.tail), link.text(offset));
                let why = format!("{name} ends at {tail}, before {offset}");
                return Err(Refusal::InvalidOffset(why));
            }
            if own.is_some() {
                acks.push((name.clone(), link.stream, offset));
            }
        }
        self.failures = 0;
        if ack.done {
            self.wake = None;
        } else {
            let lease = self.lease_from(now);
            if let Some(wake) = &mut self.wake {
                wake.lease = Some(lease);
            }
        }
        Ok(acks)
    }

    /// Ends the wake and marks its streams as processed. Returns the cursors that advance.
    pub(super) fn finish(&mut self) -> Vec<Told> {
        self.failures = 0;
        self.wake
            .take()
            .map(|wake| wake.snapshot)
            .unwrap_or_default()
    }

    /// Ends a wake whose delivery failed, until `retry_at`.
    pub(super) fn fail(&mut self, retry_at: Timestamp) {
        self.wake = None;
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(retry_at);
    }
}
