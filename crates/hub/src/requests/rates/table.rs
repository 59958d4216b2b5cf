//! The senders of one kind that have used something lately.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::Arc,
    time::Duration,
};

use headwater_auth::Rates;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::usage::Usage;

/// Number of parts with a lock of their own.
const SHARDS: usize = 16;

/// Minimum interval between two searches of a full shard for senders to forget.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The senders of one kind. Their number is bounded.
///
/// A sender is forgotten only once it has its whole burst and no open reader, so it gains nothing.
/// While there is no room, all further senders of a shard share one usage: they can neither escape their
/// rates nor displace others.
pub(super) struct Table<K> {
    shards: [Mutex<Shard<K>>; SHARDS],
    hasher: RandomState,
    /// Maximum number of senders of a shard.
    room: usize,
    rates: Rates,
}

struct Shard<K> {
    senders: HashMap<K, Arc<Usage>>,
    /// The usage of all senders for which there is no room.
    others: Option<Arc<Usage>>,
    swept: Option<Instant>,
}

impl<K: Hash + Eq> Table<K> {
    /// Creates a table of up to `senders` senders with these rates, in which none is known.
    pub(super) fn new(rates: Rates, senders: usize) -> Self {
        let shard = |_| {
            Mutex::new(Shard {
                senders: HashMap::new(),
                others: None,
                swept: None,
            })
        };
        Self {
            shards: std::array::from_fn(shard),
            hasher: RandomState::new(),
            room: senders.div_ceil(SHARDS),
            rates,
        }
    }

    /// Returns the usage of a sender. `own`: rates that it has of its own. `None` if nothing of it is
    /// limited.
    pub(super) fn of<Q>(&self, sender: &Q, own: &Rates) -> Option<Arc<Usage>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let rates = self.rates.overridden_by(own);
        if rates.is_unlimited() {
            return None;
        }
        let hash = self.hasher.hash_one(sender);
        let shard = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        let mut shard = self.shards[shard].lock();
        if let Some(usage) = shard.senders.get_mut(sender) {
            if *usage.rates() != rates {
                // They were changed. Its readers keep their places in the old one.
                *usage = Arc::new(Usage::new(rates));
            }
            return Some(Arc::clone(usage));
        }
        if shard.senders.len() >= self.room && !shard.sweep() {
            let others = &mut shard.others;
            let others = others.get_or_insert_with(|| Arc::new(Usage::new(self.rates)));
            return Some(Arc::clone(others));
        }
        let usage = Arc::new(Usage::new(rates));
        shard.senders.insert(sender.to_owned(), Arc::clone(&usage));
        Some(usage)
    }

    /// Returns the number of senders that are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().senders.len())
            .sum()
    }
}

impl<K: Hash + Eq> Shard<K> {
    /// Forgets senders that have used nothing. Returns `false` if there is none, or if it isn't time to
    /// search again.
    fn sweep(&mut self) -> bool {
        let now = Instant::now();
        if self
            .swept
            .is_some_and(|at| now.saturating_duration_since(at) < SWEEP_EVERY)
        {
            return false;
        }
        self.swept = Some(now);
        let before = self.senders.len();
        // One that a request uses now isn't forgotten, or its use would be.
        self.senders
            .retain(|_, usage| Arc::strong_count(usage) > 1 || !usage.is_unused());
        self.senders.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requests::rates::usage::Quantity::Requests;

    fn table(rates: &str, senders: usize) -> Table<String> {
        Table::new(rates.parse().unwrap(), senders)
    }

    fn take(table: &Table<String>, sender: &str) -> bool {
        let usage = table.of(sender, &Rates::default()).unwrap();
        usage.take(Requests, 1).is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn senders_are_counted_apart() {
        let table = table("requests=2", 100);
        for sender in ["a", "b"] {
            assert!(take(&table, sender));
            assert!(take(&table, sender));
            assert!(!take(&table, sender));
        }
        assert_eq!(table.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_senders_is_bounded_and_more_share_what_is_left() {
        let table = table("requests=2:2", SHARDS * 4);
        for n in 0..10_000 {
            take(&table, &n.to_string());
        }
        assert_eq!(table.len(), SHARDS * 4);
        // Neither a known sender nor a further one has regained anything.
        let known: Vec<_> = (0..10_000)
            .filter(|n: &i32| take(&table, &n.to_string()))
            .collect();
        assert_eq!(known.len(), SHARDS * 4, "{known:?}");
        // Once the first ones could be forgotten, there is room again.
        tokio::time::advance(SWEEP_EVERY).await;
        assert!(take(&table, "new") && take(&table, "new") && !take(&table, "new"));
        assert!(table.len() <= SHARDS * 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_with_an_open_reader_is_not_forgotten() {
        let table = table("requests=100,open=1", SHARDS);
        let none = Rates::default();
        let reader = table.of("reader", &none).unwrap().open().ok();
        tokio::time::advance(2 * SWEEP_EVERY).await;
        for n in 0..1000 {
            take(&table, &n.to_string());
            tokio::time::advance(SWEEP_EVERY).await;
        }
        assert!(table.of("reader", &none).unwrap().open().is_err());
        drop(reader);
        assert!(table.of("reader", &none).unwrap().open().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn own_rates_replace_those_of_all_and_may_change() {
        let table = table("requests=1", 100);
        let own = |text: &str| text.parse::<Rates>().unwrap();
        let count = |own: &Rates| {
            let usage = table.of("a", own).unwrap();
            (0..100).filter(|_| usage.take(Requests, 1).is_ok()).count()
        };
        assert_eq!(count(&own("requests=5")), 5);
        assert_eq!(count(&own("requests=5")), 0);
        assert_eq!(count(&own("requests=7")), 7);
        let unlimited = Table::<String>::new(Rates::default(), 100);
        assert!(unlimited.of("a", &Rates::default()).is_none());
        assert!(unlimited.of("a", &own("open=1")).is_some());
    }
}
