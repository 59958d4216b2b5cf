//! The sender of a request, as far as handlers need it.

use std::{convert::Infallible, sync::LazyLock};

use axum::extract::FromRequestParts;
use headwater::{Operation, OperationInput};
use headwater_auth::{Action, AuthError, Grants, Identity, IdentityKind, StreamPattern};
use headwater_log::StreamName;
use http::{Extensions, request::Parts};

use super::Denied;
use crate::protocol::path::{Guarded, StreamPath};

/// The sender of a request. In a hub without authorization it may do everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller(Option<Identity>);

impl Caller {
    pub(super) fn new(identity: Identity) -> Self {
        Self(Some(identity))
    }

    /// Returns a caller that may do nothing.
    pub(crate) fn without_grants() -> Self {
        static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity::anonymous(Grants::none()));
        Self(Some(IDENTITY.clone()))
    }

    /// Puts the caller into the extensions of its request, in the place of any other, with the path of
    /// the stream if it is known.
    pub(crate) fn put(self, extensions: &mut Extensions, path: Option<StreamPath>) {
        let guarded = Guarded {
            identity: self.0,
            path,
        };
        match extensions.get_mut::<Guarded>() {
            Some(known) => *known = guarded,
            None => _ = extensions.insert(guarded),
        }
    }

    pub(super) fn identity(&self) -> Option<&Identity> {
        self.0.as_ref()
    }

    /// Decides if the caller may take an action, on a stream if it is about one.
    ///
    /// # Errors
    /// 401 for a caller without credentials, 403 for others.
    pub(crate) fn check(&self, action: Action, stream: Option<&str>) -> Result<(), Denied> {
        self.require(action, |identity| identity.may(action, stream))
    }

    /// Decides if the caller may take an action on every stream that matches a pattern.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn check_all(&self, action: Action, pattern: &StreamPattern) -> Result<(), Denied> {
        self.require(action, |identity| identity.grants().covers(action, pattern))
    }

    /// Decides if the caller may have the hub create a stream and append to it.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub(crate) fn check_new(&self, stream: &StreamName) -> Result<(), Denied> {
        self.check(Action::Create, Some(stream.as_str()))?;
        self.check(Action::Publish, Some(stream.as_str()))
    }

    /// Returns the grants that limit an action. `None` if the caller may take it on all streams.
    pub(crate) fn limits(&self, action: Action) -> Option<Grants> {
        let grants = self.0.as_ref()?.grants();
        let is_limited = !grants.covers(action, &StreamPattern::everything());
        is_limited.then(|| grants.clone())
    }

    fn require(
        &self,
        action: Action,
        is_allowed: impl FnOnce(&Identity) -> bool,
    ) -> Result<(), Denied> {
        match &self.0 {
            None => Ok(()),
            Some(identity) if is_allowed(identity) => Ok(()),
            Some(identity) if *identity.kind() == IdentityKind::Anonymous => {
                Err(Denied::Unknown(AuthError::Missing))
            }
            Some(_) => Err(Denied::Lacks(action)),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let guarded = parts.extensions.get::<Guarded>();
        Ok(Self(guarded.and_then(|guarded| guarded.identity.clone())))
    }
}

impl OperationInput for Caller {
    fn describe(_: &mut Operation) {}
}
