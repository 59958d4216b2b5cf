//! The records that no reader can reach any more: those of removed streams, and those before a
//! stream's floor.
//!
//! A dead record stays dead, because an id is never reused and a floor never goes back. A table
//! whose records are all dead can therefore be deleted as a whole. A merge of tables drops dead
//! records, whether or not it sees their deletion markers.

use std::sync::{Arc, Mutex};

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use fjall::{Keyspace, PersistMode, Readable, Snapshot};

use super::format::head::Head;
use super::format::{keys, state};
use super::store::{Store, failure};
use super::stream::lock;
use crate::error::Error;

/// The state of the streams at one moment that is on the disk.
pub(crate) struct Fates {
    at: Snapshot,
    meta: Keyspace,
    /// Streams with this id or a higher one were created later. Nothing is known about them.
    next_id: u64,
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
    /// Takes a snapshot of the streams, which stays valid after a loss of power.
    pub(crate) fn of(store: &Store) -> Result<Self, Error> {
        let at = store.db.snapshot();
        // Records that are dropped because of the snapshot must not be needed after a crash of the
        // machine.
        store
            .db
            .persist(PersistMode::SyncAll)
            .map_err(|error| failure(error, "its journal"))?;
        let head = at.get(&store.meta, keys::HEAD);
        let head = head.map_err(|error| failure(error, "its head"))?;
        let head = head.and_then(|head| Head::decode(&head).ok());
        Ok(Self {
            at,
            meta: store.meta.clone(),
            next_id: head.map_or(0, |head| head.next_id),
        })
    }

    fn of_stream(&self, id: u64) -> Fate {
        if id >= self.next_id {
            return Fate::Unknown;
        }
        let key = keys::state(id);
        match self.at.get(&self.meta, &key) {
            Ok(Some(value)) => match state::decode(&key, &value) {
                Ok(state) => Fate::Alive { floor: state.floor },
                Err(_) => Fate::Unknown,
            },
            Ok(None) => match self.at.contains_key(&self.meta, keys::garbage(id)) {
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
        let none =
            |from: Vec<u8>, to: Vec<u8>| self.at.range(&self.meta, from..to).next().is_none();
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
        *lock(&self.0) = Some(Arc::new(fates));
        Emptied(self.clone())
    }
}

/// A guard that empties a slot on drop. A slot that isn't empty keeps the database open.
struct Emptied(Slot);

impl Drop for Emptied {
    fn drop(&mut self) {
        lock(&self.0.0).take();
    }
}

impl Factory for Slot {
    fn name(&self) -> &str {
        "dead records"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Filter {
            fates: lock(&self.0).clone(),
            last: None,
        })
    }
}

struct Filter {
    fates: Option<Arc<Fates>>,
    /// The stream that was looked up last.
    last: Option<(u64, Fate)>,
}

impl CompactionFilter for Filter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let (Some(fates), Some((id, first))) = (&self.fates, keys::record_of(item.key())) else {
            return Ok(Verdict::Keep);
        };
        let fate = match self.last {
            Some((last, fate)) if last == id => fate,
            _ => fates.of_stream(id),
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
