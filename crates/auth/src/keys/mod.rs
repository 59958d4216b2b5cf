//! Keys: long-lived secrets that the server knows by their hashes.
//!
//! A key is the text `hwk_<id>_<secret>`. The id has 12 characters of `[a-z0-9]` and is public. The
//! secret has 43 characters of `[A-Za-z0-9]`, which is the entropy of 32 random bytes, so a plain
//! SHA-256 protects it: it can't be guessed, however fast the hash is.

mod file;
mod proof;
mod record;
mod store;

use std::fmt;

pub use file::{KeyFile, KeyFileError};
pub(crate) use proof::{PROOF_PREFIX, prove};
pub use record::KeyInfo;
pub use store::KeyStore;

use ring::digest;

use crate::random::{BASE36, BASE62, NoRandom, SECRET_CHARS, text};

/// The start of every key.
pub(crate) const KEY_PREFIX: &str = "hwk_";

/// Number of characters of an id.
const ID_CHARS: usize = 12;

/// A key that was just created. This is the only time that its secret exists outside of the hands
/// of its owner.
#[derive(Clone)]
pub struct NewKey {
    info: KeyInfo,
    token: Box<str>,
}

impl NewKey {
    /// Returns the key's entry.
    #[must_use]
    pub fn info(&self) -> &KeyInfo {
        &self.info
    }

    /// Returns the key itself, to be shown once.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// The parts of a key.
struct Parts<'a> {
    id: &'a str,
    secret: &'a str,
}

impl<'a> Parts<'a> {
    /// Splits a key. Returns `None` if it hasn't the form of one.
    fn of(token: &'a str) -> Option<Self> {
        let (id, secret) = token.strip_prefix(KEY_PREFIX)?.split_once('_')?;
        let is_id = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_secret = |byte: u8| byte.is_ascii_alphanumeric();
        let is_key = id.len() == ID_CHARS
            && id.bytes().all(is_id)
            && secret.len() == SECRET_CHARS
            && secret.bytes().all(is_secret);
        is_key.then_some(Self { id, secret })
    }

    fn hash(&self) -> [u8; 32] {
        hash(self.secret)
    }
}

/// Returns the SHA-256 of a secret.
fn hash(secret: &str) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, secret.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// Returns a new id and secret.
fn generate() -> Result<(String, String), NoRandom> {
    Ok((text(BASE36, ID_CHARS)?, text(BASE62, SECRET_CHARS)?))
}

#[cfg(test)]
mod tests;
