//! The clients end to end: over a socket, to typed items. The server sends prepared bytes, so that
//! it is never the slower side.

use std::process::Command;

use headwater_bench::{Error, item::Framing};

use crate::{
    options::{Options, folder},
    peer::{Peer, Server, sibling},
    python,
    report::{Report, Table},
    stats::{median, rate, ratio, spread},
};

struct Client {
    name: &'static str,
    framing: Framing,
    kind: &'static str,
    is_python: bool,
    count: u64,
}

const fn rust(name: &'static str, framing: Framing, kind: &'static str) -> Client {
    Client {
        name,
        framing,
        kind,
        is_python: false,
        count: 2_000_000,
    }
}

const fn in_python(name: &'static str, framing: Framing, kind: &'static str) -> Client {
    Client {
        name,
        framing,
        kind,
        is_python: true,
        count: 100_000,
    }
}

/// In each format, Headwater's async client is first: the others are compared with it.
const CLIENTS: [Client; 9] = [
    rust("Headwater, async", Framing::Sse, "headwater"),
    rust("Headwater, blocking", Framing::Sse, "headwater-blocking"),
    rust(
        "reqwest + eventsource-stream + serde_json",
        Framing::Sse,
        "reqwest",
    ),
    in_python("Python, httpx-sse", Framing::Sse, "httpx-sse"),
    rust("Headwater, async", Framing::Ndjson, "headwater"),
    rust("Headwater, blocking", Framing::Ndjson, "headwater-blocking"),
    rust(
        "reqwest + LinesCodec + serde_json",
        Framing::Ndjson,
        "reqwest",
    ),
    rust(
        "reqwest blocking + read_line + serde_json",
        Framing::Ndjson,
        "reqwest-blocking",
    ),
    in_python("Python, requests.iter_lines", Framing::Ndjson, "requests"),
];

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    let server = Peer::BareReady.start(1)?;

    let mut speeds: Vec<Vec<f64>> = vec![Vec::new(); CLIENTS.len()];
    for round in 0..=options.runs {
        for (client, speeds) in CLIENTS.iter().zip(&mut speeds) {
            let count = client.count / options.pick(1, 10) / if round == 0 { 10 } else { 1 };
            let speed = client
                .measure(&server, count)
                .map_err(|error| format!("{} ({}): {error}", client.name, client.kind))?;
            // The first round is a warm-up.
            if round > 0 {
                speeds.push(speed);
            }
        }
    }
    let mut first = 0.0;
    let mut rows = Vec::new();
    for (client, speeds) in CLIENTS.iter().zip(&speeds) {
        if client.kind == "headwater" {
            first = median(speeds);
        }
        rows.push(vec![
            client.framing.name().to_owned(),
            client.name.to_owned(),
            rate(median(speeds)),
            spread(speeds, rate),
            ratio(first / median(speeds)),
        ]);
    }
    report.table(Table {
        title: "Clients, end to end".to_owned(),
        note: "Typed items over a socket (Python: dictionaries), from a server that writes bytes that \
               are ready. From the request to the last item."
            .to_owned(),
        head: vec!["format", "client", "items/s", "lowest–highest", "Headwater, async, is"],
        rows,
    });
    Ok(())
}

impl Client {
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts and times far below 2^52"
    )]
    fn measure(&self, server: &Server, count: u64) -> Result<f64, Error> {
        let mut command: Command = if self.is_python {
            let mut command = python::command();
            command.arg(folder().join("peers/clients.py"));
            command
        } else {
            sibling("client")?
        };
        let url = format!(
            "http://{}{}?count={count}",
            server.address(),
            self.framing.path()
        );
        let output = command
            .args([self.kind, &url, &count.to_string()])
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let took: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(count as f64 / (took as f64 / 1e9))
    }
}
