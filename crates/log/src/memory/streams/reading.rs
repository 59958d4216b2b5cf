//! Reads of streams.

use std::ops::Bound;

use crate::block::Block;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::follow::Follower;
use crate::incarnation::Mark;
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::read::{
    Chunk, Entry, Extent, Info, Matching, Message, OrderChunk, Page, ReadFrom, Trimmed,
};

use super::{SCAN, Stream, Streams};

impl Streams {
    pub(super) fn floor(&self, id: u64) -> u64 {
        let stream = &self.by_id[&id];
        match &stream.fork {
            Some(fork) if stream.state.floor == fork.point.own.number() => {
                self.floor(fork.source).min(stream.state.floor)
            }
            _ => stream.state.floor,
        }
    }

    /// Returns the message at an offset between floor and tail, from the stream or its sources.
    pub(super) fn message(&self, id: u64, at: u64) -> Message {
        let stream = &self.by_id[&id];
        if let Some(fork) = &stream.fork
            && at < fork.point.own.number()
        {
            let mut message = self.message(fork.source, at);
            if let Some(cut) = fork.cut
                && at + 1 == fork.point.own.number()
            {
                message.bytes.truncate(cut);
            }
            return message;
        }
        let record = stream.records.partition_point(|record| record.first <= at) - 1;
        let record = &stream.records[record];
        let index = usize::try_from(at - record.first).expect("a record's messages are in memory");
        let bytes = record.messages[index].clone();
        Message {
            offset: Offset::new(at),
            time: record.time,
            bytes,
        }
    }

    /// Returns the offset at which a read starts, and the stream's tail.
    fn start(&self, id: u64, from: ReadFrom) -> Result<(u64, u64), Error> {
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
                    if self.message(id, middle).time < time {
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

    pub(crate) fn measure(
        &mut self,
        name: &StreamName,
        from: ReadFrom,
        budget: u64,
    ) -> Result<Extent, Error> {
        let id = self.find(name)?;
        let (from, tail) = self.start(id, from)?;
        let (next, bytes) = self.size(id, from, tail, budget);
        let stream = &self.by_id[&id];
        Ok(Extent {
            lineage: stream.lineage.clone(),
            from: Offset::new(from),
            next: Offset::new(next),
            bytes,
            at_tail: next == tail,
            closed: stream.state.closed,
        })
    }

    /// Returns the offset after the messages in `from..to` that have at most `budget` bytes, and their bytes.
    fn size(&self, id: u64, from: u64, to: u64, budget: u64) -> (u64, u64) {
        let stream = &self.by_id[&id];
        let (mut next, mut bytes) = (from, 0);
        let own = stream.fork.as_ref().map_or(0, |it| it.point.own.number());
        if let Some(fork) = &stream.fork
            && next < own
        {
            let shortened = u64::from(fork.cut.is_some());
            let end = to.min(own - shortened);
            if next < end {
                (next, bytes) = self.size(fork.source, next, end, budget);
                if next < end {
                    return (next, bytes);
                }
            }
            if next < own.min(to) {
                let length = self.message(id, next).bytes.len() as u64;
                if bytes + length > budget {
                    return (next, bytes);
                }
                (next, bytes) = (next + 1, bytes + length);
            }
        }
        let start = stream.records.partition_point(|it| it.first <= next);
        for record in stream.records.range(start.saturating_sub(1)..) {
            let end = record.first + record.messages.len() as u64;
            if next >= to {
                break;
            }
            if record.first == next && end <= to && bytes + record.bytes <= budget {
                (next, bytes) = (end, bytes + record.bytes);
                continue;
            }
            for (at, message) in (record.first..to).zip(&record.messages) {
                if at < next {
                    continue;
                }
                let length = message.len() as u64;
                if bytes + length > budget {
                    return (next, bytes);
                }
                (next, bytes) = (next + 1, bytes + length);
            }
        }
        (next, bytes)
    }

    pub(crate) fn read(
        &mut self,
        name: &StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Result<Chunk, Error> {
        let id = self.find(name)?;
        let (from, tail) = self.start(id, from)?;
        let mut blocks = Vec::new();
        let mut bytes = 0;
        let mut next = from;
        while next < tail {
            let message = self.message(id, next);
            bytes += message.bytes.len();
            if bytes > budget && !blocks.is_empty() {
                break;
            }
            let Message {
                offset,
                time,
                bytes,
            } = message;
            blocks.push(Block::message(offset, time, bytes));
            next += 1;
        }
        let closed = self.by_id[&id].state.closed;
        let (from, at_tail) = (Offset::new(from), next == tail);
        Ok(Chunk {
            lineage: self.by_id[&id].lineage.clone(),
            from,
            blocks,
            next: Offset::new(next),
            at_tail,
            closed,
        })
    }

    pub(crate) fn read_order(
        &mut self,
        from: Position,
        budget: usize,
        matching: Option<&Matching>,
    ) -> Result<OrderChunk, Error> {
        let head = *self.head.borrow();
        if from > head {
            return Err(Kind::BeyondTail {
                tail: Mark {
                    at: Offset::new(head.number()),
                    incarnation: self.options.identity.order(),
                },
            }
            .into());
        }
        let is_wanted = |stream: &Stream| {
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
        Ok(OrderChunk {
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
        is_wanted: &dyn Fn(&Stream) -> bool,
        entries: &mut Vec<Entry>,
    ) -> Option<Position> {
        let start = self
            .order
            .range(..=from.number())
            .next_back()
            .map_or(0, |(&start, _)| start);
        let mut bytes = 0;
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
            for (index, message) in record.messages.iter().enumerate() {
                let position = first + index as u64;
                if position < from.number() {
                    continue;
                }
                bytes += message.len();
                if bytes > budget && !entries.is_empty() {
                    return Some(Position::new(position));
                }
                entries.push(Entry {
                    position: Position::new(position),
                    stream: stream.name.clone(),
                    id,
                    message: Message {
                        offset: Offset::new(offset + index as u64),
                        time: record.time,
                        bytes: message.clone(),
                    },
                });
            }
        }
        None
    }

    pub(crate) fn follow(&mut self, name: &StreamName) -> Result<Follower, Error> {
        let id = self.find(name)?;
        Ok(Follower::new(self.by_id[&id].progress.subscribe()))
    }

    pub(crate) fn info(&mut self, name: &StreamName) -> Result<Info, Error> {
        let id = self.find(name)?;
        Ok(self.describe(id))
    }

    pub(crate) fn list(&mut self, prefix: &str, after: Option<&StreamName>, limit: usize) -> Page {
        let now = self.now();
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
