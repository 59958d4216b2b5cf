//! The stored form of subscriptions.
//!
//! The journal is a stream of the log, named `__ds/journal/` and a number of sixteen digits. Each
//! message is one [`Record`], as JSON. Replaying them in order restores the subscriptions:
//!
//! ```text
//! {"record":"keys","signing":"…","token":"…"}            the hub's keys: created once
//! {"record":"subscription","id":"s",…}                   created; no effect if the id exists
//! {"record":"state","id":"s","generation":7,"wake":…}    replaces the previous state
//! {"record":"names","first":4,"names":["a","b"]}         defines 4 and 5 for the links that follow
//! {"record":"links","id":"s","links":[[4,3,5,"…"],…]}    each replaces the link of the same stream
//! {"record":"unlinked","id":"s","streams":[4]}           removes links
//! {"record":"deleted","id":"s"}                          removes the subscription
//! {"record":"seen","position":"…"}                       the position up to which the log's order was read
//! {"record":"term","term":7}                             a hub of a shared log has become its owner
//! ```
//!
//! A turn's records are appended as one batch, so a restart sees all of a turn or nothing. Only
//! records of more than 4 MiB are split into several batches, and each of these is true on its own.
//! Messages that were appended to streams after the last `seen` are read from the log's order
//! again. Tails are not stored, as the log has them.
//!
//! Only streams by name, and streams with pending messages, have links. Any other stream that
//! matches a pattern is processed up to `seen`, so a subscription to all streams needs no more
//! space than its configuration. A stream's name is written once for all subscriptions. The first
//! version of the format has names in place of numbers, and a link for each stream that matches a
//! pattern. It can still be read.
//!
//! # Compaction
//!
//! When the journal has four times as many entries, or bytes, as its current state needs, the
//! stream of the next number is created, starting with the keys. From then on it receives all
//! records, and each turn that writes also copies a bounded part of the current state to it. When
//! everything is copied, the previous stream is deleted. A restart before that replays both, the
//! older one first. This is correct at any point of the copy, as each record contains a state and
//! not a change. The copy then starts over.
//!
//! # Several hubs
//!
//! On a log that hubs share, records are appended by a producer whose epoch is the term of the
//! [owner](crate::ownership). An append of an earlier owner can arrive after the next one has begun. So
//! before a new owner reads, it appends a record to each of the streams, under its epoch, which fences
//! the earlier one. That one could also continue in the stream of the next number, so the new owner
//! creates that, and its record has to be the first in it. Otherwise it was too late, and starts over. From
//! then on it continues in its own stream, as after a compaction.
//!
//! The files of the log contain the private key. Protect them accordingly.

mod record;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use headwater_log::{
    self as log, Append, Create, Error, Log, Offset, Outcome, Position, ReadFrom, Settings,
    StreamName, Timestamp,
};

use self::record::{Copied, LinkRecord, NameRecord, Numbers, Record, changes, copy, gone};
use super::keys::Keys;
use super::refusal::Refusal;
use super::state::{Config, Dirty, Link, Registry, Subscription};

/// Prefix of the names of the journal's streams.
const PREFIX: &str = "__ds/journal/";
/// The producer of records in a log that hubs share.
const PRODUCER: &str = "__ds/journal";
/// A journal with fewer entries isn't compacted.
const SMALL: usize = 2000;
/// A journal with fewer bytes isn't compacted.
const SMALL_BYTES: usize = 4 << 20;
/// Number of positions by which the log's order advances before `seen` alone is stored.
const MARK: u64 = 10_000;
/// Approximate maximum size in bytes of the records of one append.
const APPEND_BYTES: usize = 4 << 20;
/// Number of encoded records after which the task yields.
const PIECES: usize = 16;
/// Number of bytes of the journal that are read at once.
const READ_BYTES: usize = 1 << 20;

/// The journal of one hub.
pub(in crate::subscriptions) struct Journal {
    log: Arc<dyn Log>,
    /// The numbers of the existing streams. The last one is written to.
    numbers: Vec<u64>,
    /// Number of entries in that stream.
    entries: usize,
    /// Number of bytes in that stream.
    bytes: usize,
    names: Numbers,
    /// The progress of the copy into that stream. `None` if it is complete.
    copied: Option<Copied>,
    /// The last position that was stored.
    marked: Position,
    /// The next append to that stream. `None`: no other hub uses the log.
    by: Option<By>,
    pub(in crate::subscriptions) keys: Option<Arc<Keys>>,
    /// `true` if the keys have to be stored.
    new_keys: bool,
}

/// An append of a hub that shares the log.
#[derive(Clone, Copy, Debug)]
struct By {
    term: u64,
    /// Its number in the stream.
    seq: u64,
}

/// The reason for which a journal can't be read.
#[derive(Debug)]
pub(in crate::subscriptions) enum Unreadable {
    /// The log failed.
    Log(Error),
    /// A record is not one that this version writes.
    Record(String),
    /// Another hub has become the owner of the log.
    Fenced,
}

impl From<Error> for Unreadable {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

impl Journal {
    /// Finds the journal of a log. With the term of an owner, earlier owners can't write to it from then
    /// on.
    ///
    /// # Errors
    /// Errors of the log. A later owner has fenced this one.
    pub(in crate::subscriptions) async fn claim(
        log: Arc<dyn Log>,
        term: Option<u64>,
    ) -> Result<Self, Unreadable> {
        let numbers = match term {
            None => numbers(&*log).await?,
            Some(term) => fenced(&*log, term).await?,
        };
        Ok(Self {
            log,
            copied: None,
            numbers,
            entries: 0,
            bytes: 0,
            names: Numbers::default(),
            marked: Position::START,
            // The record of the term was number 0.
            by: term.map(|term| By { term, seq: 1 }),
            keys: None,
            new_keys: false,
        })
    }

    /// Reads the stored state into `registry`, which has to be empty. Returns the position up to which the
    /// log's order was read, if there is one.
    pub(in crate::subscriptions) async fn load(
        &mut self,
        registry: &mut Registry,
    ) -> Result<Option<Position>, Unreadable> {
        self.keys = None;
        self.names = Numbers::default();
        self.copied = (self.numbers.len() > 1).then(Copied::default);
        let mut seen = None;
        for number in self.numbers.clone() {
            self.entries = 0;
            self.bytes = 0;
            match self.replay(number, registry, &mut seen).await {
                // An earlier owner had copied everything that is in it.
                Err(Unreadable::Log(error)) if error.is_not_found() && self.by.is_some() => {
                    self.numbers.retain(|known| *known != number);
                    return Err(error.into());
                }
                replayed => replayed?,
            }
        }
        self.marked = seen.unwrap_or_default();
        registry.take_dirty();
        Ok(seen)
    }

    async fn replay(
        &mut self,
        number: u64,
        registry: &mut Registry,
        seen: &mut Option<Position>,
    ) -> Result<(), Unreadable> {
        let name = name(number)?;
        let mut names = HashMap::new();
        let mut from = ReadFrom::Start;
        loop {
            let chunk = self.log.read(&name, from, READ_BYTES).await?;
            for message in chunk.messages() {
                let place = || format!("record {} of {name}", message.offset.number());
                let record: Record = serde_json::from_slice(&message.bytes)
                    .map_err(|error| Unreadable::Record(format!("{}: {error}", place())))?;
                self.entries += record.size();
                self.bytes += message.bytes.len();
                self.apply(record, registry, &mut names, seen)
                    .ok_or_else(|| Unreadable::Record(place()))?;
            }
            if chunk.at_tail {
                self.names.learn(names, registry);
                return Ok(());
            }
            from = ReadFrom::At(chunk.next);
        }
    }

    fn apply(
        &mut self,
        record: Record,
        registry: &mut Registry,
        names: &mut HashMap<u64, StreamName>,
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
                    let known = Subscription::new(&id, config, base, Timestamp(created));
                    registry.restore(&id, known);
                }
            }
            Record::Names { first, names: new } => {
                for (number, name) in (first..).zip(new) {
                    names.insert(number, StreamName::new(&name).ok()?);
                }
            }
            Record::State { id, state } => {
                registry.change(&id, |known| known.set_state(state));
            }
            Record::Links { id, links } => {
                let id = Arc::from(id);
                for LinkRecord(name, flags, stream, acked) in links {
                    let name = name_of(&name, names)?;
                    let acked: Offset = acked.parse().ok()?;
                    registry.change_link(&id, &name, |link| {
                        let (explicit, glob) = (flags & 1 != 0, flags & 2 != 0);
                        *link = Link {
                            explicit,
                            glob,
                            stream,
                            lineage: None,
                            acked,
                            tail: Offset::START,
                            settled: None,
                        };
                    });
                }
            }
            Record::Unlinked { id, streams } => {
                let id = Arc::from(id);
                for name in streams {
                    registry.change_link(&id, &name_of(&name, names)?, |link| {
                        *link = Link::default();
                    });
                }
            }
            Record::Deleted { id } => registry.forget(&Arc::from(id)),
            Record::Seen { position } => *seen = Some(position.parse().ok()?),
            Record::Term { .. } => {}
        }
        Some(())
    }

    /// Returns the hub's keys. Creates them if there are none; they are stored with the next write.
    pub(in crate::subscriptions) fn keys(&mut self) -> Option<Arc<Keys>> {
        if self.keys.is_none() {
            self.keys = Keys::generate().ok().map(Arc::new);
            self.new_keys = true;
        }
        self.keys.clone()
    }

    /// Stores changes, and the position `seen` up to which the log's order was read. If nothing
    /// changed and `seen` is close to the stored one, it writes nothing and returns `false`. After
    /// an error, `dirty` is still to be stored.
    pub(in crate::subscriptions) async fn write(
        &mut self,
        registry: &Registry,
        dirty: &Dirty,
        seen: Position,
    ) -> Result<bool, Refusal> {
        let far = seen.number().saturating_sub(self.marked.number()) >= MARK;
        // Otherwise each change of the owner would add a stream.
        let is_begun = self.entries == 0 && self.numbers.len() > 1;
        let idle = dirty.is_empty() && !self.new_keys && !is_begun;
        if idle && (!far || self.numbers.is_empty()) {
            return Ok(false);
        }
        let long = self.entries > SMALL + 4 * registry.size()
            || self.bytes > SMALL_BYTES + 4 * registry.stored_bytes();
        if self.copied.is_none() && long {
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
        let mut changed = Vec::new();
        changes(registry, dirty, &mut self.names, &mut changed).await;
        let copied = self
            .copied
            .clone()
            .and_then(|copied| copy(registry, copied, &mut self.names, &mut changed));
        let gone = gone(registry, dirty, &mut self.names).await;
        records.extend(self.names.take_new());
        records.extend(changed);
        records.push(Record::Seen {
            position: seen.to_string(),
        });
        records.extend(gone);
        if let Err(refusal) = self.append(&records).await {
            self.names.doubt();
            return Err(refusal);
        }
        self.names.forget(registry, dirty);
        self.marked = seen;
        self.new_keys = false;
        self.copied = copied;
        if self.copied.is_none() {
            self.drop_older().await;
        }
        Ok(true)
    }

    /// Creates the stream of this number, which is written to from then on.
    async fn start(&mut self, number: u64) -> Result<(), Refusal> {
        let name = name(number).map_err(failed)?;
        self.log.create(&name, json()).await.map_err(failed)?;
        self.numbers.push(number);
        if let Some(by) = &mut self.by {
            by.seq = 0;
        }
        self.entries = 0;
        self.bytes = 0;
        self.names = Numbers::default();
        self.copied = Some(Copied::default());
        Ok(())
    }

    async fn append(&mut self, records: &[Record]) -> Result<(), Refusal> {
        let number = self.numbers.last().copied().unwrap_or_default();
        let name = name(number).map_err(failed)?;
        let mut messages: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        let mut records_left = records.iter().peekable();
        while let Some(record) = records_left.next() {
            // A record consists of strings and numbers, so it always has a JSON form.
            let message = serde_json::to_vec(record).unwrap_or_default();
            bytes += message.len();
            self.bytes += message.len();
            messages.push(message.into());
            if messages.len() % PIECES == PIECES - 1 {
                tokio::task::yield_now().await;
            }
            if bytes >= APPEND_BYTES || records_left.peek().is_none() {
                bytes = 0;
                self.append_batch(&name, std::mem::take(&mut messages))
                    .await?;
            }
        }
        self.entries += records.iter().map(Record::size).sum::<usize>();
        Ok(())
    }

    async fn append_batch(
        &mut self,
        name: &StreamName,
        messages: Vec<Bytes>,
    ) -> Result<(), Refusal> {
        loop {
            let mut append = Append::new(messages.clone());
            if let Some(By { term, seq }) = self.by {
                append = append.by(PRODUCER, term, seq);
            }
            let outcome = match self.log.append(name, append).await {
                // The next owner has copied everything, and removed this stream.
                Err(error) if error.is_not_found() && self.by.is_some() => {
                    return Err(superseded());
                }
                outcome => outcome.map_err(failed)?,
            };
            match outcome {
                Outcome::Appended(_) | Outcome::Duplicate(_) => {
                    if let Some(by) = &mut self.by {
                        by.seq += 1;
                    }
                    return Ok(());
                }
                // An append whose outcome was unknown has used the number. These records follow it.
                Outcome::Refused(
                    log::Refusal::Reused { last, .. } | log::Refusal::TooOld { last, .. },
                ) => {
                    self.by = self.by.map(|by| By {
                        seq: last + 1,
                        ..by
                    });
                }
                Outcome::Refused(log::Refusal::StaleEpoch { .. }) => return Err(superseded()),
                Outcome::Refused(refusal) => {
                    tracing::error!(?refusal, "the journal of the subscriptions refuses records");
                    return Err(Refusal::Log);
                }
            }
        }
    }

    /// Deletes all streams but the one that is written to. If that fails, it is retried after the
    /// next write.
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
    pub(in crate::subscriptions) fn numbers(&self) -> &[u64] {
        &self.numbers
    }
}

/// Returns the numbers of the journal's streams, in order.
async fn numbers(log: &dyn Log) -> Result<Vec<u64>, Error> {
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
    Ok(numbers)
}

/// Fences earlier owners in all streams of the journal, and creates the next one. Returns the numbers of
/// all.
async fn fenced(log: &dyn Log, term: u64) -> Result<Vec<u64>, Unreadable> {
    loop {
        let mut numbers = numbers(log).await?;
        for number in &numbers {
            match fence(log, &name(*number)?, term).await {
                // An earlier owner deleted what it had copied.
                Err(Unreadable::Log(error)) if error.is_not_found() => {}
                fenced => drop(fenced?),
            }
        }
        let next = numbers.last().map_or(0, |last| last + 1);
        let own = name(next)?;
        log.create(&own, json()).await?;
        if fence(log, &own, term).await? == Offset::new(1) {
            numbers.push(next);
            return Ok(numbers);
        }
    }
}

/// Appends the record of a term. Returns the offset after it. It can be repeated.
async fn fence(log: &dyn Log, stream: &StreamName, term: u64) -> Result<Offset, Unreadable> {
    // A struct of a number always has a JSON form.
    let record = serde_json::to_vec(&Record::Term { term }).unwrap_or_default();
    let append = Append::new(vec![record.into()]).by(PRODUCER, term, 0);
    match log.append(stream, append).await? {
        Outcome::Appended(receipt) | Outcome::Duplicate(receipt) => Ok(receipt.next),
        Outcome::Refused(_) => Err(Unreadable::Fenced),
    }
}

fn json() -> Create {
    Create::new(Settings::of_type("application/json"))
}

#[allow(clippy::needless_pass_by_value)] // It is a function for `map_err`.
fn failed(error: Error) -> Refusal {
    if !error.is_closed() {
        tracing::error!(%error, "the journal of the subscriptions can't be written");
    }
    Refusal::from(&error)
}

/// Returns the refusal of a hub that isn't the owner of the log any more.
fn superseded() -> Refusal {
    tracing::warn!("another hub has taken over the subscriptions");
    Refusal::Unavailable
}

/// Returns the name that a record refers to.
fn name_of(record: &NameRecord, names: &HashMap<u64, StreamName>) -> Option<StreamName> {
    match record {
        NameRecord::Number(number) => names.get(number).cloned(),
        NameRecord::Text(name) => StreamName::new(name).ok(),
    }
}

fn name(number: u64) -> Result<StreamName, Error> {
    StreamName::new(&format!("{PREFIX}{number:016}"))
}
