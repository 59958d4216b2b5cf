//! The source of items that all readers of `/paced` share, the same for Headwater and axum.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use headwater_bench::{item::Item, system};
use tokio::{
    sync::broadcast,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::BroadcastStream;

/// Number of items that a reader may be behind before it loses some.
const CAPACITY: usize = 1024;

/// The source of `/paced`.
#[derive(Clone)]
pub(crate) struct Source(broadcast::Sender<Item>);

impl Source {
    /// Starts a source of `rate` items per second.
    pub(crate) fn start(rate: u32) -> Self {
        let (sender, _) = broadcast::channel(CAPACITY);
        let items = sender.clone();
        tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for index in 0.. {
                ticks.tick().await;
                // There may be no reader.
                let _ = items.send(Item::sent_at(system::monotonic_ns(), index));
            }
        });
        Self(sender)
    }

    /// Returns the items from now on. Items that a slow reader loses are missing in the count of
    /// deliveries.
    pub(crate) fn subscribe(&self) -> impl Stream<Item = Item> + Send + use<> {
        BroadcastStream::new(self.0.subscribe()).filter_map(|item| std::future::ready(item.ok()))
    }
}
