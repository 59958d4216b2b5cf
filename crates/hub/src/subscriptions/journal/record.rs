//! The records of the journal.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use headwater_log::StreamName;
use serde::{Deserialize, Serialize};

use crate::subscriptions::keys::KeysRecord;
use crate::subscriptions::state::{ConfigRecord, Dirty, Link, Registry, State, Subscription};

/// Maximum number of links in one record.
const RECORD_LINKS: usize = 200;
/// Maximum number of names in one record.
const RECORD_NAMES: usize = 32;
/// Number of links after which the task yields.
const PIECES: usize = 500;
/// Number of entries that are copied in addition to those of a turn.
const COPY: usize = 2000;
/// A message of the journal. Each variant is documented in [its module](super).
#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Record {
    Keys(KeysRecord),
    Subscription {
        id: String,
        config: ConfigRecord,
        base: String,
        created: u64,
    },
    /// The names for consecutive numbers from `first`.
    Names {
        first: u64,
        names: Vec<String>,
    },
    State {
        id: String,
        #[serde(flatten)]
        state: State,
    },
    Links {
        id: String,
        links: Vec<LinkRecord>,
    },
    Unlinked {
        id: String,
        streams: Vec<NameRecord>,
    },
    Deleted {
        id: String,
    },
    Seen {
        position: String,
    },
    Term {
        term: u64,
    },
}

/// The name, flags (1 for a stream by name plus 2 for a match of the pattern), the stream's number
/// in the log, and the offset up to which it was processed.
#[derive(Serialize, Deserialize)]
pub(super) struct LinkRecord(
    pub(super) NameRecord,
    pub(super) u8,
    pub(super) Option<u64>,
    pub(super) String,
);

/// A stream's name: a number, or text, as in the first version of the format.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum NameRecord {
    Number(u64),
    Text(String),
}

/// The numbers of names in one stream of the journal.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The numbers of names that have links.
    known: HashMap<StreamName, u64>,
    next: u64,
    /// Names with a new number, which have to be written.
    new: Vec<StreamName>,
}

impl Numbers {
    /// Returns the number of a name. A new name has to be written.
    fn of(&mut self, name: &StreamName) -> NameRecord {
        if let Some(number) = self.known.get(name) {
            return NameRecord::Number(*number);
        }
        let number = self.next;
        self.next += 1;
        self.known.insert(name.clone(), number);
        self.new.push(name.clone());
        NameRecord::Number(number)
    }

    /// Returns the records of names that have to be written. They have to precede records that use
    /// them.
    pub(super) fn take_new(&mut self) -> Vec<Record> {
        let new = std::mem::take(&mut self.new);
        let mut first = self.next - u64::try_from(new.len()).unwrap_or_default();
        let mut records = Vec::new();
        for names in new.chunks(RECORD_NAMES) {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            let count = u64::try_from(names.len()).unwrap_or_default();
            records.push(Record::Names { first, names });
            first += count;
        }
        records
    }

    /// Forgets the names of removed links.
    pub(super) fn forget(&mut self, registry: &Registry, dirty: &Dirty) {
        for (_, name) in &dirty.links {
            if !registry.has_name(name) {
                self.known.remove(name);
            }
        }
    }

    /// Forgets all numbers, so that every name gets a new one: it isn't known which were written.
    pub(super) fn doubt(&mut self) {
        self.known.clear();
        self.new.clear();
    }

    /// Restores the numbers from the names that were read.
    pub(super) fn learn(&mut self, names: HashMap<u64, StreamName>, registry: &Registry) {
        let next = names.keys().max().map_or(0, |last| last + 1);
        let known = names.into_iter().map(|(number, name)| (name, number));
        *self = Self {
            known: known.filter(|(name, _)| registry.has_name(name)).collect(),
            next,
            new: Vec::new(),
        };
    }
}

/// The progress of a copy: the last link that was copied, or the last subscription without its
/// links.
#[derive(Clone, Debug, Default)]
pub(super) struct Copied {
    id: Option<Arc<str>>,
    /// `true` if links of this subscription are still to be copied.
    within: bool,
    stream: Option<StreamName>,
}

impl Record {
    /// Returns the number of entries that the record counts for.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Links { links, .. } => links.len(),
            Self::Unlinked { streams, .. } => streams.len(),
            Self::Names { names, .. } => names.len(),
            // A stream with nothing else is as one that was just created.
            Self::Term { .. } => 0,
            _ => 1,
        }
    }
}

/// Adds the records of all changes except removed links.
pub(super) async fn changes(
    registry: &Registry,
    dirty: &Dirty,
    numbers: &mut Numbers,
    records: &mut Vec<Record>,
) {
    records.extend(
        dirty
            .removed
            .iter()
            .map(|id| Record::Deleted { id: id.to_string() }),
    );
    for id in &dirty.created {
        records.extend(registry.get(id).map(|known| subscription(id, known)));
    }
    for id in &dirty.states {
        let record = |known: &Subscription| Record::State {
            id: id.to_string(),
            state: known.state(),
        };
        records.extend(registry.get(id).map(record));
    }
    let found = |id: &Arc<str>, name: &StreamName| registry.get(id)?.links.get(name);
    let link = |id: &Arc<str>, name: &StreamName, numbers: &mut Numbers| {
        found(id, name).map(|found| link(name, found, numbers))
    };
    for (id, links) in group(&dirty.links, numbers, link).await {
        records.push(Record::Links { id, links });
    }
}

/// Returns the records of removed links. They have to follow the `seen` record: a stream without a
/// link is processed up to that position.
pub(super) async fn gone(registry: &Registry, dirty: &Dirty, numbers: &mut Numbers) -> Vec<Record> {
    let is_gone = |id: &Arc<str>, name: &StreamName, numbers: &mut Numbers| {
        let known = registry.get(id)?;
        let is_gone = known.links.get(name).is_none();
        is_gone.then(|| numbers.of(name))
    };
    let groups = group(&dirty.links, numbers, is_gone).await;
    let groups = groups.into_iter();
    groups
        .map(|(id, streams)| Record::Unlinked { id, streams })
        .collect()
}

/// Groups the results of `make` by subscription, in parts for one record each.
async fn group<T>(
    links: &BTreeSet<(Arc<str>, StreamName)>,
    numbers: &mut Numbers,
    make: impl Fn(&Arc<str>, &StreamName, &mut Numbers) -> Option<T>,
) -> Vec<(String, Vec<T>)> {
    let mut groups: Vec<(String, Vec<T>)> = Vec::new();
    for (count, (id, name)) in links.iter().enumerate() {
        if count % PIECES == PIECES - 1 {
            tokio::task::yield_now().await;
        }
        let Some(made) = make(id, name, numbers) else {
            continue;
        };
        match groups.last_mut() {
            Some((of, group)) if **of == **id && group.len() < RECORD_LINKS => group.push(made),
            _ => groups.push((id.to_string(), vec![made])),
        }
    }
    groups
}

/// Adds the records of a part of the current state, continuing from the last one. Returns the new
/// progress, or `None` if everything is copied.
pub(super) fn copy(
    registry: &Registry,
    mut from: Copied,
    numbers: &mut Numbers,
    records: &mut Vec<Record>,
) -> Option<Copied> {
    let mut room = COPY;
    while room > 0 {
        if !from.within {
            let next = match &from.id {
                None => registry.iter().next(),
                Some(id) => registry.after(id),
            };
            let (id, known) = next?;
            records.push(subscription(id, known));
            records.push(Record::State {
                id: id.to_string(),
                state: known.state(),
            });
            room = room.saturating_sub(2);
            from = Copied {
                id: Some(Arc::clone(id)),
                within: true,
                stream: None,
            };
        }
        let known = from
            .id
            .as_ref()
            .and_then(|id| Some((id, registry.get(id)?)));
        let Some((id, known)) = known else {
            from.within = false;
            continue;
        };
        let page = known.links.page(from.stream.as_ref(), RECORD_LINKS);
        let (names, links): (Vec<_>, Vec<_>) = page
            .map(|(name, found)| (name.clone(), link(name, found, numbers)))
            .unzip();
        from.within = links.len() == RECORD_LINKS;
        room = room.saturating_sub(links.len());
        if !links.is_empty() {
            records.push(Record::Links {
                id: id.to_string(),
                links,
            });
        }
        from.stream = names.into_iter().next_back();
    }
    Some(from)
}

pub(super) fn subscription(id: &Arc<str>, known: &Subscription) -> Record {
    Record::Subscription {
        id: id.to_string(),
        config: known.config.to_record(),
        base: known.base.clone(),
        created: known.created.0,
    }
}

pub(super) fn link(name: &StreamName, link: &Link, numbers: &mut Numbers) -> LinkRecord {
    let flags = u8::from(link.explicit) + 2 * u8::from(link.glob);
    LinkRecord(numbers.of(name), flags, link.stream, link.acked.to_string())
}
