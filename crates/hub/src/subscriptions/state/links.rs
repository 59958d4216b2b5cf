use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use headwater_log::{Lineage, Mark, Offset, StreamName};

/// The start of any stream, as clients are given it and may send it.
pub(in crate::subscriptions) const START: &str = "-1";

/// Up to where a worker processed a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::subscriptions) enum Acked {
    /// Nothing of it.
    Start,
    At(Mark),
}

/// A stream of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::subscriptions) struct Link {
    /// It was named.
    pub(in crate::subscriptions) explicit: bool,
    /// The pattern brought it.
    pub(in crate::subscriptions) glob: bool,
    /// Which stream of that name it was, of those that may have followed one another. None where
    /// there was none yet.
    pub(in crate::subscriptions) stream: Option<u64>,
    /// That stream's incarnations, by which its offsets are told from those of others. Isn't stored: the log has it.
    pub(in crate::subscriptions) lineage: Option<Lineage>,
    /// What is before this was processed.
    pub(in crate::subscriptions) acked: Offset,
    /// What is before this is in the stream, as far as is known.
    pub(in crate::subscriptions) tail: Offset,
}

impl Link {
    pub(in crate::subscriptions) fn is_pending(&self) -> bool {
        self.tail > self.acked
    }

    /// An offset as clients are given it. Where there is no stream yet it is its start.
    pub(in crate::subscriptions) fn text(&self, offset: Offset) -> String {
        match &self.lineage {
            Some(lineage) => lineage.at(offset).to_string(),
            None => START.to_owned(),
        }
    }

    /// The offset that a client means; `None` where it is one of another stream.
    pub(in crate::subscriptions) fn find(&self, at: Acked) -> Option<Offset> {
        match at {
            Acked::Start => Some(Offset::START),
            Acked::At(mark) => self.lineage.as_ref()?.find(mark),
        }
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
        let before = self.all.get(name).cloned();
        let mut link = before.clone().unwrap_or_default();
        change(&mut link);
        let after = (link.explicit || link.glob).then_some(link);
        if before == after {
            return false;
        }
        self.explicit += usize::from(after.as_ref().is_some_and(|link| link.explicit));
        self.explicit -= usize::from(before.is_some_and(|link| link.explicit));
        let is_pending = after.as_ref().is_some_and(Link::is_pending);
        match after {
            Some(link) => {
                self.all.insert(name.clone(), link);
            }
            None => {
                self.all.remove(name);
            }
        }
        if is_pending {
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
