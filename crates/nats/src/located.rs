//! The place of messages in the JetStream stream.

use std::ops::Range;
use std::sync::Arc;

use headwater_log::machine::Stored;

use crate::format::layout::Layout;

/// The JetStream messages of a batch.
#[derive(Debug)]
pub(crate) enum Batch {
    One(u64),
    /// The sequence numbers of several parts, which have `size` bytes each but for the last.
    Many {
        sequences: Box<[u64]>,
        size: usize,
    },
}

/// Bytes within one JetStream message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) sequence: u64,
    pub(crate) range: Range<usize>,
}

impl Batch {
    /// Returns the sequence numbers of the parts.
    pub(crate) fn sequences(&self) -> &[u64] {
        match self {
            Self::One(sequence) => std::slice::from_ref(sequence),
            Self::Many { sequences, .. } => sequences,
        }
    }

    /// Returns the sequence number of the last part, which no other batch has.
    pub(crate) fn last(&self) -> u64 {
        self.sequences().last().copied().unwrap_or(0)
    }

    /// Returns the greatest number of bytes that the batch can have.
    pub(crate) fn capacity(&self) -> usize {
        match self {
            Self::One(_) => usize::MAX,
            Self::Many { sequences, size } => size.saturating_mul(sequences.len()),
        }
    }

    /// Returns the slices that together are a range of the batch.
    pub(crate) fn slices(&self, range: Range<usize>) -> Vec<Slice> {
        match self {
            Self::One(sequence) => vec![Slice {
                sequence: *sequence,
                range,
            }],
            Self::Many { sequences, size } => {
                let first = range.start / size;
                let parts = sequences.iter().zip(0..).skip(first);
                let slices = parts.map_while(|(&sequence, index): (_, usize)| {
                    let base = index * size;
                    let start = range.start.max(base);
                    let end = range.end.min(base + size);
                    (start < end || index == first).then(|| Slice {
                        sequence,
                        range: start - base..end.max(start) - base,
                    })
                });
                slices.collect()
            }
        }
    }
}

/// The handle of a record's messages.
#[derive(Clone, Debug)]
pub(crate) struct Located {
    pub(crate) batch: Arc<Batch>,
    pub(crate) layout: Arc<Layout>,
    /// The index of the record's first message among those of its operation.
    pub(crate) first: usize,
}

impl Stored for Located {
    fn size(&self, index: usize) -> usize {
        self.layout.message(self.first + index).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_slices_of_a_range_are_the_range(
            length in 1..100_usize, size in 1..20_usize, start in 0..100_usize, count in 0..100_usize,
        ) {
            let data: Vec<usize> = (0..length).collect();
            let start = start % length;
            let range = start..(start + count).min(length);
            let parts: Vec<&[usize]> = data.chunks(size).collect();
            let sequences = (0..parts.len() as u64).collect();
            let slices = Batch::Many { sequences, size }.slices(range.clone());
            let found: Vec<usize> = slices
                .iter()
                .flat_map(|slice| &parts[usize::try_from(slice.sequence).unwrap()][slice.range.clone()])
                .copied()
                .collect();
            prop_assert_eq!(found, &data[range]);
            prop_assert!(slices.len() <= count.div_ceil(size) + 1);
        }
    }
}
