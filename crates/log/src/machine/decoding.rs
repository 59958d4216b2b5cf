//! The decoding of the state. `frozen.rs` documents the format.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::sync::watch;

use super::ended::{self, Ends};
use super::{
    Followed, Fork, Machine, PER_MESSAGE, PER_STREAM, Record, Rules, Stored, Stream,
    producer_weight, weight,
};
use crate::append_rules::State;
use crate::clock::Timestamp;
use crate::encoding::birth::{self, Birth};
use crate::encoding::{self, Cursor, Malformed, producer, state};
use crate::limits::{FORK_DEPTH, PRODUCER_NUMBER};
use crate::offset::{Offset, Position};
use crate::producers::ProducerState;

/// Decodes the handle of a record that has this number of messages. A handle that it returns has them.
pub type TakeHandle<'a, S> = &'a mut dyn FnMut(&mut Cursor<'_>, usize) -> Result<S, Malformed>;

/// The place of a record in the order of all streams.
struct Placed {
    position: u64,
    count: u64,
    id: u64,
    first: u64,
}

impl<S: Stored> Machine<S> {
    /// Decodes a state that [`Frozen::encode`](super::Frozen::encode) has encoded. It reports the end of the
    /// order to `head`.
    ///
    /// # Errors
    ///
    /// The bytes aren't a state.
    pub fn decode(
        from: &mut Cursor<'_>,
        rules: Rules,
        head: watch::Sender<Position>,
        take: TakeHandle<'_, S>,
    ) -> Result<Self, Malformed> {
        let mut machine = Self::new(rules, head);
        machine.now = Timestamp(from.number()?);
        machine.next_id = place(from)?;
        let end = place(from)?;
        machine.ends = ends(from, end)?;
        machine.taken = machine.ends.taken;
        let mut order = Vec::new();
        let mut id = 0_u64;
        for _ in 0..from.number()? {
            let before = id;
            id = before.checked_add(from.number()?).ok_or(Malformed)?;
            require(before < id && id < machine.next_id)?;
            let stream = machine.take_stream(from, id, &mut order, take)?;
            require(stream.state.trimmed <= end)?;
            machine.add(id, stream)?;
        }
        require(machine.by_id.values().all(|stream| {
            let state = &stream.state;
            state.forks > 0 || state.restoring || !state.hidden
        }))?;
        machine.order = in_order(order, end)?;
        machine.head.send_replace(Position::new(end));
        Ok(machine)
    }

    /// Adds a stream to what is derived from all of them.
    fn add(&mut self, id: u64, mut stream: Stream<S>) -> Result<(), Malformed> {
        if let Some(fork) = &stream.fork {
            self.stream(fork.source).state.forks += 1;
        }
        let messages: u64 = stream.records.iter().map(|record| record.count).sum();
        let producers = stream.producers.keys().map(|id| producer_weight(id));
        let taken = PER_STREAM
            + weight(&stream.name, &stream.settings)
            + producers.sum::<u64>()
            + messages * PER_MESSAGE;
        let bytes = stream.state.bytes;
        let taken = taken.checked_add(bytes).ok_or(Malformed)?;
        self.taken = self.taken.checked_add(taken).ok_or(Malformed)?;
        self.bytes += bytes;
        require(self.names.insert(stream.name.clone(), id).is_none())?;
        if stream.state.trimmed > 0 {
            require(self.trimmed.insert(stream.state.trimmed, id).is_none())?;
        }
        stream.state.due = stream.due();
        if stream.state.due != 0 {
            self.timetable.insert((stream.state.due, id));
        }
        self.by_id.insert(id, Followed::new(stream));
        Ok(())
    }

    fn take_stream(
        &self,
        from: &mut Cursor<'_>,
        id: u64,
        order: &mut Vec<Placed>,
        take: TakeHandle<'_, S>,
    ) -> Result<Stream<S>, Malformed> {
        let birth = birth::decode(from.bytes()?)?;
        let used = Timestamp(from.number()?);
        let source = match &birth.fork {
            Some(fork) => Some(self.by_id.get(&fork.id).ok_or(Malformed)?),
            None => None,
        };
        let own = self.rules.identity.stream(id);
        let lineage = birth.lineage(own, source.map(|source| &source.lineage));
        let depth = source.map_or(0, |source| source.depth + 1);
        let Birth {
            name,
            created,
            settings,
            fork,
            marks,
        } = birth;
        let fork = fork.map(|fork| self.fork(fork, id)).transpose()?;
        require(depth <= FORK_DEPTH)?;
        let mut state = state::decode(from.bytes()?)?.stored();
        require(!state.restoring || state.hidden && !marks.is_empty())?;
        require(state.floor.max(state.trimmed) <= Offset::MAX.number())?;
        require(
            fork.as_ref()
                .is_none_or(|fork| fork.point.own.number() <= state.floor),
        )?;
        let producers = producers(from)?;
        let records = records(from, id, &mut state, order, take)?;
        Ok(Stream {
            name,
            lineage,
            settings,
            created: Timestamp(created),
            used,
            state,
            producers,
            none_idle_before: 0,
            records,
            fork: fork.map(Box::new),
            depth,
        })
    }

    /// Checks the fork of a stream. The source is older, so it is there already.
    fn fork(&self, fork: birth::Fork, id: u64) -> Result<Fork, Malformed> {
        let birth::Fork {
            id: source,
            point,
            cut,
        } = fork;
        require(source < id)?;
        let stream = self.by_id.get(&source).ok_or(Malformed)?;
        require(point.source == stream.name)?;
        let own = point.own.number();
        require(own <= stream.state.tail)?;
        if let Some(cut) = cut {
            let last = own.checked_sub(1).ok_or(Malformed)?;
            let is_there = self.floor(source) <= last;
            require(!is_there || cut < self.piece(source, last, own).size(0))?;
        }
        Ok(Fork { source, point, cut })
    }
}

fn require(is_valid: bool) -> Result<(), Malformed> {
    is_valid.then_some(()).ok_or(Malformed)
}

/// Decodes an offset, a position or a number of streams.
fn place(from: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let number = from.number()?;
    require(number <= Offset::MAX.number())?;
    Ok(number)
}

/// Decodes the kept ends. `head` is the end of the order.
fn ends(from: &mut Cursor<'_>, head: u64) -> Result<Ends, Malformed> {
    let mut ends = Ends {
        forgotten: place(from)?,
        ..Ends::default()
    };
    require(ends.forgotten <= head)?;
    let mut after = ends.forgotten;
    for _ in 0..from.number()? {
        let position = place(from)?;
        require((after..head).contains(&position))?;
        after = position + 1;
        let end = encoding::ended::decode(position, from.bytes()?)?;
        require(end.tail.at <= Offset::MAX)?;
        ends.taken += ended::cost(&end);
        ends.kept.insert(position, end);
    }
    Ok(ends)
}

fn producers(from: &mut Cursor<'_>) -> Result<HashMap<String, ProducerState>, Malformed> {
    let mut producers = HashMap::new();
    for _ in 0..from.number()? {
        let id = from.text()?.to_owned();
        let state = producer::decode(from.bytes()?)?;
        require(state.epoch.max(state.seq) <= PRODUCER_NUMBER)?;
        require(state.next.max(state.published.messages) <= Offset::MAX.number())?;
        require(producers.insert(id, state).is_none())?;
    }
    Ok(producers)
}

/// Decodes the records of a stream, and adds them to its state.
fn records<S: Stored>(
    from: &mut Cursor<'_>,
    id: u64,
    state: &mut State,
    order: &mut Vec<Placed>,
    take: TakeHandle<'_, S>,
) -> Result<VecDeque<Record<S>>, Malformed> {
    let mut records = VecDeque::new();
    let (mut position, mut time) = (0_u64, 0_u64);
    for _ in 0..from.number()? {
        position = position.wrapping_add(from.number()?);
        time = time.wrapping_add(from.number()?);
        let count = from.number()?;
        let length = usize::try_from(count).map_err(|_| Malformed)?;
        require(length > 0)?;
        let messages = take(from, length)?;
        let sizes = (0..length).map(|index| messages.size(index) as u64);
        let bytes = sizes.sum();
        let first = state.tail;
        state.tail = first.checked_add(count).ok_or(Malformed)?;
        require(state.tail <= Offset::MAX.number())?;
        state.bytes += bytes;
        order.push(Placed {
            position,
            count,
            id,
            first,
        });
        records.push_back(Record {
            first,
            position,
            time: Timestamp(time),
            messages,
            count,
            bytes,
        });
        position = position.checked_add(count).ok_or(Malformed)?;
    }
    records.shrink_to_fit();
    Ok(records)
}

/// Returns the order of all streams. Its records mustn't overlap, and end before `head`.
fn in_order(mut order: Vec<Placed>, head: u64) -> Result<BTreeMap<u64, (u64, u64)>, Malformed> {
    order.sort_unstable_by_key(|record| record.position);
    let mut after = 0;
    for record in &order {
        require(after <= record.position)?;
        after = record.position + record.count;
    }
    require(after <= head)?;
    let places = order.iter();
    Ok(places
        .map(|record| (record.position, (record.id, record.first)))
        .collect())
}
