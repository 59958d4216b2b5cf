//! How subscriptions come to streams, and learn that these went on.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use headwater_log::{Info, Matching, Offset, Position, StreamName};

use super::{Config, Link, Registry};
use crate::subscriptions::limits::{EXPLICIT_LINKS, LINKS};
use crate::subscriptions::refusal::Refusal;

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
            return Err(Refusal::Limit {
                what: "too many streams by name",
                limit: EXPLICIT_LINKS,
            });
        }
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

    /// Adds a stream that the pattern finds among those that are there, at the end that it has now.
    /// `false` where there is no room for more: those that follow are worked out later.
    pub(in crate::subscriptions) fn backfill(&mut self, id: &Arc<str>, info: &Info) -> bool {
        let Some(subscription) = self.subscriptions.get(id) else {
            return false;
        };
        if subscription.links.len() >= LINKS {
            return false;
        }
        if subscription.config.matches(&info.name) && subscription.links.get(&info.name).is_none() {
            self.change_link(id, &info.name, |link| {
                link.glob = true;
                start_at_tail(link, Some(info));
            });
        }
        true
    }

    /// Goes on when it changes who is interested in what.
    pub(in crate::subscriptions) fn interests(&self) -> u64 {
        self.interests
    }

    /// Says of a stream's name whether anyone wants it.
    pub(in crate::subscriptions) fn interest(&self) -> Matching {
        let named: HashSet<StreamName> = self.named.keys().cloned().collect();
        let globs = self
            .subscriptions
            .values()
            .filter(|known| known.config.pattern.is_some());
        let globs: Vec<Config> = globs
            .map(|known| Config {
                streams: Vec::new(),
                ..known.config.clone()
            })
            .collect();
        Arc::new(move |name| named.contains(name) || globs.iter().any(|glob| glob.matches(name)))
    }

    /// Whom the news of a stream are for.
    pub(in crate::subscriptions) fn interested(&self, name: &StreamName) -> BTreeSet<Arc<str>> {
        let mut ids = self.named.get(name).cloned().unwrap_or_default();
        let globs = self
            .subscriptions
            .iter()
            .filter(|(_, known)| known.config.matches(name));
        ids.extend(globs.map(|(id, _)| Arc::clone(id)));
        ids
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
        let Some(subscription) = self.subscriptions.get(id) else {
            return;
        };
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

    /// Makes room for one more link. `false` where there is none.
    fn make_room(&mut self, id: &Arc<str>) -> bool {
        let Some(subscription) = self.subscriptions.get(id) else {
            return false;
        };
        if subscription.links.len() < LINKS {
            return true;
        }
        let Some(spare) = subscription.links.spare() else {
            return false;
        };
        self.change_link(id, &spare, |link| link.glob = false);
        true
    }

    /// A subscription that there was no room in, and is again, with where it missed something first.
    pub(in crate::subscriptions) fn take_unblocked(&mut self) -> Option<(Arc<str>, Position)> {
        let (id, from) = self.subscriptions.iter().find_map(|(id, known)| {
            let from = known.blocked?;
            let room = known.links.len() < LINKS || known.links.spare().is_some();
            room.then(|| (Arc::clone(id), from))
        })?;
        self.change(&id, |known| known.blocked = None);
        Some((id, from))
    }

    /// From where the log's order is to be read after a restart, if it was read up to `seen`.
    pub(in crate::subscriptions) fn resume_from(&self, seen: Position) -> Position {
        self.subscriptions
            .values()
            .filter_map(|known| known.blocked)
            .fold(seen, Position::min)
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
