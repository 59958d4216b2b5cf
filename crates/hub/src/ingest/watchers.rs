//! Watchers of a stream that is filled only while it has any.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::limits::INGEST_FIRST_WATCH;

/// The number of watchers and the resulting deadline.
#[derive(Clone, Copy, Debug)]
struct WatcherCount {
    watchers: usize,
    /// The time at which the job ends if there is no watcher by then. `None` if that time can't be
    /// represented: it never ends.
    until: Option<Instant>,
}

/// The watchers of one stream.
#[derive(Debug)]
pub(super) struct Watchers {
    present: watch::Sender<WatcherCount>,
    keep_for: Duration,
}

impl Watchers {
    /// Starts without watchers. The first one has [`INGEST_FIRST_WATCH`] to arrive, or `keep_for`
    /// if that is longer.
    pub(super) fn new(keep_for: Duration) -> Self {
        let present = WatcherCount {
            watchers: 0,
            until: Instant::now().checked_add(keep_for.max(INGEST_FIRST_WATCH)),
        };
        Self {
            present: watch::Sender::new(present),
            keep_for,
        }
    }

    /// Counts one more watcher until the value is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> WatchGuard {
        self.count(|watchers| watchers.saturating_add(1));
        WatchGuard(Arc::clone(self))
    }

    fn count(&self, change: impl FnOnce(usize) -> usize) {
        self.present.send_modify(|present| {
            present.watchers = change(present.watchers);
            present.until = Instant::now().checked_add(self.keep_for);
        });
    }

    /// Waits until there were no watchers for `keep_for`. Uses a timer only while there are none.
    pub(super) async fn unwatched(&self) {
        let mut changes = self.present.subscribe();
        loop {
            let WatcherCount { watchers, until } = *changes.borrow_and_update();
            let left = async {
                match until {
                    Some(until) if watchers == 0 => sleep_until(until).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // `changed` doesn't fail, as `self` holds the sender.
                _ = changes.changed() => {}
                () = left => return,
            }
        }
    }
}

/// A watcher of a stream.
#[derive(Debug)]
pub(crate) struct WatchGuard(Arc<Watchers>);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.count(|watchers| watchers.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_deserted_keep_for_after_the_last_watcher_left() {
        let watchers = Arc::new(Watchers::new(Duration::ZERO));
        let start = Instant::now();
        watchers.unwatched().await;
        assert_eq!(start.elapsed(), INGEST_FIRST_WATCH);
        drop(watchers.enter());
        watchers.unwatched().await;
        assert_eq!(start.elapsed(), INGEST_FIRST_WATCH);

        let watchers = Arc::new(Watchers::new(Duration::from_secs(10)));
        let (one, two) = (watchers.enter(), watchers.enter());
        let waiting = tokio::spawn({
            let watchers = Arc::clone(&watchers);
            async move { watchers.unwatched().await }
        });
        tokio::time::sleep(Duration::from_secs(100)).await;
        drop(one);
        tokio::time::sleep(Duration::from_secs(100)).await;
        drop(two);
        tokio::time::sleep(Duration::from_secs(9)).await;
        // A watcher that leaves at once restarts the wait as well.
        drop(watchers.enter());
        let start = Instant::now();
        assert!(!waiting.is_finished());
        waiting.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unrepresentable_deadline_never_ends_the_job() {
        let watchers = Watchers::new(Duration::MAX);
        let day = Duration::from_secs(86400);
        assert!(
            tokio::time::timeout(day, watchers.unwatched())
                .await
                .is_err()
        );
    }
}
