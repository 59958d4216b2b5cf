//! The latency that a relay adds to an item, with a thousand readers of one upstream.

use std::{
    fs::File,
    io::Write as _,
    time::{Duration, Instant},
};

use headwater_bench::{Error, http::Connection, load};

use super::{folder::Folder, server::Kind};
use crate::{
    options::Options,
    peer::Peer,
    report::{Bar, Report, Table},
    stats::{median, percentile, rate},
};

const RATE: u32 = 50;

/// The path from the upstream to the readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Each reader has a connection to the upstream, which is a loop over bare sockets.
    Direct,
    /// From a relay with its stream in memory.
    InMemory,
    /// From a relay with the default log.
    OnDisk,
}

const WAYS: [Way; 3] = [Way::Direct, Way::InMemory, Way::OnDisk];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Direct => "the upstream itself",
            Self::InMemory => "relay, in memory",
            Self::OnDisk => "relay, on the disk",
        }
    }
}

#[derive(Default)]
struct Figures {
    p50_ms: Vec<f64>,
    p99_ms: Vec<f64>,
    delivered: Vec<f64>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let runs = options.runs.min(options.pick(5, 1));
    let mut rows = Vec::new();
    let mut syncs = Vec::new();
    for readers in options.pick([1, 1000], [1, 200]) {
        let mut figures: Vec<Figures> = WAYS.iter().map(|_| Figures::default()).collect();
        for _ in 0..runs {
            for (way, figures) in WAYS.iter().zip(&mut figures) {
                measure(*way, readers, options, figures)
                    .map_err(|error| format!("{}, {readers} readers: {error}", way.name()))?;
            }
            syncs.push(sync_ms()?);
        }
        let direct = median(&figures[0].p50_ms);
        for (way, figures) in WAYS.iter().zip(&figures) {
            let p50 = median(&figures.p50_ms);
            rows.push(vec![
                readers.to_string(),
                way.name().to_owned(),
                format!("{p50:.2}"),
                format!("{:.2}", median(&figures.p99_ms)),
                format!("{:+.2}", p50 - direct),
                rate(median(&figures.delivered)),
            ]);
            if readers == 1 && *way != Way::Direct {
                let sync = match way {
                    Way::OnDisk => median(&syncs),
                    _ => 0.0,
                };
                report.bar(Bar {
                    name: format!("{}: added to an item at the median", way.name()),
                    wanted: 1.0 + sync,
                    got: p50 - direct,
                    at_most: true,
                    unit: " ms",
                });
            }
        }
    }
    report.table(Table {
        title: "A relay of one upstream".to_owned(),
        note: format!(
            "{RATE} items a second, from an item's making at the upstream to its last byte at the reader, over a window \
             of {} s; medians of {runs} runs. A relay has one connection to the upstream, however many read. One \
             `fdatasync` of 4 KiB took {:.2} ms at the median.",
            window(options).as_secs(),
            median(&syncs)
        ),
        head: vec![
            "readers",
            "from",
            "p50, ms",
            "p99, ms",
            "added at p50, ms",
            "deliveries/s",
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
    let settle = Duration::from_secs(options.pick(2, 1));
    let window = window(options);
    let upstream = Peer::Bare.start(RATE)?;
    let data = Folder::new()?;
    let pattern = format!("http://{}", upstream.address());
    let hub = match way {
        Way::Direct => None,
        Way::InMemory => Some(Kind::Headwater.relay(&data, &pattern, true)?),
        Way::OnDisk => Some(Kind::Headwater.relay(&data, &pattern, false)?),
    };
    let readers = match &hub {
        None => load::attach(upstream.address(), "/paced", readers)?,
        Some(hub) => {
            let create = format!(
                "POST /relay?stream=paced HTTP/1.1\r\nHost: 127.0.0.1\r\nUpstream-URL: {pattern}/paced\r\n\
                 Upstream-Method: GET\r\nContent-Length: 0\r\n\r\n"
            );
            Connection::open(hub.address())?.must(create.as_bytes())?;
            load::attach(hub.address(), "/streams/paced?offset=now", readers)?
        }
    };
    let mut latencies = load::watch(readers, settle, window)?.latencies_ns;
    latencies.sort_unstable();
    figures.p50_ms.push(percentile(&latencies, 50) as f64 / 1e6);
    figures.p99_ms.push(percentile(&latencies, 99) as f64 / 1e6);
    figures
        .delivered
        .push(latencies.len() as f64 / window.as_secs_f64());
    Ok(())
}

/// Returns the median time of 50 syncs of a small append, in milliseconds, on the disk of the hub's
/// folder.
fn sync_ms() -> Result<f64, Error> {
    let path = crate::options::folder().join(".data/sync");
    let mut file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..50 {
        file.write_all(&[1; 4096])?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::remove_file(path)?;
    Ok(median(&times))
}
