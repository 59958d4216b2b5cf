//! Appends without a pause to streams with a size cap: the disk space and the latencies over time.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{scope, sleep},
    time::Duration,
};

use headwater_bench::{
    Error,
    http::Connection,
    publish::{self, Published, Publisher, Until},
};

use super::{
    folder::Folder,
    server::{Kind, Server},
};
use crate::{
    options::Options,
    report::{Bar, Report, Table},
    stats::{median, percentile, rate},
};

const STREAMS: u64 = 16;
const BATCH: u64 = 10;
/// Interval at which the disk space is read.
const LOOK: Duration = Duration::from_millis(500);
/// Most that the disk space and the p99 of the second half may be, as a multiple of the first half's.
const FLAT_DISK: f64 = 1.1;
const FLAT_P99: f64 = 1.2;

/// The figures of a slice of the time.
#[derive(Default)]
struct Slice {
    messages_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    longest_ms: f64,
    /// The most disk space in it.
    disk_mb: f64,
    memory_mb: f64,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let (count, length) = options.pick((12, 300), (6, 10));
    let length = Duration::from_secs(length);
    let cap = options.pick(32 << 20, 4 << 20);
    let data = Folder::new()?;
    let server = Kind::Headwater.start(&data)?;
    let mut connection = Connection::open(server.address())?;
    for stream in 0..STREAMS {
        create(&mut connection, &target(stream), cap)?;
    }
    drop(connection);
    let mut slices = Vec::new();
    for _ in 0..count {
        slices.push(slice(&server, &data, length)?);
    }
    let (first, second) = slices.split_at(slices.len() / 2);
    let most_disk = |slices: &[Slice]| slices.iter().map(|it| it.disk_mb).fold(0.0, f64::max);
    let p99 = |slices: &[Slice]| median(&slices.iter().map(|it| it.p99_ms).collect::<Vec<_>>());
    let over = length * count;
    for (what, wanted, got) in [
        (
            "disk space",
            FLAT_DISK,
            most_disk(second) / most_disk(first),
        ),
        ("p99 of appends", FLAT_P99, p99(second) / p99(first)),
    ] {
        report.bar(Bar {
            name: format!(
                "appends with caps for {} s: {what}, second half against the first",
                over.as_secs()
            ),
            wanted,
            got,
            at_most: true,
            unit: "×",
        });
    }
    report.table(Table {
        title: "Appends with caps".to_owned(),
        note: format!(
            "{STREAMS} streams with a cap of {} MiB each, {} MiB together. One connection for each appends batches of {BATCH} \
             without a pause, for {} s. Rows are consecutive slices of {} s, each with connections of its own. Disk: the most \
             that the folder took, looked at every {} ms. One run.",
            cap >> 20,
            (cap * STREAMS) >> 20,
            over.as_secs(),
            length.as_secs(),
            LOOK.as_millis()
        ),
        head: vec![
            "slice",
            "messages/s",
            "p50, ms",
            "p99, ms",
            "longest, ms",
            "disk, MB",
            "memory, MB",
        ],
        rows: (1..).zip(&slices).map(|(at, it)| it.row(at)).collect(),
    });
    Ok(())
}

impl Slice {
    fn row(&self, number: usize) -> Vec<String> {
        vec![
            number.to_string(),
            rate(self.messages_per_second),
            format!("{:.2}", self.p50_ms),
            format!("{:.2}", self.p99_ms),
            format!("{:.0}", self.longest_ms),
            format!("{:.0}", self.disk_mb),
            format!("{:.0}", self.memory_mb),
        ]
    }
}

fn target(stream: u64) -> String {
    Kind::Headwater.target(&format!("capped-{stream}"))
}

fn create(connection: &mut Connection, target: &str, cap: u64) -> Result<(), Error> {
    let head = format!(
        "PUT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Stream-Max-Bytes: {cap}\r\nContent-Length: 0\r\n\r\n"
    );
    connection.must(head.as_bytes())?;
    Ok(())
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and sizes far below 2^52"
)]
fn slice(server: &Server, data: &Folder, length: Duration) -> Result<Slice, Error> {
    let publishers = (0..STREAMS).map(|stream| Publisher::new(&target(stream), stream, BATCH));
    let publishers = publishers.collect();
    let (mut published, disk) = watched(data, || {
        publish::run(server.address(), publishers, Until::Time(length))
    })?;
    published.latencies_ns.sort_unstable();
    let ms = |ns: u64| ns as f64 / 1e6;
    let late = |percent| ms(percentile(&published.latencies_ns, percent));
    Ok(Slice {
        messages_per_second: (published.appends * BATCH) as f64 / published.seconds,
        p50_ms: late(50),
        p99_ms: late(99),
        longest_ms: late(100),
        disk_mb: disk as f64 / 1e6,
        memory_mb: server.memory_bytes()? as f64 / 1e6,
    })
}

/// Returns the result of `work` and the most disk space that the folder took meanwhile, in bytes.
fn watched(
    data: &Folder,
    work: impl FnOnce() -> Result<Published, Error>,
) -> Result<(Published, u64), Error> {
    let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let published = scope(|threads| {
        threads.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                // A folder that can't be read now is read at the next look.
                most.fetch_max(data.disk_bytes().unwrap_or(0), Ordering::Relaxed);
                sleep(LOOK);
            }
        });
        let published = work();
        is_over.store(true, Ordering::Relaxed);
        published
    })?;
    Ok((published, most.into_inner()))
}
