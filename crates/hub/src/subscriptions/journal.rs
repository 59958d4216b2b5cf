//! What is stored of subscriptions, and how.
//!
//! The journal is a stream of the log, `__ds/journal/` and a number of sixteen digits. Each message is
//! one [`Record`], as JSON. To replay them in order gives the subscriptions as they were:
//!
//! ```text
//! {"record":"keys","signing":"…","token":"…"}            the hub's keys: made once
//! {"record":"subscription","id":"s",…}                   made; says nothing of one that is there
//! {"record":"state","id":"s","generation":7,"wake":…}    replaces the state before
//! {"record":"links","id":"s","links":[["a",3,5,"…"],…]}  each replaces that of the same stream
//! {"record":"unlinked","id":"s","streams":["a"]}
//! {"record":"deleted","id":"s"}
//! {"record":"seen","position":"…"}                       how far the log's order was taken in
//! ```
//!
//! A turn's records are appended as one, so a restart sees a turn wholly or not at all. What was
//! appended to streams after the last `seen` is read from the log's order again; tails are not stored,
//! as the log has them.
//!
//! # Compaction
//!
//! When the journal has four times as many entries as there are things to be known, the next number's
//! stream is started, with the keys. From then on it takes all records, and each turn that writes
//! copies a bounded piece of what is known behind its own. When all is copied, the stream
//! before is deleted. A restart on the way replays both, the older first, which is right at any point
//! of the copy as each record says what is so and not what was done; it then copies from the start.
//!
//! Whoever can read the log's files can read the private key: they are to be guarded as keys are.

use std::sync::Arc;

use bytes::Bytes;
use headwater_log::{
    Append, Create, Error, Log, Offset, Outcome, Position, ReadFrom, Settings, StreamName,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use super::keys::{Keys, KeysRecord};
use super::refusal::Refusal;
use super::state::{Config, ConfigRecord, Dirty, Link, Registry, State, Subscription};

/// What the names of the journal's streams start with.
const PREFIX: &str = "__ds/journal/";
/// How many links one record has at the most.
const RECORD_LINKS: usize = 200;
/// How many entries are copied behind those of a turn.
const COPY: usize = 2000;
/// A journal of fewer entries than this is left as it is.
const SMALL: usize = 2000;
/// How many positions the log's order goes on before that alone is stored.
const MARK: u64 = 10_000;
/// How many bytes of the journal are read at once.
const READ_BYTES: usize = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
enum Record {
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
struct LinkRecord(String, u8, Option<u64>, String);

/// The journal of one hub.
pub(super) struct Journal {
    log: Arc<dyn Log>,
    /// The streams that there are, the one that is written last.
    numbers: Vec<u64>,
    /// How many entries were written to that one.
    entries: usize,
    /// Up to where it was copied; `None` when it has all.
    copied: Option<Copied>,
    /// The last position that was stored.
    marked: Position,
    pub(super) keys: Option<Arc<Keys>>,
    /// Whether the keys are to be stored.
    new_keys: bool,
}

/// The last link that was copied, or the last subscription without its links.
#[derive(Clone, Debug, Default)]
struct Copied {
    id: Option<Arc<str>>,
    /// Whether that one's links follow still.
    within: bool,
    stream: Option<StreamName>,
}

/// Why a journal can't be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The log failed.
    Log(Error),
    /// A record is none that this version writes.
    Record(String),
}

impl From<Error> for Unreadable {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

impl Journal {
    /// Reads what was stored, into `registry`, which is empty. Gives the journal, and the position
    /// up to which the log's order was taken in, where anything was stored.
    pub(super) async fn open(
        log: Arc<dyn Log>,
        registry: &mut Registry,
    ) -> Result<(Self, Option<Position>), Unreadable> {
        let mut numbers = Vec::new();
        let mut after = None;
        loop {
            let page = log.list(PREFIX, after, 1000).await?;
            let names = page.streams.iter().map(|info| info.name.as_str());
            numbers.extend(names.filter_map(|name| name.strip_prefix(PREFIX)?.parse::<u64>().ok()));
            after = page.after;
            if after.is_none() {
                break;
            }
        }
        numbers.sort_unstable();
        let mut journal = Self {
            log,
            copied: (numbers.len() > 1).then(Copied::default),
            numbers,
            entries: 0,
            marked: Position::START,
            keys: None,
            new_keys: false,
        };
        let mut seen = None;
        for number in journal.numbers.clone() {
            journal.entries = 0;
            journal.replay(number, registry, &mut seen).await?;
        }
        journal.marked = seen.unwrap_or_default();
        registry.take_dirty();
        Ok((journal, seen))
    }

    async fn replay(
        &mut self,
        number: u64,
        registry: &mut Registry,
        seen: &mut Option<Position>,
    ) -> Result<(), Unreadable> {
        let name = name(number)?;
        let mut from = ReadFrom::Start;
        loop {
            let chunk = self.log.read(&name, from, READ_BYTES).await?;
            for message in &chunk.messages {
                let place = || format!("record {} of {name}", message.offset.number());
                let record: Record = serde_json::from_slice(&message.bytes)
                    .map_err(|error| Unreadable::Record(format!("{}: {error}", place())))?;
                self.entries += record.size();
                self.apply(record, registry, seen)
                    .ok_or_else(|| Unreadable::Record(place()))?;
            }
            if chunk.at_tail {
                return Ok(());
            }
            from = ReadFrom::At(chunk.next);
        }
    }

    fn apply(
        &mut self,
        record: Record,
        registry: &mut Registry,
        seen: &mut Option<Position>,
    ) -> Option<()> {
        match record {
            Record::Keys(record) => self.keys = Some(Arc::new(Keys::from_record(record).ok()?)),
            Record::Subscription {
                id,
                config,
                base,
                created,
            } => {
                let id = Arc::from(id);
                if registry.get(&id).is_none() {
                    let config = Config::from_record(config)?;
                    registry.restore(&id, Subscription::new(config, base, Timestamp(created)));
                }
            }
            Record::State { id, state } => {
                registry.change(&id, |known| known.set_state(state));
            }
            Record::Links { id, links } => {
                let id = Arc::from(id);
                for LinkRecord(name, flags, stream, acked) in links {
                    let name = StreamName::new(&name).ok()?;
                    let acked: Offset = acked.parse().ok()?;
                    registry.change_link(&id, &name, |link| {
                        let (explicit, glob) = (flags & 1 != 0, flags & 2 != 0);
                        *link = Link {
                            explicit,
                            glob,
                            stream,
                            acked,
                            tail: Offset::START,
                        };
                    });
                }
            }
            Record::Unlinked { id, streams } => {
                let id = Arc::from(id);
                for name in streams {
                    registry.change_link(&id, &StreamName::new(&name).ok()?, |link| {
                        *link = Link::default();
                    });
                }
            }
            Record::Deleted { id } => registry.forget(&Arc::from(id)),
            Record::Seen { position } => *seen = Some(position.parse().ok()?),
        }
        Some(())
    }

    /// The hub's keys, made now if there are none. They are stored with what is written next.
    pub(super) fn keys(&mut self) -> Option<Arc<Keys>> {
        if self.keys.is_none() {
            self.keys = Keys::generate().ok().map(Arc::new);
            self.new_keys = true;
        }
        self.keys.clone()
    }

    /// Stores what changed, and that the log's order was taken in up to `seen`. Writes nothing where
    /// nothing changed and `seen` is not far from what was stored. After an error, `dirty` is still
    /// to be stored.
    pub(super) async fn write(
        &mut self,
        registry: &Registry,
        dirty: &Dirty,
        seen: Position,
    ) -> Result<(), Refusal> {
        let far = seen.number().saturating_sub(self.marked.number()) >= MARK;
        let idle = dirty.is_empty() && !self.new_keys;
        if idle && (!far || self.numbers.is_empty()) {
            return Ok(());
        }
        if self.copied.is_none() && self.entries > SMALL + 4 * registry.size() {
            self.start(self.numbers.last().map_or(0, |last| last + 1))
                .await?;
        }
        if self.numbers.is_empty() {
            self.start(0).await?;
            self.copied = None;
        }
        let mut records = Vec::new();
        if self.entries == 0 || self.new_keys {
            records.extend(
                self.keys
                    .iter()
                    .map(|keys| Record::Keys(keys.record().clone())),
            );
        }
        changes(registry, dirty, &mut records);
        let copied = self
            .copied
            .clone()
            .and_then(|copied| copy(registry, copied, &mut records));
        records.push(Record::Seen {
            position: seen.to_string(),
        });
        self.append(&records).await?;
        self.marked = seen;
        self.new_keys = false;
        self.copied = copied;
        if self.copied.is_none() {
            self.drop_older().await;
        }
        Ok(())
    }

    /// Starts the stream of this number, which is then the one that is written.
    async fn start(&mut self, number: u64) -> Result<(), Refusal> {
        let create = Create::new(Settings::of_type("application/json"));
        let name = name(number).map_err(failed)?;
        self.log.create(&name, create).await.map_err(failed)?;
        self.numbers.push(number);
        self.entries = 0;
        self.copied = Some(Copied::default());
        Ok(())
    }

    async fn append(&mut self, records: &[Record]) -> Result<(), Refusal> {
        let number = self.numbers.last().copied().unwrap_or_default();
        let name = name(number).map_err(failed)?;
        // A record is made of strings and numbers, which have a JSON form.
        let messages = records
            .iter()
            .filter_map(|record| serde_json::to_vec(record).ok());
        let append = Append::new(messages.map(Bytes::from).collect());
        let outcome = self.log.append(&name, append).await.map_err(failed)?;
        if let Outcome::Refused(refusal) = outcome {
            tracing::error!(
                ?refusal,
                "the journal of the subscriptions takes no records"
            );
            return Err(Refusal::Log);
        }
        self.entries += records.iter().map(Record::size).sum::<usize>();
        Ok(())
    }

    /// Deletes all streams but the one that is written. What fails is left for the next time.
    async fn drop_older(&mut self) {
        while self.numbers.len() > 1 {
            let Ok(name) = name(self.numbers[0]) else {
                return;
            };
            match self.log.delete(&name).await {
                Err(error) if !error.is_not_found() && !error.is_gone() => {
                    tracing::warn!(%error, "an old journal of the subscriptions can't be deleted");
                    return;
                }
                _ => drop(self.numbers.remove(0)),
            }
        }
    }

    #[cfg(test)]
    pub(super) fn numbers(&self) -> &[u64] {
        &self.numbers
    }
}

impl Record {
    /// How many entries it counts for.
    fn size(&self) -> usize {
        match self {
            Self::Links { links, .. } => links.len(),
            Self::Unlinked { streams, .. } => streams.len(),
            _ => 1,
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // It is a function for `map_err`.
fn failed(error: Error) -> Refusal {
    if !error.is_closed() {
        tracing::error!(%error, "the journal of the subscriptions can't be written");
    }
    Refusal::from(&error)
}

fn name(number: u64) -> Result<StreamName, Error> {
    StreamName::new(&format!("{PREFIX}{number:016}"))
}

/// The records of what changed.
fn changes(registry: &Registry, dirty: &Dirty, records: &mut Vec<Record>) {
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
fn copy(registry: &Registry, mut from: Copied, records: &mut Vec<Record>) -> Option<Copied> {
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

fn subscription(id: &Arc<str>, known: &Subscription) -> Record {
    Record::Subscription {
        id: id.to_string(),
        config: known.config.to_record(),
        base: known.base.clone(),
        created: known.created.0,
    }
}

fn link(name: &StreamName, link: &Link) -> LinkRecord {
    let flags = u8::from(link.explicit) + 2 * u8::from(link.glob);
    LinkRecord(name.to_string(), flags, link.stream, link.acked.to_string())
}
