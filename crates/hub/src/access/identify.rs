//! The identity behind a request: the app's decision, or the credentials that the request presents.

use std::{sync::Arc, time::SystemTime};

use headwater_auth::{Action, AuthError, Identity};
use headwater_log::StreamName;
use http::request::Parts;

use super::{
    Access, Denied, Hook, Need,
    credentials::{NO_TICKET, counted_ticket, ticket},
    hook::Question,
    shared_tickets::{self, TicketRecords, in_time},
};
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
        if need.reads()
            && let Err(denied) = ticket(parts)
        {
            return Identification::Known(Err(denied));
        }
        if self.hook_for(parts, need).is_some() || self.shared_ticket(parts, need).is_some() {
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
        let is_decided = need.reads() && counted_ticket(parts).is_some();
        (!is_decided).then_some(hook)
    }

    /// Returns the ticket of a request that only the log knows, if all hubs on the log accept tickets.
    fn shared_ticket(&self, parts: &Parts, need: Need) -> Option<(&TicketRecords, String)> {
        let records = self.records.as_ref().filter(|_| need.reads())?;
        let ticket = counted_ticket(parts).filter(|ticket| shared_tickets::is_shared(ticket))?;
        Some((records, ticket))
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
        let identity = match self.shared_ticket(parts, need) {
            Some((records, ticket)) => in_time(self.redeem(records, &ticket)).await,
            None => {
                let verify = || self.identify_by_credentials(parts, options, need.reads());
                self.with_newer_keys(verified.unwrap_or_else(verify), verify)
                    .await
            }
        };
        identity.map(Identified::by_credentials)
    }

    /// Returns the identity of a ticket that has a record, and redeems it.
    ///
    /// # Errors
    /// The ticket isn't valid, or the key or token behind it isn't any more. The log or the issuer of tokens can't tell.
    async fn redeem(&self, records: &TicketRecords, ticket: &str) -> Verified {
        let found = records.find(ticket).await.map_err(Denied::tickets)?;
        let found = found.ok_or(NO_TICKET)?;
        let verify = || {
            self.verify_by(|authenticator, now| {
                authenticator.verify_opened(&found.ticket, &found.opened, now)
            })
        };
        // Before the redemption, so that a ticket can be used again once the issuer answers.
        let identity = self.with_newer_keys(verify(), verify).await?;
        if !records.redeem(&found).await.map_err(Denied::tickets)? {
            return Err(NO_TICKET);
        }
        self.tickets.release(&found.ticket);
        // Its key may have been revoked while the log was asked.
        let present = self.authenticator.recheck(&identity, SystemTime::now());
        present.map_err(Denied::Unknown)
    }

    /// Looks for the key of a token at its issuer if it isn't known, and verifies the token with it.
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

    #[cfg(not(feature = "jwks"))]
    #[allow(clippy::unused_async, reason = "only keys by URL are waited for")]
    async fn with_newer_keys(&self, verified: Verified, _: impl Fn() -> Verified) -> Verified {
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
        let access = Access::new(&Auth::new(Authenticator::new()), None, None);
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
