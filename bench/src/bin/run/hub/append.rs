//! Rate of appends that are on disk and acknowledged.

use std::time::Duration;

use headwater_bench::{
    Error,
    http::Connection,
    item::LINE_BYTES,
    publish::{self, Publisher, Until},
};

use super::{
    folder::Folder,
    server::{DURABLE, Kind, Server},
};
use crate::{
    options::Options,
    report::{Bar, Report, Table},
    stats::{median, percentile, rate, ratio, spread},
};

/// Appends by some connections.
pub(super) struct Work {
    pub(super) name: &'static str,
    streams: u64,
    pub(super) connections: u64,
    pub(super) batch: u64,
}

pub(super) const WORK: [Work; 4] = [
    Work {
        name: "1 stream, 16 connections",
        streams: 1,
        connections: 16,
        batch: 1,
    },
    Work {
        name: "64 streams, 64 connections",
        streams: 64,
        connections: 64,
        batch: 1,
    },
    Work {
        name: "256 streams, 256 connections",
        streams: 256,
        connections: 256,
        batch: 1,
    },
    Work {
        name: "16 streams, 16 connections, batches of 100",
        streams: 16,
        connections: 16,
        batch: 100,
    },
];

/// The measurements of one work.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) messages: Vec<f64>,
    pub(super) p50_ms: Vec<f64>,
    pub(super) p99_ms: Vec<f64>,
    server_ns: Vec<f64>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let kinds: Vec<Kind> = DURABLE.into_iter().filter(|kind| kind.is_there()).collect();
    let mut rows = Vec::new();
    for work in &WORK {
        let mut figures: Vec<Figures> = kinds.iter().map(|_| Figures::default()).collect();
        for _ in 0..options.runs {
            for (kind, figures) in kinds.iter().zip(&mut figures) {
                kind.excuse(work.name, measure(*kind, work, options, figures))?;
            }
        }
        let headwater = median(&figures[0].messages);
        for (kind, figures) in kinds.iter().zip(&figures) {
            let speed = median(&figures.messages);
            rows.push(vec![
                work.name.to_owned(),
                kind.name().to_owned(),
                rate(speed),
                spread(&figures.messages, rate),
                ratio(headwater / speed),
                format!("{:.2}", median(&figures.p50_ms)),
                format!("{:.2}", median(&figures.p99_ms)),
                format!("{:.1}", median(&figures.server_ns) / 1e3),
            ]);
            if *kind == Kind::DurableStreams {
                report.bar(Bar {
                    name: format!("durable append, {}, against {}", work.name, kind.name()),
                    wanted: 1.0,
                    got: headwater / speed,
                    at_most: false,
                    unit: "×",
                });
            }
        }
    }
    report.table(Table {
        title: "Durable append".to_owned(),
        note: format!(
            "JSON messages of {} bytes, each append acknowledged before the connection's next, over {} s. \
             Each measurement has a server of its own with an empty folder. p50 and p99: of one append.",
            LINE_BYTES - 1,
            window(options).as_secs()
        ),
        head: vec![
            "work",
            "server",
            "messages/s",
            "lowest–highest",
            "Headwater is",
            "p50, ms",
            "p99, ms",
            "server CPU, µs/message",
        ],
        rows,
    });
    Ok(())
}

fn window(options: &Options) -> Duration {
    Duration::from_secs(options.pick(4, 1))
}

fn measure(kind: Kind, work: &Work, options: &Options, figures: &mut Figures) -> Result<(), Error> {
    let data = Folder::new()?;
    let server = kind.start(&data)?;
    let warm_up = Duration::from_millis(options.pick(500, 200));
    work.measure(kind, &server, warm_up, window(options), figures)
}

impl Work {
    /// Creates the streams on a server and appends to them.
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts and times far below 2^52"
    )]
    pub(super) fn measure(
        &self,
        kind: Kind,
        server: &Server,
        warm_up: Duration,
        window: Duration,
        figures: &mut Figures,
    ) -> Result<(), Error> {
        let mut connection = Connection::open(server.address())?;
        for stream in 0..self.streams {
            server.create(&mut connection, &format!("append-{stream}"))?;
        }
        let publishers = |first: u64| -> Vec<Publisher> {
            (0..self.connections)
                .map(|number| {
                    let target = kind.target(&format!("append-{}", number % self.streams));
                    Publisher::new(&target, first + number, self.batch)
                })
                .collect()
        };
        let warm_up = Until::Time(warm_up);
        publish::run(server.address(), publishers(self.connections), warm_up)?;
        let cpu = server.cpu_ns()?;
        let until = Until::Time(window);
        let mut published = publish::run(server.address(), publishers(0), until)?;
        let cpu = server.cpu_ns()?.saturating_sub(cpu);
        let messages = (published.appends * self.batch) as f64;
        published.latencies_ns.sort_unstable();
        let late = |percent| percentile(&published.latencies_ns, percent) as f64 / 1e6;
        figures.messages.push(messages / published.seconds);
        figures.p50_ms.push(late(50));
        figures.p99_ms.push(late(99));
        figures.server_ns.push(cpu as f64 / messages);
        Ok(())
    }
}
