//! A wake queue: readers that wait at a tail, in FIFO order, woken a few at a time.
//!
//! Waking thousands of readers at once would block the runtime until all of them have written, in
//! particular the appends, and the next message would find them one message behind. Therefore the
//! pump wakes a few, yields, and wakes the next few; messages that were appended meanwhile go to
//! these together. A reader waits from the time at which it was polled and found no data. So no
//! reader is woken twice for one poll, and a reader that isn't polled again delays no other one.

use std::{collections::BTreeMap, task::Waker};

use crate::limits::WOKEN_AT_ONCE;

/// A reader's place in the wake queue.
#[derive(Debug, Default)]
pub(crate) struct Ticket(Option<u64>);

impl Ticket {
    /// Returns `true` if it was issued: the reader may be waiting.
    pub(crate) fn is_taken(&self) -> bool {
        self.0.is_some()
    }
}

/// A wake queue.
#[derive(Debug, Default)]
pub(crate) struct WakeQueue {
    wakers: BTreeMap<u64, Waker>,
    /// The next ticket. No ticket is issued twice.
    next: u64,
    /// Readers with an earlier ticket than this are due.
    due: u64,
}

impl WakeQueue {
    /// Adds a reader that found no data. If it is waiting already, it keeps its place.
    pub(crate) fn wait(&mut self, ticket: &mut Ticket, waker: &Waker) {
        if let Some(known) = ticket.0.and_then(|ticket| self.wakers.get_mut(&ticket)) {
            known.clone_from(waker);
            return;
        }
        self.wakers.insert(self.next, waker.clone());
        ticket.0 = Some(self.next);
        self.next += 1;
    }

    /// Removes a reader that continues by itself or was dropped. Drop the returned waker outside of
    /// locks.
    #[must_use]
    pub(crate) fn leave(&mut self, ticket: &mut Ticket) -> Option<Waker> {
        self.wakers.remove(&ticket.0.take()?)
    }

    /// Makes all waiting readers due.
    pub(crate) fn mark_due(&mut self) {
        self.due = self.next;
    }

    /// Returns up to [`WOKEN_AT_ONCE`] due readers, longest waiting first.
    pub(crate) fn take_due(&mut self) -> Vec<Waker> {
        let mut few = Vec::new();
        while few.len() < WOKEN_AT_ONCE
            && let Some(first) = self.wakers.first_entry()
            && *first.key() < self.due
        {
            few.push(first.remove());
        }
        few
    }

    /// Returns `true` if any readers are due.
    pub(crate) fn is_due(&self) -> bool {
        self.wakers
            .first_key_value()
            .is_some_and(|(ticket, _)| *ticket < self.due)
    }

    /// Returns the number of waiting readers.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.wakers.len()
    }

    /// Returns all waiting readers, for the end of the tail.
    pub(crate) fn all(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(usize),
        Leave(usize),
        Rouse,
        Few,
    }

    fn step() -> impl Strategy<Value = Step> {
        const READERS: usize = 3 * WOKEN_AT_ONCE;
        prop_oneof![
            40 => (0..READERS).prop_map(Step::Wait),
            4 => (0..READERS).prop_map(Step::Leave),
            1 => Just(Step::Rouse),
            1 => Just(Step::Few),
        ]
    }

    proptest! {
        #[test]
        fn due_readers_are_woken_once_in_fifo_order(
            steps in prop::collection::vec(step(), 0..1000)
        ) {
            let mut wake_queue = WakeQueue::default();
            let mut readers: Vec<(Arc<Woken>, Ticket)> = Vec::new();
            readers.resize_with(3 * WOKEN_AT_ONCE, Default::default);
            // The waiting readers in order, each with `true` if it is due.
            let mut line: Vec<(usize, bool)> = Vec::new();
            for step in steps {
                match step {
                    Step::Wait(reader) => {
                        let (woken, ticket) = &mut readers[reader];
                        wake_queue.wait(ticket, &Arc::clone(woken).into());
                        if !line.iter().any(|(other, _)| *other == reader) {
                            line.push((reader, false));
                        }
                    }
                    Step::Leave(reader) => {
                        let left = wake_queue.leave(&mut readers[reader].1).is_some();
                        let before = line.len();
                        line.retain(|(other, _)| *other != reader);
                        prop_assert_eq!(left, line.len() < before);
                    }
                    Step::Rouse => {
                        wake_queue.mark_due();
                        line.iter_mut().for_each(|(_, is_due)| *is_due = true);
                    }
                    Step::Few => {
                        let few = wake_queue.take_due();
                        let due = line.iter().take_while(|(_, is_due)| *is_due).count();
                        prop_assert_eq!(few.len(), due.min(WOKEN_AT_ONCE));
                        for (waker, (reader, _)) in few.into_iter().zip(line.drain(..due.min(WOKEN_AT_ONCE))) {
                            let before = readers[reader].0.0.load(Ordering::Relaxed);
                            waker.wake();
                            prop_assert_eq!(readers[reader].0.0.load(Ordering::Relaxed), before + 1);
                        }
                    }
                }
                prop_assert_eq!(wake_queue.is_due(), line.first().is_some_and(|(_, is_due)| *is_due));
                prop_assert_eq!(wake_queue.len(), line.len());
            }
            prop_assert_eq!(wake_queue.all().len(), line.len());
            // No waker of a reader that doesn't wait is held.
            drop(wake_queue);
            prop_assert!(readers.iter().all(|(woken, _)| Arc::strong_count(woken) == 1));
        }
    }
}
