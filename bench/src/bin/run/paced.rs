//! A thousand readers of one paced stream: the latency of each item.

use std::time::Duration;

use headwater_bench::{Error, load, system};

use crate::{
    options::Options,
    peer::Peer,
    report::{Report, Table},
    stats::{median, percentile, rate},
};

/// The servers, and the rates at which each is read, in messages per second.
///
/// FastAPI can't keep up with the first rate, as its row says. The second shows it without
/// overload.
const ROWS: [(Peer, u32); 5] = [
    (Peer::Headwater, 50),
    (Peer::Axum, 50),
    (Peer::FastApi, 50),
    (Peer::FastApi, 5),
    (Peer::Bare, 50),
];

/// Minimum share of due messages that a server must deliver. Below it, the server is saturated.
const KEPT_UP: f64 = 0.98;

#[derive(Default)]
struct Figures {
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    delivered: Vec<f64>,
    cpu: Vec<f64>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let readers = options.pick(1000, 200);
    let settle = Duration::from_secs(options.pick(2, 1));
    let window = Duration::from_secs(options.pick(10, 2));
    let runs = options.runs.min(options.pick(5, 1));
    let mut figures: Vec<Figures> = ROWS.iter().map(|_| Figures::default()).collect();
    for _ in 0..runs {
        for ((peer, rate), figures) in ROWS.iter().zip(&mut figures) {
            measure(*peer, *rate, readers, (settle, window), figures)
                .map_err(|error| format!("{} /paced: {error}", peer.name()))?;
        }
    }
    let rows = ROWS
        .iter()
        .zip(&figures)
        .map(|((peer, per_second), figures)| {
            let delivered = median(&figures.delivered);
            vec![
                peer.name().to_owned(),
                per_second.to_string(),
                format!("{:.1}", median(&figures.p50_ms)),
                format!("{:.1}", median(&figures.p99_ms)),
                rate(delivered),
                if delivered < KEPT_UP * f64::from(*per_second) * readers as f64 {
                    "saturated".to_owned()
                } else {
                    "all".to_owned()
                },
                format!("{:.0} %", median(&figures.cpu)),
            ]
        });
    report.table(Table {
        title: format!("{readers} readers of one paced SSE stream"),
        note: format!(
            "From the item's making to its last byte read, over a window of {} s; medians of {runs} runs.",
            window.as_secs()
        ),
        head: vec![
            "server",
            "messages/s",
            "p50, ms",
            "p99, ms",
            "deliveries/s",
            "delivered",
            "server CPU",
        ],
        rows: rows.collect(),
    });
    Ok(())
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and times far below 2^52"
)]
fn measure(
    peer: Peer,
    rate: u32,
    readers: usize,
    (settle, window): (Duration, Duration),
    figures: &mut Figures,
) -> Result<(), Error> {
    let server = peer.start(rate)?;
    let readers = load::attach(server.address(), "/paced", readers)?;
    let cpu = system::cpu_ns(server.pid())?;
    let start = system::monotonic_ns();
    let mut latencies = load::watch(readers, settle, window)?.latencies_ns;
    let elapsed = system::monotonic_ns() - start;
    let cpu = system::cpu_ns(server.pid())?.saturating_sub(cpu);
    latencies.sort_unstable();
    figures.p50_ms.push(percentile(&latencies, 50) as f64 / 1e6);
    figures.p99_ms.push(percentile(&latencies, 99) as f64 / 1e6);
    figures
        .delivered
        .push(latencies.len() as f64 / window.as_secs_f64());
    figures.cpu.push(cpu as f64 / elapsed as f64 * 100.0);
    Ok(())
}
