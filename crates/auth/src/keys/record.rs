//! The content of a key file.
//!
//! ```json
//! {
//!   "version": 1,
//!   "keys": [
//!     {
//!       "id": "k3v9x0a1b2c3",
//!       "name": "billing",
//!       "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
//!       "grants": [{"actions": ["read"], "streams": ["orders/**"]}],
//!       "created": 1767225600,
//!       "expires": 1798761600,
//!       "rates": "requests=100,open=20",
//!       "revoked": 1770000000
//!     }
//!   ]
//! }
//! ```
//!
//! `hash` is the SHA-256 of the secret in hexadecimal. Times are seconds since 1970; `expires`, `rates`
//! and `revoked` may be absent. A revoked key stays in the file, so that its id isn't used again. An
//! unknown field is an error: a version that doesn't know it could otherwise ignore a restriction.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::ID_CHARS;
use crate::limits::{KEY_NAME_BYTES, KEYS};
use crate::random::BASE36;
use crate::{Grants, Rates};

/// The version of the file's layout.
const VERSION: u32 = 1;

/// Latest time in a file: the end of the year 9999.
const LATEST: u64 = 253_402_300_799;

/// The entry of a key, without its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyInfo {
    /// The public id: 12 characters of `[a-z0-9]`.
    pub id: Box<str>,
    /// The name that the operator gave it. It is the subject of the key's identity.
    pub name: Box<str>,
    /// The actions that are granted to it.
    pub grants: Grants,
    /// The time of its creation.
    pub created: SystemTime,
    /// The time from which on it isn't valid any more.
    pub expires: Option<SystemTime>,
    /// The rates that it has of its own.
    pub rates: Rates,
    /// The time at which it was revoked.
    pub revoked: Option<SystemTime>,
}

/// An entry of a key file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    pub(super) hash: Hash,
    pub(super) grants: Grants,
    pub(super) created: Seconds,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Seconds>,
    #[serde(default, skip_serializing_if = "Rates::is_unlimited")]
    pub(super) rates: Rates,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked: Option<Seconds>,
}

impl Record {
    pub(super) fn info(&self) -> KeyInfo {
        KeyInfo {
            id: self.id.clone(),
            name: self.name.clone(),
            grants: self.grants.clone(),
            created: self.created.time(),
            expires: self.expires.map(Seconds::time),
            rates: self.rates,
            revoked: self.revoked.map(Seconds::time),
        }
    }
}

/// A key file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Records {
    version: u32,
    pub(super) keys: Vec<Record>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            version: VERSION,
            keys: Vec::new(),
        }
    }
}

impl Records {
    /// Parses a file. The error describes the reason and the place.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let records: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        records.check()?;
        Ok(records)
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, String> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        json.push(b'\n');
        Ok(json)
    }

    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            let version = self.version;
            return Err(format!(
                "this reads version {VERSION} of the file, and it is {version}"
            ));
        }
        let count = self.keys.len();
        if count > KEYS {
            return Err(format!(
                "a key file has at most {KEYS} keys, and this one has {count}"
            ));
        }
        let mut ids = HashSet::new();
        let mut names = HashSet::new();
        for (index, key) in self.keys.iter().enumerate() {
            let place = format!("key {} of the file", index + 1);
            let is_id = |byte: u8| BASE36.contains(&byte);
            if key.id.len() != ID_CHARS || !key.id.bytes().all(is_id) {
                return Err(format!(
                    "{place}: an id has {ID_CHARS} characters of [a-z0-9]"
                ));
            }
            check_name(&key.name).map_err(|reason| format!("{place}: {reason}"))?;
            if !ids.insert(&key.id) {
                return Err(format!("{place}: an earlier one has the same id"));
            }
            if key.revoked.is_none() && !names.insert(&key.name) {
                return Err(format!("{place}: an earlier one has the same name"));
            }
        }
        Ok(())
    }
}

/// Checks a key's name. The error describes the reason.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > KEY_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(format!(
            "a key's name has 1 to {KEY_NAME_BYTES} bytes and no control characters"
        ));
    }
    Ok(())
}

/// A time as whole seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Seconds(u64);

impl Seconds {
    pub(super) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs().min(LATEST))
    }

    pub(super) fn time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            seconds if seconds <= LATEST => Ok(Self(seconds)),
            _ => Err(D::Error::custom("a time is in seconds since 1970")),
        }
    }
}

/// A SHA-256, in hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hash(pub(super) [u8; 32]);

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble & 15)]);
        let digits = self
            .0
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(*byte)]);
        serializer.serialize_str(&digits.collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.as_bytes();
        let digit = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|it| u8::try_from(it).ok())
        };
        let bytes = bytes.chunks(2).map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let hash = bytes.collect::<Option<Vec<u8>>>();
        let hash = hash.and_then(|bytes| bytes.try_into().ok());
        let hash = hash.ok_or_else(|| D::Error::custom("a hash has 64 hexadecimal digits"))?;
        Ok(Self(hash))
    }
}
