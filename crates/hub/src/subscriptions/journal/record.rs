//! The records of the journal.

use std::sync::Arc;

use headwater_log::StreamName;
use serde::{Deserialize, Serialize};

use crate::subscriptions::keys::KeysRecord;
use crate::subscriptions::state::{ConfigRecord, Dirty, Link, Registry, State, Subscription};

/// How many links one record has at the most.
const RECORD_LINKS: usize = 200;
/// How many entries are copied behind those of a turn.
const COPY: usize = 2000;
/// One entry of the journal. What each means is drawn in [its module](super).
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
        streams: Vec<String>,
    },
    Deleted {
        id: String,
    },
    Seen {
        position: String,
    },
}

/// The name, 1 for a named stream plus 2 for one of the pattern, the stream's number in the log, and
/// the offset up to which it was processed.
#[derive(Serialize, Deserialize)]
pub(super) struct LinkRecord(
    pub(super) String,
    pub(super) u8,
    pub(super) Option<u64>,
    pub(super) String,
);

/// The last link that was copied, or the last subscription without its links.
#[derive(Clone, Debug, Default)]
pub(super) struct Copied {
    id: Option<Arc<str>>,
    /// Whether that one's links follow still.
    within: bool,
    stream: Option<StreamName>,
}

impl Record {
    /// How many entries it counts for.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Links { links, .. } => links.len(),
            Self::Unlinked { streams, .. } => streams.len(),
            _ => 1,
        }
    }
}

/// The records of what changed.
pub(super) fn changes(registry: &Registry, dirty: &Dirty, records: &mut Vec<Record>) {
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
    let mut links: Vec<(&Arc<str>, LinkRecord)> = Vec::new();
    for (id, name) in &dirty.links {
        let Some(known) = registry.get(id) else {
            continue;
        };
        match known.links.get(name) {
            Some(found) => links.push((id, link(name, found))),
            None => {
                let streams = vec![name.to_string()];
                records.push(Record::Unlinked {
                    id: id.to_string(),
                    streams,
                });
            }
        }
    }
    let mut links = links.into_iter().peekable();
    while let Some((id, first)) = links.next() {
        let mut group = vec![first];
        while group.len() < RECORD_LINKS
            && let Some((_, next)) = links.next_if(|(next, _)| *next == id)
        {
            group.push(next);
        }
        records.push(Record::Links {
            id: id.to_string(),
            links: group,
        });
    }
}

/// The records of a piece of what is known, from where the last one ended. Gives where this one
/// ended, or `None` when nothing is left.
pub(super) fn copy(
    registry: &Registry,
    mut from: Copied,
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
            .map(|(name, found)| (name.clone(), link(name, found)))
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

pub(super) fn link(name: &StreamName, link: &Link) -> LinkRecord {
    let flags = u8::from(link.explicit) + 2 * u8::from(link.glob);
    LinkRecord(name.to_string(), flags, link.stream, link.acked.to_string())
}
