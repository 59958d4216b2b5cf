use std::{collections::VecDeque, sync::Arc};

use headwater_log::Position;

use super::batch::Batch;
use crate::{
    limits::{EVENTS_RING_BATCHES, EVENTS_RING_BYTES},
    outgoing,
};

/// Why nothing will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The log is closed.
    Closed,
    /// It can't be read.
    Failed,
}

/// What a reader at some position is given.
pub(crate) enum Given {
    /// What follows.
    Batch(Arc<Batch>),
    /// Nothing: what follows is no longer here, or never was, and is in the log.
    Behind,
    /// Nothing yet. There is nothing for it before this place.
    Wait(Position),
    /// Nothing any more.
    Over(Over),
}

/// The newest events of all streams that anybody follows. Between them are only messages that nobody does.
pub(crate) struct Ring {
    batches: VecDeque<Arc<Batch>>,
    cost: usize,
    /// Where what is here begins.
    from: Position,
    /// The place after all that was looked at.
    next: Position,
    over: Option<Over>,
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

    /// Puts in all the events up to `next`, and drops old ones to keep the bounds. A message that is larger than a chunk is
    /// left to the log: see [`Outgoing`](crate::outgoing::Outgoing).
    pub(crate) fn push(&mut self, batches: Vec<Batch>, next: Position) {
        self.next = next;
        for batch in batches {
            if outgoing::is_large(batch.cost) {
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

    pub(crate) fn end(&mut self, over: Over) {
        self.over = Some(over);
    }

    /// Whether it ended although the log goes on.
    pub(crate) fn has_failed(&self) -> bool {
        self.over == Some(Over::Failed)
    }

    /// What a reader that wants what follows `position` is given. `since` is from where on its patterns were looked for.
    pub(crate) fn give(&self, position: Position, since: Option<Position>) -> Given {
        if let Some(over) = self.over {
            return Given::Over(over);
        }
        if position >= self.next {
            // A reader that read from the log itself can be ahead.
            return Given::Wait(position);
        }
        if position < self.from || since.is_none_or(|since| position < since) {
            return Given::Behind;
        }
        let index = self.batches.partition_point(|batch| batch.next <= position);
        match self.batches.get(index) {
            Some(batch) => Given::Batch(Arc::clone(batch)),
            None => Given::Wait(self.next),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use headwater_log::{Append, Create, Log, MemoryLog, Settings, StreamName};

    use super::*;
    use crate::events::batch::batches;

    /// A ring into which one message after the other was put, each a batch.
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
            Given::Batch(batch) => {
                assert_eq!(batch.next, Position::new(position + 1));
                true
            }
            Given::Behind => false,
            Given::Wait(_) | Given::Over(_) => panic!("{position} is before the end"),
        }
    }

    #[tokio::test]
    async fn it_keeps_the_newest_up_to_its_bytes() {
        const SIZE: usize = 30_000;
        let ring = filled(60, SIZE).await;
        let kept = (0..60).filter(|position| is_here(&ring, *position)).count();
        let most = EVENTS_RING_BYTES / SIZE;
        assert!(kept == most || kept + 1 == most, "{kept}");
        assert!(is_here(&ring, 59) && !is_here(&ring, 0));
    }

    #[tokio::test]
    async fn it_keeps_so_many_batches_and_no_more() {
        let most = EVENTS_RING_BATCHES as u64;
        let ring = filled(most, 1).await;
        assert!(is_here(&ring, 0));
        let ring = filled(most + 1, 1).await;
        assert!(!is_here(&ring, 0) && is_here(&ring, 1));
    }

    #[tokio::test]
    async fn one_that_is_larger_than_a_chunk_is_left_to_the_log_and_so_is_what_came_before_it() {
        let mut ring = filled(3, 1).await;
        let large = filled(1, EVENTS_RING_BYTES + 1).await;
        assert!(!is_here(&large, 0));
        let end = large.give(Position::new(1), None);
        assert!(matches!(end, Given::Wait(at) if at == Position::new(1)));
        assert!(is_here(&ring, 2));
        ring.clear();
        assert!(!is_here(&ring, 2));
    }

    #[tokio::test]
    async fn what_came_before_a_readers_patterns_were_looked_for_is_not_taken_from_it() {
        let mut ring = filled(3, 1).await;
        let give = |ring: &Ring, since| ring.give(Position::new(1), since);
        assert!(matches!(give(&ring, None), Given::Behind));
        let later = Some(Position::new(2));
        assert!(matches!(give(&ring, later), Given::Behind));
        let then = Some(Position::new(1));
        assert!(matches!(give(&ring, then), Given::Batch(_)));
        ring.clear();
        assert!(matches!(give(&ring, then), Given::Behind));
        let end = Position::new(3);
        assert!(matches!(ring.give(end, None), Given::Wait(at) if at == end));
        ring.push(Vec::new(), Position::new(9));
        assert!(matches!(ring.give(end, then), Given::Wait(at) if at == Position::new(9)));
        assert!(matches!(ring.give(end, None), Given::Behind));
        ring.end(Over::Closed);
        assert!(matches!(ring.give(end, then), Given::Over(Over::Closed)));
    }
}
