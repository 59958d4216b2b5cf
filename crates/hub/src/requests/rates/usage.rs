//! The use of one sender.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use headwater_auth::Rates;
use http::HeaderValue;

use super::{
    bucket::{Bucket, Spent},
    fields,
};

/// A quantity that a rate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantity {
    Requests,
    Messages,
    Bytes,
    Created,
    Open,
}

impl Quantity {
    /// Returns the name of its policy in the header fields, and its name in a setting.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Created => "created",
            Self::Open => "open",
        }
    }
}

/// A use that isn't allowed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(super) quantity: Quantity,
    /// Time until it is allowed. `None` if that depends on the sender.
    pub(super) wait: Option<Duration>,
}

/// The use of one sender, and its rates.
pub(super) struct Usage {
    rates: Rates,
    /// The value of `RateLimit-Policy`.
    pub(super) policy: Option<HeaderValue>,
    requests: Option<Bucket>,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    created: Option<Bucket>,
    open: AtomicU32,
}

impl Usage {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            policy: fields::policy(&rates),
            requests: rates.requests.map(Bucket::new),
            messages: rates.messages.map(Bucket::new),
            bytes: rates.bytes.map(Bucket::new),
            created: rates.created.map(Bucket::new),
            open: AtomicU32::new(0),
            rates,
        }
    }

    pub(super) fn rates(&self) -> &Rates {
        &self.rates
    }

    fn bucket(&self, quantity: Quantity) -> Option<&Bucket> {
        match quantity {
            Quantity::Requests => self.requests.as_ref(),
            Quantity::Messages => self.messages.as_ref(),
            Quantity::Bytes => self.bytes.as_ref(),
            Quantity::Created => self.created.as_ref(),
            Quantity::Open => None,
        }
    }

    /// Uses an amount if there is something left of the quantity, even if it is less.
    ///
    /// # Errors
    /// There is nothing left. Nothing is used.
    pub(super) fn take(&self, quantity: Quantity, amount: u64) -> Result<(), Excess> {
        let Some(bucket) = self.bucket(quantity) else {
            return Ok(());
        };
        bucket.take(amount).map_err(|Spent(wait)| Excess {
            quantity,
            wait: Some(wait),
        })
    }

    /// Uses an amount, whatever is left.
    pub(super) fn owe(&self, quantity: Quantity, amount: u64) {
        if let Some(bucket) = self.bucket(quantity) {
            bucket.owe(amount);
        }
    }

    /// Takes back a use.
    pub(super) fn give_back(&self, quantity: Quantity, amount: u64) {
        if let Some(bucket) = self.bucket(quantity) {
            bucket.give_back(amount);
        }
    }

    /// Returns how much is left. `None` if the quantity has no rate.
    pub(super) fn left(&self, quantity: Quantity) -> Option<Result<u32, Spent>> {
        self.bucket(quantity).map(Bucket::left)
    }

    /// Returns the time after which the burst is available if `left` is left now.
    pub(super) fn refill(&self, quantity: Quantity, left: u32) -> Duration {
        let bucket = self.bucket(quantity);
        bucket.map_or(Duration::ZERO, |bucket| bucket.refill(left))
    }

    /// Takes a place of a live reader.
    ///
    /// # Errors
    /// All places are taken.
    pub(super) fn open(self: &Arc<Self>) -> Result<OpenReader, Excess> {
        let most = self.rates.open.unwrap_or(u32::MAX);
        let more = |open: u32| (open < most).then(|| open + 1);
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        match taken {
            Ok(_) => Ok(OpenReader(Arc::clone(self))),
            Err(_) => Err(Excess {
                quantity: Quantity::Open,
                wait: None,
            }),
        }
    }

    /// Returns `true` if a new one would be the same: it can be forgotten.
    pub(super) fn is_unused(&self) -> bool {
        let buckets = [&self.requests, &self.messages, &self.bytes, &self.created];
        self.open.load(Ordering::Relaxed) == 0 && buckets.into_iter().flatten().all(Bucket::is_full)
    }
}

/// A place of a live reader, freed on drop.
pub(super) struct OpenReader(Arc<Usage>);

impl Drop for OpenReader {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(rates: &str) -> Arc<Usage> {
        Arc::new(Usage::new(rates.parse().unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn each_quantity_has_a_rate_of_its_own() {
        let one = usage("requests=1,messages=2,bytes=1MiB,created=3");
        for (quantity, times) in [
            (Quantity::Requests, 1),
            (Quantity::Messages, 2),
            (Quantity::Created, 3),
        ] {
            for _ in 0..times {
                assert_eq!(one.take(quantity, 1), Ok(()));
            }
            let excess = one.take(quantity, 1).unwrap_err();
            assert_eq!(excess.quantity, quantity);
        }
        assert_eq!(one.take(Quantity::Bytes, 2 << 20), Ok(()));
        assert!(one.take(Quantity::Bytes, 1).is_err());
        assert!(!one.is_unused());
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(one.is_unused());
    }

    #[test]
    fn what_has_no_rate_is_not_limited() {
        let one = usage("requests=1");
        for _ in 0..1000 {
            assert_eq!(one.take(Quantity::Messages, 1000), Ok(()));
        }
        let open: Vec<_> = (0..1000).map(|_| one.open().ok().unwrap()).collect();
        assert!(!one.is_unused());
        drop(open);
        assert!(one.is_unused());
    }

    #[test]
    fn a_reader_frees_its_place() {
        let one = usage("open=2");
        let (first, second) = (one.open().ok(), one.open().ok());
        assert!(first.is_some() && second.is_some());
        let excess = one.open().err().unwrap();
        assert_eq!((excess.quantity, excess.wait), (Quantity::Open, None));
        drop(first);
        assert!(one.open().is_ok());
        assert!(usage("open=0").open().is_err());
    }
}
