//! Measures the append throughput of a log on disk. Usage: `append [FOLDER [CASE]]`. The log is
//! created in a temporary folder in `FOLDER` (default: `/var/tmp`). `CASE` is a number from 0 to 5;
//! without it, all cases run. The results are written to stdout.

#![allow(clippy::print_stdout)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_log::{Append, Create, DiskLog, DiskOptions, Durability, Log, Settings};
use support::{name, size};

/// Duration of a case.
const RUN: Duration = Duration::from_secs(3);

/// Returns the CPU time of the process so far, at 100 ticks per second.
fn cpu() -> Duration {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = usage
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    Duration::from_millis((ticks(12) + ticks(13)) * 10)
}

async fn measure(durability: Durability, streams: usize, tasks: usize, batch: usize) {
    let parent = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "/var/tmp".to_owned());
    let folder = tempfile::tempdir_in(parent).expect("the folder can be written");
    let mut options = DiskOptions::default();
    options.durability = durability;
    let log = Arc::new(DiskLog::open(folder.path(), options).expect("an empty log opens"));
    for stream in 0..streams {
        let create = Create::new(Settings::of_type("application/json"));
        log.create(&name(stream), create)
            .await
            .expect("it can be created");
    }
    let done = Arc::new(AtomicU64::new(0));
    let (started, used) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            let (log, done) = (Arc::clone(&log), Arc::clone(&done));
            tokio::spawn(async move {
                let stream = name(task % streams);
                let message = Bytes::from(vec![b'x'; 93]);
                let mut waits = Vec::new();
                while started.elapsed() < RUN {
                    let asked = Instant::now();
                    let append = Append::new(vec![message.clone(); batch]);
                    log.append(&stream, append)
                        .await
                        .expect("it can be appended");
                    waits.push(asked.elapsed());
                    done.fetch_add(batch as u64, Ordering::Relaxed);
                }
                waits
            })
        })
        .collect();
    let mut waits = Vec::new();
    let count = tasks.len();
    for task in tasks {
        waits.extend(task.await.expect("no task panics"));
    }
    let (took, used) = (started.elapsed(), cpu() - used);
    waits.sort_unstable();
    let messages = done.load(Ordering::Relaxed);
    let rate = messages as f64 / took.as_secs_f64();
    println!(
        "{durability:?} {streams:3} streams {count:3} tasks of {batch:3}: {rate:9.0} messages/s, p50 {:?} p99 {:?}, cpu {:.2} s of {:.2} s, {:.2} us/message, disk {:.0} bytes/message",
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
        used.as_secs_f64(),
        took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / messages as f64,
        size(folder.path()) as f64 / messages as f64,
    );
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("it runs");
    runtime.block_on(async {
        let only = std::env::args()
            .nth(2)
            .and_then(|case| case.parse::<usize>().ok());
        let (fsync, os) = (Durability::Fsync, Durability::Os);
        let cases = [
            (fsync, 1, 16, 1),
            (fsync, 64, 64, 1),
            (fsync, 16, 16, 100),
            (os, 1, 16, 1),
            (os, 64, 64, 1),
            (os, 16, 16, 100),
        ];
        for (case, (durability, streams, tasks, batch)) in cases.into_iter().enumerate() {
            if only.is_none_or(|only| only == case) {
                measure(durability, streams, tasks, batch).await;
            }
        }
    });
}
