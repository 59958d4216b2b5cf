//! Room is given back: what is deleted, trimmed or expired leaves the disk, also while that is full.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use headwater_log::{Append, Clock, Create, FjallLog, FjallOptions, Limits, Log, Settings};

use crate::full::SmallDisk;
use crate::support::{all, name, options, plain, run};

const MIB: u64 = 1 << 20;

/// Bytes that a folder takes on the disk.
fn taken(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(file) if file.is_dir() => taken(&entry.path()),
        // A file may be deleted meanwhile.
        file => file.map_or(0, |file| file.blocks() * 512),
    };
    entries.flatten().map(bytes).sum()
}

fn settings() -> FjallOptions {
    let mut settings = options(&Clock::system(), Limits::default());
    settings.reclaim_every = Duration::from_millis(50);
    // Smaller than usual, as the tests aren't optimized.
    settings.table_bytes = 4 * MIB;
    settings.give_back_bytes = MIB;
    settings
}

/// Waits until the folder takes less than `most` bytes. It takes seconds, and more where other tests run beside.
fn wait_for_less(folder: &Path, most: u64) {
    let started = Instant::now();
    loop {
        let bytes = taken(folder);
        if bytes < most {
            return;
        }
        let late = started.elapsed() > Duration::from_secs(60);
        assert!(!late, "{bytes} bytes are taken, not less than {most}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn message(number: u64, bytes: usize) -> Append {
    let mut text = format!("{number} ").into_bytes();
    text.resize(bytes, b'.');
    Append::new(vec![text.into()])
}

/// Appends to four streams by turns, about `bytes` in all. Returns how many each has.
fn fill(log: &FjallLog, bytes: u64) -> u64 {
    run(async {
        for index in 0..4 {
            log.create(&name(&format!("s{index}")), plain())
                .await
                .unwrap();
        }
        let each = bytes / 4 / 100_000;
        for number in 0..each {
            for index in 0..4 {
                let stream = name(&format!("s{index}"));
                log.append(&stream, message(number, 100_000)).await.unwrap();
            }
        }
        each
    })
}

fn check(log: &FjallLog, stream: &str, count: u64) {
    let texts = run(all(log, &name(stream)));
    assert_eq!(texts.len() as u64, count);
    for (number, text) in texts.iter().enumerate() {
        assert!(text.starts_with(&format!("{number} ")));
    }
}

#[test]
fn a_log_whose_streams_are_all_deleted_takes_next_to_nothing_while_nothing_more_is_asked_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = FjallLog::open(folder.path(), settings()).unwrap();
    fill(&log, 48 * MIB);
    assert!(taken(folder.path()) > 44 * MIB);
    for index in 0..4 {
        run(log.delete(&name(&format!("s{index}")))).unwrap();
    }
    wait_for_less(folder.path(), 8 * MIB);
}

#[test]
fn what_stays_beside_deleted_streams_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let log = FjallLog::open(folder.path(), settings()).unwrap();
    let count = fill(&log, 48 * MIB);
    for index in [0, 1, 3] {
        run(log.delete(&name(&format!("s{index}")))).unwrap();
    }
    wait_for_less(folder.path(), 20 * MIB);
    check(&log, "s2", count);
    drop(log);
    let log = FjallLog::open(folder.path(), settings()).unwrap();
    check(&log, "s2", count);
    run(log.append(&name("s2"), message(count, 10))).unwrap();
    check(&log, "s2", count + 1);
}

#[test]
fn what_caps_take_of_a_stream_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = FjallLog::open(folder.path(), settings()).unwrap();
    let mut capped = Settings::of_type("x");
    capped.max_bytes = Some(4 * MIB);
    let stream = name("capped");
    run(async {
        log.create(&stream, Create::new(capped)).await.unwrap();
        for number in 0..500 {
            log.append(&stream, message(number, 100_000)).await.unwrap();
        }
    });
    wait_for_less(folder.path(), 26 * MIB);
    let texts = run(all(&log, &stream));
    assert!(texts.last().unwrap().starts_with("499 "));
    assert!((30..=45).contains(&texts.len()), "{}", texts.len());
    // The stream is deleted after all, and what was trimmed isn't counted twice.
    run(log.delete(&stream)).unwrap();
    wait_for_less(folder.path(), 22 * MIB);
    let started = Instant::now();
    while log.usage().bytes > 0 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{:?}",
            log.usage()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_full_disk_has_room_again_after_deletions() {
    let Some(disk) = SmallDisk::new(240 * MIB) else {
        // Not every place lets one be mounted.
        return;
    };
    let folder = disk.path().join("log");
    let open = || {
        let mut settings = settings();
        settings.reserve_bytes = 100 * MIB;
        FjallLog::open(&folder, settings).unwrap()
    };
    let log = open();
    let streams: Vec<_> = (0..4).map(|index| name(&format!("s{index}"))).collect();
    let mut count = 0;
    run(async {
        for stream in &streams {
            log.create(stream, plain()).await.unwrap();
        }
        'full: loop {
            for stream in &streams {
                if let Err(error) = log.append(stream, message(count, 100_000)).await {
                    assert!(error.is_storage_full(), "{error:?}");
                    break 'full;
                }
            }
            count += 1;
        }
    });
    let full = taken(&folder);
    assert!(full > 120 * MIB);
    for stream in &streams[1..] {
        run(log.delete(stream)).unwrap();
    }
    let started = Instant::now();
    while let Err(error) = run(log.append(&name("s0"), message(count + 1, 10))) {
        assert!(error.is_storage_full(), "{error:?}");
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "{} bytes",
            taken(&folder)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_for_less(&folder, full / 2);
    let texts = run(all(&log, &name("s0")));
    assert!(texts.len() as u64 >= count);
    drop(log);
    let log = open();
    assert_eq!(run(all(&log, &name("s0"))), texts);
}
