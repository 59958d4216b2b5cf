//! Messages that are damaged while the log is open: reads and extents end before them.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use headwater_log::{
    Append, Clock, DiskLog, DiskOptions, Extent, Limits, Log, Offset, Position, ReadFrom,
    StreamName,
};

use crate::support::{append, fork_of, name, options, plain, quick_folder, run};

const MESSAGES: u64 = 100;
/// The offset of the damaged message.
const DAMAGED: u64 = 60;

fn settings() -> DiskOptions {
    options(&Clock::system(), Limits::default())
}

fn message(number: u64) -> String {
    format!("{number:04}{}", "m".repeat(1000))
}

/// Changes a byte of the message at [`DAMAGED`], in the file of this kind that has it.
fn damage(folder: &Path, extension: &str) {
    let text = &message(DAMAGED).into_bytes()[..8];
    for entry in std::fs::read_dir(folder.join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != extension) {
            continue;
        }
        let content = std::fs::read(&path).unwrap();
        let at = content.windows(text.len()).position(|it| it == text);
        if let Some(at) = at {
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.write_all_at(b"?", at as u64).unwrap();
            return;
        }
    }
    panic!("no file has the message");
}

/// Creates a log with a stream of which each message has a record of its own.
fn filled(folder: &Path) -> StreamName {
    let stream = name("a");
    let log = DiskLog::open(folder, settings()).unwrap();
    run(async {
        log.create(&stream, plain()).await.unwrap();
        for number in 0..MESSAGES {
            append(&log, &stream, &[&message(number)]).await;
        }
    });
    stream
}

/// Reads a stream up to damage in the budgets of `budget`. Returns the number of messages.
async fn read(log: &DiskLog, stream: &StreamName, budget: usize) -> u64 {
    let mut count = 0;
    loop {
        let from = ReadFrom::At(Offset::new(count));
        match log.read(stream, from, budget).await {
            Ok(chunk) => {
                assert!(!chunk.is_empty(), "a read has a message or an error");
                for (number, read) in (count..).zip(chunk.messages()) {
                    assert_eq!(read.bytes, message(number));
                }
                count += chunk.count();
            }
            Err(error) => {
                assert!(error.is_damaged(), "{error:?}");
                return count;
            }
        }
    }
}

async fn measure(log: &DiskLog, stream: &StreamName, from: u64, budget: u64) -> Extent {
    let from = ReadFrom::At(Offset::new(from));
    log.measure(stream, from, budget).await.unwrap()
}

/// Checks that extents end at `end`, and are as long as they were if they don't reach it.
async fn check_extents(log: &DiskLog, stream: &StreamName, end: u64) {
    let bytes = message(0).len() as u64;
    for from in [0, 1, end - 1] {
        let extent = measure(log, stream, from, u64::MAX).await;
        assert_eq!(extent.next.number(), end);
        assert_eq!(extent.bytes, (end - from) * bytes);
        assert!(!extent.at_tail);
    }
    let extent = measure(log, stream, 5, 3 * bytes).await;
    assert_eq!((extent.next.number(), extent.bytes), (8, 3 * bytes));
    let extent = measure(log, stream, end, u64::MAX).await;
    assert_eq!(
        (extent.count(), extent.bytes, extent.at_tail),
        (0, 0, false)
    );
}

#[test]
fn an_extent_ends_before_damage_that_a_read_has_met() {
    for budget in [1, 10_000, usize::MAX] {
        let folder = quick_folder();
        let stream = filled(folder.path());
        let log = DiskLog::open(folder.path(), settings()).unwrap();
        damage(folder.path(), "seg");
        run(async {
            let fork = name("fork");
            log.create(&fork, fork_of(&stream)).await.unwrap();
            append(&log, &fork, &["its own"]).await;
            // The index doesn't know of it.
            let extent = measure(&log, &stream, 0, u64::MAX).await;
            assert!(extent.at_tail);
            assert!(log.warnings().is_empty());

            assert_eq!(read(&log, &stream, budget).await, DAMAGED);
            assert_eq!(log.warnings().len(), 1);
            check_extents(&log, &stream, DAMAGED).await;
            let extent = measure(&log, &stream, DAMAGED + 1, u64::MAX).await;
            assert_eq!(extent.count(), MESSAGES - DAMAGED - 1);
            assert!(extent.at_tail);
            // Nothing has read the fork.
            check_extents(&log, &fork, DAMAGED).await;
        });
    }
}

#[test]
fn the_damage_that_opening_accepts_is_known() {
    let folder = quick_folder();
    let stream = filled(folder.path());
    damage(folder.path(), "seg");
    let mut settings = settings();
    settings.accept_damage = true;
    let log = DiskLog::open(folder.path(), settings).unwrap();
    assert_eq!(log.recovery().damaged, 1);
    run(check_extents(&log, &stream, DAMAGED));
    assert_eq!(run(read(&log, &stream, usize::MAX)), DAMAGED);
}

#[test]
fn an_extent_ends_before_a_damaged_block_of_a_sorted_file() {
    let folder = quick_folder();
    let stream = filled(folder.path());
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    rewrite(&log);
    damage(folder.path(), "dat");
    run(async {
        let end = read(&log, &stream, usize::MAX).await;
        // A block has about 64 KiB.
        assert!(end <= DAMAGED, "{end}");
        match end {
            0 => {
                let extent = measure(&log, &stream, 0, u64::MAX).await;
                assert_eq!((extent.count(), extent.at_tail), (0, false));
            }
            end => check_extents(&log, &stream, end).await,
        }
    });
}

/// Reads the order from its start. Returns the offsets of a stream's messages, and the ranges of those that
/// are reported as damaged.
fn in_order(log: &DiskLog, stream: &StreamName, budget: usize) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut messages, mut damaged) = (Vec::new(), Vec::new());
    let mut from = Position::new(0);
    loop {
        let chunk = run(log.read_order(from, budget, None)).unwrap();
        assert!(chunk.next > from || chunk.at_head, "it makes progress");
        let entries = chunk.entries.iter().filter(|it| it.stream == *stream);
        messages.extend(entries.map(|it| it.message.offset.number()));
        for gap in chunk.trimmed.iter().filter(|it| it.stream == *stream) {
            let first = gap.damaged_from.expect("nothing was trimmed").number();
            damaged.push((first, gap.floor.number()));
            // A reader that resumes after the notice gets what follows.
            let after = Position::new(gap.position.number() + 1);
            let rest = run(log.read_order(after, usize::MAX, None)).unwrap();
            assert!(rest.trimmed.iter().all(|it| it.position > gap.position));
        }
        from = chunk.next;
        if chunk.at_head {
            return (messages, damaged);
        }
    }
}

/// Has the segments of a log sorted, and the sorted files rewritten.
fn rewrite(log: &DiskLog) {
    let removed = name("removed");
    run(async {
        log.create(&removed, plain()).await.unwrap();
        let append = Append::new(vec!["x".repeat(100_000).into()]);
        log.append(&removed, append).await.unwrap();
        log.delete(&removed).await.unwrap();
    });
    log.give_back().unwrap();
}

#[test]
fn the_order_reports_damaged_messages_and_has_all_others() {
    let folder = quick_folder();
    let stream = filled(folder.path());
    let mut log = DiskLog::open(folder.path(), settings()).unwrap();
    let other = name("b");
    run(log.create(&other, plain())).unwrap();
    run(append(&log, &other, &["of another stream"]));
    damage(folder.path(), "seg");
    let whole: Vec<u64> = (0..MESSAGES).filter(|at| *at != DAMAGED).collect();
    let check = |log: &DiskLog| {
        for budget in [1, 10_000, usize::MAX] {
            let found = in_order(log, &stream, budget);
            assert_eq!(found, (whole.clone(), vec![(DAMAGED, DAMAGED + 1)]));
            assert_eq!(in_order(log, &other, budget), (vec![0], vec![]));
        }
        assert_eq!(log.warnings().len(), 1);
        assert_eq!(run(read(log, &stream, usize::MAX)), DAMAGED);
        let after = ReadFrom::At(Offset::new(DAMAGED + 1));
        let rest = run(log.read(&stream, after, usize::MAX)).unwrap();
        assert_eq!(rest.messages().next().unwrap().bytes, message(DAMAGED + 1));
    };
    // In a segment, in the sorted file that it is rewritten into, and in the next one.
    check(&log);
    rewrite(&log);
    check(&log);
    rewrite(&log);
    run(log.close()).unwrap();
    log = DiskLog::open(folder.path(), settings()).unwrap();
    check(&log);
    run(check_extents(&log, &stream, DAMAGED));
    let info = run(log.info(&stream)).unwrap();
    assert_eq!(info.bytes, MESSAGES * message(0).len() as u64);
}

#[test]
fn the_order_reports_the_damaged_run_of_a_sorted_file() {
    let folder = quick_folder();
    let stream = filled(folder.path());
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    let other = name("b");
    run(log.create(&other, plain())).unwrap();
    run(append(&log, &other, &["of another stream"]));
    rewrite(&log);
    damage(folder.path(), "dat");
    for budget in [1, 10_000, usize::MAX] {
        let (messages, damaged) = in_order(&log, &stream, budget);
        let mut all: Vec<u64> = damaged.iter().flat_map(|(from, to)| *from..*to).collect();
        assert!(all.contains(&DAMAGED));
        all.extend(&messages);
        all.sort_unstable();
        assert_eq!(all, (0..MESSAGES).collect::<Vec<_>>());
        assert_eq!(in_order(&log, &other, budget), (vec![0], vec![]));
    }
    assert_eq!(log.warnings().len(), 1);
}

#[test]
fn lost_messages_are_trimmed_as_others_are() {
    let folder = quick_folder();
    let stream = name("a");
    let mut capped = plain();
    let bytes = message(0).len() as u64;
    capped.settings.max_bytes = Some(MESSAGES * bytes);
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    run(log.create(&stream, capped)).unwrap();
    for number in 0..MESSAGES {
        run(append(&log, &stream, &[&message(number)]));
    }
    damage(folder.path(), "seg");
    rewrite(&log);
    for number in MESSAGES..2 * MESSAGES {
        run(append(&log, &stream, &[&message(number)]));
    }
    let start = Instant::now();
    loop {
        let info = run(log.info(&stream)).unwrap();
        if info.floor.number() == MESSAGES {
            assert_eq!(info.bytes, MESSAGES * bytes);
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{info:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
