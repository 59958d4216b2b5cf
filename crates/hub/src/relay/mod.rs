//! Relay: one upstream call whose response is a durable stream that any number of clients can
//! follow, now or later.
//!
//! Implements the Durable Streams Proxy Protocol. Section numbers in this module refer to it.
//!
//! ```text
//! POST /relay ─► ask ─► create ─┬─► upstream::open ─► head ─► IngestJobs::start ─► 201, Location
//!                               │      (one call)                 │ items
//!     equal requests ───────────┘                                 ▼
//! GET /relay/{id} ─► access ─► the ordinary reader ◄──── the stream in the log
//! ```
//!
//! # Names
//!
//! A relay has an id of 128 bits that can't be guessed. It is random, or derived, with a key that
//! only this hub has, from the idempotency key or, with `join=request`, from the request. Therefore
//! the same key leads to the same id, and a second request finds the relay of the first one, across
//! restarts too: the stream is the record, and its creation is the one step that counts. A relay's
//! stream is `__ds/relay/{id}`, which no other path reaches, or a public stream. In the latter
//! case, the stream's name is the second part of the relay's id, and its note contains the first.

mod authorize;
mod builder;
mod create;
mod feed;
mod http;
mod id;
mod openapi;
mod refusal;
mod request;
mod signer;
mod single_flight;
pub(crate) mod upstream;

use std::sync::{Arc, OnceLock};

use headwater_client::{Egress, internals};
use headwater_log::Log;
use reqwest::redirect::Policy;
use tokio::sync::OnceCell;

pub use self::builder::{Relay, RelayStream};
pub(crate) use self::http::routes;
use self::{refusal::Refusal, signer::Signer, single_flight::SingleFlight};
use crate::{Options, ingest::IngestJobs, state::HubState};

/// State that the relays of one hub share.
#[derive(Default)]
pub(crate) struct Relays {
    signer: OnceCell<Signer>,
    single_flight: SingleFlight,
    http: Arc<Http>,
}

impl Relays {
    /// Creates the relays of a hub. Their feeds are resumed when the jobs are recovered.
    pub(crate) fn new(log: &Arc<dyn Log>, jobs: &IngestJobs, options: &Options) -> Self {
        let relays = Self::default();
        jobs.resume_with(feed::resume(
            Arc::clone(log),
            relays.http(),
            options.upstream.allow.clone(),
            options.upstream.relay.limits.clone(),
        ));
        relays
    }

    /// Returns the signer of URLs. Its key is created and stored at the first use.
    async fn signer(&self, hub: &HubState) -> Result<&Signer, Refusal> {
        let make = async || {
            let key = hub.subscriptions.derived_key(signer::PURPOSE).await;
            key.map(Signer::new).ok_or_else(Refusal::unavailable)
        };
        self.signer.get_or_try_init(make).await
    }

    /// Returns the client for upstreams.
    fn http(&self) -> Arc<Http> {
        Arc::clone(&self.http)
    }
}

/// The HTTP client that calls upstreams, created at the first use.
#[derive(Debug, Default)]
struct Http(OnceLock<reqwest::Client>);

impl Http {
    /// Returns a client that only connects to addresses that the egress rules allow, follows no
    /// redirects and doesn't decompress (§6.1).
    ///
    /// # Errors
    /// TLS can't be set up.
    fn client(&self, egress: &Egress) -> Result<&reqwest::Client, Box<dyn std::error::Error>> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = egress
            .guard(internals::http()?)
            .redirect(Policy::none())
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build()?;
        Ok(self.0.get_or_init(|| client))
    }
}
