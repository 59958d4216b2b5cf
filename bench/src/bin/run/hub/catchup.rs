//! One catch-up reader of a whole stream, and the disk space of the stream.

use std::time::Instant;

use headwater_bench::{
    Error,
    follow::Marks,
    http::{Connection, request},
    item::LINE_BYTES,
    publish::{self, Publisher, Until},
};

use super::{
    folder::Folder,
    server::{DURABLE, Kind, Server},
};
use crate::{
    options::Options,
    report::{Report, Table},
    stats::{median, ratio, spread},
};

pub(super) const STREAM: &str = "catchup";
/// Messages of an append.
pub(super) const BATCH: u64 = 1000;
/// Number of connections and streams for the single appends.
const SINGLES: u64 = 64;

/// The form of a catch-up read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    /// Consecutive responses, each from the end of the previous one, as in the protocol.
    Answers,
    /// The whole stream in one response, as lines.
    Lines,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let kinds: Vec<Kind> = DURABLE.into_iter().filter(|kind| kind.is_there()).collect();
    let appends = options.pick(1000, 50);
    let mut filled = Vec::new();
    for kind in &kinds {
        let fill =
            fill(*kind, appends).map_err(|error| format!("filling {}: {error}", kind.name()))?;
        filled.push(fill);
    }
    reading(options, report, &kinds, &filled, appends)?;
    disk(options, report, &kinds, &filled, appends)
}

/// A server with a filled stream, restarted after filling.
pub(super) struct Filled {
    data: Folder,
    pub(super) server: Server,
    /// Disk space of the stream, in bytes.
    disk_bytes: u64,
}

/// Fills a stream with appends of [`BATCH`] messages.
pub(super) fn fill(kind: Kind, appends: u64) -> Result<Filled, Error> {
    let data = Folder::new()?;
    let disk_bytes = growth(kind, &data, |server| {
        server.create(&mut Connection::open(server.address())?, STREAM)?;
        let target = kind.target(STREAM);
        let requests = (0..appends).map(|turn| publish::append(&target, turn * BATCH, BATCH));
        let publisher = Publisher::of(requests.collect());
        publish::run(server.address(), vec![publisher], Until::Sent)?;
        Ok(())
    })?;
    let server = kind.start(&data)?;
    Ok(Filled {
        data,
        server,
        disk_bytes,
    })
}

/// Returns the growth of a folder's disk space by `work`, in bytes. The server is stopped for both
/// measurements.
fn growth(
    kind: Kind,
    data: &Folder,
    work: impl FnOnce(&Server) -> Result<(), Error>,
) -> Result<u64, Error> {
    kind.start(data)?.end()?;
    let before = data.disk_bytes()?;
    let server = kind.start(data)?;
    work(&server)?;
    server.end()?;
    Ok(data.disk_bytes()?.saturating_sub(before))
}

fn reading(
    options: &Options,
    report: &mut Report,
    kinds: &[Kind],
    filled: &[Filled],
    appends: u64,
) -> Result<(), Error> {
    let mut ways: Vec<(usize, Form)> = (0..kinds.len())
        .map(|index| (index, Form::Answers))
        .collect();
    ways.insert(1, (0, Form::Lines));
    let mut speeds: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    let mut answers = vec![0; ways.len()];
    for round in 0..=options.runs {
        for (way, (index, form)) in ways.iter().enumerate() {
            let (kind, server) = (kinds[*index], &filled[*index].server);
            let (speed, count) = read(kind, server, STREAM, *form, appends * BATCH)
                .map_err(|error| format!("reading {}: {error}", kind.name()))?;
            answers[way] = count;
            // The first round is a warm-up.
            if round > 0 {
                speeds[way].push(speed);
            }
        }
    }
    let headwater = median(&speeds[0]);
    let mut rows = Vec::new();
    for (((index, form), speeds), answers) in ways.iter().zip(&speeds).zip(answers) {
        let lines = if matches!(form, Form::Lines) {
            ", NDJSON"
        } else {
            ""
        };
        rows.push(vec![
            format!("{}{lines}", kinds[*index].name()),
            format!("{:.0}", median(speeds)),
            spread(speeds, |speed| format!("{speed:.0}")),
            ratio(headwater / median(speeds)),
            answers.to_string(),
        ]);
    }
    report.table(Table {
        title: "Catching up".to_owned(),
        note: format!(
            "One connection reads a stream of {} JSON messages, {} MB, from its start to its tail. The servers \
             have been restarted since it was written; all of it is in the system's page cache.",
            appends * BATCH,
            appends * BATCH * LINE_BYTES as u64 / 1_000_000
        ),
        head: vec!["server", "MB/s", "lowest–highest", "Headwater is", "answers"],
        rows,
    });
    Ok(())
}

/// Reads a whole stream. Returns the speed in MB of bodies per second, and the number of responses.
#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
pub(super) fn read(
    kind: Kind,
    server: &Server,
    stream: &str,
    form: Form,
    messages: u64,
) -> Result<(f64, u32), Error> {
    let (mut marks, mut bytes) = (Marks::default(), 0);
    let start = Instant::now();
    let answers = fetch(kind, server, stream, form, |body| {
        marks.feed(body);
        bytes += body.len();
    })?;
    let seconds = start.elapsed().as_secs_f64();
    if marks.count != messages {
        return Err(format!("{} messages came of {messages}", marks.count).into());
    }
    Ok((bytes as f64 / 1e6 / seconds, answers))
}

/// Reads a whole stream and passes on the pieces of the bodies. Returns the number of responses.
pub(super) fn fetch(
    kind: Kind,
    server: &Server,
    stream: &str,
    form: Form,
    mut body: impl FnMut(&[u8]),
) -> Result<u32, Error> {
    let mut connection = Connection::open(server.address())?;
    let mut answers = 0;
    let mut from = "-1".to_owned();
    loop {
        let target = kind.target(stream);
        let target = match form {
            Form::Answers => format!("{target}?offset={from}"),
            Form::Lines => format!("{target}?offset=-1&format=ndjson&live=false"),
        };
        let answer = connection.ask(&request("GET", &target, "", b""), &mut body)?;
        if answer.status() != 200 {
            return Err(format!("{target} was answered with {}", answer.status()).into());
        }
        answers += 1;
        if matches!(form, Form::Lines) || answer.header("stream-up-to-date") == Some("true") {
            return Ok(answers);
        }
        from = answer
            .header("stream-next-offset")
            .ok_or("an answer without the next offset")?
            .to_owned();
    }
}

#[allow(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
fn disk(
    options: &Options,
    report: &mut Report,
    kinds: &[Kind],
    filled: &[Filled],
    appends: u64,
) -> Result<(), Error> {
    let each = options.pick(5000, 100);
    let mut rows = Vec::new();
    for (kind, filled) in kinds.iter().zip(filled) {
        let singles = singles(*kind, each)
            .map_err(|error| format!("appending to {}: {error}", kind.name()))?;
        rows.push(vec![
            kind.name().to_owned(),
            format!("{:.0}", filled.disk_bytes as f64 / (appends * BATCH) as f64),
            format!("{:.0}", singles as f64 / (each * SINGLES) as f64),
            format!("{:.0}", filled.data.disk_bytes()? as f64 / 1e6),
        ]);
    }
    report.table(Table {
        title: "Disk bytes per message".to_owned(),
        note: format!(
            "Messages of {} bytes: how much more of the disk the folder takes once they are written and the server \
             has ended, per message. In batches: {} messages by {BATCH} to one stream. One by one: {} messages to \
             {SINGLES} streams. The whole folder has what a server sets aside besides, after the batches.",
            LINE_BYTES - 1,
            appends * BATCH,
            each * SINGLES
        ),
        head: vec!["server", "in batches", "one by one", "whole folder, MB"],
        rows,
    });
    Ok(())
}

fn singles(kind: Kind, each: u64) -> Result<u64, Error> {
    let data = Folder::new()?;
    growth(kind, &data, |server| {
        let mut connection = Connection::open(server.address())?;
        let mut publishers = Vec::new();
        for number in 0..SINGLES {
            let stream = format!("{STREAM}-{number}");
            server.create(&mut connection, &stream)?;
            let target = kind.target(&stream);
            let requests =
                (0..each).map(|turn| publish::append(&target, turn * SINGLES + number, 1));
            publishers.push(Publisher::of(requests.collect()));
        }
        publish::run(server.address(), publishers, Until::Sent)?;
        Ok(())
    })
}
