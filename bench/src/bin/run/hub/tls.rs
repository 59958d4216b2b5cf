//! The hub over TLS against the same hub over cleartext: live fan-out, idle readers, and a new certificate
//! while they are connected.

use std::{
    sync::atomic::AtomicU64,
    thread::sleep,
    time::{Duration, Instant},
};

use headwater_bench::{
    Error, follow,
    http::Connection,
    load::{self, Reader},
    publish, system,
    tls::{Certificate, Client},
};

use super::{
    fanout::{self, Figures, STREAM},
    folder::Folder,
    server::{Kind, Server},
};
use crate::{
    options::Options,
    report::{Bar, Report, Table},
    stats::{median, rate, ratio, spread},
};

/// Number of readers before the measurement of memory, so that one-time setup isn't counted.
const BEFORE: u32 = 20;
/// Time limit for a new certificate to be used.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Cleartext,
    Tls,
}

const SCHEMES: [Scheme; 2] = [Scheme::Cleartext, Scheme::Tls];

impl Scheme {
    fn name(self) -> String {
        match self {
            Self::Cleartext => "cleartext",
            Self::Tls => "TLS 1.3",
        }
        .to_owned()
    }
}

/// A hub that listens with and without TLS, with a stream.
struct Hub {
    server: Server,
    tls: std::net::SocketAddr,
    certificate: Certificate,
    folder: Folder,
    _data: Folder,
}

impl Hub {
    fn start() -> Result<Self, Error> {
        let (data, folder) = (Folder::new()?, Folder::new()?);
        let certificate = Certificate::new()?;
        certificate.write(folder.path())?;
        let (server, tls) = Kind::Headwater.with_tls(&data, folder.path())?;
        server.create(&mut Connection::open(server.address())?, STREAM)?;
        let hub = Self {
            server,
            tls,
            certificate,
            folder,
            _data: data,
        };
        hub.until_used(&hub.client()?, &hub.certificate)?;
        Ok(hub)
    }

    fn client(&self) -> Result<Client, Error> {
        Client::trusting(&[&self.certificate])
    }

    fn attach(&self, client: &Client, scheme: Scheme, count: u32) -> Result<Vec<Reader>, Error> {
        let target = format!("{}?offset=now", Kind::Headwater.target(STREAM));
        match scheme {
            Scheme::Cleartext => load::attach(self.server.address(), &target, count as usize),
            Scheme::Tls => client.attach(self.tls, &target, count),
        }
    }

    /// Waits until new connections get a certificate. Returns the time that it took.
    fn until_used(&self, client: &Client, certificate: &Certificate) -> Result<Duration, Error> {
        let start = Instant::now();
        loop {
            match client.gets(self.tls, certificate) {
                Ok(true) => return Ok(start.elapsed()),
                _ if start.elapsed() < PATIENCE => sleep(Duration::from_millis(1)),
                Ok(false) => return Err("the new certificate isn't used".into()),
                Err(error) => return Err(error),
            }
        }
    }
}

pub(crate) fn run(options: &Options, report: &mut Report) -> Result<(), Error> {
    fan_out(options, report)?;
    idle(options, report)
}

fn fan_out(options: &Options, report: &mut Report) -> Result<(), Error> {
    let readers = options.pick(1000, 100);
    let runs = options.runs.min(options.pick(5, 1));
    let window = Duration::from_secs(options.pick(4, 1));
    let mut figures: [Figures; 2] = Default::default();
    for _ in 0..runs {
        for (scheme, figures) in SCHEMES.into_iter().zip(&mut figures) {
            let hub = Hub::start()?;
            let followers = hub.attach(&hub.client()?, scheme, readers)?;
            fanout::follow_appends(&hub.server, Kind::Headwater, followers, window, figures)?;
        }
    }
    let cleartext = median(&figures[0].deliveries);
    let cleartext_ns = median(&figures[0].server_ns);
    let rows = SCHEMES.into_iter().zip(&figures).map(|(scheme, figures)| {
        let (speed, cpu) = (median(&figures.deliveries), median(&figures.server_ns));
        vec![
            scheme.name(),
            rate(speed),
            spread(&figures.deliveries, rate),
            ratio(speed / cleartext),
            format!("{cpu:.0}"),
            ratio(cpu / cleartext_ns),
            format!("{:.0}", median(&figures.load_ns)),
        ]
    });
    report.table(Table {
        title: "Live fan-out over TLS".to_owned(),
        note: format!(
            "As \"Live fan-out\", with {readers} `EventSource` readers over HTTP/1.1 of one hub that listens with and without \
             TLS; the appends are cleartext. The load generator decrypts on the same machine. Windows of {} s; medians of \
             {runs} runs.",
            window.as_secs()
        ),
        head: vec![
            "readers",
            "deliveries/s",
            "lowest–highest",
            "against cleartext",
            "server CPU, ns/delivery",
            "against cleartext",
            "load generator's CPU, ns/delivery",
        ],
        rows: rows.collect(),
    });
    report.bar(Bar {
        name: format!("fan-out to {readers} readers over TLS against cleartext"),
        wanted: 0.6,
        got: median(&figures[1].deliveries) / cleartext,
        at_most: false,
        unit: "×",
    });
    Ok(())
}

/// The memory of a reader, in KiB.
struct Memory {
    at_once: f64,
    later: f64,
}

fn idle(options: &Options, report: &mut Report) -> Result<(), Error> {
    let readers = options.pick(10_000, 500);
    // Longer than the first heartbeat.
    let settle = Duration::from_secs(options.pick(18, 2));
    let mut memory = Vec::new();
    let mut reloaded = None;
    for scheme in SCHEMES {
        let hub = Hub::start()?;
        let new = Certificate::new()?;
        let client = Client::trusting(&[&hub.certificate, &new])?;
        let (kept, figures) = measure(&hub, &client, scheme, readers, settle)?;
        memory.push(figures);
        if scheme == Scheme::Tls {
            reloaded = Some(reload(&hub, &client, &new, kept)?);
        }
    }
    let rows = SCHEMES.into_iter().zip(&memory).map(|(scheme, figures)| {
        vec![
            scheme.name(),
            format!("{:.2}", figures.at_once),
            format!("{:.2}", figures.later),
            ratio(figures.later / memory[0].later),
        ]
    });
    report.table(Table {
        title: "Memory of an idle reader over TLS".to_owned(),
        note: format!(
            "Growth of the server's resident memory over {readers} SSE readers of one silent stream, per reader, in KiB: when \
             all have their response head, and {} s later. One run.",
            settle.as_secs()
        ),
        head: vec!["readers", "at once", "later", "against cleartext"],
        rows: rows.collect(),
    });
    if let Some(rows) = reloaded {
        report.table(Table {
            title: format!("A new certificate under {readers} idle readers"),
            note: "The files are replaced, and the server gets SIGHUP. Then a message is appended. No reader may be cut, and \
                   each must get the message; otherwise the run fails."
                .to_owned(),
            head: vec!["what", "ms"],
            rows,
        });
    }
    Ok(())
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts and sizes far below 2^52"
)]
fn measure(
    hub: &Hub,
    client: &Client,
    scheme: Scheme,
    count: u32,
    settle: Duration,
) -> Result<(Vec<Reader>, Memory), Error> {
    let mut readers = hub.attach(client, scheme, BEFORE)?;
    let empty = hub.server.memory_bytes()?;
    readers.extend(hub.attach(client, scheme, count)?);
    let per_reader = || -> Result<f64, Error> {
        let grown = hub.server.memory_bytes()?.saturating_sub(empty);
        Ok(grown as f64 / f64::from(count) / 1024.0)
    };
    let at_once = per_reader()?;
    sleep(settle);
    let later = per_reader()?;
    Ok((readers, Memory { at_once, later }))
}

/// Replaces the certificate under the readers, and appends a message. Returns the rows of the table.
#[allow(clippy::cast_precision_loss, reason = "times far below 2^52")]
fn reload(
    hub: &Hub,
    client: &Client,
    new: &Certificate,
    readers: Vec<Reader>,
) -> Result<Vec<Vec<String>>, Error> {
    new.write(hub.folder.path())?;
    hub.server.hang_up()?;
    let used = hub.until_used(client, new)?;
    let mut connection = Connection::open(hub.server.address())?;
    let start = system::monotonic_ns();
    connection.must(&publish::append(&Kind::Headwater.target(STREAM), 0, 1))?;
    let last = follow::follow(readers, &AtomicU64::new(1))?;
    if !client.gets(hub.tls, new)? {
        return Err("a later connection gets the old certificate".into());
    }
    let delivered = last.saturating_sub(start) as f64 / 1e6;
    let row = |what: &str, ms: f64| vec![what.to_owned(), format!("{ms:.0}")];
    Ok(vec![
        row(
            "from SIGHUP to the first handshake with the new certificate",
            used.as_secs_f64() * 1e3,
        ),
        row(
            "from the append to its delivery to the last reader",
            delivered,
        ),
    ])
}
