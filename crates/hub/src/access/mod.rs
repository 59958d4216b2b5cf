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
mod guard;
mod lease;
mod options;
mod tickets;

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant, SystemTime},
};

use headwater_auth::{Authenticator, Identity, Tickets};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use self::options::Auth;
pub(crate) use self::{
    body::Ended,
    caller::Caller,
    denied::Denied,
    guard::{Guards, Need},
    lease::Lease,
    tickets::issue_ticket,
};

/// Interval between checks of the key file.
const RELOAD_EVERY: Duration = Duration::from_millis(500);

/// Minimum interval between checks of the key file because of an unknown key.
const RELOAD_AGAIN: Duration = Duration::from_millis(100);

/// The credentials that a hub accepts.
pub(crate) struct Access {
    authenticator: Arc<Authenticator>,
    /// The identity of requests without credentials.
    anonymous: Identity,
    tickets: Tickets,
    /// The authenticator's generation. Open responses are checked again when it changes.
    changes: watch::Sender<u64>,
    /// The time of the last check of the key file for an unknown key.
    reloaded: Mutex<Option<Instant>>,
}

impl Access {
    pub(crate) fn new(auth: &Auth) -> Self {
        Self {
            authenticator: Arc::clone(&auth.authenticator),
            anonymous: Identity::anonymous(auth.anonymous.clone()),
            tickets: Tickets::new(),
            changes: watch::Sender::new(auth.authenticator.generation()),
            reloaded: Mutex::default(),
        }
    }

    /// Starts to follow the key file, if there is one, until the hub is dropped.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.authenticator.key_store().is_some() {
            tokio::spawn(follow_keys(Arc::downgrade(self)));
        }
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
