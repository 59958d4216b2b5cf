//! Changes of a key file.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::record::{Hash, KeyInfo, Record, Records, Seconds, check_name};
use super::{KEY_PREFIX, NewKey, generate, hash};
use crate::limits::{KEY_FILE_BYTES, KEY_LOCK_PATIENCE, KEYS};
use crate::random;
use crate::{Grants, Rates};

/// The reason for which a key file wasn't read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// A file couldn't be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The content isn't that of a key file.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The fault, its place, and the correct form.
        reason: String,
    },
    /// Another process held the lock for [`KEY_LOCK_PATIENCE`].
    #[error("{}: another process is changing the keys", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
    },
    /// The change makes no sense: a name is taken, or there is no such key.
    #[error("{0}")]
    Refused(String),
}

impl KeyFileError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// A file with keys, which is read and changed as a whole.
///
/// A change takes an advisory lock on `<file>.lock`, writes a new file with mode 0600 beside the old
/// one, syncs it and renames it. A reader therefore sees the old content or the new one, and so does
/// the next start after a crash. The lock's file stays: were it removed, two processes could hold
/// locks on different files of the same name. The new file keeps the owner and the group of the old one.
/// A symbolic link to a file is followed: that file is locked and replaced. The folder has to exist.
///
/// A file that doesn't exist has no keys. A file that everybody can write isn't read.
///
/// The functions block.
///
/// ```
/// use std::time::SystemTime;
///
/// use headwater_auth::{Action, Grant, Grants, KeyFile, KeyStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("keys.json");
/// let now = SystemTime::now();
/// let grants = Grants::new(vec!["publish:sensors/**".parse::<Grant>()?])?;
/// let key = KeyFile::new(&path).create("sensor 7", grants, None, now)?;
///
/// // A server follows the file.
/// let keys = KeyStore::open(&path)?;
/// let identity = keys.verify(key.token(), now)?;
/// assert!(identity.may(Action::Publish, Some("sensors/7")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

/// The part of a file's metadata by which a change is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            place: (metadata.dev(), metadata.ino()),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Returns the time since the last change of the file, zero if that is in the future.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        let changed = u64::try_from(self.changed.0).unwrap_or(0);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
        now.duration_since(changed).unwrap_or_default()
    }
}

impl KeyFile {
    /// Names the file. It is neither read nor created.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a key and writes it to the file.
    ///
    /// Times are rounded down to whole seconds.
    ///
    /// # Errors
    /// The name is empty, too long, has control characters or is the name of a key that isn't revoked;
    /// there are [`KEYS`] keys; the operating system has no random bytes; or the file can't be locked,
    /// read or written. After an error the file is as it was. Only if the folder couldn't be synced
    /// after the rename, the key may be in it.
    pub fn create(
        &self,
        name: &str,
        grants: Grants,
        expires: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<NewKey, KeyFileError> {
        self.create_with_rates(name, grants, Rates::default(), expires, now)
    }

    /// Creates a key with rates of its own, as [`create`](Self::create) does.
    ///
    /// # Errors
    /// As `create`.
    pub fn create_with_rates(
        &self,
        name: &str,
        grants: Grants,
        rates: Rates,
        expires: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<NewKey, KeyFileError> {
        check_name(name).map_err(KeyFileError::Refused)?;
        let refused = |error: random::NoRandom| KeyFileError::Refused(error.to_string());
        let (mut id, secret) = generate().map_err(refused)?;
        let record = self.change(|records| {
            if records.keys.len() >= KEYS {
                return Err(format!("the file has {KEYS} keys, which is the maximum"));
            }
            let mut active = records.keys.iter().filter(|key| key.revoked.is_none());
            if active.any(|key| *key.name == *name) {
                return Err(format!(
                    "there is a key with the name {name:?}; revoke it first"
                ));
            }
            while records.keys.iter().any(|key| *key.id == *id) {
                (id, _) = generate().map_err(|error| error.to_string())?;
            }
            let record = Record {
                id: id.as_str().into(),
                name: name.into(),
                hash: Hash(hash(&secret)),
                grants,
                created: Seconds::of(now),
                expires: expires.map(Seconds::of),
                rates,
                revoked: None,
            };
            records.keys.push(record.clone());
            Ok(record)
        })?;
        Ok(NewKey {
            token: format!("{KEY_PREFIX}{}_{secret}", record.id).into(),
            info: record.info(),
        })
    }

    /// Returns all keys, revoked ones included, in the order of their creation.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn list(&self) -> Result<Vec<KeyInfo>, KeyFileError> {
        let (records, _) = self.read()?;
        Ok(records.keys.iter().map(Record::info).collect())
    }

    /// Revokes the key with an id, or the one with a name that isn't revoked yet. A key that is
    /// revoked already keeps its time.
    ///
    /// # Errors
    /// There is no such key, or the file can't be locked, read or written. After an error the file
    /// is as it was. Only if the folder couldn't be synced after the rename, the key may be revoked.
    pub fn revoke(&self, id_or_name: &str, now: SystemTime) -> Result<KeyInfo, KeyFileError> {
        self.change(|records| {
            let keys = &mut records.keys;
            let by_id = keys.iter().position(|key| *key.id == *id_or_name);
            let named = |key: &Record| key.revoked.is_none() && *key.name == *id_or_name;
            let found = by_id.or_else(|| keys.iter().position(named));
            let Some(index) = found else {
                return Err(format!(
                    "no key has the id {id_or_name:?}, and no valid key has that name"
                ));
            };
            keys[index].revoked.get_or_insert(Seconds::of(now));
            Ok(keys[index].info())
        })
    }

    /// Returns the error for a file that was there before.
    pub(super) fn missing(&self) -> KeyFileError {
        let reason = "the file was there before, and is missing";
        KeyFileError::io(&self.path)(io::Error::new(io::ErrorKind::NotFound, reason))
    }

    /// Reads the file. `None` is the version of a file that doesn't exist.
    pub(super) fn read(&self) -> Result<(Records, Option<Version>), KeyFileError> {
        // Opening a pipe could wait for ever, and no later change would be seen.
        let opened = fs::metadata(&self.path).and_then(|metadata| match metadata.is_file() {
            true => File::open(&self.path),
            false => Err(io::Error::other("it is not a regular file")),
        });
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Records::default(), None));
            }
            file => file.map_err(KeyFileError::io(&self.path))?,
        };
        // Before the content: a change in between gives the old version with the new content, and
        // the next check reads the file again.
        let metadata = file.metadata().map_err(KeyFileError::io(&self.path))?;
        let content = |reason| KeyFileError::Content {
            path: self.path.clone(),
            reason,
        };
        if metadata.mode() & 0o002 != 0 {
            let reason = "everybody can write this file; `chmod 600` protects it";
            return Err(content(reason.to_owned()));
        }
        let mut bytes = Vec::new();
        let limit = KEY_FILE_BYTES as u64 + 1;
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(KeyFileError::io(&self.path))?;
        if bytes.len() > KEY_FILE_BYTES {
            return Err(content(format!(
                "a key file has at most {KEY_FILE_BYTES} bytes"
            )));
        }
        let records = Records::parse(&bytes).map_err(content)?;
        Ok((records, Some(Version::of(&metadata))))
    }

    /// Returns the file's version without reading it.
    pub(super) fn version(&self) -> Result<Option<Version>, KeyFileError> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(KeyFileError::io(&self.path)(error)),
            Ok(metadata) => Ok(Some(Version::of(&metadata))),
        }
    }

    /// Changes the content under the lock.
    fn change<T>(
        &self,
        change: impl FnOnce(&mut Records) -> Result<T, String>,
    ) -> Result<T, KeyFileError> {
        // Two links to one file share its lock.
        let target = Self::new(self.target()?);
        let _lock = target.lock()?;
        let (mut records, _) = target.read()?;
        let before = records.clone();
        let result = change(&mut records).map_err(KeyFileError::Refused)?;
        if records != before {
            target.replace(&records)?;
        }
        Ok(result)
    }

    /// Returns the path of the file itself, without links.
    fn target(&self) -> Result<PathBuf, KeyFileError> {
        match fs::canonicalize(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            target => return target.map_err(KeyFileError::io(&self.path)),
        }
        let folder = folder(&self.path);
        let target = fs::canonicalize(folder).map_err(KeyFileError::io(folder))?;
        Ok(target.join(self.path.file_name().unwrap_or_default()))
    }

    /// Takes the lock, which the file's drop releases.
    fn lock(&self) -> Result<File, KeyFileError> {
        let path = with_suffix(&self.path, ".lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(KeyFileError::io(&path))?;
        let start = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < KEY_LOCK_PATIENCE => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(Errno::WOULDBLOCK) => return Err(KeyFileError::Locked { path }),
                Err(error) => return Err(KeyFileError::io(&path)(error.into())),
            }
        }
    }

    /// Replaces the file. The caller has the lock.
    fn replace(&self, records: &Records) -> Result<(), KeyFileError> {
        let json = records.to_json().map_err(KeyFileError::Refused)?;
        if json.len() > KEY_FILE_BYTES {
            let reason = format!("the file would have more than {KEY_FILE_BYTES} bytes");
            return Err(KeyFileError::Refused(reason));
        }
        // Only the holder of the lock writes a file of this name. One that is there was left by a
        // crash.
        let new = with_suffix(&self.path, ".new");
        let _ = fs::remove_file(&new);
        let written = write_synced(&new, &self.path, &json);
        if let Err(error) = written.and_then(|()| fs::rename(&new, &self.path)) {
            let _ = fs::remove_file(&new);
            return Err(KeyFileError::io(&new)(error));
        }
        let folder = folder(&self.path);
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(KeyFileError::io(folder))
    }
}

/// Writes a file that only its owner can use. If it replaces an old one, it has the same owner and
/// group, and the group can read it if it could before: a server of another user than the one that
/// changes the keys can still read them.
fn write_synced(path: &Path, old: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    match fs::metadata(old) {
        Ok(old) => {
            let new = file.metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            let mode = old.mode() & 0o040 | 0o600;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.write_all(bytes)?;
    file.sync_all()
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}
