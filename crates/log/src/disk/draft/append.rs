//! Appends, judged.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::append::{Append, Outcome, Receipt};
use crate::disk::queue::Appended;
use crate::disk::stream::Stream;
use crate::error::{Error, Kind};
use crate::offset::{Offset, Position};
use crate::rules::{self, ProducerState, Verdict};

use super::{Answer, Change, Draft, Failed};

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
        match rules::judge(&change.state, &stream.lineage, known, &append) {
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
        if self.full && !append.messages.is_empty() {
            return Err(Kind::Full {
                cause: None,
                unknown: false,
            }
            .into());
        }
        let new_producer = append.producer.is_some() && known.is_none();
        if new_producer && change.state.producers >= self.engine.options.limits.producers {
            self.forget_producers(at)?;
        }
        let bytes = append.bytes();
        let change = &mut self.changes[at];
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
        if let Some(producer) = append.producer {
            let (epoch, seq) = (producer.epoch, producer.seq);
            let used = self.head.time;
            change.producers.insert(
                producer.id,
                ProducerState {
                    epoch,
                    seq,
                    next: tail,
                    used,
                },
            );
        }
        let some = !append.messages.is_empty();
        change.messages.extend(append.messages);
        self.bytes += bytes;
        let end = some.then_some((at, change.messages.len() as u64));
        Ok((Outcome::Appended(receipt(tail, closed, producer_seq)), end))
    }

    /// What is remembered of a producer.
    fn known(&self, change: usize, id: &str) -> Result<Option<ProducerState>, Error> {
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
        if state.producers == 0 || forgotten.iter().any(|forgotten| forgotten == id) {
            return Ok(None);
        }
        if let Some(state) = stream.producer(id) {
            return Ok(Some(state));
        }
        self.store.producer(stream.id, id)
    }

    /// Forgets the quarter of a stream's producers that was idle longest.
    fn forget_producers(&mut self, at: usize) -> Result<(), Error> {
        let change = &mut self.changes[at];
        let most = change.state.producers as usize;
        let mut all: HashMap<String, ProducerState> = self
            .store
            .producers(change.stream.id, most + 1)?
            .into_iter()
            .collect();
        for id in &change.forgotten {
            all.remove(id);
        }
        all.extend(
            change
                .producers
                .iter()
                .map(|(id, state)| (id.clone(), *state)),
        );
        let mut all: Vec<_> = all
            .into_iter()
            .map(|(id, state)| (state.used, id))
            .collect();
        all.sort_unstable();
        let quarter = all.len().div_ceil(4);
        for (_, id) in all.drain(..quarter) {
            change.producers.remove(&id);
            change.forgotten.push(id);
        }
        change.state.producers = u32::try_from(all.len()).unwrap_or(u32::MAX);
        Ok(())
    }
}
