//! The settings of the hub, from the command line, the environment and a file.

use std::{
    fs,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use headwater::{Hosts, TrustedProxies};
use headwater_hub::{Cors, Options};
use headwater_log::{DiskOptions, MemoryOptions};
use serde::{Deserialize, Deserializer, de::Error as _};

#[cfg(feature = "tls")]
use super::tls;
#[cfg(any(feature = "gather", feature = "relay"))]
use super::upstream;
use super::{DEFAULT_DATA, Durability, MEMORY, Serve, auth, cluster, exposure, rates};
use crate::{args::duration, exit::Failure, streams_root};

/// The default filter of the log: events of the hub, and refused requests.
const DEFAULT_LOG: &str = "info,headwater::access=warn";

/// All settings, with defaults for those that aren't set.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) listen: String,
    pub(super) data: PathBuf,
    pub(super) log: String,
    /// The path that contains the streams.
    pub(super) root: String,
    pub(super) hub: Options,
    pub(super) hosts: Hosts,
    pub(super) proxies: TrustedProxies,
    /// The credentials that the hub requires.
    pub(super) auth: Option<auth::Required>,
    /// To whom the hub is open, as the end of a sentence.
    pub(super) exposure: String,
    #[cfg(feature = "tls")]
    pub(super) https: Option<tls::Https>,
    #[cfg(feature = "nats")]
    pub(super) cluster: Option<cluster::Cluster>,
    pub(super) disk: DiskOptions,
    pub(super) memory: MemoryOptions,
    pub(super) shutdown_deadline: Duration,
    pub(super) max_connections: usize,
    /// In bytes per second.
    pub(super) min_body_rate: u32,
    pub(super) body_grace: Duration,
    pub(super) body_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) socket_mode: u32,
}

/// The settings in a file. An unknown name is an error, because it is likely a typo.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    listen: Option<String>,
    socket_mode: Option<String>,
    data: Option<PathBuf>,
    durability: Option<Durability>,
    root: Option<String>,
    public_url: Option<String>,
    cors: Vec<String>,
    allow_hosts: Vec<String>,
    trusted_proxies: Vec<String>,
    log: Option<String>,
    private: bool,
    open: bool,
    #[cfg(feature = "webhooks")]
    loopback_webhooks: bool,
    long_poll: Option<Time>,
    sse_cycle: Option<Time>,
    heartbeat: Option<Time>,
    line_heartbeat: Option<Time>,
    shutdown_deadline: Option<Time>,
    max_connections: Option<NonZeroUsize>,
    min_body_rate: Option<u32>,
    body_grace: Option<Span>,
    body_timeout: Option<Time>,
    write_timeout: Option<Time>,
    memory_bytes: Option<NonZeroU64>,
    reserve_bytes: Option<u64>,
    accept_missing_end: bool,
    accept_damage: bool,
    limits: Limits,
    rates: rates::File,
    auth: auth::File,
    nats: cluster::File,
    #[cfg(feature = "tls")]
    tls: tls::File,
    #[cfg(any(feature = "gather", feature = "relay"))]
    relay: upstream::RelayFile,
    #[cfg(any(feature = "gather", feature = "relay"))]
    upstream: upstream::UpstreamFile,
}

/// The section `limits` of the file. A limit of 0 is an error where nothing could be stored or called with it. Elsewhere
/// it turns a part of the hub off.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    body_bytes: Option<NonZeroUsize>,
    bodies_bytes: Option<NonZeroUsize>,
    peer_bodies_bytes: Option<NonZeroUsize>,
    line_bytes: Option<NonZeroUsize>,
    response_bytes: Option<usize>,
    read_bytes: Option<usize>,
    message_bytes: Option<NonZeroUsize>,
    append_messages: Option<NonZeroUsize>,
    schema_bytes: Option<usize>,
    streams: Option<NonZeroU64>,
    producers: Option<u32>,
    subscribers: Option<usize>,
    shared_bytes: Option<usize>,
    outgoing_bytes: Option<usize>,
    peer_outgoing_bytes: Option<usize>,
    ingest_jobs: Option<usize>,
    subscriptions: Option<usize>,
    subscription_bytes: Option<usize>,
    subscriptions_bytes: Option<usize>,
    subscription_cursors_bytes: Option<usize>,
    #[cfg(feature = "gather")]
    gathers: Option<usize>,
    #[cfg(feature = "gather")]
    gather_calls: Option<NonZeroUsize>,
    #[cfg(feature = "gather")]
    gather_concurrency: Option<NonZeroUsize>,
    #[cfg(feature = "gather")]
    gather_body_bytes: Option<NonZeroUsize>,
}

/// A time as on the command line: `"20s"`, `"500ms"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time(pub(super) Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        duration(&text).map(Self).map_err(D::Error::custom)
    }
}

/// A [`Time`] that isn't 0, because nothing would work with 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Time(span) = Time::deserialize(deserializer)?;
        match span.is_zero() {
            true => Err(D::Error::custom("it is more than 0 here")),
            false => Ok(Self(span)),
        }
    }
}

impl From<Time> for Duration {
    fn from(Time(time): Time) -> Self {
        time
    }
}

impl From<Span> for Duration {
    fn from(Span(span): Span) -> Self {
        span
    }
}

impl Config {
    /// Reads the file, if one is named, and applies the command line, which includes the
    /// environment.
    pub(super) fn read(args: Serve) -> Result<Self, Failure> {
        let file = match &args.config {
            Some(path) => {
                let failed =
                    |what: String| Failure::other(format!("--config {}: {what}", path.display()));
                let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
                toml::from_str(&text).map_err(|error| failed(error.to_string()))?
            }
            None => File::default(),
        };
        Self::lay(args, file)
    }

    fn lay(args: Serve, file: File) -> Result<Self, Failure> {
        let durability = args.durability.or(file.durability).unwrap_or_default();
        let log_limits = file.limits.of_the_log();
        let mut disk = DiskOptions::default();
        disk.limits = log_limits.clone();
        disk.durability = match durability {
            Durability::Fsync => headwater_log::Durability::Fsync,
            Durability::Os => headwater_log::Durability::Os,
            // Only on a cluster, which is checked below.
            Durability::Replicated | Durability::Memory => headwater_log::Durability::Fsync,
        };
        disk.accept_missing_end = file.accept_missing_end;
        disk.accept_damage = file.accept_damage;
        set(&mut disk.reserve_bytes, file.reserve_bytes);
        let mut memory = MemoryOptions::default();
        memory.limits = log_limits.clone();
        set(&mut memory.max_bytes, file.memory_bytes);

        let mut hosts = hosts(list(&args.allow_host, &file.allow_hosts))?;
        let proxies = TrustedProxies::parse(list(&args.trusted_proxy, &file.trusted_proxies))
            .map_err(|error| Failure::other(format!("trusted proxies: {error}")))?;
        #[cfg(feature = "tls")]
        let https = args.tls.lay(file.tls)?;
        let rates = args.rates.lay(&file.rates);
        let mut hub = Options::new()
            .limits(file.limits.of_the_hub())
            .rate_limits(rates.clone())
            .index()
            .cors(cors(list(&args.cors, &file.cors))?);
        #[cfg(any(feature = "gather", feature = "relay"))]
        let has_relay_secret = args.upstream.has_secret(&file.relay);
        #[cfg(any(feature = "gather", feature = "relay"))]
        {
            hub = args.upstream.apply(hub, &file.upstream, &file.relay)?;
        }
        let public_url = args.public_url.or(file.public_url);
        if let Some(url) = &public_url {
            if !is_origin(url.trim_end_matches('/')) {
                return Err(Failure::other(format!(
                    "{url:?} is not a public URL; a public URL is like https://example.com, without a path"
                )));
            }
            // Clients that use the public URL send its host.
            if let Some(host) = host_of(url.trim_end_matches('/')) {
                hosts = hosts
                    .and(host)
                    .map_err(|error| Failure::other(format!("the public URL: {error}")))?;
            }
            hub = hub.public_url(url);
        }
        if file.private {
            hub = hub.private();
        }
        #[cfg(feature = "webhooks")]
        if file.loopback_webhooks {
            hub = hub.loopback_webhooks();
        }
        hub = timed(hub, file.long_poll, Options::long_poll);
        hub = timed(hub, file.sse_cycle, Options::sse_cycle);
        hub = timed(hub, file.heartbeat, Options::heartbeat);
        let root = match args.root {
            Some(root) => root,
            None => file
                .root
                .map_or(Ok(streams_root::DEFAULT.to_owned()), |path| {
                    streams_root::parse(&path)
                        .map_err(|error| Failure::other(format!("root: {error}")))
                })?,
        };
        hub = hub.root(&root);
        hub = timed(hub, file.line_heartbeat, Options::line_heartbeat);
        let socket_mode = match (args.socket_mode, file.socket_mode) {
            (Some(mode), _) => mode,
            (None, Some(text)) => {
                mode(&text).map_err(|error| Failure::other(format!("socket_mode: {error}")))?
            }
            (None, None) => 0o600,
        };
        let listen = args.listen.or(file.listen);
        let listen = listen.unwrap_or_else(|| "127.0.0.1:8000".to_owned());
        // The file may have it, too.
        if args.socket_mode.is_some() && !listen.starts_with("unix:") {
            return Err(Failure::other(format!(
                "--socket-mode is for a Unix socket, as in `--listen unix:/run/headwater.sock`, and {listen} isn't one"
            )));
        }
        let data = args.data.or(file.data);
        let data = data.unwrap_or_else(|| DEFAULT_DATA.into());
        #[cfg(feature = "nats")]
        let cluster = args.nats.lay(file.nats, &data, durability, &log_limits)?;
        #[cfg(feature = "nats")]
        let is_cluster = cluster.is_some();
        #[cfg(not(feature = "nats"))]
        let is_cluster = {
            cluster::refuse(&data, &args.nats, &file.nats)?;
            false
        };
        if !is_cluster {
            cluster::check_folder(&data, durability)?;
        }
        // The file may have it: the printed settings do, with the default.
        if data == Path::new(MEMORY) && args.durability.is_some() {
            return Err(Failure::other(
                "--durability is for a folder or a cluster, and with `--data memory` all streams end with the process",
            ));
        }
        #[cfg(feature = "nats")]
        if let Some(cluster) = &cluster {
            hub = cluster.apply(hub)?;
        }
        let context = auth::Context {
            data: &data,
            root: &root,
            public_url: public_url.as_deref(),
        };
        let is_opened = args.auth.open || file.open;
        let auth = args.auth.lay(file.auth, &context)?;
        rates::check(&rates, auth.as_ref())?;
        #[cfg(any(feature = "gather", feature = "relay"))]
        if auth.is_some() && has_relay_secret {
            return Err(Failure::other(
                "the secret of relays can't be used with keys or tokens: leave it out, and grant the actions `relay` and \
                 `gather` instead",
            ));
        }
        let exposure = exposure::describe(&listen, auth.as_ref(), is_opened, &data)?;
        let log = match args.verbose {
            0 => args.log.or(file.log),
            1 => Some("info".to_owned()),
            _ => Some("debug".to_owned()),
        };
        Ok(Self {
            listen,
            data,
            log: log.unwrap_or_else(|| DEFAULT_LOG.to_owned()),
            root,
            hub,
            hosts,
            proxies,
            auth,
            exposure,
            #[cfg(feature = "tls")]
            https,
            #[cfg(feature = "nats")]
            cluster,
            disk,
            memory,
            shutdown_deadline: time_or(file.shutdown_deadline, 10),
            max_connections: file.max_connections.map_or(100_000, NonZeroUsize::get),
            min_body_rate: file.min_body_rate.unwrap_or(1024),
            body_grace: time_or(file.body_grace, 10),
            body_timeout: time_or(file.body_timeout, 3600),
            write_timeout: time_or(file.write_timeout, 60),
            socket_mode,
        })
    }
}

impl Limits {
    fn of_the_hub(&self) -> headwater_hub::Limits {
        let mut limits = headwater_hub::Limits::default();
        set(&mut limits.body_bytes, self.body_bytes);
        set(&mut limits.bodies_bytes, self.bodies_bytes);
        limits.peer_bodies_bytes = self.peer_bodies_bytes.map(Into::into);
        limits.peer_outgoing_bytes = self.peer_outgoing_bytes;
        set(&mut limits.append_messages, self.append_messages);
        set(&mut limits.line_bytes, self.line_bytes);
        set(&mut limits.response_bytes, self.response_bytes);
        set(&mut limits.read_bytes, self.read_bytes);
        set(&mut limits.subscribers, self.subscribers);
        set(&mut limits.shared_bytes, self.shared_bytes);
        set(&mut limits.outgoing_bytes, self.outgoing_bytes);
        set(&mut limits.ingest_jobs, self.ingest_jobs);
        set(&mut limits.subscriptions, self.subscriptions);
        set(&mut limits.subscription_bytes, self.subscription_bytes);
        set(&mut limits.subscriptions_bytes, self.subscriptions_bytes);
        set(
            &mut limits.subscription_cursors_bytes,
            self.subscription_cursors_bytes,
        );
        #[cfg(feature = "gather")]
        self.limit_gathers(&mut limits);
        limits
    }

    #[cfg(feature = "gather")]
    fn limit_gathers(&self, limits: &mut headwater_hub::Limits) {
        set(&mut limits.gathers, self.gathers);
        set(&mut limits.gather_calls, self.gather_calls);
        set(&mut limits.gather_concurrency, self.gather_concurrency);
        set(&mut limits.gather_body_bytes, self.gather_body_bytes);
    }

    fn of_the_log(&self) -> headwater_log::Limits {
        let mut limits = headwater_log::Limits::default();
        set(&mut limits.message_bytes, self.message_bytes);
        set(&mut limits.append_messages, self.append_messages);
        set(&mut limits.schema_bytes, self.schema_bytes);
        set(&mut limits.streams, self.streams);
        set(&mut limits.producers, self.producers);
        // A request's body is one append.
        let most = self.body_bytes.map_or(0, NonZeroUsize::get);
        limits.append_bytes = limits.append_bytes.max(most);
        limits
    }
}

/// Returns the list of the command line, or else that of the file.
pub(super) fn list<'a>(args: &'a [String], file: &'a [String]) -> &'a [String] {
    if args.is_empty() { file } else { args }
}

/// Sets an option of the hub to a time of the file, if it has one.
pub(super) fn timed(
    hub: Options,
    wanted: Option<impl Into<Duration>>,
    set: impl FnOnce(Options, Duration) -> Options,
) -> Options {
    match wanted {
        Some(wanted) => set(hub, wanted.into()),
        None => hub,
    }
}

fn set<T>(setting: &mut T, wanted: Option<impl Into<T>>) {
    if let Some(wanted) = wanted {
        *setting = wanted.into();
    }
}

fn time_or(wanted: Option<impl Into<Duration>>, seconds: u64) -> Duration {
    wanted.map_or(Duration::from_secs(seconds), Into::into)
}

/// Parses the mode of a socket, as `chmod` does.
///
/// # Errors
/// The text isn't an octal number up to 777.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(format!(
            "{text:?} is not a mode; a mode is octal, like 0660"
        )),
    }
}

fn cors(origins: &[String]) -> Result<Cors, Failure> {
    match origins {
        [] => Ok(Cors::Loopback),
        [one] if one == "loopback" => Ok(Cors::Loopback),
        [one] if one == "any" => Ok(Cors::Any),
        [one] if one == "none" => Ok(Cors::Off),
        origins => match origins.iter().find(|origin| !is_origin(origin)) {
            Some(bad) => Err(Failure::other(format!(
                "{bad:?} is not an origin; an origin is like https://example.com; `loopback`, `any` and `none` \
                 stand alone"
            ))),
            None => Ok(Cors::Only(origins.to_vec())),
        },
    }
}

fn hosts(names: &[String]) -> Result<Hosts, Failure> {
    match names {
        [] => Ok(Hosts::default()),
        [one] if one == "any" => Ok(Hosts::any()),
        names => Hosts::allow(names)
            .map_err(|error| Failure::other(format!("{error}; `any` stands alone"))),
    }
}

/// The host of an origin, without its port.
fn host_of(origin: &str) -> Option<&str> {
    let (_, authority) = origin.split_once("://")?;
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some(host),
        _ => Some(authority),
    }
}

/// Returns `true` if the text is only a scheme and a host, optionally with a port.
fn is_origin(text: &str) -> bool {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && !host.contains(|c: char| "/?#@".contains(c) || !c.is_ascii_graphic())
    })
}

#[cfg(test)]
pub(super) mod tests;
