//! Freeing of disk space: deleted, trimmed and expired data leaves the disk, even while it is full.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use headwater_log::{Append, Clock, Create, DiskLog, DiskOptions, Limits, Log, Settings};

use crate::full::SmallDisk;
use crate::support::{all, name, options, plain, run};

const MIB: u64 = 1 << 20;

/// Returns the bytes that a folder uses on the disk.
fn taken(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(file) if file.is_dir() => taken(&entry.path()),
        // A file can be deleted concurrently.
        file => file.map_or(0, |file| file.blocks() * 512),
    };
    entries.flatten().map(bytes).sum()
}

fn settings() -> DiskOptions {
    let mut settings = options(&Clock::system(), Limits::default());
    settings.reclaim_every = Duration::from_millis(50);
    // Smaller than the default, because tests aren't optimized.
    settings.segment_bytes = 2 * MIB;
    settings.give_back_bytes = MIB;
    settings
}

/// Waits until the folder uses less than `most` bytes. It takes seconds, and longer while other
/// tests run.
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

/// Appends about `bytes` in total to four streams in turn. Returns the number of messages of each.
fn fill(log: &DiskLog, bytes: u64) -> u64 {
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

fn check(log: &DiskLog, stream: &str, count: u64) {
    let texts = run(all(log, &name(stream)));
    assert_eq!(texts.len() as u64, count);
    for (number, text) in texts.iter().enumerate() {
        assert!(text.starts_with(&format!("{number} ")));
    }
}

#[test]
fn an_idle_log_without_streams_uses_almost_no_disk_space() {
    let folder = tempfile::tempdir().unwrap();
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    fill(&log, 48 * MIB);
    assert!(taken(folder.path()) > 44 * MIB);
    for index in 0..4 {
        run(log.delete(&name(&format!("s{index}")))).unwrap();
    }
    wait_for_less(folder.path(), 8 * MIB);
}

#[test]
fn remaining_streams_are_intact_after_deletions() {
    let folder = tempfile::tempdir().unwrap();
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    let count = fill(&log, 48 * MIB);
    for index in [0, 1, 3] {
        run(log.delete(&name(&format!("s{index}")))).unwrap();
    }
    wait_for_less(folder.path(), 20 * MIB);
    check(&log, "s2", count);
    drop(log);
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    check(&log, "s2", count);
    run(log.append(&name("s2"), message(count, 10))).unwrap();
    check(&log, "s2", count + 1);
}

#[test]
fn disk_space_of_trimmed_messages_is_freed() {
    let folder = tempfile::tempdir().unwrap();
    let log = DiskLog::open(folder.path(), settings()).unwrap();
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
    // The deletion doesn't count trimmed records twice.
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
fn a_full_disk_has_space_again_after_deletions() {
    let Some(disk) = SmallDisk::new(240 * MIB) else {
        // Not every environment allows a mount.
        return;
    };
    let folder = disk.path().join("log");
    let open = || {
        let mut settings = settings();
        settings.reserve_bytes = 100 * MIB;
        DiskLog::open(&folder, settings).unwrap()
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

#[test]
fn a_closed_log_takes_no_more_than_its_content() {
    let folder = tempfile::tempdir().unwrap();
    let settings = || options(&Clock::system(), Limits::default());
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    let each = fill(&log, 20 * MIB);
    assert!(taken(folder.path()) > 25 * MIB, "segments are prepared");
    drop(log);
    let bytes = taken(folder.path());
    assert!(bytes < 22 * MIB, "{bytes}");
    let log = DiskLog::open(folder.path(), settings()).unwrap();
    check(&log, "s3", each);
}
