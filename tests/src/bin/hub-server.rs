//! A hub in its own process, so that a test can kill it: `hub-server [OPTION VALUE]…`.
//!
//! - `--listen ADDRESS`: address and port to listen at. Default: `127.0.0.1:0`.
//! - `--data FOLDER`: folder of the log. Default: the log is in memory.
//! - `--root PATH`: path prefix of the streams. Default: `/streams`.
//! - `--allow-upstream PATTERN`: egress rule for upstreams. Default: `http://127.0.0.1:9`, where no
//!   server is expected.
//! - `--cors any`: allows pages of every origin. Default: pages that this machine serves.
//! - `--deadline-ms N`: shutdown deadline in milliseconds. Default: 2000.
//!
//! It prints `listening on http://ADDRESS` to standard output.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use headwater_client::Egress;
use headwater_hub::{Cors, Hub, Options};
use headwater_log::{DiskLog, DiskOptions, Log, MemoryLog, MemoryOptions};
use tokio::net::TcpListener;

struct Arguments {
    listen: String,
    data: Option<String>,
    root: String,
    upstream: String,
    cors: Cors,
    deadline: Duration,
}

impl Arguments {
    fn parse() -> Result<Self, String> {
        let mut parsed = Self {
            listen: "127.0.0.1:0".to_owned(),
            data: None,
            root: "/streams".to_owned(),
            upstream: "http://127.0.0.1:9".to_owned(),
            cors: Cors::default(),
            deadline: Duration::from_secs(2),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            match name.as_str() {
                "--listen" => parsed.listen = value,
                "--data" => parsed.data = Some(value),
                "--root" => parsed.root = value,
                "--allow-upstream" => parsed.upstream = value,
                "--cors" if value == "any" => parsed.cors = Cors::Any,
                "--deadline-ms" => {
                    let number = value.parse().map_err(|_| format!("{value} is no number"))?;
                    parsed.deadline = Duration::from_millis(number);
                }
                other => return Err(format!("{other} {value} is none of its options")),
            }
        }
        Ok(parsed)
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments = Arguments::parse().map_err(io::Error::other)?;
    let log: Arc<dyn Log> = match &arguments.data {
        Some(folder) => {
            let log = DiskLog::open(folder, DiskOptions::default());
            Arc::new(log.map_err(io::Error::other)?)
        }
        None => Arc::new(MemoryLog::new(MemoryOptions::default())),
    };
    let options = Options::new()
        .root(&arguments.root)
        .long_poll(Duration::from_secs(2))
        .loopback_webhooks()
        .cors(arguments.cors)
        .upstreams(Egress::allow([arguments.upstream]).map_err(io::Error::other)?);
    let hub = Hub::with_options(Arc::clone(&log), options);
    let listener = TcpListener::bind(arguments.listen).await?;
    writeln!(
        io::stdout(),
        "listening on http://{}",
        listener.local_addr()?
    )?;
    hub.start();
    headwater::serve(hub.app(), listener)
        .quiet()
        .max_connections(15_000)
        .shutdown_deadline(arguments.deadline)
        .await?;
    hub.stop().await;
    log.close().await.map_err(io::Error::other)
}
