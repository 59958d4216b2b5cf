use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use headwater_log::{Position, StreamName, Timestamp};

use super::agenda::Agenda;
use super::interest::Interest;
use super::name_pool::Names;
use super::{Config, Link, Subscription};
use crate::subscriptions::limits::LINK_BYTES;
use crate::subscriptions::refusal::{Limit, Refusal};

/// All subscriptions.
#[derive(Debug, Default)]
pub(in crate::subscriptions) struct Registry {
    pub(super) bounds: Bounds,
    pub(super) subscriptions: BTreeMap<Arc<str>, Subscription>,
    pub(super) interest: Interest,
    pub(super) agenda: Agenda,
    pub(super) dirty: Dirty,
    /// The names of all links.
    pub(super) names: Names,
    /// Total memory of all subscriptions, by [`Subscription::bytes`].
    pub(super) bytes: usize,
    /// Number of links that only a pattern added.
    pub(super) globs: usize,
    /// Links that became idle, each with the position from which it can be dropped, in order.
    pub(super) idle: VecDeque<(Position, Arc<str>, StreamName)>,
    /// Idle links for which that position isn't known yet.
    pub(super) unsettled: Vec<(Arc<str>, StreamName)>,
    /// The position up to which the log's order was read.
    pub(super) seen: Position,
}

/// Bounds on subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Maximum number of subscriptions.
    pub(in crate::subscriptions) subscriptions: usize,
    /// Maximum bytes of one subscription, by [`Subscription::bytes`].
    pub(in crate::subscriptions) each: usize,
    /// Maximum bytes of all subscriptions together.
    pub(in crate::subscriptions) all: usize,
    /// Maximum bytes of cursors that patterns added.
    pub(in crate::subscriptions) cursors: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::of(&crate::Limits::default())
    }
}

impl Bounds {
    pub(crate) fn of(limits: &crate::Limits) -> Self {
        Self {
            subscriptions: limits.subscriptions,
            each: limits.subscription_bytes,
            all: limits.subscriptions_bytes,
            cursors: limits.subscription_cursors_bytes,
        }
    }

    /// Refuses sizes above the bounds, of one subscription or of all of them.
    pub(super) fn check(&self, each: usize, all: usize) -> Result<(), Refusal> {
        if each > self.each {
            return Err(Refusal::Limit(Limit {
                what: "subscription_bytes, of one subscription with the streams that it names",
                limit: self.each,
                way: "remove streams, or watch them by a pattern",
            }));
        }
        if all > self.all {
            return Err(Refusal::Limit(Limit {
                what: "subscriptions_bytes, of all subscriptions with the streams that they name",
                limit: self.all,
                way: "delete subscriptions, or name fewer streams",
            }));
        }
        Ok(())
    }
}

/// The changes since the last write to the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::subscriptions) struct Dirty {
    pub(in crate::subscriptions) removed: BTreeSet<Arc<str>>,
    pub(in crate::subscriptions) created: BTreeSet<Arc<str>>,
    pub(in crate::subscriptions) states: BTreeSet<Arc<str>>,
    pub(in crate::subscriptions) links: BTreeSet<(Arc<str>, StreamName)>,
}

impl Dirty {
    pub(in crate::subscriptions) fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.created.is_empty()
            && self.states.is_empty()
            && self.links.is_empty()
    }

    /// Adds back changes that were not stored.
    pub(in crate::subscriptions) fn merge(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.created.extend(other.created);
        self.states.extend(other.states);
        self.links.extend(other.links);
    }
}

impl Registry {
    pub(in crate::subscriptions) fn get(&self, id: &str) -> Option<&Subscription> {
        self.subscriptions.get(id)
    }

    pub(in crate::subscriptions) fn iter(
        &self,
    ) -> impl Iterator<Item = (&Arc<str>, &Subscription)> {
        self.subscriptions.iter()
    }

    /// Returns the subscription after this id, in the order of ids.
    pub(in crate::subscriptions) fn after(
        &self,
        id: &Arc<str>,
    ) -> Option<(&Arc<str>, &Subscription)> {
        let after = (Bound::Excluded(Arc::clone(id)), Bound::Unbounded);
        self.subscriptions.range(after).next()
    }

    pub(in crate::subscriptions) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    pub(in crate::subscriptions) fn with(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Returns the approximate size in bytes of the whole state in the journal.
    pub(in crate::subscriptions) fn stored_bytes(&self) -> usize {
        self.bytes + self.names.glob_bytes() + self.globs * LINK_BYTES
    }

    /// Returns `true` if any subscription has a link to a stream of this name.
    pub(in crate::subscriptions) fn has_name(&self, name: &StreamName) -> bool {
        self.names.contains(name)
    }

    pub(in crate::subscriptions) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Returns the number of entries in the whole state.
    pub(in crate::subscriptions) fn size(&self) -> usize {
        self.subscriptions
            .values()
            .map(|subscription| 2 + subscription.links.len())
            .sum()
    }

    /// Returns the changes since the last call.
    pub(in crate::subscriptions) fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    pub(in crate::subscriptions) fn dirty(&mut self) -> &mut Dirty {
        &mut self.dirty
    }

    /// Creates a subscription without streams. Returns `false` if one with the same configuration
    /// exists.
    pub(in crate::subscriptions) fn put(
        &mut self,
        id: &Arc<str>,
        config: &Config,
        base: &str,
        now: Timestamp,
    ) -> Result<bool, Refusal> {
        if let Some(known) = self.subscriptions.get(id) {
            if known.digest == config.digest() {
                return Ok(false);
            }
            return Err(Refusal::AlreadyExists);
        }
        let most = self.bounds.subscriptions;
        if self.subscriptions.len() >= most {
            return Err(Refusal::Limit(Limit {
                what: "subscriptions",
                limit: most,
                way: "delete some",
            }));
        }
        let subscription = Subscription::new(id, config.clone(), base.to_owned(), now);
        let bytes = subscription.bytes();
        self.bounds.check(bytes, self.bytes + bytes)?;
        self.restore(id, subscription);
        self.dirty.created.insert(Arc::clone(id));
        self.dirty.states.insert(Arc::clone(id));
        Ok(true)
    }

    /// Adds a subscription that was stored, without its streams.
    pub(in crate::subscriptions) fn restore(&mut self, id: &Arc<str>, subscription: Subscription) {
        self.forget(id);
        self.interest.add(id, &subscription.config);
        self.bytes += subscription.bytes();
        self.subscriptions.insert(Arc::clone(id), subscription);
        self.change(id, |_| ());
    }

    /// Removes a subscription. Returns `false` if there is none.
    pub(in crate::subscriptions) fn remove(&mut self, id: &str) -> bool {
        let Some((id, _)) = self.subscriptions.get_key_value(id) else {
            return false;
        };
        let id = Arc::clone(id);
        self.forget(&id);
        self.dirty.created.remove(&id);
        self.dirty.states.remove(&id);
        self.dirty.links.retain(|(of, _)| *of != id);
        self.dirty.removed.insert(id);
        true
    }

    /// Removes a subscription without recording the change.
    pub(in crate::subscriptions) fn forget(&mut self, id: &Arc<str>) {
        let Some(known) = self.subscriptions.remove(id) else {
            return;
        };
        self.interest.remove(id);
        self.bytes -= known.bytes();
        if let Some((wait, at)) = known.waits() {
            self.agenda.remove(wait, at, id);
        }
        for (name, link) in known.links.iter() {
            self.names.remove(name, !link.explicit);
            if link.explicit {
                self.interest.unname(name, id);
            }
        }
        self.globs -= known.links.globs();
    }

    /// Changes a subscription, except its links. Updates when it is due, and whether it has to be
    /// stored.
    pub(in crate::subscriptions) fn change<T>(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut Subscription) -> T,
    ) -> Option<T> {
        let id = Arc::clone(self.subscriptions.get_key_value(id)?.0);
        let subscription = self.subscriptions.get_mut(&id)?;
        if let Some((wait, at)) = subscription.waits() {
            self.agenda.remove(wait, at, &id);
        }
        let before = subscription.state();
        let answer = change(subscription);
        if let Some((wait, at)) = subscription.waits() {
            self.agenda.add(wait, at, &id);
        }
        if subscription.state() != before {
            self.dirty.states.insert(id);
        }
        Some(answer)
    }

    /// Changes a link, or creates it.
    pub(in crate::subscriptions) fn change_link(
        &mut self,
        id: &Arc<str>,
        name: &StreamName,
        change: impl FnOnce(&mut Link),
    ) {
        let name = &self.names.shared(name);
        let changed = self.change(id, |subscription| {
            let bytes = subscription.bytes();
            let (before, after) = subscription.links.change(name, change);
            (before, after, bytes, subscription.bytes())
        });
        let Some((before, after, was, is)) = changed else {
            return;
        };
        if before == after {
            return;
        }
        self.bytes = self.bytes - was + is;
        if let Some(link) = &after {
            self.names.add(name, !link.explicit);
        }
        if let Some(link) = &before {
            self.names.remove(name, !link.explicit);
        }
        let glob = |link: &Option<Link>| link.as_ref().is_some_and(|link| !link.explicit);
        self.globs = self.globs + usize::from(glob(&after)) - usize::from(glob(&before));
        let stored = |link: &Option<Link>| link.as_ref().map(Link::stored);
        if stored(&before) != stored(&after) {
            self.dirty.links.insert((Arc::clone(id), name.clone()));
        }
        let waits = |link: &Option<Link>| {
            let link = link.as_ref();
            link.is_some_and(|link| link.is_idle() && link.settled.is_none())
        };
        if waits(&after) && !waits(&before) {
            self.unsettled.push((Arc::clone(id), name.clone()));
        }
        let explicit = |link: &Option<Link>| link.as_ref().is_some_and(|link| link.explicit);
        match (explicit(&before), explicit(&after)) {
            (false, true) => self.interest.name(name, id),
            (true, false) => self.interest.unname(name, id),
            _ => {}
        }
    }
}
