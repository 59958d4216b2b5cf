//! Which records nobody can read any more: those of streams that are no more, and those before a stream's floor.
//!
//! A record that is dead stays dead: an id is never given twice, and a floor never goes back. So a table whose
//! records are all dead can be deleted as it is, and a merge of tables leaves them out, whether or not it meets their
//! tombstones.

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

/// The streams as they were at one moment that is on the disk.
pub(crate) struct Fates {
    at: Snapshot,
    meta: Keyspace,
    /// Streams from this id on came later: nothing is known of them.
    next_id: u64,
}

/// What is known of a stream's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Those before this offset are dead.
    Alive {
        floor: u64,
    },
    Dead,
    /// All are to stay: the stream ended and is still being swept, or what is known of it can't be read.
    Unknown,
}

impl Fates {
    /// What is true of the streams now, and stays so after a loss of power.
    pub(crate) fn of(store: &Store) -> Result<Self, Error> {
        let at = store.db.snapshot();
        // What is thrown away by it must not be missed when the machine goes down.
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

    /// Returns whether every record from the key `min` to the key `max` is dead.
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

/// Where merges find what is dead, while there is something.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Arc<Fates>>>>);

impl Slot {
    /// Has merges leave out what is dead by `fates`, until what is returned is dropped.
    pub(crate) fn put(&self, fates: Fates) -> impl Drop + use<> {
        *lock(&self.0) = Some(Arc::new(fates));
        Emptied(self.clone())
    }
}

/// Empties a slot: what is in it would keep the database open.
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
    /// The stream that was looked at last.
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
