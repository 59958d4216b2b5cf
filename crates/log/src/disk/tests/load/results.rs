//! The results of operations, judged by the model.

use std::sync::Arc;

use bytes::Bytes;

use super::{Stop, World};
use crate::disk::tests::model::{Op, check};
use crate::{Append, Created, DiskLog, Error, Log, Outcome, Refusal};

enum Done {
    Created(Box<Created>),
    Judged(Outcome),
    Deleted,
}

async fn perform(log: Arc<DiskLog>, op: Op) -> Result<Done, Error> {
    match op {
        Op::Create { name, create, .. } => log
            .create(&name, *create)
            .await
            .map(|created| Done::Created(Box::new(created))),
        Op::Append {
            name,
            messages,
            by,
            close,
            ..
        } => {
            let mut append = Append::new(messages);
            if let Some((producer, seq)) = by {
                append = append.by(&format!("p{producer}"), 0, seq);
            }
            append.close = close;
            log.append(&name, append).await.map(Done::Judged)
        }
        Op::Delete { name, .. } => log.delete(&name).await.map(|()| Done::Deleted),
    }
}

impl World {
    /// Performs operations at the same time, and adds what is known of their results to the model.
    pub(super) fn perform(&mut self, ops: &[Op]) -> Result<(), Stop> {
        self.model.batch += 1;
        if !self.is_strict() {
            // A prefix of the operations can be left.
            let mut model = self.model.clone();
            model.unknown.extend(ops.iter().cloned());
            self.history.push(model);
        }
        let now = self.now();
        let log = self.log();
        let results = self.runtime.block_on(async {
            let started: Vec<_> = ops
                .iter()
                .map(|op| tokio::spawn(perform(Arc::clone(&log), op.clone())))
                .collect();
            let mut results = Vec::new();
            for (op, started) in ops.iter().zip(started) {
                results.push((op, started.await.unwrap()));
            }
            results
        });
        // Appends to one stream can have been taken in any order.
        let mut results = results;
        results.sort_by_key(|(_, done)| match done {
            Ok(Done::Judged(Outcome::Appended(receipt))) => receipt.next.number(),
            _ => 0,
        });
        let before = self.model.unknown.len();
        let mut is_written = false;
        for (op, done) in &results {
            self.note(format!("{} → {}", describe(op), outcome(done)));
            match done {
                Ok(done) => is_written |= self.accept(op, done, now)?,
                Err(error) if error.is_outcome_unknown() => self.model.unknown.push((*op).clone()),
                Err(error) => self.refused(op, error, now)?,
            }
        }
        if is_written {
            // A frame after those of unknown outcome says that they aren't there.
            self.model.unknown.drain(..before);
        }
        if self.disk.is_off() {
            Err(Stop::Off)
        } else {
            Ok(())
        }
    }

    /// Adds a result to the model. Returns `true` if something was written.
    fn accept(&mut self, op: &Op, done: &Done, now: u64) -> Result<bool, String> {
        match (op, done) {
            (Op::Create { name, .. }, Done::Created(created)) => {
                let there = self.model.named(name, now);
                check!(
                    created.is_new == there.is_none(),
                    "{name} is new: {}",
                    created.is_new
                );
                check!(
                    there.is_none_or(|it| it == created.info.id),
                    "{name} is another stream"
                );
                if created.is_new {
                    self.model.create(created.info.id, op, now)?;
                }
                Ok(created.is_new)
            }
            (
                Op::Append {
                    id, messages, by, ..
                },
                Done::Judged(outcome),
            ) => {
                let stream = &self.model.streams[id];
                let known = by.and_then(|(producer, seq)| {
                    let known = stream.producers.get(&producer)?;
                    (known.0 == seq).then_some(())
                });
                match outcome {
                    Outcome::Appended(receipt) => {
                        check!(known.is_none(), "a repetition is taken");
                        // Closing a closed stream changes nothing.
                        let is_none = messages.is_empty() && by.is_none();
                        check!(!stream.closed || is_none, "a closed stream takes an append");
                        let (next, expected) =
                            (receipt.next.number(), stream.tail() + messages.len() as u64);
                        check!(
                            next == expected,
                            "the append ends at {next}, and not at {expected}"
                        );
                        let was_closed = stream.closed;
                        self.model
                            .append(op, Some(receipt.position.number()), now)?;
                        Ok(!was_closed)
                    }
                    Outcome::Duplicate(_) => {
                        check!(known.is_some(), "a new append is a duplicate");
                        Ok(false)
                    }
                    Outcome::Refused(Refusal::Closed { .. }) => {
                        check!(stream.closed && known.is_none(), "an open stream is closed");
                        Ok(false)
                    }
                    Outcome::Refused(refusal) => Err(format!("refused: {refusal:?}")),
                }
            }
            (Op::Delete { id, .. }, Done::Deleted) => {
                // The order of all streams has its position.
                self.model.deleted(*id);
                Ok(true)
            }
            _ => Err("another response".into()),
        }
    }

    /// Checks that an operation was refused for a reason.
    fn refused(&mut self, op: &Op, error: &Error, now: u64) -> Result<(), String> {
        let is_right = match op {
            Op::Create { name, .. } if error.is_gone() => self.model.is_taken(name, now),
            // The source was trimmed since it was last read.
            Op::Create { create, .. } if error.is_trimmed() => create.fork.is_some(),
            _ => false,
        };
        let fails = self.disk.is_off() || self.can_fail && !error.is_damaged();
        check!(is_right || fails, "{op:?}: {error:?}");
        Ok(())
    }
}

fn describe(op: &Op) -> String {
    match op {
        Op::Create { name, create, fork } => format!(
            "create {name}: {} messages, closed {}, most {:?}, age {:?}, ends {:?}, of {:?}",
            create.messages.len(),
            create.closed,
            create.settings.max_bytes,
            create.settings.max_age,
            create.settings.expiry,
            fork.as_ref()
                .map(|(id, of)| (id, of.first, of.messages.len())),
        ),
        Op::Append {
            id,
            name,
            messages,
            by,
            close,
        } => {
            let bytes: usize = messages.iter().map(Bytes::len).sum();
            let count = messages.len();
            format!("append to {name} ({id}): {count} of {bytes} bytes, by {by:?}, closes {close}")
        }
        Op::Delete { id, name } => format!("delete {name} ({id})"),
    }
}

fn outcome(done: &Result<Done, Error>) -> String {
    match done {
        Ok(Done::Created(created)) => format!("{} new {}", created.info.id, created.is_new),
        Ok(Done::Judged(Outcome::Appended(receipt))) => {
            format!("{} at {}", receipt.next, receipt.position)
        }
        Ok(Done::Judged(Outcome::Duplicate(_))) => "duplicate".into(),
        Ok(Done::Judged(Outcome::Refused(_))) => "refused".into(),
        Ok(Done::Deleted) => "done".into(),
        Err(error) if error.is_outcome_unknown() => "unknown".into(),
        Err(error) => format!("{error}"),
    }
}
