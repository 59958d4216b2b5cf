//! Single flight: equal requests share one call while its upstream has not responded yet.

use std::{collections::HashMap, sync::Arc};

use headwater_log::StreamName;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{create::Relay, refusal::Refusal};

/// The result of a call: the relay and `true` if it was created now, or the reason for which there
/// is none.
pub(super) type Outcome = Result<(Relay, bool), Refusal>;

/// The calls in progress, by the stream that each will fill.
#[derive(Debug, Default)]
pub(super) struct SingleFlight(Arc<Mutex<HashMap<StreamName, Flight>>>);

#[derive(Debug)]
struct Flight {
    /// The fingerprint of the request.
    request: String,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// A call that this task started. It is registered until this is dropped.
struct Begun {
    all: Arc<Mutex<HashMap<StreamName, Flight>>>,
    name: StreamName,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.all.lock().remove(&self.name);
    }
}

impl SingleFlight {
    /// Returns the outcome of `work`, which is only started if there is no flight of this name.
    /// Returns `None` if that flight belongs to a different request. If this future is dropped,
    /// `work` continues, as other requests may wait for it.
    pub(super) async fn join<W>(
        &self,
        name: &StreamName,
        request: &str,
        work: impl FnOnce() -> W,
    ) -> Option<Outcome>
    where
        W: Future<Output = Outcome> + Send + 'static,
    {
        let mut outcome = {
            let mut all = self.0.lock();
            match all.get(name) {
                Some(flight) if flight.request != request => return None,
                Some(flight) => flight.outcome.clone(),
                None => {
                    let (sender, outcome) = watch::channel(None);
                    let flight = Flight {
                        request: request.to_owned(),
                        outcome: outcome.clone(),
                    };
                    all.insert(name.clone(), flight);
                    let begun = Begun {
                        all: Arc::clone(&self.0),
                        name: name.clone(),
                    };
                    let work = work();
                    tokio::spawn(async move {
                        let came = work.await;
                        // Later requests find the stream, or may try again.
                        drop(begun);
                        sender.send_replace(Some(came));
                    });
                    outcome
                }
            }
        };
        let came = outcome.wait_for(Option::is_some).await;
        let came = came.ok().and_then(|came| came.clone());
        // Without an outcome, the task has panicked.
        Some(came.unwrap_or_else(|| Err(Refusal::unavailable())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    #[tokio::test]
    async fn concurrent_equal_requests_share_one_call() {
        let single_flight = Arc::new(SingleFlight::default());
        let done = Arc::new(AtomicUsize::new(0));
        let ask = |request: &'static str| {
            let (single_flight, done) = (Arc::clone(&single_flight), Arc::clone(&done));
            tokio::spawn(async move {
                let work = || async move {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    done.fetch_add(1, Ordering::Relaxed);
                    Err(Refusal::no_relay())
                };
                single_flight.join(&name("a"), request, work).await
            })
        };
        let all: Vec<_> = (0..50).map(|_| ask("same")).collect();
        tokio::task::yield_now().await;
        let other = ask("other").await.unwrap();
        assert!(other.is_none());
        for one in all {
            let refusal = one.await.unwrap().unwrap().unwrap_err();
            assert_eq!(refusal.code(), "STREAM_NOT_FOUND");
        }
        assert_eq!(done.load(Ordering::Relaxed), 1);
        assert!(ask("other").await.unwrap().is_some(), "it may try again");
    }

    #[tokio::test]
    async fn the_first_client_may_leave_and_a_panic_is_reported() {
        let (single_flight, a) = (SingleFlight::default(), name("a"));
        let pending = single_flight.join(&a, "r", || async {
            tokio::task::yield_now().await;
            panic!("a test's")
        });
        let mut pending = Box::pin(pending);
        assert!(futures_util::FutureExt::now_or_never(pending.as_mut()).is_none());
        let joined = single_flight.join(&a, "r", || async { unreachable!("it is under way") });
        drop(pending);
        let refusal = joined.await.unwrap().unwrap_err();
        assert_eq!(refusal.code(), "UNAVAILABLE");
    }
}
