//! The hub's keys: the one that signs webhooks and the one that signs tokens.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use headwater_log::Timestamp;
use ring::{
    digest, hmac,
    rand::{SecureRandom as _, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use serde::{Deserialize, Serialize};

use super::limits::TOKEN_LIFE;
use super::refusal::Refusal;

/// The keys of one hub. They don't change.
pub(super) struct Keys {
    signing: Ed25519KeyPair,
    kid: String,
    token: hmac::Key,
    record: KeysRecord,
}

/// [`Keys`] as they are stored: the seed of the signing key and the token key, each of 32 bytes, in
/// URL-safe base64.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct KeysRecord {
    signing: String,
    token: String,
}

/// There is no randomness, or a key is invalid.
#[derive(Debug)]
pub(super) struct BadKey;

/// The claims of a token: one wake of one subscription.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The subscription.
    pub(super) sub: String,
    /// The wake.
    pub(super) wake: String,
    /// Its generation.
    pub(super) generation: u64,
    /// The time at which the token expires, in seconds since 1970.
    exp: u64,
}

/// The header of a token: a JWT (RFC 7519), signed with HMAC-SHA-256.
const TOKEN_HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

impl Keys {
    /// Generates new keys.
    pub(super) fn generate() -> Result<Self, BadKey> {
        let random = SystemRandom::new();
        let mut seeds = [[0; 32]; 2];
        for seed in &mut seeds {
            random.fill(seed).map_err(|_| BadKey)?;
        }
        let [signing, token] = seeds.map(|seed| BASE64.encode(seed));
        Self::from_record(KeysRecord { signing, token })
    }

    /// Restores keys that were stored.
    pub(super) fn from_record(record: KeysRecord) -> Result<Self, BadKey> {
        let seed = BASE64.decode(&record.signing).map_err(|_| BadKey)?;
        let token = BASE64.decode(&record.token).map_err(|_| BadKey)?;
        let signing = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| BadKey)?;
        if token.len() != 32 {
            return Err(BadKey);
        }
        let kid = format!("ds_{}", thumbprint(&BASE64.encode(signing.public_key())));
        Ok(Self {
            signing,
            kid,
            token: hmac::Key::new(hmac::HMAC_SHA256, &token),
            record,
        })
    }

    pub(super) fn record(&self) -> &KeysRecord {
        &self.record
    }

    /// Returns the id of the signing key. It is derived from the key, so no two hubs share one.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns the public part of the signing key, in URL-safe base64.
    #[cfg(any(test, feature = "webhooks"))]
    pub(super) fn public(&self) -> String {
        BASE64.encode(self.signing.public_key())
    }

    /// Returns the value of `Webhook-Signature` for a body that is sent now.
    pub(super) fn sign(&self, body: &[u8], now: Timestamp) -> String {
        let seconds = now.0 / 1000;
        let mut message = format!("{seconds}.").into_bytes();
        message.extend_from_slice(body);
        let signature = BASE64.encode(self.signing.sign(&message));
        format!("t={seconds},kid={},ed25519={signature}", self.kid)
    }

    /// Derives a separate key for another purpose.
    #[cfg(feature = "relay")]
    pub(super) fn derive(&self, purpose: &[u8]) -> hmac::Key {
        // No token has this signature, as tokens start with their header.
        let key = hmac::sign(&self.token, &[b"key for: ", purpose].concat());
        hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
    }

    /// Returns a token for a wake.
    pub(super) fn token(&self, id: &str, wake: &str, generation: u64, now: Timestamp) -> String {
        let exp = now.after(TOKEN_LIFE).0 / 1000;
        let claims = Claims {
            sub: id.to_owned(),
            wake: wake.to_owned(),
            generation,
            exp,
        };
        // A struct of strings and numbers always has a JSON form.
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        let signed = format!("{}.{}", BASE64.encode(TOKEN_HEADER), BASE64.encode(claims));
        let tag = hmac::sign(&self.token, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(tag))
    }

    /// Verifies a token of this subscription and returns its claims.
    pub(super) fn verify(&self, token: &str, id: &str, now: Timestamp) -> Result<Claims, Refusal> {
        let (signed, tag) = token.rsplit_once('.').ok_or(Refusal::TokenInvalid)?;
        let tag = BASE64.decode(tag).map_err(|_| Refusal::TokenInvalid)?;
        hmac::verify(&self.token, signed.as_bytes(), &tag).map_err(|_| Refusal::TokenInvalid)?;
        // The signature is verified, so the claims were written by this hub.
        let claims = signed
            .split('.')
            .nth(1)
            .and_then(|claims| BASE64.decode(claims).ok());
        let claims = claims.and_then(|claims| serde_json::from_slice::<Claims>(&claims).ok());
        let claims = claims
            .filter(|claims| claims.sub == id)
            .ok_or(Refusal::TokenInvalid)?;
        if claims.exp <= now.0 / 1000 {
            return Err(Refusal::TokenExpired);
        }
        Ok(claims)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Returns the id of a wake. It is unique and can't be guessed.
pub(super) fn wake_id() -> Result<String, BadKey> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| BadKey)?;
    Ok(format!("w_{}", BASE64.encode(bytes)))
}

/// Returns the thumbprint of an Ed25519 public key (RFC 7638, RFC 8037 §2).
fn thumbprint(public: &str) -> String {
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
    BASE64.encode(digest::digest(&digest::SHA256, jwk.as_bytes()))
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    #[test]
    fn the_thumbprint_matches_the_standards_example() {
        // RFC 8037, appendix A.3.
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(thumbprint(x), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_signature_verifies_with_the_published_key_and_covers_time_and_body() {
        let keys = Keys::generate().unwrap();
        let header = keys.sign(b"{}", NOW);
        let (head, signature) = header.split_once(",ed25519=").unwrap();
        assert_eq!(head, format!("t=1700000000,kid={}", keys.kid()));
        let signature = BASE64.decode(signature).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, BASE64.decode(keys.public()).unwrap());
        assert!(public.verify(b"1700000000.{}", &signature).is_ok());
        assert!(public.verify(b"1700000001.{}", &signature).is_err());
        assert!(public.verify(b"1700000000.{ }", &signature).is_err());
    }

    #[test]
    fn keys_survive_a_restart() {
        let keys = Keys::generate().unwrap();
        let again = Keys::from_record(keys.record().clone()).unwrap();
        assert_eq!(again.kid(), keys.kid());
        assert!(
            again
                .verify(&keys.token("a", "w", 1, NOW), "a", NOW)
                .is_ok()
        );
        let bad = KeysRecord {
            signing: "x".to_owned(),
            token: keys.record().token.clone(),
        };
        assert!(Keys::from_record(bad).is_err());
    }

    #[test]
    fn a_token_is_valid_for_its_subscription_and_lifetime_only() {
        let keys = Keys::generate().unwrap();
        let token = keys.token("a", "w", 7, NOW);
        let claims = keys.verify(&token, "a", NOW).unwrap();
        assert_eq!((claims.wake.as_str(), claims.generation), ("w", 7));
        assert!(matches!(
            keys.verify(&token, "b", NOW),
            Err(Refusal::TokenInvalid)
        ));
        assert!(matches!(
            keys.verify(&token, "a", NOW.after(TOKEN_LIFE)),
            Err(Refusal::TokenExpired)
        ));
        let other = Keys::generate().unwrap();
        assert!(matches!(
            other.verify(&token, "a", NOW),
            Err(Refusal::TokenInvalid)
        ));
        for end in 0..token.len() {
            assert!(keys.verify(&token[..end], "a", NOW).is_err());
        }
        // A token with the algorithm "none" claims to need no signature.
        let none = format!(
            "{}.{}.",
            BASE64.encode(r#"{"alg":"none"}"#),
            token.split('.').nth(1).unwrap()
        );
        assert!(matches!(
            keys.verify(&none, "a", NOW),
            Err(Refusal::TokenInvalid)
        ));
    }
}
