//! How subscriptions come to streams, and learn that these went on.

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

/// What a stretch of the log's order says of one stream.
#[derive(Clone, Copy, Debug)]
pub(in crate::subscriptions) struct News {
    /// Where in the order the stretch's first message of the stream is.
    pub(in crate::subscriptions) position: Position,
    /// The number of the stream that the last message is of.
    pub(in crate::subscriptions) stream: u64,
    /// The offset of the first message of that stream.
    pub(in crate::subscriptions) first: Offset,
    /// The offset after its last message.
    pub(in crate::subscriptions) next: Offset,
    /// Whether the stream was created again on the way.
    pub(in crate::subscriptions) anew: bool,
}

impl Registry {
    /// Adds a stream by name, at the end that it has now.
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

    /// Takes back that a stream was added by name.
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

    /// Says of a stream's name whether any subscription wants it.
    pub(in crate::subscriptions) fn interest(&self) -> Matching {
        self.interest.matching()
    }

    /// The subscriptions that the news of a stream are for.
    pub(in crate::subscriptions) fn interested(&self, name: &StreamName) -> BTreeSet<Arc<str>> {
        self.interest.of(name)
    }

    /// Whether the log is to be asked about a stream before a subscription is [told](Self::tell).
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
        news.anew
            || link.is_none_or(|link| link.stream != Some(news.stream) || link.lineage.is_none())
    }

    /// Takes in that a stream went on which a subscription is [interested](Self::interested) in. `info`
    /// is what the log says of the stream, where it [was asked](Self::must_ask) and the stream is still
    /// there; without, nothing is linked anew.
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

    /// Whether a subscription may have one more link, for which none has to go.
    fn has_room(&self, known: &Subscription) -> bool {
        let cursors = self.names.glob_bytes() + self.globs * LINK_BYTES;
        let shared = cursors < self.bounds.cursors || known.links.globs() < LINKS_SHARE;
        known.links.len() < LINKS && shared
    }

    /// Makes room for one more link. `false` where there is none.
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

    /// Notes how far the log's order was taken in: of streams without a link, what is before that is processed.
    pub(in crate::subscriptions) fn saw(&mut self, seen: Position) {
        self.seen = seen;
    }

    /// Notes where the log's order ends after what is known was stored.
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

    /// Drops up to `most` links that say no more than the pattern and the log do. Gives how many it looked at.
    ///
    /// A subscription that [waits for room](Subscription::blocked) keeps them: it will read a part of the order again.
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
            // Those of one that is blocked wait until it isn't.
            if known.blocked.is_none() {
                self.change_link(&id, &name, |link| link.glob = false);
            }
        }
        most
    }

    /// Takes in that a subscription has read all that there was no room for.
    pub(in crate::subscriptions) fn unblocked(&mut self, id: &Arc<str>) {
        let known = self.subscriptions.get(id);
        let idle: Vec<StreamName> = known
            .map(|known| known.links.idle().cloned().collect())
            .unwrap_or_default();
        for name in idle {
            self.change_link(id, &name, |link| link.settled = None);
        }
    }

    /// A subscription that there was no room in, and is again, with where it missed something first.
    pub(in crate::subscriptions) fn take_unblocked(&mut self) -> Option<(Arc<str>, Position)> {
        let (id, from) = self.subscriptions.iter().find_map(|(id, known)| {
            let from = known.blocked?;
            let room = self.has_room(known) || known.links.has_spare(self.seen);
            room.then(|| (Arc::clone(id), from))
        })?;
        self.change(&id, |known| known.blocked = None);
        Some((id, from))
    }

    /// Takes in what the log says of a stream, or that it's gone: then nothing of it is pending.
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

/// What was in the stream before it was linked is none of the subscription's business.
fn start_at_tail(link: &mut Link, info: Option<&Info>) {
    link.stream = info.map(|info| info.id);
    link.lineage = info.map(|info| info.lineage.clone());
    link.tail = info.map(|info| info.tail).unwrap_or_default();
    link.acked = link.tail;
    link.settled = None;
}

/// The first offset of a stream that it hasn't from another.
fn own_start(info: &Info) -> Offset {
    info.fork.as_ref().map(|fork| fork.own).unwrap_or_default()
}

/// Takes in what the log says of a link's stream. All that a stream has which was made anew is new,
/// but for what it has from the one that it is a fork of.
fn meet(link: &mut Link, info: &Info) {
    if link.stream.is_some_and(|known| known != info.id) {
        link.acked = own_start(info);
        link.tail = Offset::START;
    }
    link.stream = Some(info.id);
    link.lineage = Some(info.lineage.clone());
    link.tail = link.tail.max(info.tail);
}
