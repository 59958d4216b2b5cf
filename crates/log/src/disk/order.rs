//! Reads of the order of all streams.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_journal::Frames;

use super::engine::Engine;
use super::failure::io_failure;
use super::format::commit::Commit;
use super::format::record::{self, Layout, Record};
use super::segments::Stretch;
use super::sorted::Sorted;
use super::store::{Gap, Store};
use super::stream::Stream;
use crate::append_rules::State;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::incarnation::Mark;
use crate::offset::{Offset, Position};
use crate::read::{Ended, Entry, Matching, Message, OrderChunk, Trimmed};

/// Maximum number of records, notices and ends that one read of the order looks at.
const SCAN: usize = 10_000;

/// Reads the order of all streams from the disk.
pub(crate) fn read_order(
    engine: &Engine,
    store: &Store,
    from: Position,
    budget: usize,
    matching: Option<&Matching>,
) -> Result<OrderChunk, Error> {
    let head = engine.committed().position;
    let from = from.number();
    if from > head {
        return Err(Kind::BeyondTail {
            tail: Mark {
                at: Offset::new(head),
                incarnation: engine.cache.identity.order(),
            },
        }
        .into());
    }
    let mut order = Order {
        engine,
        store,
        matching,
        wanted: HashMap::new(),
        budget,
        bytes: 0,
        scanned: 0,
        entries: Vec::new(),
        lost: Vec::new(),
    };
    let next = order.messages(from, head)?;
    let (mut trimmed, next) = order.trimmed(from, next)?;
    let (ended, next) = order.ended(from, next)?;
    let forgotten = store.ends()?.forgotten.checked_sub(1);
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
        at_head: next.number() == head,
    })
}

/// A stream that is wanted, and the first own offset that it had when it was looked up.
type Wanted = (Arc<Stream>, u64);

/// A read of the order of all streams.
struct Order<'a> {
    engine: &'a Engine,
    store: &'a Store,
    matching: Option<&'a Matching>,
    /// The streams that were looked up, so that each is looked up once per read.
    wanted: HashMap<u64, Option<Wanted>>,
    budget: usize,
    bytes: usize,
    scanned: usize,
    entries: Vec<Entry>,
    /// The damaged messages.
    lost: Vec<Trimmed>,
}

/// A file with a part of the order.
enum Source {
    Sorted(Arc<Sorted>),
    Segment(Stretch),
}

impl Order<'_> {
    /// Returns the stream with this id, if it is wanted: it matches, hasn't ended and isn't hidden.
    fn wanted(&mut self, id: u64) -> Result<Option<Wanted>, Error> {
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
        let stream = stream.map(|stream| {
            let floor = stream.state().floor;
            (stream, floor)
        });
        self.wanted.insert(id, stream.clone());
        Ok(stream)
    }

    /// Returns the notices of trimming in `from..until` and of damage, and the position at which it stopped. Drops the
    /// messages that they cover.
    ///
    /// A stream can be trimmed during the read. Its notice and the messages that it still has must be
    /// of one moment, so for a stream of which there are messages, both are taken from one state of it.
    fn trimmed(&mut self, from: u64, mut until: u64) -> Result<(Vec<Trimmed>, u64), Error> {
        let mut states: HashMap<u64, State> = HashMap::new();
        for entry in &self.entries {
            let wanted = self.wanted.get(&entry.id).and_then(Option::as_ref);
            if wanted.is_some_and(|(stream, _)| stream.is_capped())
                && !states.contains_key(&entry.id)
                && let Some(state) = self.store.state(entry.id)?
            {
                states.insert(entry.id, state);
            }
        }
        self.entries.retain(|entry| {
            let state = states.get(&entry.id);
            state.is_none_or(|state| entry.message.offset.number() >= state.floor)
        });
        let mut gaps = self.store.trimmed(from, until, SCAN + 1)?;
        if gaps.len() > SCAN {
            until = gaps.pop().map_or(until, |gap| gap.position);
        }
        gaps.retain(|gap| !states.contains_key(&gap.id));
        let own = states.iter().filter_map(|(id, state)| {
            let position = state.trimmed.checked_sub(1)?;
            (from..until).contains(&position).then_some(Gap {
                position,
                id: *id,
                floor: state.floor,
            })
        });
        gaps.extend(own);
        let mut trimmed = std::mem::take(&mut self.lost);
        for gap in gaps {
            if let Some((stream, _)) = self.wanted(gap.id)? {
                trimmed.push(Trimmed {
                    position: Position::new(gap.position),
                    stream: stream.name().clone(),
                    id: gap.id,
                    floor: Offset::new(gap.floor),
                    damaged_from: None,
                });
            }
        }
        trimmed.sort_unstable_by_key(|gap| gap.position);
        Ok((trimmed, until))
    }

    /// Returns the files with messages from a position on, in order.
    fn sources(&self, from: u64) -> Vec<Source> {
        // Segments first: one that is sorted in between is in both then, and not in neither.
        let segments = self.store.segments.read().stretches(from);
        let sorted = Arc::clone(&self.store.sorted.read());
        let start = sorted.partition_point(|file| file.range().end <= from);
        let last = sorted.last().map_or(0, |file| file.range().end);
        let segments = segments.into_iter().filter(|it| it.next > last);
        let sorted = sorted[start..].iter().map(Arc::clone).map(Source::Sorted);
        sorted.chain(segments.map(Source::Segment)).collect()
    }

    /// Collects messages from `from` to the head, of about the budget. Returns the position at which it
    /// stopped. If it has some, it stops at damage that hides more than messages.
    fn messages(&mut self, from: u64, head: u64) -> Result<u64, Error> {
        if from == head {
            return Ok(head);
        }
        for source in self.sources(from) {
            let stopped = match source {
                Source::Sorted(file) => self.sorted(&file, from),
                Source::Segment(stretch) => self.segment(stretch, from, head),
            };
            match (stopped, self.reached()) {
                (Ok(None), _) => {}
                (Ok(Some(next)), _) => return Ok(next),
                (Err(error), Some(next)) if error.is_damaged() => {
                    self.engine.note_damage(&error);
                    return Ok(next);
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok(head)
    }

    /// Returns the position after the last message that was collected, or is damaged.
    fn reached(&self) -> Option<u64> {
        let entry = self.entries.last().map(|entry| entry.position);
        let lost = self.lost.last().map(|gap| gap.position);
        entry.max(lost).map(|position| position.number() + 1)
    }

    /// Collects messages of a sorted file. Returns the position at which it stopped, if before its end.
    fn sorted(&mut self, file: &Sorted, from: u64) -> Result<Option<u64>, Error> {
        for group in file.order_from(from)? {
            let group = group?;
            if self.scanned >= SCAN {
                return Ok(Some(group.first().max(from)));
            }
            self.scanned += group.heads().count();
            let mut wanted = HashMap::new();
            for id in group.streams() {
                if let Some(stream) = self.wanted(id)? {
                    wanted.insert(id, stream);
                }
            }
            let (records, damage) = group.records_or_lost(|id| wanted.contains_key(&id))?;
            if let Some(damage) = damage {
                self.engine.note_damage(&damage.into());
            }
            for (id, record) in records {
                if let Some((stream, floor)) = wanted.get(&id)
                    && let Some(next) = self.add(stream, *floor, &record, from)
                {
                    return Ok(Some(next));
                }
            }
        }
        Ok(None)
    }

    /// Collects messages of a segment, as [`sorted`](Self::sorted) does of a file.
    fn segment(&mut self, stretch: Stretch, from: u64, head: u64) -> Result<Option<u64>, Error> {
        let Stretch { file, at, end, .. } = stretch;
        let identity = self.store.identity.number();
        let mut frames = Frames::new(Arc::clone(&file.file), identity, file.number, at, end);
        while let Some((place, bytes)) = frames.next_frame()? {
            let commit = Commit::decode_parts(&bytes).map_err(|_| {
                Error::damaged(format!("segment {} at byte {}", file.number, place.frame()))
            })?;
            if commit.position >= head {
                break;
            }
            if commit.position + commit.count <= from {
                continue;
            }
            if self.scanned >= SCAN {
                return Ok(Some(commit.position.max(from)));
            }
            self.scanned += commit.parts.len().max(1);
            let mut offset = place.data();
            for part in commit.parts {
                let start = offset;
                offset += u64::from(part.head.length);
                if part.head.position + u64::from(part.head.count) <= from {
                    continue;
                }
                let Some((stream, floor)) = self.wanted(part.id)? else {
                    continue;
                };
                let length = usize::try_from(part.head.length).unwrap_or(usize::MAX);
                let data = frames.bytes(start, length).map_err(io_failure)?;
                let mut record = Record {
                    first: part.first,
                    head: part.head,
                    data,
                };
                if record::sum(&record.data) != part.sum {
                    self.engine.note_damage(&Error::damaged(format!(
                        "segment {} at byte {start}: stream {} at offset {}",
                        file.number, part.id, part.first
                    )));
                    record.head = record.head.lost();
                }
                if let Some(next) = self.add(&stream, floor, &record, from) {
                    return Ok(Some(next));
                }
            }
        }
        Ok(None)
    }

    /// Adds the messages of a record that are from `from` on and not below the floor, or the notice that
    /// they are lost. Returns the position of the first one that is over the budget, if there is one.
    fn add(&mut self, stream: &Stream, floor: u64, record: &Record, from: u64) -> Option<u64> {
        if record.head.layout == Layout::Lost {
            let (id, first) = (stream.id, record.first);
            self.engine
                .note_damage(&Error::damaged(format!("stream {id} lacks offset {first}")));
            let first = record.first + from.saturating_sub(record.head.position);
            if record.end() > first.max(floor) {
                let last = record.head.position + u64::from(record.head.count) - 1;
                self.lost.push(Trimmed {
                    position: Position::new(last),
                    stream: stream.name().clone(),
                    id: stream.id,
                    floor: Offset::new(record.end()),
                    damaged_from: Some(Offset::new(first.max(floor))),
                });
            }
            return None;
        }
        for (offset, bytes) in record.messages() {
            let position = record.head.position + (offset - record.first);
            if position < from || offset < floor {
                continue;
            }
            self.bytes += bytes.len();
            if self.bytes > self.budget && !self.entries.is_empty() {
                return Some(position);
            }
            self.entries.push(Entry {
                position: Position::new(position),
                stream: stream.name().clone(),
                id: stream.id,
                message: Message {
                    offset: Offset::new(offset),
                    time: Timestamp(record.head.time),
                    bytes,
                },
            });
        }
        None
    }

    /// Returns the matching streams that ended in `from..until`, of about the budget, and the position
    /// at which it stopped.
    fn ended(&self, from: u64, until: u64) -> Result<(Vec<Ended>, u64), Error> {
        let mut ended: Vec<Ended> = Vec::new();
        let mut bytes = 0;
        let found = self.store.ended(from, until, SCAN + 1)?;
        for (scanned, end) in found.into_iter().enumerate() {
            let position = end.position.number();
            if scanned == SCAN {
                return Ok((ended, position));
            }
            if self.matching.is_some_and(|wanted| !wanted(&end.stream)) {
                continue;
            }
            bytes += end.cost();
            if bytes > self.budget && !ended.is_empty() {
                return Ok((ended, position));
            }
            ended.push(end);
        }
        Ok((ended, until))
    }
}
