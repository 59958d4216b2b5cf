//! Links of subscriptions to streams, and their progress as streams grow.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_log::{Info, Matching, Offset, Position, StreamName};

use super::{Link, Registry, Subscription};
use crate::subscriptions::limits::{
    EXPLICIT_BYTES, EXPLICIT_LINKS, LINK_BYTES, LINKS, LINKS_SHARE,
};
use crate::subscriptions::refusal::{Limit, Refusal};

/// The limit of streams by name.
pub(in crate::subscriptions) const TOO_MANY_NAMED: Limit = Limit {
    what: "streams that one subscription names",
    limit: EXPLICIT_LINKS,
    way: "remove some, or watch them by a pattern",
};

/// The changes of one stream in a range of the log's order.
#[derive(Clone, Copy, Debug)]
pub(in crate::subscriptions) struct News {
    /// The position of the stream's first message in the range.
    pub(in crate::subscriptions) position: Position,
    /// The number of the stream that contains the last message.
    pub(in crate::subscriptions) stream: u64,
    /// The offset of the first message of that stream.
    pub(in crate::subscriptions) first: Offset,
    /// The offset after its last message.
    pub(in crate::subscriptions) next: Offset,
    /// `true` if the stream was deleted and created again in the range.
    pub(in crate::subscriptions) is_recreated: bool,
}

impl Registry {
    /// Adds a stream by name, at its current tail.
    pub(in crate::subscriptions) fn name(
        &mut self,
        id: &Arc<str>,
        name: &StreamName,
        info: Option<&Info>,
    ) -> Result<(), Refusal> {
        let Some(subscription) = self.subscriptions.get(id) else {
            return Err(Refusal::NotFound);
        };
        if subscription
            .links
            .get(name)
            .is_some_and(|link| link.explicit)
        {
            return Ok(());
        }
        if subscription.links.explicit() >= EXPLICIT_LINKS {
            return Err(Refusal::Limit(TOO_MANY_NAMED));
        }
        let more = name.as_str().len() + EXPLICIT_BYTES;
        self.bounds
            .check(subscription.bytes() + more, self.bytes + more)?;
        let is_new = subscription.links.get(name).is_none();
        let glob = subscription.config.matches(name);
        if is_new {
            self.make_room(id);
        }
        self.change_link(id, name, |link| {
            link.explicit = true;
            link.glob = glob;
            if is_new {
                start_at_tail(link, info);
            }
        });
        Ok(())
    }

    /// Undoes that a stream was added by name.
    pub(in crate::subscriptions) fn unname(
        &mut self,
        id: &Arc<str>,
        name: &StreamName,
    ) -> Result<(), Refusal> {
        let Some(subscription) = self.subscriptions.get(id) else {
            return Err(Refusal::NotFound);
        };
        if subscription.links.get(name).is_some() {
            self.change_link(id, name, |link| link.explicit = false);
        }
        Ok(())
    }

    /// Returns a filter of the stream names that any subscription watches.
    pub(in crate::subscriptions) fn interest(&self) -> Matching {
        self.interest.matching()
    }

    /// Returns the subscriptions that watch a stream.
    pub(in crate::subscriptions) fn interested(&self, name: &StreamName) -> BTreeSet<Arc<str>> {
        self.interest.of(name)
    }

    /// Returns `true` if the log has to be queried about a stream before a subscription
    /// [receives](Self::tell) its changes.
    pub(in crate::subscriptions) fn must_ask(
        &self,
        id: &str,
        name: &StreamName,
        news: News,
    ) -> bool {
        let link = self
            .subscriptions
            .get(id)
            .and_then(|known| known.links.get(name));
        news.is_recreated
            || link.is_none_or(|link| link.stream != Some(news.stream) || link.lineage.is_none())
    }

    /// Applies changes of a stream to a subscription that [watches](Self::interested) it. `info` is
    /// the log's information on the stream if it [was queried](Self::must_ask) and the stream
    /// exists. Without it, no link is created.
    pub(in crate::subscriptions) fn tell(
        &mut self,
        id: &Arc<str>,
        name: &StreamName,
        news: News,
        info: Option<&Info>,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(id) else {
            return;
        };
        if info.is_none() && subscription.links.lengthen(name, news.stream, news.next) {
            return;
        }
        if subscription.links.get(name).is_none() {
            let Some(info) = info else { return };
            if !self.make_room(id) {
                self.change(id, |known| {
                    let from = known.blocked.unwrap_or(news.position);
                    known.blocked = Some(from.min(news.position));
                });
                return;
            }
            self.change_link(id, name, |link| {
                *link = Link {
                    explicit: false,
                    glob: true,
                    stream: Some(info.id),
                    lineage: Some(info.lineage.clone()),
                    acked: if news.stream == info.id {
                        news.first.min(info.tail)
                    } else {
                        own_start(info)
                    },
                    tail: info.tail,
                    settled: None,
                };
            });
            return;
        }
        self.change_link(id, name, |link| {
            if let Some(info) = info {
                meet(link, info);
            } else {
                link.tail = link.tail.max(news.next);
            }
        });
    }

    /// Returns `true` if a subscription may have one more link without dropping another one.
    fn has_room(&self, known: &Subscription) -> bool {
        let cursors = self.names.glob_bytes() + self.globs * LINK_BYTES;
        let shared = cursors < self.bounds.cursors || known.links.globs() < LINKS_SHARE;
        known.links.len() < LINKS && shared
    }

    /// Makes room for one more link. Returns `false` if there is none.
    fn make_room(&mut self, id: &Arc<str>) -> bool {
        let Some(subscription) = self.subscriptions.get(id) else {
            return false;
        };
        if self.has_room(subscription) {
            return true;
        }
        let Some(spare) = subscription.links.spare(self.seen) else {
            return false;
        };
        self.change_link(id, &spare, |link| link.glob = false);
        true
    }

    /// Sets the position up to which the log's order was read. Streams without a link are processed
    /// up to there.
    pub(in crate::subscriptions) fn saw(&mut self, seen: Position) {
        self.seen = seen;
    }

    /// Sets the end of the log's order as of the last write of the journal.
    pub(in crate::subscriptions) fn settle(&mut self, head: Position) {
        for (id, name) in std::mem::take(&mut self.unsettled) {
            let link = self.subscriptions.get(&id);
            let link = link.and_then(|known| known.links.get(&name));
            if link.is_some_and(|link| link.is_idle() && link.settled.is_none()) {
                self.change_link(&id, &name, |link| link.settled = Some(head));
                self.idle.push_back((head, id, name));
            }
        }
    }

    /// Drops up to `most` links that add nothing to the pattern and the log. Returns the number of
    /// links that were examined.
    ///
    /// A subscription that [waits for room](Subscription::blocked) keeps its links, as it will read
    /// a part of the order again.
    pub(in crate::subscriptions) fn retire(&mut self, most: usize) -> usize {
        for count in 0..most {
            let due = self.idle.front().is_some_and(|(at, ..)| *at <= self.seen);
            let Some((at, id, name)) = self.idle.pop_front_if(|_| due) else {
                return count;
            };
            let Some(known) = self.subscriptions.get(&id) else {
                continue;
            };
            let link = known.links.get(&name);
            if link.is_none_or(|link| !link.is_idle() || link.settled != Some(at)) {
                continue;
            }
            // Links of a blocked subscription stay until it isn't blocked.
            if known.blocked.is_none() {
                self.change_link(&id, &name, |link| link.glob = false);
            }
        }
        most
    }

    /// Completes the reading of everything for which a subscription had no room.
    pub(in crate::subscriptions) fn unblocked(&mut self, id: &Arc<str>) {
        let known = self.subscriptions.get(id);
        let idle: Vec<StreamName> = known
            .map(|known| known.links.idle().cloned().collect())
            .unwrap_or_default();
        for name in idle {
            self.change_link(id, &name, |link| link.settled = None);
        }
    }

    /// Returns a blocked subscription that has room again, with the position of the first message
    /// that it missed.
    pub(in crate::subscriptions) fn take_unblocked(&mut self) -> Option<(Arc<str>, Position)> {
        let (id, from) = self.subscriptions.iter().find_map(|(id, known)| {
            let from = known.blocked?;
            let room = self.has_room(known) || known.links.has_spare(self.seen);
            room.then(|| (Arc::clone(id), from))
        })?;
        self.change(&id, |known| known.blocked = None);
        Some((id, from))
    }

    /// Applies the log's information on a stream. `None` means that it is gone, and nothing of it
    /// is pending.
    pub(in crate::subscriptions) fn refresh(
        &mut self,
        id: &Arc<str>,
        name: &StreamName,
        info: Option<&Info>,
    ) {
        if self
            .subscriptions
            .get(id)
            .is_none_or(|known| known.links.get(name).is_none())
        {
            return;
        }
        self.change_link(id, name, |link| match info {
            Some(info) => meet(link, info),
            None => {
                *link = Link {
                    explicit: link.explicit,
                    glob: link.explicit && link.glob,
                    ..Link::default()
                };
            }
        });
    }
}

/// Sets a new link to the tail. Messages before the link was created are not for the subscription.
fn start_at_tail(link: &mut Link, info: Option<&Info>) {
    link.stream = info.map(|info| info.id);
    link.lineage = info.map(|info| info.lineage.clone());
    link.tail = info.map(|info| info.tail).unwrap_or_default();
    link.acked = link.tail;
    link.settled = None;
}

/// Returns the first offset of a stream that isn't inherited from its fork's source.
fn own_start(info: &Info) -> Offset {
    info.fork.as_ref().map(|fork| fork.own).unwrap_or_default()
}

/// Applies the log's information on a link's stream. All messages of a stream that was created
/// again are new, except the ones that a fork shares with its source.
fn meet(link: &mut Link, info: &Info) {
    if link.stream.is_some_and(|known| known != info.id) {
        link.acked = own_start(info);
        link.tail = Offset::START;
    }
    link.stream = Some(info.id);
    link.lineage = Some(info.lineage.clone());
    link.tail = link.tail.max(info.tail);
}
