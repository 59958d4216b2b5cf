//! The newest events, read and encoded once for all readers of many streams.
//!
//! One task, the pump, reads the global order as it grows, filtered by the patterns of all readers.
//! Each reader is a position. It takes events that match its own patterns from the
//! [ring](super::ring), and reads from the log what isn't in the ring any more, or precedes the
//! pump's use of its patterns.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, Weak},
};

use headwater_log::{Error, Log, Matching, OrderFollower, Position, StreamName};
use parking_lot::Mutex;
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use super::{
    batch::{self, Batch},
    patterns::{Key, Patterns},
    ring::{EndReason, ReadOutcome, Ring},
};
use crate::{
    fanout::{
        near::{Ending, Near, State},
        wake_queue::Ticket,
    },
    limits::{EVENTS_READ_BYTES, EVENTS_SILENT, RING_IDLE},
};

/// The hub's shared tail of all streams. It exists for as long as there are readers.
#[derive(Default)]
pub(crate) struct OrderTail(Mutex<Weak<Tail>>);

impl OrderTail {
    /// Adds a reader.
    pub(crate) fn join(&self, log: &Arc<dyn Log>, patterns: &Arc<Patterns>) -> Subscriber {
        let mut current = self.0.lock();
        let tail = current.upgrade().filter(|tail| tail.is_usable());
        let tail = tail.unwrap_or_else(|| {
            let tail = Arc::new(Tail::start(log));
            *current = Arc::downgrade(&tail);
            tail
        });
        drop(current);
        let interest = tail.shared.interests.of(patterns);
        Subscriber {
            interest,
            seen: 0,
            ticket: Ticket::default(),
            tail,
        }
    }
}

/// A live reader of many streams.
pub(crate) struct Subscriber {
    interest: Arc<PatternGroup>,
    /// The number of changes at the last lookup.
    seen: u64,
    ticket: Ticket,
    /// Declared last: dropping the last reference aborts the pump.
    tail: Arc<Tail>,
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.tail.shared.near.leave(&mut self.ticket);
    }
}

impl Subscriber {
    /// Looks up the events after `position`. [`changed`](Self::changed) wakes when the result may
    /// differ.
    pub(crate) fn give(&mut self, position: Position) -> ReadOutcome {
        // Read before the ring: from this position on, the ring includes the reader's events.
        let since = self.interest.since.get().copied();
        let near = self.tail.shared.near.lock();
        self.seen = near.changes;
        near.ring.give(position, since)
    }

    /// Waits until [`give`](Self::give) may return something else. Cancel-safe: the reader keeps
    /// its place in the wake queue.
    pub(crate) async fn changed(&mut self) {
        let near = &self.tail.shared.near;
        let is_changed = |near: &mut State<Ring>| (near.changes != self.seen).then_some(());
        near.wait(&mut self.ticket, is_changed).await;
    }
}

/// Patterns of some readers.
struct PatternGroup {
    patterns: Arc<Patterns>,
    /// The position from which the pump includes them.
    since: OnceLock<Position>,
    key: Key,
    interests: Weak<PatternGroups>,
}

impl Drop for PatternGroup {
    fn drop(&mut self) {
        let Some(interests) = self.interests.upgrade() else {
            return;
        };
        let mut known = interests.0.lock();
        // A new reader may have joined with the same patterns since the last one left.
        let last = known.by_key.get(&self.key);
        if last.is_some_and(|interest| interest.strong_count() == 0) {
            known.by_key.remove(&self.key);
            known.version += 1;
        }
    }
}

/// The patterns of all readers.
#[derive(Default)]
struct PatternGroups(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_key: HashMap<Key, Weak<PatternGroup>>,
    /// Changes whenever an entry is added or removed.
    version: u64,
}

impl PatternGroups {
    fn of(self: &Arc<Self>, patterns: &Arc<Patterns>) -> Arc<PatternGroup> {
        let key = patterns.key();
        let mut known = self.0.lock();
        if let Some(interest) = known.by_key.get(&key).and_then(Weak::upgrade) {
            return interest;
        }
        let interest = Arc::new(PatternGroup {
            patterns: Arc::clone(patterns),
            since: OnceLock::new(),
            key: key.clone(),
            interests: Arc::downgrade(self),
        });
        known.by_key.insert(key, Arc::downgrade(&interest));
        known.version += 1;
        interest
    }

    fn version(&self) -> u64 {
        self.0.lock().version
    }

    /// Returns a filter that matches the streams of all readers, for reads from `next` on.
    fn all(&self, next: Position) -> (u64, Matching) {
        let mut all = Vec::new();
        // Dropped after the lock is released, as dropping the last reference acquires it.
        let mut held = Vec::new();
        let version = {
            let known = self.0.lock();
            for interest in known.by_key.values().filter_map(Weak::upgrade) {
                interest.since.get_or_init(|| next);
                all.push(Arc::clone(&interest.patterns));
                held.push(interest);
            }
            known.version
        };
        drop(held);
        let matching = move |name: &StreamName| all.iter().any(|patterns| patterns.matches(name));
        (version, Arc::new(matching))
    }
}

struct Tail {
    shared: Arc<Shared>,
    pump: AbortHandle,
}

struct Shared {
    log: Arc<dyn Log>,
    near: Near<Ring>,
    interests: Arc<PatternGroups>,
}

impl Tail {
    fn start(log: &Arc<dyn Log>) -> Self {
        let mut follower = log.follow_order();
        let shared = Arc::new(Shared {
            log: Arc::clone(log),
            near: Near::new(Ring::new(follower.head())),
            interests: Arc::default(),
        });
        let pump = tokio::spawn(pump(Arc::clone(&shared), follower)).abort_handle();
        Self { shared, pump }
    }

    /// Returns `true` if the tail can continue. If not, its readers receive an error, and the next
    /// reader starts a new tail.
    fn is_usable(&self) -> bool {
        !self.shared.near.lock().ring.has_failed()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Moves appended messages into the ring until the log is closed or fails.
async fn pump(shared: Arc<Shared>, follower: OrderFollower) {
    let mut ending = Ending {
        near: &shared.near,
        end: Ring::end,
        over: EndReason::Failed,
    };
    match follow(&shared, follower).await {
        Ok(()) => ending.over = EndReason::Closed,
        Err(error) => tracing::error!(%error, "the order of all streams can't be read"),
    }
}

/// Returns when the log is closed.
async fn follow(shared: &Shared, mut follower: OrderFollower) -> Result<(), Error> {
    let mut next = shared.near.lock().ring.next();
    let (mut version, mut matching) = shared.interests.all(next);
    let mut filled_at = Instant::now();
    let mut woken_at = next;
    loop {
        let is_empty = shared.near.lock().ring.is_empty();
        let met = if is_empty {
            follower.past(next).await
        } else {
            match timeout_at(filled_at + RING_IDLE, follower.past(next)).await {
                Ok(met) => met,
                Err(_) => {
                    shared.near.lock().ring.clear();
                    continue;
                }
            }
        };
        if met.is_none() {
            return Ok(());
        }
        if shared.interests.version() != version {
            (version, matching) = shared.interests.all(next);
        }
        let read = shared
            .log
            .read_order(next, EVENTS_READ_BYTES, Some(Arc::clone(&matching)))
            .await?;
        next = read.next;
        let batches: Vec<Batch> = batch::batches(&*shared.log, read).await?;
        let is_silent = batches.is_empty();
        if !is_silent {
            filled_at = Instant::now();
        }
        shared.near.lock().ring.push(batches, next);
        // A reader that joined during this read may have missed some of it and has to look for
        // itself. If no messages matched, all readers are nevertheless woken from time to time, to
        // advance their positions.
        let is_due = next.number() - woken_at.number() >= EVENTS_SILENT;
        if !is_silent || is_due || shared.interests.version() != version {
            woken_at = next;
            shared.near.change(|_| ());
        }
        // Readers come first, so that messages appended meanwhile form one batch instead of many.
        // Appends get their turn in between. Besides, an in-memory log is never pending.
        loop {
            let is_due = shared.near.wake_batch();
            tokio::task::yield_now().await;
            if !is_due {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_log::{Append, Create, DiskLog, DiskOptions, Durability, Settings};

    use super::*;

    fn patterns(text: &str) -> Arc<Patterns> {
        let patterns = Patterns::parse(&[text.to_owned()]);
        Arc::new(patterns.unwrap_or_else(|_| panic!("it is a pattern")))
    }

    /// On one thread nothing runs between an append's response and the join, so the pump is in the
    /// middle of reading, for other readers, messages that the new reader wants.
    #[tokio::test]
    async fn a_reader_that_joins_during_a_read_without_its_patterns_is_woken() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = DiskOptions::default();
        options.durability = Durability::Os;
        let log: Arc<dyn Log> = Arc::new(DiskLog::open(folder.path(), options).unwrap());
        let name = StreamName::new("b").unwrap();
        let create = Create::new(Settings::of_type("text/plain"));
        log.create(&name, create).await.unwrap();
        let order = OrderTail::default();
        let _other = order.join(&log, &patterns("a"));
        let follow = async move {
            for n in 0..100 {
                let place = Position::new(n);
                let append = Append::new(vec!["x".into()]);
                log.append(&name, append).await.unwrap();
                let mut member = order.join(&log, &patterns("b"));
                let found = async {
                    loop {
                        match member.give(place) {
                            ReadOutcome::Batch(_) | ReadOutcome::Behind => return true,
                            ReadOutcome::Wait(at) if at == place => member.changed().await,
                            ReadOutcome::Wait(_) | ReadOutcome::Ended(_) => return false,
                        }
                    }
                };
                let found = tokio::time::timeout(std::time::Duration::from_secs(5), found).await;
                assert_eq!(found, Ok(true), "of the message at {n}");
            }
            log.close().await.unwrap();
        };
        // A task, like the pump: the one that is woken first runs first.
        tokio::spawn(follow).await.unwrap();
    }

    #[tokio::test]
    async fn the_tail_and_patterns_end_with_their_last_reader() {
        let log: Arc<dyn Log> = Arc::new(headwater_log::MemoryLog::default());
        let order = OrderTail::default();
        let one = order.join(&log, &patterns("a"));
        let two = order.join(&log, &patterns("a"));
        let three = order.join(&log, &patterns("b"));
        assert!(Arc::ptr_eq(&one.tail, &two.tail) && Arc::ptr_eq(&one.interest, &two.interest));
        let known = || three.tail.shared.interests.0.lock().by_key.len();
        assert_eq!(known(), 2);
        drop(one);
        assert_eq!(known(), 2);
        drop(two);
        assert_eq!(known(), 1);
        drop(three);
        assert!(order.0.lock().upgrade().is_none());
    }
}
