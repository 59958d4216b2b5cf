//! Random operations.

use std::time::Duration;

use bytes::Bytes;

use super::World;
use crate::disk::tests::model::Op;
use crate::disk::tests::observed::PRODUCERS;
use crate::{Create, Expiry, ForkFrom, Offset, Settings, Skip, StreamName};

const NAMES: [&str; 7] = ["a", "a/b", "b", "c", "long/er", "x", "y"];

impl World {
    fn content(&mut self) -> Bytes {
        let size = match self.rng.u8(..200) {
            0 => self.rng.usize(60_000..90_000),
            1..20 => self.rng.usize(..5000),
            _ => self.rng.usize(..200),
        };
        self.count += 1;
        let mut text = format!("{} ", self.count).into_bytes();
        let filler = self.rng.u8(b'a'..=b'z');
        text.resize(text.len().max(size), filler);
        text.into()
    }

    fn contents(&mut self, least: usize) -> Vec<Bytes> {
        let most = [2, 2, 5, 40][self.rng.usize(..4)];
        let count = self.rng.usize(least..most);
        (0..count).map(|_| self.content()).collect()
    }

    pub(super) fn creation(&mut self) -> Option<Op> {
        let name = StreamName::new(self.rng.choice(NAMES)?).unwrap();
        let mut settings = Settings::of_type("text/plain");
        match self.rng.u8(..8) {
            0..2 => settings.max_bytes = Some(self.rng.u64(100..20_000)),
            2 => settings.max_age = Some(Duration::from_secs(self.rng.u64(10..60))),
            3 => {
                let at = self
                    .clock
                    .now()
                    .after(Duration::from_secs(self.rng.u64(1..90)));
                settings.expiry = Some(Expiry::At(at));
            }
            _ => {}
        }
        let mut create = Create::new(settings);
        create.messages = self.contents(0);
        create.closed = self.rng.u8(..20) == 0;
        let mut of = None;
        let now = self.now();
        let sources: Vec<_> = self.model.usable(now).map(|(id, _)| id).collect();
        if self.rng.u8(..4) == 0
            && let Some(source) = self.rng.choice(sources)
        {
            let stream = &self.model.streams[&source];
            let at = self.rng.u64(stream.first()..=stream.tail());
            of = Some((source, stream.before(at)));
            create.fork = Some(ForkFrom {
                source: stream.name.clone(),
                at: Some(Offset::new(at)),
                of: None,
                skip: Skip::NONE,
            });
        }
        Some(Op::Create {
            name,
            create: Box::new(create),
            fork: of,
        })
    }

    pub(super) fn append(&mut self) -> Option<Op> {
        let now = self.now();
        let streams: Vec<_> = self.model.usable(now).map(|(id, _)| id).collect();
        let id = self.rng.choice(streams)?;
        let stream = self.model.streams[&id].clone();
        let mut messages = self.contents(1);
        let mut close = self.rng.u8(..25) == 0;
        if close && self.rng.bool() {
            messages.clear();
        }
        let mut by = None;
        if self.rng.u8(..3) == 0 {
            let producer = self.rng.u8(..PRODUCERS);
            by = Some((producer, 0));
            if let Some((seq, last)) = stream.producers.get(&producer) {
                by = Some((producer, seq + 1));
                // A repetition.
                if self.rng.u8(..3) == 0 && !last.is_empty() {
                    by = Some((producer, *seq));
                    messages.clone_from(last);
                    close = false;
                }
            }
        }
        Some(Op::Append {
            id,
            name: stream.name,
            messages,
            by,
            close,
        })
    }

    /// Returns appends that are in progress together, and some other operations on other streams.
    pub(super) fn several(&mut self) -> Vec<Op> {
        let mut ops: Vec<Op> = Vec::new();
        for _ in 0..self.rng.usize(2..7) {
            let op = match self.rng.u8(..6) {
                0 => self.creation(),
                _ => self.append(),
            };
            // Appends to one stream are plain ones.
            let touches = |op: &Op| match op {
                Op::Create { name, create, .. } => {
                    let source = create.fork.as_ref().map(|fork| fork.source.clone());
                    [Some(name.clone()), source]
                }
                Op::Append { name, .. } | Op::Delete { name, .. } => [Some(name.clone()), None],
            };
            let is_plain = |op: &Op| {
                matches!(
                    op,
                    Op::Append {
                        by: None,
                        close: false,
                        ..
                    }
                )
            };
            let Some(op) = op else { continue };
            let fits = |other: &Op| {
                let (mine, others) = (touches(&op), touches(other));
                let is_apart = mine
                    .iter()
                    .flatten()
                    .all(|name| !others.contains(&Some(name.clone())));
                is_apart || is_plain(&op) && is_plain(other)
            };
            if ops.iter().all(fits) {
                ops.push(op);
            }
        }
        ops
    }
}
