use std::{collections::VecDeque, sync::Arc};

use headwater_log::Position;

use super::batch::Batch;
use crate::limits::{EVENTS_RING_BATCHES, EVENTS_RING_BYTES};

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

    /// Puts in all the events up to `next`, and drops old ones to keep the bounds.
    pub(crate) fn push(&mut self, batches: Vec<Batch>, next: Position) {
        self.next = next;
        for batch in batches {
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
