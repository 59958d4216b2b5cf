//! The cost per request of documenting and validating an operation.

use headwater_bench::{
    Error,
    order::ORDER,
    requests::{Connections, Exchange},
    system,
};

use crate::{
    options::Options,
    peer::{Peer, Server},
    report::{Bar, Report, Table},
    stats::{median, rate, ratio, spread},
};

/// The servers in the order of the table, and the number of requests that each answers in a turn.
const PEERS: [(Peer, u64); 4] = [
    (Peer::Operation, 12_000),
    (Peer::OperationPlain, 12_000),
    (Peer::Axum, 12_000),
    (Peer::FastApi, 600),
];
const CONNECTIONS: usize = 16;
/// Number of turns per run. Turns are short, so that all servers see the same machine state.
const TURNS: usize = 10;

/// Results of one server.
#[derive(Default)]
struct Figures {
    cpu_ns: Vec<f64>,
    per_second: Vec<f64>,
    /// Its CPU time as a multiple of that of axum's route in the same run.
    overhead: Vec<f64>,
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let mut servers = Vec::new();
    for (peer, requests) in PEERS {
        let server = peer.start(1)?;
        let connections = Connections::open(server.address(), CONNECTIONS)?;
        servers.push((server, connections, requests / options.pick(1, 4)));
    }
    let get = Exchange::get(
        "/quotes/BROOK?quantity=250&venue=one",
        r#"{"symbol":"BROOK","quantity":250,"venue":"one","price":101.25}"#,
    );
    let post = Exchange::post(
        "/orders",
        ORDER,
        r#"{"id":"6f1c2e9a-5b7d-4c3e-9a1f-0d2b4c6e8f10","total":25312.5}"#,
    );
    let with_query = "GET with a path and a query parameter or two";
    for (name, what, exchange) in [
        ("GET", with_query, get),
        ("POST", "POST of 270 bytes", post),
    ] {
        let mut figures: Vec<Figures> = PEERS.iter().map(|_| Figures::default()).collect();
        // The first round is a warm-up and not counted.
        for round in 0..=options.runs {
            let measured = measure(&mut servers, &exchange)?;
            if round > 0 {
                let plain = measured[1].0;
                for (figures, (cpu_ns, per_second)) in figures.iter_mut().zip(measured) {
                    figures.cpu_ns.push(cpu_ns);
                    figures.per_second.push(per_second);
                    figures.overhead.push(cpu_ns / plain);
                }
            }
        }
        tabulate(name, what, &figures, report);
    }
    Ok(())
}

/// Returns the CPU nanoseconds per request and the requests per second, for each server.
#[allow(
    clippy::cast_precision_loss,
    reason = "counts and times far below 2^52"
)]
fn measure(
    servers: &mut [(Server, Connections, u64)],
    exchange: &Exchange,
) -> Result<Vec<(f64, f64)>, Error> {
    let mut totals = vec![(0, 0.0); servers.len()];
    for turn in 0..TURNS {
        for at in 0..servers.len() {
            // A server that follows a slow one precedes it in the next turn.
            let index = if turn % 2 == 0 {
                at
            } else {
                servers.len() - 1 - at
            };
            let (server, connections, requests) = &mut servers[index];
            let before = system::threads_cpu_ns(server.pid())?;
            let seconds = connections
                .run(exchange, *requests)
                .map_err(|error| format!("{}: {error}", PEERS[index].0.name()))?;
            totals[index].0 += system::threads_cpu_ns(server.pid())?.saturating_sub(before);
            totals[index].1 += seconds;
        }
    }
    let figures = servers
        .iter()
        .zip(totals)
        .map(|((.., requests), (cpu, seconds))| {
            let requests = (*requests * TURNS as u64) as f64;
            (cpu as f64 / requests, requests / seconds)
        });
    Ok(figures.collect())
}

fn tabulate(name: &str, what: &str, figures: &[Figures], report: &mut Report) {
    let rows = PEERS.iter().zip(figures).map(|((peer, _), figures)| {
        vec![
            peer.name().to_owned(),
            format!("{:.2}", median(&figures.cpu_ns) / 1e3),
            spread(&figures.cpu_ns, |ns| format!("{:.2}", ns / 1e3)),
            ratio(median(&figures.overhead)),
            rate(median(&figures.per_second)),
        ]
    });
    report.table(Table {
        title: format!("A short request: {what}"),
        note: format!(
            "A small answer in JSON, {CONNECTIONS} connections that are kept, one request at a time on each. \
             The multiples are medians over the runs, each against axum in the same run."
        ),
        head: vec![
            "server",
            "server CPU, µs/request",
            "lowest–highest",
            "CPU of axum's route",
            "requests/s",
        ],
        rows: rows.collect(),
    });
    report.bar(Bar {
        name: format!("CPU of an operation against axum's own route, {name}"),
        wanted: 1.05,
        got: median(&figures[0].overhead),
        at_most: true,
        unit: "×",
    });
}
