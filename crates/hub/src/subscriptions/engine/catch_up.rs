//! Reads what was appended to streams.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_log::{Matching, Offset, OrderChunk, Position, StreamName};

use super::Engine;
use super::commands::is_gone;
use crate::subscriptions::refusal::Refusal;
use crate::subscriptions::state::News;

/// Minimum and maximum number of bytes of messages that are read at once. The more subscriptions
/// there are, the fewer.
const READ_BYTES: (usize, usize) = (4 << 10, 256 << 10);
/// Maximum number of reads in one turn, so that requests don't wait for long.
const READS: usize = 64;
/// Number of cursors after which a turn doesn't read more.
const CURSORS: usize = 10_000;
/// Maximum number of links that one turn drops.
const RETIRED: usize = 10_000;
/// Number of small pieces of work after which the task yields.
const PIECES: usize = 64;

impl Engine {
    /// Reads what was appended up to now. A turn's budget bounds how much it reads.
    pub(super) async fn catch_up(&mut self) {
        let head = self.order.head();
        self.cursors = 0;
        if self.registry.is_empty() {
            self.seen = head;
        } else if head > self.seen {
            let matching = self.registry.interest();
            for _ in 0..READS {
                let Some(chunk) = self.read_order(self.seen, &matching).await else {
                    self.rest();
                    break;
                };
                if !self.take_in(&chunk, None).await {
                    self.rest();
                    break;
                }
                self.seen = chunk.next;
                if chunk.at_head || self.seen >= head || self.cursors > CURSORS {
                    break;
                }
            }
        }
        self.registry.saw(self.seen);
    }

    /// Reads everything that was appended before the call.
    pub(super) async fn catch_up_to_head(&mut self) -> Result<(), Refusal> {
        let head = self.order.head();
        while self.seen < head && !self.registry.is_empty() {
            self.catch_up().await;
            if self.resting.is_some() {
                return Err(Refusal::Log);
            }
        }
        Ok(())
    }

    /// Reads messages for which there was no room before.
    pub(super) async fn catch_up_unblocked(&mut self) {
        self.backlog = false;
        let Some((id, mut from)) = self.registry.take_unblocked() else {
            return;
        };
        let Some(config) = self
            .registry
            .get(&id)
            .map(|known| Arc::clone(&known.config))
        else {
            return;
        };
        let matching: Matching = Arc::new(move |name| config.matches(name));
        self.cursors = 0;
        for _ in 0..READS {
            if from >= self.seen {
                return self.registry.unblocked(&id);
            }
            let read = match self.read_order(from, &matching).await {
                Some(chunk) if self.take_in(&chunk, Some(&id)).await => chunk.next,
                _ => {
                    self.rest();
                    break;
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
            if self.cursors > CURSORS {
                break;
            }
        }
        // The next turn continues from here.
        self.backlog = true;
        self.registry
            .change(&id, |known| known.blocked = Some(from));
    }

    /// Drops links that add nothing to the pattern and the log.
    pub(super) async fn retire(&mut self) {
        for _ in 0..RETIRED / PIECES {
            if self.registry.retire(PIECES) < PIECES {
                return;
            }
            tokio::task::yield_now().await;
        }
        self.backlog = true;
    }

    async fn read_order(&mut self, from: Position, matching: &Matching) -> Option<OrderChunk> {
        let (least, most) = READ_BYTES;
        // Each message may concern this many cursors.
        let budget = (most / (1 + self.registry.len() / 8)).max(least);
        match self
            .log
            .read_order(from, budget, Some(Arc::clone(matching)))
            .await
        {
            Ok(chunk) => Some(chunk),
            Err(error) => {
                if error.is_beyond_tail() {
                    // A crash with a weaker durability lost the end of the log.
                    self.seen = self.order.head();
                }
                if !error.is_closed() {
                    tracing::error!(%error, "the subscriptions can't read the log");
                }
                None
            }
        }
    }

    /// Yields after a number of small pieces of work.
    pub(super) async fn pace(&mut self) {
        self.pieces += 1;
        if self.pieces.is_multiple_of(PIECES) {
            tokio::task::yield_now().await;
        }
    }

    /// Applies a range of the order to all subscriptions, or to one. Returns `false` if the log
    /// fails.
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
                        is_recreated: false,
                    });
                }
                Entry::Occupied(mut known) => {
                    let known = known.get_mut();
                    if entry.id != known.stream {
                        known.stream = entry.id;
                        known.first = offset;
                        known.is_recreated = true;
                    }
                    known.next = next;
                }
            }
        }
        for (name, news) in news {
            self.pace().await;
            let ids = match only {
                Some(only) => BTreeSet::from([Arc::clone(only)]),
                None => self.registry.interested(name),
            };
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
                self.cursors += 1;
                self.pace().await;
                self.registry.tell(&id, name, news, info.as_ref());
            }
        }
        true
    }

    /// Queries the log about all streams of all subscriptions, each once. Required after a restart.
    pub(super) async fn refresh_all(&mut self) -> Result<(), Refusal> {
        let mut all: BTreeMap<StreamName, Vec<Arc<str>>> = BTreeMap::new();
        for (id, known) in self.registry.iter() {
            for (name, _) in known.links.iter() {
                all.entry(name.clone()).or_default().push(Arc::clone(id));
            }
        }
        while let Some((name, ids)) = all.pop_first() {
            let info = self.info(&name).await?;
            for id in ids {
                self.pace().await;
                self.registry.refresh(&id, &name, info.as_ref());
            }
        }
        let head = self.order.head();
        self.registry.settle(head);
        Ok(())
    }
}
