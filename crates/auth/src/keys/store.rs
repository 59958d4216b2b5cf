//! The keys that a server knows, kept up to date with their file.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use subtle::ConstantTimeEq as _;

use super::file::Version;
use super::proof::Proof;
use super::record::{Record, Records};
use super::{KeyFile, KeyFileError, Parts};
use crate::limits::KEY_FILE_SETTLED;
use crate::{AuthError, Identity, IdentityKind};

/// The keys of a [`KeyFile`] in memory.
///
/// [`reload_if_changed`](Self::reload_if_changed) looks for changes: call it about twice a second, on
/// a thread that may block. It compares the file's metadata and reads only what has changed.
///
/// **A broken file** leaves the keys in force that were read last. A server that dropped all keys
/// because of a slip in the file would refuse all its clients. One that keeps them serves a key that the
/// new content was meant to revoke until the file is repaired. The second is preferred: the error is
/// reported, and [`KeyFile`] itself never writes a broken file. **A file that is missing** after it was read once
/// is such a case: it may be replaced by a removal and a copy, or its disk may be mounted again. To revoke all
/// keys, revoke each, or write a file with an empty list. Before the file was read once, its absence means no keys.
pub struct KeyStore {
    file: KeyFile,
    keys: RwLock<Arc<HashMap<Box<str>, Key>>>,
    watch: Mutex<Watch>,
}

struct Key {
    record: Record,
    identity: Identity,
}

/// The state of the file at the last check.
struct Watch {
    records: Records,
    /// `true` if the file has been read once.
    was_there: bool,
    /// The version that was read last. `None` if the file has to be read at the next check.
    seen: Option<Option<Version>>,
    /// The error of the last read.
    problem: Option<Arc<str>>,
}

impl KeyStore {
    /// Reads the keys of a file.
    ///
    /// # Errors
    /// The file can't be read, or isn't a key file. One that doesn't exist has no keys.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let store = Self {
            file: KeyFile::new(path),
            keys: RwLock::default(),
            watch: Mutex::new(Watch {
                records: Records::default(),
                was_there: false,
                seen: None,
                problem: None,
            }),
        };
        store.reload_if_changed(SystemTime::now())?;
        Ok(store)
    }

    /// Reads the file again if it has changed. Returns whether the keys are different now.
    ///
    /// # Errors
    /// The file can't be read, isn't a key file, or is missing although it was read before; the keys are
    /// unchanged. An error is returned once, and not again while it stays the same.
    /// [`problem`](Self::problem) returns it for as long as it lasts.
    pub fn reload_if_changed(&self, now: SystemTime) -> Result<bool, KeyFileError> {
        let mut watch = self.watch.lock();
        let version = match self.file.version() {
            Ok(version) => version,
            Err(error) => return watch.failed(error, None),
        };
        if watch.seen == Some(version) {
            return Ok(false);
        }
        let settled = |version: Option<Version>| {
            let is_settled = version.is_none_or(|version| version.age(now) >= KEY_FILE_SETTLED);
            is_settled.then_some(version)
        };
        let (records, version) = match self.file.read() {
            Ok((_, None)) if watch.was_there => return watch.failed(self.file.missing(), None),
            Ok(read) => read,
            // Other errors may be gone at the next check without a change of the file.
            Err(error @ KeyFileError::Content { .. }) => {
                return watch.failed(error, settled(version));
            }
            Err(error) => return watch.failed(error, None),
        };
        watch.was_there |= version.is_some();
        watch.seen = settled(version);
        watch.problem = None;
        if records == watch.records {
            return Ok(false);
        }
        *self.keys.write() = Arc::new(records.keys.iter().map(Key::entry).collect());
        watch.records = records;
        Ok(true)
    }

    /// Returns the error of the last read of the file, or `None` if it succeeded.
    #[must_use]
    pub fn problem(&self) -> Option<Arc<str>> {
        self.watch.lock().problem.clone()
    }

    /// Returns the identity of a key.
    ///
    /// # Errors
    /// [`AuthError::Malformed`] if the text isn't a key; [`AuthError::BadSignature`] if there is no
    /// such key, also if it was removed from the file; [`AuthError::Revoked`]; [`AuthError::Expired`].
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Identity, AuthError> {
        let parts = Parts::of(token);
        let parts = parts.ok_or_else(|| AuthError::malformed("a key is hwk_<id>_<secret>"))?;
        let hash = parts.hash();
        self.find(parts.id, now, |known| hash.ct_eq(known).into())
    }

    /// Returns the identity of the key that a [proof](super::proof) is of.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub(crate) fn verify_proof(
        &self,
        proof: &str,
        purpose: &str,
        now: SystemTime,
    ) -> Result<Identity, AuthError> {
        let proof = Proof::of(proof);
        let proof = proof.ok_or_else(|| AuthError::malformed("it is not the proof of a key"))?;
        self.find(proof.id, now, |known| proof.is_of(known, purpose))
    }

    /// Returns the identity of a key whose hash is the right one.
    fn find(
        &self,
        id: &str,
        now: SystemTime,
        is_right: impl FnOnce(&[u8; 32]) -> bool,
    ) -> Result<Identity, AuthError> {
        let keys = self.keys.read().clone();
        // An unknown id takes as long as a wrong secret, and gets the same error.
        let key = keys.get(id);
        let is_right = is_right(key.map_or(&[0; 32], |key| &key.record.hash.0));
        match key {
            Some(key) if is_right => key.current(now),
            _ => Err(AuthError::BadSignature),
        }
    }

    /// Returns the present identity of a key that was verified earlier: with the grants and the
    /// expiry that it has now.
    ///
    /// # Errors
    /// [`AuthError::Revoked`] if the key was revoked or isn't in the file any more;
    /// [`AuthError::Expired`].
    pub fn recheck(&self, id: &str, now: SystemTime) -> Result<Identity, AuthError> {
        let keys = self.keys.read().clone();
        keys.get(id).ok_or(AuthError::Revoked)?.current(now)
    }
}

impl Watch {
    /// Notes an error. Returns it if it is a new one.
    fn failed(
        &mut self,
        error: KeyFileError,
        seen: Option<Option<Version>>,
    ) -> Result<bool, KeyFileError> {
        self.seen = seen;
        let text: Arc<str> = error.to_string().into();
        match self.problem.replace(text.clone()) {
            Some(known) if known == text => Ok(false),
            _ => Err(error),
        }
    }
}

impl Key {
    fn entry(record: &Record) -> (Box<str>, Self) {
        let info = record.info();
        let id = info.id.clone();
        let kind = IdentityKind::Key { id: info.id };
        let key = Self {
            identity: Identity::new(&info.name, info.grants, info.expires, kind)
                .with_rates(info.rates),
            record: record.clone(),
        };
        (id, key)
    }

    fn current(&self, now: SystemTime) -> Result<Identity, AuthError> {
        if self.record.revoked.is_some() {
            return Err(AuthError::Revoked);
        }
        if self.identity.is_expired(now) {
            return Err(AuthError::Expired);
        }
        Ok(self.identity.clone())
    }
}

impl fmt::Debug for KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStore")
            .field("path", &self.file.path())
            .field("keys", &self.keys.read().len())
            .finish_non_exhaustive()
    }
}
