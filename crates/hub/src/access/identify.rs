//! The identity behind a request: the app's decision, or the credentials that the request presents.

use std::sync::Arc;

use headwater_auth::{Action, Identity};
use headwater_log::StreamName;
use http::request::Parts;

use super::{Access, Denied, Need, hook::Question};
use crate::Options;

/// An identity, and how it is confirmed again.
pub(super) struct Identified {
    pub(super) identity: Identity,
    /// The question whose answer it is, if it expires.
    pub(super) question: Option<Arc<Question>>,
}

impl Access {
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
        // The app has decided when the ticket was issued.
        let is_new = !(need.reads() && Self::has_ticket(parts));
        if let Some(hook) = self.hook.as_ref().filter(|_| is_new) {
            // A ticket is for reading.
            let action = need.action().unwrap_or(Action::Read);
            let question = Question::new(hook, parts, action, stream);
            if let Some(identity) = question.ask().await? {
                let question = identity.expires().map(|_| Arc::new(question));
                return Ok(Identified { identity, question });
            }
        }
        let identity = self
            .identify_with_keys(parts, options, need.reads())
            .await?;
        Ok(Identified {
            identity,
            question: None,
        })
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
        use headwater_auth::AuthError;

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
