mod grants;
mod keys_and_minting;
mod refusals;
mod vectors;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{JwtOptions, JwtVerifier, SigningKey};
use crate::{AuthError, Identity};

/// The time at which all tests verify.
const NOW: u64 = 1_800_000_000;

const SECRET: &[u8] = b"a secret of sixty-four bytes, which is enough for each algorithm";

macro_rules! pem {
    ($name:literal) => {
        include_bytes!(concat!("keys/", $name, ".pem")).as_slice()
    };
}
use pem;

fn now() -> SystemTime {
    at(NOW)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn hmac() -> SigningKey {
    SigningKey::from_secret(SECRET).unwrap()
}

fn options() -> JwtOptions {
    JwtOptions::secret(SECRET).unwrap()
}

/// Verifies with the options.
fn verify(options: JwtOptions, token: &str) -> Result<Identity, AuthError> {
    JwtVerifier::new(options).verify(token, now())
}

/// Valid claims, with other members added or replaced.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({"exp": NOW + 60});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A token with an HMAC of the secret.
fn token(changes: &Value) -> String {
    hmac().mint(&claims(changes)).unwrap()
}

/// A token with an HMAC of the secret, and any header and payload.
fn raw(header: &str, payload: &str) -> String {
    hmac().sign(header, payload).unwrap()
}
