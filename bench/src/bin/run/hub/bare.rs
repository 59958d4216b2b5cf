//! Commits and catch-up reads against the system calls under them: `fdatasync` and `sendfile`.

use std::{
    fs::File,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use headwater_bench::{
    Error,
    follow::Marks,
    http::{Connection, request},
    item::{Item, LINE_BYTES},
    publish::{self, Publisher, Until},
};
use headwater_log::{Append, Create, DiskLog, DiskOptions, Log, Settings, StreamName};

use super::{
    catchup::{self, Form},
    folder::Folder,
    server::Kind,
};
use crate::{
    options::Options,
    peer,
    report::{Bar, Report, Table},
    stats::{median, ratio, spread},
};

const STREAM: &str = "bare";
/// Messages of an append.
const BATCHES: [u64; 3] = [1, 100, 1000];
/// Length of the file of the loop: that of a segment of the log.
const FILE_BYTES: usize = 64 << 20;
/// Messages of an append of those that precede the measurement.
const AGING: u64 = 4000;
/// Longest wait until a log has sorted them. A log that is idle for longer gives its free segments back.
const SETTLE: Duration = Duration::from_secs(4);
/// Least commits for each `fdatasync` of the same bytes, and least speed for that of `sendfile`.
const COMMITS: f64 = 0.8;
const READING: f64 = 0.7;

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    commits(options, report)?;
    reading(options, report)
}

/// A way to make bytes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Loop,
    Log,
    Hub,
}

const WAYS: [Way; 3] = [Way::Loop, Way::Log, Way::Hub];

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Loop => "`pwrite` and `fdatasync` in a loop",
            Self::Log => "the log, in process",
            Self::Hub => "the hub, one connection",
        }
    }

    /// Returns the number of durable writes per second, each of a batch of messages.
    fn measure(self, batch: u64, aging: u64, window: Duration) -> Result<f64, Error> {
        let data = Folder::new()?;
        match self {
            Self::Loop => sync_loop(&data, batch, window),
            Self::Log => append_to_log(&data, batch, aging, window),
            Self::Hub => append_to_hub(&data, batch, aging, window),
        }
    }
}

fn commits(options: &Options, report: &mut Report) -> Result<(), Error> {
    let window = Duration::from_millis(options.pick(1000, 300));
    let aging = options.pick(1400, 10);
    let mut rows = Vec::new();
    for batch in BATCHES {
        let mut rates = WAYS.map(|_| Vec::new());
        for _ in 0..options.runs {
            for (way, rates) in WAYS.into_iter().zip(&mut rates) {
                let rate = way.measure(batch, aging, window);
                rates.push(rate.map_err(|error| format!("{}: {error}", way.name()))?);
            }
        }
        let bare = median(&rates[0]);
        for (way, rates) in WAYS.into_iter().zip(&rates) {
            let got = median(rates) / bare;
            rows.push(vec![
                batch.to_string(),
                way.name().to_owned(),
                format!("{:.0}", median(rates)),
                spread(rates, |rate| format!("{rate:.0}")),
                ratio(got),
            ]);
            if way != Way::Loop {
                report.bar(Bar {
                    name: format!("{}: appends of {batch} against `fdatasync`", way.name()),
                    wanted: COMMITS,
                    got,
                    at_most: false,
                    unit: "×",
                });
            }
        }
    }
    report.table(Table {
        title: "Commits and `fdatasync`".to_owned(),
        note: format!(
            "Durable writes one after the other, for {} ms each: an append of messages of {} bytes, or as many bytes written \
             to a file of zeros and synced. So nothing shares a sync. Before, {} MB are appended to the log and sorted, so that \
             it has segments to use again, as a log that has been in use has, and writes no zeros meanwhile. Median of {} runs, \
             in turn.",
            window.as_millis(),
            LINE_BYTES - 1,
            aging * AGING * LINE_BYTES as u64 / 1_000_000,
            options.runs
        ),
        head: vec!["messages", "way", "a second", "lowest–highest", "of the loop"],
        rows,
    });
    Ok(())
}

/// Counts calls of `write` until the time is over. Returns their number per second.
#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn per_second(
    window: Duration,
    mut write: impl FnMut(u64) -> Result<(), Error>,
) -> Result<f64, Error> {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < window {
        write(count)?;
        count += 1;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// Returns messages as lines, as the log stores them.
fn lines(batch: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    for item in (0..batch).map(Item::at) {
        serde_json::to_writer(&mut bytes, &item)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn sync_loop(data: &Folder, batch: u64, window: Duration) -> Result<f64, Error> {
    let mut file = File::create(data.path().join("loop"))?;
    for _ in 0..FILE_BYTES / (64 << 10) {
        file.write_all(&[0; 64 << 10])?;
    }
    file.sync_all()?;
    let bytes = lines(batch)?;
    let room = (FILE_BYTES / bytes.len()) as u64;
    per_second(window, |turn| {
        file.write_all_at(&bytes, turn % room * bytes.len() as u64)?;
        Ok(file.sync_data()?)
    })
}

/// Waits until a log has sorted its segments.
fn settle(data: &Folder) -> Result<(), Error> {
    let start = Instant::now();
    let (mut known, mut since) = (0, start);
    while start.elapsed() < SETTLE && since.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(50));
        let bytes = data.bytes_of("seg")? + data.bytes_of("dat")?;
        if bytes != known {
            (known, since) = (bytes, Instant::now());
        }
    }
    Ok(())
}

/// Returns messages for one append.
fn messages(batch: u64) -> Result<Vec<bytes::Bytes>, Error> {
    let messages = (0..batch).map(|number| Ok(serde_json::to_vec(&Item::at(number))?.into()));
    messages.collect()
}

fn append_to_log(data: &Folder, batch: u64, aging: u64, window: Duration) -> Result<f64, Error> {
    let log = DiskLog::open(data.path(), DiskOptions::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let name = StreamName::new(STREAM)?;
    let create = Create::new(Settings::of_type("application/json"));
    runtime.block_on(log.create(&name, create))?;
    let many = messages(AGING)?;
    for _ in 0..aging {
        runtime.block_on(log.append(&name, Append::new(many.clone())))?;
    }
    settle(data)?;
    let messages = messages(batch)?;
    let rate = per_second(window, |_| {
        runtime.block_on(log.append(&name, Append::new(messages.clone())))?;
        Ok(())
    })?;
    runtime.block_on(log.close())?;
    Ok(rate)
}

#[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn append_to_hub(data: &Folder, batch: u64, aging: u64, window: Duration) -> Result<f64, Error> {
    let server = Kind::Headwater.start(data)?;
    server.create(&mut Connection::open(server.address())?, STREAM)?;
    let target = Kind::Headwater.target(STREAM);
    let many = (0..aging).map(|turn| publish::append(&target, turn * AGING, AGING));
    let many = Publisher::of(many.collect());
    publish::run(server.address(), vec![many], Until::Sent)?;
    settle(data)?;
    let publisher = Publisher::new(&target, 0, batch);
    let published = publish::run(server.address(), vec![publisher], Until::Time(window))?;
    Ok(published.appends as f64 / published.seconds)
}

fn reading(options: &Options, report: &mut Report) -> Result<(), Error> {
    let appends = options.pick(1000, 50);
    let filled = catchup::fill(Kind::Headwater, appends)?;
    let mut rows = Vec::new();
    for (form, form_name) in [(Form::Answers, "JSON"), (Form::Lines, "NDJSON")] {
        let data = Folder::new()?;
        let path = data.path().join("bodies");
        let mut file = File::create(&path)?;
        let mut written = Ok(());
        catchup::fetch(
            Kind::Headwater,
            &filled.server,
            catchup::STREAM,
            form,
            |body| {
                if written.is_ok() {
                    written = file.write_all(body);
                }
            },
        )?;
        written?;
        let bare = peer::sendfile(&path)?;
        let messages = appends * catchup::BATCH;
        let mut speeds = [Vec::new(), Vec::new()];
        for round in 0..=options.runs {
            let sent = drain(bare.address(), messages)?;
            let (read, _) = catchup::read(
                Kind::Headwater,
                &filled.server,
                catchup::STREAM,
                form,
                messages,
            )?;
            // The first round is a warm-up.
            if round > 0 {
                speeds[0].push(sent);
                speeds[1].push(read);
            }
        }
        let bare = median(&speeds[0]);
        for (name, speeds) in ["`sendfile` of one file", "the hub"].iter().zip(&speeds) {
            rows.push(vec![
                form_name.to_owned(),
                (*name).to_owned(),
                format!("{:.0}", median(speeds)),
                spread(speeds, |speed| format!("{speed:.0}")),
                ratio(median(speeds) / bare),
            ]);
        }
        report.bar(Bar {
            name: format!("catching up, {form_name}, against `sendfile`"),
            wanted: READING,
            got: median(&speeds[1]) / bare,
            at_most: false,
            unit: "×",
        });
    }
    report.table(Table {
        title: "Catching up and `sendfile`".to_owned(),
        note: format!(
            "One connection reads a stream of {} JSON messages from the hub, and then the same bytes, as one response of known              length, from a server that sends a file. All is in the system's page cache.",
            appends * catchup::BATCH
        ),
        head: vec!["form", "server", "MB/s", "lowest–highest", "of `sendfile`"],
        rows,
    });
    Ok(())
}

/// Reads one response and counts its messages. Returns the speed in MB of body per second.
#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn drain(server: SocketAddr, messages: u64) -> Result<f64, Error> {
    let mut connection = Connection::open(server)?;
    let (mut marks, mut bytes) = (Marks::default(), 0);
    let start = Instant::now();
    connection.ask(&request("GET", "/", "", b""), |body| {
        marks.feed(body);
        bytes += body.len();
    })?;
    let seconds = start.elapsed().as_secs_f64();
    match marks.count == messages {
        true => Ok(bytes as f64 / 1e6 / seconds),
        false => Err(format!("{} messages came of {messages}", marks.count).into()),
    }
}
