//! The ends of streams, in the order of all streams.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::offset::{Offset, Position};
use crate::read::{EndCause, Ended};

use super::{Machine, PER_MESSAGE, PER_STREAM, Record, Stored, producer_weight, weight};

/// Memory of an end besides its stream's name, in bytes.
const PER_END: u64 = 128;
/// The ends use at most one part in `SHARE` of the log's memory limit.
const SHARE: u64 = 8;

/// The newest ends of streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    pub(super) kept: BTreeMap<u64, Ended>,
    /// The bytes that they use of the log's memory.
    pub(super) taken: u64,
    /// The position after the newest end that was dropped, or 0.
    pub(super) forgotten: u64,
}

pub(super) fn cost(end: &Ended) -> u64 {
    PER_END + end.stream.as_str().len() as u64
}

impl Ends {
    /// Returns the ends with a position in `from..to`.
    pub(super) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &Ended> {
        self.kept.range(from..to).map(|(_, end)| end)
    }

    /// Returns the position of the newest dropped end, if it is in `from..to`.
    pub(super) fn forgotten(&self, from: u64, to: u64) -> Option<Position> {
        let position = self.forgotten.checked_sub(1)?;
        (from..to)
            .contains(&position)
            .then(|| Position::new(position))
    }
}

impl<S: Stored> Machine<S> {
    /// Adds the end of a stream, or its completion, to the order of all streams. Drops old ends to make room.
    pub(super) fn note_end(&mut self, id: u64, cause: EndCause) {
        let time = self.now;
        let position = *self.head.borrow();
        let stream = &self.by_id[&id];
        let end = Ended {
            position,
            stream: stream.name.clone(),
            id,
            cause,
            time,
            tail: stream.lineage.at(Offset::new(stream.state.tail)),
        };
        // It is recorded even if there is no room: the stream itself took more.
        self.taken += cost(&end);
        self.ends.taken += cost(&end);
        self.ends.kept.insert(position.number(), end);
        let most = self.rules.limits.ended.max(1) as usize;
        while self.ends.kept.len() > 1
            && (self.ends.kept.len() > most || self.ends.taken > self.rules.max_bytes / SHARE)
            && let Some((position, end)) = self.ends.kept.pop_first()
        {
            self.taken -= cost(&end);
            self.ends.taken -= cost(&end);
            self.ends.forgotten = position + 1;
        }
        self.head.send_replace(Position::new(position.number() + 1));
    }
}

impl<S: Stored> Machine<S> {
    /// Returns the time from which a [sweep](Self::sweep) has something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timetable.first().map(|&(due, _)| Timestamp(due))
    }

    /// Ends expired streams and trims messages that are too old, for at most `steps` streams.
    /// Returns `true` if more is due.
    pub fn sweep(&mut self, steps: usize) -> bool {
        let now = self.now;
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
                self.trim(id);
                self.reschedule(id);
            }
        }
        self.timetable.first().is_some_and(|&(due, _)| due <= now.0)
    }

    /// Forgets the place and the size of a record that its stream doesn't have any more.
    pub(super) fn forget(&mut self, record: &Record<S>) {
        self.order.remove(&record.position);
        self.bytes -= record.bytes;
        self.taken -= record.bytes + record.count * PER_MESSAGE;
    }

    /// Ends a stream that is in use: hides it if it has forks, and removes it otherwise. The end of an
    /// incomplete stream isn't noted, as its beginning wasn't.
    pub(super) fn end(&mut self, id: u64, cause: EndCause) {
        if !self.by_id[&id].state.restoring {
            self.note_end(id, cause);
        }
        self.publish(id, true);
        self.stream(id).state.hidden = true;
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
                self.forget(record);
            }
            if let Some(fork) = &stream.fork {
                self.stream(fork.source).state.forks -= 1;
                next = Some(fork.source);
            }
        }
    }
}
