//! Opening of a log: the data on the disk is checked against the acknowledged commits.
//!
//! fjall replays its journal and truncates it at the first unreadable entry. So this module checks
//! that nothing is missing. Every commit since the checkpoint must exist and follow the one before.
//! Each must have all its records, and its streams must be in the state that it left or a later
//! one. The last commit must not be earlier than the marker's.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fjall::PersistMode;

use super::engine::Engine;
use super::format::commit::Commit;
use super::format::commits_file::{Mark, Marker, PRIVATE_FILE};
use super::format::log_head::{Checkpoint, Head};
use super::options::{Durability, FjallOptions};
use super::store::{Store, View, failure, io_failure};
use crate::error::{Error, Kind};

/// A report on the opening of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Number of commits that were checked: those since the last checkpoint.
    pub commits: u64,
    /// Number of records that were checked.
    pub records: u64,
    /// Number of acknowledged commits that are missing at the end. It is above 0 only with
    /// [`Durability::Os`] after a crash of the machine, or with
    /// [`accept_missing_end`](FjallOptions::accept_missing_end).
    pub missing: u64,
    /// Number of commits with damage. It is above 0 only with
    /// [`accept_damage`](FjallOptions::accept_damage).
    pub damaged: u64,
    /// Time that opening took.
    pub took: Duration,
}

/// The parts of an opened log.
pub(crate) struct Opened {
    pub(crate) lock: File,
    pub(crate) store: Store,
    pub(crate) marker: Marker,
    pub(crate) head: Head,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) recovery: Recovery,
}

/// Creates a folder that only its owner can read, if it doesn't exist. An existing folder keeps its
/// permissions.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Locks the folder and writes the process's id into the lock file. The lock is held until the file
/// is closed.
fn lock(folder: &Path) -> Result<File, Error> {
    private_folder(folder).map_err(at(folder))?;
    let path = folder.join("lock");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            // Only for the message: without a readable file, it doesn't name the process.
            let _unread = file.take(32).read_to_string(&mut process);
            let process = process.trim().parse().ok();
            return Err(Kind::Locked { path, process }.into());
        }
        Err(TryLockError::Error(error)) => return Err(Error::file(&path, error)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = written {
        // The lock is held anyway.
        tracing::debug!(%error, "the process that holds the lock can't be read");
    }
    Ok(file)
}

/// Returns a function that turns an I/O error into an error of the file at `path`.
fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |error| Error::file(&path, error)
}

pub(crate) fn open(folder: &Path, options: &FjallOptions) -> Result<Opened, Error> {
    let started = Instant::now();
    let lock = lock(folder)?;
    let synced = options.durability == Durability::Fsync;
    let path = Engine::marker(folder);
    let database = Engine::database(folder);
    let version = database.join("version");
    let (mut marker, mark) = if path.try_exists().map_err(at(&path))? {
        Marker::open(&path).map_err(at(&path))?
    } else if version.try_exists().map_err(at(&version))? && !options.accept_missing_end {
        return Err(Error::damaged("the file `commits` is missing"));
    } else {
        let marker = Marker::create(&path, synced).map_err(at(&path))?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(at(folder))?;
        (marker, Some(Mark { commit: 0, synced }))
    };
    let mark = match mark {
        Some(mark) => mark,
        None if options.accept_missing_end => Mark { commit: 0, synced },
        None => return Err(Error::damaged("the file `commits` can't be read")),
    };
    if database.is_dir() && !version.try_exists().map_err(at(&version))? {
        // fjall writes this file last when it creates a database, and can't open a database without
        // it.
        if mark.commit > 0 {
            return Err(Error::damaged("the file `db/version` is missing"));
        }
        std::fs::remove_dir_all(&database).map_err(at(&database))?;
    }
    // The data, messages and signing keys, is readable by the owner alone, whatever the permissions
    // of the files and of the parent folder.
    private_folder(&database).map_err(at(&database))?;
    readable(&database).map_err(|(path, error)| Error::file(&path, error))?;
    let store = Store::open(&database, options)?;
    let (head, checkpoint, mut recovery) = check(&store, mark, options)?;
    if recovery.missing > 0 {
        tracing::warn!(
            missing = recovery.missing,
            last = head.commit,
            "acknowledged commits are missing"
        );
    }
    if recovery.damaged > 0 {
        let commits = recovery.damaged;
        tracing::warn!(
            commits,
            "messages are damaged; their streams can't be read there"
        );
    }
    // The replayed data may have been written but not synced when the process ended.
    store
        .db
        .persist(PersistMode::SyncAll)
        .map_err(|error| failure(error, "its journal"))?;
    for _ in 0..2 {
        marker
            .write(Mark {
                commit: head.commit,
                synced,
            })
            .map_err(io_failure)?;
    }
    marker.sync().map_err(io_failure)?;
    recovery.took = started.elapsed();
    Ok(Opened {
        lock,
        store,
        marker,
        head,
        checkpoint,
        recovery,
    })
}

/// Opens every file of the database as fjall will, to name a file that can't be opened. fjall's
/// error doesn't name it.
fn readable(folder: &Path) -> Result<(), (PathBuf, std::io::Error)> {
    let told = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    for entry in std::fs::read_dir(folder).map_err(told(folder))? {
        let path = entry.map_err(told(folder))?.path();
        let file = path.metadata().map_err(told(&path))?;
        if file.is_dir() {
            readable(&path)?;
        } else {
            // Tables are never written again.
            let is_table = path
                .parent()
                .is_some_and(|parent| parent.ends_with("tables"));
            File::options()
                .read(true)
                .write(!is_table)
                .open(&path)
                .map_err(told(&path))?;
        }
    }
    Ok(())
}

/// Reopens the database of an open log after a failure.
pub(crate) fn reopen(engine: &Engine) -> Result<(), Error> {
    let store = Store::open(&Engine::database(&engine.folder), &engine.options)?;
    let committed = engine.committed();
    let mark = Mark {
        commit: committed.commit,
        synced: true,
    };
    let mut options = engine.options.clone();
    options.accept_missing_end = false;
    let (head, checkpoint, _) = check(&store, mark, &options)?;
    store
        .db
        .persist(PersistMode::SyncAll)
        .map_err(|error| failure(error, "its journal"))?;
    // The failed commit may exist after all.
    for stream in engine.cache.all() {
        stream.reload(store.state(stream.id)?);
        if stream.has_ended() {
            engine.cache.remove(&stream);
        }
    }
    engine.set_checkpoint(checkpoint);
    engine.replace_store(Some(store));
    engine.publish(head);
    Ok(())
}

/// Checks everything since the checkpoint.
fn check(
    store: &Store,
    mark: Mark,
    options: &FjallOptions,
) -> Result<(Head, Checkpoint, Recovery), Error> {
    let head = store.head()?;
    let head = head.unwrap_or(Head {
        next_id: 1,
        ..Head::default()
    });
    let checkpoint = store.checkpoint()?.unwrap_or_default();
    let mut recovery = Recovery::default();
    let mut last = checkpoint;
    // The minimum of each stream's state: if it lives, the commit, and the tail.
    let mut states: HashMap<u64, (bool, u64, u64)> = HashMap::new();
    let mut commits = Vec::new();
    for commit in store
        .view()
        .commits_after(checkpoint.position, checkpoint.commit + 1)
    {
        let commit = commit?;
        if commit.number != last.commit + 1 || commit.position != last.position {
            return Err(Error::damaged(format!(
                "commits {} to {} are missing from the middle",
                last.commit + 1,
                commit.number.saturating_sub(1),
            )));
        }
        last.commit = commit.number;
        last.position += commit.count;
        for part in &commit.parts {
            let end = part.first + part.count;
            let state = states.entry(part.id).or_default();
            *state = (part.lives, commit.number, end.max(state.2));
        }
        commits.push(commit);
        recovery.commits += 1;
    }
    if head.commit != last.commit || head.position != last.position {
        let (from, to) = (
            head.commit.min(last.commit) + 1,
            head.commit.max(last.commit),
        );
        return Err(Error::damaged(format!(
            "commits {from} to {to} are there in part only"
        )));
    }
    if head.commit < mark.commit {
        let missing = mark.commit - head.commit;
        if mark.synced && !options.accept_missing_end {
            return Err(Error::damaged(format!(
                "commits {} to {} were acknowledged and are missing from the end",
                head.commit + 1,
                mark.commit,
            )));
        }
        recovery.missing = missing;
    }
    for (&id, &(lives, commit, end)) in &states {
        check_state(store, id, lives, commit, end)?;
    }
    let view = store.view();
    for commit in &commits {
        match check_records(&view, commit) {
            Ok(records) => recovery.records += records,
            Err(error) if options.accept_damage && error.is_damaged() => recovery.damaged += 1,
            Err(error) => return Err(error),
        }
    }
    Ok((head, checkpoint, recovery))
}

fn check_state(store: &Store, id: u64, lives: bool, commit: u64, end: u64) -> Result<(), Error> {
    let state = store.state(id)?;
    match (&state, lives) {
        (Some(state), true) if state.commit == commit && state.tail >= end => {}
        (None, false) => return Ok(()),
        _ => {
            return Err(Error::damaged(format!(
                "stream {id} is not as commit {commit} left it"
            )));
        }
    }
    let birth = store.birth(id)?;
    let birth = birth.ok_or_else(|| Error::damaged(format!("stream {id} has no settings")))?;
    if store.id_of(&birth.name)? != Some(id) {
        return Err(Error::damaged(format!(
            "the name of stream {id} is not its own"
        )));
    }
    Ok(())
}

/// Checks the records of a commit and returns their number.
fn check_records(view: &View<'_>, commit: &Commit) -> Result<u64, Error> {
    let mut count = 0;
    for part in commit.parts.iter().filter(|part| part.count > 0) {
        let mut position = commit.position + part.before;
        for record in view.records(part.id, part.first, part.first + part.count) {
            let record = record?;
            if record.head.position != position {
                return Err(Error::damaged(format!(
                    "record of stream {} at offset {} has position {}, not {position}",
                    part.id, record.first, record.head.position,
                )));
            }
            position += u64::from(record.head.count);
            count += 1;
        }
    }
    Ok(count)
}
