//! Ownership of a log that several hubs share: one hub at a time runs what belongs to one hub.
//!
//! Subscriptions and ingest jobs keep state that one hub alone may write. On a shared log, that hub is
//! the owner. It holds a lease, which is a record in a reserved stream of the log:
//!
//! ```text
//!                 free, or silent for LEASE + MARGIN               LEASE without a renewal
//!   candidate ──────── takes over: term + 1 ────────► owner ──────────────────────────► lapsed
//!       ▲                                               ▲ └──── renews every LEASE / 3      │
//!       │                                               └────────── renews the same term ───┤
//!       └──────── released, or refused as another hub has begun the next term ──────────────┘
//! ```
//!
//! # Safety
//!
//! At most one hub holds a valid lease at any time, whatever happens to messages on their way:
//!
//! - A term is an epoch of one producer, and a renewal its next append. The log orders them, and refuses
//!   a renewal after the next term has begun.
//! - A hub takes over under the precondition that nothing was appended since it read the newest record
//!   ([`continues`](headwater_log::Append::continues)). So of several candidates one succeeds, and none
//!   after a renewal that it hasn't read.
//! - The owner counts its lease from the moment *before* it sent the last renewal that was acknowledged.
//!   A candidate counts from the moment *after* it read that record, and waits [`OWNER_MARGIN`] longer.
//!   Both use clocks that don't jump. So the owner's lease has ended before the candidate's begins.
//!
//! It assumes that the clocks of two hubs run at about the same rate. A machine that is suspended stops
//! its clock. An owner that is resumed can take itself for valid until its next renewal is refused. What
//! it writes is refused by the log all the same: the journal of subscriptions and ingest jobs are written
//! by producers whose epochs the next owner raises.
//!
//! A lapsed owner pauses: it sends no wakes and answers no requests for this state. If it reaches the log
//! before another hub has taken over, it renews its term and continues. Its state is still the newest.

mod record;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use headwater_log::Log;
use parking_lot::Mutex;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::Instant,
};

use self::task::{Notify, Released, Task};
#[cfg(doc)]
use crate::limits::OWNER_MARGIN;

/// The part of a hub in a shared log, as far as it knows.
#[derive(Clone, Debug, Default)]
enum Role {
    /// It knows of no owner.
    #[default]
    Vacant,
    /// It is the owner, until this time unless it renews its lease.
    Owner { term: u64, until: Instant },
    /// Another hub is the owner, or was the last one.
    Other {
        term: u64,
        /// The URL at which other hubs reach it.
        url: Option<Arc<str>>,
    },
}

impl Role {
    fn term(&self) -> Option<u64> {
        match self {
            Self::Vacant => None,
            Self::Owner { term, .. } | Self::Other { term, .. } => Some(*term),
        }
    }
}

/// The hub that answers requests for the owner's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// This one.
    Here,
    /// Another one, in this term.
    There { term: u64, url: Arc<str> },
    /// Another one, which has no URL for the other hubs.
    Unreachable,
    /// None at the moment.
    Nowhere,
}

/// The ownership of a hub's log.
pub(crate) struct Ownership {
    log: Arc<dyn Log>,
    /// The URL at which other hubs reach this one.
    url: Option<String>,
    role: watch::Sender<Role>,
    running: Mutex<Option<Running>>,
}

struct Running {
    task: JoinHandle<()>,
    /// Releases the lease. `None`: it is released.
    stop: Option<oneshot::Sender<Released>>,
}

/// The right of this hub to run what belongs to the owner, in one term.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    term: u64,
    role: watch::Receiver<Role>,
}

impl Lease {
    /// Creates a lease that is valid until a time.
    #[cfg(test)]
    pub(crate) fn for_test(term: u64, until: Instant) -> Self {
        let role = watch::Sender::new(Role::Owner { term, until }).subscribe();
        Self { term, role }
    }

    /// Returns the number of the term. Each owner has a higher one than those before.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// Returns `true` if no other hub can be the owner now. Check it right before each effect outside of
    /// the log.
    pub(crate) fn is_valid(&self) -> bool {
        match *self.role.borrow() {
            Role::Owner { term, until } => term == self.term && Instant::now() < until,
            _ => false,
        }
    }
}

impl Ownership {
    /// Creates the ownership of a log, without a task that competes for it.
    pub(crate) fn new(log: Arc<dyn Log>, url: Option<String>) -> Self {
        Self {
            log,
            url,
            role: watch::Sender::default(),
            running: Mutex::default(),
        }
    }

    /// Starts to compete for the lease, once. `notify` gets the lease when this hub becomes the owner,
    /// and `None` when it is one no more. It may get `None` repeatedly.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub(crate) fn start(&self, notify: impl Fn(Option<Lease>) + Send + Sync + 'static) {
        let (stop, stopped) = oneshot::channel();
        let notify: Notify = Box::new(notify);
        let task = Task::new(
            Arc::clone(&self.log),
            self.url.clone(),
            self.role.clone(),
            notify,
        );
        let task = tokio::spawn(task.run(stopped));
        *self.running.lock() = Some(Running {
            task,
            stop: Some(stop),
        });
    }

    /// Releases the lease, if this hub has it, so that another one takes over at once. From then on this
    /// one doesn't compete for it, and follows the owner. Stop what it protects first.
    pub(crate) async fn release(&self) {
        let stop = self
            .running
            .lock()
            .as_mut()
            .and_then(|running| running.stop.take());
        if let Some(stop) = stop {
            let (release, released) = oneshot::channel();
            // If the task is gone, the lease ends by itself.
            let _ = stop.send(release);
            let _ = released.await;
        }
    }

    /// Returns the hub that answers requests for the owner's state.
    pub(crate) fn place(&self) -> Place {
        match &*self.role.borrow() {
            Role::Owner { until, .. } if Instant::now() < *until => Place::Here,
            Role::Vacant | Role::Owner { .. } => Place::Nowhere,
            Role::Other {
                term,
                url: Some(url),
            } => Place::There {
                term: *term,
                url: Arc::clone(url),
            },
            Role::Other { url: None, .. } => Place::Unreachable,
        }
    }

    /// Returns `true` if ingest jobs run on another hub, if anywhere. A lapsed owner's still run.
    pub(crate) fn is_elsewhere(&self) -> bool {
        !matches!(*self.role.borrow(), Role::Owner { .. })
    }

    /// Waits until a term is over, as far as this hub knows.
    pub(crate) fn over(&self, term: u64) -> impl Future<Output = ()> + Send + use<> {
        let mut role = self.role.subscribe();
        async move {
            let is_changed = role
                .wait_for(|role| role.term() != Some(term))
                .await
                .is_ok();
            // Without the sender the hub is gone, which ends its responses by itself.
            if !is_changed {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for Ownership {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut() {
            running.task.abort();
        }
    }
}
