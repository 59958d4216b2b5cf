//! The size of a range of messages.

use super::{Machine, Stored};
use crate::error::Error;
use crate::name::StreamName;
use crate::offset::Offset;
use crate::read::{Extent, ReadFrom};

impl<S: Stored> Machine<S> {
    /// Returns the extent of the messages from an offset on that have at most `budget` bytes, as
    /// [`Log::measure`](crate::Log::measure) does.
    ///
    /// # Errors
    ///
    /// The errors of [`read`](Self::read).
    pub fn measure(&self, name: &StreamName, from: ReadFrom, budget: u64) -> Result<Extent, Error> {
        let id = self.get(name)?;
        let (from, tail) = self.start(id, from)?;
        let (next, bytes) = self.size(id, from, tail, budget);
        let stream = &self.by_id[&id];
        Ok(Extent {
            lineage: stream.lineage.clone(),
            from: Offset::new(from),
            next: Offset::new(next),
            bytes,
            at_tail: next == tail,
            closed: stream.state.closed,
        })
    }

    /// Returns the offset after the messages in `from..to` that have at most `budget` bytes, and their
    /// bytes.
    fn size(&self, id: u64, from: u64, to: u64, budget: u64) -> (u64, u64) {
        let stream = &self.by_id[&id];
        let (mut next, mut bytes) = (from, 0);
        let own = stream.fork.as_ref().map_or(0, |it| it.point.own.number());
        if let Some(fork) = &stream.fork
            && next < own
        {
            let shortened = u64::from(fork.cut.is_some());
            let end = to.min(own - shortened);
            if next < end {
                (next, bytes) = self.size(fork.source, next, end, budget);
                if next < end {
                    return (next, bytes);
                }
            }
            if next < own.min(to) {
                let length = self.piece(id, next, next + 1).size(0) as u64;
                if bytes + length > budget {
                    return (next, bytes);
                }
                (next, bytes) = (next + 1, bytes + length);
            }
        }
        let start = stream.records.partition_point(|it| it.first <= next);
        for record in stream.records.range(start.saturating_sub(1)..) {
            let end = record.first + record.count;
            if next >= to {
                break;
            }
            if record.first == next && end <= to && bytes + record.bytes <= budget {
                (next, bytes) = (end, bytes + record.bytes);
                continue;
            }
            for (at, index) in (record.first..to.min(end)).zip(0..) {
                if at < next {
                    continue;
                }
                let length = record.messages.size(index) as u64;
                if bytes + length > budget {
                    return (next, bytes);
                }
                (next, bytes) = (next + 1, bytes + length);
            }
        }
        (next, bytes)
    }
}
