//! Who watches a stream that is filled only as long as somebody does.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::limits::FILLING_FIRST_WATCH;

/// How many watch.
#[derive(Clone, Copy, Debug)]
struct Present {
    watchers: usize,
    /// When it is over if nobody watches then, nor did meanwhile; never, if that is past the end of time.
    until: Option<Instant>,
}

/// Those who watch one stream.
#[derive(Debug)]
pub(super) struct Presence {
    present: watch::Sender<Present>,
    keep_for: Duration,
}

impl Presence {
    /// Nobody yet. The first one has [`FILLING_FIRST_WATCH`] to come, or longer if the stream is kept for longer.
    pub(super) fn new(keep_for: Duration) -> Self {
        let present = Present {
            watchers: 0,
            until: Instant::now().checked_add(keep_for.max(FILLING_FIRST_WATCH)),
        };
        Self {
            present: watch::Sender::new(present),
            keep_for,
        }
    }

    /// Counts one more until it is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Watch {
        self.count(|watchers| watchers.saturating_add(1));
        Watch(Arc::clone(self))
    }

    fn count(&self, change: impl FnOnce(usize) -> usize) {
        self.present.send_modify(|present| {
            present.watchers = change(present.watchers);
            present.until = Instant::now().checked_add(self.keep_for);
        });
    }

    /// Waits until nobody has watched for as long as it is to be kept. Costs a timer only while nobody watches.
    pub(super) async fn deserted(&self) {
        let mut changes = self.present.subscribe();
        loop {
            let Present { watchers, until } = *changes.borrow_and_update();
            let left = async {
                match until {
                    Some(until) if watchers == 0 => sleep_until(until).await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The sender is this one's own.
                _ = changes.changed() => {}
                () = left => return,
            }
        }
    }
}

/// One who watches a stream.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Presence>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.count(|watchers| watchers.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_deserted_so_long_after_the_last_left_and_not_before() {
        let presence = Arc::new(Presence::new(Duration::ZERO));
        let start = Instant::now();
        presence.deserted().await;
        assert_eq!(start.elapsed(), FILLING_FIRST_WATCH);
        drop(presence.enter());
        presence.deserted().await;
        assert_eq!(start.elapsed(), FILLING_FIRST_WATCH);

        let presence = Arc::new(Presence::new(Duration::from_secs(10)));
        let (one, two) = (presence.enter(), presence.enter());
        let waiting = tokio::spawn({
            let presence = Arc::clone(&presence);
            async move { presence.deserted().await }
        });
        tokio::time::sleep(Duration::from_secs(100)).await;
        drop(one);
        tokio::time::sleep(Duration::from_secs(100)).await;
        drop(two);
        tokio::time::sleep(Duration::from_secs(9)).await;
        // One who only looks counts as well.
        drop(presence.enter());
        let start = Instant::now();
        assert!(!waiting.is_finished());
        waiting.await.unwrap();
        assert_eq!(start.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_past_the_end_of_time_is_for_ever() {
        let presence = Presence::new(Duration::MAX);
        let day = Duration::from_secs(86400);
        assert!(
            tokio::time::timeout(day, presence.deserted())
                .await
                .is_err()
        );
    }
}
