//! `headwater serve`: the hub.

mod config;

use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args as ClapArgs, ValueEnum};
use headwater_hub::Hub;
use headwater_log::{FjallLog, Log, MemoryLog};
use serde::Deserialize;

use self::config::Config;
use crate::exit::Failure;

/// How long what the hub does in the background has to end, when it is told to.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// What `--data` says for a log that ends with the process.
const MEMORY: &str = "memory";

#[derive(ClapArgs)]
pub(crate) struct Serve {
    /// Where to listen: HOST:PORT or unix:PATH [default: 127.0.0.1:8000]
    ///
    /// Port 0 is any that is free.
    #[arg(short, long, value_name = "ADDRESS", env = "HEADWATER_LISTEN")]
    listen: Option<String>,

    /// The folder that holds the streams, or `memory` [default: ./headwater-data]
    ///
    /// It is made if it isn't there. In memory, streams end with the process.
    #[arg(short, long, value_name = "FOLDER", env = "HEADWATER_DATA")]
    data: Option<PathBuf>,

    /// When an append is acknowledged [default: fsync]
    #[arg(long, value_name = "WHEN", env = "HEADWATER_DURABILITY")]
    durability: Option<Durability>,

    /// How clients reach the hub: `https://example.com` [default: as each request says]
    #[arg(long, value_name = "URL", env = "HEADWATER_PUBLIC_URL")]
    public_url: Option<String>,

    /// Which pages may use the hub: `any`, `none`, or those of an origin, `https://example.com`
    /// [default: any]
    ///
    /// More origins than one are separated by commas, or the option is given again.
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "HEADWATER_CORS",
        value_delimiter = ','
    )]
    cors: Vec<String>,

    /// Which hosts the hub may call for its clients: `https://api.example.com/v1/**` [default: none]
    ///
    /// `https://*.example.com` is each name that ends so, `https://*` any public host, and `:8443`
    /// or `:*` says at which port. An address that isn't public is called where it is listed itself,
    /// `http://127.0.0.1:9000`, or where names may stand for it, `10.0.0.0/8`. More than one are
    /// separated by commas, or the option is given again.
    #[arg(
        long,
        value_name = "PATTERN",
        env = "HEADWATER_ALLOW_UPSTREAM",
        value_delimiter = ','
    )]
    allow_upstream: Vec<String>,

    /// The secret that it takes to create and delete relays [default: none]
    ///
    /// It is sent as `Authorization: Bearer …`. Others see what is on a command line: set it in the
    /// environment or the file.
    #[arg(
        long,
        value_name = "SECRET",
        env = "HEADWATER_RELAY_SECRET",
        hide_env_values = true
    )]
    relay_secret: Option<String>,

    /// What is logged to stderr: error, warn, info, debug, or a filter for each part
    ///
    /// `info,headwater::access=info` logs every request.
    #[arg(long, value_name = "FILTER", env = "HEADWATER_LOG")]
    log: Option<String>,

    /// A file with these settings and more (TOML)
    #[arg(short, long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,
}

/// When an append is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Durability {
    /// When it is on the disk: it survives the loss of power
    #[default]
    Fsync,
    /// When the operating system has it: it survives the end of the process, not of the machine
    Os,
}

/// Shown by `--help`.
pub(crate) const AFTER_HELP: &str = "\
A setting on the command line counts before one of the environment, and that before the file's.

Settings of the file, with their defaults; all may be left out:
  listen = \"127.0.0.1:8000\"
  data = \"./headwater-data\"     # or \"memory\"
  durability = \"fsync\"          # or \"os\"
  public_url = \"https://…\"      # default: what each request names
  cors = [\"any\"]                # or [\"none\"], or origins
  log = \"info,headwater::access=off\"
  private = false               # true: shared caches must not keep what is read
  loopback_webhooks = false     # true: webhooks may go to this machine
  long_poll = \"20s\"
  sse_cycle = \"60s\"             # of the protocol's own SSE mode; 0: it goes on
  heartbeat = \"15s\"             # of a silent SSE response; 0: none
  line_heartbeat = \"0\"          # the same of NDJSON: a blank line; clients ask with ?heartbeat=15
  shutdown_deadline = \"10s\"
  max_connections = 100000
  memory_bytes = 268435456      # the most that data = \"memory\" holds
  reserve_bytes = 268435456     # appends are refused while the disk has less free
  accept_missing_end = false    # true: open a log whose newest appends were lost

  [limits]
  body_bytes = 33554432         # of a request
  bodies_bytes = 536870912      # of all requests on their way in
  line_bytes = 8388608          # of a line of NDJSON
  read_bytes = 1048576          # of one answer to a read
  message_bytes = 8388608       # of a message
  append_messages = 100000      # in one append
  schema_bytes = 262144
  streams = 10000000
  producers = 1024              # that a stream remembers
  subscribers = 100000          # that follow live
  shared_bytes = 67108864       # kept for live readers
  fillings = 1000               # streams that the hub fills by itself, at once
  gathers = 16                  # POST /gather that are under way
  gather_calls = 10000          # of one of them
  gather_concurrency = 100      # calls at a time of one of them
  gather_body_bytes = 1048576   # of an answer to a call

  [upstream]
  allow = []                    # hosts that the hub may call for clients, as --allow-upstream has them
  head_timeout = \"60s\"          # until an upstream of a relay answers
  idle_timeout = \"10m\"          # of silence in its answer

  [relay]
  secret = \"…\"                  # default: anybody may relay what may be called
  ttl = \"24h\"                   # how long relays, and their URLs, are good

It ends at SIGTERM or SIGINT: streams that are being read are cut, to be taken up again, requests
are answered, and the log is closed.

Exit status:
  0    it was told to end
  1    it can't start
  2    the command line is wrong";

pub(crate) fn run(args: Serve) -> Result<(), Failure> {
    let config = Config::read(args)?;
    start_logging(&config.log)?;
    let (log, place) = open(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("can't start: {error}")))?;
    let served = runtime.block_on(serve(&config, Arc::clone(&log), place));
    // What was acknowledged is there in any case; closing it spares the next start its check.
    let closed = runtime.block_on(log.close());
    runtime.shutdown_background();
    served?;
    closed.map_err(|error| Failure::other(format!("closing the log: {error}")))
}

async fn serve(config: &Config, log: Arc<dyn Log>, place: String) -> Result<(), Failure> {
    let hub = Hub::with(log, config.hub.clone());
    let server = headwater::serve(hub.app(), &config.listen)
        .max_connections(config.max_connections)
        .shutdown_deadline(config.shutdown_deadline)
        .on_bound(move |address| {
            // Nobody has to read it.
            let _ = greet(&address.to_string(), &place);
        });
    let served = server.await.map_err(Failure::other);
    // What it doesn't come to, the next start sets right.
    let _ = tokio::time::timeout(STOP_PATIENCE, hub.stop()).await;
    served
}

/// Opens the log, and says where it is.
fn open(config: &Config) -> Result<(Arc<dyn Log>, String), Failure> {
    if config.data == Path::new(MEMORY) {
        let log = MemoryLog::new(config.memory.clone());
        return Ok((Arc::new(log), "in memory, until this ends".to_owned()));
    }
    let folder = config.data.display();
    fs::create_dir_all(&config.data)
        .map_err(|error| Failure::other(format!("can't make the folder {folder}: {error}")))?;
    let log = FjallLog::open(&config.data, config.disk.clone())
        .map_err(|error| Failure::other(format!("can't open the data in {folder}: {error}")))?;
    let found = log.recovery();
    tracing::info!(
        commits = found.commits,
        records = found.records,
        milliseconds = u64::try_from(found.took.as_millis()).unwrap_or(u64::MAX),
        "the log is open, and the end of it checked"
    );
    if found.missing > 0 {
        tracing::warn!(
            commits = found.missing,
            "acknowledged commits at the end are missing"
        );
    }
    let when = match config.disk.durability {
        headwater_log::Durability::Fsync => "acknowledged when on the disk",
        headwater_log::Durability::Os => "acknowledged when the system has it",
    };
    Ok((Arc::new(log), format!("in {folder}, {when}")))
}

fn start_logging(filter: &str) -> Result<(), Failure> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|error| Failure::other(format!("the log's filter: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Says where it listens, and what to try.
fn greet(address: &str, place: &str) -> io::Result<()> {
    let (curl, url) = reach(address);
    let mut out = io::stdout().lock();
    write!(
        out,
        "Headwater {version} listens on {address}\n\
         Streams are kept {place}. Docs: {url}/docs\n\n\
         Create a stream, publish to it, and follow it:\n  \
         {curl} -X PUT {url}/streams/hello -H 'Content-Type: application/json'\n  \
         {curl} {url}/streams/hello -H 'Content-Type: application/json' -d '{{\"hello\":\"world\"}}'\n  \
         {curl} -N {url}/streams/hello -H 'Accept: application/x-ndjson'\n",
        version = env!("CARGO_PKG_VERSION"),
    )?;
    out.flush()
}

/// How curl reaches an address from this machine.
fn reach(address: &str) -> (String, String) {
    if let Some(path) = address.strip_prefix("unix:") {
        let quoted = path.replace('\'', "'\\''");
        return (
            format!("curl --unix-socket '{quoted}'"),
            "http://localhost".to_owned(),
        );
    }
    // These are where it listens, and no address to go to.
    let url = address
        .replacen("//0.0.0.0:", "//127.0.0.1:", 1)
        .replacen("//[::]:", "//[::1]:", 1);
    // A bracket is a pattern to curl.
    let curl = if url.contains('[') { "curl -g" } else { "curl" };
    (curl.to_owned(), url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curl_is_told_an_address_that_it_can_reach() {
        let check = |address, curl: &str, url: &str| {
            assert_eq!(reach(address), (curl.to_owned(), url.to_owned()));
        };
        check("http://127.0.0.1:80", "curl", "http://127.0.0.1:80");
        check("http://0.0.0.0:80", "curl", "http://127.0.0.1:80");
        check("http://[::]:80", "curl -g", "http://[::1]:80");
        check(
            "unix:/a'b",
            "curl --unix-socket '/a'\\''b'",
            "http://localhost",
        );
    }
}
