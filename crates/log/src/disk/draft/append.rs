//! Judging of appends.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::append::{Append, Outcome, Receipt};
use crate::append_rules::{self, Verdict};
use crate::disk::queue::Appended;
use crate::disk::stream::Stream;
use crate::error::{Error, Kind};
use crate::offset::{Offset, Position};
use crate::producers::{ProducerState, idle_from, is_idle};

use super::{Answer, Change, Draft, Failed};

/// Maximum number of producers that one search for idle ones looks at.
const SEARCH: usize = 16_384;

impl Draft<'_> {
    pub(super) fn append(
        &mut self,
        stream: &Arc<Stream>,
        append: Append,
        reply: oneshot::Sender<Result<Appended, Error>>,
    ) {
        let change = self.change(stream);
        let answer = match self.usable(change) {
            Ok(true) => self.judged(change, append),
            Ok(false) => {
                self.answers.push(Answer::AppendAgain(reply, append));
                return;
            }
            Err(error) => Err(error),
        };
        self.answers.push(match answer {
            Ok((outcome, end)) => Answer::Append {
                reply,
                outcome,
                end,
            },
            Err(error) => Answer::Failed(Failed::Append(reply), error),
        });
    }

    fn judged(
        &mut self,
        at: usize,
        append: Append,
    ) -> Result<(Outcome, Option<(usize, u64)>), Error> {
        if append
            .stream
            .is_some_and(|meant| meant != self.changes[at].stream.id)
        {
            return Err(Kind::NotFound.into());
        }
        let known = match &append.producer {
            Some(producer) => self.known(at, &producer.id)?,
            None => None,
        };
        let change = &mut self.changes[at];
        let stream = Arc::clone(&change.stream);
        let receipt = |next: u64, closed, producer_seq| Receipt {
            next: Offset::new(next),
            incarnation: stream.lineage.at(Offset::new(next)).incarnation,
            position: Position::START,
            closed,
            producer_seq,
        };
        match append_rules::judge(&change.state, &stream.lineage, known, &append) {
            Verdict::Refuse(refusal) => return Ok((Outcome::Refused(refusal), None)),
            Verdict::Done => {
                let receipt = receipt(change.state.tail, true, None);
                return Ok((Outcome::Appended(receipt), None));
            }
            Verdict::Duplicate(known) => {
                let receipt = receipt(known.next, change.state.closed, Some(known.seq));
                return Ok((Outcome::Duplicate(receipt), None));
            }
            Verdict::Accept => {}
        }
        if !append.messages.is_empty() {
            self.check_disk()?;
        }
        let new_producer = append.producer.is_some() && known.is_none();
        if new_producer {
            self.make_room(at)?;
        }
        let bytes = append.bytes();
        let now = self.head.time;
        let change = &mut self.changes[at];
        if let Some(producer) = &append.producer {
            let next = change.state.tail + append.messages.len() as u64;
            let state = ProducerState::after(known, producer, &append, next, now);
            change.forgotten.remove(&producer.id);
            change.producers.insert(producer.id.clone(), state);
        }
        change.changed = true;
        change.used = true;
        let state = &mut change.state;
        state.tail += append.messages.len() as u64;
        state.bytes += bytes as u64;
        if !append.messages.is_empty() {
            state.appended = self.head.time;
        }
        if let Some(seq) = append.seq {
            state.seq = Some(seq.into());
        }
        if append.close {
            state.closed = true;
            state.closed_by.clone_from(&append.producer);
            state.reason = append.reason;
        }
        state.producers += u32::from(new_producer);
        let producer_seq = append.producer.as_ref().map(|producer| producer.seq);
        let (tail, closed) = (state.tail, state.closed);
        let some = !append.messages.is_empty();
        change.messages.extend(append.messages);
        self.bytes += bytes;
        let end = some.then_some((at, change.messages.len() as u64));
        Ok((Outcome::Appended(receipt(tail, closed, producer_seq)), end))
    }

    /// Returns the remembered state of a producer.
    pub(super) fn known(&self, change: usize, id: &str) -> Result<Option<ProducerState>, Error> {
        let Change {
            stream,
            state,
            producers,
            forgotten,
            ..
        } = &self.changes[change];
        if let Some(state) = producers.get(id) {
            return Ok(Some(*state));
        }
        if state.producers == 0 || forgotten.contains(id) {
            return Ok(None);
        }
        if let Some(state) = stream.producer(id) {
            return Ok(Some(state));
        }
        self.store.producer(stream.id, id)
    }

    /// Makes room for another producer of a stream. If the stream remembers as many as it may,
    /// producers that have been idle for [`PRODUCER_IDLE`] are forgotten. One call looks at a
    /// bounded number of producers, and the next call continues there.
    fn make_room(&mut self, at: usize) -> Result<(), Error> {
        let limit = self.engine.options.limits.producers;
        let now = self.head.time;
        let change = &mut self.changes[at];
        if change.state.producers < limit {
            return Ok(());
        }
        let full = || {
            Error::from(Kind::TooManyProducers {
                limit: limit.into(),
            })
        };
        let stream = Arc::clone(&change.stream);
        let mut search = stream.idle.lock();
        if now < search.not_before {
            return Err(full());
        }
        let found = self
            .store
            .producers(stream.id, search.after.as_deref(), SEARCH)?;
        let is_round = found.len() < SEARCH;
        search.after = found.last().map(|(id, _)| id.clone()).filter(|_| !is_round);
        let mut forgot = 0;
        for (id, state) in found {
            let used = change.producers.get(&id).map_or(state.used, |now| now.used);
            if change.forgotten.contains(&id) {
                continue;
            }
            if is_idle(used, now) {
                change.forgotten.insert(id);
                forgot += 1;
            } else {
                search.oldest = Some(search.oldest.map_or(used, |oldest| oldest.min(used)));
            }
        }
        if is_round && let Some(oldest) = search.oldest.take() {
            search.not_before = idle_from(oldest);
        }
        if forgot > 0 {
            change.state.producers = change.state.producers.saturating_sub(forgot);
            change.changed = true;
        }
        if change.state.producers < limit {
            return Ok(());
        }
        Err(full())
    }
}
