//! Memory for data on its way to readers: one chunk for each reader, and a budget for everything
//! larger.
//!
//! A reader that doesn't read holds its last chunk. Up to [`CHUNK_BYTES`] that is bounded by the
//! number of readers. A larger message, or the response to a catch-up read, takes memory from the
//! budget of all readers, and returns it when its last byte was sent or its connection has ended.
//! Readers of the same large message share it, so it counts once. The readers of one address have
//! only a share of the budget, so that those that don't read leave room for others.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use headwater_log::{Incarnation, Mark};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::{
    limits::{CHUNK_BYTES, READS_AT_ONCE},
    requests::peer::Peer,
};

/// The budget of all readers of a hub, as one reader uses it.
#[derive(Clone)]
pub(crate) struct Outgoing {
    budget: Arc<Budget>,
    /// `None` if it is unknown.
    peer: Option<Peer>,
}

struct Budget {
    /// One permit for each KiB.
    memory: Arc<Semaphore>,
    total: u32,
    /// KiB for the readers of one address.
    share: u32,
    /// The shares of the addresses whose readers hold memory or wait for some.
    shares: Mutex<HashMap<Peer, Weak<Share>>>,
    reads: Semaphore,
    large: Mutex<HashMap<Key, Slot>>,
}

/// The share of one address.
struct Share {
    memory: Arc<Semaphore>,
    peer: Peer,
    home: Weak<Budget>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else {
            return;
        };
        let mut shares = home.shares.lock();
        // It may have been replaced meanwhile.
        if shares
            .get(&self.peer)
            .is_some_and(|share| share.strong_count() == 0)
        {
            shares.remove(&self.peer);
        }
    }
}

/// A message in a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    incarnation: Incarnation,
    next: u64,
    form: u8,
}

impl Key {
    /// Creates the key of the message before `next`, in the form with this number.
    pub(crate) fn new<P: Copy + Into<u64>>(next: Mark<P>, form: u8) -> Self {
        Self {
            incarnation: next.incarnation,
            next: next.at.into(),
            form,
        }
    }

    /// Creates the key of the message before `next`, as it is stored.
    pub(crate) fn plain(next: Mark) -> Self {
        Self::new(next, PLAIN)
    }
}

/// The form of a message as it is stored. The forms of events and lines have lower numbers.
const PLAIN: u8 = u8::MAX;

/// Large data, if a reader is sending it. It is locked while it is read and encoded.
type Slot = Arc<tokio::sync::Mutex<Weak<Large>>>;

struct Large {
    bytes: Bytes,
    _memory: Memory,
    key: Key,
    home: Weak<Budget>,
}

/// A reader's reference to large data.
struct Held(Arc<Large>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.forget(&self.key);
        }
    }
}

/// Memory for a number of bytes, returned on drop.
pub(crate) struct Memory {
    all: OwnedSemaphorePermit,
    own: Own,
}

impl Memory {
    /// Splits off memory for this many bytes, or what there is.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Self> {
        let part = |permit: &mut OwnedSemaphorePermit| {
            permit.split(permit.num_permits().min(kibibytes(bytes) as usize))
        };
        let own = match &mut self.own {
            Some((permit, share)) => Some((part(permit)?, Arc::clone(share))),
            None => None,
        };
        let all = part(&mut self.all)?;
        Some(Self { all, own })
    }

    /// Returns what it has beyond this many bytes.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let own = self.own.as_mut().map(|(permit, _)| permit);
        for permit in [Some(&mut self.all), own].into_iter().flatten() {
            let kept = kibibytes(bytes) as usize;
            drop(permit.split(permit.num_permits().saturating_sub(kept)));
        }
    }
}

/// Memory of an address's share. `None` if the address is unknown.
type Own = Option<(OwnedSemaphorePermit, Arc<Share>)>;

impl Outgoing {
    /// Creates a budget of this many bytes, of which the readers of one address may use `share`.
    pub(crate) fn new(bytes: usize, share: usize) -> Self {
        let total = kibibytes(bytes).max(1);
        Self {
            budget: Arc::new(Budget {
                memory: Arc::new(Semaphore::new(total as usize)),
                total,
                share: kibibytes(share).clamp(1, total),
                shares: Mutex::default(),
                reads: Semaphore::new(READS_AT_ONCE),
                large: Mutex::default(),
            }),
            peer: None,
        }
    }

    /// Returns the budget as the readers of this address use it.
    pub(crate) fn of(&self, peer: Option<Peer>) -> Self {
        Self {
            budget: Arc::clone(&self.budget),
            peer,
        }
    }

    /// Waits for a turn to read from the log. Hold it until the messages are encoded or dropped,
    /// and never while waiting for memory.
    pub(crate) async fn read_turn(&self) -> SemaphorePermit<'_> {
        match self.budget.reads.acquire().await {
            Ok(turn) => turn,
            Err(_) => unreachable!("the semaphore is never closed"),
        }
    }

    /// Takes memory, if enough is free. A request that is larger than the budget, or than the share
    /// of one address, takes all of it.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Memory> {
        let own = self.try_own(bytes)?;
        let memory = Arc::clone(&self.budget.memory);
        let all = memory.try_acquire_many_owned(self.permits(bytes)).ok()?;
        Some(Memory { all, own })
    }

    /// Takes memory of the address's share, if enough is free.
    fn try_own(&self, bytes: usize) -> Option<Own> {
        let Some(share) = self.own_share() else {
            return Some(None);
        };
        let memory = Arc::clone(&share.memory);
        let permit = memory.try_acquire_many_owned(self.own_permits(bytes));
        Some(Some((permit.ok()?, share)))
    }

    /// Waits for memory of the address's share, in FIFO order.
    async fn take_own(&self, bytes: usize) -> Own {
        let share = self.own_share()?;
        let permit = acquire(&share.memory, self.own_permits(bytes)).await;
        Some((permit, share))
    }

    /// Returns the share of the reader's address, if that is known.
    fn own_share(&self) -> Option<Arc<Share>> {
        let peer = self.peer?;
        let mut shares = self.budget.shares.lock();
        if let Some(share) = shares.get(&peer).and_then(Weak::upgrade) {
            return Some(share);
        }
        let share = Arc::new(Share {
            memory: Arc::new(Semaphore::new(self.budget.share as usize)),
            peer,
            home: Arc::downgrade(&self.budget),
        });
        shares.insert(peer, Arc::downgrade(&share));
        Some(share)
    }

    fn permits(&self, bytes: usize) -> u32 {
        kibibytes(bytes).clamp(1, self.budget.total)
    }

    fn own_permits(&self, bytes: usize) -> u32 {
        kibibytes(bytes).clamp(1, self.budget.share)
    }

    /// Returns large data, if a reader is sending it.
    pub(crate) fn known(&self, key: &Key) -> Option<Bytes> {
        let slot = self.budget.large.lock().get(key).cloned()?;
        let large = slot.try_lock().ok()?.upgrade()?;
        Some(Bytes::from_owner(Held(large)))
    }

    /// Returns large data of about `bytes` bytes. `make` reads and encodes it, with the memory and in
    /// a turn, unless a reader is sending it at this time.
    ///
    /// # Errors
    /// Errors of `make`. The next call runs `make` again.
    pub(crate) async fn large<F, E>(&self, key: Key, bytes: usize, make: F) -> Result<Bytes, E>
    where
        F: AsyncFnOnce() -> Result<Bytes, E>,
    {
        let mut own = None;
        let (mut known, own) = loop {
            let slot = Arc::clone(self.budget.large.lock().entry(key).or_default());
            let known = Arc::clone(&slot).lock_owned().await;
            if let Some(large) = known.upgrade() {
                return Ok(Bytes::from_owner(Held(large)));
            }
            if let Some(own) = own.or_else(|| self.try_own(bytes)) {
                break (known, own);
            }
            // The slot is left to others: readers of other addresses have shares of their own.
            drop(known);
            self.budget.leave(&key, &slot);
            own = Some(self.take_own(bytes).await);
        };
        // Removes the slot if this is cancelled or fails.
        let mut unused = Unused {
            home: &self.budget,
            key: Some(key),
        };
        let memory = Memory {
            all: acquire(&self.budget.memory, self.permits(bytes)).await,
            own,
        };
        let turn = self.read_turn().await;
        let made = make().await?;
        drop(turn);
        let large = self.hold(key, made, memory);
        *known = Arc::downgrade(&large);
        unused.key = None;
        Ok(Bytes::from_owner(Held(large)))
    }

    /// Ties memory to data: it is returned when the last part of the data is dropped. Until then,
    /// other readers [know](Self::known) the data.
    pub(crate) fn share(&self, key: Key, bytes: Bytes, memory: Memory) -> Bytes {
        let large = self.hold(key, bytes, memory);
        let slot = tokio::sync::Mutex::new(Arc::downgrade(&large));
        self.budget.large.lock().insert(key, Arc::new(slot));
        Bytes::from_owner(Held(large))
    }

    fn hold(&self, key: Key, bytes: Bytes, memory: Memory) -> Arc<Large> {
        Arc::new(Large {
            bytes,
            _memory: memory,
            key,
            home: Arc::downgrade(&self.budget),
        })
    }

    /// Returns the number of large messages that are known.
    #[cfg(test)]
    fn count(&self) -> usize {
        self.budget.large.lock().len()
    }

    /// Returns the free part of the budget in KiB.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.budget.memory.available_permits()
    }
}

/// Removes the slot of a message that wasn't created.
struct Unused<'a> {
    home: &'a Budget,
    key: Option<Key>,
}

impl Drop for Unused<'_> {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.home.forget(key);
        }
    }
}

impl Budget {
    /// Removes a message that isn't sent any more. If it is created again meanwhile, that merely
    /// repeats the work.
    fn forget(&self, key: &Key) {
        self.large.lock().remove(key);
    }

    /// Removes a slot without data, unless others use it.
    fn leave(&self, key: &Key, slot: &Slot) {
        let mut large = self.large.lock();
        if Arc::strong_count(slot) == 2 {
            large.remove(key);
        }
    }
}

async fn acquire(memory: &Arc<Semaphore>, permits: u32) -> OwnedSemaphorePermit {
    match Arc::clone(memory).acquire_many_owned(permits).await {
        Ok(permit) => permit,
        Err(_) => unreachable!("the semaphore is never closed"),
    }
}

/// Converts bytes to KiB, rounded up.
fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10))
        .unwrap_or(u32::MAX >> 3)
        .min(u32::MAX >> 3)
}

/// Returns `true` if data takes more than one chunk, with some tolerance.
pub(crate) fn is_large(bytes: usize) -> bool {
    bytes > CHUNK_BYTES + CHUNK_BYTES / 4
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, future::join_all};
    use headwater::Problem;
    use headwater_log::{Identity, Position};

    use super::*;
    use crate::requests::peer::tests::peer;

    fn key(at: u64) -> Key {
        Key::new(Mark::in_order(Position::new(at), Identity::new(1)), 0)
    }

    #[tokio::test]
    async fn readers_of_one_message_share_it_and_it_counts_once() {
        let outgoing = Outgoing::new(1 << 20, 1 << 20);
        let made = std::cell::Cell::new(0);
        let read = |at: u64| {
            outgoing.large(key(at), 512 << 10, async || {
                made.set(made.get() + 1);
                tokio::task::yield_now().await;
                Ok::<_, Problem>(Bytes::from(vec![b'x'; 512 << 10]))
            })
        };
        let all = join_all((0..200).map(|_| read(1))).await;
        assert_eq!((made.get(), outgoing.free(), outgoing.count()), (1, 512, 1));
        let other = read(2).await;
        assert_eq!(outgoing.free(), 0);
        assert!(
            read(3).now_or_never().is_none(),
            "there is no memory for a third"
        );
        let part = all.into_iter().next_back().unwrap().unwrap().slice(7..9);
        assert_eq!((outgoing.free(), outgoing.count()), (0, 2));
        drop(part);
        assert_eq!((outgoing.free(), outgoing.count()), (512, 1));
        drop((read(3).await, other));
        assert_eq!((outgoing.free(), outgoing.count()), (1024, 0));
    }

    #[test]
    fn memory_is_returned_in_parts() {
        let outgoing = Outgoing::new(1 << 20, 512 << 10).of(peer("192.0.2.1"));
        let mut memory = outgoing.try_take(512 << 10).unwrap();
        memory.shrink(300 << 10);
        assert_eq!(outgoing.free(), 724);
        memory.shrink(400 << 10);
        let part = memory.split(100 << 10).unwrap();
        assert_eq!(outgoing.free(), 724, "it only has two owners now");
        drop(memory);
        assert_eq!(outgoing.free(), 924);
        let other = outgoing.try_take(412 << 10).expect("of the share, too");
        assert!(outgoing.try_take(1).is_none());
        let mut part = part;
        let all = part.split(1 << 30).unwrap();
        drop(part);
        assert_eq!(outgoing.free(), 512);
        drop((all, other));
        assert_eq!(outgoing.free(), 1024);
    }

    #[tokio::test]
    async fn a_message_that_fails_leaves_nothing_behind() {
        let outgoing = Outgoing::new(1 << 20, 1 << 20);
        let failed = outgoing.large(key(1), 1 << 30, async || Err(Problem::bad_request("no")));
        assert!(failed.await.is_err());
        let left = outgoing.large(key(1), 1 << 30, async || {
            std::future::pending::<Result<_, Problem>>().await
        });
        assert!(left.now_or_never().is_none());
        assert_eq!((outgoing.free(), outgoing.count()), (1024, 0));
    }

    #[test]
    fn memory_is_held_as_long_as_any_part_of_the_bytes() {
        let outgoing = Outgoing::new(64 << 10, 64 << 10);
        let memory = outgoing.try_take(10_000).unwrap();
        let bytes = outgoing.share(key(1), Bytes::from_static(b"abc"), memory);
        assert_eq!((outgoing.free(), outgoing.count()), (54, 1));
        let other = outgoing.known(&key(1)).unwrap();
        assert_eq!((&*other, outgoing.known(&key(2))), (&b"abc"[..], None));
        let part = other.slice(1..);
        drop((bytes, other));
        assert_eq!(outgoing.free(), 54);
        drop(part);
        assert_eq!((outgoing.free(), outgoing.count()), (64, 0));
        assert!(outgoing.try_take(65 << 10).is_some(), "all of it is enough");
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_others() {
        let outgoing = Outgoing::new(1 << 20, 512 << 10);
        let one = outgoing.of(peer("192.0.2.1"));
        let two = outgoing.of(peer("192.0.2.2"));
        // It is larger than its share, so it takes all of that.
        let large = one.try_take(600 << 10).unwrap();
        assert_eq!(outgoing.free(), 424);
        assert!(one.try_take(1).is_none());
        let mut waiting = Box::pin(one.take_own(1));
        assert!((&mut waiting).now_or_never().is_none());
        // Readers that wait for a share don't delay others.
        let other = two.try_take(400 << 10).unwrap();
        assert!(two.try_take(100 << 10).is_none(), "of the budget");
        assert!(outgoing.try_take(24 << 10).is_some(), "of no address");
        drop(large);
        drop((waiting.await, other));
        assert_eq!(outgoing.free(), 1024);
        assert!(outgoing.budget.shares.lock().is_empty());
    }

    #[tokio::test]
    async fn an_address_that_waits_for_its_share_holds_up_no_reader_of_the_same_message() {
        let outgoing = Outgoing::new(1 << 20, 256 << 10);
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|address| outgoing.of(peer(address)));
        let bytes = 256 << 10;
        let read = |reader: &Outgoing, at: u64| {
            let reader = reader.clone();
            async move {
                let made = async || Ok::<_, Problem>(Bytes::from(vec![b'x'; bytes]));
                reader.large(key(at), bytes, made).await
            }
        };
        let held = read(&one, 1).await;
        let mut waiting = Box::pin(read(&one, 2));
        assert!((&mut waiting).now_or_never().is_none(), "of its share");
        assert_eq!(outgoing.count(), 1, "it leaves no slot behind");
        let other = read(&two, 2).now_or_never().expect("it doesn't wait");
        drop(held);
        assert!(waiting.now_or_never().is_some(), "the message is known");
        assert_eq!(outgoing.free(), 768, "once");
        drop(other);
        assert_eq!((outgoing.free(), outgoing.count()), (1024, 0));
    }
}
