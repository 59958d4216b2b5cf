use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use headwater_log::{Info, Lineage, Mark, Offset, Position, StreamName};

/// Approximate size in bytes of a stream's entry in a wake, without its name.
const TOLD_BYTES: usize = 160;

/// The start of any stream, as clients receive it and may send it.
pub(in crate::subscriptions) const START: &str = "-1";

/// The progress of a worker in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::subscriptions) enum Acked {
    /// Nothing is processed.
    Start,
    At(Mark),
}

/// A stream of a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::subscriptions) struct Link {
    /// `true` if the stream was added by name.
    pub(in crate::subscriptions) explicit: bool,
    /// `true` if the stream was added by the pattern.
    pub(in crate::subscriptions) glob: bool,
    /// The number that identifies the stream among those that had this name. `None` if there was
    /// none yet.
    pub(in crate::subscriptions) stream: Option<u64>,
    /// The incarnations of that stream, which tell its offsets from those of others. Not stored, as
    /// the log has it.
    pub(in crate::subscriptions) lineage: Option<Lineage>,
    /// The offset up to which the stream is processed.
    pub(in crate::subscriptions) acked: Offset,
    /// The tail of the stream, as far as is known.
    pub(in crate::subscriptions) tail: Offset,
    /// Set while nothing is pending: the end of the log's order after that state was stored. All
    /// messages before [`acked`](Self::acked) are before this position. Not stored.
    pub(in crate::subscriptions) settled: Option<Position>,
}

impl Link {
    /// Returns the link of a stream that matches the pattern and is completely processed.
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

    /// Returns `true` if the link adds nothing to the pattern and the log: the stream is completely
    /// processed.
    pub(in crate::subscriptions) fn is_idle(&self) -> bool {
        self.glob && !self.explicit && !self.is_pending()
    }

    /// Returns the part that is stored.
    pub(in crate::subscriptions) fn stored(&self) -> (bool, bool, Option<u64>, Offset) {
        (self.explicit, self.glob, self.stream, self.acked)
    }

    /// Encodes an offset for clients. Without a stream it is the start.
    pub(in crate::subscriptions) fn text(&self, offset: Offset) -> String {
        match &self.lineage {
            Some(lineage) => lineage.at(offset).to_string(),
            None => START.to_owned(),
        }
    }

    /// Returns the offset for a client's acknowledgement, or `None` if it belongs to another
    /// stream.
    pub(in crate::subscriptions) fn find(&self, at: Acked) -> Option<Offset> {
        match at {
            Acked::Start => Some(Offset::START),
            Acked::At(mark) => self.lineage.as_ref()?.find(mark),
        }
    }
}

/// The streams of a subscription that have their own cursor, by name: streams by name, and streams
/// of the pattern that have pending messages or had them a moment ago. All other streams of the
/// pattern are completely processed.
#[derive(Debug, Default)]
pub(in crate::subscriptions) struct Links {
    all: BTreeMap<StreamName, Link>,
    pending: BTreeSet<StreamName>,
    /// The streams that are [idle](Link::is_idle).
    idle: BTreeSet<StreamName>,
    explicit: usize,
    explicit_bytes: usize,
    /// The last stream of the previous wake, so that the next one continues after it.
    told: Option<StreamName>,
}

impl Links {
    pub(in crate::subscriptions) fn get(&self, name: &StreamName) -> Option<&Link> {
        self.all.get(name)
    }

    pub(in crate::subscriptions) fn iter(&self) -> impl Iterator<Item = (&StreamName, &Link)> {
        self.all.iter()
    }

    /// Returns at most `count` links after `after`.
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

    /// Returns the number of streams by name.
    pub(in crate::subscriptions) fn explicit(&self) -> usize {
        self.explicit
    }

    /// Returns the total size of the names of streams by name, in bytes.
    pub(in crate::subscriptions) fn explicit_bytes(&self) -> usize {
        self.explicit_bytes
    }

    /// Returns the number of streams that only the pattern added.
    pub(in crate::subscriptions) fn globs(&self) -> usize {
        self.all.len() - self.explicit
    }

    pub(in crate::subscriptions) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(in crate::subscriptions) fn first_pending(&self) -> Option<&StreamName> {
        self.pending.first()
    }

    /// Changes a link, or creates it. A link that is neither by name nor by pattern is removed.
    /// Returns the link before and after the change.
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

    /// Moves the tail of a link that already has pending messages in this stream. Changes nothing
    /// that is stored or waited for. Returns `false` if there is no such link.
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

    /// Returns the streams of the next wake: streams with pending messages, continuing after the
    /// previous wake, then others while there is room.
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
            // The first stream is always included, however long its name is.
            let fits = left > 0;
            left = left.saturating_sub(name.as_str().len() + TOLD_BYTES);
            fits
        };
        let pending = behind.chain(before);
        let all = pending.chain(others).take(limit);
        all.take_while(&mut room).cloned().collect()
    }

    /// Sets the last stream with pending messages of the current wake.
    pub(in crate::subscriptions) fn told(&mut self, last: Option<StreamName>) {
        self.told = last;
    }

    /// Returns a stream of the pattern that is completely processed up to `seen` and has no more
    /// messages. Its cursor can be dropped.
    pub(in crate::subscriptions) fn spare(&self, seen: Position) -> Option<StreamName> {
        let settled = |name: &&StreamName| {
            let link = self.all.get(*name);
            link.and_then(|link| link.settled)
                .is_some_and(|settled| settled <= seen)
        };
        self.idle.iter().find(settled).cloned()
    }

    /// Returns the streams that are [idle](Link::is_idle).
    pub(in crate::subscriptions) fn idle(&self) -> impl Iterator<Item = &StreamName> {
        self.idle.iter()
    }

    /// Returns `true` if there is a [spare](Self::spare) stream.
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
