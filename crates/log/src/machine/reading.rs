//! Reads of streams. A read returns the handles of messages, and the engine fetches their bytes.

use std::ops::{Bound, Range};

use bytes::Bytes;

use super::{Machine, SCAN, Stored, Stream};
use crate::block::Block;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::follow::Follower;
use crate::incarnation::{Lineage, Mark};
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::producers::{Known, ProducerState};
use crate::read::{
    Chunk, Ended, Entry, Info, Matching, Message, OrderChunk, Page, ReadFrom, Trimmed,
};

/// Consecutive messages of one record.
#[derive(Clone, Debug)]
pub struct Piece<S> {
    /// The offset before the first message.
    pub first: Offset,
    /// The time of the append.
    pub time: Timestamp,
    /// The record.
    pub messages: S,
    /// The messages of the record that belong to the piece.
    pub range: Range<usize>,
    /// The number of bytes to which the piece's only message is shortened.
    pub cut: Option<usize>,
}

impl<S: Stored> Piece<S> {
    /// Returns the size of a message of the piece, in bytes.
    pub(super) fn size(&self, index: usize) -> usize {
        let size = self.messages.size(self.range.start + index);
        self.cut.map_or(size, |cut| size.min(cut))
    }
}

/// The result of a read, without the bytes of the messages.
#[derive(Clone, Debug)]
pub struct ReadPlan<S> {
    /// The lineage of the stream.
    pub lineage: Lineage,
    /// The offset that was read from.
    pub from: Offset,
    /// The messages.
    pub pieces: Vec<Piece<S>>,
    /// The offset at which the next read continues.
    pub next: Offset,
    /// `true` if `next` is the stream's tail.
    pub at_tail: bool,
    /// `true` if the stream is closed.
    pub closed: bool,
}

impl<S> ReadPlan<S> {
    /// Returns the result of the read. `blocks` have the messages of the pieces.
    #[must_use]
    pub fn chunk(self, blocks: Vec<Block>) -> Chunk {
        Chunk {
            lineage: self.lineage,
            from: self.from,
            blocks,
            next: self.next,
            at_tail: self.at_tail,
            closed: self.closed,
        }
    }
}

/// One message in the order of all streams, without its bytes.
#[derive(Clone, Debug)]
pub struct OrderEntry<S> {
    /// The position before the message.
    pub position: Position,
    /// The name of the message's stream.
    pub stream: StreamName,
    /// The stream's number.
    pub id: u64,
    /// The offset before the message.
    pub offset: Offset,
    /// The time of the append.
    pub time: Timestamp,
    /// The record of the message.
    pub messages: S,
    /// The index of the message in its record.
    pub index: usize,
}

/// The result of a read of the order, without the bytes of the messages. See
/// [`OrderChunk`](crate::OrderChunk) for its fields.
#[allow(missing_docs, reason = "they are those of OrderChunk")]
#[derive(Clone, Debug)]
pub struct OrderPlan<S> {
    pub entries: Vec<OrderEntry<S>>,
    pub trimmed: Vec<Trimmed>,
    pub ended: Vec<Ended>,
    pub forgotten: Option<Position>,
    pub next: Position,
    pub at_head: bool,
}

impl<S> OrderPlan<S> {
    /// Shortens the read, so that the next one continues at a position within it.
    pub fn end_at(&mut self, next: Position) {
        self.next = next;
        self.at_head = false;
        self.entries.retain(|entry| entry.position < next);
        self.trimmed.retain(|gap| gap.position < next);
        self.ended.retain(|end| end.position < next);
        self.forgotten = self.forgotten.filter(|position| *position < next);
    }

    /// Returns the result of the read. `bytes` returns the message of an entry.
    #[must_use]
    pub fn chunk(self, mut bytes: impl FnMut(&OrderEntry<S>) -> Bytes) -> OrderChunk {
        let entries = self.entries.into_iter().map(|entry| Entry {
            message: Message {
                offset: entry.offset,
                time: entry.time,
                bytes: bytes(&entry),
            },
            position: entry.position,
            stream: entry.stream,
            id: entry.id,
        });
        OrderChunk {
            entries: entries.collect(),
            trimmed: self.trimmed,
            ended: self.ended,
            forgotten: self.forgotten,
            next: self.next,
            at_head: self.at_head,
        }
    }
}

/// Reads ignore expiries: a stream is there until it is [ended](Machine::expire).
impl<S: Stored> Machine<S> {
    pub(super) fn floor(&self, id: u64) -> u64 {
        let stream = &self.by_id[&id];
        match &stream.fork {
            Some(fork) if stream.state.floor == fork.point.own.number() => {
                self.floor(fork.source).min(stream.state.floor)
            }
            _ => stream.state.floor,
        }
    }

    /// Returns the messages from an offset between floor and tail up to `limit` or the end of their
    /// record, from the stream or its sources.
    pub(super) fn piece(&self, id: u64, at: u64, limit: u64) -> Piece<S> {
        let stream = &self.by_id[&id];
        if let Some(fork) = &stream.fork
            && at < fork.point.own.number()
        {
            let own = fork.point.own.number();
            let is_cut = fork.cut.is_some() && at + 1 == own;
            // A shortened message is a piece of its own.
            let end = own - u64::from(fork.cut.is_some() && !is_cut);
            let mut piece = self.piece(fork.source, at, limit.min(end));
            if let Some(cut) = fork.cut.filter(|_| is_cut) {
                piece.cut = Some(piece.cut.map_or(cut, |shorter| shorter.min(cut)));
            }
            return piece;
        }
        let record = stream.records.partition_point(|record| record.first <= at) - 1;
        let record = &stream.records[record];
        let index = |offset: u64| {
            usize::try_from(offset - record.first).expect("the messages of a record are counted")
        };
        Piece {
            first: Offset::new(at),
            time: record.time,
            messages: record.messages.clone(),
            range: index(at)..index(limit.min(record.first + record.count)),
            cut: None,
        }
    }

    /// Returns the offset at which a read starts, and the stream's tail.
    pub(super) fn start(&self, id: u64, from: ReadFrom) -> Result<(u64, u64), Error> {
        let (floor, tail) = (self.floor(id), self.by_id[&id].state.tail);
        let from = match from {
            ReadFrom::Start => floor,
            ReadFrom::Tail => tail,
            ReadFrom::At(offset) => offset.number(),
            ReadFrom::Since(time) => {
                let mut low = floor;
                let mut high = tail;
                while low < high {
                    let middle = low.midpoint(high);
                    if self.piece(id, middle, middle + 1).time < time {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                low
            }
        };
        if from < floor {
            return Err(Kind::Trimmed {
                floor: self.by_id[&id].lineage.at(Offset::new(floor)),
            }
            .into());
        }
        if from > tail {
            return Err(Kind::BeyondTail {
                tail: self.by_id[&id].lineage.at(Offset::new(tail)),
            }
            .into());
        }
        Ok((from, tail))
    }

    /// Reads from a stream, as [`Log::read`](crate::Log::read) does.
    ///
    /// # Errors
    ///
    /// The errors of [`Log::read`](crate::Log::read), except for storage.
    pub fn read(
        &self,
        name: &StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Result<ReadPlan<S>, Error> {
        let id = self.get(name)?;
        let (from, tail) = self.start(id, from)?;
        let (pieces, next) = self.pieces(id, from, tail, budget);
        Ok(ReadPlan {
            lineage: self.by_id[&id].lineage.clone(),
            from: Offset::new(from),
            pieces,
            next: Offset::new(next),
            at_tail: next == tail,
            closed: self.by_id[&id].state.closed,
        })
    }

    /// Collects messages up to the tail, of about `budget` bytes. Returns them with the offset after
    /// them.
    fn pieces(&self, id: u64, from: u64, tail: u64, budget: usize) -> (Vec<Piece<S>>, u64) {
        let mut pieces = Vec::new();
        let (mut next, mut bytes) = (from, 0_usize);
        while next < tail {
            let mut piece = self.piece(id, next, tail);
            let mut taken = 0;
            while taken < piece.range.len() {
                let more = bytes.saturating_add(piece.size(taken));
                if more > budget && next > from {
                    break;
                }
                bytes = more;
                taken += 1;
                next += 1;
            }
            let is_whole = taken == piece.range.len();
            piece.range.end = piece.range.start + taken;
            if taken > 0 {
                pieces.push(piece);
            }
            if !is_whole {
                break;
            }
        }
        (pieces, next)
    }

    /// Reads from the order of all streams, as [`Log::read_order`](crate::Log::read_order) does.
    ///
    /// # Errors
    ///
    /// [Beyond the tail](Error::is_beyond_tail).
    pub fn read_order(
        &self,
        from: Position,
        budget: usize,
        matching: Option<&Matching>,
    ) -> Result<OrderPlan<S>, Error> {
        let head = *self.head.borrow();
        if from > head {
            return Err(Kind::BeyondTail {
                tail: Mark {
                    at: Offset::new(head.number()),
                    incarnation: self.rules.identity.order(),
                },
            }
            .into());
        }
        let is_wanted = |stream: &Stream<S>| {
            !stream.state.hidden && matching.is_none_or(|wanted| wanted(&stream.name))
        };
        let mut entries = Vec::new();
        let mut next = self
            .entries(from, budget, &is_wanted, &mut entries)
            .unwrap_or(head);
        let mut trimmed = Vec::new();
        let gone = from.number() + 1..next.number() + 1;
        for (scanned, (&after, id)) in self.trimmed.range(gone).enumerate() {
            let position = Position::new(after - 1);
            if scanned == SCAN {
                next = position;
                break;
            }
            let stream = &self.by_id[id];
            if is_wanted(stream) {
                trimmed.push(Trimmed {
                    position,
                    stream: stream.name.clone(),
                    id: *id,
                    floor: Offset::new(stream.state.floor),
                    damaged_from: None,
                });
            }
        }
        let mut ended = Vec::new();
        let mut bytes = 0;
        for end in self.ends.range(from.number(), next.number()) {
            if matching.is_some_and(|wanted| !wanted(&end.stream)) {
                continue;
            }
            bytes += end.cost();
            if bytes > budget && !ended.is_empty() {
                next = end.position;
                break;
            }
            ended.push(end.clone());
        }
        entries.truncate(entries.partition_point(|entry| entry.position < next));
        trimmed.truncate(trimmed.partition_point(|gap| gap.position < next));
        Ok(OrderPlan {
            forgotten: self.ends.forgotten(from.number(), next.number()),
            entries,
            trimmed,
            ended,
            next,
            at_head: next == head,
        })
    }

    /// Collects messages from a position to the head, of about `budget` bytes. Returns the final
    /// position, if that is before the head.
    fn entries(
        &self,
        from: Position,
        budget: usize,
        is_wanted: &dyn Fn(&Stream<S>) -> bool,
        entries: &mut Vec<OrderEntry<S>>,
    ) -> Option<Position> {
        let start = self
            .order
            .range(..=from.number())
            .next_back()
            .map_or(0, |(&start, _)| start);
        let mut bytes = 0_usize;
        for (scanned, (&first, &(id, offset))) in self.order.range(start..).enumerate() {
            if scanned == SCAN {
                return Some(Position::new(first.max(from.number())));
            }
            let stream = &self.by_id[&id];
            if !is_wanted(stream) {
                continue;
            }
            let record = stream
                .records
                .partition_point(|record| record.first < offset);
            let record = &stream.records[record];
            for (position, index) in (first..first + record.count).zip(0..) {
                if position < from.number() {
                    continue;
                }
                bytes = bytes.saturating_add(record.messages.size(index));
                if bytes > budget && !entries.is_empty() {
                    return Some(Position::new(position));
                }
                entries.push(OrderEntry {
                    position: Position::new(position),
                    stream: stream.name.clone(),
                    id,
                    offset: Offset::new(offset + position - first),
                    time: record.time,
                    messages: record.messages.clone(),
                    index,
                });
            }
        }
        None
    }

    /// Follows a stream.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone).
    pub fn follow(&self, name: &StreamName) -> Result<Follower, Error> {
        let id = self.get(name)?;
        Ok(self.by_id[&id].follow())
    }

    /// Describes a stream.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone).
    pub fn info(&self, name: &StreamName) -> Result<Info, Error> {
        Ok(self.describe(self.get(name)?))
    }

    /// Returns a stream's state of a producer.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone).
    pub fn producer(&self, name: &StreamName, producer: &str) -> Result<Option<Known>, Error> {
        let id = self.get(name)?;
        let known = self.by_id[&id].producers.get(producer);
        Ok(known.map(ProducerState::known))
    }

    /// Lists streams that haven't expired at a time, as [`Log::list`](crate::Log::list) does.
    #[must_use]
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&StreamName>,
        limit: usize,
        now: Timestamp,
    ) -> Page {
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let mut page = Page {
            streams: Vec::new(),
            after: None,
        };
        for (name, &id) in self.names.range::<str, _>((start, Bound::Unbounded)) {
            if !name.as_str().starts_with(prefix) {
                break;
            }
            if page.streams.len() == limit {
                page.after = page.streams.last().map(|info: &Info| info.name.clone());
                break;
            }
            let stream = &self.by_id[&id];
            if !stream.state.hidden && stream.expires().is_none_or(|end| end > now) {
                page.streams.push(self.describe(id));
            }
        }
        page
    }

    pub(super) fn describe(&self, id: u64) -> Info {
        let stream = &self.by_id[&id];
        Info {
            id,
            lineage: stream.lineage.clone(),
            name: stream.name.clone(),
            settings: stream.settings.clone(),
            created: stream.created,
            appended: Timestamp(stream.state.appended),
            expires: stream.expires(),
            floor: Offset::new(self.floor(id)),
            tail: Offset::new(stream.state.tail),
            closed: stream.state.closed,
            reason: stream.state.reason.clone(),
            bytes: stream.state.bytes,
            fork: stream.fork.as_ref().map(|fork| fork.point.clone()),
        }
    }
}
