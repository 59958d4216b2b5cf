//! The identity behind a request: the app's decision, or the credentials that the request presents.

use std::sync::Arc;

use headwater_auth::{Action, AuthError, Identity};
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

/// The identity behind a request, or the way to it.
pub(super) enum Identification {
    Known(Result<Identified, Denied>),
    /// Only [`Access::identify`] can tell. It takes the result of the credentials, if they were looked at.
    Later(Option<Verified>),
}

/// The result of a request's credentials.
pub(super) type Verified = Result<Identity, Denied>;

impl Access {
    /// Identifies the sender of a request, unless that may have to wait.
    pub(super) fn identify_at_once(
        &self,
        parts: &Parts,
        options: &Options,
        need: Need,
    ) -> Identification {
        if self.hook_for(parts, need).is_some() {
            return Identification::Later(None);
        }
        let verified = self.identify_by_credentials(parts, options, need.reads());
        match self.needs_keys(&verified) {
            true => Identification::Later(Some(verified)),
            false => Identification::Known(verified.map(Identified::by_credentials)),
        }
    }

    /// Returns `true` if the issuer may have the key that a token needs.
    fn needs_keys(&self, verified: &Verified) -> bool {
        #[cfg(feature = "jwks")]
        let is_followed = self.jwks.is_some();
        #[cfg(not(feature = "jwks"))]
        let is_followed = false;
        is_followed && matches!(verified, Err(Denied::Unknown(AuthError::UnknownKey { .. })))
    }

    /// Returns the app's hook, if it decides about a request.
    fn hook_for(&self, parts: &Parts, need: Need) -> Option<&Hook> {
        let hook = self.hook.as_ref()?;
        // The app has decided when a ticket was issued.
        let is_decided = need.reads() && Self::has_ticket(parts);
        (!is_decided).then_some(hook)
    }

    /// Returns the identity behind a request. `verified`: the result of [`Identification::Later`].
    ///
    /// # Errors
    /// The app refuses the request, or its credentials aren't valid or aren't accepted for it.
    pub(super) async fn identify(
        &self,
        verified: Option<Verified>,
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
        let verify = || self.identify_by_credentials(parts, options, need.reads());
        let verified = verified.unwrap_or_else(verify);
        #[cfg(feature = "jwks")]
        let verified = self.with_newer_keys(verified, verify).await;
        verified.map(Identified::by_credentials)
    }

    /// Looks for the key of a token at its issuer, and verifies the token with it.
    #[cfg(feature = "jwks")]
    async fn with_newer_keys(
        &self,
        mut verified: Verified,
        verify: impl Fn() -> Verified,
    ) -> Verified {
        // The second look is for a key that is newer than a fetch that ran already.
        const LOOKS: usize = 2;

        let Some(follower) = &self.jwks else {
            return verified;
        };
        for _ in 0..LOOKS {
            if !self.needs_keys(&verified) {
                return verified;
            }
            let has_waited = follower.look_again().await;
            verified = verify();
            if !has_waited {
                break;
            }
        }
        if self.needs_keys(&verified) && !follower.is_in_force() {
            return Err(Denied::NoKeys);
        }
        verified
    }
}

#[cfg(test)]
mod tests {
    use headwater_auth::{Authenticator, Grants};

    use super::*;
    use crate::Auth;

    #[tokio::test]
    async fn credentials_that_were_verified_are_not_verified_again() {
        let access = Access::new(&Auth::new(Authenticator::new()), None);
        let (options, need) = (Options::new(), Need::Any(Action::Read));
        let request = http::Request::get("/").header("authorization", "Bearer x");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let identity = Identity::of_application("known", Grants::none(), None);
        for (verified, expected) in [(Some(Ok(identity)), Some("known")), (None, None)] {
            let identified = access
                .identify(verified, &parts, &options, need, None)
                .await;
            let identity = identified.ok().map(|identified| identified.identity);
            assert_eq!(identity.as_ref().map(Identity::subject), expected);
        }
    }
}
