//! The state that a hub's requests share.

use std::sync::{Arc, OnceLock};

use headwater_log::Log;
use tokio::time::timeout;

use crate::{
    Options,
    access::Access,
    error::Failure,
    fanout::{all::OrderTail, send_budget::Outgoing, stream::Tails},
    http::{producer_sequencer::ProducerSequencer, schema::Schemas},
    ingest::IngestJobs,
    limits::OWNER_RELEASE,
    ownership::{Lease, Ownership},
    permits::Permits,
    requests::{
        body::Bodies,
        rates::{Meter, RateLimiter, Seat},
    },
    subscriptions::Subscriptions,
};

/// The state of a hub. Endpoints see all of it; a service is given the parts that it needs.
pub(crate) struct HubState {
    /// Stores the streams.
    pub(crate) log: Arc<dyn Log>,
    /// The options, as they were when the hub was built.
    pub(crate) options: Options,
    /// Compiled schemas of streams, the most recently used ones.
    pub(crate) schemas: Schemas,
    /// The credentials that callers need. `None`: every caller may do everything.
    pub(crate) access: Option<Arc<Access>>,
    /// The use of all senders. `None`: no sender is limited.
    pub(crate) rates: Option<Arc<RateLimiter>>,
    /// The fan-out of each stream that has live readers.
    pub(crate) tails: Arc<Tails>,
    /// The fan-out of all streams, for `/events`.
    pub(crate) order: OrderTail,
    /// Permits of live readers.
    pub(crate) reader_permits: Permits,
    /// Permits of exports and imports.
    pub(crate) moves: Permits,
    /// The budget for request bodies in memory.
    pub(crate) bodies: Bodies,
    /// The budget for bytes on their way out.
    pub(crate) outgoing: Outgoing,
    /// Orders the appends of a producer that arrive on several connections.
    pub(crate) sequencer: ProducerSequencer,
    /// The jobs that fill streams in the background.
    pub(crate) ingest_jobs: IngestJobs,
    /// The permits and connections of `/gather`.
    #[cfg(feature = "gather")]
    pub(crate) gathers: crate::gather::Gathers,
    /// Relays: upstream calls in flight, and what signs their URLs.
    #[cfg(feature = "relay")]
    pub(crate) relays: crate::relay::Relays,
    /// Subscriptions with their webhooks and leases.
    pub(crate) subscriptions: Subscriptions,
    /// The lease on a log that other hubs use too. `None`: this hub is alone.
    pub(crate) ownership: Option<Ownership>,
    /// Set when the background work is started.
    pub(crate) started: OnceLock<()>,
}

impl HubState {
    /// Starts the background work, once. Returns `true` if this call started it.
    pub(crate) fn start(self: &Arc<Self>) -> bool {
        let is_first = self.started.set(()).is_ok();
        if is_first {
            if let Some(access) = &self.access {
                access.start();
            }
            match &self.ownership {
                None => {
                    self.ingest_jobs.recover();
                    self.subscriptions.start(None);
                }
                Some(ownership) => {
                    let hub = Arc::downgrade(self);
                    ownership.start(move |lease| {
                        if let Some(hub) = hub.upgrade() {
                            hub.set_lease(lease);
                        }
                    });
                }
            }
        }
        is_first
    }

    /// Starts or stops what the owner of a shared log runs.
    fn set_lease(&self, lease: Option<Lease>) {
        match lease {
            Some(lease) => {
                self.ingest_jobs.resume();
                self.subscriptions.start(Some(lease));
            }
            None => {
                self.subscriptions.stop();
                self.ingest_jobs.pause();
            }
        }
    }

    /// Stops the background work. See [`Hub::stop`](crate::Hub::stop).
    pub(crate) async fn stop(&self) {
        let Some(ownership) = &self.ownership else {
            return self.ingest_jobs.stop().await;
        };
        self.subscriptions.stop();
        let mut jobs = std::pin::pin!(self.ingest_jobs.stop());
        // The next owner closes or resumes the streams of jobs that take longer.
        let stopped = timeout(OWNER_RELEASE, &mut jobs).await;
        ownership.release().await;
        if stopped.is_err() {
            jobs.await;
        }
    }

    /// Takes the place of a live reader.
    ///
    /// # Errors
    /// 429: all places are taken, or those of the sender.
    pub(crate) fn seat(&self, meter: &Meter) -> Result<Seat, Failure> {
        meter.seat(self.reader_permits.take()?)
    }

    /// Starts the background work of a hub that is used without having been started.
    pub(crate) fn ensure_started(self: &Arc<Self>) {
        if self.start() {
            tracing::warn!(
                "the hub is started by its first use: without Hub::start, the feeds and webhooks of an earlier \
                 process wait for that"
            );
        }
    }
}
