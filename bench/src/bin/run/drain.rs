//! One reader that reads a stream at full speed.

use headwater_bench::{
    Error,
    item::{EVENT_BYTES, Framing, LINE_BYTES},
    load, system,
};

use crate::{
    options::Options,
    peer::{Peer, Server},
    report::{Bar, Report, Table},
    stats::{median, rate, ratio, spread},
};

/// The servers in the order of the table, and the number of items that each sends in a full run.
const PEERS: [(Peer, u64, u64); 5] = [
    (Peer::Headwater, 6_000_000, 6_000_000),
    (Peer::Axum, 2_000_000, 3_000_000),
    (Peer::FastApi, 60_000, 200_000),
    (Peer::Bare, 6_000_000, 6_000_000),
    (Peer::BareReady, 9_000_000, 9_000_000),
];

#[derive(Default)]
struct Figures {
    items_per_second: Vec<f64>,
    server_ns: Vec<f64>,
    reader_ns: Vec<f64>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let servers: Vec<Server> = PEERS
        .iter()
        .map(|(peer, ..)| peer.start(1))
        .collect::<Result<_, _>>()?;
    for framing in [Framing::Sse, Framing::Ndjson] {
        let mut figures: Vec<Figures> = PEERS.iter().map(|_| Figures::default()).collect();
        // The first round is a warm-up and not counted.
        for round in 0..=options.runs {
            for (((peer, sse, ndjson), server), figures) in
                PEERS.iter().zip(&servers).zip(&mut figures)
            {
                let count = if framing == Framing::Sse {
                    *sse
                } else {
                    *ndjson
                };
                let count = count / options.pick(1, 10) / if round == 0 { 10 } else { 1 };
                let measured = measure(server, *peer, framing, count)
                    .map_err(|error| format!("{} {}: {error}", peer.name(), framing.path()))?;
                if round > 0 {
                    figures.items_per_second.push(measured.0);
                    figures.server_ns.push(measured.1);
                    figures.reader_ns.push(measured.2);
                }
            }
        }
        tabulate(framing, &figures, report);
    }
    Ok(())
}

/// Returns the items per second, and the CPU times of server and reader per item in nanoseconds.
#[allow(
    clippy::cast_precision_loss,
    reason = "counts and times far below 2^52"
)]
fn measure(
    server: &Server,
    peer: Peer,
    framing: Framing,
    count: u64,
) -> Result<(f64, f64, f64), Error> {
    let before = system::cpu_ns(server.pid())?;
    let drained = load::drain(server.address(), framing, count, peer != Peer::BareReady)?;
    let server_ns = system::cpu_ns(server.pid())?.saturating_sub(before);
    let items = count as f64;
    Ok((
        items / drained.seconds,
        server_ns as f64 / items,
        drained.cpu_ns as f64 / items,
    ))
}

fn tabulate(framing: Framing, figures: &[Figures], report: &mut Report) {
    let speed = |peer: Peer| {
        let index = PEERS.iter().position(|(other, ..)| *other == peer);
        index.map_or(0.0, |index| median(&figures[index].items_per_second))
    };
    let headwater = speed(Peer::Headwater);
    let rows = PEERS.iter().zip(figures).map(|((peer, ..), figures)| {
        vec![
            peer.name().to_owned(),
            rate(median(&figures.items_per_second)),
            spread(&figures.items_per_second, rate),
            ratio(headwater / median(&figures.items_per_second)),
            format!("{:.0}", median(&figures.server_ns)),
            format!("{:.0}", median(&figures.reader_ns)),
        ]
    });
    let bytes = if framing == Framing::Sse {
        EVENT_BYTES
    } else {
        LINE_BYTES
    };
    report.table(Table {
        title: format!("One reader drains {}", framing.name()),
        note: format!("Items of {LINE_BYTES} bytes as a JSON line, {bytes} on the wire here."),
        head: vec![
            "server",
            "items/s",
            "lowest–highest",
            "Headwater is",
            "server CPU, ns/item",
            "reader CPU, ns/item",
        ],
        rows: rows.collect(),
    });
    let mut bar = |against: &str, peer: Peer, wanted: f64, unit| {
        report.bar(Bar {
            name: format!("{} endpoint against {against}", framing.name()),
            wanted,
            got: headwater / speed(peer),
            at_most: false,
            unit,
        });
    };
    bar("the bare socket, items serialised", Peer::Bare, 0.8, "");
    bar(
        "the bare socket, same bytes ready",
        Peer::BareReady,
        0.8,
        "",
    );
    bar("axum's own", Peer::Axum, 4.0, "×");
    if framing == Framing::Sse {
        bar("FastAPI's", Peer::FastApi, 200.0, "×");
    }
}
