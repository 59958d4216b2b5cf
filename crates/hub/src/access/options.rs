use std::{fmt, sync::Arc};

use headwater_auth::{Authenticator, Grants};

#[cfg(feature = "jwks")]
use super::jwks::{self, JwksUrlError};

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
    #[cfg(feature = "jwks")]
    jwks: Option<(Arc<jwks::Source>, u32)>,
}

impl Auth {
    /// Requires credentials that this authenticator accepts. An `Arc` of one can be shared with the
    /// app's own endpoints.
    #[must_use]
    pub fn new(authenticator: impl Into<Arc<Authenticator>>) -> Self {
        Self {
            authenticator: authenticator.into(),
            anonymous: Grants::none(),
            #[cfg(feature = "jwks")]
            jwks: None,
        }
    }

    /// Fetches the keys of tokens from the URL of a JWK Set, and follows their changes: at the start, when
    /// the response isn't fresh any more, and when a token has an unknown key id (`kid`), though not more
    /// often than every 10 s. The authenticator has to verify tokens with a set:
    ///
    /// ```
    /// use headwater_auth::{Authenticator, Jwks, JwtOptions, JwtVerifier};
    /// use headwater_hub::Auth;
    ///
    /// # fn example() -> Result<Auth, headwater_hub::JwksUrlError> {
    /// let tokens = JwtOptions::jwks(Jwks::default()).issuer("https://id.example.com").audience("hub");
    /// let auth = Auth::new(Authenticator::new().jwt(JwtVerifier::new(tokens)))
    ///     .jwks_url("https://id.example.com/.well-known/jwks.json")?;
    /// # Ok(auth)
    /// # }
    /// ```
    ///
    /// A request waits for a fetch at most 2 s, and only if the key of its token isn't known. While
    /// fetches fail, the last keys stay valid for a day. Without any, tokens are answered with 503.
    /// Redirects are followed only within the URL's origin, and no proxy is used. The certificate of the
    /// URL's host has to be one that the system trusts, or [`jwks_ca`](Self::jwks_ca).
    ///
    /// # Errors
    /// The URL is neither https nor http at a loopback address, its host is a link-local address, or the
    /// authenticator doesn't verify tokens with a set.
    #[cfg(feature = "jwks")]
    pub fn jwks_url(mut self, url: &str) -> Result<Self, JwksUrlError> {
        if !self.authenticator.takes_jwks() {
            return Err(JwksUrlError::new(
                "the authenticator doesn't verify tokens with a JWK Set: give it `JwtOptions::jwks`",
            ));
        }
        self.jwks = Some((Arc::new(jwks::Source::new(url)?), 1));
        Ok(self)
    }

    /// Trusts these certificates, one or more in PEM, for the URL of [`jwks_url`](Self::jwks_url), which is
    /// called before. The system's own stay trusted. It is for an issuer whose certificate is of a private
    /// authority.
    ///
    /// # Errors
    /// There is no URL yet, or it is http; the text has no certificate, or one that isn't valid.
    #[cfg(all(feature = "jwks", feature = "tls"))]
    pub fn jwks_ca(mut self, pem: impl AsRef<[u8]>) -> Result<Self, JwksUrlError> {
        let Some((source, _)) = &mut self.jwks else {
            return Err(JwksUrlError::new(
                "there is no URL of a JWK Set whose certificate could be checked: call `jwks_url` before",
            ));
        };
        *source = Arc::new(source.trusting(pem.as_ref())?);
        Ok(self)
    }

    /// Lets the time that decides about fetches run faster. For tests.
    #[cfg(feature = "jwks")]
    #[doc(hidden)]
    #[must_use]
    pub fn jwks_clock(mut self, speed: u32) -> Self {
        if let Some((_, known)) = &mut self.jwks {
            *known = speed;
        }
        self
    }

    #[cfg(feature = "jwks")]
    pub(super) fn follower(&self) -> Option<jwks::Follower> {
        let (source, speed) = self.jwks.as_ref()?;
        let authenticator = Arc::clone(&self.authenticator);
        let clock = jwks::Clock::new(*speed);
        Some(jwks::Follower::new(
            Arc::clone(source),
            authenticator,
            clock,
        ))
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
