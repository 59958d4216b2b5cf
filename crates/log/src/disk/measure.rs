//! The range and the size of messages, without reading them.

use std::ops::{ControlFlow, Range};

use super::engine::Engine;
use super::reader::{Filling, Span, fill, locate, span, trimmed_since};
use super::store::Store;
use super::stream::Stream;
use crate::error::Error;
use crate::offset::Offset;
use crate::read::{Chunk, Extent, ReadFrom};

/// Returns the extent of the messages that have at most `budget` bytes. Of the messages, it reads the
/// records of which the extent has a part. It ends before damage that is known or that it meets.
pub(crate) fn measure(
    engine: &Engine,
    store: &Store,
    stream: &Stream,
    from: ReadFrom,
    budget: u64,
) -> Result<Extent, Error> {
    let span = span(store, stream, from)?;
    let mut measured = Measuring {
        next: span.from,
        bytes: 0,
        budget,
    };
    while measured.next < span.tail {
        match measured.step(engine, store, stream, span.tail) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(error) if error.is_damaged() => {
                engine.note_damage(&error);
                break;
            }
            Err(error) => return Err(error),
        }
    }
    let Measuring { next, bytes, .. } = measured;
    Ok(Extent {
        lineage: stream.lineage.clone(),
        from: Offset::new(span.from),
        next: Offset::new(next),
        bytes,
        at_tail: next == span.tail,
        closed: span.closed,
    })
}

/// An extent that is measured.
struct Measuring {
    next: u64,
    bytes: u64,
    budget: u64,
}

impl Measuring {
    /// Adds messages of one stream's records. Breaks if no more fit, or before known damage.
    fn step(
        &mut self,
        engine: &Engine,
        store: &Store,
        stream: &Stream,
        tail: u64,
    ) -> Result<ControlFlow<()>, Error> {
        let before = self.next;
        let stretch = locate(stream, before, tail);
        let (id, limit) = (stretch.stream.id, stretch.limit);
        let whole_until = match engine.damage.first_in(id, before..limit) {
            Some(damage) if damage == before => return Ok(ControlFlow::Break(())),
            Some(damage) => damage,
            None => limit,
        };
        let sizes = store
            .sizes(id, before, whole_until, self.budget - self.bytes)
            .map_err(|error| trimmed_since(store, &stretch, stream, before, error))?;
        for size in sizes.iter().take_while(|size| size.first < whole_until) {
            let is_cut = stretch.cut.is_some() && size.end >= limit;
            let is_whole = size.first == self.next && size.end <= whole_until && !is_cut;
            if is_whole && self.bytes + size.bytes <= self.budget {
                (self.next, self.bytes) = (size.end, self.bytes + size.bytes);
                continue;
            }
            if is_whole && size.end == self.next + 1 {
                return Ok(ControlFlow::Break(()));
            }
            let end = size.end.min(whole_until);
            let left = self.budget - self.bytes;
            let part = measure_part(engine, store, stream, self.next..end, left)?;
            self.next += part.count();
            self.bytes += part.bytes() as u64;
            if self.next < end {
                return Ok(ControlFlow::Break(()));
            }
        }
        if self.next == before {
            return Err(Error::damaged(format!("stream {id} lacks offset {before}")));
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Reads the messages in a range, which are in one record or block, that have at most `budget` bytes.
fn measure_part(
    engine: &Engine,
    store: &Store,
    stream: &Stream,
    range: Range<u64>,
    budget: u64,
) -> Result<Chunk, Error> {
    let span = Span {
        from: range.start,
        tail: range.end,
        closed: false,
    };
    let budget = usize::try_from(budget).unwrap_or(usize::MAX);
    let mut chunk = Filling::new(span, stream, budget);
    chunk.is_filled = false;
    Ok(fill(engine, store, stream, chunk)?.finish())
}
