//! Taking in what was appended to streams.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use headwater_log::{Matching, Offset, OrderChunk, Position, StreamName};

use super::Engine;
use super::commands::is_gone;
use crate::subscriptions::refusal::Refusal;
use crate::subscriptions::state::News;

/// How many bytes of messages are read at once.
const READ_BYTES: usize = 256 << 10;
/// How many reads one turn does at the most, so that no one waits for long.
const READS: usize = 64;

impl Engine {
    /// Takes in what was appended up to now, and what is appended while it does.
    pub(super) async fn catch_up(&mut self) {
        let head = self.order.head();
        if self.registry.is_empty() {
            self.seen = head;
            return;
        }
        if head <= self.seen {
            return;
        }
        let matching = self.interest();
        for _ in 0..READS {
            let Some(chunk) = self.read_order(self.seen, &matching).await else {
                return self.rest();
            };
            if !self.take_in(&chunk, None).await {
                return self.rest();
            }
            self.seen = chunk.next;
            if chunk.at_head || self.seen >= head {
                return;
            }
        }
    }

    /// Takes in what there was no room for before.
    pub(super) async fn catch_up_unblocked(&mut self) {
        let Some((id, mut from)) = self.registry.take_unblocked() else {
            return;
        };
        let matching = self.interest();
        while from < self.seen {
            let read = match self.read_order(from, &matching).await {
                Some(chunk) if self.take_in(&chunk, Some(&id)).await => chunk.next,
                _ => {
                    // It is tried again from here.
                    self.registry
                        .change(&id, |known| known.blocked = Some(from));
                    return;
                }
            };
            if self
                .registry
                .get(&id)
                .is_none_or(|known| known.blocked.is_some())
            {
                return;
            }
            from = read;
        }
    }

    /// Says of a stream's name whether anyone wants it.
    fn interest(&mut self) -> Matching {
        let version = self.registry.interests();
        match &self.interest {
            Some((known, interest)) if *known == version => Arc::clone(interest),
            _ => {
                let interest = self.registry.interest();
                self.interest = Some((version, Arc::clone(&interest)));
                interest
            }
        }
    }

    async fn read_order(&mut self, from: Position, matching: &Matching) -> Option<OrderChunk> {
        match self
            .log
            .read_order(from, READ_BYTES, Some(Arc::clone(matching)))
            .await
        {
            Ok(chunk) => Some(chunk),
            Err(error) => {
                if error.is_beyond_tail() {
                    // A weaker durability gave up the end of the log.
                    self.seen = self.order.head();
                }
                if !error.is_closed() {
                    tracing::error!(%error, "the subscriptions can't read the log");
                }
                None
            }
        }
    }

    /// Takes in a stretch of the order: all subscriptions, or this one. `false` where the log fails.
    async fn take_in(&mut self, chunk: &OrderChunk, only: Option<&Arc<str>>) -> bool {
        let mut news: BTreeMap<&StreamName, News> = BTreeMap::new();
        for entry in &chunk.entries {
            let offset = entry.message.offset;
            let next = Offset::new(offset.number() + 1);
            match news.entry(&entry.stream) {
                Entry::Vacant(place) => {
                    let position = entry.position;
                    place.insert(News {
                        position,
                        stream: entry.id,
                        first: offset,
                        next,
                        anew: false,
                    });
                }
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    if entry.id != known.stream {
                        known.stream = entry.id;
                        known.first = offset;
                        known.anew = true;
                    }
                    known.next = next;
                }
            }
        }
        for (name, news) in news {
            let mut ids = self.registry.interested(name);
            if let Some(only) = only {
                ids.retain(|id| id == only);
            }
            let info = if ids.iter().any(|id| self.registry.must_ask(id, name, news)) {
                match self.log.info(name).await {
                    Ok(info) => Some(info),
                    Err(error) if is_gone(&error) => continue,
                    Err(error) => {
                        tracing::error!(%error, "the subscriptions can't ask about a stream");
                        return false;
                    }
                }
            } else {
                None
            };
            for id in ids {
                self.registry.tell(&id, name, news, info.as_ref());
            }
        }
        true
    }

    /// Asks the log about all streams of all subscriptions, as it must after a restart.
    pub(super) async fn refresh_all(&mut self) -> Result<(), Refusal> {
        let all: Vec<(Arc<str>, Vec<StreamName>)> = self
            .registry
            .iter()
            .map(|(id, known)| {
                (
                    Arc::clone(id),
                    known.links.iter().map(|(name, _)| name.clone()).collect(),
                )
            })
            .collect();
        for (id, names) in all {
            for name in names {
                let info = self.info(&name).await?;
                self.registry.refresh(&id, &name, info.as_ref());
            }
        }
        Ok(())
    }
}
