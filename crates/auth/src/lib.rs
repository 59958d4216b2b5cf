//! Identities, grants, and one decision: may this identity take this action on this stream?
//!
//! ```
//! use std::time::{Duration, SystemTime};
//!
//! use headwater_auth::{Action, Authenticator, Claims, Grant, Grants, JwtOptions, JwtVerifier, SigningKey};
//!
//! // An application signs a token with a secret that it shares with the server.
//! let secret = [7; 32];
//! let now = SystemTime::now();
//! let grants = Grants::new(vec!["read:orders/**".parse::<Grant>()?])?;
//! let claims = Claims::new(now + Duration::from_secs(600)).subject("alice").grants(grants);
//! let token = SigningKey::from_secret(&secret)?.mint(&claims)?;
//!
//! // The server verifies it, and decides.
//! let verifier = JwtVerifier::new(JwtOptions::secret(&secret)?);
//! let authenticator = Authenticator::new().jwt(verifier);
//! let identity = authenticator.verify(&token, now)?;
//! assert!(identity.may(Action::Read, Some("orders/7")));
//! assert!(!identity.may(Action::Publish, Some("orders/7")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | part | types |
//! |---|---|
//! | the decision | [`Identity`], [`Grants`], [`Action`], [`StreamPattern`] |
//! | keys: long-lived secrets in a file | [`KeyFile`] changes it, [`KeyStore`] follows it |
//! | tokens: JSON Web Tokens | [`JwtVerifier`], [`SigningKey`], [`Jwks`], [`JwksCache`] |
//! | claims of Mercure | [`TopicNames`] |
//! | tickets: for a URL, once | [`Tickets`], and [`SharedTicket`] for several servers |
//! | all that a request may present | [`Authenticator`] |
//! | how much a sender may use; the server counts | [`Rates`] |
//!
//! An action is allowed if a grant allows it; there are no denials. A token that can't be verified is an
//! [`AuthError`], which is a 401. A verified one that grants nothing is an identity, whose requests are
//! refused with 403.
//!
//! Not here: HTTP, the log, and network I/O. The server passes the values of
//! `Authorization` to [`bearer`], fetches the
//! keys of an issuer when [`JwksCache`] tells it to, and maps requests to actions. Only [`KeyFile`] and
//! [`KeyStore`] touch the disk. The time is a parameter everywhere. All bounds are in [`limits`]. The
//! fuzz targets are `token` and `grants` in `crates/fuzz`.

mod action;
mod authenticator;
mod bearer;
mod error;
mod fuzz;
mod grants;
mod identity;
mod keys;
pub mod limits;
mod pattern;
mod random;
mod rates;
mod tickets;
mod token;

pub use action::{Action, ActionSet};
pub use authenticator::Authenticator;
pub use bearer::bearer;
pub use error::{AuthError, Reason};
#[doc(hidden)]
pub use fuzz::fuzz_token;
pub use grants::{Grant, GrantError, Grants};
pub use identity::{Identity, IdentityKind, KeyFingerprint};
pub use keys::{KeyFile, KeyFileError, KeyInfo, KeyStore, NewKey};
pub use pattern::StreamPattern;
pub use random::NoRandom;
pub use rates::{Rate, Rates, RatesError};
pub use tickets::{SharedTicket, TicketError, Tickets};
pub use token::{
    Algorithm, Claims, FetchReason, Jwks, JwksCache, JwtOptions, JwtVerifier, KeyError, MintError,
    SigningKey, TopicNames, UnknownAlgorithm, VerificationKey,
};
