use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use headwater_log::{Info, Lineage, Mark, Offset, Position, StreamName};

/// About how many bytes a wake says of a stream besides its name.
const TOLD_BYTES: usize = 160;

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
    /// When nothing was pending: where the log's order ended once that was stored. What is before [`acked`](Self::acked)
    /// is before this position. Isn't stored.
    pub(in crate::subscriptions) settled: Option<Position>,
}

impl Link {
    /// That of a stream of a pattern, of which all is processed.
    pub(in crate::subscriptions) fn at_tail(info: &Info) -> Self {
        Self {
            explicit: false,
            glob: true,
            stream: Some(info.id),
            lineage: Some(info.lineage.clone()),
            acked: info.tail,
            tail: info.tail,
            settled: None,
        }
    }

    pub(in crate::subscriptions) fn is_pending(&self) -> bool {
        self.tail > self.acked
    }

    /// Whether it says no more than the pattern and the log do: all of the stream is processed.
    pub(in crate::subscriptions) fn is_idle(&self) -> bool {
        self.glob && !self.explicit && !self.is_pending()
    }

    /// What of it is stored.
    pub(in crate::subscriptions) fn stored(&self) -> (bool, bool, Option<u64>, Offset) {
        (self.explicit, self.glob, self.stream, self.acked)
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

/// The streams of a subscription that have a cursor of their own, by name: those that were named, and those of the
/// pattern that have something pending, or had it a moment ago. Of all others that the pattern matches, everything is
/// processed.
#[derive(Debug, Default)]
pub(in crate::subscriptions) struct Links {
    all: BTreeMap<StreamName, Link>,
    pending: BTreeSet<StreamName>,
    /// Those that are [idle](Link::is_idle).
    idle: BTreeSet<StreamName>,
    explicit: usize,
    explicit_bytes: usize,
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

    /// How many bytes the names have that were named.
    pub(in crate::subscriptions) fn explicit_bytes(&self) -> usize {
        self.explicit_bytes
    }

    /// How many the pattern alone brought.
    pub(in crate::subscriptions) fn globs(&self) -> usize {
        self.all.len() - self.explicit
    }

    pub(in crate::subscriptions) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(in crate::subscriptions) fn first_pending(&self) -> Option<&StreamName> {
        self.pending.first()
    }

    /// Changes a link, or makes one; one that is neither named nor brought is removed. Returns what it was and what it
    /// is.
    pub(in crate::subscriptions) fn change(
        &mut self,
        name: &StreamName,
        change: impl FnOnce(&mut Link),
    ) -> (Option<Link>, Option<Link>) {
        let before = self.all.get(name).cloned();
        let mut link = before.clone().unwrap_or_default();
        change(&mut link);
        if link.is_pending() {
            link.settled = None;
        }
        let after = (link.explicit || link.glob).then_some(link);
        if before == after {
            return (before, after);
        }
        let (is, was) = (is_explicit(after.as_ref()), is_explicit(before.as_ref()));
        if is != was {
            let bytes = name.as_str().len();
            self.explicit = self.explicit + usize::from(is) - usize::from(was);
            self.explicit_bytes =
                self.explicit_bytes + bytes * usize::from(is) - bytes * usize::from(was);
        }
        keep(
            &mut self.pending,
            name,
            after.as_ref().is_some_and(Link::is_pending),
        );
        keep(
            &mut self.idle,
            name,
            after.as_ref().is_some_and(Link::is_idle),
        );
        match &after {
            Some(link) => {
                self.all.insert(name.clone(), link.clone());
            }
            None => {
                self.all.remove(name);
            }
        }
        (before, after)
    }

    /// Moves the tail of a link that has something pending in this stream already. Changes nothing that is stored or waited
    /// for. `false` where there is no such link.
    pub(in crate::subscriptions) fn lengthen(
        &mut self,
        name: &StreamName,
        stream: u64,
        next: Offset,
    ) -> bool {
        let link = self.all.get_mut(name);
        let link = link.filter(|link| {
            link.stream == Some(stream) && link.lineage.is_some() && link.is_pending()
        });
        link.map(|link| link.tail = link.tail.max(next)).is_some()
    }

    /// Which streams the next wake tells of: those with something pending, from where the last
    /// one ended, then others while there is room.
    pub(in crate::subscriptions) fn choose(&self, limit: usize, bytes: usize) -> Vec<StreamName> {
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
        let others = self.all.iter().filter(|(_, link)| !link.is_pending());
        let others = others.map(|(name, _)| name);
        let mut left = bytes;
        let mut room = |name: &&StreamName| {
            // The first is told of, however long its name is.
            let fits = left > 0;
            left = left.saturating_sub(name.as_str().len() + TOLD_BYTES);
            fits
        };
        let pending = behind.chain(before);
        let all = pending.chain(others).take(limit);
        all.take_while(&mut room).cloned().collect()
    }

    /// Remembers the last stream with something pending that a wake tells of.
    pub(in crate::subscriptions) fn told(&mut self, last: Option<StreamName>) {
        self.told = last;
    }

    /// A stream that a pattern brought and of which everything up to `seen` is processed, and no more is there: its cursor
    /// need not be kept.
    pub(in crate::subscriptions) fn spare(&self, seen: Position) -> Option<StreamName> {
        let settled = |name: &&StreamName| {
            let link = self.all.get(*name);
            link.and_then(|link| link.settled)
                .is_some_and(|settled| settled <= seen)
        };
        self.idle.iter().find(settled).cloned()
    }

    /// Those that are [idle](Link::is_idle).
    pub(in crate::subscriptions) fn idle(&self) -> impl Iterator<Item = &StreamName> {
        self.idle.iter()
    }

    /// Whether there is a [spare](Self::spare) one.
    pub(in crate::subscriptions) fn has_spare(&self, seen: Position) -> bool {
        self.spare(seen).is_some()
    }
}

fn is_explicit(link: Option<&Link>) -> bool {
    link.is_some_and(|link| link.explicit)
}

fn keep(names: &mut BTreeSet<StreamName>, name: &StreamName, wanted: bool) {
    if !wanted {
        names.remove(name);
    } else if !names.contains(name) {
        names.insert(name.clone());
    }
}
