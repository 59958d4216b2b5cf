//! Verification of whatever a request presents.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::keys::{KEY_PREFIX, PROOF_PREFIX};
use crate::tickets::TICKET_PREFIX;
use crate::token::{TokenCache, TokenHash};
use crate::{
    AuthError, Identity, IdentityKind, Jwks, JwtVerifier, KeyFileError, KeyStore, SharedTicket,
};

/// Verifies keys and tokens.
///
/// It has a [`generation`](Self::generation), which changes whenever an identity that was verified
/// earlier may not be valid any more, or may have other grants. An open connection compares it from
/// time to time and calls [`recheck`](Self::recheck) when it has changed.
///
/// All functions except for [`reload_keys`](Self::reload_keys) return at once.
#[derive(Default)]
pub struct Authenticator {
    keys: Option<Arc<KeyStore>>,
    jwt: Option<JwtVerifier>,
    cache: TokenCache,
    generation: AtomicU64,
}

impl Authenticator {
    /// Makes an authenticator that knows neither keys nor tokens, and so refuses all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts the keys of a store.
    #[must_use]
    pub fn keys(mut self, keys: Arc<KeyStore>) -> Self {
        self.keys = Some(keys);
        self
    }

    /// Accepts the tokens that a verifier accepts.
    #[must_use]
    pub fn jwt(mut self, verifier: JwtVerifier) -> Self {
        self.jwt = Some(verifier);
        self
    }

    /// Returns the identity of a key or token.
    ///
    /// The signature of a token is verified once. Its identity is then cached until it expires, under the
    /// token's SHA-256.
    ///
    /// # Errors
    /// Each reason that [`AuthError`] has. [`AuthError::Missing`] if the text is empty. A ticket is
    /// malformed here: [`Tickets::redeem`](crate::Tickets::redeem) is for them.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Identity, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.starts_with(TICKET_PREFIX) {
            return Err(AuthError::malformed(
                "a ticket isn't accepted in the place of a token",
            ));
        }
        if token.starts_with(KEY_PREFIX) {
            return self.stored_keys()?.verify(token, now);
        }
        let verifier = self.jwt.as_ref();
        let verifier = verifier.ok_or_else(|| AuthError::malformed("it is not a key"))?;
        if token.len() > crate::limits::TOKEN_BYTES {
            // Without a hash of it. The verifier has the error for it.
            return verifier.verify(token, now);
        }
        let hash = TokenHash::of(token);
        match self.cache.get(&hash, now) {
            Ok(identity) => Ok(identity),
            Err(cleared) => {
                let identity = verifier.verify(token, now)?;
                self.cache.insert(hash, identity.clone(), cleared);
                Ok(identity)
            }
        }
    }

    /// Returns the identity of what the record of a ticket [has](SharedTicket::open): a token, or the proof
    /// of a key.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_opened(
        &self,
        ticket: &SharedTicket,
        opened: &str,
        now: SystemTime,
    ) -> Result<Identity, AuthError> {
        match opened.starts_with(PROOF_PREFIX) {
            true => (self.stored_keys()?).verify_proof(opened, &ticket.id(), now),
            false => self.verify(opened, now),
        }
    }

    fn stored_keys(&self) -> Result<&KeyStore, AuthError> {
        let keys = self.keys.as_deref();
        keys.ok_or_else(|| AuthError::malformed("keys aren't accepted here"))
    }

    /// Returns the identity and the claims of a token. Keys have no claims, so they are refused.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn claims(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<(Identity, Map<String, Value>), AuthError> {
        if token.starts_with(KEY_PREFIX) {
            return Err(AuthError::malformed("keys aren't accepted here"));
        }
        let identity = self.verify(token, now)?;
        Ok((identity, JwtVerifier::claims_of_verified(token)?))
    }

    /// Returns the present identity for one that was verified earlier. For a key, it has the grants and
    /// the expiry that the key has now. For a token it is the same one, as long as the verifier has the
    /// token's key.
    ///
    /// # Errors
    /// [`AuthError::Expired`]; [`AuthError::Revoked`] if the key was revoked or removed, or if the
    /// verifier doesn't have the token's key any more.
    pub fn recheck(&self, identity: &Identity, now: SystemTime) -> Result<Identity, AuthError> {
        match identity.kind() {
            IdentityKind::Key { id } => {
                let keys = self.keys.as_ref().ok_or(AuthError::Revoked)?;
                return keys.recheck(id, now);
            }
            IdentityKind::Token { key } => {
                let verifier = self.jwt.as_ref().ok_or(AuthError::Revoked)?;
                if !verifier.has_key(*key) {
                    return Err(AuthError::Revoked);
                }
            }
            IdentityKind::Anonymous | IdentityKind::Application => {}
        }
        match identity.is_expired(now) {
            true => Err(AuthError::Expired),
            false => Ok(identity.clone()),
        }
    }

    /// Returns the number of tokens whose identities are cached, at most
    /// [`CACHED_TOKENS`](crate::limits::CACHED_TOKENS).
    #[must_use]
    pub fn cached_tokens(&self) -> usize {
        self.cache.len()
    }

    /// Returns `true` if [`set_jwks`](Self::set_jwks) has an effect: tokens are verified with a set.
    #[must_use]
    pub fn takes_jwks(&self) -> bool {
        self.jwt.as_ref().is_some_and(JwtVerifier::takes_jwks)
    }

    /// Returns the key store, if there is one.
    #[must_use]
    pub fn key_store(&self) -> Option<&Arc<KeyStore>> {
        self.keys.as_ref()
    }

    /// Returns a number that is different after keys have changed. It tells nothing of identities that
    /// expire.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reads the key file again if it has changed, and returns whether the keys have. It blocks. Call it
    /// about twice a second.
    ///
    /// # Errors
    /// See [`KeyStore::reload_if_changed`]. The keys stay in force that were read last.
    pub fn reload_keys(&self, now: SystemTime) -> Result<bool, KeyFileError> {
        let changed = match &self.keys {
            Some(keys) => keys.reload_if_changed(now)?,
            None => false,
        };
        if changed {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        Ok(changed)
    }

    /// Replaces the verifier's set of keys, and returns whether it is different. Call it with
    /// [`JwksCache::current`](crate::JwksCache::current) after each fetch and from time to time, so that
    /// a set that is too old loses its force.
    pub fn set_jwks(&self, jwks: Jwks) -> bool {
        let verifier = self.jwt.as_ref();
        let changed = verifier.is_some_and(|verifier| verifier.set_jwks(jwks));
        if changed {
            // After the keys: a verification with the old ones that ends from now on isn't cached.
            self.cache.clear();
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator")
            .field("keys", &self.keys)
            .field("jwt", &self.jwt)
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::limits::TOKEN_BYTES;
    use crate::{Action, Claims, Grant, Grants, JwtOptions, KeyFile, SigningKey, Tickets};

    const SECRET: [u8; 32] = [7; 32];

    struct Fixture {
        _folder: TempDir,
        file: KeyFile,
        authenticator: Authenticator,
        now: SystemTime,
    }

    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.json");
        let options = JwtOptions::secret(&SECRET).unwrap();
        Fixture {
            file: KeyFile::new(&path),
            authenticator: Authenticator::new()
                .keys(Arc::new(KeyStore::open(&path).unwrap()))
                .jwt(JwtVerifier::new(options)),
            now: SystemTime::now(),
            _folder: folder,
        }
    }

    impl Fixture {
        fn verify(&self, token: &str) -> Result<Identity, AuthError> {
            self.authenticator.verify(token, self.now)
        }

        fn grants(text: &str) -> Grants {
            Grants::new(vec![text.parse::<Grant>().unwrap()]).unwrap()
        }

        fn token(&self, seconds: u64) -> String {
            let claims = Claims::new(self.now + Duration::from_secs(seconds)).subject("alice");
            let claims = claims.grants(Self::grants("read:a"));
            SigningKey::from_secret(&SECRET)
                .unwrap()
                .mint(&claims)
                .unwrap()
        }
    }

    #[test]
    fn a_key_and_a_token_are_told_apart() {
        let it = fixture();
        let key = it
            .file
            .create("k", Fixture::grants("publish:a"), None, it.now)
            .unwrap();
        it.authenticator.reload_keys(it.now).unwrap();
        assert!(
            it.verify(key.token())
                .unwrap()
                .may(Action::Publish, Some("a"))
        );
        let token = it.token(60);
        for _ in 0..2 {
            assert!(it.verify(&token).unwrap().may(Action::Read, Some("a")));
        }
        assert_eq!(it.authenticator.cached_tokens(), 1);
        let ticket = Tickets::new()
            .issue(Identity::anonymous(Grants::none()), None, it.now)
            .unwrap();
        for (bad, code) in [
            ("", "missing"),
            ("hwk_", "malformed"),
            (&*ticket, "malformed"),
            ("Bearer x", "malformed"),
            (&"x".repeat(TOKEN_BYTES + 1), "malformed"),
        ] {
            assert_eq!(it.verify(bad).unwrap_err().code(), code);
        }
        for token in [key.token(), &token] {
            let refused = Authenticator::new().verify(token, it.now);
            assert_eq!(refused.unwrap_err().code(), "malformed");
        }
    }

    #[test]
    fn the_claims_of_a_token_come_with_its_identity_and_a_key_has_none() {
        let it = fixture();
        let token = it.token(60);
        for _ in 0..2 {
            let (identity, claims) = it.authenticator.claims(&token, it.now).unwrap();
            assert_eq!(
                (identity.subject(), &claims["sub"]),
                ("alice", &"alice".into())
            );
        }
        let key = it.file.create("k", Fixture::grants("read:a"), None, it.now);
        it.authenticator.reload_keys(it.now).unwrap();
        let refused = |token: &str| it.authenticator.claims(token, it.now).unwrap_err().code();
        assert_eq!(refused(key.unwrap().token()), "malformed");
        let mut forged = token.into_bytes();
        let last = forged.len() - 3;
        forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(
            refused(&String::from_utf8(forged).unwrap()),
            "bad_signature"
        );
    }

    #[test]
    fn an_identity_of_the_application_is_valid_until_its_expiry() {
        let it = fixture();
        let expires = it.now + Duration::from_secs(1);
        let identity = Identity::of_application("a", Grants::none(), Some(expires));
        assert!(it.authenticator.recheck(&identity, it.now).is_ok());
        let late = it.authenticator.recheck(&identity, expires);
        assert_eq!(late, Err(AuthError::Expired));
    }

    #[test]
    fn a_cached_token_expires() {
        let it = fixture();
        let token = it.token(60);
        let expires = it.verify(&token).unwrap().expires().unwrap();
        let at = |time| {
            it.authenticator
                .verify(&token, time)
                .map_err(|error| error.code())
        };
        assert!(at(expires - Duration::from_millis(1)).is_ok());
        assert_eq!(at(expires), Err("expired"));
    }

    #[test]
    fn a_change_of_the_keys_changes_the_generation_and_what_a_recheck_returns() {
        let it = fixture();
        let key = it
            .file
            .create("k", Fixture::grants("read:a"), None, it.now)
            .unwrap();
        let generation = it.authenticator.generation();
        assert!(it.authenticator.reload_keys(it.now).unwrap());
        assert_ne!(it.authenticator.generation(), generation);
        let identity = it.verify(key.token()).unwrap();

        let generation = it.authenticator.generation();
        assert!(!it.authenticator.reload_keys(it.now).unwrap());
        assert_eq!(it.authenticator.generation(), generation);
        assert_eq!(
            it.authenticator.recheck(&identity, it.now),
            Ok(identity.clone())
        );

        it.file.revoke("k", it.now).unwrap();
        assert!(it.authenticator.reload_keys(it.now).unwrap());
        assert_ne!(it.authenticator.generation(), generation);
        assert_eq!(
            it.authenticator.recheck(&identity, it.now),
            Err(AuthError::Revoked)
        );
    }

    #[test]
    fn a_token_whose_key_left_the_set_is_revoked_and_not_cached() {
        let jwks = |kid: &str| {
            Jwks::parse(
                format!(
                    r#"{{"keys": [{{"kty": "OKP", "crv": "Ed25519", "kid": "{kid}", "x": "{}"}}]}}"#,
                    include_str!("token/tests/keys/ed25519.x").trim()
                )
                .as_bytes(),
            )
            .unwrap()
        };
        let pem = include_bytes!("token/tests/keys/ed25519.pem");
        let now = SystemTime::now();
        let claims = Claims::new(now + Duration::from_secs(60));
        let token = SigningKey::from_pem(pem)
            .unwrap()
            .kid("a")
            .mint(&claims)
            .unwrap();
        let options = JwtOptions::jwks(Jwks::default());
        let authenticator = Authenticator::new().jwt(JwtVerifier::new(options));
        let unknown = AuthError::UnknownKey {
            kid: Some("a".into()),
        };
        assert_eq!(authenticator.verify(&token, now), Err(unknown.clone()));

        assert!(authenticator.set_jwks(jwks("a")));
        let identity = authenticator.verify(&token, now).unwrap();
        let generation = authenticator.generation();
        assert!(!authenticator.set_jwks(jwks("a")));
        assert_eq!(authenticator.generation(), generation);
        assert!(authenticator.recheck(&identity, now).is_ok());
        let later = now + Duration::from_secs(3600);
        assert_eq!(
            authenticator.recheck(&identity, later),
            Err(AuthError::Expired)
        );

        assert!(authenticator.set_jwks(Jwks::default()));
        assert_ne!(authenticator.generation(), generation);
        assert_eq!(authenticator.verify(&token, now), Err(unknown));
        assert_eq!(
            authenticator.recheck(&identity, now),
            Err(AuthError::Revoked)
        );
    }
}
