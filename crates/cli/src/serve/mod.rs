//! `headwater serve`: the hub.

mod auth;
mod cluster;
mod config;
mod environment;
mod exposure;
mod logging;
mod rates;
mod settings_file;
#[cfg(feature = "tls")]
mod tls;
#[cfg(any(feature = "gather", feature = "relay"))]
mod upstream;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args as ClapArgs, ValueEnum};
use headwater_hub::Hub;
use headwater_log::{DiskLog, Log, MemoryLog, Remedy};
use headwater_wire::{causes, terminal::ShellWord};
use serde::Deserialize;

#[cfg(feature = "nats")]
use self::cluster::Cluster;
use self::config::Config;
use crate::{exit::Failure, streams_root};

/// The time that the hub's background tasks have to end at shutdown.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// The value of `--data` for a log in memory, which ends with the process.
pub(crate) const MEMORY: &str = "memory";

/// The default data folder.
pub(crate) const DEFAULT_DATA: &str = "./headwater-data";

#[derive(ClapArgs)]
pub(crate) struct Serve {
    /// The address to listen on: HOST:PORT or unix:PATH [default: 127.0.0.1:8000]
    ///
    /// Port 0 selects a free port.
    #[arg(short, long, value_name = "ADDRESS", env = "HEADWATER_LISTEN")]
    listen: Option<String>,

    /// The folder that contains the streams, `memory`, or `nats://HOST,HOST,HOST` [default:
    /// ./headwater-data]
    ///
    /// The folder is created if it doesn't exist. In memory, streams end with the process. On a
    /// cluster of NATS servers with JetStream, several hubs can share them.
    #[arg(short, long, value_name = "FOLDER", env = "HEADWATER_DATA")]
    data: Option<PathBuf>,

    /// The durability at which an append is acknowledged [default: fsync]
    #[arg(long, value_name = "WHEN", env = "HEADWATER_DURABILITY")]
    durability: Option<Durability>,

    /// The URL by which clients reach the hub: `https://example.com` [default: from each request]
    #[arg(long, value_name = "URL", env = "HEADWATER_PUBLIC_URL")]
    public_url: Option<String>,

    /// The pages that may use the hub: `loopback`, `any`, `none`, or those of an origin,
    /// `https://example.com` [default: loopback]
    ///
    /// Several origins are separated by commas, or the option is repeated. `loopback` means pages
    /// of this machine, from localhost or 127.0.0.1 at any port. Other pages can't read the hub's
    /// responses, and can't change anything. The hub's own pages may always use it.
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "HEADWATER_CORS",
        value_delimiter = ','
    )]
    cors: Vec<String>,

    /// A name by which the hub is reached: `hub.example.com` [default: any; on a loopback address
    /// only `localhost` and the like]
    ///
    /// Requests for other hosts are refused, so that no page can make its own name resolve to the
    /// hub. Behind a proxy on this machine that forwards its clients' Host, list the names that
    /// they use; that of --public-url is already allowed. `*.example.com` matches each name that
    /// ends so, and `any` disables the check. Several names are separated by commas, or the option
    /// is repeated.
    #[arg(
        long,
        value_name = "HOST",
        env = "HEADWATER_ALLOW_HOST",
        value_delimiter = ','
    )]
    allow_host: Vec<String>,

    /// A proxy in front of the hub whose Forwarded and X-Forwarded-* headers count: `10.0.0.0/8`
    /// [default: none]
    ///
    /// An address, a network, or `unix` for all peers of a Unix socket. For requests through it,
    /// the log, the limits of a client and URLs in responses have the client's address, scheme and
    /// host. The headers of other peers are ignored. Several are separated by commas, or the option
    /// is repeated.
    #[arg(
        long,
        value_name = "CIDR",
        env = "HEADWATER_TRUSTED_PROXY",
        value_delimiter = ','
    )]
    trusted_proxy: Vec<String>,

    #[command(flatten)]
    auth: auth::AuthArgs,

    #[command(flatten)]
    rates: rates::RatesArgs,

    #[cfg(feature = "tls")]
    #[command(flatten)]
    tls: tls::HttpsArgs,

    #[command(flatten)]
    nats: cluster::ClusterArgs,

    #[cfg(any(feature = "gather", feature = "relay"))]
    #[command(flatten)]
    upstream: upstream::Args,

    /// The path of the streams [default: /streams]
    #[arg(long, value_name = "PATH", env = "HEADWATER_ROOT", value_parser = streams_root::parse)]
    root: Option<String>,

    /// The mode of a Unix socket, in octal [default: 0600]
    #[arg(long, value_name = "MODE", env = "HEADWATER_SOCKET_MODE", value_parser = config::mode)]
    socket_mode: Option<u32>,

    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    /// The filter of the log on stderr: error, warn, info, debug, or a level for each part
    /// [default: info,headwater::access=warn]
    ///
    /// The part headwater::access logs requests: refused ones at warn, all others at info, also
    /// readers that connect and disconnect. Libraries are logged only if they are named, h2=debug:
    /// they may log URLs and headers.
    #[arg(long, value_name = "FILTER", env = "HEADWATER_LOG", value_parser = logging::checked)]
    log: Option<String>,

    /// Log every request, and readers that connect and disconnect; -vv: all of Headwater's log
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,

    /// A file with these settings and more (TOML)
    #[arg(short, long, value_name = "FILE", env = "HEADWATER_CONFIG")]
    config: Option<PathBuf>,

    /// Print such a file, with every setting and its default, and exit
    #[arg(long)]
    print_config: bool,
}

/// The durability at which an append is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Durability {
    /// When it is synced to disk: it survives a power failure
    #[default]
    Fsync,
    /// When the operating system has it: it survives a crash of the process, not of the machine
    Os,
    /// On a cluster: when three servers have it, which may not have synced it. It survives the loss
    /// of one machine, not of several at once
    Replicated,
    /// On a cluster: when its servers have it, however many they are and whatever they sync
    Memory,
}

/// Shown by `-h`.
pub(crate) const EXAMPLES: &str = "\
Examples:
  headwater serve
  headwater serve --data memory -v
  headwater keys create --name ops --allow 'all:**' > ops.key
  headwater serve --listen 0.0.0.0:443 --tls-cert chain.pem --tls-key key.pem
  headwater serve --print-config > headwater.toml && headwater serve --config headwater.toml";

/// Shown after them by `--help`.
pub(crate) const DETAILS: &str = "\
On an address that other machines reach, it requires keys or tokens, or --open.

The command line takes precedence over the environment, and the environment over the file.
--print-config prints every setting of the file with its default.

SIGTERM or SIGINT stops it: streams that are being read are cut, so that clients resume them later,
requests are answered, and the log is closed. A second signal ends it at once. SIGHUP makes it read
the certificate of https again. Without https it is ignored, unless the hub was started in a terminal.

Exit status:
  0    it was stopped
  1    it couldn't start, or a second signal ended it
  2    the command line is wrong";

pub(crate) fn run(args: Serve) -> Result<(), Failure> {
    if args.print_config {
        let mut out = io::stdout().lock();
        return out
            .write_all(settings_file::text().as_bytes())
            .or_else(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(Failure::other(format!("the standard output: {error}"))),
            });
    }
    let config = Config::read(args)?;
    logging::start(&config.log)?;
    environment::warn();
    // Before the log is opened, because a mistake here is likely.
    let mut config = config;
    if let Some(auth) = &config.auth {
        config.hub = config.hub.auth(auth.load()?);
    }
    #[cfg(feature = "tls")]
    let tls = match &config.https {
        Some(https) => Some(https.load()?),
        None => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::other(format!("can't start: {error}")))?;
    let (log, place) = runtime.block_on(open(&config))?;
    let configure = |server: headwater::Serve| {
        #[cfg(feature = "tls")]
        if let (Some(https), Some(tls)) = (&config.https, tls) {
            return https.apply(tls, server);
        }
        server
    };
    let served = runtime.block_on(serve(&config, Arc::clone(&log), place, configure));
    // All acknowledged appends are already stored. Closing the log spares the next start its check.
    let closed = runtime.block_on(log.close());
    runtime.shutdown_background();
    served?;
    closed.map_err(|error| Failure::other(format!("closing the log: {error}")))
}

async fn serve(
    config: &Config,
    log: Arc<dyn Log>,
    place: String,
    configure: impl FnOnce(headwater::Serve) -> headwater::Serve,
) -> Result<(), Failure> {
    let hub = Hub::with_options(log, config.hub.clone());
    hub.start();
    let greeting = Greeting {
        root: config.root.trim_end_matches('/').to_owned(),
        place,
        exposure: config.exposure.clone(),
        #[cfg(feature = "nats")]
        cluster: config.cluster.as_ref().map(Cluster::describe),
        #[cfg(not(feature = "nats"))]
        cluster: None,
        needs_token: config.auth.is_some(),
    };
    let server = headwater::serve(hub.app(), &config.listen)
        .max_connections(config.max_connections)
        .max_http2_requests(config.max_connections)
        .min_body_rate(config.min_body_rate)
        .body_grace(config.body_grace)
        .body_timeout(config.body_timeout)
        .write_timeout(config.write_timeout)
        .shutdown_deadline(config.shutdown_deadline)
        .socket_mode(config.socket_mode)
        .hosts(config.hosts.clone())
        .trusted_proxies(config.proxies.clone())
        .on_bound(move |address| {
            // The standard output may be closed.
            let _ = greeting.print(&address.to_string());
        });
    let served = configure(server).await.map_err(Failure::other);
    // If this doesn't finish, the next start repairs the rest.
    let _ = tokio::time::timeout(STOP_PATIENCE, hub.stop()).await;
    served
}

/// Opens the log. Returns it with a description of its location.
async fn open(config: &Config) -> Result<(Arc<dyn Log>, String), Failure> {
    #[cfg(feature = "nats")]
    if let Some(cluster) = &config.cluster {
        return cluster.open().await;
    }
    if config.data == Path::new(MEMORY) {
        let log = MemoryLog::new(config.memory.clone());
        return Ok((Arc::new(log), "in memory, until this ends".to_owned()));
    }
    let folder = config.data.display();
    let log = DiskLog::open(&config.data, config.disk.clone())
        .map_err(|error| Failure::other(cannot_open(&config.data, &error)))?;
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
    for given_up in &found.given_up {
        tracing::warn!(
            stream = given_up.stream.as_str(),
            from = %given_up.from,
            to = %given_up.to,
            segment = given_up.segment,
            byte = given_up.byte,
            "messages are damaged and can't be read"
        );
    }
    let when = match config.disk.durability {
        headwater_log::Durability::Fsync => "acknowledged after reaching the disk",
        headwater_log::Durability::Os => "acknowledged once handed to the operating system",
    };
    Ok((Arc::new(log), format!("in {folder}, {when}")))
}

/// Describes why the log in a folder can't be opened, and the remedy.
pub(crate) fn cannot_open(folder: &Path, error: &headwater_log::Error) -> String {
    let shown = folder.display();
    let mut text = format!("can't open the data in {shown}: {}", causes::text(error));
    let data = shown.to_string();
    let data = ShellWord(&data);
    if error.is_damaged() {
        let then = match error.remedy() {
            Some(Remedy::RebuildIndex) => {
                format!("`headwater check --rebuild-index --data {data}` then mends it; or restore a backup")
            }
            Some(Remedy::AcceptDamage) => format!(
                "Then restore a backup; or see with `headwater check --data {data}` which messages are damaged, and \
                 serve the others with accept_damage = true in the settings"
            ),
            Some(Remedy::AcceptMissingEnd) => "Then put back what is missing, or restore a backup; or serve what is there \
                 with accept_missing_end = true in the settings, without the newest messages"
                .to_owned(),
            _ => "Then put back the files that are damaged or missing, or restore a backup: no setting opens the rest"
                .to_owned(),
        };
        text.push_str(". Copy the folder before anything else. ");
        text.push_str(&then);
    }
    text
}

/// The text that the hub prints when it listens.
struct Greeting {
    /// The path of the streams, without a slash at its end.
    root: String,
    /// The location of the streams.
    place: String,
    /// To whom the hub is open.
    exposure: String,
    /// A sentence with the URL at which other hubs reach it. `None` if it is alone on its log.
    cluster: Option<String>,
    /// `true` if the commands need a key or a token.
    needs_token: bool,
}

impl Greeting {
    /// Prints the address on which the hub listens, and commands to try.
    fn print(&self, address: &str) -> io::Result<()> {
        let (curl, url) = reach(address);
        let Self {
            root,
            place,
            exposure,
            ..
        } = self;
        let cluster = self.cluster.iter().map(|text| format!("{text}\n"));
        let cluster: String = cluster.collect();
        let token = match self.needs_token {
            true => " -H \"Authorization: Bearer $HEADWATER_TOKEN\"",
            false => "",
        };
        let mut out = io::stdout().lock();
        write!(
            out,
            "Headwater {version} listens on {address}\n\
             Streams are kept {place}. Docs: {url}/docs\n\
             The hub {exposure}.\n{cluster}\n\
             Create a stream, publish to it, and follow it:\n  \
             {curl} -X PUT {url}{root}/hello -H 'Content-Type: application/json'{token}\n  \
             {curl} {url}{root}/hello -H 'Content-Type: application/json' -d '{{\"hello\":\"world\"}}'{token}\n  \
             {curl} -N {url}{root}/hello -H 'Accept: application/x-ndjson'{token}\n",
            version = env!("CARGO_PKG_VERSION"),
        )?;
        out.flush()
    }
}

/// The curl command and the URL that reach an address from this machine.
fn reach(address: &str) -> (String, String) {
    if let Some(path) = address.strip_prefix("unix:") {
        return (
            format!("curl --unix-socket {}", ShellWord(path)),
            "http://localhost".to_owned(),
        );
    }
    // A server listens on these addresses, but clients can't connect to them.
    let url = address
        .replacen("//0.0.0.0:", "//127.0.0.1:", 1)
        .replacen("//[::]:", "//[::1]:", 1);
    // curl treats brackets as a pattern.
    let curl = if url.contains('[') { "curl -g" } else { "curl" };
    (curl.to_owned(), url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_curl_command_has_a_reachable_address() {
        let check = |address, curl: &str, url: &str| {
            assert_eq!(reach(address), (curl.to_owned(), url.to_owned()));
        };
        check("http://127.0.0.1:80", "curl", "http://127.0.0.1:80");
        check("http://0.0.0.0:80", "curl", "http://127.0.0.1:80");
        check("https://0.0.0.0:443", "curl", "https://127.0.0.1:443");
        check("http://[::]:80", "curl -g", "http://[::1]:80");
        check(
            "unix:/a'b",
            "curl --unix-socket '/a'\\''b'",
            "http://localhost",
        );
    }
}
