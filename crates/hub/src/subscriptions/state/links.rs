use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use headwater_log::{Offset, StreamName};

/// A stream of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::subscriptions) struct Link {
    /// It was named.
    pub(in crate::subscriptions) explicit: bool,
    /// The pattern brought it.
    pub(in crate::subscriptions) glob: bool,
    /// Which stream of that name it was, of those that may have followed one another. None where
    /// there was none yet.
    pub(in crate::subscriptions) stream: Option<u64>,
    /// What is before this was processed.
    pub(in crate::subscriptions) acked: Offset,
    /// What is before this is in the stream, as far as is known.
    pub(in crate::subscriptions) tail: Offset,
}

impl Link {
    pub(in crate::subscriptions) fn is_pending(&self) -> bool {
        self.tail > self.acked
    }
}

/// The streams of a subscription, by name, and which of them have something pending.
#[derive(Debug, Default)]
pub(in crate::subscriptions) struct Links {
    all: BTreeMap<StreamName, Link>,
    pending: BTreeSet<StreamName>,
    explicit: usize,
    /// The last stream that a wake told of, so that the next one starts behind it.
    told: Option<StreamName>,
}

impl Links {
    pub(in crate::subscriptions) fn get(&self, name: &StreamName) -> Option<&Link> {
        self.all.get(name)
    }

    pub(in crate::subscriptions) fn iter(&self) -> impl Iterator<Item = (&StreamName, &Link)> {
        self.all.iter()
    }

    /// At most `count` of them, after `after`.
    pub(in crate::subscriptions) fn page(
        &self,
        after: Option<&StreamName>,
        count: usize,
    ) -> impl Iterator<Item = (&StreamName, &Link)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.all
            .range::<StreamName, _>((from, Bound::Unbounded))
            .take(count)
    }

    pub(in crate::subscriptions) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many were named.
    pub(in crate::subscriptions) fn explicit(&self) -> usize {
        self.explicit
    }

    pub(in crate::subscriptions) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(in crate::subscriptions) fn first_pending(&self) -> Option<&StreamName> {
        self.pending.first()
    }

    /// Changes a link, or makes one; one that is neither named nor brought is removed. Says
    /// whether the link differs from what it was.
    pub(in crate::subscriptions) fn change(
        &mut self,
        name: &StreamName,
        change: impl FnOnce(&mut Link),
    ) -> bool {
        let before = self.all.get(name).copied();
        let mut link = before.unwrap_or_default();
        change(&mut link);
        let after = (link.explicit || link.glob).then_some(link);
        if before == after {
            return false;
        }
        self.explicit += usize::from(after.is_some_and(|link| link.explicit));
        self.explicit -= usize::from(before.is_some_and(|link| link.explicit));
        match after {
            Some(link) => {
                self.all.insert(name.clone(), link);
            }
            None => {
                self.all.remove(name);
            }
        }
        if after.is_some_and(|link| link.is_pending()) {
            self.pending.insert(name.clone());
        } else {
            self.pending.remove(name);
        }
        true
    }

    /// Which streams the next wake tells of: those with something pending, from where the last
    /// one ended, then others while there is room.
    pub(in crate::subscriptions) fn choose(&self, limit: usize) -> Vec<StreamName> {
        let (behind, before) = match &self.told {
            Some(told) => (
                (Bound::Excluded(told), Bound::Unbounded),
                (Bound::Unbounded, Bound::Included(told)),
            ),
            None => (
                (Bound::Unbounded, Bound::Unbounded),
                (Bound::Unbounded, Bound::Unbounded),
            ),
        };
        let behind = self.pending.range::<StreamName, _>(behind);
        let before = self
            .told
            .iter()
            .flat_map(|_| self.pending.range::<StreamName, _>(before));
        let mut chosen: Vec<_> = behind.chain(before).take(limit).cloned().collect();
        if self.pending.len() < limit {
            let others = self.all.iter().filter(|(_, link)| !link.is_pending());
            chosen.extend(
                others
                    .take(limit - chosen.len())
                    .map(|(name, _)| name.clone()),
            );
        }
        chosen
    }

    /// Remembers the last stream with something pending that a wake tells of.
    pub(in crate::subscriptions) fn told(&mut self, last: Option<StreamName>) {
        self.told = last;
    }

    /// A stream that a pattern brought and that has nothing pending: its cursor need not be kept.
    pub(in crate::subscriptions) fn spare(&self) -> Option<StreamName> {
        let spare = self
            .all
            .iter()
            .find(|(_, link)| !link.explicit && !link.is_pending());
        spare.map(|(name, _)| name.clone())
    }
}
