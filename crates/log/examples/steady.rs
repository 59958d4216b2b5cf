//! Measures a log on disk in its steady state: streams with a size cap that are appended to without a
//! pause. Usage: `steady [FOLDER [SECONDS [SORT_RATE [CAP]]]]`, the cap of a stream in MiB. The log is created in a temporary folder in
//! `FOLDER` (default: `/var/tmp`). A line for each part of the time has the rate, the waits of small
//! appends, the disk space and the bytes written for each byte appended. The last line has these bytes for the
//! second half of the time.

#![allow(clippy::print_stdout)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_log::{Append, Create, DiskLog, DiskOptions, Log, Settings, Written};
use parking_lot::Mutex;
use support::{name, size};

const STREAMS: usize = 16;
/// Default of the cap of a stream, in MiB.
const CAP: u64 = 32;
const PARTS: u32 = 10;
/// Messages of a large append, and the pause after it.
const BATCH: usize = 100;
const PAUSE: Duration = Duration::from_millis(2);

fn argument<T: std::str::FromStr>(at: usize, default: T) -> T {
    let given = std::env::args().nth(at).and_then(|it| it.parse().ok());
    given.unwrap_or(default)
}

/// Describes the bytes that were written for each byte appended.
fn amplification(written: &Written) -> String {
    let times = |bytes: u64| bytes as f64 / written.appended.max(1) as f64;
    format!(
        "written {:.2} = commits {:.2} + sorting {:.2} + index {:.2} + preparing {:.2}",
        times(written.total()),
        times(written.commits),
        times(written.sorted),
        times(written.index),
        times(written.prepared),
    )
}

async fn run() {
    let folder = argument(1, "/var/tmp".to_owned());
    let seconds: u32 = argument(2, 60);
    let folder = tempfile::tempdir_in(folder).expect("the folder can be written");
    let mut options = DiskOptions::default();
    options.sort_rate = argument(3, options.sort_rate);
    let log = Arc::new(DiskLog::open(folder.path(), options).expect("an empty log opens"));
    let stop = Arc::new(AtomicBool::new(false));
    let waits = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for stream in 0..STREAMS {
        let mut settings = Settings::of_type("application/json");
        settings.max_bytes = Some(argument(4, CAP) << 20);
        let created = log.create(&name(stream), Create::new(settings)).await;
        created.expect("it can be created");
        for batch in [1, BATCH] {
            let (log, stop, waits) = (Arc::clone(&log), Arc::clone(&stop), Arc::clone(&waits));
            tasks.push(tokio::spawn(async move {
                let message = Bytes::from(vec![b'x'; 92]);
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let append = Append::new(vec![message.clone(); batch]);
                    let appended = log.append(&name(stream), append).await;
                    appended.expect("it can be appended");
                    if batch == 1 {
                        waits.lock().push(asked.elapsed());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }));
        }
    }
    let part = Duration::from_secs(seconds.into()) / PARTS;
    let mut before = log.written();
    let mut middle = before;
    for number in 1..=PARTS {
        tokio::time::sleep(part).await;
        let now = log.written();
        let written = now.since(&before);
        before = now;
        if number == PARTS / 2 {
            middle = now;
        }
        let mut waits = std::mem::take(&mut *waits.lock());
        waits.sort_unstable();
        let wait = |part: usize| {
            waits
                .get(waits.len() * part / 1000)
                .copied()
                .unwrap_or_default()
        };
        println!(
            "{number:3}: {:5.1} MB/s, small appends p50 {:?} p99 {:?} p99.9 {:?}, disk {:4} MB, {}",
            written.appended as f64 / part.as_secs_f64() / 1e6,
            wait(500),
            wait(990),
            wait(999),
            size(folder.path()) / 1_000_000,
            amplification(&written),
        );
    }
    println!(
        "second half: {}",
        amplification(&log.written().since(&middle))
    );
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no task panics");
    }
    log.close().await.expect("it can be closed");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("it runs");
    runtime.block_on(run());
}
