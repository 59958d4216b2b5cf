//! One publisher and a large number of readers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use headwater_bench::{
    Error,
    follow::follow,
    http::Connection,
    load::{self, Reader},
    publish, system,
};

use super::{
    folder::Folder,
    reader::Way,
    server::{Kind, Server},
};
use crate::{
    options::Options,
    report::{Bar, Report, Table},
    stats::{median, rate, ratio, spread},
};

/// The stream that is followed.
pub(super) const STREAM: &str = "fanout";

/// The measurements of several runs.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) deliveries: Vec<f64>,
    messages: Vec<f64>,
    pub(super) server_ns: Vec<f64>,
    /// The CPU time of the load generator.
    pub(super) load_ns: Vec<f64>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let ways = Way::all();
    let runs = options.runs.min(options.pick(5, 1));
    let mut rows = Vec::new();
    for readers in options.pick([1000, 5000], [200, 1000]) {
        let mut figures: Vec<Figures> = ways.iter().map(|_| Figures::default()).collect();
        for _ in 0..runs {
            for (way, figures) in ways.iter().zip(&mut figures) {
                let measured = measure(*way, readers, options, figures);
                way.kind.excuse(&format!("{readers} readers"), measured)?;
            }
        }
        let headwater = median(&figures[0].deliveries);
        for (way, figures) in ways.iter().zip(&figures) {
            let speed = median(&figures.deliveries);
            rows.push(vec![
                readers.to_string(),
                way.name(),
                rate(speed),
                spread(&figures.deliveries, rate),
                ratio(headwater / speed),
                format!("{:.0}", median(&figures.messages)),
                format!("{:.0}", median(&figures.server_ns)),
            ]);
            if way.kind == Kind::DurableStreams {
                report.bar(Bar {
                    name: format!("fan-out to {readers} against {}", way.name()),
                    wanted: 1.0,
                    got: headwater / speed,
                    at_most: false,
                    unit: "×",
                });
            }
        }
    }
    report.table(Table {
        title: "Live fan-out, as fast as acknowledged".to_owned(),
        note: format!(
            "One connection appends messages one by one for {} s, each when the last is acknowledged; all \
             readers follow by SSE, each until it has every message. Deliveries/s: from the first append to \
             the last delivery. Medians of {runs} runs.",
            window(options).as_secs()
        ),
        head: vec![
            "readers",
            "server",
            "deliveries/s",
            "lowest–highest",
            "Headwater is",
            "messages/s",
            "server CPU, ns/delivery",
        ],
        rows,
    });
    Ok(())
}

fn window(options: &Options) -> Duration {
    Duration::from_secs(options.pick(4, 1))
}

fn measure(
    way: Way,
    readers: usize,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), Error> {
    let data = Folder::new()?;
    let server = way.kind.start(&data)?;
    server.create(&mut Connection::open(server.address())?, STREAM)?;
    let followers = load::attach(server.address(), &way.target(STREAM), readers)?;
    follow_appends(&server, way.kind, followers, window(options), figures)
}

/// Appends messages for some time while the readers follow, until each has all.
#[allow(
    clippy::cast_precision_loss,
    reason = "counts and times far below 2^52"
)]
pub(super) fn follow_appends(
    server: &Server,
    kind: Kind,
    followers: Vec<Reader>,
    window: Duration,
    figures: &mut Figures,
) -> Result<(), Error> {
    let readers = followers.len();
    // A connection that waited that long might be closed by now.
    let mut connection = Connection::open(server.address())?;
    let (cpu, own_cpu) = (server.cpu_ns()?, system::own_cpu_ns());
    let start = system::monotonic_ns();
    let published = AtomicU64::new(u64::MAX);
    let (sent, last) = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut count = 0;
            let sent = publish(&mut connection, kind, window, &mut count);
            // The readers wait only for acknowledged messages.
            published.store(count, Ordering::Release);
            sent.map_err(|error| error.to_string()).map(|()| count)
        });
        let last = follow(followers, &published);
        let sent = publisher.join().map_err(|_| "the publisher panicked")??;
        Ok::<_, Error>((sent, last?))
    })?;
    let cpu = server.cpu_ns()?.saturating_sub(cpu);
    let own_cpu = system::own_cpu_ns().saturating_sub(own_cpu);
    let deliveries = sent as f64 * readers as f64;
    let seconds = last.saturating_sub(start) as f64 / 1e9;
    figures.deliveries.push(deliveries / seconds);
    figures.messages.push(sent as f64 / seconds);
    figures.server_ns.push(cpu as f64 / deliveries);
    figures.load_ns.push(own_cpu as f64 / deliveries);
    Ok(())
}

fn publish(
    connection: &mut Connection,
    kind: Kind,
    window: Duration,
    count: &mut u64,
) -> Result<(), Error> {
    let target = kind.target(STREAM);
    let deadline = Instant::now() + window;
    while Instant::now() < deadline {
        connection.must(&publish::append(&target, *count, 1))?;
        *count += 1;
    }
    Ok(())
}
