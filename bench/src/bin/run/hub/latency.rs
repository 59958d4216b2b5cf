//! One paced publisher and a thousand readers: the latency of each message.

use std::{
    thread::{self, sleep},
    time::{Duration, Instant},
};

use headwater_bench::{
    Error,
    http::{Connection, request},
    item::Item,
    load, system,
};

use super::{folder::Folder, reader::Way, server::Kind};
use crate::{
    options::Options,
    report::{Bar, Report, Table},
    stats::{median, percentile, rate, ratio},
};

pub(super) const STREAM: &str = "paced";
const RATE: u32 = 50;
/// Minimum share of due messages that a server must deliver. Below it, the server is saturated, and
/// its latencies only show its backlog.
const KEPT_UP: f64 = 0.98;

#[derive(Default)]
struct Figures {
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    delivered: Vec<f64>,
    cpu: Vec<f64>,
}

#[allow(clippy::cast_precision_loss, reason = "small counts")]
pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let ways = Way::all();
    let readers = options.pick(1000, 200);
    let runs = options.runs.min(options.pick(5, 1));
    let mut figures: Vec<Figures> = ways.iter().map(|_| Figures::default()).collect();
    for _ in 0..runs {
        for (way, figures) in ways.iter().zip(&mut figures) {
            let measured = measure(*way, readers, options, figures);
            way.kind.excuse(&format!("{readers} readers"), measured)?;
        }
    }
    let headwater = median(&figures[0].p99_ms);
    let mut rows = Vec::new();
    for (way, figures) in ways.iter().zip(&figures) {
        let p99 = median(&figures.p99_ms);
        let delivered = median(&figures.delivered);
        let is_saturated = delivered < KEPT_UP * f64::from(RATE) * readers as f64;
        rows.push(vec![
            way.name(),
            format!("{:.1}", median(&figures.p50_ms)),
            format!("{p99:.1}"),
            ratio(headwater / p99),
            rate(delivered),
            if is_saturated { "saturated" } else { "all" }.to_owned(),
            format!("{:.0} %", median(&figures.cpu)),
        ]);
        if way.kind == Kind::DurableStreams {
            report.bar(Bar {
                name: format!(
                    "p99 of {readers} readers at {RATE} messages/s against {}",
                    way.name()
                ),
                wanted: 1.0,
                got: headwater / p99,
                at_most: true,
                unit: "×",
            });
        }
    }
    report.table(Table {
        title: format!("{readers} readers of {RATE} messages a second"),
        note: format!(
            "From before the append's first byte to the last byte at the reader, so the disk is in it where \
             the server has one. {} deliveries/s are due. Over a window of {} s; medians of {runs} runs.",
            readers * RATE as usize,
            window(options).as_secs()
        ),
        head: vec![
            "server",
            "p50, ms",
            "p99, ms",
            "Headwater's p99 is",
            "deliveries/s",
            "delivered",
            "server CPU",
        ],
        rows,
    });
    Ok(())
}

fn window(options: &Options) -> Duration {
    Duration::from_secs(options.pick(10, 2))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and times far below 2^52"
)]
fn measure(
    way: Way,
    readers: usize,
    options: &Options,
    figures: &mut Figures,
) -> Result<(), Error> {
    let (settle, window) = (Duration::from_secs(options.pick(2, 1)), window(options));
    let data = Folder::new()?;
    let server = way.kind.start(&data)?;
    server.create(&mut Connection::open(server.address())?, STREAM)?;
    let readers = load::attach(server.address(), &way.target(STREAM), readers)?;
    // A connection that waited that long might be closed by now.
    let mut connection = Connection::open(server.address())?;
    let (cpu, start) = (server.cpu_ns()?, system::monotonic_ns());
    let mut latencies = thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            publish(&mut connection, way.kind, settle + window).map_err(|error| error.to_string())
        });
        let watched = load::watch(readers, settle, window);
        publisher.join().map_err(|_| "the publisher panicked")??;
        Ok::<_, Error>(watched?.latencies_ns)
    })?;
    let elapsed = system::monotonic_ns() - start;
    let cpu = server.cpu_ns()?.saturating_sub(cpu);
    latencies.sort_unstable();
    figures.p50_ms.push(percentile(&latencies, 50) as f64 / 1e6);
    figures.p99_ms.push(percentile(&latencies, 99) as f64 / 1e6);
    figures
        .delivered
        .push(latencies.len() as f64 / window.as_secs_f64());
    figures.cpu.push(cpu as f64 / elapsed as f64 * 100.0);
    Ok(())
}

/// Appends at the given rate. Each message contains the time before its sending. A late message
/// doesn't delay the next one.
pub(super) fn publish(
    connection: &mut Connection,
    kind: Kind,
    time: Duration,
) -> Result<(), Error> {
    let target = kind.target(STREAM);
    let start = Instant::now();
    for turn in 0.. {
        let due = start + Duration::from_secs(1) * turn / RATE;
        if due > start + time {
            break;
        }
        sleep(due.saturating_duration_since(Instant::now()));
        let item = Item::sent_at(system::monotonic_ns(), u64::from(turn));
        let body = serde_json::to_vec(&item)?;
        connection.must(&request("POST", &target, "application/json", &body))?;
    }
    Ok(())
}
