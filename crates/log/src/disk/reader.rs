//! Reads of one stream with its inherited messages, and of the order of all streams.

use std::collections::HashMap;
use std::sync::Arc;

use super::engine::Engine;
use super::format::log_head::Head;
use super::format::record::Record;
use super::store::{Gap, Store, View};
use super::stream::Stream;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::incarnation::{Lineage, Mark};
use crate::offset::{Offset, Position};
use crate::read::{Chunk, Ended, Entry, Matching, Message, OrderChunk, ReadFrom, Trimmed};

/// Maximum number of commits that one read of the order looks at.
const SCAN: usize = 10_000;

/// The start of a read, and the stream's progress at that time.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: u64,
    tail: u64,
    closed: bool,
}

impl Span {
    /// Returns the range of a read of `stream`, or `None` for a time, which requires a search.
    pub(crate) fn of(stream: &Stream, from: ReadFrom) -> Result<Option<Self>, Error> {
        let progress = stream.progress();
        let (floor, tail) = (stream.floor(), progress.tail.number());
        let from = match from {
            ReadFrom::Start => floor,
            ReadFrom::Tail => tail,
            ReadFrom::At(offset) => offset.number(),
            ReadFrom::Since(_) => return Ok(None),
        };
        if from < floor {
            return Err(Kind::Trimmed {
                floor: stream.lineage.at(Offset::new(floor)),
            }
            .into());
        }
        if from > tail {
            return Err(Kind::BeyondTail {
                tail: stream.lineage.at(Offset::new(tail)),
            }
            .into());
        }
        Ok(Some(Self {
            from,
            tail,
            closed: progress.closed,
        }))
    }

    /// Returns the chunk if nothing is to be read or all of it is still in memory.
    pub(crate) fn at_hand(self, stream: &Stream, budget: usize) -> Option<Chunk> {
        let mut chunk = Filling::new(self, stream, budget);
        if self.from < self.tail {
            let own = stream.fork().map_or(0, |(fork, _)| fork.point.own.number());
            if self.from < own {
                return None;
            }
            for record in &stream.recent(self.from, budget)? {
                if !chunk.add(record, self.tail, None) {
                    break;
                }
            }
        }
        Some(chunk.finish())
    }
}

/// A chunk that is filled up to its budget.
struct Filling {
    span: Span,
    lineage: Lineage,
    messages: Vec<Message>,
    next: u64,
    bytes: usize,
    budget: usize,
}

impl Filling {
    fn new(span: Span, stream: &Stream, budget: usize) -> Self {
        Self {
            span,
            lineage: stream.lineage.clone(),
            messages: Vec::new(),
            next: span.from,
            bytes: 0,
            budget,
        }
    }

    /// Adds the messages of a record that are before `limit`. If there is a `cut`, only that many
    /// bytes of the last one before `limit` are added. Returns `true` if there is room for more.
    fn add(&mut self, record: &Record, limit: u64, cut: Option<usize>) -> bool {
        let time = Timestamp(record.head.time);
        for (offset, mut bytes) in record.messages() {
            if offset < self.next {
                continue;
            }
            if offset >= limit {
                break;
            }
            if let Some(cut) = cut
                && offset + 1 == limit
            {
                bytes.truncate(cut);
            }
            self.bytes += bytes.len();
            if self.bytes > self.budget && !self.messages.is_empty() {
                return false;
            }
            self.messages.push(Message {
                offset: Offset::new(offset),
                time,
                bytes,
            });
            self.next = offset + 1;
        }
        self.bytes < self.budget
    }

    fn finish(self) -> Chunk {
        Chunk {
            lineage: self.lineage,
            from: Offset::new(self.span.from),
            messages: self.messages,
            next: Offset::new(self.next),
            at_tail: self.next == self.span.tail,
            closed: self.span.closed,
        }
    }
}

/// A range of a stream whose messages are in one stream's records.
struct Stretch<'a> {
    stream: &'a Stream,
    /// The offset at which it ends.
    limit: u64,
    /// Number of bytes of the last message before the limit, if it is shortened.
    cut: Option<usize>,
}

/// Returns the stream whose records contain the message at `at`, and the range that follows there.
fn locate(stream: &Stream, at: u64, tail: u64) -> Stretch<'_> {
    let mut found = Stretch {
        stream,
        limit: tail,
        cut: None,
    };
    while let Some((fork, source)) = found.stream.fork() {
        let own = fork.point.own.number();
        if at >= own {
            break;
        }
        // A source further up can have a shorter last message than this fork asks for.
        if own < found.limit {
            (found.limit, found.cut) = (own, fork.cut);
        } else if own == found.limit {
            found.cut = [found.cut, fork.cut].into_iter().flatten().min();
        }
        found.stream = source;
    }
    found
}

/// Reads from the disk.
pub(crate) fn read(
    store: &Store,
    stream: &Stream,
    from: ReadFrom,
    budget: usize,
) -> Result<Chunk, Error> {
    let span = match (Span::of(stream, from)?, from) {
        (Some(span), _) => span,
        (None, ReadFrom::Since(time)) => {
            let from = since(store, stream, time)?;
            let progress = stream.progress();
            Span {
                from,
                tail: progress.tail.number(),
                closed: progress.closed,
            }
        }
        (None, _) => return Err(Error::damaged("a read without a start")),
    };
    let mut chunk = Filling::new(span, stream, budget);
    while chunk.next < span.tail {
        let stretch = locate(stream, chunk.next, span.tail);
        let mut more = true;
        for record in store
            .view()
            .records(stretch.stream.id, chunk.next, stretch.limit)
        {
            let record = record
                .map_err(|error| trimmed_since(store, &stretch, stream, chunk.next, error))?;
            more = chunk.add(&record, stretch.limit, stretch.cut);
            if !more {
                break;
            }
        }
        if !more {
            break;
        }
    }
    Ok(chunk.finish())
}

/// Replaces the error for a missing record if the record was trimmed, or its stream deleted, during
/// the read. A commit removes records from the disk before its state is published.
fn trimmed_since(
    store: &Store,
    stretch: &Stretch<'_>,
    stream: &Stream,
    at: u64,
    error: Error,
) -> Error {
    let floor = match store.state(stretch.stream.id) {
        Ok(Some(state)) if !stream.has_ended() => state.floor.max(stream.floor()),
        Ok(_) => return Kind::NotFound.into(),
        Err(_) => return error,
    };
    if at < floor {
        let floor = stream.lineage.at(Offset::new(floor));
        return Kind::Trimmed { floor }.into();
    }
    error
}

/// Returns the offset of the first message that was appended at `time` or later.
fn since(store: &Store, stream: &Stream, time: Timestamp) -> Result<u64, Error> {
    let tail = stream.progress().tail.number();
    let (mut low, mut high) = (stream.floor(), tail);
    while low < high {
        let middle = low.midpoint(high);
        let stretch = locate(stream, middle, tail);
        let record = store
            .view()
            .records(stretch.stream.id, middle, stretch.limit)
            .next();
        let Some(record) = record else { break };
        let record =
            record.map_err(|error| trimmed_since(store, &stretch, stream, middle, error))?;
        if record.head.time < time.0 {
            low = record.end().min(stretch.limit);
        } else {
            high = record.first.max(low);
            if high == low {
                break;
            }
        }
    }
    Ok(low)
}

/// Returns the size of the message at an offset between floor and tail.
pub(crate) fn size_of(store: &Store, stream: &Stream, at: u64) -> Result<u64, Error> {
    let chunk = read(store, stream, ReadFrom::At(Offset::new(at)), 0)?;
    Ok(chunk
        .messages
        .first()
        .map_or(0, |message| message.bytes.len() as u64))
}

/// Reads the order of all streams from the disk.
pub(crate) fn read_order(
    engine: &Engine,
    store: &Store,
    from: Position,
    budget: usize,
    matching: Option<&Matching>,
) -> Result<OrderChunk, Error> {
    let head = engine.committed();
    let from = from.number();
    if from > head.position {
        return Err(Kind::BeyondTail {
            tail: Mark {
                at: Offset::new(head.position),
                incarnation: engine.cache.identity.order(),
            },
        }
        .into());
    }
    let mut order = Order {
        engine,
        store,
        // One snapshot for messages and notices of trimming, so that each message is covered by
        // exactly one of them.
        view: store.view(),
        matching,
        wanted: HashMap::new(),
        entries: Vec::new(),
    };
    let end = order.messages(from, head, budget)?;
    let mut next = end.unwrap_or(head.position);
    let mut trimmed = Vec::new();
    for (scanned, gap) in order.view.trimmed(from, next).enumerate() {
        let Gap {
            position,
            id,
            floor,
        } = gap?;
        if scanned == SCAN {
            next = position;
            break;
        }
        if let Some(stream) = order.wanted(id)? {
            trimmed.push(Trimmed {
                position: Position::new(position),
                stream: stream.name().clone(),
                id,
                floor: Offset::new(floor),
            });
        }
    }
    let (ended, next) = order.ended(from, next, budget)?;
    let forgotten = order.view.ends()?.forgotten.checked_sub(1);
    let forgotten = forgotten.filter(|position| (from..next).contains(position));
    let Order { mut entries, .. } = order;
    let next = Position::new(next);
    entries.truncate(entries.partition_point(|entry| entry.position < next));
    trimmed.truncate(trimmed.partition_point(|gap| gap.position < next));
    Ok(OrderChunk {
        entries,
        trimmed,
        ended,
        forgotten: forgotten.map(Position::new),
        next,
        at_head: next.number() == head.position,
    })
}

/// A read of the order of all streams.
struct Order<'a> {
    engine: &'a Engine,
    store: &'a Store,
    view: View<'a>,
    matching: Option<&'a Matching>,
    /// The streams that were looked up, so that each is looked up once per read.
    wanted: HashMap<u64, Option<Arc<Stream>>>,
    entries: Vec<Entry>,
}

impl Order<'_> {
    /// Returns the stream with this id, if it is wanted: it matches, hasn't ended and isn't hidden.
    fn wanted(&mut self, id: u64) -> Result<Option<Arc<Stream>>, Error> {
        if let Some(known) = self.wanted.get(&id) {
            return Ok(known.clone());
        }
        let name = self.engine.cache.name_of(self.store, id)?;
        let name = name.filter(|name| self.matching.is_none_or(|wanted| wanted(name)));
        let stream = match name {
            Some(name) => self.engine.cache.load(self.store, &name)?,
            None => None,
        };
        let stream = stream.filter(|stream| stream.id == id && !stream.progress().gone);
        self.wanted.insert(id, stream.clone());
        Ok(stream)
    }

    /// Collects messages from `from` to the head, of about `budget` bytes. Returns where it
    /// stopped, if before the head.
    fn messages(&mut self, from: u64, head: Head, budget: usize) -> Result<Option<u64>, Error> {
        if from == head.position {
            return Ok(None);
        }
        let mut bytes = 0;
        for (scanned, commit) in self.view.commits(from).enumerate() {
            let commit = commit?;
            if commit.number > head.commit {
                break;
            }
            if scanned == SCAN {
                return Ok(Some(commit.position.max(from)));
            }
            for part in commit.parts {
                let start = commit.position + part.before;
                if part.count == 0 || start + part.count <= from {
                    continue;
                }
                let Some(stream) = self.wanted(part.id)? else {
                    continue;
                };
                let mut at = part.first + from.saturating_sub(start);
                let limit = part.first + part.count;
                while at < limit {
                    for record in self.records(&stream, at, limit)? {
                        for (offset, message) in record.messages() {
                            if offset < at || offset >= limit {
                                continue;
                            }
                            let position = start + (offset - part.first);
                            bytes += message.len();
                            if bytes > budget && !self.entries.is_empty() {
                                return Ok(Some(position));
                            }
                            self.entries.push(Entry {
                                position: Position::new(position),
                                stream: stream.name().clone(),
                                id: part.id,
                                message: Message {
                                    offset: Offset::new(offset),
                                    time: Timestamp(record.head.time),
                                    bytes: message,
                                },
                            });
                        }
                        at = record.end().max(at);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Returns the matching streams that ended in `from..until`, of about `budget` bytes, and where
    /// it stopped.
    fn ended(&self, from: u64, until: u64, budget: usize) -> Result<(Vec<Ended>, u64), Error> {
        let mut ended: Vec<Ended> = Vec::new();
        let mut bytes = 0;
        for (scanned, end) in self.view.ended(from, until).enumerate() {
            let end = end?;
            let position = end.position.number();
            if scanned == SCAN {
                return Ok((ended, position));
            }
            if self.matching.is_some_and(|wanted| !wanted(&end.stream)) {
                continue;
            }
            bytes += end.cost();
            if bytes > budget && !ended.is_empty() {
                return Ok((ended, position));
            }
            ended.push(end);
        }
        Ok((ended, until))
    }

    /// Returns records with messages from `at` to before `limit`, from memory or from the disk.
    fn records(&self, stream: &Stream, at: u64, limit: u64) -> Result<Vec<Record>, Error> {
        if let Some(found) = stream.recent(at, 0)
            && !found.is_empty()
        {
            return Ok(found);
        }
        let record = self.view.records(stream.id, at, limit).next();
        record.map_or_else(
            || {
                Err(Error::damaged(format!(
                    "stream {} lacks offset {at}",
                    stream.id
                )))
            },
            |record| Ok(vec![record?]),
        )
    }
}
