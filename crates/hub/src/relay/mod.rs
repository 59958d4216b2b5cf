//! Relay: one call to an upstream, its answer a durable stream that anyone may follow, now or later.
//!
//! It speaks the Durable Streams Proxy Protocol. Section numbers in this module are that text's.
//!
//! ```text
//! POST /relay ─► ask ─► create ─┬─► upstream::open ─► head ─► Fillings::start ─► 201, Location
//!                               │      (one call)                 │ items
//!     those who join ───────────┘                                 ▼
//! GET /relay/{id} ─► access ─► the ordinary reader ◄──── the stream in the log
//! ```
//!
//! # Names
//!
//! A relay has an id, of 128 bits that nobody can guess: random, or made of the idempotency key, or of the request where
//! that is what others join by, with a key that only this hub has. So the same key is the same id, and who asks second
//! finds what the first one made, across restarts too: the stream is the record, and creating it is the one step that
//! counts. A relay's stream is `__ds/relay/{id}`, which no other path reaches; or one among the public streams, whose name
//! is then the second part of the relay's id, and whose note has the first.

mod access;
mod ask;
mod create;
mod describe;
mod feed;
mod flights;
mod handler;
mod http;
mod id;
mod refusal;
mod signer;
pub(crate) mod upstream;

use std::sync::{Arc, OnceLock};

use ::http::HeaderMap;
use headwater_client::Egress;
use reqwest::redirect::Policy;
use tokio::sync::OnceCell;

pub use self::handler::{Relay, Relayed};
pub(crate) use self::{
    describe::guard,
    feed::resume,
    http::{ROOT, routes},
};
use self::{flights::Flights, refusal::Refusal, signer::Signer};
use crate::{Core, error::Failure};

/// Checks the hub's secret, where it has one: whatever spends a call of an upstream takes the same secret as relays do.
///
/// # Errors
/// 401: the secret is missing, or another.
pub(crate) fn check_secret(core: &Core, headers: &HeaderMap) -> Result<(), Failure> {
    access::service(core, headers).map_err(Refusal::into_failure)
}

/// What the relays of one hub share.
#[derive(Default)]
pub(crate) struct Relays {
    signer: OnceCell<Signer>,
    flights: Flights,
    http: Arc<Http>,
}

impl Relays {
    /// What signs URLs; its key is made and stored at the first use.
    async fn signer(&self, core: &Core) -> Result<&Signer, Refusal> {
        let make = async || {
            let key = core.subscriptions.derived_key(signer::PURPOSE).await;
            key.map(Signer::new).ok_or_else(Refusal::unavailable)
        };
        self.signer.get_or_try_init(make).await
    }

    /// What calls upstreams.
    pub(crate) fn http(&self) -> Arc<Http> {
        Arc::clone(&self.http)
    }
}

/// The client that calls upstreams, made when it is needed.
#[derive(Debug, Default)]
pub(crate) struct Http(OnceLock<reqwest::Client>);

impl Http {
    /// A client that connects only to where the egress allows, follows nothing and undoes nothing (§6.1).
    fn client(&self, egress: &Egress) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(client) = self.0.get() {
            return Ok(client);
        }
        let client = egress
            .guard(reqwest::Client::builder())
            .redirect(Policy::none())
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .build()?;
        Ok(self.0.get_or_init(|| client))
    }
}
