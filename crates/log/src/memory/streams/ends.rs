//! Which streams have ended, in the order of all streams.

use std::collections::BTreeMap;

use crate::offset::{Offset, Position};
use crate::read::{EndCause, Ended};

use super::Streams;

/// Memory of an end besides its stream's name.
const PER_END: u64 = 128;
/// Ends take no more than this part of the memory that there is.
const SHARE: u64 = 8;

/// The newest ends.
#[derive(Debug, Default)]
pub(super) struct Ends {
    kept: BTreeMap<u64, Ended>,
    /// Their part of the log's memory.
    taken: u64,
    /// The position after the newest that isn't kept any more; 0 is none.
    forgotten: u64,
}

fn weight(end: &Ended) -> u64 {
    PER_END + end.stream.as_str().len() as u64
}

impl Ends {
    /// The ends with a position from `from` to before `to`.
    pub(super) fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &Ended> {
        self.kept.range(from..to).map(|(_, end)| end)
    }

    /// The position of the newest that isn't kept any more, if it is from `from` to before `to`.
    pub(super) fn forgotten(&self, from: u64, to: u64) -> Option<Position> {
        let position = self.forgotten.checked_sub(1)?;
        (from..to)
            .contains(&position)
            .then(|| Position::new(position))
    }
}

impl Streams {
    /// Gives the end of a stream its place in the order of all streams. Old ones go for it.
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
        // It is taken down though there may be no room: the stream itself took more.
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
