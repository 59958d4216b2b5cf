//! A hub on a cluster of three NATS servers with a million streams: creation, memory, appends and listings while they
//! become more, snapshots, and starts with and without one.

use std::{
    fs,
    ops::Range,
    thread::sleep,
    time::{Duration, Instant},
};

use headwater_bench::{
    Error,
    http::{Connection, request},
    item::Item,
    publish::{self, Publisher, Until},
};

use super::{
    folder::Folder,
    nats::Cluster,
    server::{Kind, Server},
};
use crate::{
    options::Options,
    report::{Report, Table},
    stats::{median, percentile, spread},
};

const KIND: Kind = Kind::Headwater;
/// Numbers of streams at which the hub is measured.
const STREAMS: [usize; 5] = [1000, 100_000, 250_000, 500_000, MANY];
const MANY: usize = 1_000_000;
const QUICK_STREAMS: [usize; 2] = [1000, 3000];
/// Number of streams that are created between two looks at the clock.
const SLICE: usize = 25_000;
/// Time limit of all creations. The run continues with the streams that exist then.
const PATIENCE: Duration = Duration::from_secs(600);
/// Connections that create streams, and those that append.
const CREATORS: usize = 64;
const APPENDERS: usize = 16;
/// Number of streams to which a connection appends in turn.
const TARGETS: u64 = 2048;
/// Number of prefixes: a page of the listing has the streams of one.
const PREFIXES: usize = 1000;
/// Number of streams in a page.
const PAGE: usize = 1000;
const LISTINGS: usize = 20;
/// Time limit for a snapshot that is due.
const SNAPSHOT: Duration = Duration::from_secs(120);
/// Text in the hub's log of a snapshot.
const STORED: &str = "a snapshot of the log was stored";
/// Columns of appends, and of memory and files.
const APPENDS: [&str; 4] = ["appends/s", "p50, ms", "p99, ms", "longest, ms"];
const SPACE: [&str; 4] = ["hub, MB", "its peak, MB", "a server, MB", "files, MB"];

/// A hub on new servers.
struct Measured {
    // It ends before its servers.
    hub: Server,
    cluster: Cluster,
    data: Folder,
    streams: usize,
    /// The snapshots that hubs before it have stored, as rows.
    stored: Vec<Vec<String>>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let mut measured = Measured::start(true)?;
    measured.growth(options, report)?;
    let streams = measured.streams;
    let mut starts = Vec::new();
    let runs = options.runs.min(options.pick(5, 1));
    for (name, is_killed) in [("after SIGTERM", false), ("after SIGKILL", true)] {
        let mut start = Start::default();
        for _ in 0..runs {
            measured = measured.restart(is_killed, &mut start)?;
        }
        starts.push(measured.started(name, &start, options)?);
    }
    measured.listings(report)?;
    measured.another(report)?;
    let mut snapshots = measured.snapshots()?;
    // Removed records are in the snapshots alone, so a start without one needs other servers.
    drop(measured);
    let mut measured = Measured::start(false)?;
    while measured.streams < streams {
        measured.create(streams.min(measured.streams + SLICE))?;
    }
    let mut start = Start::default();
    measured = measured.restart(true, &mut start)?;
    starts.push(measured.started("after SIGKILL, without a snapshot", &start, options)?);
    // One is due. It may be complete already.
    let deadline = Instant::now() + SNAPSHOT;
    let mut stored = measured.snapshots()?;
    while stored.is_empty() && streams >= MANY && Instant::now() < deadline {
        sleep(Duration::from_secs(1));
        stored = measured.snapshots()?;
    }
    snapshots.extend(stored);
    let peak = mb(measured.hub.peak_bytes()?);
    let mut head = vec!["start", "records", "ready, s", "lowest–highest", "hub, MB"];
    head.extend(APPENDS);
    report.table(Table {
        title: "Starts with many streams on a cluster".to_owned(),
        note: format!(
            "From starting a hub's process to a 200 of its `/readyz`, with {streams} streams; {runs} runs, and one without a \
             snapshot, on other servers. Records: those that it read besides the snapshot. Its resident memory then; without a \
             snapshot its peak is {peak} MB, after it has stored one. Then appends as above."
        ),
        head,
        rows: starts,
    });
    report.table(Table {
        title: "Snapshots of many streams".to_owned(),
        note: "All that the hubs stored, in order. Locked: the time for which the state was locked; no record is applied \
               meanwhile. Time: from that moment until the snapshot is stored on the servers, while the hub serves appends. The \
               last one was stored after the start without a snapshot."
            .to_owned(),
        head: vec!["last record", "bytes", "locked", "time"],
        rows: snapshots,
    });
    Ok(())
}

/// The starts of a kind.
#[derive(Default)]
struct Start {
    seconds: Vec<f64>,
    /// Records that the last one read besides the snapshot.
    records: String,
}

impl Measured {
    fn start(snapshots: bool) -> Result<Self, Error> {
        let cluster = Cluster::start()?;
        let data = Folder::new()?;
        Ok(Self {
            hub: KIND.ready_on_cluster(&data, &cluster.urls(), snapshots)?,
            cluster,
            data,
            streams: 0,
            stored: Vec::new(),
        })
    }

    /// Ends the hub, and starts it again. It stores snapshots.
    fn restart(self, is_killed: bool, start: &mut Start) -> Result<Self, Error> {
        let stored = self.snapshots()?;
        let Self {
            cluster, data, hub, ..
        } = self;
        if is_killed {
            hub.kill()?;
        } else {
            hub.end()?;
        }
        let began = Instant::now();
        let hub = KIND.ready_on_cluster(&data, &cluster.urls(), true)?;
        start.seconds.push(began.elapsed().as_secs_f64());
        let log = fs::read_to_string(data.path().with_extension("log"))?;
        start.records = field(&log, "records");
        Ok(Self {
            cluster,
            data,
            hub,
            streams: self.streams,
            stored,
        })
    }

    /// Returns the row of starts, after appends to the hub that has started.
    fn started(&self, name: &str, start: &Start, options: &Options) -> Result<Vec<String>, Error> {
        let mut row = vec![
            name.to_owned(),
            start.records.clone(),
            format!("{:.2}", median(&start.seconds)),
            spread(&start.seconds, |time| format!("{time:.2}")),
            mb(self.hub.memory_bytes()?),
        ];
        row.extend(self.append(options)?);
        eprintln!("{}", row.join(" | "));
        Ok(row)
    }

    /// Creates the streams, and measures the hub and its servers while they become more.
    fn growth(&mut self, options: &Options, report: &mut Report) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut rows = Vec::new();
        for &streams in options.pick(&STREAMS[..], &QUICK_STREAMS) {
            let (before, mut seconds) = (self.streams, 0.0);
            while self.streams < streams && Instant::now() < deadline {
                seconds += self.create(streams.min(self.streams + SLICE))?;
            }
            let created = self.streams - before;
            if created == 0 {
                break;
            }
            let rate = format!("{:.0}", float(created) / seconds);
            let mut row = vec![self.streams.to_string(), rate];
            row.extend(self.append(options)?);
            row.extend(self.space()?);
            eprintln!("{}", row.join(" | "));
            rows.push(row);
        }
        let mut head = vec!["streams", "created/s"];
        head.extend(APPENDS);
        head.extend(SPACE);
        report.table(Table {
            title: "Many streams on a cluster".to_owned(),
            note: format!(
                "Streams with one message each, created by {CREATORS} connections through one hub on three servers, and the rate \
                 since the row before. Then {APPENDERS} connections append to random ones of all streams for {} s, which adds \
                 messages. The hub's resident memory and its peak until then, the server's that has most, and the files of one server. \
                 Creation is bounded by {} minutes.",
                window(options).as_secs(),
                PATIENCE.as_secs() / 60
            ),
            head,
            rows,
        });
        Ok(())
    }

    /// Creates streams up to a number of them. Returns the time in seconds.
    fn create(&mut self, streams: usize) -> Result<f64, Error> {
        let seconds = self.each(self.streams..streams, |number| {
            let body = serde_json::to_vec(&[Item::at(number as u64)]);
            // Plain fields always serialise.
            let body = body.unwrap_or_default();
            request("PUT", &target(number), "application/json", &body)
        })?;
        self.streams = streams;
        Ok(seconds)
    }

    /// Sends a request for each of these streams. Returns the time in seconds.
    fn each(&self, streams: Range<usize>, request: fn(usize) -> Vec<u8>) -> Result<f64, Error> {
        let mut requests = vec![Vec::new(); CREATORS];
        for number in streams {
            requests[number % CREATORS].push(request(number));
        }
        requests.retain(|requests| !requests.is_empty());
        let publishers = requests.into_iter().map(Publisher::of).collect();
        Ok(publish::run(self.hub.address(), publishers, Until::Sent)?.seconds)
    }

    /// Appends another message to each stream.
    #[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
    fn another(&self, report: &mut Report) -> Result<(), Error> {
        let before = self.hub.memory_bytes()?;
        let mut seconds = 0.0;
        for first in (0..self.streams).step_by(SLICE) {
            let slice = first..self.streams.min(first + SLICE);
            seconds += self.each(slice, |number| {
                publish::append(&target(number), number as u64, 1)
            })?;
        }
        let after = self.hub.memory_bytes()?;
        let more = after.saturating_sub(before) as f64 / float(self.streams);
        let mut row = vec![
            self.streams.to_string(),
            format!("{:.0}", float(self.streams) / seconds),
            mb(before),
            format!("{more:.0}"),
        ];
        row.extend(self.space()?);
        let mut head = vec!["streams", "appends/s", "hub before, MB", "bytes a message"];
        head.extend(SPACE);
        report.table(Table {
            title: "Another message in each of many streams on a cluster".to_owned(),
            note: format!(
                "Appends of one message to each stream by {CREATORS} connections, and the memory that the hub has more after \
                 them, divided by their number. It is the hub that has started last."
            ),
            head,
            rows: vec![row],
        });
        Ok(())
    }

    /// Appends to random streams. Returns the columns of [`APPENDS`].
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "counts and times far below 2^52, and numbers of streams"
    )]
    fn append(&self, options: &Options) -> Result<Vec<String>, Error> {
        let appends = |connection: u64| {
            let targets = (0..TARGETS).map(|turn| {
                let number = connection * TARGETS + turn;
                // A multiple of the golden ratio scatters them.
                let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
                let stream = random as usize % self.streams;
                publish::append(&target(stream), number, 1)
            });
            Publisher::of(targets.collect())
        };
        let publishers = (0..APPENDERS as u64).map(appends).collect();
        let until = Until::Time(window(options));
        let mut published = publish::run(self.hub.address(), publishers, until)?;
        let latencies = &mut published.latencies_ns;
        latencies.sort_unstable();
        let longest = latencies.last().copied().unwrap_or(0);
        let ms = |ns: u64| format!("{:.2}", ns as f64 / 1e6);
        Ok(vec![
            format!("{:.0}", published.appends as f64 / published.seconds),
            ms(percentile(latencies, 50)),
            ms(percentile(latencies, 99)),
            ms(longest),
        ])
    }

    /// Returns the columns of [`SPACE`].
    fn space(&self) -> Result<Vec<String>, Error> {
        let servers = self.cluster.memory_bytes()?;
        let count = servers.len().max(1) as u64;
        Ok(vec![
            mb(self.hub.memory_bytes()?),
            mb(self.hub.peak_bytes()?),
            mb(servers.into_iter().max().unwrap_or(0)),
            mb(self.cluster.disk_bytes()? / count),
        ])
    }

    /// Returns a row for each snapshot, of this hub by its log, and of those before it.
    fn snapshots(&self) -> Result<Vec<Vec<String>>, Error> {
        let log = fs::read_to_string(self.data.path().with_extension("log"))?;
        let stored = log.lines().filter(|line| line.contains(STORED));
        let row = |line| {
            let [record, bytes, locked, time] =
                ["sequence", "bytes", "locked", "elapsed"].map(|name| field(line, name));
            vec![record, bytes, shortened(&locked), shortened(&time)]
        };
        Ok(self.stored.iter().cloned().chain(stored.map(row)).collect())
    }

    /// Lists streams, and checks that all are there.
    fn listings(&self, report: &mut Report) -> Result<(), Error> {
        let mut connection = Connection::open(self.hub.address())?;
        let mut rows = Vec::new();
        let middle = PREFIXES.min(self.streams) / 2;
        for (name, query) in [
            ("first page", String::new()),
            ("a prefix", format!("&prefix=many/{middle:03}/")),
        ] {
            let mut times = Vec::new();
            for _ in 0..LISTINGS {
                let start = Instant::now();
                page(&mut connection, &query)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            rows.push(vec![
                name.to_owned(),
                format!("{:.2}", median(&times)),
                spread(&times, |time| format!("{time:.2}")),
            ]);
        }
        let (mut streams, mut after) = (0, String::new());
        let start = Instant::now();
        loop {
            let (listed, next) = page(&mut connection, &after)?;
            streams += listed;
            match next {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        if streams != self.streams {
            return Err(format!("{streams} of {} streams are listed", self.streams).into());
        }
        let seconds = start.elapsed().as_secs_f64();
        let all = format!("all {streams} streams, page by page");
        rows.push(vec![all, format!("{:.0}", seconds * 1e3), "–".to_owned()]);
        report.table(Table {
            title: "Listings of many streams on a cluster".to_owned(),
            note: format!(
                "`GET /streams?limit={PAGE}` on one connection, by the hub that has started from a snapshot: medians of \
                 {LISTINGS} requests."
            ),
            head: vec!["listing", "ms", "lowest–highest"],
            rows,
        });
        Ok(())
    }
}

fn window(options: &Options) -> Duration {
    Duration::from_secs(options.pick(5, 1))
}

fn target(number: usize) -> String {
    KIND.target(&format!("many/{:03}/{number}", number % PREFIXES))
}

/// Lists a page. Returns the number of streams in it, and the path after which to continue.
fn page(connection: &mut Connection, query: &str) -> Result<(usize, Option<String>), Error> {
    let ask = request("GET", &format!("/streams?limit={PAGE}{query}"), "", b"");
    let mut body = Vec::new();
    let status = connection.ask(&ask, |piece| body.extend_from_slice(piece))?;
    let status = status.status();
    if status != 200 {
        return Err(format!("a listing was answered with {status}").into());
    }
    let listing: serde_json::Value = serde_json::from_slice(&body)?;
    let streams = listing["streams"].as_array().map_or(0, Vec::len);
    Ok((streams, listing["after"].as_str().map(str::to_owned)))
}

/// Returns the value of `name=value` in a text, or nothing.
fn field(text: &str, name: &str) -> String {
    let mut fields = text
        .split_whitespace()
        .filter_map(|word| word.split_once('='));
    let found = fields.find(|(key, _)| *key == name);
    found.map_or_else(String::new, |(_, value)| value.to_owned())
}

/// Shortens a duration such as `20.992159ms` to its first decimal.
fn shortened(duration: &str) -> String {
    let unit = duration.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number = duration.strip_suffix(unit).and_then(|it| it.parse().ok());
    number.map_or_else(String::new, |number: f64| format!("{number:.1} {unit}"))
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn mb(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1e6)
}
