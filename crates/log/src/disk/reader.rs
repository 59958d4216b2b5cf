//! Reads of one stream with its inherited messages.

use super::engine::Engine;
use super::format::record::Record;
use super::store::Store;
use super::stream::Stream;
use crate::block::Block;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::incarnation::Lineage;
use crate::offset::Offset;
use crate::read::{Chunk, ReadFrom};

/// The start of a read, and the stream's progress at that time.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(super) tail: u64,
    pub(super) closed: bool,
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
            for record in &stream.recent().from(self.from, budget)? {
                if !chunk.add(record, self.tail, None) {
                    break;
                }
            }
        }
        Some(chunk.finish())
    }
}

/// A chunk that is filled up to its budget.
pub(super) struct Filling {
    span: Span,
    lineage: Lineage,
    blocks: Vec<Block>,
    next: u64,
    bytes: usize,
    budget: usize,
    /// `true` if it has at least one message, whatever the budget.
    pub(super) is_filled: bool,
}

impl Filling {
    pub(super) fn new(span: Span, stream: &Stream, budget: usize) -> Self {
        Self {
            span,
            lineage: stream.lineage.clone(),
            blocks: Vec::new(),
            next: span.from,
            bytes: 0,
            budget,
            is_filled: true,
        }
    }

    /// Adds the messages of a record that are before `limit`. If there is a `cut`, only that many
    /// bytes of the last one before `limit` are added. Returns `true` if there is room for more.
    fn add(&mut self, record: &Record, limit: u64, cut: Option<usize>) -> bool {
        let end = Offset::new(limit);
        for block in record.blocks() {
            if block.next().number() <= self.next {
                continue;
            }
            if block.first() >= end {
                break;
            }
            let left = self.budget.saturating_sub(self.bytes);
            let next = Offset::new(self.next);
            let at_least_one = self.is_filled && self.blocks.is_empty();
            let Some(part) = block.part(next, end, left, at_least_one) else {
                return false;
            };
            self.next = part.next().number();
            self.bytes += part.bytes();
            match cut.filter(|_| self.next == limit) {
                Some(length) => {
                    let (rest, last) = part.cut_last(length);
                    self.blocks.extend(rest);
                    self.blocks.push(last);
                }
                None => self.blocks.push(part),
            }
            if self.next < block.next().number().min(limit) {
                return false;
            }
        }
        self.bytes < self.budget
    }

    /// Adds messages of one stream's records. Returns `true` if there is room for more. After an error,
    /// `next` is the offset of the message that couldn't be read.
    fn add_records(&mut self, store: &Store, stream: &Stream) -> Result<bool, Error> {
        let before = self.next;
        let stretch = locate(stream, before, self.span.tail);
        let left = self.budget.saturating_sub(self.bytes);
        let records = store
            .records(stretch.stream.id, before, stretch.limit, left)
            .map_err(|error| trimmed_since(store, &stretch, stream, before, error))?;
        let add = |record| self.add(record, stretch.limit, stretch.cut);
        let has_room = records.iter().all(add);
        let is_lacking = has_room || (self.is_filled && self.blocks.is_empty());
        if self.next == before && is_lacking {
            let id = stretch.stream.id;
            return Err(Error::damaged(format!("stream {id} lacks offset {before}")));
        }
        Ok(has_room)
    }

    pub(super) fn finish(self) -> Chunk {
        Chunk {
            lineage: self.lineage,
            from: Offset::new(self.span.from),
            blocks: self.blocks,
            next: Offset::new(self.next),
            at_tail: self.next == self.span.tail,
            closed: self.span.closed,
        }
    }
}

/// A range of a stream whose messages are in one stream's records.
pub(super) struct Stretch<'a> {
    pub(super) stream: &'a Stream,
    /// The offset at which it ends.
    pub(super) limit: u64,
    /// Number of bytes of the last message before the limit, if it is shortened.
    pub(super) cut: Option<usize>,
}

/// Returns the stream whose records contain the message at `at`, and the range that follows there.
pub(super) fn locate(stream: &Stream, at: u64, tail: u64) -> Stretch<'_> {
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

/// Returns the range of a read.
pub(super) fn span(store: &Store, stream: &Stream, from: ReadFrom) -> Result<Span, Error> {
    match (Span::of(stream, from)?, from) {
        (Some(span), _) => Ok(span),
        (None, ReadFrom::Since(time)) => {
            let from = since(store, stream, time)?;
            let progress = stream.progress();
            Ok(Span {
                from,
                tail: progress.tail.number(),
                closed: progress.closed,
            })
        }
        (None, _) => Err(Error::damaged("a read without a start")),
    }
}

/// Reads from the disk. After the first message, the chunk ends before damage.
pub(crate) fn read(
    engine: &Engine,
    store: &Store,
    stream: &Stream,
    from: ReadFrom,
    budget: usize,
) -> Result<Chunk, Error> {
    let span = span(store, stream, from)?;
    let chunk = Filling::new(span, stream, budget);
    Ok(fill(engine, store, stream, chunk)?.finish())
}

/// Fills a chunk up to its budget. A chunk with messages ends before damage.
pub(super) fn fill(
    engine: &Engine,
    store: &Store,
    stream: &Stream,
    mut chunk: Filling,
) -> Result<Filling, Error> {
    while chunk.next < chunk.span.tail {
        match chunk.add_records(store, stream) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.is_damaged() => {
                let id = locate(stream, chunk.next, chunk.span.tail).stream.id;
                engine.damage.add(id, chunk.next);
                if chunk.blocks.is_empty() {
                    return Err(error);
                }
                engine.note_damage(&error);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(chunk)
}

/// Replaces the error for a missing record if the record was trimmed, or its stream deleted, during
/// the read. The index has a commit's changes before they are published, and files are rewritten
/// without the records that are removed by the index.
pub(super) fn trimmed_since(
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
        let heads = store
            .heads(stretch.stream.id, middle, 1)
            .map_err(|error| trimmed_since(store, &stretch, stream, middle, error))?;
        let Some((first, head)) = heads.first().copied() else {
            break;
        };
        if head.time < time.0 {
            low = (first + u64::from(head.count)).min(stretch.limit);
        } else {
            high = first.max(low);
            if high == low {
                break;
            }
        }
    }
    Ok(low)
}

/// Returns the size of the message at an offset between floor and tail.
pub(crate) fn size_of(
    engine: &Engine,
    store: &Store,
    stream: &Stream,
    at: u64,
) -> Result<u64, Error> {
    let chunk = read(engine, store, stream, ReadFrom::At(Offset::new(at)), 0)?;
    Ok(chunk.blocks.first().map_or(0, |block| block.bytes() as u64))
}
