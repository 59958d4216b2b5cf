//! The expected content of a log, and its comparison with what can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::observed::{Observed, Seen};
use crate::{Create, EndCause, Expiry, StreamName};

/// An operation that changes the log.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create {
        name: StreamName,
        create: Box<Create>,
        /// The source, and what the fork inherits from it.
        fork: Option<(u64, Inherited)>,
    },
    Append {
        id: u64,
        name: StreamName,
        messages: Vec<Bytes>,
        /// A producer and its sequence number.
        by: Option<(u8, u64)>,
        close: bool,
    },
    Delete {
        id: u64,
        name: StreamName,
    },
}

/// The messages that a fork shares with its source.
#[derive(Clone, Debug)]
pub(super) struct Inherited {
    pub(super) first: u64,
    pub(super) messages: Arc<[Bytes]>,
}

#[derive(Clone, Debug)]
struct Message {
    bytes: Bytes,
    position: Option<u64>,
    time: u64,
    /// The operations that were in progress together when it was appended.
    batch: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) name: StreamName,
    pub(super) closed: bool,
    create: Create,
    source: Option<u64>,
    inherited: Inherited,
    /// Its own messages, from offset `own` on.
    messages: Vec<Message>,
    own: u64,
    /// The first own offset that wasn't trimmed when it was last read.
    floor: u64,
    hidden: bool,
    /// The last append of each producer: its sequence number and messages.
    pub(super) producers: BTreeMap<u8, (u64, Vec<Bytes>)>,
}

impl Stream {
    pub(super) fn tail(&self) -> u64 {
        self.own + self.messages.len() as u64
    }

    /// Returns the readable messages before an offset.
    pub(super) fn before(&self, at: u64) -> Inherited {
        let first = match self.floor == self.own {
            true => self.inherited.first,
            false => self.floor,
        };
        let messages = (first..at).map(|offset| self.message(offset).clone());
        Inherited {
            first,
            messages: messages.collect(),
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.before(0).first
    }

    fn own_message(&self, offset: u64) -> &Message {
        &self.messages[index(offset - self.own)]
    }

    fn message(&self, offset: u64) -> &Bytes {
        match offset < self.own {
            true => &self.inherited.messages[index(offset - self.inherited.first)],
            false => &self.own_message(offset).bytes,
        }
    }

    fn is_expired(&self, now: u64) -> bool {
        matches!(self.create.settings.expiry, Some(Expiry::At(at)) if at.0 <= now)
    }

    fn is_capped(&self) -> bool {
        let settings = &self.create.settings;
        settings.max_age.is_some() || settings.max_bytes.is_some()
    }

    fn bytes_from(&self, floor: u64) -> u64 {
        let kept = &self.messages[index(floor - self.own)..];
        kept.iter().map(|message| message.bytes.len() as u64).sum()
    }

    /// Returns `true` if the caps allow to remove the messages before `floor`.
    fn may_trim(&self, floor: u64, now: u64) -> bool {
        let last = self.own_message(floor - 1);
        let settings = &self.create.settings;
        if let Some(age) = settings.max_age {
            return last.time + u64::try_from(age.as_millis()).unwrap() <= now;
        }
        // The record that was removed last has messages of one batch.
        let start = self.messages.partition_point(|it| it.batch < last.batch);
        let bytes = self.bytes_from(self.own + start as u64);
        settings.max_bytes.is_some_and(|most| bytes > most)
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

/// An event that has a position: a message of a stream, or its end.
type Event = (u64, Option<u64>);

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// The streams that exist, also hidden and expired ones, by their ids.
    pub(super) streams: BTreeMap<u64, Stream>,
    /// The positions that are known.
    positions: BTreeMap<u64, Event>,
    ended: BTreeMap<u64, (u64, EndCause)>,
    /// Streams that were deleted, and whose ends were not read yet: id and tail of each.
    deleted: BTreeMap<u64, u64>,
    /// Ids that were used.
    ids: BTreeSet<u64>,
    /// Number of messages and ends.
    events: u64,
    /// Operations that may have happened.
    pub(super) unknown: Vec<Op>,
    pub(super) batch: u64,
}

macro_rules! check {
    ($holds:expr, $($why:tt)*) => {
        if !$holds {
            return Err(format!($($why)*).into());
        }
    };
}
pub(super) use check;

impl Model {
    pub(super) fn usable(&self, now: u64) -> impl Iterator<Item = (u64, &Stream)> {
        let streams = self.streams.iter().map(|(id, stream)| (*id, stream));
        streams.filter(move |(_, stream)| !stream.hidden && !stream.is_expired(now))
    }

    pub(super) fn named(&self, name: &StreamName, now: u64) -> Option<u64> {
        let mut usable = self.usable(now);
        usable
            .find(|(_, stream)| stream.name == *name)
            .map(|it| it.0)
    }

    fn has_forks(&self, id: u64) -> bool {
        self.streams.values().any(|other| other.source == Some(id))
    }

    /// Returns `true` if a stream that can't be used keeps its name.
    pub(super) fn is_taken(&self, name: &StreamName, now: u64) -> bool {
        let of_name = |(_, stream): &(&u64, &Stream)| stream.name == *name;
        let mut streams = self.streams.iter().filter(of_name);
        streams.any(|(id, stream)| stream.hidden || stream.is_expired(now) && self.has_forks(*id))
    }

    fn place(&mut self, position: u64, event: Event) -> Result<(), String> {
        let known = *self.positions.entry(position).or_insert(event);
        check!(
            known == event,
            "position {position} is of {event:?} and was of {known:?}"
        );
        Ok(())
    }

    pub(super) fn create(&mut self, id: u64, op: &Op, now: u64) -> Result<(), String> {
        let Op::Create { name, create, fork } = op else {
            return Err(format!("{op:?} creates nothing"));
        };
        check!(self.ids.insert(id), "id {id} is used again for {name}");
        let (source, inherited) = match fork {
            Some((source, inherited)) => (Some(*source), inherited.clone()),
            None => (
                None,
                Inherited {
                    first: 0,
                    messages: Arc::default(),
                },
            ),
        };
        let own = inherited.first + inherited.messages.len() as u64;
        let mut create = Create::clone(create);
        if let Some(source) = source {
            let inherited = self.streams[&source].create.settings.expiry;
            create.settings.expiry = create.settings.expiry.or(inherited);
        }
        let stream = Stream {
            name: name.clone(),
            closed: create.closed,
            messages: Vec::new(),
            create,
            source,
            inherited,
            own,
            floor: own,
            hidden: false,
            producers: BTreeMap::new(),
        };
        let messages = stream.create.messages.clone();
        self.streams.insert(id, stream);
        self.add(id, &messages, None, now)
    }

    /// Adds messages to a stream. `end` is the position after them, if it is known.
    fn add(
        &mut self,
        id: u64,
        messages: &[Bytes],
        end: Option<u64>,
        time: u64,
    ) -> Result<(), String> {
        let start = end.map(|end| end - messages.len() as u64);
        for (at, bytes) in (0..).zip(messages) {
            let position = start.map(|start| start + at);
            let batch = self.batch;
            let stream = self.streams.get_mut(&id).unwrap();
            let offset = stream.tail();
            stream.messages.push(Message {
                bytes: bytes.clone(),
                position,
                time,
                batch,
            });
            if let Some(position) = position {
                self.place(position, (id, Some(offset)))?;
            }
        }
        self.events += messages.len() as u64;
        Ok(())
    }

    pub(super) fn append(&mut self, op: &Op, end: Option<u64>, time: u64) -> Result<(), String> {
        let Op::Append {
            id,
            messages,
            by,
            close,
            ..
        } = op
        else {
            return Err(format!("{op:?} appends nothing"));
        };
        let end = end.filter(|_| !messages.is_empty());
        self.add(*id, messages, end, time)?;
        let stream = self.streams.get_mut(id).unwrap();
        stream.closed |= close;
        if let Some((producer, seq)) = by {
            stream.producers.insert(*producer, (*seq, messages.clone()));
        }
        Ok(())
    }

    /// Hides a stream that was deleted or has expired, and removes it unless it has forks.
    fn end(&mut self, id: u64, position: u64, cause: EndCause) -> Result<(), String> {
        self.place(position, (id, None))?;
        self.events += 1;
        self.ended.insert(position, (id, cause));
        self.hide(id);
        Ok(())
    }

    /// Deletes a stream. The position of its end isn't known.
    pub(super) fn deleted(&mut self, id: u64) {
        self.deleted.insert(id, self.streams[&id].tail());
        self.events += 1;
        self.hide(id);
    }

    fn hide(&mut self, id: u64) {
        self.streams.get_mut(&id).unwrap().hidden = true;
        let mut next = Some(id);
        while let Some(id) = next {
            if !self.streams[&id].hidden || self.has_forks(id) {
                return;
            }
            next = self.streams.remove(&id).unwrap().source;
        }
    }

    /// Compares what was read with the model. Operations that may have happened are found out.
    pub(super) fn check(&mut self, seen: &Observed, now: u64) -> Result<(), String> {
        self.find_out(seen, now)?;
        self.check_ends(seen, now)?;
        let usable: Vec<u64> = self.usable(now).map(|(id, _)| id).collect();
        let listed: Vec<u64> = seen.streams.keys().copied().collect();
        check!(
            usable == listed,
            "streams {listed:?} exist, and not {usable:?}"
        );
        for (id, stream) in &seen.streams {
            self.check_stream(*id, stream, now)?;
        }
        self.check_order(seen, now)?;
        let head = seen.usage.head.number();
        check!(
            self.events == head,
            "the head is {head}, after {} events",
            self.events
        );
        let last = self
            .positions
            .last_key_value()
            .map_or(0, |(last, _)| last + 1);
        check!(last <= head, "position {last} is after the head {head}");
        let streams = self.streams.len() as u64;
        check!(
            seen.usage.streams == streams,
            "{} streams, and not {streams}",
            seen.usage.streams
        );
        let (mut least, mut most) = (0, 0);
        for (id, stream) in &self.streams {
            let bytes = stream.bytes_from(stream.floor);
            most += bytes;
            // Trimming of streams that can't be read can't be seen.
            let is_seen = seen.streams.contains_key(id) || !stream.is_capped();
            least += if is_seen { bytes } else { 0 };
        }
        let bytes = seen.usage.bytes;
        check!(
            (least..=most).contains(&bytes),
            "{bytes} bytes, and not {least} to {most}"
        );
        Ok(())
    }

    /// Applies the operations of unknown outcome that have happened.
    fn find_out(&mut self, seen: &Observed, now: u64) -> Result<(), String> {
        let mut unknown = std::mem::take(&mut self.unknown);
        // Appends to one stream can have happened in any order.
        while !unknown.is_empty() {
            let found = unknown.iter().position(|op| self.has_happened(op, seen));
            let Some(at) = found else { break };
            let op = unknown.remove(at);
            match &op {
                Op::Create { name, .. } => {
                    let id = seen.streams.iter().find(|(_, it)| it.info.name == *name);
                    self.create(*id.unwrap().0, &op, now)?;
                }
                Op::Append { .. } => self.append(&op, None, now)?,
                Op::Delete { id, .. } => {
                    let end = seen.ended.iter().find(|end| end.id == *id).unwrap();
                    self.end(*id, end.position.number(), EndCause::Deleted)?;
                }
            }
        }
        Ok(())
    }

    fn has_happened(&self, op: &Op, seen: &Observed) -> bool {
        match op {
            Op::Create { name, .. } => {
                let mut streams = seen.streams.iter();
                streams.any(|(id, it)| it.info.name == *name && !self.ids.contains(id))
            }
            Op::Append {
                id,
                messages,
                close,
                ..
            } => {
                let (Some(stream), Some(seen)) = (self.streams.get(id), seen.streams.get(id))
                else {
                    return false;
                };
                if messages.is_empty() {
                    return *close && seen.info.closed && !stream.closed;
                }
                let is_same = |(offset, bytes): (u64, &Bytes)| {
                    offset < seen.info.floor.number() || seen.message(offset) == Some(bytes)
                };
                let tail = stream.tail();
                seen.info.tail.number() >= tail + messages.len() as u64
                    && (tail..).zip(messages).all(is_same)
            }
            Op::Delete { id, .. } => {
                let is_end = |end: &crate::Ended| end.id == *id && end.cause == EndCause::Deleted;
                seen.ended.iter().any(is_end)
            }
        }
    }

    fn check_ends(&mut self, seen: &Observed, now: u64) -> Result<(), String> {
        for end in &seen.ended {
            let (position, id) = (end.position.number(), end.id);
            if let Some(known) = self.ended.get(&position) {
                check!(*known == (id, end.cause), "{end:?} was {known:?}");
                continue;
            }
            if let Some(tail) = self.deleted.remove(&id) {
                let found = (end.cause, end.tail.at.number());
                check!(
                    found == (EndCause::Deleted, tail),
                    "{end:?} was a deletion at {tail}"
                );
                self.place(position, (id, None))?;
                self.ended.insert(position, (id, end.cause));
                continue;
            }
            let Some(stream) = self.streams.get(&id) else {
                return Err(format!("{end:?} is of no stream"));
            };
            let is_expired = end.cause == EndCause::Expired && stream.is_expired(now);
            check!(is_expired && !stream.hidden, "{end:?} has no cause");
            let tail = stream.tail();
            check!(end.tail.at.number() == tail, "{end:?} is not at {tail}");
            self.end(id, position, end.cause)?;
        }
        let (there, known) = (seen.ended.len(), self.ended.len());
        check!(there == known, "{there} ends, and not {known}");
        check!(
            self.deleted.is_empty(),
            "the ends of {:?} are missing",
            self.deleted
        );
        Ok(())
    }

    fn check_stream(&mut self, id: u64, seen: &Seen, now: u64) -> Result<(), String> {
        let stream = self.streams.get_mut(&id).unwrap();
        let info = &seen.info;
        let name = &stream.name;
        check!(info.name == *name, "{id} is {} and was {name}", info.name);
        let (tail, floor) = (stream.tail(), info.floor.number());
        let found = info.tail.number();
        check!(
            found == tail,
            "{name} ({id}) ends at {found}, and not at {tail}"
        );
        check!(
            info.closed == stream.closed,
            "{name} ({id}) is closed: {}",
            info.closed
        );
        let own = floor.max(stream.own);
        check!(
            floor >= stream.inherited.first,
            "{name} ({id}) starts at {floor}"
        );
        check!(
            own >= stream.floor,
            "{name} ({id}) was trimmed to {}, and not {own}",
            stream.floor
        );
        if own > stream.floor {
            check!(
                stream.may_trim(own, now),
                "{name} ({id}) was trimmed to {own} too early"
            );
            stream.floor = own;
        }
        let bytes = stream.bytes_from(own);
        check!(
            info.bytes == bytes,
            "{name} ({id}) has {} bytes, and not {bytes}",
            info.bytes
        );
        for offset in floor..tail {
            let same = seen.message(offset) == Some(stream.message(offset));
            check!(same, "{name} ({id}) has another message at {offset}");
        }
        let known: BTreeMap<u8, u64> = stream
            .producers
            .iter()
            .map(|(id, (seq, _))| (*id, *seq))
            .collect();
        check!(
            seen.producers == known,
            "{name} ({id}): {:?} are {known:?}",
            seen.producers
        );
        Ok(())
    }

    fn check_order(&mut self, seen: &Observed, now: u64) -> Result<(), String> {
        let mut last = None;
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for entry in &seen.entries {
            let (id, offset) = (entry.id, entry.message.offset.number());
            let position = entry.position.number();
            check!(
                last < Some(position),
                "position {position} comes after {last:?}"
            );
            last = Some(position);
            self.place(position, (id, Some(offset)))?;
            let Some(stream) = self.streams.get_mut(&id).filter(|it| !it.hidden) else {
                return Err(format!("position {position} is of the removed stream {id}"));
            };
            check!(
                (stream.floor..stream.tail()).contains(&offset) && offset >= stream.own,
                "position {position} is of {id} at {offset}, which it doesn't have"
            );
            let at = index(offset - stream.own);
            let message = &mut stream.messages[at];
            check!(
                message.bytes == entry.message.bytes,
                "position {position} has other bytes"
            );
            check!(
                *message.position.get_or_insert(position) == position,
                "{id} at {offset} is at position {position} and was at {:?}",
                message.position
            );
            *counts.entry(id).or_default() += 1;
        }
        let mut gaps = BTreeMap::new();
        for gap in &seen.trimmed {
            let (id, floor) = (gap.id, gap.floor.number());
            check!(gaps.insert(id, floor).is_none(), "{id} has two notices");
            self.place(gap.position.number(), (id, Some(floor - 1)))?;
        }
        for (id, stream) in &self.streams {
            if stream.hidden || stream.is_expired(now) {
                continue;
            }
            let (found, kept) = (counts.get(id).copied(), stream.tail() - stream.floor);
            check!(
                found.unwrap_or(0) == kept,
                "the order has {found:?} of {kept} messages of {id}"
            );
            let floor = Some(stream.floor).filter(|floor| *floor > stream.own);
            let gap = gaps.get(id).copied();
            check!(
                gap == floor,
                "{id} has a notice of {gap:?}, and not of {floor:?}"
            );
        }
        Ok(())
    }
}
