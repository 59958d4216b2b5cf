//! All streams and the operations on them.

mod creating;
mod ended;
mod reading;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use tokio::sync::watch;

use crate::append::{Append, Outcome, Receipt};
use crate::append_rules::{self, State, Verdict};
use crate::clock::{Steady, Timestamp};
use crate::error::{Error, Kind};
use crate::follow::Progress;
use crate::grouping;
use crate::incarnation::Lineage;
use crate::memory::MemoryOptions;
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::producers::{Known, ProducerState, idle_from, is_idle};
use crate::read::{EndCause, Usage};
use crate::settings::{Expiry, ForkPoint, Settings};
use ended::Ends;

const PER_MESSAGE: u64 = 64;
const PER_STREAM: u64 = 512;
const PER_PRODUCER: u64 = 320;
/// Maximum number of records that one read of the order looks at.
const SCAN: usize = 10_000;

/// Messages that were appended in one step, or a part of them.
#[derive(Debug)]
struct Record {
    first: u64,
    position: u64,
    time: Timestamp,
    messages: Vec<Bytes>,
    bytes: u64,
}

#[derive(Debug)]
struct Fork {
    source: u64,
    point: ForkPoint,
    /// Number of bytes of the last inherited message, if the fork has only a part of it.
    cut: Option<usize>,
}

#[derive(Debug)]
struct Stream {
    name: StreamName,
    lineage: Lineage,
    settings: Settings,
    created: Timestamp,
    used: Timestamp,
    state: State,
    producers: HashMap<String, ProducerState>,
    /// No producer has been idle for long enough before this time.
    none_idle_before: u64,
    records: VecDeque<Record>,
    fork: Option<Fork>,
    depth: usize,
    progress: watch::Sender<Progress>,
}

impl Stream {
    fn expires(&self) -> Option<Timestamp> {
        self.settings.expiry.map(|expiry| expiry.after(self.used))
    }

    /// Returns the time at which the stream next needs attention.
    fn due(&self) -> u64 {
        let ends = self.expires().filter(|_| !self.state.hidden);
        let ages = match (self.settings.max_age, self.records.front()) {
            (Some(age), Some(oldest)) => Some(oldest.time.after(age)),
            _ => None,
        };
        ends.into_iter()
            .chain(ages)
            .min()
            .map_or(0, |due| due.0.max(1))
    }

    fn publish(&self, gone: bool) {
        let tail = Offset::new(self.state.tail);
        self.progress.send_replace(Progress {
            tail,
            closed: self.state.closed,
            gone,
        });
    }
}

#[derive(Debug)]
pub(crate) struct Streams {
    options: MemoryOptions,
    pub(crate) closed: bool,
    names: BTreeMap<StreamName, u64>,
    by_id: HashMap<u64, Stream>,
    /// First position of a record, with its stream and first offset.
    order: BTreeMap<u64, (u64, u64)>,
    /// For each trimmed stream: the position after its newest removed message.
    trimmed: BTreeMap<u64, u64>,
    ends: Ends,
    timetable: BTreeSet<(u64, u64)>,
    /// `true` while a thread sweeps.
    pub(crate) is_reclaimed: bool,
    next_id: u64,
    head: watch::Sender<Position>,
    bytes: u64,
    /// Bytes in use, counted as for [`MemoryOptions::max_bytes`].
    taken: u64,
    latest: Timestamp,
    time: Steady,
}

impl Streams {
    pub(crate) fn new(options: MemoryOptions, head: watch::Sender<Position>) -> Self {
        Self {
            time: Steady::new(options.clock.clone(), 0),
            options,
            closed: false,
            names: BTreeMap::new(),
            by_id: HashMap::new(),
            order: BTreeMap::new(),
            trimmed: BTreeMap::new(),
            ends: Ends::default(),
            timetable: BTreeSet::new(),
            is_reclaimed: false,
            next_id: 1,
            head,
            bytes: 0,
            taken: 0,
            latest: Timestamp(0),
        }
    }

    /// Returns the time. It goes back only if the clock was wrong.
    fn now(&mut self) -> Timestamp {
        self.latest = Timestamp(self.time.now(self.latest.0));
        if self.time.went_back() {
            self.take_back();
        }
        self.latest
    }

    /// Sets times that are in the future to now.
    fn take_back(&mut self) {
        let now = self.latest;
        let ids: Vec<u64> = self.by_id.keys().copied().collect();
        for id in ids {
            let stream = self.stream(id);
            stream.used = stream.used.min(now);
            for record in &mut stream.records {
                record.time = record.time.min(now);
            }
            self.reschedule(id);
        }
    }

    pub(crate) fn warning(&self) -> Option<String> {
        self.time.warning()
    }

    fn find(&mut self, name: &StreamName) -> Result<u64, Error> {
        let now = self.now();
        let id = *self.names.get(name).ok_or(Kind::NotFound)?;
        let stream = &self.by_id[&id];
        if stream.state.hidden {
            return Err(Kind::Gone.into());
        }
        if stream.expires().is_some_and(|end| end <= now) {
            let kept = stream.state.forks > 0;
            self.end(id, EndCause::Expired);
            return Err(if kept { Kind::Gone } else { Kind::NotFound }.into());
        }
        Ok(id)
    }

    fn stream(&mut self, id: u64) -> &mut Stream {
        self.by_id
            .get_mut(&id)
            .expect("ids come from the maps, and both are changed together")
    }

    fn reschedule(&mut self, id: u64) {
        let stream = self.by_id.get_mut(&id).expect("ids come from the maps");
        let (old, new) = (stream.state.due, stream.due());
        stream.state.due = new;
        self.timetable.remove(&(old, id));
        if new != 0 {
            self.timetable.insert((new, id));
        }
    }

    fn take(&mut self, bytes: u64) -> Result<(), Error> {
        self.has_room(bytes)?;
        self.taken += bytes;
        Ok(())
    }

    fn has_room(&self, bytes: u64) -> Result<(), Error> {
        if self.taken + bytes > self.options.max_bytes {
            return Err(Kind::Full {
                cause: None,
                unknown: false,
            }
            .into());
        }
        Ok(())
    }

    /// Checks that there is room for a message of 1 KiB.
    pub(crate) fn writable(&self) -> Result<(), Error> {
        const SMALL_MESSAGE: u64 = 1 << 10;
        match self.closed {
            true => Err(Kind::Closed.into()),
            false => self.has_room(SMALL_MESSAGE),
        }
    }

    pub(crate) fn append(&mut self, name: &StreamName, append: Append) -> Result<Outcome, Error> {
        let id = self.find(name)?;
        let now = self.now();
        let head = *self.head.borrow();
        let stream = &self.by_id[&id];
        let known = append
            .producer
            .as_ref()
            .and_then(|p| stream.producers.get(&p.id))
            .copied();
        let lineage = stream.lineage.clone();
        let receipt = |next: u64, position, closed, producer_seq| Receipt {
            next: Offset::new(next),
            incarnation: lineage.at(Offset::new(next)).incarnation,
            position,
            closed,
            producer_seq,
        };
        match append_rules::judge(&stream.state, &stream.lineage, known, &append) {
            Verdict::Refuse(refusal) => return Ok(Outcome::Refused(refusal)),
            Verdict::Done => {
                let tail = stream.state.tail;
                return Ok(Outcome::Appended(receipt(tail, head, true, None)));
            }
            Verdict::Duplicate(known) => {
                let closed = stream.state.closed;
                let seq = Some(known.seq);
                return Ok(Outcome::Duplicate(receipt(known.next, head, closed, seq)));
            }
            Verdict::Accept => {}
        }
        let mut more = append.bytes() as u64 + append.messages.len() as u64 * PER_MESSAGE;
        if let Some(producer) = append.producer.as_ref().filter(|_| known.is_none()) {
            self.make_room(id, now)?;
            more += producer_weight(&producer.id);
        }
        self.take(more)?;
        self.push(id, &append.messages);
        let stream = self.stream(id);
        let producer_seq = append.producer.as_ref().map(|producer| producer.seq);
        if let Some(producer) = &append.producer {
            let tail = stream.state.tail;
            let state = ProducerState::after(known, producer, &append, tail, now.0);
            stream.producers.insert(producer.id.clone(), state);
        }
        stream.used = now;
        if let Some(seq) = append.seq {
            stream.state.seq = Some(seq.into());
        }
        if append.close {
            stream.state.closed = true;
            stream.state.closed_by.clone_from(&append.producer);
            stream.state.reason.clone_from(&append.reason);
        }
        stream.publish(false);
        let (tail, closed) = (stream.state.tail, stream.state.closed);
        self.trim(id, now);
        self.reschedule(id);
        let head = *self.head.borrow();
        Ok(Outcome::Appended(receipt(tail, head, closed, producer_seq)))
    }

    /// Makes room for another producer. If the stream remembers as many as it may, producers that
    /// have been idle for [`PRODUCER_IDLE`](crate::limits::PRODUCER_IDLE) are forgotten.
    fn make_room(&mut self, id: u64, now: Timestamp) -> Result<(), Error> {
        let limit = self.options.limits.producers;
        let stream = self.stream(id);
        let is_full = |stream: &Stream| stream.producers.len() >= limit as usize;
        if !is_full(stream) {
            return Ok(());
        }
        let mut freed = 0;
        if stream.none_idle_before <= now.0 {
            stream.producers.retain(|id, state| {
                let is_kept = !is_idle(state.used, now.0);
                freed += if is_kept { 0 } else { producer_weight(id) };
                is_kept
            });
            let oldest = stream.producers.values().map(|state| state.used).min();
            stream.none_idle_before = oldest.map_or(0, idle_from);
        }
        let is_full = is_full(stream);
        self.taken -= freed;
        if is_full {
            let limit = limit.into();
            return Err(Kind::TooManyProducers { limit }.into());
        }
        Ok(())
    }

    pub(crate) fn producer(
        &mut self,
        name: &StreamName,
        producer: &str,
    ) -> Result<Option<Known>, Error> {
        let id = self.find(name)?;
        let known = self.by_id[&id].producers.get(producer);
        Ok(known.map(ProducerState::known))
    }

    /// Adds messages. The caller has checked that there is room.
    fn push(&mut self, id: u64, messages: &[Bytes]) {
        if messages.is_empty() {
            return;
        }
        let now = self.now();
        let mut position = self.head.borrow().number();
        let stream = self.by_id.get_mut(&id).expect("ids come from the maps");
        for range in grouping::split(messages) {
            let messages = messages[range].to_vec();
            let bytes = messages.iter().map(|message| message.len() as u64).sum();
            let (first, count) = (stream.state.tail, messages.len() as u64);
            stream.records.push_back(Record {
                first,
                position,
                time: now,
                messages,
                bytes,
            });
            stream.state.tail += count;
            stream.state.bytes += bytes;
            self.bytes += bytes;
            self.order.insert(position, (id, first));
            position += count;
        }
        stream.state.appended = now.0;
        self.head.send_replace(Position::new(position));
    }

    /// Removes messages that exceed the stream's caps.
    fn trim(&mut self, id: u64, now: Timestamp) {
        let stream = self.by_id.get_mut(&id).expect("ids come from the maps");
        while let Some(oldest) = stream.records.front() {
            let too_old = stream
                .settings
                .max_age
                .is_some_and(|age| oldest.time.after(age) <= now);
            let too_much = stream
                .settings
                .max_bytes
                .is_some_and(|most| stream.state.bytes > most)
                && stream.records.len() > 1;
            if !too_old && !too_much {
                break;
            }
            let count = oldest.messages.len() as u64;
            stream.state.floor = oldest.first + count;
            stream.state.bytes -= oldest.bytes;
            self.bytes -= oldest.bytes;
            self.taken -= oldest.bytes + count * PER_MESSAGE;
            self.order.remove(&oldest.position);
            self.trimmed.remove(&stream.state.trimmed);
            stream.state.trimmed = oldest.position + count;
            self.trimmed.insert(stream.state.trimmed, id);
            stream.records.pop_front();
        }
    }

    /// Returns `true` if something can become due with time alone.
    pub(crate) fn is_timed(&self) -> bool {
        !self.timetable.is_empty()
    }

    /// Returns `true` if a sweeping thread has to be started.
    pub(crate) fn needs_reclaiming(&self) -> bool {
        !self.is_reclaimed && self.is_timed() && !self.closed
    }

    pub(crate) fn sweep(&mut self, steps: usize) -> bool {
        let now = self.now();
        let due = self.timetable.range(..=(now.0, u64::MAX)).take(steps);
        let mut due: Vec<u64> = due.map(|&(_, id)| id).collect();
        // Of the streams that are due together, the oldest is first.
        due.sort_unstable();
        for id in due {
            // A hidden stream can have been removed together with its last fork.
            let Some(stream) = self.by_id.get(&id) else {
                continue;
            };
            let ends = stream.expires().filter(|_| !stream.state.hidden);
            if ends.is_some_and(|end| end <= now) {
                self.end(id, EndCause::Expired);
            } else {
                self.trim(id, now);
                self.reschedule(id);
            }
        }
        self.timetable.first().is_some_and(|&(due, _)| due <= now.0)
    }

    /// Ends a stream that is in use: hides it if it has forks, and removes it otherwise.
    fn end(&mut self, id: u64, cause: EndCause) {
        self.note_end(id, cause);
        let stream = self.stream(id);
        stream.publish(true);
        stream.state.hidden = true;
        self.reschedule(id);
        let mut next = Some(id);
        while let Some(id) = next {
            next = None;
            let stream = &self.by_id[&id];
            if stream.state.forks > 0 || !stream.state.hidden {
                break;
            }
            let due = stream.state.due;
            self.timetable.remove(&(due, id));
            let stream = self.by_id.remove(&id).expect("it was there a line ago");
            self.names.remove(&stream.name);
            self.taken -= PER_STREAM + weight(&stream.name, &stream.settings);
            self.taken -= stream
                .producers
                .keys()
                .map(|id| producer_weight(id))
                .sum::<u64>();
            self.trimmed.remove(&stream.state.trimmed);
            for record in &stream.records {
                self.order.remove(&record.position);
                self.bytes -= record.bytes;
                self.taken -= record.bytes + record.messages.len() as u64 * PER_MESSAGE;
            }
            if let Some(fork) = stream.fork {
                self.stream(fork.source).state.forks -= 1;
                next = Some(fork.source);
            }
        }
    }

    pub(crate) fn touch(&mut self, name: &StreamName) -> Result<(), Error> {
        let id = self.find(name)?;
        let now = self.now();
        let stream = self.stream(id);
        if matches!(stream.settings.expiry, Some(Expiry::Idle(_))) {
            stream.used = now;
            self.reschedule(id);
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, name: &StreamName) -> Result<(), Error> {
        let id = self.find(name)?;
        self.end(id, EndCause::Deleted);
        Ok(())
    }

    pub(crate) fn usage(&self) -> Usage {
        let streams = self.by_id.len() as u64;
        Usage {
            streams,
            bytes: self.bytes,
            head: *self.head.borrow(),
        }
    }

    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.by_id.clear();
        self.names.clear();
        self.order.clear();
        self.trimmed.clear();
        self.ends = Ends::default();
        self.timetable.clear();
        // The dropped sender tells followers of the end.
        let head = *self.head.borrow();
        self.head = watch::Sender::new(head);
    }
}

fn weight(name: &StreamName, settings: &Settings) -> u64 {
    let schema = settings.schema.as_ref().map_or(0, Bytes::len);
    (name.as_str().len() + settings.content_type.len() + schema + settings.note.len()) as u64
}

fn producer_weight(id: &str) -> u64 {
    PER_PRODUCER + id.len() as u64
}
