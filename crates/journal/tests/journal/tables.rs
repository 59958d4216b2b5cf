//! Tables of sorted pairs.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use bytes::Bytes;
use fastrand::Rng;
use headwater_journal::{BlockCache, Disk, Table, TableError, TableWriter, table_name};
use proptest::{collection::btree_map, prelude::*};

use crate::{
    seeds,
    sim::{Event, Sim},
};

type Content = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn shared(disk: &Sim) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn write(disk: &Sim, number: u64, content: &Content) -> std::io::Result<Table> {
    let mut writer = TableWriter::create(&shared(disk), number)?;
    for (key, value) in content {
        writer.put(key, value.as_deref())?;
    }
    writer.finish()
}

fn plain(value: Option<Bytes>) -> Option<Vec<u8>> {
    value.map(Vec::from)
}

/// Returns all pairs from a key on.
fn pairs_from(table: &Table, key: &[u8], cache: &BlockCache) -> Result<Content, TableError> {
    let pairs = table.iter_from(key, cache);
    let mut last: Option<Vec<u8>> = None;
    pairs
        .map(|pair| {
            let (key, value) = pair?;
            assert!(last.as_ref() < Some(&key), "the keys ascend");
            last = Some(key.clone());
            Ok((key, plain(value)))
        })
        .collect()
}

/// Compares a table with its content, at these keys.
fn compare(
    table: &Table,
    content: &Content,
    keys: &[Vec<u8>],
    cache: &BlockCache,
) -> Result<(), TableError> {
    for (key, to) in keys.iter().zip(keys.iter().rev()) {
        assert_eq!(table.get(key, cache)?.map(plain), content.get(key).cloned());
        let rest: Content = content
            .range(key.clone()..)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(pairs_from(table, key, cache)?, rest);
        let last = table.last_at_most(key, to, cache)?;
        let last = last.map(|(key, value)| (key, plain(value)));
        let expected = (key <= to).then(|| content.range(key.clone()..=to.clone()).next_back());
        let expected = expected.flatten();
        assert_eq!(
            last,
            expected.map(|(key, value)| (key.clone(), value.clone()))
        );
    }
    assert_eq!(table.pairs(), content.len() as u64);
    Ok(())
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let short = prop::collection::vec(prop::sample::select(vec![0, b'a', b'b', 0xff]), 0..6);
    let long = (any::<u8>(), 1000..4096_usize).prop_map(|(byte, length)| vec![byte; length]);
    prop_oneof![20 => short, 1 => long]
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    let bytes = |lengths| prop::collection::vec(any::<u8>(), lengths);
    prop_oneof![
        2 => Just(None),
        8 => bytes(0..40).prop_map(Some),
        2 => bytes(40..2000).prop_map(Some),
        1 => (any::<u8>(), 4000..9000_usize).prop_map(|(byte, length)| Some(vec![byte; length])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_is_read_as_it_was_written(
        content in btree_map(key(), value(), 0..150), others in prop::collection::vec(key(), 20),
        cached in prop::sample::select(vec![0, 20_000, 1 << 20]),
    ) {
        let disk = Sim::new(1);
        let written = write(&disk, 7, &content).unwrap();
        let opened = Table::open(&shared(&disk), 7).unwrap();
        let cache = BlockCache::new(cached);
        let mut keys: Vec<_> = content.keys().step_by(5).cloned().chain(others).collect();
        Rng::with_seed(content.len() as u64).shuffle(&mut keys);
        for table in [&written, &opened] {
            compare(table, &content, &keys, &cache).unwrap();
            assert_eq!(table.number(), 7);
            assert_eq!(table.bytes(), disk.content(&table_name(7)).len() as u64);
        }
    }
}

#[test]
fn the_largest_keys_and_values_fit_between_small_ones() {
    let disk = Sim::new(1);
    let mut content = Content::new();
    for byte in 0..6 {
        content.insert(vec![byte, 0], Some(vec![byte]));
        content.insert(vec![byte; 4096], Some(vec![byte; 1 << 20]));
        content.insert(vec![byte, 0xff], None);
    }
    write(&disk, 7, &content).unwrap();
    let table = Table::open(&shared(&disk), 7).unwrap();
    let keys: Vec<_> = content.keys().cloned().collect();
    compare(&table, &content, &keys, &BlockCache::new(1 << 20)).unwrap();
}

/// Pairs of several blocks, or of one.
fn some_pairs(count: u16) -> Content {
    let pair = |number: u16| {
        let key = format!("stream {:05}", number * 3).into_bytes();
        (
            key,
            (!number.is_multiple_of(5)).then(|| vec![b'v'; usize::from(number % 60)]),
        )
    };
    (0..count).map(pair).collect()
}

/// Compares everything, as long as nothing is reported.
fn check(disk: &Sim, content: &Content) -> Result<(), TableError> {
    let table = Table::open(&shared(disk), 7)?;
    let cache = BlockCache::new(0);
    assert_eq!(&pairs_from(&table, b"", &cache)?, content);
    let ends = (Bound::Excluded(b"stream 00001".to_vec()), Bound::Unbounded);
    for (key, value) in content.range(ends).step_by(20) {
        assert_eq!(table.get(key, &cache)?.map(plain), Some(value.clone()));
        let last = table.last_at_most(b"", key, &cache)?;
        assert_eq!(last.map(|(key, _)| key).as_ref(), Some(key));
    }
    Ok(())
}

#[test]
fn every_flipped_bit_is_reported() {
    for (count, step) in [(0, 1), (20, 1), (600, 37)] {
        let disk = Sim::new(1);
        let content = some_pairs(count);
        let table = write(&disk, 7, &content).unwrap();
        check(&disk, &content).unwrap();
        let name = table_name(7);
        let length = usize::try_from(table.bytes()).unwrap();
        assert!(
            count < 600 || length > 3 * 4096,
            "{length} bytes are few blocks"
        );
        for bit in (0..length * 8).step_by(step) {
            let (byte, bit) = (bit / 8, u8::try_from(bit % 8).unwrap());
            disk.flip(&name, byte, bit);
            match check(&disk, &content) {
                Err(TableError::Damaged { number: 7, offset }) => {
                    assert!(offset <= byte as u64);
                }
                other => panic!("bit {bit} of byte {byte}: {other:?}"),
            }
            disk.flip(&name, byte, bit);
        }
    }
}

#[test]
fn a_cut_off_table_and_one_under_another_number_are_reported() {
    let disk = Sim::new(1);
    let content = some_pairs(300);
    write(&disk, 7, &content).unwrap();
    let whole = disk.content(&table_name(7));
    for length in (0..whole.len()).step_by(101).chain([whole.len() - 1]) {
        disk.replace(&table_name(7), whole[..length].to_vec());
        let found = check(&disk, &content);
        assert!(matches!(found, Err(TableError::Damaged { number: 7, .. })));
    }
    disk.replace(&table_name(7), [&whole[..], &[0]].concat());
    assert!(matches!(
        check(&disk, &content),
        Err(TableError::Damaged { .. })
    ));
    disk.replace(&table_name(7), whole);
    check(&disk, &content).unwrap();
    disk.rename(&table_name(7), &table_name(8)).unwrap();
    let opened = Table::open(&shared(&disk), 8).map(|_| ());
    let error = opened.unwrap_err().to_string();
    assert!(
        error.starts_with("00000000000000000008.idx is damaged at byte "),
        "{error}"
    );
    let missing = Table::open(&shared(&disk), 7).map(|_| ());
    assert!(matches!(missing, Err(TableError::Disk { number: 7, .. })));
}

#[test]
fn a_block_that_was_cut_off_after_opening_is_reported() {
    let disk = Sim::new(1);
    let table = write(&disk, 7, &some_pairs(300)).unwrap();
    let mut whole = disk.content(&table_name(7));
    whole.truncate(5000);
    disk.replace(&table_name(7), whole);
    let cache = BlockCache::new(0);
    let mut pairs = table.iter_from(b"", &cache).skip_while(Result::is_ok);
    let error = pairs.next().unwrap().unwrap_err();
    assert!(matches!(
        error,
        TableError::Damaged {
            number: 7,
            offset: 1..
        }
    ));
    assert!(pairs.next().is_none());
}

#[test]
fn an_unfinished_table_leaves_no_file() {
    let disk = Sim::new(1);
    let mut writer = TableWriter::create(&shared(&disk), 7).unwrap();
    writer.put(b"key", Some(b"value")).unwrap();
    assert_eq!(disk.list().unwrap(), [table_name(7)]);
    assert!(TableWriter::create(&shared(&disk), 7).is_err());
    drop(writer);
    assert!(disk.list().unwrap().is_empty());
}

#[test]
fn a_finished_table_survives_a_loss_of_power_and_a_failed_one_is_gone() {
    // Long enough for several writes.
    let mut content = some_pairs(300);
    content.insert(b"t".to_vec(), Some(vec![b'v'; 600 << 10]));
    content.extend([(b"u".to_vec(), None)]);
    let mut failed = 0;
    for seed in seeds(3) {
        for event in [Event::PowerLoss, Event::Failure, Event::Full] {
            for at in 1..10 {
                let disk = Sim::new(seed);
                disk.plan(at, event);
                let written = write(&disk, 7, &content);
                let is_durable = written.is_ok() && disk.sync().is_ok();
                if is_durable {
                    check(&disk.after_power_loss(), &content).unwrap();
                    continue;
                }
                failed += 1;
                // The first operation creates the file.
                if written.is_err() && event != Event::PowerLoss && at > 1 {
                    assert!(disk.list().unwrap().is_empty());
                }
            }
        }
    }
    assert!(failed > 30, "{failed} tables failed");
}
