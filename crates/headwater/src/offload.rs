//! CPU-bound work, outside the async workers.

use std::{
    panic,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::{
    sync::Semaphore,
    task::{self, JoinError},
};

/// Signals to work run by [`offload`] that its caller dropped the future.
///
/// Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    /// Returns `true` if the caller has dropped the future. The result of the work is discarded.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns the flag, for `schema::CheckBudget::cancelled_by`.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// Sets the flag when the caller drops the future.
struct AbandonOnDrop(Abandoned);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Runs CPU-bound work on a blocking thread, so that it delays no other request.
///
/// An async worker that computes for 100 ms serves no other request meanwhile. The number of
/// concurrent calls in the process is bounded: one less than the number of cores, and at least two.
/// Further calls wait in order.
///
/// A panic of the work propagates to the caller.
///
/// # Cancel safety
/// If the future is dropped before the work begins, the work doesn't run. Work that has begun
/// continues, and sees the drop in [`Abandoned`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let sum = headwater::offload(|abandoned| {
///     (0..1_000_000_u64).take_while(|_| !abandoned.is_set()).sum::<u64>()
/// });
/// assert_eq!(sum.await, 499_999_500_000);
/// # });
/// ```
pub async fn offload<T: Send + 'static>(work: impl FnOnce(&Abandoned) -> T + Send + 'static) -> T {
    static TURNS: OnceLock<Arc<Semaphore>> = OnceLock::new();
    let turns = TURNS.get_or_init(|| {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Semaphore::new(cores.saturating_sub(1).max(2)))
    });
    let Ok(turn) = turns.clone().acquire_owned().await else {
        unreachable!("the semaphore is never closed")
    };
    let abandoned = Abandoned::default();
    let seen = abandoned.clone();
    let _leaving = AbandonOnDrop(abandoned);
    let done = task::spawn_blocking(move || {
        let result = work(&seen);
        // Held until the work ends, even if the caller has left.
        drop(turn);
        result
    });
    done.await.unwrap_or_else(|error| of_panic(error))
}

fn of_panic<T>(error: JoinError) -> T {
    match error.try_into_panic() {
        Ok(payload) => panic::resume_unwind(payload),
        Err(error) => panic!("the runtime that was to run the work has shut down: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_work_propagates_to_the_caller() {
        let caller = tokio::spawn(offload(|_| panic!("of the work")));
        let payload = caller.await.unwrap_err().into_panic();
        assert_eq!(payload.downcast_ref(), Some(&"of the work"));
    }

    #[tokio::test]
    async fn work_detects_that_its_caller_left() {
        let (started, has_started) = tokio::sync::oneshot::channel();
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        let caller = tokio::spawn(offload(move |abandoned| {
            started.send(()).unwrap();
            while !abandoned.is_set() {
                thread::sleep(Duration::from_millis(1));
            }
            ended.send(()).unwrap();
        }));
        has_started.await.unwrap();
        caller.abort();
        has_ended.await.unwrap();
    }
}
