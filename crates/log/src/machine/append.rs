//! Appends, and the caps that remove old messages.

use bytes::Bytes;

use super::{Machine, PER_MESSAGE, Record, Store, Stored, Stream, producer_weight, stream_of};
use crate::append::{Append, Outcome, Receipt};
use crate::append_rules::{self, Verdict};
use crate::clock::Timestamp;
use crate::error::{Error, Kind};
use crate::grouping;
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::producers::{ProducerState, idle_from, is_idle};

impl<S: Stored> Machine<S> {
    /// Appends to a stream, as [`Log::append`](crate::Log::append) does.
    ///
    /// # Errors
    ///
    /// The errors of [`Log::append`](crate::Log::append), except for storage.
    pub fn append(
        &mut self,
        name: &StreamName,
        append: Append,
        store: Store<'_, S>,
    ) -> Result<Outcome, Error> {
        let id = self.find(name)?;
        if append.stream.is_some_and(|meant| meant != id) {
            return Err(Kind::NotFound.into());
        }
        let now = self.now;
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
            self.make_room(id)?;
            more += producer_weight(&producer.id);
        }
        self.take(more)?;
        self.push(id, &append.messages, 0, now, store);
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
        let (tail, closed) = (stream.state.tail, stream.state.closed);
        self.publish(id, false);
        self.trim(id);
        self.reschedule(id);
        let head = *self.head.borrow();
        Ok(Outcome::Appended(receipt(tail, head, closed, producer_seq)))
    }

    /// Makes room for another producer. If the stream remembers as many as it may, producers that
    /// have been idle for [`limits::PRODUCER_IDLE`] are forgotten.
    fn make_room(&mut self, id: u64) -> Result<(), Error> {
        let now = self.now;
        let limit = self.rules.limits.producers;
        let stream = self.stream(id);
        let is_full = |stream: &Stream<S>| stream.producers.len() >= limit as usize;
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

    /// Adds messages of one time. The caller has checked that there is room. `start` is the number of the
    /// operation's messages before them.
    pub(super) fn push(
        &mut self,
        id: u64,
        messages: &[Bytes],
        start: usize,
        time: Timestamp,
        store: Store<'_, S>,
    ) {
        if messages.is_empty() {
            return;
        }
        let mut position = self.head.borrow().number();
        let stream = stream_of(&mut self.by_id, id);
        if stream.records.capacity() == 0 {
            // Many streams have one record. Those after it are reserved several at a time.
            stream.records.reserve_exact(1);
        }
        for range in grouping::split(messages) {
            let own = &messages[range.clone()];
            let bytes = own.iter().map(|message| message.len() as u64).sum();
            let (first, count) = (stream.state.tail, own.len() as u64);
            stream.records.push_back(Record {
                first,
                position,
                time,
                messages: store(start + range.start..start + range.end),
                count,
                bytes,
            });
            stream.state.tail += count;
            stream.state.bytes += bytes;
            self.bytes += bytes;
            self.order.insert(position, (id, first));
            position += count;
        }
        stream.state.appended = time.0;
        self.head.send_replace(Position::new(position));
    }

    /// Removes messages that exceed the stream's caps.
    pub(super) fn trim(&mut self, id: u64) {
        let now = self.now;
        let stream = stream_of(&mut self.by_id, id);
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
            let count = oldest.count;
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
}
