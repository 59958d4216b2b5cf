//! Memory per idle reader.

use std::{thread::sleep, time::Duration};

use headwater_bench::{Error, load, system};

use crate::{
    options::Options,
    peer::Peer,
    report::{Bar, Report, Table},
    stats::{median, ratio, spread},
};

const PEERS: [Peer; 4] = [Peer::Headwater, Peer::Axum, Peer::FastApi, Peer::Bare];
/// Number of readers before the measurement, so that one-time setup isn't counted.
const BEFORE: usize = 20;

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let runs = options.runs.min(options.pick(3, 1));
    let readers = options.pick(4000, 1000);
    // Longer than the servers' first heartbeat, which is after 15 s in all of them.
    let settle = Duration::from_secs(options.pick(18, 2));
    let mut kib: Vec<(Vec<f64>, Vec<f64>)> = PEERS.iter().map(|_| Default::default()).collect();
    for _ in 0..runs {
        for (peer, (at_once, later)) in PEERS.iter().zip(&mut kib) {
            let measured = measure(*peer, readers, settle)
                .map_err(|error| format!("{} /idle: {error}", peer.name()))?;
            at_once.push(measured.0);
            later.push(measured.1);
        }
    }
    let headwater = median(&kib[0].1);
    let rows = PEERS.iter().zip(&kib).map(|(peer, (at_once, later))| {
        vec![
            peer.name().to_owned(),
            format!("{:.2}", median(at_once)),
            format!("{:.2}", median(later)),
            spread(later, |kib| format!("{kib:.2}")),
            ratio(headwater / median(later)),
        ]
    });
    report.table(Table {
        title: "Memory of an idle SSE reader".to_owned(),
        note: format!(
            "Growth of the server's resident memory over {readers} connections, per connection, in \
             KiB: when all have their response head, and {} s later; medians of {runs} runs.",
            settle.as_secs()
        ),
        head: vec![
            "server",
            "at once",
            "later",
            "lowest–highest",
            "Headwater is",
        ],
        rows: rows.collect(),
    });
    report.bar(Bar {
        name: "resident memory of an idle SSE reader".to_owned(),
        wanted: 13.0,
        got: headwater,
        at_most: true,
        unit: " KiB",
    });
    Ok(())
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and sizes far below 2^52"
)]
fn measure(peer: Peer, count: usize, settle: Duration) -> Result<(f64, f64), Error> {
    let server = peer.start(1)?;
    let _before = load::attach(server.address(), "/idle", BEFORE)?;
    let empty = system::resident_bytes(server.pid())?;
    let _readers = load::attach(server.address(), "/idle", count)?;
    let per_reader = || -> Result<f64, Error> {
        let grown = system::resident_bytes(server.pid())?.saturating_sub(empty);
        Ok(grown as f64 / count as f64 / 1024.0)
    };
    let at_once = per_reader()?;
    sleep(settle);
    Ok((at_once, per_reader()?))
}
