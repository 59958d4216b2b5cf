//! Opening of a log: the segments that aren't in sorted files are read, and what the index lacks is
//! added to it.
//!
//! The journal tells a frame that a crash cut off from one that is damaged, unless it is the last. The
//! file `commits` decides about that one: the last commit must not be earlier than the one it records.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{DirBuilder, File, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_journal::{
    Disk, Frame, Index, Journal, OpenError, Options, OsDisk, TableRef, segment_name,
    segment_number, table_number,
};

use super::catalog::{self, CatalogDisk};
use super::damage::DamageMet;
use super::failure::{io_failure, is_missing, missing};
use super::format::commit::{Commit, Part};
use super::format::commits_file::{self, Mark as Committed, Marker, PRIVATE_FILE};
use super::format::log_head::Head;
use super::format::manifest::{self, Manifest};
use super::format::{keys, record};
use super::options::{DiskOptions, Durability};
use super::parting;
use super::rewrite;
use super::segments::SegmentFile;
use super::sorted::{self, Sorted, SortedError, sorted_name};
use super::store::Store;
use crate::append_rules::State;
use crate::encoding::state;
use crate::error::{Error, Kind, Remedy};
use crate::incarnation::{Identity, Mark};
use crate::name::StreamName;
use crate::offset::Offset;

/// A report on the opening of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Number of commits that were read: those in segments that aren't in sorted files.
    pub commits: u64,
    /// Number of records that were checked.
    pub records: u64,
    /// Number of acknowledged commits that are missing at the end. It is above 0 only with
    /// [`Durability::Os`] after a crash of the machine, or with
    /// [`accept_missing_end`](DiskOptions::accept_missing_end).
    pub missing: u64,
    /// Number of commits with damage. It is above 0 only with
    /// [`accept_damage`](DiskOptions::accept_damage).
    pub damaged: u64,
    /// The damaged messages of these commits, in the order of the journal, at most
    /// [`LISTED`](crate::Recovery::LISTED). Messages of streams that have ended aren't listed.
    pub given_up: Vec<GivenUp>,
    /// Time that opening took.
    pub took: Duration,
}

impl Recovery {
    /// Maximum number of [`given_up`](Self::given_up) records.
    pub const LISTED: usize = 10_000;
}

/// Consecutive messages of a stream that can't be read, because they are damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GivenUp {
    /// The name of the stream.
    pub stream: StreamName,
    /// The offset before the first message.
    pub from: Mark,
    /// The offset after the last message.
    pub to: Mark,
    /// The number of the segment that has them.
    pub segment: u64,
    /// The place of their data in the segment.
    pub byte: u64,
}

/// A damaged record of a segment.
struct Damaged {
    id: u64,
    first: u64,
    end: u64,
    segment: u64,
    byte: u64,
}

/// The parts of an opened log.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) marker: Marker,
    pub(crate) head: Head,
    pub(crate) recovery: Recovery,
    pub(crate) damage: DamageMet,
}

/// Creates a folder that only its owner can read, if it doesn't exist. An existing folder keeps its
/// permissions.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// The lock of a log's folder, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    _folder: File,
}

/// Locks the folder, and a file in it that has the process's id. The file can be removed by hand, the folder is locked
/// then still. Not every file system can lock a folder.
pub(crate) fn lock(folder: &Path) -> Result<Lock, Error> {
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
    let opened = File::open(folder).map_err(at(folder))?;
    if let Err(TryLockError::WouldBlock) = opened.try_lock() {
        let (path, process) = (folder.to_owned(), None);
        return Err(Kind::Locked { path, process }.into());
    }
    Ok(Lock {
        _file: file,
        _folder: opened,
    })
}

/// Returns a function that turns an I/O error into an error of the file at `path`.
fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |error| Error::file(&path, error)
}

/// The folder with the data, inside the log's folder.
pub(crate) const DATA: &str = "log";
/// The folder of the format before, inside the log's folder.
const OLD: (&str, u64) = ("db", 3);

/// Returns the disk of a log's folder. Creates what is missing.
pub(crate) fn disk(folder: &Path) -> Result<Arc<dyn Disk>, Error> {
    let (old, version) = OLD;
    let old = folder.join(old);
    if old.try_exists().map_err(at(&old))? {
        return Err(Kind::Version { found: version }.into());
    }
    let data = folder.join(DATA);
    let is_new = !data.try_exists().map_err(at(&data))?;
    // The data, messages and signing keys, is readable by the owner alone, whatever the permissions
    // of the parent folder.
    private_folder(&data).map_err(at(&data))?;
    if is_new {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(at(folder))?;
    }
    accessible(&data)?;
    let disk = OsDisk::open(&data).map_err(at(&data))?;
    Ok(Arc::new(disk))
}

/// Checks that all files of a folder can be read and written. An error names the file.
pub(crate) fn accessible(data: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(data).map_err(at(data))? {
        let path = entry.map_err(at(data))?.path();
        match File::options().read(true).write(true).open(&path) {
            // A file of an open log can be removed meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => drop(opened.map_err(at(&path))?),
        }
    }
    Ok(())
}

/// Returns `true` for a file with data, which a log without a manifest doesn't have.
fn is_data(name: &str) -> bool {
    let is_table = table_number(name).is_some() || catalog::number_of(name).is_some();
    is_table || sorted::number_of(name).is_some() || name.ends_with(".seg")
}

fn lacks(name: &str) -> Error {
    Error::damaged(format!("the file `{DATA}/{name}` is missing"))
}

/// Returns an error if a disk without a manifest has data. A crash can leave a new log without one.
pub(crate) fn lacks_manifest(disk: &dyn Disk) -> Result<Option<Error>, Error> {
    let names = disk.list().map_err(io_failure)?;
    let mut has_data = names.iter().any(|name| is_data(name));
    if !has_data && names.iter().any(|name| name == commits_file::NAME) {
        let (_, mark) = Marker::open(disk).map_err(io_failure)?;
        has_data = mark.is_some_and(|mark| mark.commit > 0);
    }
    Ok(has_data.then(|| lacks(manifest::NAME).with_remedy(Remedy::RebuildIndex)))
}

/// Reads or creates the manifest and the marker.
fn root(disk: &dyn Disk, options: &DiskOptions) -> Result<(Manifest, Marker, Committed), Error> {
    let synced = options.durability == Durability::Fsync;
    let names = disk.list().map_err(io_failure)?;
    let has = |name: &str| names.iter().any(|it| it == name);
    let new = Committed { commit: 0, synced };
    let Some(manifest) = Manifest::read(disk)? else {
        if let Some(error) = lacks_manifest(disk)? {
            return Err(error);
        }
        let marker = Marker::create(disk, synced).map_err(io_failure)?;
        let manifest = Manifest::new(Identity::random().number());
        manifest.write(disk).map_err(io_failure)?;
        return Ok((manifest, marker, new));
    };
    if !has(commits_file::NAME) {
        if !options.accept_missing_end {
            return Err(lacks(commits_file::NAME).with_remedy(Remedy::AcceptMissingEnd));
        }
        let marker = Marker::create(disk, synced).map_err(io_failure)?;
        return Ok((manifest, marker, new));
    }
    let (marker, mark) = Marker::open(disk).map_err(io_failure)?;
    match mark {
        Some(mark) => Ok((manifest, marker, mark)),
        None if options.accept_missing_end => Ok((manifest, marker, new)),
        None => {
            let error = Error::damaged("the file `log/commits` can't be read");
            Err(error.with_remedy(Remedy::AcceptMissingEnd))
        }
    }
}

/// Opens the log on a disk, or creates it there.
pub(crate) fn open(disk: &Arc<dyn Disk>, options: &DiskOptions) -> Result<Opened, Error> {
    let started = Instant::now();
    let (manifest, mut marker, mark) = root(&**disk, options)?;
    manifest.restore_copy(&**disk).map_err(io_failure)?;
    remove_unnamed(&**disk, &manifest)?;
    let index = Index::open(Arc::clone(disk), &manifest.tables, options.cache_bytes)?;
    let catalog = Index::open(CatalogDisk::of(disk), &manifest.catalog, 0);
    let catalog = catalog.map_err(catalog::failed)?;
    let sorted = open_sorted(disk, &manifest)?;
    let (identity, from, base) = (manifest.identity, manifest.segments, manifest.head);
    let store = Store::new(Arc::clone(disk), manifest, index, catalog, sorted);
    let mut settings = Options::default();
    settings.segment_bytes = options.segment_bytes;
    settings.loose_from = (!mark.synced).then_some(0);
    let acknowledged = mark.commit.max(base.commit);
    if mark.synced && !options.accept_missing_end {
        settings.required = acknowledged;
    }
    let mut replay = Replay {
        store: &store,
        mark,
        accept_damage: options.accept_damage,
        base,
        head: base,
        states: HashMap::new(),
        file: None,
        recovery: Recovery::default(),
        given_up: Vec::new(),
        refused: None,
        failed: None,
    };
    let opened =
        headwater_journal::open(disk, identity, &settings, Some(from), |frame| match replay
            .add(&frame)
        {
            Ok(is_whole) => is_whole,
            Err(error) => {
                replay.failed = Some(error);
                false
            }
        });
    if let Some(error) = replay.failed {
        return Err(error);
    }
    let (mut journal, found) = opened.map_err(|error| unopened(&**disk, error, replay.refused))?;
    let Replay {
        mut head,
        states,
        mut recovery,
        given_up,
        ..
    } = replay;
    let states = states.into_iter().filter_map(|(id, state)| {
        let state = state?;
        Some((keys::state(id), Some(state::encode(&state))))
    });
    store.apply(states.collect());
    let damage = DamageMet::default();
    for record in &given_up {
        damage.add(record.id, record.first);
    }
    recovery.given_up = named(&store, given_up)?;
    let sealed = journal.tail();
    store.segments.write().seal(sealed);
    let last = journal.next() - 1;
    if last < acknowledged {
        recovery.missing = acknowledged - last;
        tracing::warn!(
            missing = recovery.missing,
            last,
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
    // Without a marker, it isn't known if commits are missing.
    let is_unmarked = mark.commit == 0 && last > 0;
    if options.accept_missing_end && (recovery.missing > 0 || is_unmarked) {
        head = parting::part(&store, head)?;
    }
    if last < base.commit {
        // The index knows of the missing commits. Their messages can't be read, and the next commit has
        // the number that follows.
        journal.skip_to(base.commit + 1);
        rewrite::close_gap(&store, journal.tail())?;
    }
    for number in found.segments {
        if number < from.segment {
            store.remove(&segment_name(number));
        }
    }
    let mark = Committed {
        commit: head.commit,
        synced: options.durability == Durability::Fsync,
    };
    for _ in 0..2 {
        marker.write(mark).map_err(io_failure)?;
    }
    marker.file().sync().map_err(io_failure)?;
    recovery.took = started.elapsed();
    Ok(Opened {
        store,
        journal,
        marker,
        head,
        recovery,
        damage,
    })
}

/// Opens the sorted files that the manifest names.
pub(crate) fn open_sorted(
    disk: &Arc<dyn Disk>,
    manifest: &Manifest,
) -> Result<Vec<Arc<Sorted>>, Error> {
    let open = |number: &u64| match Sorted::open(disk, *number, manifest.identity) {
        Err(SortedError::Io(error)) if is_missing(&error) => Err(missing(&sorted_name(*number))),
        opened => Ok(Arc::new(opened?)),
    };
    manifest.sorted.iter().map(open).collect()
}

/// Returns the error of a journal that can't be opened. `refused` is the acknowledged frame whose damaged
/// messages weren't accepted.
fn unopened(disk: &dyn Disk, error: OpenError, refused: Option<u64>) -> Error {
    let frame = match error {
        OpenError::Damaged { frame, .. } => frame,
        OpenError::Missing { first, .. } => first,
        error @ OpenError::Disk(_) => return error.into(),
    };
    if refused == Some(frame) {
        return Error::from(error).with_remedy(Remedy::AcceptDamage);
    }
    let OpenError::Damaged {
        segment, offset, ..
    } = error
    else {
        return error.into();
    };
    // A segment that is missing, or has a damaged header, looks like damage of the one beside it.
    let names = disk.list().unwrap_or_default();
    let has = |number| names.contains(&segment_name(number));
    let mut numbers = names.iter().filter_map(|name| segment_number(name));
    let (other, what) = match offset {
        0 if segment > 1 && has(segment - 1) => (segment - 1, "has a damaged header"),
        0 if segment > 1 => (segment - 1, "is missing"),
        _ if !has(segment + 1) && numbers.any(|it| it > segment) => (segment + 1, "is missing"),
        _ => return error.into(),
    };
    let name = segment_name(other);
    Error::damaged(format!("{error}, or the file `log/{name}` {what}"))
}

/// Removes the files that a crash left before the manifest named them, or after it did.
pub(crate) fn remove_unnamed(disk: &dyn Disk, manifest: &Manifest) -> Result<(), Error> {
    let has = |tables: &[TableRef], number| tables.iter().any(|it| it.number == number);
    let is_named = |name: &str| {
        table_number(name).is_none_or(|number| has(&manifest.tables, number))
            && catalog::number_of(name).is_none_or(|number| has(&manifest.catalog, number))
            && sorted::number_of(name).is_none_or(|number| manifest.sorted.contains(&number))
    };
    for name in disk.list().map_err(io_failure)? {
        if !is_named(&name) {
            disk.remove(&name).map_err(io_failure)?;
        }
    }
    Ok(())
}

/// Returns the damaged records of streams that exist, with their names.
fn named(store: &Store, damaged: Vec<Damaged>) -> Result<Vec<GivenUp>, Error> {
    let mut named = Vec::with_capacity(damaged.len());
    for record in damaged {
        let Some(birth) = store.birth(record.id)? else {
            continue;
        };
        let incarnation = store.identity.stream(record.id);
        let at = |at| Mark {
            at: Offset::new(at),
            incarnation,
        };
        named.push(GivenUp {
            stream: birth.name,
            from: at(record.first),
            to: at(record.end),
            segment: record.segment,
            byte: record.byte,
        });
    }
    Ok(named)
}

/// A pass over the frames of the journal.
struct Replay<'a> {
    store: &'a Store,
    mark: Committed,
    accept_damage: bool,
    /// The state of the log up to which the index is in tables.
    base: Head,
    head: Head,
    /// The states of streams that commits changed. `None` for streams that have ended.
    states: HashMap<u64, Option<State>>,
    file: Option<Arc<SegmentFile>>,
    recovery: Recovery,
    given_up: Vec<Damaged>,
    /// The first acknowledged frame with damage that isn't accepted.
    refused: Option<u64>,
    failed: Option<Error>,
}

impl Replay<'_> {
    /// Adds a frame. Returns `false` if its data isn't what was written.
    fn add(&mut self, frame: &Frame<'_>) -> Result<bool, Error> {
        let Ok(mut commit) = Commit::decode(frame.head) else {
            return Ok(false);
        };
        let mut rest = frame.data;
        let mut byte = frame.place.data();
        let mut damaged = Vec::new();
        for part in &commit.parts {
            let length = usize::try_from(part.head.length).unwrap_or(usize::MAX);
            let Some((data, later)) = rest.split_at_checked(length) else {
                return Ok(false);
            };
            rest = later;
            if record::sum(data) != part.sum {
                damaged.push(Damaged {
                    id: part.id,
                    first: part.first,
                    end: part.end(),
                    segment: frame.place.segment,
                    byte,
                });
            }
            byte += u64::from(part.head.length);
        }
        // A frame that was acknowledged was whole.
        let is_acknowledged = frame.number <= self.mark.commit;
        if !(damaged.is_empty() || self.accept_damage && is_acknowledged) {
            self.refused = is_acknowledged.then_some(frame.number);
            return Ok(false);
        }
        self.recovery.commits += 1;
        self.recovery.records += (commit.parts.len() - damaged.len()) as u64;
        self.recovery.damaged += u64::from(!damaged.is_empty());
        let room = Recovery::LISTED - self.given_up.len();
        self.given_up.extend(damaged.into_iter().take(room));
        let file = self.file(frame)?;
        self.store
            .segments
            .write()
            .add(&commit, frame.place, frame.tail, || file);
        if frame.number > self.base.commit {
            if commit.position != self.head.position {
                return Err(Error::damaged(format!(
                    "commit {} is at another position than the one before ends",
                    frame.number
                )));
            }
            self.head = commit.head(frame.number, self.head);
            for part in &commit.parts {
                self.add_part(part)?;
            }
            let changes = std::mem::take(&mut commit.changes);
            let mut others = Vec::with_capacity(changes.len());
            for (key, value) in changes {
                match (keys::state_of(&key), &value) {
                    (Some(id), Some(value)) => {
                        let state = state::decode(value)
                            .map_err(|_| Error::damaged(format!("the state of stream {id}")))?;
                        self.states.insert(id, Some(state));
                    }
                    (Some(id), None) => {
                        self.states.insert(id, None);
                        others.push((key, None));
                    }
                    (None, _) => others.push((key, value)),
                }
            }
            self.store.apply(others);
        }
        Ok(true)
    }

    /// Adds the messages of a part to the state of its stream, unless the commit contains the state.
    fn add_part(&mut self, part: &Part) -> Result<(), Error> {
        let state = match self.states.entry(part.id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(self.store.state(part.id)?),
        };
        if let Some(state) = state {
            state.add(part.end(), part.head.bytes.into(), part.head.time);
        }
        Ok(())
    }

    /// Returns the file of the frame's segment.
    fn file(&mut self, frame: &Frame<'_>) -> Result<Arc<SegmentFile>, Error> {
        let number = frame.place.segment;
        if let Some(file) = self.file.as_ref().filter(|file| file.number == number) {
            return Ok(Arc::clone(file));
        }
        let open = || {
            let file = self.store.disk.open(&segment_name(number))?;
            let bytes = file.length()?;
            Ok(Arc::new(SegmentFile {
                number,
                file,
                bytes,
            }))
        };
        let file = open().map_err(io_failure)?;
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }
}
