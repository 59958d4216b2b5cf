//! Reading: one stream, with what it inherits, and the order of all.

use std::collections::HashMap;
use std::sync::Arc;

use super::engine::Engine;
use super::format::record::Record;
use super::store::Store;
use super::stream::Stream;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::read::{Chunk, Entry, Matching, Message, OrderChunk, ReadFrom};

/// How many commits one read of the order looks at.
const SCAN: usize = 10_000;

/// Where a read starts, and how far the stream was then.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: u64,
    tail: u64,
    closed: bool,
}

impl Span {
    /// What a read of `stream` will cover. `None` for a time: that has to be looked for.
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
                floor: Offset::new(floor),
            }
            .into());
        }
        if from > tail {
            return Err(Kind::BeyondTail {
                tail: Offset::new(tail),
            }
            .into());
        }
        Ok(Some(Self {
            from,
            tail,
            closed: progress.closed,
        }))
    }

    /// The answer, if nothing is there to be read, or all of it is still in memory.
    pub(crate) fn at_hand(self, stream: &Stream, budget: usize) -> Option<Chunk> {
        let mut chunk = Filling::new(self, budget);
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

/// A chunk that is being filled up to its budget.
struct Filling {
    span: Span,
    messages: Vec<Message>,
    next: u64,
    bytes: usize,
    budget: usize,
}

impl Filling {
    fn new(span: Span, budget: usize) -> Self {
        Self {
            span,
            messages: Vec::new(),
            next: span.from,
            bytes: 0,
            budget,
        }
    }

    /// Adds what is wanted of a record, up to `limit`; of the message before that, only `cut`
    /// bytes if there is a number. Says whether there is room for more.
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
            from: Offset::new(self.span.from),
            messages: self.messages,
            next: Offset::new(self.next),
            at_tail: self.next == self.span.tail,
            closed: self.span.closed,
        }
    }
}

/// A stretch of a stream that lies in one stream's records.
struct Stretch<'a> {
    stream: &'a Stream,
    /// Where it ends.
    limit: u64,
    /// How much there is of the last message before the limit, if not all.
    cut: Option<usize>,
}

/// Where the message at `at` lies, and what follows it there.
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
        // A source further back may have less of its last message than this one asks for.
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
    let mut chunk = Filling::new(span, budget);
    while chunk.next < span.tail {
        let stretch = locate(stream, chunk.next, span.tail);
        let mut more = true;
        for record in store.records(stretch.stream.id, chunk.next, stretch.limit) {
            let record = record.map_err(|error| trimmed_since(stream, chunk.next, error))?;
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

/// A record that isn't there may have been trimmed, or its stream deleted, while it was read.
fn trimmed_since(stream: &Stream, at: u64, error: Error) -> Error {
    let floor = stream.floor();
    if stream.has_ended() {
        Kind::NotFound.into()
    } else if at < floor {
        Kind::Trimmed {
            floor: Offset::new(floor),
        }
        .into()
    } else {
        error
    }
}

/// The offset of the first message that was appended at `time` or later.
fn since(store: &Store, stream: &Stream, time: Timestamp) -> Result<u64, Error> {
    let tail = stream.progress().tail.number();
    let (mut low, mut high) = (stream.floor(), tail);
    while low < high {
        let middle = low.midpoint(high);
        let stretch = locate(stream, middle, tail);
        let record = store
            .records(stretch.stream.id, middle, stretch.limit)
            .next();
        let Some(record) = record else { break };
        let record = record.map_err(|error| trimmed_since(stream, middle, error))?;
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

/// The size of the message at an offset between floor and tail.
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
            tail: Offset::new(head.position),
        }
        .into());
    }
    let end = Position::new(head.position);
    let mut chunk = OrderChunk {
        entries: Vec::new(),
        next: end,
        at_head: true,
    };
    if from == head.position {
        return Ok(chunk);
    }
    let mut bytes = 0;
    // What was found of a stream, so that it is asked once a read.
    let mut wanted: HashMap<u64, Option<StreamName>> = HashMap::new();
    for (scanned, commit) in store.commits(from).enumerate() {
        let commit = commit?;
        if commit.number > head.commit {
            break;
        }
        if scanned == SCAN {
            chunk.next = Position::new(commit.position.max(from));
            chunk.at_head = false;
            return Ok(chunk);
        }
        for part in commit.parts {
            let start = commit.position + part.before;
            if part.count == 0 || start + part.count <= from {
                continue;
            }
            let name = match wanted.entry(part.id) {
                std::collections::hash_map::Entry::Occupied(found) => found.get().clone(),
                std::collections::hash_map::Entry::Vacant(vacant) => {
                    let name = engine.cache.name_of(store, part.id)?;
                    let name = name.filter(|name| matching.is_none_or(|wanted| wanted(name)));
                    vacant.insert(name).clone()
                }
            };
            let Some(name) = name else { continue };
            let skip = from.saturating_sub(start);
            let Some(stream) = shown(engine, store, &name, part.id)? else {
                continue;
            };
            // What was trimmed since is left out.
            let first = (part.first + skip).max(stream.state().floor);
            let limit = part.first + part.count;
            let mut at = first;
            while at < limit {
                for record in records(store, &stream, at, limit)? {
                    let time = Timestamp(record.head.time);
                    for (offset, message) in record.messages() {
                        if offset < at || offset >= limit {
                            continue;
                        }
                        let position = Position::new(start + (offset - part.first));
                        bytes += message.len();
                        if bytes > budget && !chunk.entries.is_empty() {
                            chunk.next = position;
                            chunk.at_head = false;
                            return Ok(chunk);
                        }
                        let offset = Offset::new(offset);
                        let message = Message {
                            offset,
                            time,
                            bytes: message,
                        };
                        chunk.entries.push(Entry {
                            position,
                            stream: name.clone(),
                            message,
                        });
                    }
                    at = record.end().max(at);
                }
                if stream.state().floor > at || stream.has_ended() {
                    break;
                }
            }
        }
    }
    Ok(chunk)
}

/// The stream with this id, unless it has ended or is hidden.
fn shown(
    engine: &Engine,
    store: &Store,
    name: &StreamName,
    id: u64,
) -> Result<Option<Arc<Stream>>, Error> {
    let stream = engine
        .cache
        .load(store, name)?
        .filter(|stream| stream.id == id);
    Ok(stream.filter(|stream| !stream.progress().gone))
}

/// Records with messages from `at` to `limit`: from memory, or from the disk; none where they
/// were trimmed meanwhile.
fn records(store: &Store, stream: &Stream, at: u64, limit: u64) -> Result<Vec<Record>, Error> {
    if let Some(found) = stream.recent(at, 0)
        && !found.is_empty()
    {
        return Ok(found);
    }
    match store.records(stream.id, at, limit).next() {
        Some(Ok(record)) => Ok(vec![record]),
        Some(Err(error)) => {
            let gone = stream.has_ended() || stream.state().floor > at;
            if gone { Ok(Vec::new()) } else { Err(error) }
        }
        None => Ok(Vec::new()),
    }
}
