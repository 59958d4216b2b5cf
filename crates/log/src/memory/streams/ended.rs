//! The ends of streams, in the order of all streams.

use std::collections::BTreeMap;

use crate::offset::{Offset, Position};
use crate::read::{EndCause, Ended};

use super::Streams;

/// Memory of an end besides its stream's name, in bytes.
const PER_END: u64 = 128;
/// The ends use at most one part in `SHARE` of the log's memory limit.
const SHARE: u64 = 8;

/// The newest ends of streams.
#[derive(Debug, Default)]
pub(super) struct Ends {
    kept: BTreeMap<u64, Ended>,
    /// The bytes that they use of the log's memory.
    taken: u64,
    /// The position after the newest end that was dropped, or 0.
    forgotten: u64,
}

fn weight(end: &Ended) -> u64 {
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

impl Streams {
    /// Adds the end of a stream to the order of all streams. Drops old ends to make room.
    pub(super) fn note_end(&mut self, id: u64, cause: EndCause) {
        let time = self.now();
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
        self.taken += weight(&end);
        self.ends.taken += weight(&end);
        self.ends.kept.insert(position.number(), end);
        let most = self.options.limits.ended.max(1) as usize;
        while self.ends.kept.len() > 1
            && (self.ends.kept.len() > most || self.ends.taken > self.options.max_bytes / SHARE)
            && let Some((position, end)) = self.ends.kept.pop_first()
        {
            self.taken -= weight(&end);
            self.ends.taken -= weight(&end);
            self.ends.forgotten = position + 1;
        }
        self.head.send_replace(Position::new(position.number() + 1));
    }
}
