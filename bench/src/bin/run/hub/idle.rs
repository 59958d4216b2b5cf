//! Memory per live reader of a silent stream.

use std::{thread::sleep, time::Duration};

use headwater_bench::{Error, http::Connection, load};

use super::{folder::Folder, reader::Way};
use crate::{
    options::Options,
    report::{Bar, Report, Table},
    stats::{median, ratio, spread},
};

const STREAM: &str = "idle";
/// Number of readers before the measurement, so that one-time setup isn't counted.
const BEFORE: usize = 20;

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let ways = Way::all();
    let runs = options.runs.min(options.pick(3, 1));
    let readers = options.pick(4000, 1000);
    // Longer than the servers' first heartbeat.
    let settle = Duration::from_secs(options.pick(18, 2));
    let mut kib: Vec<(Vec<f64>, Vec<f64>)> = ways.iter().map(|_| Default::default()).collect();
    for _ in 0..runs {
        for (way, (at_once, later)) in ways.iter().zip(&mut kib) {
            let measured = measure(*way, readers, settle).map(|measured| {
                at_once.push(measured.0);
                later.push(measured.1);
            });
            way.kind.excuse(&format!("{readers} readers"), measured)?;
        }
    }
    let headwater = median(&kib[0].1);
    let rows = ways.iter().zip(&kib).map(|(way, (at_once, later))| {
        vec![
            way.name(),
            format!("{:.2}", median(at_once)),
            format!("{:.2}", median(later)),
            spread(later, |kib| format!("{kib:.2}")),
            ratio(headwater / median(later)),
        ]
    });
    report.table(Table {
        title: "Memory of an idle reader of the hub".to_owned(),
        note: format!(
            "Growth of the server's resident memory over {readers} SSE readers of one silent stream, per reader, \
             in KiB: when all have their response head, and {} s later; medians of {runs} runs.",
            settle.as_secs()
        ),
        head: vec!["server", "at once", "later", "lowest–highest", "Headwater is"],
        rows: rows.collect(),
    });
    report.bar(Bar {
        name: "resident memory of an idle reader of the hub".to_owned(),
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
fn measure(way: Way, count: usize, settle: Duration) -> Result<(f64, f64), Error> {
    let data = Folder::new()?;
    let server = way.kind.start(&data)?;
    let mut connection = Connection::open(server.address())?;
    server.create(&mut connection, STREAM)?;
    let _before = load::attach(server.address(), &way.target(STREAM), BEFORE)?;
    let empty = server.memory_bytes()?;
    let _readers = load::attach(server.address(), &way.target(STREAM), count)?;
    let per_reader = || -> Result<f64, Error> {
        let grown = server.memory_bytes()?.saturating_sub(empty);
        Ok(grown as f64 / count as f64 / 1024.0)
    };
    let at_once = per_reader()?;
    sleep(settle);
    Ok((at_once, per_reader()?))
}
