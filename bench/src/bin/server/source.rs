//! The item source that all readers of `/paced` share, the same for Headwater and axum.

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use headwater_bench::{item::Item, system};
use tokio::{
    sync::broadcast,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::BroadcastStream;

/// How many items a reader may be behind before it loses some.
const CAPACITY: usize = 1024;

/// Where `/paced` takes its items from.
#[derive(Clone)]
pub(crate) struct Source(broadcast::Sender<Item>);

impl Source {
    /// Starts a source of `rate` items a second.
    pub(crate) fn start(rate: u32) -> Self {
        let (sender, _) = broadcast::channel(CAPACITY);
        let items = sender.clone();
        tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for index in 0.. {
                ticks.tick().await;
                // Nobody may be there to read.
                let _ = items.send(Item::sent_at(system::monotonic_ns(), index));
            }
        });
        Self(sender)
    }

    /// The items from now on. What a reader that is too slow loses shows in the count of deliveries.
    pub(crate) fn subscribe(&self) -> impl Stream<Item = Item> + Send + use<> {
        BroadcastStream::new(self.0.subscribe()).filter_map(|item| std::future::ready(item.ok()))
    }
}
