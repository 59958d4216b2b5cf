//! Open responses, and the end of the permission behind them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::response::Response;
use headwater_auth::{Action, Identity, IdentityKind};

use super::{Access, Denied, hook::Question};

/// Longest wait until an expiry is compared with the clock again, which may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The permission behind a response, in the response's extensions. The response ends when it isn't
/// valid any more: at the latest within a second of the token's expiry or the key's revocation, or when
/// its grants have changed.
#[derive(Clone)]
pub(crate) struct Lease {
    access: Arc<Access>,
    identity: Identity,
    action: Action,
    stream: Option<Box<str>>,
    /// Confirms the identity when it expires.
    question: Option<Arc<Question>>,
}

impl Lease {
    /// Returns the lease of a permission, unless it holds for ever.
    pub(super) fn new(
        access: &Arc<Access>,
        identity: &Identity,
        action: Action,
        stream: Option<&str>,
    ) -> Option<Self> {
        (*identity.kind() != IdentityKind::Anonymous).then(|| Self {
            access: Arc::clone(access),
            identity: identity.clone(),
            action,
            stream: stream.map(Into::into),
            question: None,
        })
    }

    /// Has the app asked again when the identity expires.
    pub(super) fn asking(self, question: Option<Arc<Question>>) -> Self {
        Self { question, ..self }
    }

    /// Ends a response with its lease, if it has one.
    pub(crate) fn apply(mut response: Response) -> Response {
        match response.extensions_mut().remove::<Self>() {
            Some(lease) => {
                let problem = async { lease.end().await.map(|denied| denied.problem()) };
                headwater::end_early(response, problem)
            }
            None => response,
        }
    }

    /// Waits for a result, unless the permission ends first.
    ///
    /// # Errors
    /// The permission has ended.
    pub(super) async fn unless_over<T>(self, result: impl Future<Output = T>) -> Result<T, Denied> {
        let over = Box::pin(self.end());
        tokio::pin!(result);
        tokio::select! {
            biased;
            result = &mut result => Ok(result),
            over = over => match over {
                Some(denied) => Err(denied),
                None => Ok(result.await),
            },
        }
    }

    /// Waits until the permission ends. Returns the reason, if a client has to know it.
    pub(super) async fn end(mut self) -> Option<Denied> {
        let mut changes = self.access.changes.subscribe();
        loop {
            match self.check().await {
                Ok(true) => {}
                // The client continues with the new grants when it reconnects.
                Ok(false) => return None,
                Err(denied) => return Some(denied),
            }
            let expires = self.identity.expires();
            let left = expires.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
            let left = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        // The hub is gone, and with it the streams.
                        std::future::pending::<()>().await;
                    }
                }
                // Rounded up: an early look would find it still valid.
                () = tokio::time::sleep(left + Duration::from_millis(1)) => {}
            }
        }
    }

    /// Checks the permission again. Returns `false` if the response no longer has what is granted.
    async fn check(&mut self) -> Result<bool, Denied> {
        let now = SystemTime::now();
        let present = match &self.question {
            Some(question) if self.identity.is_expired(now) => question.ask_again().await?,
            _ => {
                let present = self.access.authenticator.recheck(&self.identity, now);
                present.map_err(Denied::Unknown)?
            }
        };
        if !present.may(self.action, self.stream.as_deref()) {
            return Err(Denied::Lacks(self.action));
        }
        // A reader of several streams sees what was granted when it began.
        if self.stream.is_none() && present.grants() != self.identity.grants() {
            return Ok(false);
        }
        self.identity = present;
        Ok(true)
    }
}
