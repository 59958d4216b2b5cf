//! The latency of appends while the hub sorts what was appended before by stream, and while it doesn't.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use headwater_bench::{
    Error,
    http::Connection,
    item::LINE_BYTES,
    publish::{self, Publisher, Until},
};

use super::{
    folder::Folder,
    server::{Kind, Server},
};
use crate::{
    options::Options,
    report::{Report, Table},
    stats::{median, percentile, rate, ratio, spread},
};

const STREAMS: u64 = 64;
const MEASURED: &str = "measured";
/// Messages of an append that fills the log, and the number of connections that do.
const BATCH: u64 = 1000;
const FILLERS: u64 = 8;
/// Connections whose appends of one message are measured.
const CONNECTIONS: u64 = 16;
/// Kind of the files that are sorted.
const SORTED: &str = "dat";
/// Time without a change of the sorted files after which nothing is being sorted. It is below the time
/// after which an idle hub sorts the rest, and makes its next segments short.
const STILL: Duration = Duration::from_millis(1500);
/// Time limit for that.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Figures {
    appends: Vec<f64>,
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    p999_ms: Vec<f64>,
    sorted_mb: Vec<f64>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let mut figures = [Figures::default(), Figures::default()];
    for _ in 0..options.runs {
        for (sorts, figures) in [false, true].into_iter().zip(&mut figures) {
            measure(sorts, options, figures)?;
        }
    }
    let without = median(&figures[0].p99_ms);
    let mut rows = Vec::new();
    for (name, figures) in ["without", "with"].into_iter().zip(&figures) {
        let p99 = median(&figures.p99_ms);
        rows.push(vec![
            name.to_owned(),
            format!("{:.0}", median(&figures.sorted_mb)),
            rate(median(&figures.appends)),
            format!("{:.2}", median(&figures.p50_ms)),
            format!("{p99:.2}"),
            spread(&figures.p99_ms, |p99| format!("{p99:.2}")),
            ratio(p99 / without),
            format!("{:.2}", median(&figures.p999_ms)),
        ]);
    }
    report.table(Table {
        title: "Appends while the hub sorts".to_owned(),
        note: format!(
            "{} MB of messages are appended to {STREAMS} streams, and then single messages of {} bytes by {CONNECTIONS} connections \
             for {} s, which are measured: at once, while the hub sorts the others, or after it has done so. Each \
             measurement has a server of its own with an empty folder. Sorted: by how much the sorted files grew meanwhile.",
            filling(options) * BATCH * LINE_BYTES as u64 / 1_000_000,
            LINE_BYTES - 1,
            window(options).as_secs()
        ),
        head: vec![
            "sorting",
            "sorted, MB",
            "messages/s",
            "p50, ms",
            "p99, ms",
            "lowest–highest p99",
            "of that without",
            "p99.9, ms",
        ],
        rows,
    });
    Ok(())
}

fn window(options: &Options) -> Duration {
    Duration::from_secs(options.pick(3, 1))
}

/// Returns the number of appends that fill the log.
fn filling(options: &Options) -> u64 {
    options.pick(4000, 2000)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and times far below 2^52"
)]
fn measure(sorts: bool, options: &Options, figures: &mut Figures) -> Result<(), Error> {
    let data = Folder::new()?;
    let server = Kind::Headwater.start(&data)?;
    let mut connection = Connection::open(server.address())?;
    for stream in 0..STREAMS {
        server.create(&mut connection, &name(stream))?;
    }
    server.create(&mut connection, MEASURED)?;
    fill(&server, filling(options))?;
    if !sorts {
        wait_until_still(&data)?;
    }
    let before = data.bytes_of(SORTED)?;
    let target = Kind::Headwater.target(MEASURED);
    let publishers = (0..CONNECTIONS).map(|number| Publisher::new(&target, number, 1));
    let until = Until::Time(window(options));
    let mut published = publish::run(server.address(), publishers.collect(), until)?;
    let sorted = data.bytes_of(SORTED)?.saturating_sub(before);
    published.latencies_ns.sort_unstable();
    let latencies = &published.latencies_ns;
    let ms = |ns: u64| ns as f64 / 1e6;
    let p999 = latencies.len() * 999 / 1000;
    figures
        .appends
        .push(published.appends as f64 / published.seconds);
    figures.p50_ms.push(ms(percentile(latencies, 50)));
    figures.p99_ms.push(ms(percentile(latencies, 99)));
    figures
        .p999_ms
        .push(ms(latencies.get(p999).copied().unwrap_or(0)));
    figures.sorted_mb.push(sorted as f64 / 1e6);
    Ok(())
}

fn name(stream: u64) -> String {
    format!("sorted-{stream}")
}

fn fill(server: &Server, appends: u64) -> Result<(), Error> {
    let publishers = (0..FILLERS).map(|filler| {
        let turns = (filler..appends).step_by(usize::try_from(FILLERS).unwrap_or(1));
        let append = |turn: u64| {
            let target = Kind::Headwater.target(&name(turn % STREAMS));
            publish::append(&target, turn % 100 * BATCH, BATCH)
        };
        Publisher::of(turns.map(append).collect())
    });
    publish::run(server.address(), publishers.collect(), Until::Sent)?;
    Ok(())
}

/// Waits until nothing is sorted.
fn wait_until_still(data: &Folder) -> Result<(), Error> {
    let start = Instant::now();
    let (mut last, mut since) = (data.bytes_of(SORTED)?, Instant::now());
    while since.elapsed() < STILL {
        if start.elapsed() > PATIENCE {
            return Err("the hub doesn't stop sorting".into());
        }
        sleep(Duration::from_millis(50));
        let now = data.bytes_of(SORTED)?;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(())
}
