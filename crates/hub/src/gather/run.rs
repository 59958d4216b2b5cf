//! What a hub has of gathers, and what one of them holds while it runs.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use futures_core::Stream;
use headwater::{Problem, StatusCode};
use headwater_client::{Client, Egress, gather::Gathered};
use http::{HeaderValue, header};

use super::result::Sent;
use crate::{
    Core,
    body::Held,
    error::Failure,
    limits::KEEP_CONNECTIONS,
    peer::{Full, Peer, Shares},
};

/// The gathers of a hub.
#[derive(Debug, Default)]
pub(crate) struct Gathers {
    running: Arc<Mutex<Shares>>,
    /// Made for the first of them, as it loads the system's certificates.
    client: OnceLock<Client>,
}

impl Gathers {
    /// The client that makes the calls, which goes where the hub may.
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
            // Each call has its own time, in which an upstream may be silent.
            .idle_timeout(Duration::ZERO)
            .build()?;
        Ok(self.client.get_or_init(|| client).clone())
    }
}

/// One gather while it runs.
pub(super) struct Run(Arc<Shared>);

/// What the reader of the list and the sender of the results have in common.
pub(super) struct Shared {
    /// The bytes of the list, which count until the last result is out.
    held: Mutex<Held>,
    /// What ended the list early.
    failed: Mutex<Option<Failure>>,
    _seat: Seat,
}

/// One of as many gathers as there may be.
struct Seat {
    running: Arc<Mutex<Shares>>,
    peer: Option<Peer>,
}

impl Seat {
    fn take(core: &Core, peer: Option<Peer>) -> Result<Self, Full> {
        let most = core.options.limits.gathers;
        // Others are to have some.
        let share = most - most / 4;
        let running = Arc::clone(&core.gathers.running);
        locked(&running).take(peer, 1, most, share)?;
        Ok(Self { running, peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        locked(&self.running).give_back(self.peer, 1);
    }
}

impl Run {
    /// # Errors
    /// 429: as many run as the limit allows, or as many of the peer's.
    pub(super) fn new(core: &Core, peer: Option<Peer>) -> Result<Self, Failure> {
        let limits = &core.options.limits;
        let seat = Seat::take(core, peer).map_err(|full| {
            let limit = limits.gathers;
            let detail = match full {
                Full::All => format!("{limit} gathers are under way already"),
                Full::Peer => format!("too many of {limit} gathers are under way for this address"),
            };
            Failure::new(StatusCode::TOO_MANY_REQUESTS, detail)
                .with("limit", limit)
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        })?;
        Ok(Self(Arc::new(Shared {
            held: Mutex::new(core.bodies.hold(limits, peer)),
            failed: Mutex::default(),
            _seat: seat,
        })))
    }

    /// What the reader of the list is given.
    pub(super) fn told(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }

    /// The results, and after them the error that ended the list, if one did.
    pub(super) fn results(
        self,
        gathered: Gathered,
        headers: bool,
    ) -> impl Stream<Item = Result<Sent, Problem>> + Send + 'static {
        futures_util::stream::unfold(Some((gathered, self)), move |state| async move {
            let (mut gathered, run) = state?;
            match gathered.next().await {
                Some(result) => Some((Ok(Sent { result, headers }), Some((gathered, run)))),
                None => {
                    let failure = locked(&run.0.failed).take()?;
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
    /// 503: all requests together hold as much as they may.
    pub(super) fn hold(&self, bytes: usize) -> Result<(), Failure> {
        locked(&self.held).add(bytes)
    }

    /// The list ends here, for this reason.
    pub(super) fn fail(&self, failure: Failure) {
        locked(&self.failed).get_or_insert(failure);
    }
}

/// Nothing is left half changed by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
