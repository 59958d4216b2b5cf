//! The newest events, read and encoded once for all who follow many streams.
//!
//! One task, the pump, reads the order of all streams as it grows: only what somebody follows, by the patterns of all.
//! Readers are positions. They take from the [ring](super::ring) what their own patterns mean, and read from the log
//! what is no longer there, or came before their patterns were looked for.

use std::{
    collections::HashMap,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Poll, Waker},
};

use headwater_log::{Error, Log, Matching, OrderFollower, Position, StreamName};
use tokio::{
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use super::{
    batch::{self, Batch},
    patterns::{Key, Patterns},
    ring::{Given, Over, Ring},
};
use crate::{
    limits::{EVENTS_READ_BYTES, EVENTS_SILENT, RING_IDLE},
    waiting::{Ticket, Waiting},
};

/// The hub's tail of all streams. There is one as long as anybody follows.
#[derive(Default)]
pub(crate) struct OrderTail(Mutex<Weak<Tail>>);

impl OrderTail {
    /// Joins those who follow.
    pub(crate) fn join(&self, log: &Arc<dyn Log>, patterns: &Arc<Patterns>) -> Member {
        let mut current = locked(&self.0);
        let tail = current.upgrade().filter(|tail| tail.is_usable());
        let tail = tail.unwrap_or_else(|| {
            let tail = Arc::new(Tail::start(log));
            *current = Arc::downgrade(&tail);
            tail
        });
        drop(current);
        let interest = tail.shared.interests.of(patterns);
        Member {
            interest,
            seen: 0,
            ticket: Ticket::default(),
            tail,
        }
    }
}

/// Nothing is left half changed by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One who follows.
pub(crate) struct Member {
    interest: Arc<Interest>,
    /// How many changes there had been when it was given something last.
    seen: u64,
    ticket: Ticket,
    /// Last: who lets go of it as the last ends it.
    tail: Arc<Tail>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let left = self.tail.shared.near().waiting.leave(&mut self.ticket);
        drop(left);
    }
}

impl Member {
    /// What a reader that wants what follows `position` is given. [`changed`](Self::changed) wakes when that may be
    /// something else.
    pub(crate) fn give(&mut self, position: Position) -> Given {
        // Looked at before the ring: what is looked for from then on, the ring has.
        let since = self.interest.since.get().copied();
        let near = self.tail.shared.near();
        self.seen = near.changes;
        near.ring.give(position, since)
    }

    /// Waits until [`give`](Self::give) may say something else. Cancel-safe; it keeps its place in the line meanwhile.
    pub(crate) async fn changed(&mut self) {
        poll_fn(|cx| {
            let mut near = self.tail.shared.near();
            if near.changes == self.seen {
                near.waiting.wait(&mut self.ticket, cx.waker());
                return Poll::Pending;
            }
            let left = near.waiting.leave(&mut self.ticket);
            drop(near);
            drop(left);
            Poll::Ready(())
        })
        .await;
    }
}

/// What some readers want.
struct Interest {
    patterns: Arc<Patterns>,
    /// From where on it was looked for.
    since: OnceLock<Position>,
    key: Key,
    interests: Weak<Interests>,
}

impl Drop for Interest {
    fn drop(&mut self) {
        let Some(interests) = self.interests.upgrade() else {
            return;
        };
        let mut known = locked(&interests.0);
        // Somebody may have come with the same patterns since the last reader let go of this.
        let last = known.by_key.get(&self.key);
        if last.is_some_and(|interest| interest.strong_count() == 0) {
            known.by_key.remove(&self.key);
            known.version += 1;
        }
    }
}

/// What all readers want.
#[derive(Default)]
struct Interests(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_key: HashMap<Key, Weak<Interest>>,
    /// Changes with every entry that comes or goes.
    version: u64,
}

impl Interests {
    fn of(self: &Arc<Self>, patterns: &Arc<Patterns>) -> Arc<Interest> {
        let key = patterns.key();
        let mut known = locked(&self.0);
        if let Some(interest) = known.by_key.get(&key).and_then(Weak::upgrade) {
            return interest;
        }
        let interest = Arc::new(Interest {
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
        locked(&self.0).version
    }

    /// What matches a stream that anybody wants, for what is read from `next` on.
    fn all(&self, next: Position) -> (u64, Matching) {
        let mut all = Vec::new();
        // Let go of after the lock, which the last to hold one takes.
        let mut held = Vec::new();
        let version = {
            let known = locked(&self.0);
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
    near: Mutex<Near>,
    interests: Arc<Interests>,
}

/// What is near the head. Whoever finds nothing in the ring waits under the same lock.
struct Near {
    ring: Ring,
    /// How often readers were told to look again.
    changes: u64,
    waiting: Waiting,
}

impl Tail {
    fn start(log: &Arc<dyn Log>) -> Self {
        let mut follower = log.follow_order();
        let shared = Arc::new(Shared {
            log: Arc::clone(log),
            near: Mutex::new(Near {
                ring: Ring::new(follower.head()),
                changes: 1,
                waiting: Waiting::default(),
            }),
            interests: Arc::default(),
        });
        let pump = tokio::spawn(pump(Arc::clone(&shared), follower)).abort_handle();
        Self { shared, pump }
    }

    /// Whether it can go on. If not, its readers are told so, and the next one tries again with a new tail.
    fn is_usable(&self) -> bool {
        !self.shared.near().ring.has_failed()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Shared {
    fn near(&self) -> MutexGuard<'_, Near> {
        locked(&self.near)
    }

    /// Wakes a few of those who are to look again; whether there are more.
    fn wake_few(&self) -> bool {
        let mut near = self.near();
        let few = near.waiting.few();
        let is_due = near.waiting.is_due();
        drop(near);
        few.into_iter().for_each(Waker::wake);
        is_due
    }
}

/// Moves what is appended into the ring, until there will be no more.
async fn pump(shared: Arc<Shared>, follower: OrderFollower) {
    // However it ends, nobody is left to wait for it.
    let mut ending = Ending {
        shared: &shared,
        over: Over::Failed,
    };
    match follow(&shared, follower).await {
        Ok(()) => ending.over = Over::Closed,
        Err(error) => tracing::error!(%error, "the order of all streams can't be read"),
    }
}

/// Tells the readers that nothing follows, when it is dropped.
struct Ending<'a> {
    shared: &'a Shared,
    over: Over,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut near = self.shared.near();
        near.ring.end(self.over);
        near.changes += 1;
        let all = near.waiting.all();
        drop(near);
        all.into_iter().for_each(Waker::wake);
    }
}

/// Ends when the log is closed.
async fn follow(shared: &Shared, mut follower: OrderFollower) -> Result<(), Error> {
    let mut next = shared.near().ring.next();
    let (mut version, mut matching) = shared.interests.all(next);
    let mut filled_at = Instant::now();
    let mut woken_at = next;
    loop {
        let is_empty = shared.near().ring.is_empty();
        let met = if is_empty {
            follower.past(next).await
        } else {
            match timeout_at(filled_at + RING_IDLE, follower.past(next)).await {
                Ok(met) => met,
                Err(_) => {
                    shared.near().ring.clear();
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
        shared.near().ring.push(batches, next);
        // Whoever came while this was read may have missed something of it, and looks for itself. Where nobody wanted
        // what went by, all are told now and then how far it is.
        let is_due = next.number() - woken_at.number() >= EVENTS_SILENT;
        if !is_silent || is_due || shared.interests.version() != version {
            woken_at = next;
            let mut near = shared.near();
            near.changes += 1;
            near.waiting.rouse();
        }
        // Readers come first: what is appended meanwhile is one batch, and not many. Appends get their turn between
        // them. Besides, a log in memory is never pending.
        loop {
            let is_due = shared.wake_few();
            tokio::task::yield_now().await;
            if !is_due {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_log::{Append, Create, Durability, FjallLog, FjallOptions, Settings};

    use super::*;

    fn patterns(text: &str) -> Arc<Patterns> {
        let patterns = Patterns::parse(&[text.to_owned()]);
        Arc::new(patterns.unwrap_or_else(|_| panic!("it is a pattern")))
    }

    /// On one thread nothing comes between an append's answer and the join, so that the pump is in the middle of reading,
    /// for others, what the reader wants.
    #[tokio::test]
    async fn whoever_comes_while_what_it_wants_is_read_without_it_is_woken() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = FjallOptions::default();
        options.durability = Durability::Os;
        let log: Arc<dyn Log> = Arc::new(FjallLog::open(folder.path(), options).unwrap());
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
                            Given::Batch(_) | Given::Behind => return true,
                            Given::Wait(at) if at == place => member.changed().await,
                            Given::Wait(_) | Given::Over(_) => return false,
                        }
                    }
                };
                let found = tokio::time::timeout(std::time::Duration::from_secs(5), found).await;
                assert_eq!(found, Ok(true), "of the message at {n}");
            }
            log.close().await.unwrap();
        };
        // A task, as the pump is: which of them was woken first is the first to run.
        tokio::spawn(follow).await.unwrap();
    }

    #[tokio::test]
    async fn it_goes_with_the_last_who_follows_and_so_do_patterns() {
        let log: Arc<dyn Log> = Arc::new(headwater_log::MemoryLog::default());
        let order = OrderTail::default();
        let one = order.join(&log, &patterns("a"));
        let two = order.join(&log, &patterns("a"));
        let three = order.join(&log, &patterns("b"));
        assert!(Arc::ptr_eq(&one.tail, &two.tail) && Arc::ptr_eq(&one.interest, &two.interest));
        let known = || locked(&three.tail.shared.interests.0).by_key.len();
        assert_eq!(known(), 2);
        drop(one);
        assert_eq!(known(), 2);
        drop(two);
        assert_eq!(known(), 1);
        drop(three);
        assert!(locked(&order.0).upgrade().is_none());
    }
}
