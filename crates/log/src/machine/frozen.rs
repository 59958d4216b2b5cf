//! The encoding of the state.
//!
//! ```text
//! n = a number as LEB128, bytes = length n, then the bytes, option = 0, or 1 and the value
//! machine   now n │ next id n │ head n │ ends │ streams
//! ends      position after the newest dropped one n, or 0 │ count n │ end …
//! end       position n │ bytes of the end
//! streams   count n │ stream …, by their ids
//! stream    id, minus that of the stream before n │ bytes of its birth │ used n │ bytes of its state │ producers │ records
//! producers count n │ producer …, by their ids
//! producer  id bytes │ bytes of its state
//! records   count n │ record …
//! record    position, minus that after the record before n │ time, minus that of the record before n │ messages n │ handle
//! ```
//!
//! Ends, births, states and the states of producers are encoded as on a disk: see `encoding`. Differences are taken
//! modulo 2^64. The engine encodes the handle of a record's messages. What follows from the rest isn't there or is
//! 0: tails, sizes, lineages, numbers of forks, the order of all streams, the timetable.

use std::sync::Arc;

use super::ended::Ends;
use super::{Machine, Record, Stored, Stream};
use crate::clock::Timestamp;
use crate::encoding::birth::{self, Birth};
use crate::encoding::{self, producer, put_bytes, put_number, state};

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
            put_number(out, end.position.number());
            put_bytes(out, &encoding::ended::encode(end));
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

fn put_stream<S>(out: &mut Vec<u8>, stream: &Stream<S>, put: PutHandle<'_, S>) {
    let fork = stream.fork.as_ref().map(|fork| birth::Fork {
        id: fork.source,
        point: fork.point.clone(),
        cut: fork.cut,
    });
    let marks = match fork {
        Some(_) => Vec::new(),
        None => stream.lineage.inherited().collect(),
    };
    let birth = Birth {
        marks,
        name: stream.name.clone(),
        created: stream.created.0,
        settings: stream.settings.clone(),
        fork,
    };
    put_bytes(out, &birth::encode(&birth));
    put_number(out, stream.used.0);
    put_bytes(out, &state::encode(&stream.state.stored()));
    put_number(out, stream.producers.len() as u64);
    let mut producers: Vec<_> = stream.producers.iter().collect();
    producers.sort_unstable_by_key(|(id, _)| *id);
    for (id, state) in producers {
        put_bytes(out, id.as_bytes());
        put_bytes(out, &producer::encode(state));
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
