//! Identities, grants, and one decision.

mod action;
mod error;
mod grants;
mod identity;
mod keys;
pub mod limits;
mod pattern;
mod random;
mod token;

pub use action::{Action, ActionSet};
pub use error::{AuthError, Reason};
pub use grants::{Grant, GrantError, Grants};
pub use identity::{Identity, IdentityKind, KeyFingerprint};
pub use keys::{KeyFile, KeyFileError, KeyInfo, KeyStore, NewKey};
pub use pattern::StreamPattern;
pub use random::NoRandom;
pub use token::{
    Algorithm, Claims, FetchReason, Jwks, JwksCache, JwtOptions, JwtVerifier, KeyError, MintError,
    SigningKey, TokenCache, TopicNames, UnknownAlgorithm, VerificationKey,
};
