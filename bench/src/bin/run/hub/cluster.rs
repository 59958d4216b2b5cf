//! Hubs on a cluster of three NATS servers: appends against plain publishes to the same servers, fan-out on two
//! hubs, latency from hub to hub, and the time without a leader.

use std::{
    thread::{self, sleep},
    time::Duration,
};

use headwater_bench::{Error, http::Connection, item::LINE_BYTES, load, publish, system};

use super::{
    append::{self, WORK, Work},
    fanout::{self, Figures},
    folder::Folder,
    latency,
    nats::Cluster,
    server::{Kind, Server},
};
use crate::{
    options::Options,
    report::{Bar, Report, Table},
    stats::{median, percentile, rate, ratio, spread},
};

const KIND: Kind = Kind::Headwater;

/// Two hubs on new servers.
struct Hubs {
    hubs: [Server; 2],
    cluster: Cluster,
    _folders: [Folder; 2],
}

impl Hubs {
    fn start() -> Result<Self, Error> {
        let cluster = Cluster::start()?;
        let folders = [Folder::new()?, Folder::new()?];
        let start = |folder: &Folder| KIND.on_cluster(folder, &cluster.urls());
        Ok(Self {
            hubs: [start(&folders[0])?, start(&folders[1])?],
            cluster,
            _folders: folders,
        })
    }

    fn create(&self, stream: &str) -> Result<Connection, Error> {
        let mut connection = Connection::open(self.hubs[0].address())?;
        self.hubs[0].create(&mut connection, stream)?;
        Ok(connection)
    }
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    appends(options, report)?;
    fan_out(options, report)?;
    from_hub_to_hub(options, report)?;
    without_leader(options, report)
}

fn appends(options: &Options, report: &mut Report) -> Result<(), Error> {
    let window = Duration::from_secs(options.pick(4, 1));
    let mut rows = Vec::new();
    // Those with 256 connections are for the disk.
    for work in WORK.iter().filter(|work| work.connections <= 64) {
        let (mut figures, mut plain_rates) = (append::Figures::default(), Vec::new());
        for _ in 0..options.runs {
            plain_rates.push(append(work, window, &mut figures)?);
        }
        let (messages, plain) = (median(&figures.messages), median(&plain_rates));
        report.bar(Bar {
            name: format!(
                "appends on a cluster, {}, against plain publishes",
                work.name
            ),
            wanted: if work.batch > 1 { 20.0 } else { 2.0 },
            got: messages / plain,
            at_most: false,
            unit: "×",
        });
        rows.push(vec![
            work.name.to_owned(),
            rate(messages),
            spread(&figures.messages, rate),
            rate(plain),
            spread(&plain_rates, rate),
            ratio(messages / plain),
            format!("{:.2}", median(&figures.p50_ms)),
            format!("{:.2}", median(&figures.p99_ms)),
        ]);
    }
    report.table(Table {
        title: "Appends on a cluster".to_owned(),
        note: format!(
            "JSON messages of {} bytes to one hub, each append acknowledged before the connection's next, over {} s. Plain: \
             publishes of the same bytes to the same servers, one message each, with as many messages in flight, after it. \
             Each measurement has new servers. p50 and p99: of one append.",
            LINE_BYTES - 1,
            window.as_secs()
        ),
        head: vec![
            "work",
            "messages/s",
            "lowest–highest",
            "plain publishes/s",
            "lowest–highest",
            "Headwater is",
            "p50, ms",
            "p99, ms",
        ],
        rows,
    });
    Ok(())
}

/// Measures appends. Returns the rate of plain publishes.
fn append(work: &Work, window: Duration, figures: &mut append::Figures) -> Result<f64, Error> {
    let hubs = Hubs::start()?;
    let warm_up = window / 8;
    work.measure(KIND, &hubs.hubs[0], warm_up, window, figures)?;
    let in_flight = work.connections * work.batch;
    hubs.cluster.publish(in_flight, warm_up)?;
    hubs.cluster.publish(in_flight, window)
}

fn fan_out(options: &Options, report: &mut Report) -> Result<(), Error> {
    let readers = options.pick(1000, 100);
    let runs = options.runs.min(options.pick(5, 1));
    let window = Duration::from_secs(options.pick(4, 1));
    let mut figures = Figures::default();
    for _ in 0..runs {
        let hubs = Hubs::start()?;
        hubs.create(fanout::STREAM)?;
        let target = format!("{}?offset=now", KIND.target(fanout::STREAM));
        let mut followers = Vec::new();
        for hub in &hubs.hubs {
            followers.extend(load::attach(hub.address(), &target, readers / 2)?);
        }
        fanout::follow_appends(&hubs.hubs[0], KIND, followers, window, &mut figures)?;
    }
    report.table(Table {
        title: "Live fan-out of two hubs on a cluster".to_owned(),
        note: format!(
            "As \"Live fan-out\", with {} `EventSource` readers on each of two hubs. The appends are to the first. Windows of \
             {} s; medians of {runs} runs.",
            readers / 2,
            window.as_secs()
        ),
        head: vec!["readers", "deliveries/s", "lowest–highest"],
        rows: vec![vec![
            readers.to_string(),
            rate(median(&figures.deliveries)),
            spread(&figures.deliveries, rate),
        ]],
    });
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "times far below 2^52")]
fn from_hub_to_hub(options: &Options, report: &mut Report) -> Result<(), Error> {
    let runs = options.runs.min(options.pick(5, 1));
    let settle = Duration::from_secs(1);
    let window = Duration::from_secs(options.pick(10, 2));
    let (mut p50_ms, mut p99_ms) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let hubs = Hubs::start()?;
        let mut connection = hubs.create(latency::STREAM)?;
        let target = format!("{}?offset=now", KIND.target(latency::STREAM));
        let readers = load::attach(hubs.hubs[1].address(), &target, 1)?;
        let mut latencies = thread::scope(|scope| {
            let publisher = scope.spawn(|| {
                let sent = latency::publish(&mut connection, KIND, settle + window);
                sent.map_err(|error| error.to_string())
            });
            let watched = load::watch(readers, settle, window);
            publisher.join().map_err(|_| "the publisher panicked")??;
            Ok::<_, Error>(watched?.latencies_ns)
        })?;
        latencies.sort_unstable();
        p50_ms.push(percentile(&latencies, 50) as f64 / 1e6);
        p99_ms.push(percentile(&latencies, 99) as f64 / 1e6);
    }
    report.table(Table {
        title: "From hub to hub".to_owned(),
        note: format!(
            "50 messages a second to one hub, and a reader of another: from before the append's first byte to the reader's last \
             byte. Windows of {} s; medians of {runs} runs.",
            window.as_secs()
        ),
        head: vec!["p50, ms", "p99, ms"],
        rows: vec![vec![
            format!("{:.1}", median(&p50_ms)),
            format!("{:.1}", median(&p99_ms)),
        ]],
    });
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "times far below 2^52")]
fn without_leader(options: &Options, report: &mut Report) -> Result<(), Error> {
    let runs = options.runs.min(options.pick(5, 1));
    let mut gaps = Vec::new();
    for _ in 0..runs {
        let mut hubs = Hubs::start()?;
        let mut connection = hubs.create("leader")?;
        let target = KIND.target("leader");
        connection.must(&publish::append(&target, 0, 1))?;
        // The servers know who leads.
        sleep(Duration::from_secs(1));
        hubs.cluster.kill_leader()?;
        let start = system::monotonic_ns();
        connection.must(&publish::append(&target, 1, 1))?;
        gaps.push((system::monotonic_ns() - start) as f64 / 1e9);
    }
    report.bar(Bar {
        name: "time without appends after the leader is killed".to_owned(),
        wanted: 5.0,
        got: median(&gaps),
        at_most: true,
        unit: " s",
    });
    report.table(Table {
        title: "After the leader is killed".to_owned(),
        note: format!(
            "An append that begins when the server that leads the log was killed by SIGKILL, until its acknowledgement. {runs} runs."
        ),
        head: vec!["median, s", "lowest–highest"],
        rows: vec![vec![
            format!("{:.1}", median(&gaps)),
            spread(&gaps, |gap| format!("{gap:.1}")),
        ]],
    });
    Ok(())
}
