//! The database. Only this module reads it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};

use super::dead_records::Slot;
use super::format::bytes::Malformed;
use super::format::commit::Commit;
use super::format::ended::{self, Ends};
use super::format::log_head::{self, Checkpoint, Head};
use super::format::record::Record;
use super::format::settings::Birth;
use super::format::{VERSION, keys, settings, state};
use super::options::FjallOptions;
use crate::append_rules::State;
use crate::error::{Error, Kind};
use crate::incarnation::Identity;
use crate::name::StreamName;
use crate::producers::ProducerState;
use crate::read::Ended;

/// The name of the messages' keyspace.
const RECORDS: &str = "records";

pub(crate) struct Store {
    /// The log's identity. It is written once, when the folder is opened for the first time.
    pub(crate) identity: Identity,
    pub(crate) db: Database,
    pub(crate) meta: Keyspace,
    pub(crate) order: Keyspace,
    pub(crate) records: Keyspace,
    /// The records that merges of `records` drop.
    pub(crate) dead: Slot,
}

/// Converts an error of fjall: an I/O error stays one, anything else is damage.
pub(crate) fn failure(error: fjall::Error, place: &str) -> Error {
    match error {
        fjall::Error::Io(error) => io_failure(error),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => io_failure(error),
        fjall::Error::Locked => Kind::Locked {
            path: "db/lock".into(),
            process: None,
        }
        .into(),
        fjall::Error::Poisoned => Kind::Storage(error.into()).into(),
        other => Kind::Damaged {
            place: place.into(),
            cause: Some(reason(&other).into()),
        }
        .into(),
    }
}

/// Returns a description of damage that fjall reports.
fn reason(error: &fjall::Error) -> String {
    use fjall::{Error, LsmError};

    match error {
        Error::Storage(LsmError::ChecksumMismatch { .. }) => "a checksum is wrong".into(),
        Error::Storage(LsmError::Unrecoverable) | Error::Unrecoverable => {
            "a file is missing, or isn't what was written".into()
        }
        Error::JournalRecovery(error) => format!("a journal (db/*.jnl): {error:?}"),
        Error::InvalidVersion(_) => "db/version isn't of this version of fjall".into(),
        other => format!("{other:?}"),
    }
}

pub(crate) fn io_failure(error: std::io::Error) -> Error {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    use std::io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    if matches!(
        error.kind(),
        InvalidData | InvalidInput | NotFound | UnexpectedEof
    ) {
        return Kind::Damaged {
            place: "a file".into(),
            cause: Some(error.into()),
        }
        .into();
    }
    if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
        return Kind::Full {
            cause: Some(error),
            unknown: false,
        }
        .into();
    }
    Kind::Storage(error.into()).into()
}

impl Store {
    /// Opens or creates the database, and checks its format.
    pub(crate) fn open(folder: &Path, options: &FjallOptions) -> Result<Self, Error> {
        // One thread writes out and merges tables. With two, fjall keeps the second busy by passing
        // it the first one's work over and over.
        let dead = Slot::default();
        let filter = dead.clone();
        let builder = Database::builder(folder)
            .with_compaction_filter_factories(Arc::new(move |keyspace| {
                (keyspace == RECORDS).then(|| Arc::new(filter.clone()) as _)
            }))
            .cache_size(options.cache_bytes)
            .manual_journal_persist(true)
            .max_journaling_size(256 << 20)
            .worker_threads(1);
        let place = "its journal or its tables";
        // fjall panics on some malformed data. The database is dropped then.
        let opened = match catch_unwind(AssertUnwindSafe(|| builder.open())) {
            Ok(opened) => opened.map_err(|error| failure(error, place))?,
            Err(_) => return Err(Error::damaged(place)),
        };
        let keyspace = |name: &str, block, merges| {
            opened
                .keyspace(name, || keyspace_options(options, block, merges))
                .map_err(|error| failure(error, "its keyspaces"))
        };
        let often = || Leveled::default().with_l0_threshold(4);
        let meta = keyspace("meta", 4 << 10, often())?;
        let order = keyspace("order", 16 << 10, often())?;
        // fjall's thread only moves tables of this keyspace. The module `space` merges them, if
        // there is space.
        let never = Leveled::default()
            .with_l0_threshold(u8::MAX)
            .with_table_target_size(1 << 40);
        let records = keyspace(RECORDS, 16 << 10, never)?;
        let mut store = Self {
            identity: Identity::random(),
            meta,
            order,
            records,
            dead,
            db: opened,
        };
        let version = store.meta(keys::VERSION, "its version", |value| {
            log_head::decode_number(keys::VERSION, value)
        })?;
        match version {
            Some(VERSION) => {}
            Some(found) => return Err(Kind::Version { found }.into()),
            None if store.head()?.is_some() => return Err(Error::damaged("no version is written")),
            None => {
                let version = log_head::encode_number(keys::VERSION, VERSION);
                let mut batch = store.db.batch().durability(Some(PersistMode::SyncAll));
                batch.insert(&store.meta, keys::VERSION, version);
                batch
                    .commit()
                    .map_err(|error| failure(error, "its version"))?;
            }
        }
        let identity = store.meta(keys::IDENTITY, "its identity", |value| {
            log_head::decode_number(keys::IDENTITY, value)
        })?;
        match identity {
            Some(identity) => store.identity = Identity::new(identity),
            None => {
                let identity = log_head::encode_number(keys::IDENTITY, store.identity.number());
                let mut batch = store.db.batch().durability(Some(PersistMode::SyncAll));
                batch.insert(&store.meta, keys::IDENTITY, identity);
                batch
                    .commit()
                    .map_err(|error| failure(error, "its identity"))?;
            }
        }
        Ok(store)
    }

    fn meta<T>(
        &self,
        key: &[u8],
        what: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Error> {
        let value = self.meta.get(key).map_err(|error| failure(error, what))?;
        let decoded = value.map(|value| decode(&value)).transpose();
        decoded.map_err(|Malformed| Error::damaged(format!("{what} (meta {})", hex(key))))
    }

    pub(crate) fn head(&self) -> Result<Option<Head>, Error> {
        self.meta(keys::HEAD, "its head", Head::decode)
    }

    pub(crate) fn checkpoint(&self) -> Result<Option<Checkpoint>, Error> {
        self.meta(keys::CHECKPOINT, "its checkpoint", Checkpoint::decode)
    }

    pub(crate) fn ends(&self) -> Result<Ends, Error> {
        let ends = self.meta(keys::ENDS, "how many ends there are", Ends::decode)?;
        Ok(ends.unwrap_or_default())
    }

    pub(crate) fn id_of(&self, name: &StreamName) -> Result<Option<u64>, Error> {
        let key = keys::name(name.as_str());
        self.meta(&key, "a stream's name", |value| {
            log_head::decode_number(&key, value)
        })
    }

    pub(crate) fn birth(&self, id: u64) -> Result<Option<Birth>, Error> {
        let key = keys::settings(id);
        self.meta(&key, "a stream's settings", |value| {
            settings::decode(&key, value)
        })
    }

    pub(crate) fn state(&self, id: u64) -> Result<Option<State>, Error> {
        let key = keys::state(id);
        self.meta(&key, "a stream's state", |value| state::decode(&key, value))
    }

    /// Returns the floor of a removed stream that is still being swept.
    pub(crate) fn garbage(&self, id: u64) -> Result<Option<u64>, Error> {
        let key = keys::garbage(id);
        self.meta(&key, "a stream that ended", |value| {
            log_head::decode_garbage(&key, value)
        })
    }

    pub(crate) fn producer(&self, id: u64, name: &str) -> Result<Option<ProducerState>, Error> {
        let key = keys::producer(id, name);
        self.meta(&key, "a producer's state", |value| {
            state::decode_producer(&key, value)
        })
    }

    /// Returns the states of at most `most` producers of a stream whose ids come after `after`, in
    /// the order of the ids.
    pub(crate) fn producers(
        &self,
        id: u64,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<(String, ProducerState)>, Error> {
        let first = keys::producer(id, after.unwrap_or_default());
        let prefix = keys::producer(id, "");
        let mut found = Vec::new();
        for pair in self.meta.range(first.clone()..) {
            let (key, value) = pair
                .into_inner()
                .map_err(|error| failure(error, "producers"))?;
            if !key.starts_with(&prefix) || found.len() == most {
                break;
            }
            if *key == *first {
                continue;
            }
            let name = keys::producer_of(&key);
            let state = state::decode_producer(&key, &value);
            match (name, state) {
                (Some(name), Ok(state)) => found.push((name.to_owned(), state)),
                _ => return Err(Error::damaged(format!("a producer (meta {})", hex(&key)))),
            }
        }
        Ok(found)
    }

    /// Returns at most `most` keys of `meta` in `from..to`.
    pub(crate) fn meta_keys(
        &self,
        from: Vec<u8>,
        to: Vec<u8>,
        most: usize,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let mut found = Vec::new();
        for pair in self.meta.range(from..to).take(most) {
            found.push(
                pair.key()
                    .map_err(|error| failure(error, "an index"))?
                    .to_vec(),
            );
        }
        Ok(found)
    }

    /// Returns a view of the current content.
    pub(crate) fn view(&self) -> View<'_> {
        View {
            store: self,
            at: self.db.snapshot(),
        }
    }
}

/// A snapshot of the database. Each commit is in it as a whole or not at all.
pub(crate) struct View<'a> {
    store: &'a Store,
    at: Snapshot,
}

impl View<'_> {
    /// Returns the consecutive records of a stream from the one that contains `at` to `until`.
    pub(crate) fn records(
        &self,
        id: u64,
        at: u64,
        until: u64,
    ) -> impl Iterator<Item = Result<Record, Error>> + use<> {
        let records = &self.store.records;
        let start = self
            .at
            .range(records, keys::record(id, 0)..=keys::record(id, at))
            .next_back();
        let start = start.map(|pair| record(id, pair));
        let (first, mut next) = match &start {
            Some(Ok(record)) => (record.first, record.first),
            _ => (at, at),
        };
        let found = start.is_some_and(|record| record.is_ok_and(|record| at < record.end()));
        let first = if found { first } else { at };
        if !found {
            next = at;
        }
        let mut pairs = self
            .at
            .range(records, keys::record(id, first)..keys::record(id, until));
        let mut ended = false;
        std::iter::from_fn(move || {
            if ended || next >= until {
                return None;
            }
            let record = match pairs.next() {
                Some(pair) => record(id, pair),
                None => Err(Error::damaged(format!("stream {id} lacks offset {next}"))),
            };
            let record = record.and_then(|record| {
                if record.first == next {
                    return Ok(record);
                }
                Err(Error::damaged(format!("stream {id} lacks offset {next}")))
            });
            match &record {
                Ok(record) => next = record.end(),
                Err(_) => ended = true,
            }
            Some(record)
        })
    }

    /// Returns the commits from the one that contains `position` on.
    pub(crate) fn commits(
        &self,
        position: u64,
    ) -> impl Iterator<Item = Result<Commit, Error>> + use<> {
        let before = self
            .at
            .range(&self.store.order, ..=keys::commit(position, u64::MAX))
            .next_back();
        let start = match before.map(fjall::Guard::key) {
            Some(Ok(key)) => keys::commit_of(&key).unwrap_or_default(),
            _ => (0, 0),
        };
        self.commits_after(start.0, start.1)
    }

    /// Returns the commits from this position and number on.
    pub(crate) fn commits_after(
        &self,
        position: u64,
        number: u64,
    ) -> impl Iterator<Item = Result<Commit, Error>> + use<> {
        self.at
            .range(&self.store.order, keys::commit(position, number)..)
            .map(|pair| {
                let (key, value) = pair
                    .into_inner()
                    .map_err(|error| failure(error, "the order"))?;
                Commit::decode(&key, &value)
                    .map_err(|Malformed| Error::damaged(format!("commit (order {})", hex(&key))))
            })
    }

    /// Returns the streams whose newest trimmed message has a position in `from..to`, in the order
    /// of the positions.
    pub(crate) fn trimmed(
        &self,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = Result<Gap, Error>> + use<> {
        // The keys contain the position after the message.
        let range = keys::trimmed(from + 1, 0)..keys::trimmed(to + 1, 0);
        self.at.range(&self.store.meta, range).map(|pair| {
            let (key, value) = pair
                .into_inner()
                .map_err(|error| failure(error, "what was trimmed"))?;
            let place = keys::trimmed_of(&key);
            let floor = log_head::decode_number(&key, &value).ok();
            let found = place.zip(floor).map(|((position, id), floor)| Gap {
                position: position - 1,
                id,
                floor,
            });
            found.ok_or_else(|| Error::damaged(format!("what was trimmed (meta {})", hex(&key))))
        })
    }

    /// Returns the streams that ended in `from..to`, in the order of the positions.
    pub(crate) fn ended(
        &self,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = Result<Ended, Error>> + use<> {
        let range = keys::end(from)..keys::end(to);
        self.at.range(&self.store.meta, range).map(|pair| {
            let (key, value) = pair
                .into_inner()
                .map_err(|error| failure(error, "an end"))?;
            ended::decode(&key, &value)
                .map_err(|Malformed| Error::damaged(format!("an end (meta {})", hex(&key))))
        })
    }

    /// Returns the number of ends.
    pub(crate) fn ends(&self) -> Result<Ends, Error> {
        let value = self
            .at
            .get(&self.store.meta, keys::ENDS)
            .map_err(|error| failure(error, "how many ends there are"))?;
        let ends = value.map(|value| Ends::decode(&value)).transpose();
        let ends = ends.map_err(|Malformed| Error::damaged("how many ends there are (meta 4c)"))?;
        Ok(ends.unwrap_or_default())
    }
}

/// A gap that a stream's caps left.
pub(crate) struct Gap {
    /// The position of the newest removed message.
    pub(crate) position: u64,
    pub(crate) id: u64,
    /// The first own offset that the stream still has.
    pub(crate) floor: u64,
}

fn record(id: u64, pair: fjall::Guard) -> Result<Record, Error> {
    let place = || format!("a record of stream {id}");
    let (key, value) = pair
        .into_inner()
        .map_err(|error| failure(error, &place()))?;
    let (of, first) = keys::record_of(&key).ok_or_else(|| Error::damaged(place()))?;
    debug_assert_eq!(of, id);
    Record::decode(of, first, Bytes::from(value))
        .map_err(|Malformed| Error::damaged(format!("record of stream {id} at offset {first}")))
}

fn keyspace_options(options: &FjallOptions, block: u32, merges: Leveled) -> KeyspaceCreateOptions {
    let bloom = |bits| FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(bits));
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(options.table_bytes)
        .compaction_strategy(Arc::new(merges))
        .data_block_size_policy(BlockSizePolicy::all(block))
        .filter_policy(FilterPolicy::all(bloom(10.0)))
}

fn hex(key: &[u8]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_format_is_refused_with_a_remedy() {
        for other in [VERSION - 1, VERSION + 1] {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path(), &FjallOptions::default()).unwrap();
            let version = log_head::encode_number(keys::VERSION, other);
            store.meta.insert(keys::VERSION, version).unwrap();
            store.db.persist(PersistMode::SyncAll).unwrap();
            drop(store);
            let opened = Store::open(folder.path(), &FjallOptions::default());
            let error = opened.err().unwrap().to_string();
            assert!(error.contains(&format!("format {other}")), "{error}");
            assert!(error.contains("the version that wrote it"), "{error}");
        }
    }

    #[test]
    fn a_folder_without_an_identity_gets_a_permanent_one() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Store::open(folder.path(), &FjallOptions::default()).unwrap();
        let store = open();
        store.meta.remove(keys::IDENTITY).unwrap();
        store.db.persist(PersistMode::SyncAll).unwrap();
        drop(store);
        let identity = open().identity;
        assert_eq!(open().identity, identity);
    }
}
