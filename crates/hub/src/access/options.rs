use std::{fmt, sync::Arc};

use headwater_auth::{Authenticator, Grants};

/// The credentials that a hub requires, for [`Options::auth`](crate::Options::auth).
///
/// ```
/// use headwater_auth::{Authenticator, Grant, Grants, JwtOptions, JwtVerifier};
/// use headwater_hub::{Auth, Options};
///
/// # fn example(secret: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
/// let tokens = JwtVerifier::new(JwtOptions::secret(secret)?.audience("https://hub.example.com"));
/// let auth = Auth::new(Authenticator::new().jwt(tokens))
///     // Requests without credentials may read these streams.
///     .anonymous(Grants::new(vec!["read:public/**".parse::<Grant>()?])?);
/// let options = Options::new().auth(auth);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Auth {
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) anonymous: Grants,
}

impl Auth {
    /// Requires credentials that this authenticator accepts.
    #[must_use]
    pub fn new(authenticator: Authenticator) -> Self {
        Self {
            authenticator: Arc::new(authenticator),
            anonymous: Grants::none(),
        }
    }

    /// Sets what requests without credentials may do. Default: nothing.
    #[must_use]
    pub fn anonymous(mut self, grants: Grants) -> Self {
        self.anonymous = grants;
        self
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}
