//! The state that every hub derives from the log.
//!
//! [`Replica::apply`] is deterministic. It may depend on nothing but the records before it: not on
//! this process, its clock, its options or the order of a hash map.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use headwater_log::machine::{Machine, Rules};
use headwater_log::{Created, Error, Identity, Limits, Outcome, Position, Restored, Timestamp};
use tokio::sync::watch;

use crate::format::batch::{self, Head, Op, Placed};
use crate::format::bytes::Malformed;
use crate::format::part::{HEAD, Part};
use crate::limits::{CLOCK_SKEW, HASHES, SESSION_IDLE, SWEEP};
use crate::located::{Batch, Located};

mod frozen;

pub(crate) use frozen::places;

/// The response of an operation.
#[derive(Debug)]
pub(crate) enum Reply {
    Created(Box<Created>),
    Outcome(Outcome),
    Restored(Restored),
    Done,
    /// `true` if more streams are due.
    Swept(bool),
}

/// The responses of a batch.
pub(crate) type Replies = Vec<Result<Reply, Error>>;

/// The effect of a record.
#[derive(Debug)]
pub(crate) enum Applied {
    /// It completed this batch of this session.
    Batch {
        session: u64,
        number: u64,
        replies: Replies,
    },
    /// It completed a batch that was ignored, as its session is unknown.
    Unknown { session: u64, number: u64 },
    /// It completed a batch that was ignored, as its hub has another record at this sequence number.
    Disputed {
        session: u64,
        number: u64,
        after: u64,
    },
    /// It is a part of a batch that isn't complete, or a batch that was applied before.
    Nothing,
}

/// A writer: one run of one hub, as long as nothing of it is in doubt.
#[derive(Clone, Copy, Debug)]
struct Session {
    /// The number of the last batch that was applied.
    last: u64,
    used: Timestamp,
}

/// The parts of a batch that is not complete.
#[derive(Clone, Debug)]
struct Partial {
    number: u64,
    sequences: Vec<u64>,
    data: Vec<Bytes>,
}

/// The state after a prefix of the log.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) machine: Machine<Located>,
    pub(crate) limits: Limits,
    sessions: HashMap<u64, Session>,
    partial: HashMap<u64, Partial>,
    /// The sequence number of the last record.
    pub(crate) applied: u64,
    /// Bytes of all records up to the last one.
    pub(crate) written: u64,
    /// The hashes of the newest records.
    hashes: VecDeque<u64>,
}

fn rules(limits: &Limits, identity: Identity) -> Rules {
    Rules {
        max_bytes: u64::MAX,
        limits: limits.clone(),
        identity,
    }
}

impl Replica {
    pub(crate) fn new(identity: Identity, head: watch::Sender<Position>) -> Self {
        let limits = Limits::default();
        Self {
            machine: Machine::new(rules(&limits, identity), head),
            limits,
            sessions: HashMap::new(),
            partial: HashMap::new(),
            applied: 0,
            written: 0,
            hashes: VecDeque::new(),
        }
    }

    /// Applies the record with a sequence number. `stored` is the cluster's time of it.
    pub(crate) fn apply(
        &mut self,
        sequence: u64,
        hash: u64,
        part: Part,
        stored: Timestamp,
    ) -> Result<Applied, Malformed> {
        self.skip(sequence, hash, HEAD + part.data.len());
        let (session, number) = (part.session, part.number);
        if let Some(known) = self.sessions.get(&session)
            && number <= known.last
        {
            return Ok(Applied::Nothing);
        }
        let Some((batch, data)) = self.complete(sequence, part) else {
            return Ok(Applied::Nothing);
        };
        let (head, ops) = batch::decode(data)?;
        let (after, written) = (head.after, head.time);
        if self.hash(after).is_some_and(|hash| hash != head.hash) {
            return Ok(Applied::Disputed {
                session,
                number,
                after,
            });
        }
        self.advance(head, stored);
        let now = self.machine.now();
        if number == 1 {
            self.forget_idle();
            // A late copy of the first batch would bring back a session that was forgotten, and
            // with it the copies of its other batches.
            if written.after(SESSION_IDLE) <= now {
                return Ok(Applied::Unknown { session, number });
            }
        } else if !self.sessions.contains_key(&session) {
            return Ok(Applied::Unknown { session, number });
        }
        let used = now;
        self.sessions
            .insert(session, Session { last: number, used });
        let batch = Arc::new(batch);
        let replies = ops.into_iter().map(|placed| self.perform(&batch, placed));
        let replies = replies.collect();
        Ok(Applied::Batch {
            session,
            number,
            replies,
        })
    }

    /// Advances past a record without applying it.
    pub(crate) fn skip(&mut self, sequence: u64, hash: u64, bytes: usize) {
        self.applied = sequence;
        self.written += bytes as u64;
        self.hashes.push_back(hash);
        if self.hashes.len() > HASHES {
            self.hashes.pop_front();
        }
    }

    /// Takes the place of an earlier state.
    pub(crate) fn succeed(&mut self, earlier: Self) {
        self.machine.succeed(earlier.machine);
    }

    /// Returns `true` if a batch was applied, or a later one of its session.
    pub(crate) fn has_applied(&self, session: u64, number: u64) -> bool {
        let known = self.sessions.get(&session);
        known.is_some_and(|session| number <= session.last)
    }

    /// Returns the hash of a record, if it is one of the newest.
    pub(crate) fn hash(&self, sequence: u64) -> Option<u64> {
        let back = usize::try_from(self.applied.checked_sub(sequence)?).ok()?;
        let at = self.hashes.len().checked_sub(1 + back)?;
        self.hashes.get(at).copied()
    }

    /// Returns the head of a batch that is written now.
    pub(crate) fn head(&self, time: Timestamp, by_hand: bool) -> Head {
        Head {
            time,
            by_hand,
            after: self.applied,
            hash: self.hash(self.applied).unwrap_or_default(),
        }
    }

    /// Adds a part. Returns the batch if it is the last one.
    fn complete(&mut self, sequence: u64, part: Part) -> Option<(Batch, Bytes)> {
        if part.of == 1 {
            self.partial.remove(&part.session);
            return Some((Batch::One(sequence), part.data));
        }
        // A batch that is sent again starts from its first part.
        if part.index == 0 {
            let empty = Partial {
                number: part.number,
                sequences: Vec::new(),
                data: Vec::new(),
            };
            self.partial.insert(part.session, empty);
        }
        let partial = self.partial.get_mut(&part.session)?;
        if partial.number != part.number || partial.sequences.len() != usize::from(part.index) {
            return None;
        }
        partial.sequences.push(sequence);
        partial.data.push(part.data);
        if part.index + 1 < part.of {
            return None;
        }
        let partial = self.partial.remove(&part.session)?;
        let size = partial.data.first().map_or(1, |first| first.len().max(1));
        let mut data = BytesMut::with_capacity(partial.data.iter().map(Bytes::len).sum());
        partial
            .data
            .iter()
            .for_each(|part| data.extend_from_slice(part));
        let sequences = partial.sequences.into();
        Some((Batch::Many { sequences, size }, data.freeze()))
    }

    /// Advances the time. A writer's clock counts only as far as the cluster's confirms it.
    fn advance(&mut self, head: Head, stored: Timestamp) {
        let skew = u64::try_from(CLOCK_SKEW.as_millis()).unwrap_or(u64::MAX);
        let time = match head.by_hand {
            true => head.time,
            false => Timestamp(
                head.time
                    .0
                    .clamp(stored.0.saturating_sub(skew), stored.0.saturating_add(skew)),
            ),
        };
        self.machine.set_now(time.max(self.machine.now()));
    }

    fn forget_idle(&mut self) {
        let now = self.machine.now();
        self.sessions
            .retain(|_, session| session.used.after(SESSION_IDLE) > now);
        let sessions = &self.sessions;
        self.partial
            .retain(|session, _| sessions.contains_key(session));
    }

    fn perform(&mut self, batch: &Arc<Batch>, placed: Placed) -> Result<Reply, Error> {
        let machine = &mut self.machine;
        let layout = placed.layout;
        let mut store = |range: std::ops::Range<usize>| Located {
            batch: Arc::clone(batch),
            layout: Arc::clone(&layout),
            first: range.start,
        };
        match placed.op {
            Op::Create(name, create) => {
                machine.sweep(SWEEP);
                let created = machine.create(&name, create, &mut store)?;
                Ok(Reply::Created(Box::new(created)))
            }
            Op::Append(name, append) => {
                machine.sweep(SWEEP);
                let outcome = machine.append(&name, append, &mut store)?;
                Ok(Reply::Outcome(outcome))
            }
            Op::Restore(name, restore) => {
                machine.sweep(SWEEP);
                let restored = machine.restore(&name, restore, &mut store)?;
                Ok(Reply::Restored(restored))
            }
            Op::Touch(name) => machine.touch(&name).map(|()| Reply::Done),
            Op::Delete(name) => machine.delete(&name).map(|()| Reply::Done),
            Op::Expire(name) => {
                machine.expire(&name);
                Ok(Reply::Done)
            }
            Op::Sweep(steps) => {
                let steps = usize::try_from(steps).unwrap_or(usize::MAX);
                Ok(Reply::Swept(machine.sweep(steps)))
            }
            Op::Limit(limits) => {
                self.limits.streams = limits.streams;
                self.limits.producers = limits.producers;
                self.limits.ended = limits.ended;
                machine.set_limits(self.limits.clone());
                Ok(Reply::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests;
