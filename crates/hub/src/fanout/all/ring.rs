use std::{collections::VecDeque, sync::Arc};

use headwater_log::Position;

use super::batch::Batch;
use crate::{
    fanout::send_budget,
    limits::{EVENTS_RING_BATCHES, EVENTS_RING_BYTES},
};

/// The reason for which no events follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The log is closed.
    Closed,
    /// The log can't be read.
    Failed,
}

/// The result of a lookup at a reader's position.
pub(crate) enum ReadOutcome {
    /// The next events.
    Batch(Arc<Batch>),
    /// The next events are not in the ring and have to be read from the log.
    Behind,
    /// No events yet. There are none for the reader before this position.
    Wait(Position),
    /// No events follow.
    Ended(EndReason),
}

/// The newest events of all followed streams. Messages between them are of streams without a
/// reader.
pub(crate) struct Ring {
    batches: VecDeque<Arc<Batch>>,
    cost: usize,
    /// The position at which the contents begin.
    from: Position,
    /// The position after everything that was read.
    next: Position,
    over: Option<EndReason>,
}

impl Ring {
    pub(crate) fn new(next: Position) -> Self {
        Self {
            batches: VecDeque::new(),
            cost: 0,
            from: next,
            next,
            over: None,
        }
    }

    pub(crate) fn next(&self) -> Position {
        self.next
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Adds all events up to `next`, and drops old ones to keep the bounds. A message that is
    /// larger than a chunk is left to the log: see [`Outgoing`](crate::fanout::send_budget::Outgoing).
    pub(crate) fn push(&mut self, batches: Vec<Batch>, next: Position) {
        self.next = next;
        for batch in batches {
            if send_budget::is_large(batch.cost) {
                self.batches.clear();
                self.cost = 0;
                self.from = batch.next;
                continue;
            }
            self.cost += batch.cost;
            self.batches.push_back(Arc::new(batch));
            while self.batches.len() > 1
                && (self.cost > EVENTS_RING_BYTES || self.batches.len() > EVENTS_RING_BATCHES)
                && let Some(oldest) = self.batches.pop_front()
            {
                self.cost -= oldest.cost;
                self.from = oldest.next;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self {
            over: self.over,
            ..Self::new(self.next)
        };
    }

    pub(crate) fn end(&mut self, over: EndReason) {
        self.over = Some(over);
    }

    /// Returns `true` if the ring ended although the log continues.
    pub(crate) fn has_failed(&self) -> bool {
        self.over == Some(EndReason::Failed)
    }

    /// Looks up the events after `position`. `since` is the position from which the reader's
    /// patterns are included.
    pub(crate) fn give(&self, position: Position, since: Option<Position>) -> ReadOutcome {
        if let Some(over) = self.over {
            return ReadOutcome::Ended(over);
        }
        if position >= self.next {
            // A reader that read from the log itself can be ahead.
            return ReadOutcome::Wait(position);
        }
        if position < self.from || since.is_none_or(|since| position < since) {
            return ReadOutcome::Behind;
        }
        let index = self.batches.partition_point(|batch| batch.next <= position);
        match self.batches.get(index) {
            Some(batch) => ReadOutcome::Batch(Arc::clone(batch)),
            None => ReadOutcome::Wait(self.next),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headwater_log::{Append, Create, Log, MemoryLog, Settings, StreamName};

    use super::*;
    use crate::fanout::all::batch::batches;

    /// Returns a ring with `count` messages of `size` bytes, each in its own batch.
    async fn filled(count: u64, size: usize) -> Ring {
        let log = MemoryLog::default();
        let name = StreamName::new("a").unwrap();
        let mut settings = Settings::of_type("text/plain");
        settings.max_bytes = Some(1);
        log.create(&name, Create::new(settings)).await.unwrap();
        let mut ring = Ring::new(Position::START);
        for n in 0..count {
            let append = Append::new(vec![Bytes::from(vec![b'x'; size])]);
            log.append(&name, append).await.unwrap();
            let read = log.read_order(Position::new(n), 1, None).await.unwrap();
            let next = read.next;
            ring.push(batches(&log, read).await.unwrap(), next);
        }
        ring
    }

    fn is_here(ring: &Ring, position: u64) -> bool {
        let since = Some(Position::START);
        match ring.give(Position::new(position), since) {
            ReadOutcome::Batch(batch) => {
                assert_eq!(batch.next, Position::new(position + 1));
                true
            }
            ReadOutcome::Behind => false,
            ReadOutcome::Wait(_) | ReadOutcome::Ended(_) => panic!("{position} is before the end"),
        }
    }

    #[tokio::test]
    async fn the_ring_keeps_the_newest_events_up_to_its_bytes() {
        const SIZE: usize = 30_000;
        let ring = filled(60, SIZE).await;
        let kept = (0..60).filter(|position| is_here(&ring, *position)).count();
        let most = EVENTS_RING_BYTES / SIZE;
        assert!(kept == most || kept + 1 == most, "{kept}");
        assert!(is_here(&ring, 59) && !is_here(&ring, 0));
    }

    #[tokio::test]
    async fn the_ring_keeps_a_bounded_number_of_batches() {
        let most = EVENTS_RING_BATCHES as u64;
        let ring = filled(most, 1).await;
        assert!(is_here(&ring, 0));
        let ring = filled(most + 1, 1).await;
        assert!(!is_here(&ring, 0) && is_here(&ring, 1));
    }

    #[tokio::test]
    async fn a_message_larger_than_a_chunk_and_those_before_it_are_left_to_the_log() {
        let mut ring = filled(3, 1).await;
        let large = filled(1, EVENTS_RING_BYTES + 1).await;
        assert!(!is_here(&large, 0));
        let end = large.give(Position::new(1), None);
        assert!(matches!(end, ReadOutcome::Wait(at) if at == Position::new(1)));
        assert!(is_here(&ring, 2));
        ring.clear();
        assert!(!is_here(&ring, 2));
    }

    #[tokio::test]
    async fn messages_before_a_readers_patterns_were_included_are_not_taken_from_the_ring() {
        let mut ring = filled(3, 1).await;
        let give = |ring: &Ring, since| ring.give(Position::new(1), since);
        assert!(matches!(give(&ring, None), ReadOutcome::Behind));
        let later = Some(Position::new(2));
        assert!(matches!(give(&ring, later), ReadOutcome::Behind));
        let then = Some(Position::new(1));
        assert!(matches!(give(&ring, then), ReadOutcome::Batch(_)));
        ring.clear();
        assert!(matches!(give(&ring, then), ReadOutcome::Behind));
        let end = Position::new(3);
        assert!(matches!(ring.give(end, None), ReadOutcome::Wait(at) if at == end));
        ring.push(Vec::new(), Position::new(9));
        assert!(matches!(ring.give(end, then), ReadOutcome::Wait(at) if at == Position::new(9)));
        assert!(matches!(ring.give(end, None), ReadOutcome::Behind));
        ring.end(EndReason::Closed);
        assert!(matches!(
            ring.give(end, then),
            ReadOutcome::Ended(EndReason::Closed)
        ));
    }
}
