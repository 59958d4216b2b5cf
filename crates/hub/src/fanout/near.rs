//! The state that a pump and its readers share near a tail: the ring, and the readers that wait for
//! it, under one lock. So no change is missed between a lookup and the wait for the next one.

use std::{
    future::poll_fn,
    task::{Poll, Waker},
};

use parking_lot::{Mutex, MutexGuard};

use super::wake_queue::{Ticket, WakeQueue};

/// A ring with its waiting readers.
pub(crate) struct Near<R>(Mutex<State<R>>);

pub(crate) struct State<R> {
    pub(crate) ring: R,
    /// Number of times that readers were asked to look again.
    pub(crate) changes: u64,
    pub(crate) wake_queue: WakeQueue,
}

impl<R> Near<R> {
    pub(crate) fn new(ring: R) -> Self {
        Self(Mutex::new(State {
            ring,
            changes: 1,
            wake_queue: WakeQueue::default(),
        }))
    }

    /// Locks the state.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.0.lock()
    }

    /// Changes the ring. All waiting readers become due for [`wake_batch`](Self::wake_batch).
    pub(crate) fn change(&self, change: impl FnOnce(&mut R)) {
        let mut near = self.lock();
        change(&mut near.ring);
        near.changes += 1;
        near.wake_queue.mark_due();
    }

    /// Wakes a few of the due readers. Returns `true` if more are due.
    pub(crate) fn wake_batch(&self) -> bool {
        let mut near = self.lock();
        let few = near.wake_queue.take_due();
        let is_due = near.wake_queue.is_due();
        drop(near);
        few.into_iter().for_each(Waker::wake);
        is_due
    }

    /// Waits until `look` finds something. Cancel-safe: the reader keeps its place in the wake
    /// queue until it [leaves](Self::leave).
    pub(crate) async fn wait<T>(
        &self,
        ticket: &mut Ticket,
        mut look: impl FnMut(&mut State<R>) -> Option<T>,
    ) -> T {
        poll_fn(|cx| {
            let mut near = self.lock();
            let Some(found) = look(&mut near) else {
                near.wake_queue.wait(ticket, cx.waker());
                return Poll::Pending;
            };
            let left = near.wake_queue.leave(ticket);
            drop(near);
            drop(left);
            Poll::Ready(found)
        })
        .await
    }

    /// Removes a reader that may be waiting.
    pub(crate) fn leave(&self, ticket: &mut Ticket) {
        if ticket.is_taken() {
            let left = self.lock().wake_queue.leave(ticket);
            drop(left);
        }
    }
}

/// Ends the ring and wakes all readers when dropped: however the pump ends, no reader may be left
/// waiting.
pub(crate) struct Ending<'a, R, E: Copy> {
    pub(crate) near: &'a Near<R>,
    pub(crate) end: fn(&mut R, E),
    pub(crate) over: E,
}

impl<R, E: Copy> Drop for Ending<'_, R, E> {
    fn drop(&mut self) {
        let mut near = self.near.lock();
        (self.end)(&mut near.ring, self.over);
        near.changes += 1;
        let all = near.wake_queue.all();
        drop(near);
        all.into_iter().for_each(Waker::wake);
    }
}
