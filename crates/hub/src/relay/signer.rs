//! Pre-signed URLs, and the derivation of ids (§7).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use headwater_log::Timestamp;
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};

use super::refusal::Refusal;

/// The purpose for which the hub's key is derived.
pub(super) const PURPOSE: &[u8] = b"headwater relay";

/// Signs with HMAC-SHA-256, with a key that the hub stores.
#[derive(Debug)]
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    /// Returns the query of a URL that allows reading and aborting a relay until `expires`, in
    /// seconds since 1970 (§7.1).
    pub(super) fn query(&self, id: &str, expires: u64) -> String {
        let tag = hmac::sign(&self.0, signed(id, &expires.to_string()).as_bytes());
        format!("expires={expires}&signature={}", BASE64.encode(tag))
    }

    /// Verifies the signature of a URL, in constant time (§7.2).
    ///
    /// # Errors
    /// The signature isn't one of this hub for this relay and time, or has expired.
    pub(super) fn verify(
        &self,
        id: &str,
        expires: &str,
        signature: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let tag = BASE64
            .decode(signature)
            .map_err(|_| Refusal::bad_signature())?;
        hmac::verify(&self.0, signed(id, expires).as_bytes(), &tag)
            .map_err(|_| Refusal::bad_signature())?;
        // Only numbers are signed.
        let expires = expires
            .parse::<u64>()
            .map_err(|_| Refusal::bad_signature())?;
        if expires <= now.0 / 1000 {
            return Err(Refusal::expired());
        }
        Ok(())
    }

    /// Returns the first part of a new relay's id.
    ///
    /// # Errors
    /// There is no randomness.
    pub(super) fn random() -> Result<[u8; 16], Refusal> {
        let mut random = [0; 16];
        SystemRandom::new()
            .fill(&mut random)
            .map_err(|_| Refusal::unavailable())?;
        Ok(random)
    }

    /// Returns the first part of the id of the relay for these texts.
    pub(super) fn secret(&self, parts: &[&[u8]]) -> [u8; 16] {
        let tag = self.digest(b"id", parts);
        let mut secret = [0; 16];
        secret.copy_from_slice(&tag[..16]);
        secret
    }

    /// Returns the fingerprint of a request. It doesn't reveal the request.
    pub(super) fn fingerprint(&self, parts: &[&[u8]]) -> String {
        BASE64.encode(&self.digest(b"request", parts)[..16])
    }

    fn digest(&self, kind: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in std::iter::once(&kind).chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

/// Returns the text that is signed. No digest's input starts with these eight bytes, which would be
/// a length.
fn signed(id: &str, expires: &str) -> String {
    format!("relay\n{id}\n{expires}")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn signer() -> Signer {
        Signer::new(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]))
    }

    fn verify(signer: &Signer, id: &str, query: &str, now: Timestamp) -> Result<(), &'static str> {
        let pairs: HashMap<_, _> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        signer
            .verify(id, pairs["expires"], pairs["signature"], now)
            .map_err(|refusal| refusal.code())
    }

    #[test]
    fn a_signature_is_valid_for_its_relay_and_lifetime_only() {
        let signer = signer();
        let query = signer.query("a", 1_700_000_010);
        assert_eq!(verify(&signer, "a", &query, NOW), Ok(()));
        assert_eq!(verify(&signer, "b", &query, NOW), Err("SIGNATURE_INVALID"));
        let late = Timestamp(1_700_000_010_000);
        assert_eq!(verify(&signer, "a", &query, late), Err("SIGNATURE_EXPIRED"));
        let longer = query.replace("0010", "0011");
        assert_eq!(verify(&signer, "a", &longer, NOW), Err("SIGNATURE_INVALID"));
        assert_eq!(
            verify(&signer, "a", &longer, late),
            Err("SIGNATURE_INVALID")
        );
        let start = query.find("signature=").unwrap() + "signature=".len();
        for end in start..query.len() {
            assert_eq!(
                verify(&signer, "a", &query[..end], NOW),
                Err("SIGNATURE_INVALID")
            );
        }
        let other = Signer::new(hmac::Key::new(hmac::HMAC_SHA256, &[8; 32]));
        assert_eq!(verify(&other, "a", &query, NOW), Err("SIGNATURE_INVALID"));
    }

    #[test]
    fn digests_depend_on_the_boundaries_of_parts() {
        let signer = signer();
        assert_eq!(signer.secret(&[b"a", b"b"]), signer.secret(&[b"a", b"b"]));
        assert_ne!(signer.secret(&[b"a", b"b"]), signer.secret(&[b"ab", b""]));
        assert_ne!(Signer::random().unwrap(), Signer::random().unwrap());
    }
}
