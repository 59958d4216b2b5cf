//! Tokens: JSON Web Tokens (RFC 7519) with a signature (RFC 7515).

mod algorithm;
mod cache;
mod claims;
mod compact;
mod json;
mod jwks;
mod jwks_cache;
mod key;
mod mint;
mod pem;
mod selector;
mod topics;
mod verifier;

#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub(crate) use cache::{TokenCache, TokenHash};
pub use jwks::Jwks;
pub use jwks_cache::{FetchReason, JwksCache};
pub use key::VerificationKey;
pub use mint::{Claims, MintError, SigningKey};
pub use topics::TopicNames;
pub use verifier::{JwtOptions, JwtVerifier};

/// The reason for which a secret, a key or a set of keys was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(Box<str>);

impl KeyError {
    fn new(reason: impl Into<Box<str>>) -> Self {
        Self(reason.into())
    }
}
