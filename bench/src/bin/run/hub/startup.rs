//! Startup time of a server with a large number of streams.

use std::time::Instant;

use headwater_bench::{
    Error,
    http::request,
    item::Item,
    publish::{self, Publisher, Until},
};

use super::{
    folder::Folder,
    server::{DURABLE, Kind},
};
use crate::{
    options::Options,
    report::{Bar, Report, Table},
    stats::median,
};

const CONNECTIONS: usize = 64;

/// Streams of the row with bars, and the most time and memory of a start with them.
const MANY: usize = 1_000_000;
const START_MS: f64 = 1500.0;
const MEMORY_MB: f64 = 200.0;

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let runs = options.runs.min(options.pick(5, 1));
    let mut rows = Vec::new();
    for (kind, streams) in work(options) {
        let figures = match measure(kind, streams, runs) {
            Ok(figures) => figures,
            // The row of a peer that can't do it contains the error.
            Err(error) if kind != Kind::Headwater => {
                let mut row = vec![
                    kind.name().to_owned(),
                    streams.to_string(),
                    error.to_string(),
                ];
                row.extend(std::iter::repeat_n("–".to_owned(), 4));
                rows.push(row);
                continue;
            }
            Err(error) => return Err(error),
        };
        if kind == Kind::Headwater && streams == MANY {
            bars(report, &figures);
        }
        rows.push(vec![
            kind.name().to_owned(),
            streams.to_string(),
            format!("{:.0}", figures.created_per_second),
            format!("{:.0}", figures.created_mb),
            format!("{:.0}", median(&figures.after_end_ms)),
            format!("{:.0}", median(&figures.after_kill_ms)),
            format!("{:.0}", median(&figures.memory_mb)),
        ]);
    }
    report.table(Table {
        title: "Starting with many streams".to_owned(),
        note: format!(
            "Streams with one message each, created by {CONNECTIONS} connections, and the resident memory of the server then. Time \
             from starting the process to the first answer about the last of the streams, after the server was ended with \
             SIGTERM, and after SIGKILL; the greater of its resident memory after both. Medians of {runs} runs."
        ),
        head: vec![
            "server",
            "streams",
            "created/s",
            "memory, MB",
            "start, ms",
            "start after SIGKILL, ms",
            "memory after it, MB",
        ],
        rows,
    });
    Ok(())
}

/// Returns the servers and the number of streams of each.
fn work(options: &Options) -> Vec<(Kind, usize)> {
    let streams = |kind| match kind {
        Kind::Headwater => options.pick(vec![100_000, MANY], vec![3000]),
        // It creates far fewer streams per second.
        Kind::Reference => vec![options.pick(10_000, 300)],
        _ => vec![options.pick(100_000, 3000)],
    };
    let kinds = DURABLE.into_iter().filter(|kind| kind.is_there());
    let work = kinds.flat_map(|kind| streams(kind).into_iter().map(move |count| (kind, count)));
    work.collect()
}

fn bars(report: &mut Report, figures: &Figures) {
    for (what, wanted, got, unit) in [
        ("start", START_MS, median(&figures.after_end_ms), " ms"),
        (
            "start after SIGKILL",
            START_MS,
            median(&figures.after_kill_ms),
            " ms",
        ),
        (
            "resident memory after creating",
            MEMORY_MB,
            figures.created_mb,
            " MB",
        ),
        (
            "resident memory after a start",
            MEMORY_MB,
            median(&figures.memory_mb),
            " MB",
        ),
    ] {
        report.bar(Bar {
            name: format!("{MANY} streams: {what}"),
            wanted,
            got,
            at_most: true,
            unit,
        });
    }
}

#[derive(Default)]
struct Figures {
    created_per_second: f64,
    /// Resident memory when all streams exist.
    created_mb: f64,
    after_end_ms: Vec<f64>,
    after_kill_ms: Vec<f64>,
    memory_mb: Vec<f64>,
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn measure(kind: Kind, streams: usize, runs: usize) -> Result<Figures, Error> {
    let data = Folder::new()?;
    let mut server = kind.start(&data)?;
    let mut requests = vec![Vec::new(); CONNECTIONS];
    for number in 0..streams {
        let target = kind.target(&format!("start-{number}"));
        let body = serde_json::to_vec(&[Item::at(number as u64)])?;
        requests[number % CONNECTIONS].push(request("PUT", &target, "application/json", &body));
    }
    let publishers = requests.into_iter().map(Publisher::of).collect();
    let created = publish::run(server.address(), publishers, Until::Sent)?;
    let mut figures = Figures {
        created_per_second: created.appends as f64 / created.seconds,
        created_mb: server.memory_bytes()? as f64 / 1e6,
        ..Figures::default()
    };
    let last = kind.target(&format!("start-{}", streams - 1));
    for _ in 0..runs {
        server.end()?;
        let start = Instant::now();
        server = kind.start_until(&data, &last, |status| status == 200)?;
        figures
            .after_end_ms
            .push(start.elapsed().as_secs_f64() * 1e3);
        let after_end = server.memory_bytes()?;
        server.kill()?;
        let start = Instant::now();
        server = kind.start_until(&data, &last, |status| status == 200)?;
        figures
            .after_kill_ms
            .push(start.elapsed().as_secs_f64() * 1e3);
        let memory = after_end.max(server.memory_bytes()?);
        figures.memory_mb.push(memory as f64 / 1e6);
    }
    Ok(figures)
}
