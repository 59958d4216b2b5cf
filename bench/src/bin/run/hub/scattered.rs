//! A cold read of a stream whose messages lie among those of many other streams.

use std::{thread::sleep, time::Duration};

use headwater_bench::{
    Error,
    http::Connection,
    publish::{self, Publisher, Until},
};

use super::{
    catchup::{self, Form},
    folder::Folder,
    server::Kind,
};
use crate::{
    options::Options,
    report::{Report, Table},
    stats::{median, ratio, spread},
};

const SCATTERED: &str = "scattered";
const WHOLE: &str = "whole";
const OTHERS: u64 = 10_000;
const CONNECTIONS: u64 = 64;
/// Appends to other streams for each append to the scattered one.
const AMONG: u64 = 15;
/// Time after the start for what a server does in the background.
const BACKGROUND: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let messages = options.pick(50_000, 1000);
    let kinds = [Kind::Headwater, Kind::DurableStreams];
    let mut rows = Vec::new();
    for kind in kinds.into_iter().filter(|kind| kind.is_there()) {
        let data = Folder::new()?;
        fill(kind, &data, messages).map_err(|error| format!("{}: {error}", kind.name()))?;
        let mut speeds = [Vec::new(), Vec::new()];
        let server = kind.start(&data)?;
        sleep(BACKGROUND);
        for _ in 0..options.runs {
            for (stream, speeds) in [WHOLE, SCATTERED].into_iter().zip(&mut speeds) {
                data.drop_from_cache()?;
                let (speed, _) = catchup::read(kind, &server, stream, Form::Answers, messages)?;
                speeds.push(speed);
            }
        }
        let whole = median(&speeds[0]);
        for (name, speeds) in ["contiguous", "scattered"].into_iter().zip(&speeds) {
            rows.push(vec![
                kind.name().to_owned(),
                name.to_owned(),
                format!("{:.0}", median(speeds)),
                spread(speeds, |speed| format!("{speed:.0}")),
                ratio(median(speeds) / whole),
            ]);
        }
    }
    report.table(Table {
        title: "Catching up from the disk".to_owned(),
        note: format!(
            "One connection reads a stream of {messages} JSON messages. The messages of the scattered stream were appended one \
             by one, each among {AMONG} appends to {OTHERS} other streams; those of the contiguous stream one by one without \
             others between them. The server has run for {} s since its start, and before each read its files are dropped from \
             the page cache.",
            BACKGROUND.as_secs()
        ),
        head: vec!["server", "stream", "MB/s", "lowest–highest", "of the contiguous"],
        rows,
    });
    Ok(())
}

fn fill(kind: Kind, data: &Folder, messages: u64) -> Result<(), Error> {
    let server = kind.start(data)?;
    let mut connection = Connection::open(server.address())?;
    for stream in [SCATTERED, WHOLE] {
        server.create(&mut connection, stream)?;
    }
    for number in 0..OTHERS {
        server.create(&mut connection, &format!("other-{number}"))?;
    }
    // One connection appends to the scattered stream as often as `AMONG` others together append to theirs.
    let each = messages * AMONG / (CONNECTIONS - 4);
    let mut publishers = Vec::new();
    for connection in 0..CONNECTIONS {
        let requests = match connection {
            0..4 => (0..messages / 4)
                .map(|turn| append(kind, SCATTERED, turn * 4 + connection))
                .collect(),
            _ => (0..each)
                .map(|turn| {
                    let number = turn * CONNECTIONS + connection;
                    append(kind, &format!("other-{}", number % OTHERS), number)
                })
                .collect(),
        };
        publishers.push(Publisher::of(requests));
    }
    publish::run(server.address(), publishers, Until::Sent)?;
    let whole = (0..8).map(|connection| {
        let turns = 0..messages / 8;
        let requests = turns.map(|turn| append(kind, WHOLE, turn * 8 + connection));
        Publisher::of(requests.collect())
    });
    publish::run(server.address(), whole.collect(), Until::Sent)?;
    server.end()
}

fn append(kind: Kind, stream: &str, number: u64) -> Vec<u8> {
    publish::append(&kind.target(stream), number, 1)
}
