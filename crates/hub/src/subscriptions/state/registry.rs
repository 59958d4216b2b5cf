use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use headwater_log::{Offset, StreamName, Timestamp};

use super::agenda::Agenda;
use super::{Config, Link, Subscription};
use crate::subscriptions::limits::SUBSCRIPTIONS;
use crate::subscriptions::refusal::Refusal;

/// All subscriptions.
#[derive(Debug, Default)]
pub(in crate::subscriptions) struct Registry {
    pub(super) subscriptions: BTreeMap<Arc<str>, Subscription>,
    /// Who named a stream.
    pub(super) named: BTreeMap<StreamName, BTreeSet<Arc<str>>>,
    pub(super) agenda: Agenda,
    pub(super) dirty: Dirty,
    /// Goes on when it changes who is interested in what.
    pub(super) interests: u64,
}

/// What differs from what is stored.
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

    /// Takes what was not stored after all back in.
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

    /// The one after this id, in the order of ids.
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

    /// How many things there are to be stored.
    pub(in crate::subscriptions) fn size(&self) -> usize {
        self.subscriptions
            .values()
            .map(|subscription| 2 + subscription.links.len())
            .sum()
    }

    /// What changed since it was last taken.
    pub(in crate::subscriptions) fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    pub(in crate::subscriptions) fn dirty(&mut self) -> &mut Dirty {
        &mut self.dirty
    }

    /// Makes a subscription, which has no streams yet. `false` where one of the same configuration
    /// is there.
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
        if self.subscriptions.len() >= SUBSCRIPTIONS {
            return Err(Refusal::Limit {
                what: "too many subscriptions",
                limit: SUBSCRIPTIONS,
            });
        }
        self.restore(id, Subscription::new(config.clone(), base.to_owned(), now));
        self.dirty.created.insert(Arc::clone(id));
        self.dirty.states.insert(Arc::clone(id));
        Ok(true)
    }

    /// Takes in a subscription that was stored, without its streams.
    pub(in crate::subscriptions) fn restore(&mut self, id: &Arc<str>, subscription: Subscription) {
        self.forget(id);
        self.interests += 1;
        self.subscriptions.insert(Arc::clone(id), subscription);
        self.change(id, |_| ());
    }

    /// Removes a subscription. `false` where there is none.
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

    /// Removes a subscription without a trace.
    pub(in crate::subscriptions) fn forget(&mut self, id: &Arc<str>) {
        let Some(known) = self.subscriptions.remove(id) else {
            return;
        };
        self.interests += 1;
        if let Some((wait, at)) = known.waits() {
            self.agenda.remove(wait, at, id);
        }
        for (name, _) in known.links.iter().filter(|(_, link)| link.explicit) {
            unname(&mut self.named, name, id);
        }
    }

    /// Changes a subscription, but for its links. Keeps up when to look at it, and whether it is to
    /// be stored.
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

    /// Changes a link, or makes one.
    pub(in crate::subscriptions) fn change_link(
        &mut self,
        id: &Arc<str>,
        name: &StreamName,
        change: impl FnOnce(&mut Link),
    ) {
        let changed = self.change(id, |subscription| {
            let before = subscription.links.get(name).cloned();
            let changed = subscription.links.change(name, change);
            (changed, before, subscription.links.get(name).cloned())
        });
        let Some((true, before, after)) = changed else {
            return;
        };
        // Tails and lineages are not stored: the log has them.
        let stored = |link: &Option<Link>| {
            link.clone().map(|link| Link {
                tail: Offset::START,
                lineage: None,
                ..link
            })
        };
        if stored(&before) != stored(&after) {
            self.dirty.links.insert((Arc::clone(id), name.clone()));
        }
        let explicit = |link: &Option<Link>| link.as_ref().is_some_and(|link| link.explicit);
        if explicit(&before) != explicit(&after) {
            self.interests += 1;
        }
        if explicit(&after) {
            self.named
                .entry(name.clone())
                .or_default()
                .insert(Arc::clone(id));
        } else {
            unname(&mut self.named, name, id);
        }
    }
}

fn unname(named: &mut BTreeMap<StreamName, BTreeSet<Arc<str>>>, name: &StreamName, id: &Arc<str>) {
    if let Some(ids) = named.get_mut(name) {
        ids.remove(id);
        if ids.is_empty() {
            named.remove(name);
        }
    }
}
