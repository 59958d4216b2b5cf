use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use headwater_log::{Chunk, Lineage, Message, Offset};
use parking_lot::Mutex;

use super::encode::{self, End, Form, Shape};
use crate::{
    fanout::send_budget,
    limits::{BATCH_BYTES, CHUNK_BYTES, RING_BATCHES, RING_BYTES, RING_RUNS},
};

/// Approximate memory of a message in bytes, besides its content.
const MESSAGE_COST: usize = 64;

/// Messages that were read at once, with their encoded forms so far.
pub(crate) struct Batch {
    pub(crate) from: Offset,
    pub(crate) next: Offset,
    messages: Vec<Message>,
    shape: Shape,
    lineage: Lineage,
    /// `true` if the batch ends at the stream's tail.
    at_tail: bool,
    cost: usize,
    /// Each with the cursor that it contains.
    encoded: [Mutex<Option<(u64, Bytes)>>; Form::COUNT + 3],
}

impl Batch {
    /// Creates a batch of at least one message.
    pub(crate) fn new(
        from: Offset,
        next: Offset,
        messages: Vec<Message>,
        shape: Shape,
        lineage: Lineage,
        at_tail: bool,
    ) -> Self {
        let cost = cost(&messages);
        Self {
            from,
            next,
            messages,
            shape,
            lineage,
            at_tail,
            cost,
            encoded: Default::default(),
        }
    }

    /// Returns the batch in a form. It is encoded once for all readers, and again only for another
    /// cursor.
    pub(crate) fn encoded(&self, form: Form, end: End, cursor: u64) -> Bytes {
        let (slot, cursor) = match (form, end) {
            (Form::Protocol, End::More) => (Form::COUNT, cursor),
            (Form::Protocol, End::Tail) => (Form::COUNT + 1, cursor),
            (form, _) => (usize::from(form.number()), 0),
        };
        self.kept(slot, cursor, || match form {
            Form::Protocol => self.encoded_for(end, cursor),
            form => {
                let Self { shape, lineage, .. } = self;
                encode::encode(
                    form,
                    *shape,
                    lineage,
                    &self.messages,
                    self.next,
                    end,
                    cursor,
                )
            }
        })
    }

    /// Returns the batch in the protocol's SSE, with a cursor of one reader only.
    pub(crate) fn encoded_for(&self, end: End, cursor: u64) -> Bytes {
        let data = self.kept(Form::COUNT + 2, 0, || {
            encode::data_event(self.shape, &self.messages, self.lineage.at(self.next))
        });
        let mut out = Vec::with_capacity(data.len() + 160);
        out.extend_from_slice(&data);
        encode::control(self.lineage.at(self.next), end, cursor, None, &mut out);
        out.into()
    }

    /// Returns the contents of a slot for this cursor. Otherwise, fills the slot from `make`.
    fn kept(&self, slot: usize, cursor: u64, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut slot = self.encoded[slot].lock();
        match &*slot {
            Some((made_for, bytes)) if *made_for == cursor => bytes.clone(),
            _ => {
                let bytes = make();
                *slot = Some((cursor, bytes.clone()));
                bytes
            }
        }
    }
}

fn cost(messages: &[Message]) -> usize {
    messages
        .iter()
        .map(|message| message.bytes.len() + MESSAGE_COST)
        .sum()
}

/// The reason for which no messages follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// The stream is closed.
    Closed,
    /// It was deleted or has expired.
    Gone,
    /// It can't be read.
    Failed,
}

/// The result of a lookup at a reader's position.
pub(crate) enum ReadOutcome {
    /// The messages that follow the position.
    Batch(Arc<Batch>, End),
    /// The messages that follow are not in the ring any more and have to be read from the log.
    Behind,
    /// No messages yet.
    Wait,
    /// No messages follow.
    Ended(EndReason),
}

/// The newest messages of one stream.
pub(crate) struct Ring {
    batches: VecDeque<Arc<Batch>>,
    /// Several batches, or a part of one, joined for the readers at the same position.
    runs: VecDeque<Arc<Batch>>,
    /// The total cost of batches and runs.
    cost: usize,
    /// The offset after all messages that were added.
    next: Offset,
    over: Option<EndReason>,
    /// The cost of all rings of the hub.
    total: Arc<AtomicUsize>,
    most_in_all: usize,
}

impl Ring {
    pub(crate) fn new(next: Offset, total: Arc<AtomicUsize>, most_in_all: usize) -> Self {
        Self {
            batches: VecDeque::new(),
            runs: VecDeque::new(),
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

    /// Adds messages that were read, in batches of about one chunk when they are encoded. A message
    /// that is larger than that by itself is left to the log: see
    /// [`Outgoing`](crate::fanout::send_budget::Outgoing).
    pub(crate) fn push_all(&mut self, chunk: &Chunk, shape: Shape) {
        let mut messages = chunk.messages().peekable();
        let mut from = chunk.from;
        while let Some(first) = messages.next() {
            let mut bytes = first.bytes.len() + MESSAGE_COST;
            let is_large = send_budget::is_large(bytes);
            let mut batch = vec![first];
            let mut fits = |message: &Message| {
                bytes += message.bytes.len() + MESSAGE_COST;
                !is_large && bytes <= CHUNK_BYTES
            };
            while let Some(message) = messages.next_if(&mut fits) {
                batch.push(message);
            }
            let end = messages.peek().map_or(chunk.next, |message| message.offset);
            if is_large {
                self.skip_to(end);
            } else {
                let at_tail = chunk.at_tail && messages.peek().is_none();
                self.push(Batch::new(
                    from,
                    end,
                    batch,
                    shape,
                    chunk.lineage.clone(),
                    at_tail,
                ));
            }
            from = end;
        }
    }

    /// Adds the next batch, and drops old ones to keep the bounds.
    pub(crate) fn push(&mut self, batch: Batch) {
        self.forget_runs();
        self.next = batch.next;
        self.count(batch.cost);
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

    /// Continues at `next`, past messages that can't be read any more.
    pub(crate) fn skip_to(&mut self, next: Offset) {
        self.clear();
        self.next = next;
    }

    pub(crate) fn clear(&mut self) {
        self.forget_runs();
        while !self.batches.is_empty() {
            self.pop();
        }
        self.batches.shrink_to_fit();
        self.runs.shrink_to_fit();
    }

    pub(crate) fn end(&mut self, over: EndReason) {
        self.over = Some(over);
    }

    /// Returns `true` if the ring ended although the stream may continue.
    pub(crate) fn has_failed(&self) -> bool {
        self.over == Some(EndReason::Failed)
    }

    fn pop(&mut self) {
        if let Some(batch) = self.batches.pop_front() {
            self.uncount(batch.cost);
        }
    }

    fn forget_runs(&mut self) {
        let cost = self.runs.drain(..).map(|run| run.cost).sum();
        self.uncount(cost);
    }

    fn count(&mut self, cost: usize) {
        self.cost += cost;
        self.total.fetch_add(cost, Ordering::Relaxed);
    }

    fn uncount(&mut self, cost: usize) {
        self.cost -= cost;
        self.total.fetch_sub(cost, Ordering::Relaxed);
    }

    /// Looks up all messages after `from`, up to [`BATCH_BYTES`].
    pub(crate) fn give(&mut self, from: Offset) -> ReadOutcome {
        if let Some(over @ (EndReason::Gone | EndReason::Failed)) = self.over {
            return ReadOutcome::Ended(over);
        }
        if from >= self.next {
            // A reader that read from the log itself can be ahead.
            return self.over.map_or(ReadOutcome::Wait, ReadOutcome::Ended);
        }
        let index = self.batches.partition_point(|batch| batch.next <= from);
        let batch = match self.batches.get(index) {
            Some(batch) if batch.from <= from => self.run(from, index),
            _ => return ReadOutcome::Behind,
        };
        let is_last = batch.next == self.next;
        let end = match self.over {
            Some(_) if is_last => End::Closed,
            None if is_last && batch.at_tail => End::Tail,
            _ => End::More,
        };
        ReadOutcome::Batch(batch, end)
    }

    /// Returns the messages after `from`, which is in the batch at `index`, as one batch. It is
    /// joined once for all readers that request it before the next batch arrives.
    fn run(&mut self, from: Offset, index: usize) -> Arc<Batch> {
        if let Some(run) = self.runs.iter().find(|run| run.from == from) {
            return Arc::clone(run);
        }
        let first = &self.batches[index];
        let start = first
            .messages
            .partition_point(|message| message.offset < from);
        let mut bytes = cost(&first.messages[start..]);
        let fits = |batch: &&Arc<Batch>| {
            bytes += batch.cost;
            bytes <= BATCH_BYTES
        };
        let more = self.batches.range(index + 1..).take_while(fits).count();
        if start == 0 && more == 0 {
            return Arc::clone(first);
        }
        let last = &self.batches[index + more];
        let mut messages = first.messages[start..].to_vec();
        for batch in self.batches.range(index + 1..=index + more) {
            messages.extend_from_slice(&batch.messages);
        }
        let run = Batch::new(
            from,
            last.next,
            messages,
            last.shape,
            last.lineage.clone(),
            last.at_tail,
        );
        let run = Arc::new(run);
        let is_full = self.total.load(Ordering::Relaxed) + run.cost > self.most_in_all;
        if !is_full {
            if self.runs.len() == RING_RUNS
                && let Some(oldest) = self.runs.pop_front()
            {
                self.uncount(oldest.cost);
            }
            self.count(run.cost);
            self.runs.push_back(Arc::clone(&run));
        }
        run
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.total.fetch_sub(self.cost, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use headwater::Format;
    use headwater_log::{Append, Create, Log, MemoryLog, ReadFrom, Settings, StreamName};
    use proptest::prelude::*;

    use super::*;

    /// Returns batches of consecutive messages of these sizes.
    async fn batches(sizes: &[Vec<usize>]) -> Vec<Batch> {
        let log = MemoryLog::default();
        let name = StreamName::new("a").unwrap();
        let create = Create::new(Settings::of_type("text/plain"));
        log.create(&name, create).await.unwrap();
        let mut batches = Vec::new();
        let mut next = Offset::START;
        for sizes in sizes {
            let messages = sizes.iter().map(|size| Bytes::from(vec![b'x'; *size]));
            let append = Append::new(messages.collect());
            log.append(&name, append).await.unwrap();
            let read = log.read(&name, ReadFrom::At(next), usize::MAX).await;
            let chunk = read.unwrap();
            next = chunk.next;
            batches.push(Batch::new(
                chunk.from,
                chunk.next,
                chunk.messages().collect(),
                Shape::Text,
                chunk.lineage,
                true,
            ));
        }
        batches
    }

    fn filled(sizes: &[Vec<usize>], total: &Arc<AtomicUsize>, most: usize) -> (Ring, Vec<Batch>) {
        let batches = futures_util::FutureExt::now_or_never(batches(sizes));
        // An in-memory log is never pending.
        let batches = batches.unwrap();
        (Ring::new(Offset::START, Arc::clone(total), most), batches)
    }

    /// Takes the batch for a reader at `from`. Checks that it contains exactly the messages up to
    /// its end.
    fn take(ring: &mut Ring, from: u64) -> Option<(Arc<Batch>, End)> {
        match ring.give(Offset::new(from)) {
            ReadOutcome::Batch(batch, end) => {
                assert_eq!(batch.from.number(), from);
                let offsets: Vec<_> = batch.messages.iter().map(|m| m.offset.number()).collect();
                let wanted: Vec<_> = (from..batch.next.number()).collect();
                assert_eq!(offsets, wanted);
                Some((batch, end))
            }
            ReadOutcome::Wait => None,
            ReadOutcome::Behind | ReadOutcome::Ended(_) => panic!("{from} is here"),
        }
    }

    #[test]
    fn readers_at_one_position_share_all_that_follows_it() {
        let total = Arc::default();
        let (mut ring, batches) = filled(&vec![vec![10]; 7], &total, usize::MAX);
        batches.into_iter().for_each(|batch| ring.push(batch));
        let (one, end) = take(&mut ring, 2).unwrap();
        assert_eq!((one.next.number(), end), (7, End::Tail));
        let (two, _) = take(&mut ring, 2).unwrap();
        assert!(Arc::ptr_eq(&one, &two));
        // A run of only the last batch is that batch.
        let (last, _) = take(&mut ring, 6).unwrap();
        assert!(Arc::ptr_eq(&last, ring.batches.back().unwrap()));
    }

    #[test]
    fn a_lookup_returns_at_most_batch_bytes() {
        let each = BATCH_BYTES / 4 - MESSAGE_COST;
        let total = Arc::default();
        let (mut ring, batches) = filled(&vec![vec![each]; 6], &total, usize::MAX);
        batches.into_iter().for_each(|batch| ring.push(batch));
        let (first, end) = take(&mut ring, 0).unwrap();
        assert_eq!((first.next.number(), end), (4, End::More));
        let (rest, end) = take(&mut ring, 4).unwrap();
        assert_eq!((rest.next.number(), end), (6, End::Tail));
        let (mut ring, batches) = filled(&[vec![each + 1], vec![each; 3]], &total, usize::MAX);
        batches.into_iter().for_each(|batch| ring.push(batch));
        assert_eq!(take(&mut ring, 0).unwrap().0.next.number(), 1);
    }

    #[test]
    fn a_batch_is_encoded_once_for_each_format() {
        let batch = futures_util::FutureExt::now_or_never(batches(&[vec![1, 1]]));
        let mut batch = batch.unwrap().remove(0);
        batch.shape = Shape::Json;
        for message in &mut batch.messages {
            message.bytes = Bytes::from_static(b"\"x\"");
        }
        let encoded = |form| batch.encoded(form, End::Tail, 7);
        for (format, expected) in [
            (Format::JsonSeq, "\u{1e}\"x\"\n\u{1e}\"x\"\n"),
            (Format::JsonArray, ",\"x\"\n,\"x\"\n"),
            (Format::Text, "x\nx\n"),
            (Format::Ndjson, "\"x\"\n\"x\"\n"),
        ] {
            let first = encoded(Form::Items(format));
            assert_eq!(first, expected);
            assert_eq!(first.as_ptr(), encoded(Form::Items(format)).as_ptr());
        }
        // Readers of a durable handler share with those of its stream.
        let address = |form| encoded(form).as_ptr();
        assert_eq!(address(Form::Items(Format::Sse)), address(Form::Events));
        assert_eq!(address(Form::Items(Format::Ndjson)), address(Form::Lines));
    }

    #[test]
    fn runs_count_towards_the_bounds() {
        let total = Arc::default();
        let sizes = vec![vec![10]; 2 * RING_RUNS];
        let (mut ring, batches) = filled(&sizes, &total, usize::MAX);
        let most = 2 * RING_RUNS as u64 - 1;
        batches.into_iter().for_each(|batch| ring.push(batch));
        let batches = ring.cost;
        (0..most).for_each(|from| drop(take(&mut ring, from)));
        assert_eq!(ring.runs.len(), RING_RUNS);
        let runs: usize = ring.runs.iter().map(|run| run.cost).sum();
        assert_eq!(ring.cost, batches + runs);
        assert_eq!(total.load(Ordering::Relaxed), ring.cost);
        ring.most_in_all = ring.cost;
        let (one, _) = take(&mut ring, 0).unwrap();
        assert!(!Arc::ptr_eq(&one, &take(&mut ring, 0).unwrap().0));
        drop(ring);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    proptest! {
        #[test]
        fn every_reader_receives_every_message_once_and_in_order(
            sizes in prop::collection::vec(prop::collection::vec(0_usize..3000, 1..9), 1..30),
            sequencer in prop::collection::vec((any::<bool>(), 0_u64..8), 0..200),
        ) {
            let total = Arc::default();
            let (mut ring, batches) = filled(&sizes, &total, usize::MAX);
            let mut coming = batches.into_iter();
            let mut readers: HashMap<u64, u64> = HashMap::new();
            let mut tail = 0;
            for (pushes, reader) in sequencer {
                if pushes {
                    if let Some(batch) = coming.next() {
                        tail = batch.next.number();
                        ring.push(batch);
                    }
                    continue;
                }
                // Each reader starts at another position, also within a batch.
                let position = readers.entry(reader).or_insert(tail.min(reader));
                let kept = ring.batches.front().map_or(tail, |batch| batch.from.number());
                if *position < kept {
                    prop_assert!(matches!(ring.give(Offset::new(*position)), ReadOutcome::Behind));
                    *position = kept;
                }
                match take(&mut ring, *position) {
                    Some((batch, end)) => {
                        *position = batch.next.number();
                        prop_assert_eq!(end == End::Tail, *position == tail);
                        prop_assert!(batch.cost <= BATCH_BYTES || batch.messages.len() <= 9);
                    }
                    None => prop_assert_eq!(*position, tail),
                }
            }
            prop_assert_eq!(total.load(Ordering::Relaxed), ring.cost);
        }
    }
}
