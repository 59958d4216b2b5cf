//! Authorization: what the sender of a request may do.
//!
//! Every route is wrapped by [`Guards::needs`], which states the action that it takes and documents it
//! as the operation's security. A guarded request is identified by its credentials, and then
//! [`Caller::check`] decides. It is the only decision: handlers that depend on more than the path ask the
//! same [`Caller`].
//!
//! An open response, a waiting read and a long request body end when the identity behind them isn't
//! valid any more: see [`Lease`].

mod body;
mod caller;
mod credentials;
mod denied;
mod describe;
mod guard;
mod hook;
mod identify;
#[cfg(feature = "jwks")]
mod jwks;
mod lease;
mod options;
mod shared_tickets;
mod tickets;

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime},
};

use headwater_auth::{Authenticator, Identity, Tickets};
use headwater_log::Log;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::Options;

#[cfg(feature = "jwks")]
pub use self::jwks::JwksUrlError;
use self::shared_tickets::TicketRecords;
pub(crate) use self::{
    caller::Caller,
    denied::Denied,
    guard::{Guards, Need},
    hook::Hook,
    lease::Lease,
    tickets::{describe_tickets, issue_ticket},
};
pub use self::{hook::Decision, options::Auth};

/// Interval between checks of the key file.
const RELOAD_EVERY: Duration = Duration::from_millis(500);

/// Minimum interval between checks of the key file because of an unknown key.
const RELOAD_AGAIN: Duration = Duration::from_millis(100);

/// The credentials that a hub accepts.
pub(crate) struct Access {
    authenticator: Arc<Authenticator>,
    /// The app's decisions. They precede credentials.
    hook: Option<Hook>,
    /// Follows the keys of tokens.
    #[cfg(feature = "jwks")]
    jwks: Option<Arc<jwks::Follower>>,
    /// The identity of requests without credentials.
    anonymous: Identity,
    tickets: Tickets,
    /// The records of tickets that all hubs on the log accept. `None`: there is no other hub.
    records: Option<TicketRecords>,
    /// The authenticator's generation. Open responses are checked again when it changes.
    changes: watch::Sender<u64>,
    /// The time of the last check of the key file for an unknown key.
    reloaded: Mutex<Option<Instant>>,
}

impl Access {
    /// Returns the credentials that these options require, if they require any.
    pub(crate) fn of(options: &Options, log: &Arc<dyn Log>) -> Option<Arc<Self>> {
        let hook = options.hook.clone();
        let auth = match &options.auth {
            Some(auth) => auth.clone(),
            // Without the app's decision, nothing is allowed.
            None => hook.as_ref().map(|_| Auth::new(Authenticator::new()))?,
        };
        let records = options.shared_log.then(|| TicketRecords::new(log));
        Some(Arc::new(Self::new(&auth, hook, records)))
    }

    fn new(auth: &Auth, hook: Option<Hook>, records: Option<TicketRecords>) -> Self {
        Self {
            hook,
            #[cfg(feature = "jwks")]
            jwks: auth.follower().map(Arc::new),
            authenticator: Arc::clone(&auth.authenticator),
            anonymous: Identity::anonymous(auth.anonymous.clone()),
            tickets: Tickets::new(),
            records,
            changes: watch::Sender::new(auth.authenticator.generation()),
            reloaded: Mutex::default(),
        }
    }

    /// Starts to follow the key file and the keys of tokens, if there are any, until the hub is dropped.
    pub(crate) fn start(self: &Arc<Self>) {
        #[cfg(feature = "jwks")]
        if let Some(follower) = &self.jwks {
            tokio::spawn(jwks::follow(Arc::clone(follower), Arc::downgrade(self)));
        }
        if self.authenticator.key_store().is_some() {
            tokio::spawn(follow_keys(Arc::downgrade(self)));
        }
    }

    /// Returns `false` as long as the keys of tokens have never been known.
    pub(crate) fn is_ready(&self) -> bool {
        #[cfg(feature = "jwks")]
        let is_ready = (self.jwks.as_ref()).is_none_or(|follower| follower.has_keys());
        #[cfg(not(feature = "jwks"))]
        let is_ready = true;
        is_ready
    }

    /// Reads the key file again for an unknown key, at most once in [`RELOAD_AGAIN`]. Returns `false`
    /// if it isn't time, or another request does so now.
    ///
    /// It only looks at the file's metadata unless the file has changed, so it doesn't block for long.
    fn reload_again(&self) -> bool {
        let Some(mut reloaded) = self.reloaded.try_lock() else {
            return false;
        };
        if reloaded.is_some_and(|at| at.elapsed() < RELOAD_AGAIN) {
            return false;
        }
        self.reload();
        *reloaded = Some(Instant::now());
        true
    }

    /// Reads the key file again if it has changed, and has open responses checked.
    fn reload(&self) {
        match self.authenticator.reload_keys(SystemTime::now()) {
            Ok(false) => {}
            Ok(true) => tracing::info!("the keys have changed"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "the key file can't be read: the keys of before stay valid"
                );
            }
        }
        self.announce_changes();
    }

    /// Has open responses checked if keys have changed.
    fn announce_changes(&self) {
        let generation = self.authenticator.generation();
        self.changes.send_if_modified(|known| {
            let is_new = *known != generation;
            *known = generation;
            is_new
        });
    }
}

async fn follow_keys(access: Weak<Access>) {
    loop {
        tokio::time::sleep(RELOAD_EVERY).await;
        let Some(access) = access.upgrade() else {
            return;
        };
        if tokio::task::spawn_blocking(move || access.reload())
            .await
            .is_err()
        {
            tracing::error!("a check of the key file panicked");
        }
    }
}
