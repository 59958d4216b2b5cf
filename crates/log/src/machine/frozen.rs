//! The encoding of the state.
//!
//! ```text
//! n = a number as LEB128, bytes = length n, then the bytes, option = 0, or 1 and the value
//! machine   now n │ next id n │ head n │ ends │ streams
//! ends      position after the newest dropped one n, or 0 │ count n │ end …
//! end       position n │ stream's id n │ name bytes │ cause (0 deleted, 1 expired) │ time n │ tail n │ incarnation of the tail n
//! streams   count n │ stream …, by their ids
//! stream    id, minus that of the stream before n │ name bytes │ created n │ used n │ appended n │ settings │ option of fork
//!           │ floor n │ trimmed n │ closed (0 or 1) │ option of who closed it: producer bytes, epoch n, sequence n
//!           │ option of reason bytes │ hidden (0 or 1) │ option of seq bytes │ producers │ records
//! settings  content type bytes │ expiry: 0, or 1 and idle time n, or 2 and time n │ option of maximum age n
//!           │ option of maximum bytes n │ option of schema bytes │ note bytes
//! fork      source's id n │ at n │ skip (0 messages, 1 bytes) n │ own n │ option of cut n
//! producers count n │ producer …, by their ids
//! producer  id bytes │ epoch n │ sequence n │ next n │ used n │ messages n │ digest, 16 bytes
//!           │ number of hashes n │ hashes, 4 bytes each, the oldest first
//! records   count n │ record …
//! record    position, minus that after the record before n │ time, minus that of the record before n │ messages n │ handle
//! ```
//!
//! Differences are taken modulo 2^64. The engine encodes the handle of a record's messages. What follows from the
//! rest isn't there: tails, sizes, lineages, the order of all streams, the timetable.

use std::sync::Arc;

use super::ended::Ends;
use super::{Fork, Machine, Record, Stored, Stream};
use crate::clock::{Timestamp, millis};
use crate::encoding::{put_bytes, put_number};
use crate::producers::ProducerState;
use crate::read::{EndCause, Ended};
use crate::settings::{Expiry, Settings, Skip};

/// A copy of the state at one time. It shares the streams with the [`Machine`] until they change.
#[derive(Debug)]
pub struct Frozen<S> {
    now: Timestamp,
    next_id: u64,
    head: u64,
    ends: Ends,
    streams: Vec<(u64, Arc<Stream<S>>)>,
}

/// Appends the encoding of the handle of a record that has this number of messages.
pub type PutHandle<'a, S> = &'a mut dyn FnMut(&mut Vec<u8>, &S, usize);

impl<S: Stored> Machine<S> {
    /// Copies the state. That takes a pointer for each stream, and the kept ends. A shared stream is
    /// copied when it changes.
    #[must_use]
    pub fn freeze(&self) -> Frozen<S> {
        let streams = self.by_id.iter();
        Frozen {
            now: self.now,
            next_id: self.next_id,
            head: self.head.borrow().number(),
            ends: self.ends.clone(),
            streams: streams
                .map(|(&id, followed)| (id, Arc::clone(&followed.stream)))
                .collect(),
        }
    }
}

impl<S: Stored> Frozen<S> {
    /// Returns the handles of all records, in no particular order.
    pub fn handles(&self) -> impl Iterator<Item = &S> {
        let streams = self.streams.iter();
        streams.flat_map(|(_, stream)| stream.records.iter().map(|record| &record.messages))
    }

    /// Appends the encoding of the state. It is the same for equal states. Handles are encoded in the order
    /// of their streams' numbers, and those of a stream in the order of its messages.
    pub fn encode(&mut self, out: &mut Vec<u8>, put: PutHandle<'_, S>) {
        self.streams.sort_unstable_by_key(|(id, _)| *id);
        for number in [self.now.0, self.next_id, self.head] {
            put_number(out, number);
        }
        put_number(out, self.ends.forgotten);
        put_number(out, self.ends.kept.len() as u64);
        for end in self.ends.kept.values() {
            put_end(out, end);
        }
        put_number(out, self.streams.len() as u64);
        let mut before = 0;
        for (id, stream) in &self.streams {
            put_number(out, id - before);
            before = *id;
            put_stream(out, stream, put);
        }
    }
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_end(out: &mut Vec<u8>, end: &Ended) {
    put_number(out, end.position.number());
    put_number(out, end.id);
    put_bytes(out, end.stream.as_str().as_bytes());
    out.push(match end.cause {
        EndCause::Deleted => 0,
        EndCause::Expired => 1,
    });
    let tail = end.tail;
    for number in [end.time.0, tail.at.number(), tail.incarnation.number()] {
        put_number(out, number);
    }
}

fn put_stream<S>(out: &mut Vec<u8>, stream: &Stream<S>, put: PutHandle<'_, S>) {
    let state = &stream.state;
    put_bytes(out, stream.name.as_str().as_bytes());
    for number in [stream.created.0, stream.used.0, state.appended] {
        put_number(out, number);
    }
    put_settings(out, &stream.settings);
    put_option(out, stream.fork.as_ref(), put_fork);
    put_number(out, state.floor);
    put_number(out, state.trimmed);
    out.push(u8::from(state.closed));
    put_option(out, state.closed_by.as_ref(), |out, by| {
        put_bytes(out, by.id.as_bytes());
        put_number(out, by.epoch);
        put_number(out, by.seq);
    });
    put_option(out, state.reason.as_deref(), put_bytes);
    out.push(u8::from(state.hidden));
    put_option(out, state.seq.as_deref(), |out, seq| {
        put_bytes(out, seq.as_bytes());
    });
    put_number(out, stream.producers.len() as u64);
    let mut producers: Vec<_> = stream.producers.iter().collect();
    producers.sort_unstable_by_key(|(id, _)| *id);
    for (id, producer) in producers {
        put_bytes(out, id.as_bytes());
        put_producer(out, producer);
    }
    put_number(out, stream.records.len() as u64);
    let (mut position, mut time) = (0, 0);
    for record in stream.records.iter() {
        put_number(out, record.position.wrapping_sub(position));
        put_number(out, record.time.0.wrapping_sub(time));
        put_record(out, record, put);
        position = record.position + record.count;
        time = record.time.0;
    }
}

fn put_record<S>(out: &mut Vec<u8>, record: &Record<S>, put: PutHandle<'_, S>) {
    put_number(out, record.count);
    let count = usize::try_from(record.count).expect("the messages of a record are counted");
    put(out, &record.messages, count);
}

fn put_settings(out: &mut Vec<u8>, settings: &Settings) {
    put_bytes(out, settings.content_type.as_bytes());
    match settings.expiry {
        None => out.push(0),
        Some(Expiry::Idle(span)) => {
            out.push(1);
            put_number(out, millis(span));
        }
        Some(Expiry::At(time)) => {
            out.push(2);
            put_number(out, time.0);
        }
    }
    put_option(out, settings.max_age, |out, age| {
        put_number(out, millis(age));
    });
    put_option(out, settings.max_bytes, put_number);
    put_option(out, settings.schema.as_deref(), put_bytes);
    put_bytes(out, &settings.note);
}

fn put_fork(out: &mut Vec<u8>, fork: &Fork) {
    put_number(out, fork.source);
    put_number(out, fork.point.at.number());
    let (kind, skip) = match fork.point.skip {
        Skip::Messages(count) => (0, count),
        Skip::Bytes(count) => (1, count),
    };
    out.push(kind);
    put_number(out, skip);
    put_number(out, fork.point.own.number());
    put_option(out, fork.cut, |out, cut| put_number(out, cut as u64));
}

fn put_producer(out: &mut Vec<u8>, state: &ProducerState) {
    let published = &state.published;
    for number in [state.epoch, state.seq, state.next, state.used] {
        put_number(out, number);
    }
    put_number(out, published.messages);
    out.extend_from_slice(&published.digest.to_bytes());
    put_number(out, state.window.iter().len() as u64);
    for hash in state.window.iter() {
        out.extend_from_slice(&hash.to_le_bytes());
    }
}
