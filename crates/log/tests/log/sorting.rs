//! Sorting by stream: while the log is idle, at a bounded rate, and without many more writes.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_log::{Append, Clock, DiskLog, DiskOptions, Limits, Log, Offset, ReadFrom, Written};

use crate::support::{name, options, plain, quick_folder, run};

const MIB: u64 = 1 << 20;
/// Messages of one append, and bytes of each.
const BATCH: usize = 1000;
const MESSAGE: usize = 92;

fn settings() -> DiskOptions {
    options(&Clock::system(), Limits::default())
}

/// Returns the number of sorted files.
fn sorted_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder.join("log")).unwrap().flatten();
    let is_sorted = |name: std::ffi::OsString| name.to_string_lossy().ends_with(".dat");
    entries.filter(|it| is_sorted(it.file_name())).count()
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let started = Instant::now();
    while !until() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn batch(number: u64) -> Append {
    let mut text = number.to_string().into_bytes();
    text.resize(MESSAGE, b'.');
    Append::new(vec![Bytes::from(text); BATCH])
}

/// Appends about this many bytes to two streams in turn.
fn fill(log: &DiskLog, bytes: u64) {
    run(async {
        for stream in ["a", "b"] {
            log.create(&name(stream), plain()).await.unwrap();
        }
        for number in 0..bytes / (MESSAGE * BATCH) as u64 {
            let stream = if number % 2 == 0 { "a" } else { "b" };
            log.append(&name(stream), batch(number)).await.unwrap();
        }
    });
}

#[test]
fn an_idle_log_sorts_its_segments() {
    let folder = quick_folder();
    let mut settings = settings();
    settings.sort_idle_after = Duration::from_millis(100);
    let log = DiskLog::open(folder.path(), settings.clone()).unwrap();
    fill(&log, 4 * MIB);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(sorted_files(folder.path()), 0, "it is too little");
    fill(&log, 5 * MIB);
    let before = run(log.read(&name("b"), ReadFrom::Start, usize::MAX)).unwrap();
    wait("it is sorted", || sorted_files(folder.path()) == 1);
    wait("all of it", || log.written().sorted > 8 * MIB);
    let after = run(log.read(&name("b"), ReadFrom::Start, usize::MAX)).unwrap();
    assert_eq!(after, before);
    drop(log);
    // Opening the log doesn't read what is sorted.
    let log = DiskLog::open(folder.path(), settings).unwrap();
    assert!(log.recovery().records < 10, "{:?}", log.recovery());
    let opened = run(log.read(&name("b"), ReadFrom::Start, usize::MAX)).unwrap();
    assert_eq!(opened, before);
}

#[test]
fn a_log_that_was_opened_with_unsorted_segments_sorts_them_when_it_is_idle() {
    let folder = quick_folder();
    let mut settings = settings();
    settings.sort_idle_after = Duration::from_secs(3600);
    let log = DiskLog::open(folder.path(), settings.clone()).unwrap();
    fill(&log, 9 * MIB);
    drop(log);
    assert_eq!(sorted_files(folder.path()), 0);
    settings.sort_idle_after = Duration::from_millis(50);
    let log = DiskLog::open(folder.path(), settings).unwrap();
    wait("it is sorted", || sorted_files(folder.path()) == 1);
    let extent = run(log.measure(&name("a"), ReadFrom::Start, u64::MAX)).unwrap();
    assert!(extent.at_tail && extent.bytes > 4 * MIB, "{extent:?}");
}

#[test]
fn sorting_is_slow_while_commits_are_made() {
    let folder = quick_folder();
    let mut settings = settings();
    settings.segment_bytes = MIB;
    settings.sort_rate = MIB;
    let log = DiskLog::open(folder.path(), settings).unwrap();
    let started = Instant::now();
    fill(&log, 5 * MIB);
    run(async {
        let mut number = 0;
        while log.written().index == 0
            || sorted_files(folder.path()) == 0
            || log.written().sorted < 4 * MIB
        {
            log.append(&name("a"), batch(number)).await.unwrap();
            number += 1;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    // Four segments of a mebibyte.
    assert!(
        started.elapsed() > Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    // Closing doesn't wait for it.
    let closing = Instant::now();
    drop(log);
    assert!(closing.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_message_is_written_little_more_than_twice() {
    let folder = quick_folder();
    let mut settings = settings();
    settings.segment_bytes = 8 * MIB;
    settings.sort_idle_after = Duration::from_millis(200);
    let log = DiskLog::open(folder.path(), settings).unwrap();
    let settled = || {
        let mut last = Written::default();
        let mut since = Instant::now();
        wait("sorting ends", || {
            let now = log.written();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() > Duration::from_secs(1)
        });
        last
    };
    fill(&log, 16 * MIB);
    let before = settled();
    fill(&log, 64 * MIB);
    let written = settled().since(&before);
    let times = |bytes: u64| bytes as f64 / written.appended as f64;
    let besides = written.total() - written.prepared;
    println!(
        "commits {:.3}, sorting {:.3}, index {:.3}, preparing {:.3}: {:.3} times the messages",
        times(written.commits),
        times(written.sorted),
        times(written.index),
        times(written.prepared),
        times(written.total())
    );
    assert!(written.appended > 60 * MIB);
    assert!(times(besides) < 2.2, "{written:?}");
    let info = run(log.info(&name("a"))).unwrap();
    assert_eq!(info.floor, Offset::START);
}
