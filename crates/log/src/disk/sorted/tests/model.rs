//! Records to write, and what a file should answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::{disk::format::record::Record, grouping::RECORD_BYTES};

/// Records with their streams, in position order.
pub(super) type Model = Vec<(u64, Record)>;

/// Similar records of a stream.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) id: u64,
    pub(super) times: usize,
    pub(super) messages: Vec<Vec<u8>>,
    /// Size of the only message, if it is set.
    pub(super) size: Option<usize>,
    pub(super) missing: u64,
    pub(super) skipped: u64,
    pub(super) change: i64,
}

pub(super) fn any_batch() -> impl Strategy<Value = Batch> {
    let message = prop_oneof![
        4 => prop::collection::vec(b'a'..=b'z', 0..60),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    (
        prop_oneof![9 => 0..5_u64, 1 => Just(u64::MAX)],
        prop_oneof![6 => Just(1_usize), 2 => 1..40_usize, 1 => 400..1500_usize],
        prop::collection::vec(message, 1..5),
        prop_oneof![
            16 => Just(None),
            1 => (20_000..RECORD_BYTES + 1).prop_map(Some),
            1 => (RECORD_BYTES..300_000).prop_map(Some),
        ],
        prop_oneof![5 => Just(0), 1 => 1..1_u64 << 40],
        prop_oneof![3 => Just(0), 1 => 1..1000_u64],
        prop_oneof![3 => Just(0), 2 => 0..3_i64, 1 => any::<i64>()],
    )
        .prop_map(
            |(id, times, messages, size, missing, skipped, change)| Batch {
                id,
                // Large records are few.
                times: if size.is_some() { times % 3 + 1 } else { times },
                messages,
                size,
                missing,
                skipped,
                change,
            },
        )
}

pub(super) fn model_of(batches: &[Batch]) -> Model {
    let mut tails = BTreeMap::new();
    let (mut position, mut time) = (0, 1_700_000_000_000_u64);
    let mut model = Vec::new();
    for batch in batches {
        let messages: Vec<Bytes> = match batch.size {
            Some(size) => vec![vec![b'x'; size].into()],
            None => batch.messages.iter().map(|it| it.clone().into()).collect(),
        };
        for turn in 0..batch.times {
            let tail: &mut u64 = tails.entry(batch.id).or_default();
            if turn == 0 {
                *tail += batch.missing;
                position += batch.skipped;
            }
            time = time.wrapping_add_signed(batch.change);
            let record = Record::encode(*tail, position, time, &messages);
            *tail = record.end();
            position += u64::from(record.head.count);
            model.push((batch.id, record));
        }
    }
    model
}

pub(super) fn any_model() -> impl Strategy<Value = Model> {
    prop::collection::vec(any_batch(), 0..40).prop_map(|batches| model_of(&batches))
}

/// Few records with every feature of the format, except for large records.
pub(super) fn example() -> Model {
    let lines = vec![b"one".to_vec(), b"three".to_vec()];
    let lengths = vec![b"a\nb".to_vec(), b"c".to_vec()];
    let batch = |id, times, messages: &Vec<Vec<u8>>, missing, skipped, change| Batch {
        id,
        times,
        messages: messages.clone(),
        size: None,
        missing,
        skipped,
        change,
    };
    model_of(&[
        batch(1, 2, &lines, 0, 3, 0),
        batch(900, 1, &lengths, 70, 0, -4),
        batch(1, 1, &lengths, 0, 0, 90),
        batch(2, 3, &vec![vec![b'x'; 40]], 0, 0, 1),
        batch(900, 1, &lengths, 0, 200, 0),
        batch(1, 1, &lines, 5, 0, 0),
    ])
}
