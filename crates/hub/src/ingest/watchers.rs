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
    /// The time at which the job ends if there is no watcher by then. It has no meaning while there are any. `None` if
    /// that time can't be represented: it never ends.
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
        self.present.send_modify(|present| present.watchers += 1);
        WatchGuard {
            watchers: Arc::clone(self),
            has_watched: true,
        }
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
pub(crate) struct WatchGuard {
    watchers: Arc<Watchers>,
    has_watched: bool,
}

impl WatchGuard {
    /// Leaves as one that has read nothing: the first watcher still has its time to arrive.
    #[cfg(feature = "relay")]
    pub(crate) fn cancel(mut self) {
        self.has_watched = false;
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        let Watchers { present, keep_for } = &*self.watchers;
        present.send_modify(|present| {
            present.watchers = present.watchers.saturating_sub(1);
            if self.has_watched {
                present.until = Instant::now().checked_add(*keep_for);
            }
        });
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

    #[cfg(feature = "relay")]
    #[tokio::test(start_paused = true)]
    async fn one_that_only_starts_the_job_leaves_the_first_watcher_its_time() {
        let watchers = Arc::new(Watchers::new(Duration::ZERO));
        let start = Instant::now();
        watchers.enter().cancel();
        watchers.unwatched().await;
        assert_eq!(start.elapsed(), INGEST_FIRST_WATCH);
        // It leaves the time of one that has watched, too.
        let watchers = Arc::new(Watchers::new(Duration::from_secs(60)));
        let (start, other) = (Instant::now(), watchers.enter());
        drop(watchers.enter());
        tokio::time::sleep(Duration::from_secs(59)).await;
        other.cancel();
        watchers.unwatched().await;
        assert_eq!(start.elapsed(), Duration::from_secs(60));
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
