//! Verification of tokens.

use std::fmt;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use serde_json::{Map, Value};

use super::claims::ClaimSet;
use super::compact::{Compact, Header};
use super::{Algorithm, Jwks, KeyError, TopicNames, VerificationKey};
use crate::limits::{LEEWAY, MAX_LEEWAY};
use crate::{AuthError, Identity, IdentityKind, KeyFingerprint};

/// The requirements for a valid token.
#[derive(Clone, Debug)]
pub struct JwtOptions {
    keys: Keys,
    issuers: Vec<Box<str>>,
    audiences: Vec<Box<str>>,
    algorithms: Option<Vec<Algorithm>>,
    leeway: Duration,
    topics: Option<TopicNames>,
}

#[derive(Clone, Debug)]
enum Keys {
    /// One key, whatever a token's `kid` is.
    One(VerificationKey),
    /// Keys by their `kid`.
    Set(Jwks),
}

impl JwtOptions {
    /// Accepts tokens with an HMAC of this secret.
    ///
    /// # Errors
    /// See [`VerificationKey::from_secret`].
    pub fn secret(secret: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::key(VerificationKey::from_secret(secret)?))
    }

    /// Accepts tokens that were signed with the private key of this public key, in PEM.
    ///
    /// # Errors
    /// See [`VerificationKey::from_pem`].
    pub fn public_key(pem: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::key(VerificationKey::from_pem(pem)?))
    }

    /// Accepts tokens of this key, with any `kid` or none.
    #[must_use]
    pub fn key(key: VerificationKey) -> Self {
        Self::new(Keys::One(key))
    }

    /// Accepts tokens of the keys of this set, which
    /// [`set_jwks`](crate::Authenticator::set_jwks) replaces. It may be empty until a first one is
    /// fetched.
    #[must_use]
    pub fn jwks(keys: Jwks) -> Self {
        Self::new(Keys::Set(keys))
    }

    fn new(keys: Keys) -> Self {
        Self {
            keys,
            issuers: Vec::new(),
            audiences: Vec::new(),
            algorithms: None,
            leeway: LEEWAY,
            topics: None,
        }
    }

    /// Requires that a token's `iss` is this one, or one of several if called repeatedly. Without
    /// it, `iss` isn't checked.
    #[must_use]
    pub fn issuer(mut self, issuer: &str) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Requires that this is one of a token's audiences (`aud`), or one of several if called
    /// repeatedly. Without it, a token that has audiences is refused, as RFC 7519 section 4.1.3
    /// requires.
    #[must_use]
    pub fn audience(mut self, audience: &str) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts only these of the algorithms that the keys have.
    #[must_use]
    pub fn algorithms(mut self, algorithms: &[Algorithm]) -> Self {
        self.algorithms = Some(algorithms.into());
        self
    }

    /// Sets the tolerance for clocks that differ, at most [`MAX_LEEWAY`]. The default is [`LEEWAY`].
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway.min(MAX_LEEWAY);
        self
    }

    /// Accepts Mercure's claims, with these names of streams. Without it, they grant nothing.
    #[must_use]
    pub fn mercure(mut self, topics: TopicNames) -> Self {
        self.topics = Some(topics);
        self
    }
}

/// Verifies tokens and returns their identities.
///
/// It follows RFC 7519 section 7.2 and the practices of RFC 8725. Refused are: tokens of more than
/// [`TOKEN_BYTES`](crate::limits::TOKEN_BYTES), before anything is decoded; algorithms that aren't of
/// the key's kind, and `none`; `crit`, nested and encrypted tokens; types other than `JWT` and `at+jwt`;
/// duplicate names in header or claims, at any depth; base64 with padding or left-over bits; tokens
/// without `exp`. The claims are parsed after the signature is verified.
///
/// A token's grants are the sum of the claims `headwater` and, if
/// [enabled](JwtOptions::mercure), `mercure` and `authorization_details`. A token without any of them is
/// valid and grants nothing.
pub struct JwtVerifier {
    options: JwtOptions,
    keys: RwLock<Keys>,
}

impl JwtVerifier {
    /// Makes a verifier.
    #[must_use]
    pub fn new(options: JwtOptions) -> Self {
        Self {
            keys: RwLock::new(options.keys.clone()),
            options,
        }
    }

    /// Verifies a token.
    ///
    /// The identity's expiry is the token's `exp` plus the leeway.
    ///
    /// # Errors
    /// Each reason that [`AuthError`] has, except for [`AuthError::Revoked`].
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Identity, AuthError> {
        let token = Compact::parse(token)?;
        let key = self.key(&token.header)?;
        let (algorithm, message) = (token.header.algorithm, token.message.as_bytes());
        if !key.verifies(algorithm, message, &token.signature) {
            return Err(AuthError::BadSignature);
        }
        let claims = token.claims()?;
        let claims = ClaimSet(&claims);
        let expires = self.check_times(&claims, now)?;
        self.check_parties(&claims)?;
        let malformed = |reason: String| AuthError::malformed(reason);
        let topics = self.options.topics.as_ref();
        let grants = claims.grants(token.header.is_access_token, topics);
        let kind = IdentityKind::Token {
            key: key.fingerprint(),
        };
        let subject = claims.subject().map_err(malformed)?;
        Ok(Identity::new(
            subject,
            grants.map_err(malformed)?,
            Some(expires),
            kind,
        ))
    }

    /// Replaces the set of keys. Returns `true` if the new one is different. A verifier with a single
    /// key stays as it is.
    pub fn set_jwks(&self, jwks: Jwks) -> bool {
        match &mut *self.keys.write() {
            Keys::Set(known) if *known != jwks => {
                *known = jwks;
                true
            }
            _ => false,
        }
    }

    /// Returns `true` if the verifier has the key with this hash.
    #[must_use]
    pub fn has_key(&self, fingerprint: KeyFingerprint) -> bool {
        match &*self.keys.read() {
            Keys::One(key) => key.fingerprint() == fingerprint,
            Keys::Set(keys) => keys.keys().any(|key| key.fingerprint() == fingerprint),
        }
    }

    /// Returns `true` if [`set_jwks`](Self::set_jwks) has an effect.
    #[must_use]
    pub fn takes_jwks(&self) -> bool {
        matches!(*self.keys.read(), Keys::Set(_))
    }

    /// Returns the claims of a token that was verified.
    pub(crate) fn claims_of_verified(token: &str) -> Result<Map<String, Value>, AuthError> {
        Compact::parse(token)?.claims()
    }

    /// Finds the key of a token. The token can only select a key and one of its algorithms.
    fn key(&self, header: &Header) -> Result<VerificationKey, AuthError> {
        let algorithm = header.algorithm;
        let unsupported = || AuthError::unsupported(algorithm.name());
        let allowed = self.options.algorithms.as_ref();
        if allowed.is_some_and(|allowed| !allowed.contains(&algorithm)) {
            return Err(unsupported());
        }
        let fits = |key: &&VerificationKey| key.algorithms().contains(&algorithm);
        match &*self.keys.read() {
            Keys::One(key) => Some(key).filter(fits).cloned().ok_or_else(unsupported),
            Keys::Set(keys) => {
                let unknown = || AuthError::UnknownKey {
                    kid: header.kid.clone(),
                };
                let Some(kid) = &header.kid else {
                    // RFC 7515 section 6: which key it is has to be clear without `kid` as well.
                    let mut fitting = keys.keys().filter(fits);
                    return match (fitting.next(), fitting.next()) {
                        (Some(key), None) => Ok(key.clone()),
                        (None, _) if keys.is_empty() => Err(unknown()),
                        (None, _) => Err(unsupported()),
                        _ => Err(AuthError::malformed(
                            "its header has no kid to select a key",
                        )),
                    };
                };
                let mut known = keys.with_id(kid).peekable();
                known.peek().ok_or_else(unknown)?;
                // RFC 7517 section 4.5: keys of different kinds may share an id.
                known.find(fits).cloned().ok_or_else(unsupported)
            }
        }
    }

    /// Checks `exp` and `nbf` (RFC 7519 sections 4.1.4 and 4.1.5). Returns the time from which on the
    /// token isn't valid any more.
    fn check_times(&self, claims: &ClaimSet<'_>, now: SystemTime) -> Result<SystemTime, AuthError> {
        let time = |name| claims.time(name).map_err(AuthError::malformed);
        let expires = time("exp")?.ok_or_else(|| AuthError::malformed("it has no exp"))?;
        let expires = expires + self.options.leeway;
        if expires <= now {
            return Err(AuthError::Expired);
        }
        match time("nbf")? {
            Some(begins) if now + self.options.leeway < begins => Err(AuthError::NotYetValid),
            _ => Ok(expires),
        }
    }

    /// Checks `iss` and `aud` (RFC 7519 sections 4.1.1 and 4.1.3).
    fn check_parties(&self, claims: &ClaimSet<'_>) -> Result<(), AuthError> {
        let JwtOptions {
            issuers, audiences, ..
        } = &self.options;
        let issuer = claims.text("iss").map_err(AuthError::malformed)?;
        let is_known = |issuer: &str| issuers.iter().any(|known| **known == *issuer);
        if !issuers.is_empty() && !issuer.is_some_and(is_known) {
            return Err(AuthError::WrongIssuer);
        }
        let given = claims.audience().map_err(AuthError::malformed)?;
        let is_ours = |given: &[&str]| {
            let mut given = given.iter();
            given.any(|audience| audiences.iter().any(|ours| **ours == **audience))
        };
        match given {
            None if audiences.is_empty() => Ok(()),
            Some(given) if is_ours(&given) => Ok(()),
            _ => Err(AuthError::WrongAudience),
        }
    }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("keys", &*self.keys.read())
            .field("issuers", &self.options.issuers)
            .field("audiences", &self.options.audiences)
            .finish_non_exhaustive()
    }
}
