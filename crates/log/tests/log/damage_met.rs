//! Messages that are damaged while the log is open: reads and extents end before them.

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use headwater_log::{
    Append, Clock, DiskLog, DiskOptions, Extent, Limits, Log, Offset, ReadFrom, StreamName,
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
    let removed = name("removed");
    run(async {
        log.create(&removed, plain()).await.unwrap();
        let append = Append::new(vec!["x".repeat(100_000).into()]);
        log.append(&removed, append).await.unwrap();
        log.delete(&removed).await.unwrap();
    });
    log.give_back().unwrap();
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
