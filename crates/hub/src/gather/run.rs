//! The gathers of a hub, and the resources of one gather while it runs.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures_core::Stream;
use headwater::{Problem, StatusCode};
use headwater_client::{Client, Egress, gather::GatherResults};
use parking_lot::Mutex;

use super::result::Sent;
use crate::{
    error::{Failure, temporary},
    limits::KEEP_CONNECTIONS,
    requests::{
        body::Held,
        peer::{Full, Peer, Shares},
    },
    state::HubState,
};

/// The gathers of a hub.
#[derive(Debug, Default)]
pub(crate) struct Gathers {
    running: Arc<Mutex<Shares>>,
    /// Created for the first gather, as it loads the system's certificates.
    client: OnceLock<Client>,
}

impl Gathers {
    /// Returns the client that makes the calls, with the hub's egress rules.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub(super) fn client(&self, upstreams: &Egress) -> Result<Client, Problem> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let client = Client::builder()
            .egress(upstreams.clone())
            .keep_connections(KEEP_CONNECTIONS)
            // Each call has its own timeout, within which an upstream may be silent.
            .idle_timeout(Duration::ZERO)
            .build()?;
        Ok(self.client.get_or_init(|| client).clone())
    }
}

/// One gather while it runs.
pub(super) struct Run(Arc<Shared>);

/// State that the reader of the list and the sender of the results share.
pub(super) struct Shared {
    /// The bytes of the list, which are held until the last result is sent.
    held: Mutex<Held>,
    /// The error that ended the list early.
    failed: Mutex<Option<Failure>>,
    _seat: CallPermit,
}

/// A permit for one gather.
struct CallPermit {
    running: Arc<Mutex<Shares>>,
    peer: Option<Peer>,
}

impl CallPermit {
    fn take(hub: &HubState, peer: Option<Peer>) -> Result<Self, Full> {
        let most = hub.options.limits.gathers;
        // Clients at other addresses get a share.
        let share = most - most / 4;
        let running = Arc::clone(&hub.gathers.running);
        running.lock().take(peer, 1, most, share)?;
        Ok(Self { running, peer })
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.running.lock().give_back(self.peer, 1);
    }
}

impl Run {
    /// Takes a permit for a gather.
    ///
    /// # Errors
    /// 429: the limit of gathers, or of the peer's gathers, is reached.
    pub(super) fn new(hub: &HubState, peer: Option<Peer>) -> Result<Self, Failure> {
        let limits = &hub.options.limits;
        let seat = CallPermit::take(hub, peer).map_err(|full| {
            let limit = limits.gathers;
            let detail = match full {
                Full::All => format!("the limit of {limit} concurrent gathers is reached"),
                Full::Peer => {
                    format!("too many of the {limit} concurrent gathers belong to this address")
                }
            };
            Failure::from(temporary(StatusCode::TOO_MANY_REQUESTS, detail))
                .with("code", "too_many_gathers")
                .with("limit", limit)
        })?;
        Ok(Self(Arc::new(Shared {
            held: Mutex::new(hub.bodies.hold(limits, peer)),
            failed: Mutex::default(),
            _seat: seat,
        })))
    }

    /// Returns the state for the reader of the list.
    pub(super) fn told(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }

    /// Returns the results, followed by the error that ended the list, if there is one.
    pub(super) fn results(
        self,
        gathered: GatherResults,
        headers: bool,
    ) -> impl Stream<Item = Result<Sent, Problem>> + Send + 'static {
        futures_util::stream::unfold(Some((gathered, self)), move |state| async move {
            let (mut gathered, run) = state?;
            match gathered.next().await {
                Some(result) => Some((Ok(Sent { result, headers }), Some((gathered, run)))),
                None => {
                    let failure = run.0.failed.lock().take()?;
                    Some((Err(failure.into_problem()), None))
                }
            }
        })
    }
}

impl Shared {
    /// Counts bytes of the list as held.
    ///
    /// # Errors
    /// 503: the budget of all requests is used up.
    pub(super) fn hold(&self, bytes: usize) -> Result<(), Failure> {
        self.held.lock().add(bytes)
    }

    /// Records the error that ended the list.
    pub(super) fn fail(&self, failure: Failure) {
        self.failed.lock().get_or_insert(failure);
    }
}
