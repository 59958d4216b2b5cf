//! The entry of the fuzz target for tokens.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::{AuthError, JwtOptions, JwtVerifier, KeyError, SigningKey, TopicNames};

/// Checks an input as a token, as keys in JSON and in PEM, and as a header and a payload, with a line
/// break between them, that an issuer signed.
///
/// # Panics
/// If the result isn't what it should be.
#[doc(hidden)]
pub fn fuzz_token(input: &[u8]) {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let secret = [7; 64];
    let (Ok(key), Ok(verifier)) = (SigningKey::from_secret(&secret), verifier(&secret)) else {
        panic!("a secret of 64 bytes is accepted");
    };
    let _ = crate::Jwks::parse(input);
    let _ = crate::VerificationKey::from_pem(input);
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(identity) = verifier.verify(text, now) {
        // Seeds may contain tokens of this secret, and nothing else is one.
        assert!(!identity.is_expired(now));
    }
    let Some((header, payload)) = text.split_once('\n') else {
        return;
    };
    let Ok(token) = key.sign(header, payload) else {
        panic!("an HMAC of {header} is possible");
    };
    let verified = verifier.verify(&token, now);
    match &verified {
        Ok(identity) => {
            assert!(!identity.is_expired(now));
            let [header, payload] = [header, payload]
                .map(|json| serde_json::from_str::<Value>(json).unwrap_or_default());
            assert!(
                header.get("crit").is_none() && payload["exp"].is_number(),
                "{text}"
            );
        }
        Err(AuthError::BadSignature) => {
            // The header may name another algorithm of HMAC.
            assert!(header.contains("HS") || header.contains("\\u"), "{header}");
        }
        Err(error) => {
            let sentence = error.to_string();
            let allowed = |byte| matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\';
            assert!(sentence.bytes().all(allowed), "{sentence}");
        }
    }
    // One other bit in the signature, and it isn't valid any more.
    let mut bytes = token.into_bytes();
    if let Some(last) = bytes.iter_mut().rev().nth(8) {
        *last = if *last == b'A' { b'B' } else { b'A' };
    }
    if let Ok(changed) = String::from_utf8(bytes) {
        assert!(verifier.verify(&changed, now).is_err(), "{changed}");
    }
}

fn verifier(secret: &[u8]) -> Result<JwtVerifier, KeyError> {
    let topics = TopicNames::new().root("https://hub.example/streams/")?;
    Ok(JwtVerifier::new(
        JwtOptions::secret(secret)?.mercure(topics),
    ))
}
