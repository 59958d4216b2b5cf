//! Startup time of a server with a large number of streams.

use std::time::Instant;

use headwater_bench::{
    Error,
    http::request,
    item::Item,
    publish::{self, Publisher, Until},
};

use super::server::{DURABLE, Folder, Kind};
use crate::{
    options::Options,
    report::{Report, Table},
    stats::median,
};

const CONNECTIONS: usize = 64;

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let runs = options.runs.min(options.pick(5, 1));
    let mut rows = Vec::new();
    for kind in DURABLE.into_iter().filter(|kind| kind.is_there()) {
        let streams = match kind {
            // It creates far fewer streams per second.
            Kind::Reference => options.pick(10_000, 300),
            _ => options.pick(100_000, 3000),
        };
        let figures = match measure(kind, streams, runs) {
            Ok(figures) => figures,
            // The row of a peer that can't do it contains the error.
            Err(error) if kind != Kind::Headwater => {
                let mut row = vec![
                    kind.name().to_owned(),
                    streams.to_string(),
                    error.to_string(),
                ];
                row.extend(std::iter::repeat_n("–".to_owned(), 3));
                rows.push(row);
                continue;
            }
            Err(error) => return Err(error),
        };
        rows.push(vec![
            kind.name().to_owned(),
            streams.to_string(),
            format!("{:.0}", figures.created_per_second),
            format!("{:.0}", median(&figures.after_end_ms)),
            format!("{:.0}", median(&figures.after_kill_ms)),
            format!("{:.0}", median(&figures.memory_mb)),
        ]);
    }
    report.table(Table {
        title: "Starting with many streams".to_owned(),
        note: format!(
            "Streams with one message each, created by {CONNECTIONS} connections. Time from starting the process to \
             the first answer about the last of the streams, after the server was ended with SIGTERM, and after \
             SIGKILL; its resident memory then. Medians of {runs} runs."
        ),
        head: vec![
            "server",
            "streams",
            "created/s",
            "start, ms",
            "start after SIGKILL, ms",
            "memory, MB",
        ],
        rows,
    });
    Ok(())
}

#[derive(Default)]
struct Figures {
    created_per_second: f64,
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
        figures.memory_mb.push(server.memory_bytes()? as f64 / 1e6);
        server.kill()?;
        let start = Instant::now();
        server = kind.start_until(&data, &last, |status| status == 200)?;
        figures
            .after_kill_ms
            .push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(figures)
}
