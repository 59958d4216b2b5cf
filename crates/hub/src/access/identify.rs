//! The identity behind a request: the app's decision, or the credentials that the request presents.

use std::sync::Arc;

#[cfg(feature = "jwks")]
use headwater_auth::AuthError;
use headwater_auth::{Action, Identity};
use headwater_log::StreamName;
use http::request::Parts;

use super::{Access, Denied, Hook, Need, hook::Question};
use crate::Options;

/// An identity, and how it is confirmed again.
pub(super) struct Identified {
    pub(super) identity: Identity,
    /// The question whose answer it is, if it expires.
    pub(super) question: Option<Arc<Question>>,
}

impl Identified {
    fn by_credentials(identity: Identity) -> Self {
        Self {
            identity,
            question: None,
        }
    }
}

impl Access {
    /// Returns the identity behind a request, as [`identify`](Self::identify) does. `None` if that may have
    /// to wait.
    pub(super) fn identify_at_once(
        &self,
        parts: &Parts,
        options: &Options,
        need: Need,
    ) -> Option<Result<Identified, Denied>> {
        if self.hook_for(parts, need).is_some() {
            return None;
        }
        let identified = self.identify_by_credentials(parts, options, need.reads());
        #[cfg(feature = "jwks")]
        if self.jwks.is_some()
            && let Err(Denied::Unknown(AuthError::UnknownKey { .. })) = identified
        {
            return None;
        }
        Some(identified.map(Identified::by_credentials))
    }

    /// Returns the app's hook, if it decides about a request.
    fn hook_for(&self, parts: &Parts, need: Need) -> Option<&Hook> {
        let hook = self.hook.as_ref()?;
        // The app has decided when a ticket was issued.
        let is_decided = need.reads() && Self::has_ticket(parts);
        (!is_decided).then_some(hook)
    }

    /// Returns the identity behind a request.
    ///
    /// # Errors
    /// The app refuses the request, or its credentials aren't valid or aren't accepted for it.
    pub(super) async fn identify(
        &self,
        parts: &Parts,
        options: &Options,
        need: Need,
        stream: Option<&StreamName>,
    ) -> Result<Identified, Denied> {
        if let Some(hook) = self.hook_for(parts, need) {
            // A ticket is for reading.
            let action = need.action().unwrap_or(Action::Read);
            if let Some(identity) = hook.ask(parts, action, stream).await? {
                let is_asked_again = identity.expires().is_some();
                let question =
                    is_asked_again.then(|| Arc::new(Question::new(hook, parts, action, stream)));
                return Ok(Identified { identity, question });
            }
        }
        let identity = self
            .identify_with_keys(parts, options, need.reads())
            .await?;
        Ok(Identified::by_credentials(identity))
    }

    #[cfg(not(feature = "jwks"))]
    async fn identify_with_keys(
        &self,
        parts: &Parts,
        options: &Options,
        reads: bool,
    ) -> Result<Identity, Denied> {
        self.identify_by_credentials(parts, options, reads)
    }

    /// As `identify_by_credentials`, but looks for the key of a token at its issuer.
    #[cfg(feature = "jwks")]
    async fn identify_with_keys(
        &self,
        parts: &Parts,
        options: &Options,
        reads: bool,
    ) -> Result<Identity, Denied> {
        // The second look is for a key that is newer than a fetch that ran already.
        const LOOKS: usize = 2;

        let mut identified = self.identify_by_credentials(parts, options, reads);
        let Some(follower) = &self.jwks else {
            return identified;
        };
        for _ in 0..LOOKS {
            match identified {
                Err(Denied::Unknown(AuthError::UnknownKey { .. })) => {}
                identified => return identified,
            }
            follower.look_again().await;
            identified = self.identify_by_credentials(parts, options, reads);
        }
        identified.map_err(|denied| match denied {
            Denied::Unknown(AuthError::UnknownKey { .. }) if !follower.is_in_force() => {
                Denied::NoKeys
            }
            denied => denied,
        })
    }
}
