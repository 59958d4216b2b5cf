mod damage;
mod limits;
mod memory;
mod model;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fastrand::Rng;
use proptest::prelude::*;

use self::{
    memory::Memory,
    model::{Batch, Model, any_model, example, model_of},
};
use super::writer::Written;
use super::{entry::ENTRY_BLOCKS, *};
use crate::{
    disk::format::record::{self, Layout, Record},
    grouping::RECORD_BYTES,
};

const NUMBER: u64 = 7;
const IDENTITY: u64 = 0x1234_5678_9abc_def0;

fn items(model: &Model) -> Vec<Item> {
    let item = |(at, (id, record)): (usize, &(u64, Record))| Item {
        id: *id,
        first: record.first,
        head: record.head,
        sum: Some(record::sum(&record.data)),
        source: 3,
        at: at as u64,
    };
    model.iter().enumerate().map(item).collect()
}

fn end_of(model: &Model) -> u64 {
    let last = model.last();
    last.map_or(0, |(_, it)| it.head.position + u64::from(it.head.count))
}

fn try_write(
    memory: &Memory,
    number: u64,
    model: &Model,
    items: &[Item],
) -> Result<Written, SortedError> {
    let range = 0..end_of(model) + 5;
    let read = |item: &Item| Ok(model[usize::try_from(item.at).unwrap()].1.data.clone());
    write(&memory.disk(), number, IDENTITY, range, items, read, |_| {
        Ok(())
    })
}

fn written(memory: &Memory, model: &Model) -> Written {
    try_write(memory, NUMBER, model, &items(model)).unwrap()
}

fn opened(memory: &Memory) -> Sorted {
    Sorted::open(&memory.disk(), NUMBER, IDENTITY).unwrap()
}

fn decoded(entries: &[Pair]) -> Vec<Entry> {
    let entries = entries.iter();
    entries
        .map(|(key, value)| Entry::decode(key, value).unwrap())
        .collect()
}

/// Returns the records of a file from a position on, of the streams that are wanted.
fn order(
    file: &Sorted,
    from: u64,
    wanted: impl Fn(u64) -> bool,
) -> Result<Vec<(u64, Record)>, SortedError> {
    let mut found = Vec::new();
    for group in file.order_from(from)? {
        found.extend(group?.records(&wanted)?);
    }
    Ok(found)
}

fn records_of(model: &Model, id: u64) -> Vec<Record> {
    let records = model.iter().filter(|(it, _)| *it == id);
    records.map(|(_, record)| record.clone()).collect()
}

/// Returns the answer, or `None` for damage.
fn unless_damaged<T>(answer: Result<T, SortedError>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(SortedError::Damaged { file, .. }) => {
            assert_eq!(file, NUMBER);
            None
        }
        Err(other) => panic!("{other}"),
    }
}

fn check_streams(file: &Sorted, entries: &[Entry], model: &Model, rng: &mut Rng) {
    let mut streams: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    for entry in entries {
        let all = file.read(entry, 0, usize::MAX).unwrap();
        assert_eq!(all.first().map(|it| it.first), Some(entry.first));
        assert_eq!(all.last().map(Record::end), Some(entry.end()));
        assert!(all.is_sorted_by(|one, next| one.end() == next.first));
        for _ in 0..4 {
            let from = rng.u64(entry.first.saturating_sub(1)..=entry.end());
            let expected: Vec<&Record> = all.iter().filter(|it| it.end() > from).collect();
            let budget = 1_usize << rng.u32(..20);
            let found = file.read(entry, from, budget).unwrap();
            assert_eq!(found.is_empty(), expected.is_empty());
            assert!(found.iter().eq(expected.iter().copied().take(found.len())));
            if found.len() < expected.len() {
                let blocks = entry.blocks_from(from);
                let read = blocks
                    .iter()
                    .take_while(|block| found.last().unwrap().end() >= block.end);
                let read: u64 = read.map(|block| u64::from(block.length)).sum();
                assert!(read >= budget as u64, "{read} of {budget}");
            }
            let most = rng.usize(..=expected.len() + 1);
            let heads = file.heads(entry, from, most).unwrap();
            let expected = expected.iter().map(|it| (it.first, it.head));
            assert!(heads.into_iter().eq(expected.take(most)));
        }
        streams.entry(entry.id).or_default().extend(all);
    }
    let ids: BTreeSet<u64> = model.iter().map(|(id, _)| *id).collect();
    assert!(streams.keys().copied().eq(ids));
    for (id, records) in streams {
        assert_eq!(records, records_of(model, id));
    }
}

fn check_order(file: &Sorted, model: &Model, rng: &mut Rng) {
    assert_eq!(&order(file, 0, |_| true).unwrap(), model);
    for _ in 0..6 {
        let from = rng.u64(..=end_of(model) + 1);
        let wanted: BTreeSet<u64> = model
            .iter()
            .map(|(id, _)| *id)
            .filter(|_| rng.bool())
            .collect();
        let is_later = |it: &Record| it.head.position + u64::from(it.head.count) > from;
        let later = || model.iter().filter(|(_, it)| is_later(it));
        let expected: Model = later()
            .filter(|(id, _)| wanted.contains(id))
            .cloned()
            .collect();
        let found = order(file, from, |id| wanted.contains(&id)).unwrap();
        assert_eq!(found, expected);

        let mut heads = Vec::new();
        for group in file.order_from(from).unwrap() {
            let group = group.unwrap();
            let found: Vec<_> = group.heads().collect();
            let ids: BTreeSet<u64> = found.iter().map(|(id, ..)| *id).collect();
            assert!(group.streams().eq(ids));
            assert_eq!(group.first(), found[0].2.position);
            let last = found.last().unwrap().2;
            assert_eq!(group.end(), last.position + u64::from(last.count));
            heads.extend(found);
        }
        let expected = later().map(|(id, it)| (*id, it.first, it.head));
        assert!(heads.into_iter().eq(expected));
    }
}

fn check_rewrite(memory: &Memory, file: &Sorted, model: &Model, rng: &mut Rng) {
    let all: Vec<Item> = file.items(9).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(all.iter().all(|item| item.source == 9));
    let described = all.iter().map(|item| (item.id, item.first, item.head));
    assert!(described.eq(model.iter().map(|(id, it)| (*id, it.first, it.head))));
    let (mut kept, mut expected) = (Vec::new(), Vec::new());
    for (item, record) in all.into_iter().zip(model) {
        if rng.u32(..4) > 0 {
            kept.push(item);
            expected.push(record.clone());
        }
    }
    let mut data = file.data().unwrap();
    let new = write(
        &memory.disk(),
        NUMBER + 1,
        IDENTITY,
        file.range(),
        &kept,
        |item| data.read(item.at, item.head.length),
        |_| Ok::<_, SortedError>(()),
    )
    .unwrap();
    assert_eq!(order(&new.file, 0, |_| true).unwrap(), expected);
    check_streams(&new.file, &decoded(&new.entries), &expected, rng);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_file_reads_as_a_model_does(model in any_model(), seed: u64) {
        let memory = Memory::default();
        let mut rng = Rng::with_seed(seed);
        let new = written(&memory, &model);
        let file = opened(&memory);
        prop_assert_eq!(&file.footer, &new.file.footer);
        prop_assert_eq!(file.number(), NUMBER);
        prop_assert_eq!(file.range(), 0..end_of(&model) + 5);
        prop_assert_eq!(file.records(), model.len() as u64);
        let bytes: u64 = model.iter().map(|(_, it)| u64::from(it.head.bytes)).sum();
        prop_assert_eq!(file.bytes(), bytes);
        prop_assert_eq!(file.length(), memory.content(NUMBER).lock().unwrap().len() as u64);
        prop_assert_eq!(&file.entries().unwrap(), &new.entries);
        prop_assert!(new.entries.is_sorted());

        check_streams(&file, &decoded(&new.entries), &model, &mut rng);
        check_order(&file, &model, &mut rng);
        check_rewrite(&memory, &file, &model, &mut rng);
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), small: bool) {
        let mut bytes = bytes;
        if small {
            bytes.iter_mut().for_each(|byte| *byte &= 7);
        }
        order::decode_anything(&bytes);
        reader::decode_anything(&bytes);
        let _ = Entry::key_of(&bytes);
        let key = Entry::key(1, u64::MAX - 3);
        let Ok(mut entry) = Entry::decode(&key, &bytes) else {
            return Ok(());
        };
        prop_assert!(entry.blocks.len() <= ENTRY_BLOCKS);
        let memory = Memory::default();
        let file = written(&memory, &example()).file;
        prop_assert!(entry.file == NUMBER || file.read(&entry, 0, 99).is_err());
        entry.file = NUMBER;
        prop_assert!(file.read(&entry, 0, usize::MAX).is_err());
        prop_assert!(file.heads(&entry, 0, usize::MAX).is_err());
    }

    #[test]
    fn a_key_round_trips_and_sorts_as_its_numbers_do(one: (u64, u64), other: (u64, u64)) {
        let (key, other_key) = (Entry::key(one.0, one.1), Entry::key(other.0, other.1));
        prop_assert_eq!(Entry::key_of(&key), Some(one));
        prop_assert_eq!(key.cmp(&other_key), one.cmp(&other));
    }
}

#[test]
fn items_that_dont_fit_the_format_are_refused_with_their_place() {
    let model = example();
    let right = items(&model);
    let refused = |change: &dyn Fn(&mut Vec<Item>)| {
        let mut items = right.clone();
        change(&mut items);
        let result = try_write(&Memory::default(), NUMBER, &model, &items);
        match result.map(|_| ()) {
            Err(SortedError::Record { id, first, .. }) => (id, first),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|it| it.swap(3, 4)), (right[3].id, right[3].first));
    // Positions before the range's end, after the next record, and at the end of all.
    assert_eq!(refused(&|it| it[0].head.position += 1), (1, 2));
    assert_eq!(refused(&|it| it[8].head.position += 6).0, right[8].id);
    assert_eq!(refused(&|it| it[8].head.position = u64::MAX).0, right[8].id);
    // Offsets that overlap, repeat or overflow.
    assert_eq!(refused(&|it| it[0].first += 1), (1, 2));
    assert_eq!(refused(&|it| it[1].first = 0).0, 1);
    let swap_offsets = |it: &mut Vec<Item>| (it[0].first, it[1].first) = (2, 0);
    assert_eq!(refused(&swap_offsets), (1, 2));
    assert_eq!(
        refused(&|it| it[2].first = u64::MAX - 1),
        (900, u64::MAX - 1)
    );
    // Heads of no record.
    assert_eq!(refused(&|it| it[2].head.count = 0), (900, 70));
    assert_eq!(refused(&|it| it[1].head.bytes += 1), (1, 2));
    // Bytes that aren't those of the record.
    assert_eq!(refused(&|it| it[1].sum = Some(1)), (1, 2));
    assert_eq!(refused(&|it| it[2].head.length += 1), (900, 70));
}

#[test]
fn a_file_without_records_covers_its_range() {
    let memory = Memory::default();
    let new = written(&memory, &Vec::new());
    assert_eq!(new.entries, []);
    let file = opened(&memory);
    assert_eq!((file.range(), file.records()), (0..5, 0));
    assert_eq!(file.entries().unwrap(), []);
    assert_eq!(file.order_from(0).unwrap().count(), 0);
    assert_eq!(file.items(0).unwrap().count(), 0);
    assert_eq!(
        unless_damaged(file.data().unwrap().read(0, 1)).map(drop),
        None
    );
}

#[test]
fn a_name_has_one_number() {
    assert_eq!(sorted_name(12), "00000000000000000012.dat");
    for number in [0, 12, u64::MAX] {
        assert_eq!(number_of(&sorted_name(number)), Some(number));
    }
    for name in [
        "12.dat",
        "+0000000000000000012.dat",
        "00000000000000000012",
        ".dat",
    ] {
        assert_eq!(number_of(name), None, "{name:?}");
    }
}
