//! Identities.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::{Action, Grants, Rates};

/// The sender of a request, with its grants. Clones share one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity(Arc<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    subject: Box<str>,
    grants: Grants,
    expires: Option<SystemTime>,
    kind: IdentityKind,
    rates: Rates,
}

/// The proof by which an identity is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityKind {
    /// None: the request has no token.
    Anonymous,
    /// A key of the key file.
    Key {
        /// The key's public id.
        id: Box<str>,
    },
    /// A signed token.
    Token {
        /// The hash of the key that verified the token.
        key: KeyFingerprint,
    },
    /// The application's own: it made the identity.
    Application,
}

/// The SHA-256 of a public key or of a secret's derivative: tells keys apart without containing
/// them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFingerprint(pub(crate) [u8; 32]);

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Identity {
    /// Makes an identity.
    #[must_use]
    pub fn new(
        subject: &str,
        grants: Grants,
        expires: Option<SystemTime>,
        kind: IdentityKind,
    ) -> Self {
        Self(Arc::new(Inner {
            subject: subject.into(),
            grants,
            expires,
            kind,
            rates: Rates::default(),
        }))
    }

    /// Sets the rates that the identity has of its own.
    #[must_use]
    pub fn with_rates(self, rates: Rates) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        inner.rates = rates;
        Self(Arc::new(inner))
    }

    /// Makes the identity of requests without a token. Its subject is empty and it never expires.
    #[must_use]
    pub fn anonymous(grants: Grants) -> Self {
        Self::new("", grants, None, IdentityKind::Anonymous)
    }

    /// Makes an identity that the application vouches for. It is valid until `expires`, or without
    /// end.
    #[must_use]
    pub fn of_application(subject: &str, grants: Grants, expires: Option<SystemTime>) -> Self {
        Self::new(subject, grants, expires, IdentityKind::Application)
    }

    /// Returns the name of the key, the token's `sub`, or the application's name for the sender. It is
    /// empty if the token has none.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Returns what the identity may do.
    #[must_use]
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// Returns the time from which on the identity isn't valid any more: of a key its expiry, of a
    /// token its `exp` plus the leeway. An open connection ends then.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.0.expires
    }

    /// Returns the proof by which the identity is known.
    #[must_use]
    pub fn kind(&self) -> &IdentityKind {
        &self.0.kind
    }

    /// Returns the rates that the identity has of its own. The server's are for the rest.
    #[must_use]
    pub fn rates(&self) -> &Rates {
        &self.0.rates
    }

    /// Returns `true` if the identity isn't valid any more.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.0.expires.is_some_and(|expires| expires <= now)
    }

    /// Decides whether the identity may take an action on a stream, as [`Grants::allows`] does. The
    /// caller checks the expiry.
    #[must_use]
    pub fn may(&self, action: Action, stream: Option<&str>) -> bool {
        self.0.grants.allows(action, stream)
    }

    /// Returns the approximate memory of the identity in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Inner>() + self.0.subject.len() + self.0.grants.bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &self.0.subject)
            .field("kind", &self.0.kind)
            .field("expires", &self.0.expires)
            .field("grants", &self.0.grants)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn an_identity_is_expired_from_its_expiry_on() {
        let expires = UNIX_EPOCH + Duration::from_secs(10);
        let of = |expires| Identity::new("a", Grants::none(), expires, IdentityKind::Anonymous);
        assert!(of(Some(expires)).is_expired(expires));
        assert!(!of(Some(expires)).is_expired(expires - Duration::from_nanos(1)));
        assert!(!of(None).is_expired(expires));
    }
}
