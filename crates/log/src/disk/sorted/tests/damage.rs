//! Files that aren't what was written.

use super::*;

/// Everything that a file answers, each with whether it is damaged.
#[derive(Debug, PartialEq)]
struct Answers {
    entries: Option<Vec<Pair>>,
    streams: Vec<Option<Vec<Record>>>,
    heads: Vec<Option<Vec<(u64, Head)>>>,
    orders: Vec<Option<Model>>,
    items: Option<Vec<Item>>,
    data: Vec<Option<Bytes>>,
}

fn answers(file: &Sorted, entries: &[Entry], items: &[Item]) -> Answers {
    let reads = entries.iter();
    let streams = reads.clone().map(|it| read_whole(file, it));
    let heads = reads.map(|it| file.heads(it, 0, usize::MAX));
    let wanted: [fn(u64) -> bool; 4] = [|_| true, |id| id == 1, |id| id == 2, |id| id == 900];
    let orders = wanted.iter().map(|wanted| order(file, 0, wanted));
    Answers {
        entries: unless_damaged(file.entries()),
        streams: streams.map(unless_damaged).collect(),
        heads: heads.map(unless_damaged).collect(),
        orders: orders.map(unless_damaged).collect(),
        items: unless_damaged(file.items(0).and_then(Iterator::collect)),
        data: match unless_damaged(file.data()) {
            None => vec![None; items.len()],
            Some(mut data) => {
                let read = items
                    .iter()
                    .map(|item| data.read(item.at, item.head.length));
                read.map(unless_damaged).collect()
            }
        },
    }
}

/// Reads all records of an entry. A read ends before damage, and the next one reports it.
fn read_whole(file: &Sorted, entry: &Entry) -> Result<Vec<Record>, SortedError> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = records.last().map_or(0, Record::end);
        if !records.is_empty() && from >= entry.end() {
            return Ok(records);
        }
        let more = file.read(entry, from, usize::MAX)?;
        assert!(!more.is_empty(), "there are more at {from}");
        records.extend(more);
    }
}

/// Returns `true` if each answer is the right one or none. Counts those that are right.
fn is_none_wrong(found: &Answers, right: &Answers) -> (bool, usize) {
    let mut is_right = true;
    let mut count = 0;
    let mut check = |is_some: bool, is_equal: bool| {
        is_right &= !is_some || is_equal;
        count += usize::from(is_some);
    };
    check(found.entries.is_some(), found.entries == right.entries);
    check(found.items.is_some(), found.items == right.items);
    for (found, right) in found.streams.iter().zip(&right.streams) {
        check(found.is_some(), found == right);
    }
    for (found, right) in found.heads.iter().zip(&right.heads) {
        check(found.is_some(), found == right);
    }
    for (found, right) in found.orders.iter().zip(&right.orders) {
        check(found.is_some(), found == right);
    }
    for (found, right) in found.data.iter().zip(&right.data) {
        check(found.is_some(), found == right);
    }
    (is_right, count)
}

#[test]
fn a_flipped_bit_never_leads_to_a_wrong_answer() {
    let memory = Memory::default();
    let new = written(&memory, &example());
    let entries = decoded(&new.entries);
    let items: Vec<Item> = new.file.items(0).unwrap().map(Result::unwrap).collect();
    let right = answers(&new.file, &entries, &items);
    let (_, all) = is_none_wrong(&right, &right);
    let content = memory.content(NUMBER);
    let length = content.lock().unwrap().len();
    let footer = length - FOOTER;
    for bit in 0..length * 8 {
        content.lock().unwrap()[bit / 8] ^= 1 << (bit % 8);
        match Sorted::open(&memory.disk(), NUMBER, IDENTITY) {
            Err(error) => {
                assert!(bit / 8 >= footer, "{error}");
                assert_eq!(unless_damaged::<()>(Err(error)), None);
            }
            Ok(file) => {
                assert!(bit / 8 < footer);
                let (is_right, count) = is_none_wrong(&answers(&file, &entries, &items), &right);
                assert!(is_right, "a wrong answer after bit {bit}");
                assert!(count < all, "bit {bit} isn't covered");
                assert!(count > 0, "bit {bit} breaks everything");
            }
        }
        content.lock().unwrap()[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_file_of_another_length_name_or_log_is_damaged() {
    let memory = Memory::default();
    let new = written(&memory, &example());
    let content = memory.content(NUMBER);
    let whole = content.lock().unwrap().clone();
    let is_damaged = |number, identity| {
        let result = Sorted::open(&memory.disk(), number, identity);
        matches!(result, Err(SortedError::Damaged { .. }))
    };
    for length in 0..whole.len() {
        content.lock().unwrap().truncate(length);
        assert!(is_damaged(NUMBER, IDENTITY), "{length}");
        *content.lock().unwrap() = whole.clone();
    }
    content.lock().unwrap().insert(0, 0);
    assert!(is_damaged(NUMBER, IDENTITY));
    *content.lock().unwrap() = whole;
    assert!(is_damaged(NUMBER, IDENTITY + 1));

    // A file that becomes shorter while it is open.
    content.lock().unwrap().clear();
    for entry in decoded(&new.entries) {
        assert_eq!(unless_damaged(new.file.read(&entry, 0, 1)), None);
    }

    let (from, to) = (sorted_name(NUMBER), sorted_name(NUMBER + 1));
    memory.rename(&from, &to).unwrap();
    assert!(is_damaged(NUMBER + 1, IDENTITY));
}

#[test]
fn unwanted_streams_are_neither_read_nor_checked() {
    let memory = Memory::default();
    let model = example();
    let file = written(&memory, &model).file;
    // The data begins with that of stream 1.
    memory.content(NUMBER).lock().unwrap()[0] ^= 1;
    let expected: Model = model.iter().filter(|(id, _)| *id != 1).cloned().collect();
    assert_eq!(order(&file, 0, |id| id != 1).unwrap(), expected);
    assert!(order(&file, 0, |id| id == 1).is_err());

    // A rewrite without the damaged block succeeds.
    let mut data = file.data().unwrap();
    for item in file.items(0).unwrap().map(Result::unwrap) {
        let read = unless_damaged(data.read(item.at, item.head.length));
        let is_in_damaged_block = item.id == 1 && item.first < 4;
        assert_eq!(read.is_none(), is_in_damaged_block, "{item:?}");
    }
}

#[test]
fn an_entry_or_a_place_that_the_file_doesnt_have_is_refused_before_it_is_read() {
    let memory = Memory::default();
    let new = written(&memory, &example());
    let entry = &decoded(&new.entries)[0];
    let is_refused = |change: &dyn Fn(&mut BlockRef)| {
        let mut entry = entry.clone();
        change(&mut entry.blocks[0]);
        memory.reads(NUMBER);
        assert_eq!(unless_damaged(new.file.read(&entry, 0, 1)), None);
        memory.reads(NUMBER).is_empty()
    };
    assert!(is_refused(&|block| block.length = u32::MAX));
    assert!(is_refused(&|block| block.at = u64::MAX));
    assert!(!is_refused(&|block| block.parts = u32::MAX));
    assert!(!is_refused(&|block| block.end += 1));

    let item = new.file.items(0).unwrap().next().unwrap().unwrap();
    let mut data = new.file.data().unwrap();
    memory.reads(NUMBER);
    for length in [item.head.length + 1000, u32::MAX] {
        assert_eq!(unless_damaged(data.read(item.at, length)), None);
    }
    assert_eq!(memory.reads(NUMBER), []);
}

#[test]
fn a_list_in_the_place_of_another_is_damage() {
    let memory = Memory::default();
    let mut model = example();
    model.truncate(1);
    let mut other = model[0].clone();
    other.0 += 1;
    other.1.head.position += 2;
    model.push(other);
    let new = written(&memory, &model);
    let entries = decoded(&new.entries);
    let parts = new.file.footer.section(Section::Parts).start;
    let place = |entry: &Entry| {
        let start = usize::try_from(parts + entry.blocks[0].parts_at).unwrap();
        start..start + usize::try_from(entry.blocks[0].parts).unwrap()
    };
    let (one, other) = (place(&entries[0]), place(&entries[1]));
    assert_eq!(one.len(), other.len());
    let content = memory.content(NUMBER);
    content.lock().unwrap().copy_within(one, other.start);
    assert!(new.file.heads(&entries[0], 0, 1).is_ok());
    assert_eq!(unless_damaged(new.file.heads(&entries[1], 0, 1)), None);
}
