//! Sizes of reads, writes, blocks, groups and of the file.

use super::*;

/// Returns a batch of records of one stream, each with one message of `size` bytes.
fn batch(id: u64, times: usize, size: usize) -> Batch {
    Batch {
        id,
        times,
        messages: Vec::new(),
        size: Some(size),
        missing: 0,
        skipped: 0,
        change: 1,
    }
}

#[test]
fn writes_are_chunks_that_the_caller_can_stop() {
    let size = RECORD_BYTES + 1;
    let model = model_of(&[batch(1, 150, size)]);
    let items = items(&model);
    let data = model[0].1.data.clone();
    let mut writes = Vec::new();
    let mut write_until = |number, most| {
        writes.clear();
        let new = write(
            &Memory::default().disk(),
            number,
            IDENTITY,
            0..150,
            &items,
            |_| Ok(data.clone()),
            |bytes| {
                writes.push(bytes);
                if writes.len() == most {
                    return Err(io::Error::other("it stops").into());
                }
                Ok(())
            },
        );
        (new, writes.clone())
    };
    let (new, writes) = write_until(NUMBER, usize::MAX);
    let new = new.unwrap();
    let (last, full) = writes.split_last().unwrap();
    assert!(*last <= CHUNK && full.iter().all(|bytes| *bytes == CHUNK));
    assert_eq!(writes.iter().sum::<usize>() as u64, new.file.length());
    // Large records are blocks of their own, and an entry has a limited number of them.
    let blocks = decoded(&new.entries)
        .iter()
        .map(|entry| entry.blocks.len())
        .collect::<Vec<_>>();
    assert_eq!(blocks, [64, 64, 22]);

    let (stopped, writes) = write_until(NUMBER, 3);
    assert!(matches!(stopped, Err(SortedError::Io(_))));
    assert_eq!(writes.len(), 3);
}

#[test]
fn blocks_and_groups_keep_to_their_limits() {
    let memory = Memory::default();
    let model = model_of(&[batch(1, 3000, 99), batch(2, 25, 100_000)]);
    let new = written(&memory, &model);
    assert_eq!(memory.synced(NUMBER), new.file.length());
    let [small, large] = &decoded(&new.entries)[..] else {
        panic!("each stream has an entry");
    };
    let lengths = small.blocks.iter().map(|block| block.length);
    assert!(lengths.eq([65_500, 65_500, 65_500, 65_500, 38_000]));
    assert_eq!(large.blocks.len(), 25);
    let groups = new.file.order_from(0).unwrap();
    let counts = groups.map(|group| group.unwrap().heads().count());
    // The third has the last small records, and 9 large ones.
    assert!(counts.eq([1024, 1024, 952 + 9, 10, 6]));
}

#[test]
fn a_raw_record_is_a_block_of_its_own() {
    let mut model = model_of(&[batch(1, 3, 10)]);
    let (_, raw) = &mut model[1];
    raw.head.layout = Layout::Raw;
    raw.head.bytes = raw.head.length;
    let mut later = model[1].clone();
    later.1.first += 2;
    later.1.head.position += 2;
    model.push(later.clone());
    model[2].1.head = Head {
        position: model[2].1.head.position,
        ..later.1.head
    };
    // The layouts are now lines, raw, raw, raw.
    let entries = written(&Memory::default(), &model).entries;
    assert_eq!(decoded(&entries)[0].blocks.len(), 4);
}

#[test]
fn a_stream_is_read_in_chunks_of_adjacent_blocks() {
    let memory = Memory::default();
    let model = model_of(&[batch(1, 9000, 99)]);
    let new = written(&memory, &model);
    let data = new.file.footer.section(Section::Data).end;
    let data_reads = || -> Vec<usize> {
        let reads = memory.reads(NUMBER).into_iter();
        reads
            .filter(|(at, length)| {
                assert!(*length <= CHUNK);
                *at < data
            })
            .map(|(_, length)| length)
            .collect()
    };
    let entry = &decoded(&new.entries)[0];
    memory.reads(NUMBER);
    assert_eq!(new.file.read(entry, 0, usize::MAX).unwrap().len(), 9000);
    assert_eq!(data_reads(), [262_000, 262_000, 262_000, 114_000]);
    assert_eq!(new.file.read(entry, 700, 1).unwrap().len(), 610);
    assert_eq!(data_reads(), [65_500]);
    assert_eq!(new.file.read(entry, 655, 65_501).unwrap().len(), 1310);
    assert_eq!(data_reads(), [131_000]);
    new.file.heads(entry, 655, 9).unwrap();
    assert!(data_reads().is_empty());
}

#[test]
fn wanted_runs_that_are_close_are_read_at_once() {
    let memory = Memory::default();
    let streams = (0..40).map(|id| batch(id, 1, if id == 20 { 5000 } else { 100 }));
    let model = model_of(&streams.collect::<Vec<_>>());
    let file = written(&memory, &model).file;
    let group = file.order_from(0).unwrap().next().unwrap().unwrap();
    let reads = |wanted: &dyn Fn(u64) -> bool| {
        memory.reads(NUMBER);
        group.records(wanted).unwrap();
        memory.reads(NUMBER)
    };
    assert_eq!(reads(&|id| id == 7), [(707, 101)]);
    assert_eq!(reads(&|id| id == 7 || id == 9), [(707, 303)]);
    assert_eq!(reads(&|id| id != 20).len(), 2);
    assert_eq!(reads(&|_| true).len(), 1);
    assert_eq!(reads(&|_| false), []);
}

#[test]
fn each_stream_of_a_group_is_asked_for_once() {
    let file = written(&Memory::default(), &example()).file;
    let group = file.order_from(0).unwrap().next().unwrap().unwrap();
    let mut asked = Vec::new();
    let records = group.records(|id| {
        asked.push(id);
        id == 1
    });
    assert_eq!(records.unwrap().len(), 4);
    assert_eq!(asked, [1, 2, 900]);
}

/// Returns the bytes per record of data and of everything else, for messages of 92 bytes, each
/// committed alone.
fn overhead(streams: u64, records: u64) -> f64 {
    let mut rng = Rng::with_seed(1);
    let mut tails = BTreeMap::new();
    let mut time = 1_700_000_000_000;
    let model: Model = (0..records)
        .map(|position| {
            let id = 1 + rng.u64(..streams);
            let tail: &mut u64 = tails.entry(id).or_default();
            time += u64::from(position % 10 == 0);
            let message = Bytes::from_static(&[b'x'; 92]);
            let record = Record::encode(*tail, position, time, &[message]);
            *tail += 1;
            (id, record)
        })
        .collect();
    let memory = Memory::default();
    let file = written(&memory, &model).file;
    let [data, parts, order, entries, directory] = file.footer.ends;
    let per_record = |bytes: u64| f64::from(u32::try_from(bytes).unwrap()) / records as f64;
    let sections = [
        parts - data,
        order - parts,
        entries - order,
        directory - entries,
    ]
    .map(per_record);
    let all = per_record(file.length() - file.bytes());
    println!(
        "{streams} streams: {all:.2}, of which [parts, order, entries, directory] are {sections:.3?}"
    );
    all
}

#[test]
fn the_overhead_of_small_records_is_small() {
    // One line feed, and 6.2 bytes.
    assert!(overhead(1, 100_000) < 7.3);
    assert!(overhead(10_000, 300_000) < 23.0);
}
