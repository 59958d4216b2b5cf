//! Identities, grants, and one decision.

mod action;
mod error;
mod grants;
mod identity;
mod keys;
pub mod limits;
mod pattern;
mod random;

pub use action::{Action, ActionSet};
pub use error::{AuthError, Reason};
pub use grants::{Grant, GrantError, Grants};
pub use identity::{Identity, IdentityKind, KeyFingerprint};
pub use keys::{KeyFile, KeyFileError, KeyInfo, KeyStore, NewKey};
pub use pattern::StreamPattern;
pub use random::NoRandom;
