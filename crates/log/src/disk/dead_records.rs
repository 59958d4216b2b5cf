//! The records that no reader can reach any more: those of removed streams, and those before a
//! stream's floor.
//!
//! A dead record stays dead, because an id is never reused and a floor never goes back. A table
//! whose records are all dead can therefore be deleted as a whole. A merge of tables drops dead
//! records, whether or not it sees their deletion markers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use fjall::{Database, Keyspace, PersistMode, Readable, Snapshot};
use parking_lot::Mutex;

use super::format::log_head::Head;
use super::format::{keys, state};
use super::store::{Store, failure};
use crate::error::Error;

/// Maximum age of the snapshot by which records are dropped.
///
/// While a snapshot exists, the database keeps every table in memory that was filled since, also once
/// it is written out. A merge takes seconds, in which appends could fill gigabytes.
const SNAPSHOT_AGE: Duration = Duration::from_millis(100);

/// The state of the streams at a recent moment that is on the disk.
pub(crate) struct Fates {
    db: Database,
    meta: Keyspace,
    /// Streams with this id or a higher one were created later. Nothing is known about them.
    next_id: u64,
    latest: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

/// The fate of a stream's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The records before this offset are dead.
    Alive {
        floor: u64,
    },
    Dead,
    /// All records must stay: the stream ended and is still being swept, or its state can't be
    /// read.
    Unknown,
}

impl Fates {
    /// Reads what streams there are, by a snapshot that stays valid after a loss of power.
    pub(crate) fn of(store: &Store) -> Result<Self, Error> {
        let mut fates = Self {
            db: store.db.clone(),
            meta: store.meta.clone(),
            next_id: 0,
            latest: Mutex::default(),
        };
        let head = fates.snapshot()?.get(&fates.meta, keys::HEAD);
        let head = head.map_err(|error| failure(error, "its head"))?;
        let head = head.and_then(|head| Head::decode(&head).ok());
        fates.next_id = head.map_or(0, |head| head.next_id);
        fates.let_go();
        Ok(fates)
    }

    /// Drops the snapshot.
    fn let_go(&self) {
        self.latest.lock().take();
    }

    /// Returns a snapshot that is on the disk and not older than [`SNAPSHOT_AGE`]. Records that are
    /// dropped because of it are not needed after a crash of the machine.
    fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        let mut latest = self.latest.lock();
        if let Some((taken, at)) = &*latest
            && taken.elapsed() < SNAPSHOT_AGE
        {
            return Ok(Arc::clone(at));
        }
        *latest = None;
        let at = Arc::new(self.db.snapshot());
        self.db
            .persist(PersistMode::SyncAll)
            .map_err(|error| failure(error, "its journal"))?;
        *latest = Some((Instant::now(), Arc::clone(&at)));
        Ok(at)
    }

    fn of_stream(&self, id: u64) -> Fate {
        if id >= self.next_id {
            return Fate::Unknown;
        }
        let Ok(at) = self.snapshot() else {
            return Fate::Unknown;
        };
        let key = keys::state(id);
        match at.get(&self.meta, &key) {
            Ok(Some(value)) => match state::decode(&key, &value) {
                Ok(state) => Fate::Alive { floor: state.floor },
                Err(_) => Fate::Unknown,
            },
            Ok(None) => match at.contains_key(&self.meta, keys::garbage(id)) {
                Ok(false) => Fate::Dead,
                Ok(true) | Err(_) => Fate::Unknown,
            },
            Err(_) => Fate::Unknown,
        }
    }

    /// Returns `true` if every record from the key `min` to the key `max` is dead.
    pub(crate) fn are_dead(&self, min: &[u8], max: &[u8]) -> bool {
        let (Some((first, _)), Some((last, offset))) = (keys::record_of(min), keys::record_of(max))
        else {
            return false;
        };
        let Ok(at) = self.snapshot() else {
            return false;
        };
        let none = |from: Vec<u8>, to: Vec<u8>| at.range(&self.meta, from..to).next().is_none();
        none(keys::garbage(first), keys::garbage(last))
            && none(keys::state(first), keys::state(last))
            && match self.of_stream(last) {
                Fate::Alive { floor } => offset < floor,
                Fate::Dead => true,
                Fate::Unknown => false,
            }
    }
}

/// The place from which merges take the dead records, while there are any.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Arc<Fates>>>>);

impl Slot {
    /// Makes merges drop the records that are dead by `fates`, until the returned guard is dropped.
    pub(crate) fn put(&self, fates: Fates) -> impl Drop + use<> {
        *self.0.lock() = Some(Arc::new(fates));
        Emptied(self.clone())
    }
}

/// A guard that empties a slot on drop. A slot that isn't empty keeps the database open.
struct Emptied(Slot);

impl Drop for Emptied {
    fn drop(&mut self) {
        self.0.0.lock().take();
    }
}

// A panic leaves what the slot holds as it was: the lock covers one assignment.
impl std::panic::RefUnwindSafe for Slot {}

impl Factory for Slot {
    fn name(&self) -> &str {
        "dead records"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Filter {
            fates: self.0.lock().clone(),
            last: None,
            looked_up: None,
        })
    }
}

struct Filter {
    fates: Option<Arc<Fates>>,
    /// The stream that was looked up last.
    last: Option<(u64, Fate)>,
    /// Time of that lookup, unless the snapshot has been dropped since.
    looked_up: Option<Instant>,
}

impl Filter {
    /// Drops the snapshot if it is too old: the records of one stream can take long.
    fn let_go(&mut self, fates: &Fates) {
        if self.looked_up.is_some_and(|at| at.elapsed() > SNAPSHOT_AGE) {
            self.looked_up = None;
            fates.let_go();
        }
    }
}

impl CompactionFilter for Filter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let Some(fates) = self.fates.clone() else {
            return Ok(Verdict::Keep);
        };
        self.let_go(&fates);
        let Some((id, first)) = keys::record_of(item.key()) else {
            return Ok(Verdict::Keep);
        };
        let fate = match self.last {
            Some((last, fate)) if last == id => fate,
            _ => {
                self.looked_up = Some(Instant::now());
                fates.of_stream(id)
            }
        };
        self.last = Some((id, fate));
        let dead = match fate {
            Fate::Alive { floor } => first < floor,
            Fate::Dead => true,
            Fate::Unknown => false,
        };
        Ok(if dead {
            Verdict::Destroy
        } else {
            Verdict::Keep
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{FjallLog, FjallOptions};
    use crate::{Create, Log, Settings, StreamName};

    #[tokio::test]
    async fn a_merge_holds_no_snapshot_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let log = FjallLog::open(folder.path(), FjallOptions::default()).unwrap();
        let name = StreamName::new("a").unwrap();
        let create = Create::new(Settings::of_type("text/plain"));
        log.create(&name, create).await.unwrap();
        let store = log.engine.store().unwrap();
        let fates = Arc::new(Fates::of(&store).unwrap());
        let is_held = || fates.latest.lock().is_some();
        assert!(!is_held(), "none before the first record");

        let mut filter = Filter {
            fates: Some(Arc::clone(&fates)),
            last: None,
            looked_up: Some(Instant::now()),
        };
        assert_eq!(fates.of_stream(1), Fate::Alive { floor: 0 });
        filter.let_go(&fates);
        assert!(is_held(), "it is used for the next streams");
        std::thread::sleep(SNAPSHOT_AGE + Duration::from_millis(1));
        filter.let_go(&fates);
        assert!(!is_held(), "the records of one stream take long");
    }
}
