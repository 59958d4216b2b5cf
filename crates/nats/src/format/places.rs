//! The places of messages in a snapshot: batches, and the layouts of records.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_log::machine::{Cursor, Malformed};

use super::bytes::put_number;
use super::layout::Layout;
use crate::limits::PARTS;
use crate::located::{Batch, Located};

/// The handle is in the same operation as the one before, and follows it.
const SAME: u8 = 0;
/// The messages of the operation have their sizes before them.
const SIZED: u8 = 1;
/// The messages of the operation are lines.
const LINES: u8 = 2;

/// Batches that records refer to, by their last sequence numbers.
#[derive(Debug, Default)]
pub(crate) struct Batches(BTreeMap<u64, Arc<Batch>>);

impl Batches {
    pub(crate) fn of<'a>(handles: impl Iterator<Item = &'a Located>) -> Self {
        let batches = handles.map(|handle| (handle.batch.last(), Arc::clone(&handle.batch)));
        // Collecting sorts once, which is faster than insertions.
        Self(batches.collect())
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.0.len() as u64);
        let mut before = 0;
        for (&last, batch) in &self.0 {
            put_number(out, last - before);
            before = last;
            let sequences = batch.sequences();
            put_number(out, sequences.len() as u64 - 1);
            if let Batch::Many { size, .. } = &**batch {
                put_number(out, *size as u64);
                for pair in sequences.windows(2).rev() {
                    put_number(out, pair[1] - pair[0]);
                }
            }
        }
    }

    pub(crate) fn take(from: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let mut batches = BTreeMap::new();
        let mut last = 0_u64;
        for _ in 0..from.number()? {
            last = after(last, from)?;
            let batch = match from.number()? {
                0 => Batch::One(last),
                more => {
                    let size = usize::try_from(from.number()?).map_err(|_| Malformed)?;
                    if size == 0 || more >= PARTS as u64 {
                        return Err(Malformed);
                    }
                    let mut sequences = vec![last];
                    let mut at = last;
                    for _ in 0..more {
                        at = before(at, from)?;
                        sequences.push(at);
                    }
                    sequences.reverse();
                    let sequences = sequences.into();
                    Batch::Many { sequences, size }
                }
            };
            batches.insert(last, Arc::new(batch));
        }
        Ok(Self(batches))
    }

    /// Returns the sequence numbers of all parts of all batches.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u64> {
        let batches = self.0.values();
        batches.flat_map(|batch| batch.sequences().iter().copied())
    }

    /// Returns the greatest sequence number, or 0.
    pub(crate) fn last(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(&last, _)| last)
    }
}

/// Reads a number that is greater than another by what is written.
pub(crate) fn after(number: u64, from: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let more = from.number()?;
    let next = number.checked_add(more).ok_or(Malformed)?;
    if more == 0 { Err(Malformed) } else { Ok(next) }
}

/// Reads a sequence number that is less than another by what is written.
fn before(number: u64, from: &mut Cursor<'_>) -> Result<u64, Malformed> {
    let less = from.number()?;
    let next = number.checked_sub(less).ok_or(Malformed)?;
    if less == 0 || next == 0 {
        return Err(Malformed);
    }
    Ok(next)
}

/// The handle that was encoded or decoded last, and the index of the message after it.
#[derive(Debug, Default)]
pub(crate) struct Handles(Option<(Located, usize)>);

impl Handles {
    /// Appends the handle of a record with this number of messages.
    pub(crate) fn put(&mut self, out: &mut Vec<u8>, handle: &Located, count: usize) {
        let is_same = self.0.as_ref().is_some_and(|(last, next)| {
            Arc::ptr_eq(&last.layout, &handle.layout)
                && Arc::ptr_eq(&last.batch, &handle.batch)
                && *next == handle.first
        });
        if is_same {
            out.push(SAME);
        } else {
            out.push(if handle.layout.is_lines() {
                LINES
            } else {
                SIZED
            });
            put_number(out, handle.batch.last());
            put_number(out, handle.first as u64);
            handle.layout.put_places(out);
        }
        self.0 = Some((handle.clone(), handle.first + count));
    }

    /// Decodes the handle of a record with this number of messages, of one of these batches.
    pub(crate) fn take(
        &mut self,
        from: &mut Cursor<'_>,
        count: usize,
        batches: &Batches,
    ) -> Result<Located, Malformed> {
        let handle = match from.byte()? {
            SAME => {
                let (last, next) = self.0.as_ref().ok_or(Malformed)?;
                Located {
                    first: *next,
                    ..last.clone()
                }
            }
            kind @ (SIZED | LINES) => {
                let batch = batches.0.get(&from.number()?).ok_or(Malformed)?;
                let first = usize::try_from(from.number()?).map_err(|_| Malformed)?;
                let layout = Layout::take_places(from, kind == LINES)?;
                if layout.end() > batch.capacity() {
                    return Err(Malformed);
                }
                Located {
                    batch: Arc::clone(batch),
                    layout: Arc::new(layout),
                    first,
                }
            }
            _ => return Err(Malformed),
        };
        let next = handle.first.checked_add(count).ok_or(Malformed)?;
        if next > handle.layout.len() {
            return Err(Malformed);
        }
        self.0 = Some((handle.clone(), next));
        Ok(handle)
    }
}
