use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use headwater_log::{Message, Offset};

use super::frames::{self, End, Form, Shape};
use crate::limits::{RING_BATCHES, RING_BYTES};

/// What one message costs besides its bytes.
const MESSAGE_COST: usize = 64;

/// Messages that were read at once, with the forms that somebody has asked for by now.
pub(crate) struct Batch {
    pub(crate) from: Offset,
    pub(crate) next: Offset,
    messages: Vec<Message>,
    shape: Shape,
    /// Whether it went up to the stream's tail.
    at_tail: bool,
    cost: usize,
    /// Each with the cursor that is in it.
    encoded: [Mutex<Option<(u64, Bytes)>>; 6],
}

impl Batch {
    /// A batch of these messages, of which there is at least one.
    pub(crate) fn new(
        from: Offset,
        next: Offset,
        messages: Vec<Message>,
        shape: Shape,
        at_tail: bool,
    ) -> Self {
        let cost = messages
            .iter()
            .map(|message| message.bytes.len() + MESSAGE_COST)
            .sum();
        Self {
            from,
            next,
            messages,
            shape,
            at_tail,
            cost,
            encoded: Default::default(),
        }
    }

    /// The batch in a form. It is made once for all who ask, and again only when the cursor is another.
    pub(crate) fn encoded(&self, form: Form, end: End, cursor: u64) -> Bytes {
        let (slot, cursor) = match (form, end) {
            (Form::Events, _) => (0, 0),
            (Form::Lines, _) => (1, 0),
            (Form::Protocol, End::More) => (2, cursor),
            (Form::Protocol, End::Tail) => (3, cursor),
            (Form::Protocol, End::Closed) => (4, 0),
        };
        self.kept(slot, cursor, || match form {
            Form::Protocol => self.encoded_for(end, cursor),
            form => self.encode(&self.messages, form, end, cursor),
        })
    }

    /// The batch in the protocol's SSE, with a cursor that only one reader has.
    pub(crate) fn encoded_for(&self, end: End, cursor: u64) -> Bytes {
        let data = self.kept(5, 0, || {
            frames::data_event(self.shape, &self.messages, self.next)
        });
        let mut out = Vec::with_capacity(data.len() + 160);
        out.extend_from_slice(&data);
        frames::control(self.next, end, cursor, None, &mut out);
        out.into()
    }

    /// What is in a slot for this cursor, or else what is made for it.
    fn kept(&self, slot: usize, cursor: u64, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut slot = self.encoded[slot]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*slot {
            Some((made_for, bytes)) if *made_for == cursor => bytes.clone(),
            _ => {
                let bytes = make();
                *slot = Some((cursor, bytes.clone()));
                bytes
            }
        }
    }

    /// The part of the batch after `from`, in a form of its own.
    pub(crate) fn encoded_from(&self, from: Offset, form: Form, end: End, cursor: u64) -> Bytes {
        let start = self
            .messages
            .partition_point(|message| message.offset < from);
        self.encode(&self.messages[start..], form, end, cursor)
    }

    fn encode(&self, messages: &[Message], form: Form, end: End, cursor: u64) -> Bytes {
        frames::encode(form, self.shape, messages, self.next, end, cursor)
    }
}

/// Why nothing will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The stream is closed.
    Closed,
    /// It was deleted, or has expired.
    Gone,
    /// It can't be read.
    Failed,
}

/// What a reader at some position is given.
pub(crate) enum Given {
    /// The batch in which the position is.
    Batch(Arc<Batch>, End),
    /// Nothing: what follows is no longer here, and is in the log.
    Behind,
    /// Nothing yet.
    Wait,
    /// Nothing any more.
    Over(Over),
}

/// The newest messages of one stream.
pub(crate) struct Ring {
    batches: VecDeque<Arc<Batch>>,
    cost: usize,
    /// The offset after all that was put in.
    next: Offset,
    over: Option<Over>,
    /// What all rings cost.
    total: Arc<AtomicUsize>,
    most_in_all: usize,
}

impl Ring {
    pub(crate) fn new(next: Offset, total: Arc<AtomicUsize>, most_in_all: usize) -> Self {
        Self {
            batches: VecDeque::new(),
            cost: 0,
            next,
            over: None,
            total,
            most_in_all,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Puts the batch that follows into the ring, and drops old ones to keep the bounds.
    pub(crate) fn push(&mut self, batch: Batch) {
        self.next = batch.next;
        self.cost += batch.cost;
        self.total.fetch_add(batch.cost, Ordering::Relaxed);
        self.batches.push_back(Arc::new(batch));
        while self.batches.len() > 1
            && (self.cost > RING_BYTES || self.batches.len() > RING_BATCHES)
        {
            self.pop();
        }
        while !self.batches.is_empty() && self.total.load(Ordering::Relaxed) > self.most_in_all {
            self.pop();
        }
    }

    /// Goes on at `next`, past what can't be read any more.
    pub(crate) fn skip_to(&mut self, next: Offset) {
        self.clear();
        self.next = next;
    }

    pub(crate) fn clear(&mut self) {
        while !self.batches.is_empty() {
            self.pop();
        }
        self.batches.shrink_to_fit();
    }

    pub(crate) fn end(&mut self, over: Over) {
        self.over = Some(over);
    }

    /// Whether it ended although the stream may go on.
    pub(crate) fn has_failed(&self) -> bool {
        self.over == Some(Over::Failed)
    }

    fn pop(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.cost -= batch.cost;
            self.total.fetch_sub(batch.cost, Ordering::Relaxed);
        }
    }

    /// What a reader that wants what follows `from` is given.
    pub(crate) fn give(&self, from: Offset) -> Given {
        if let Some(over @ (Over::Gone | Over::Failed)) = self.over {
            return Given::Over(over);
        }
        if from >= self.next {
            // A reader that read from the log itself can be ahead.
            return self.over.map_or(Given::Wait, Given::Over);
        }
        let index = self.batches.partition_point(|batch| batch.next <= from);
        match self.batches.get(index) {
            Some(batch) if batch.from <= from => {
                let is_last = index + 1 == self.batches.len();
                let end = match self.over {
                    Some(_) if is_last => End::Closed,
                    None if is_last && batch.at_tail => End::Tail,
                    _ => End::More,
                };
                Given::Batch(Arc::clone(batch), end)
            }
            _ => Given::Behind,
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.total.fetch_sub(self.cost, Ordering::Relaxed);
    }
}
