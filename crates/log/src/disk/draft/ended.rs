//! The ends of streams, in the order of all streams.

use crate::clock::Timestamp;
use crate::disk::format::commit::IndexChange;
use crate::disk::format::keys;
use crate::encoding::ended;
use crate::offset::{Offset, Position};
use crate::read::{EndCause, Ended};

use super::Draft;

/// Maximum number of surplus old ends that one commit removes, besides one for each new end.
const MORE: u64 = 256;

impl Draft<'_> {
    /// Returns the record of a stream's end.
    pub(super) fn ended(&self, change: usize, cause: EndCause, position: u64) -> Ended {
        let change = &self.changes[change];
        Ended {
            position: Position::new(position),
            stream: change.stream.name().clone(),
            id: change.stream.id,
            cause,
            time: Timestamp(self.head.time),
            tail: change.stream.lineage.at(Offset::new(change.state.tail)),
        }
    }

    /// Writes ends. Removes the oldest ends if there are more than are kept.
    pub(super) fn write_ends(&self, changes: &mut Vec<IndexChange>, mut new: Vec<Ended>) {
        let (Some(mut ends), Some(last)) = (self.ends, new.last()) else {
            return;
        };
        let count = new.len() as u64;
        let most = u64::from(self.engine.options.limits.ended.max(1));
        let over = (ends.kept + count).saturating_sub(most);
        let old = over.min(ends.kept).min(count + MORE);
        let found = self.store.keys(
            &keys::end(ends.forgotten),
            &keys::end(last.position.number()),
            usize::try_from(old).unwrap_or(usize::MAX),
        );
        match found {
            Ok(found) => {
                for key in found {
                    ends.forgotten = keys::end_of(&key).map_or(ends.forgotten, |at| at + 1);
                    ends.kept -= 1;
                    changes.push((key, None));
                }
            }
            // The next commit with an end tries again.
            Err(error) => tracing::warn!(%error, "the search for ends that are too old failed"),
        }
        if ends.kept == 0 && count > most {
            let skipped = new.len() - usize::try_from(most).unwrap_or(usize::MAX);
            for end in new.drain(..skipped) {
                ends.forgotten = end.position.number() + 1;
            }
        }
        ends.kept += new.len() as u64;
        for end in &new {
            let key = keys::end(end.position.number());
            changes.push((key, Some(ended::encode(end))));
        }
        changes.push((keys::ENDS.to_vec(), Some(ends.encode())));
    }
}
