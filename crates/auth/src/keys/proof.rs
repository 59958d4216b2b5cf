//! Proofs of keys, which are verified by the hash of the key and can't be used in its place.
//!
//! A proof is the text `hwp_<id>_<mac>`, with the id of the key. The MAC is HMAC-SHA-256 of a purpose under the hash of
//! the key's secret, in base64url. To make a proof takes the key or the key file. It is worth nothing for another
//! purpose.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::hmac;

use super::Parts;

/// The start of every proof.
pub(crate) const PROOF_PREFIX: &str = "hwp_";

/// Returns the proof of a key for a purpose. `None` if the text hasn't the form of a key.
pub(crate) fn prove(token: &str, purpose: &str) -> Option<String> {
    let parts = Parts::of(token)?;
    let mac = hmac::sign(&mac_key(&parts.hash()), purpose.as_bytes());
    let mac = BASE64.encode(mac);
    Some(format!("{PROOF_PREFIX}{}_{mac}", parts.id))
}

/// A proof that wasn't verified yet.
pub(super) struct Proof<'a> {
    pub(super) id: &'a str,
    mac: Vec<u8>,
}

impl<'a> Proof<'a> {
    /// Splits a proof. Returns `None` if it hasn't the form of one.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let (id, mac) = text.strip_prefix(PROOF_PREFIX)?.split_once('_')?;
        let mac = BASE64.decode(mac).ok()?;
        Some(Self { id, mac })
    }

    /// Returns `true` if it is of the key with this hash, for this purpose. It takes a time that tells
    /// nothing of the hash.
    pub(super) fn is_of(&self, hash: &[u8; 32], purpose: &str) -> bool {
        hmac::verify(&mac_key(hash), purpose.as_bytes(), &self.mac).is_ok()
    }
}

fn mac_key(hash: &[u8; 32]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, hash)
}
