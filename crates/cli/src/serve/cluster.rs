//! The log on a cluster of NATS servers: `--data nats://a,b,c`.
//!
//! A build without the feature `nats` knows these settings too, but hides them, and reports how to
//! build it with the feature.

use std::path::{Path, PathBuf};
#[cfg(feature = "nats")]
use std::sync::Arc;

use clap::Args as ClapArgs;
#[cfg(feature = "nats")]
use headwater_hub::Options as HubOptions;
#[cfg(feature = "nats")]
use headwater_log::{Limits, Log};
#[cfg(feature = "nats")]
use headwater_nats::{NatsLog, NatsOptions};
#[cfg(feature = "nats")]
use headwater_wire::causes;
use serde::Deserialize;

use super::Durability;
use crate::{args::whole, exit::Failure};

/// The schemes of `--data` for a cluster.
const SCHEMES: [&str; 2] = ["nats://", "tls://"];

/// `true` if the options aren't shown in the help.
const HIDDEN: bool = cfg!(not(feature = "nats"));

#[derive(Debug, Default, PartialEq, ClapArgs)]
pub(super) struct ClusterArgs {
    /// The URL at which the other hubs of the log reach this one: `http://10.0.0.1:8000`
    ///
    /// Subscriptions and relays run on one hub at a time, the owner of the log. The others forward
    /// requests for these to it. Without this, they answer 503 while this hub is the owner.
    #[arg(long, value_name = "URL", env = "HEADWATER_ADVERTISE", hide = HIDDEN)]
    advertise: Option<String>,

    /// A credentials file for the NATS servers
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_CREDENTIALS", hide = HIDDEN)]
    nats_credentials: Option<PathBuf>,

    /// A file with the seed of an NKey for the NATS servers
    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_NKEY", hide = HIDDEN)]
    nats_nkey: Option<PathBuf>,

    /// Certificates of authorities that are trusted for the NATS servers: a PEM file
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_CA", hide = HIDDEN)]
    nats_ca: Option<PathBuf>,

    /// The certificate that is presented to the NATS servers: a PEM file
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_CERT", hide = HIDDEN)]
    nats_cert: Option<PathBuf>,

    /// The private key of that certificate: a PEM file
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_KEY", hide = HIDDEN)]
    nats_key: Option<PathBuf>,

    /// Servers with the credentials of the system account: `nats://USER:PASSWORD@HOST,HOST`
    ///
    /// They are used at the start, to see whether the servers sync what they acknowledge.
    #[arg(
        long,
        value_name = "URL",
        env = "HEADWATER_NATS_SYSTEM",
        hide_env_values = true,
        hide = HIDDEN
    )]
    nats_system: Option<String>,

    /// A credentials file of the system account, in place of a user and password
    #[arg(
        long,
        value_name = "FILE",
        env = "HEADWATER_NATS_SYSTEM_CREDENTIALS",
        hide = HIDDEN
    )]
    nats_system_credentials: Option<PathBuf>,

    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    /// The JetStream domain
    #[arg(long, value_name = "NAME", env = "HEADWATER_NATS_DOMAIN", hide = HIDDEN)]
    nats_domain: Option<String>,

    /// The prefix of names in the cluster [default: headwater]
    ///
    /// Logs with different prefixes are independent.
    #[arg(long, value_name = "NAME", env = "HEADWATER_NATS_PREFIX", hide = HIDDEN)]
    nats_prefix: Option<String>,

    /// The number of replicas of a log that doesn't exist yet [default: 3]
    #[arg(long, value_name = "NUMBER", env = "HEADWATER_NATS_REPLICAS", value_parser = whole::<usize>, hide = HIDDEN)]
    nats_replicas: Option<usize>,
}

/// The section `[nats]` of the file.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    advertise: Option<String>,
    credentials: Option<PathBuf>,
    nkey: Option<PathBuf>,
    ca: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    system: Option<String>,
    system_credentials: Option<PathBuf>,
    domain: Option<String>,
    prefix: Option<String>,
    replicas: Option<usize>,
}

/// The settings of the cluster.
#[cfg(feature = "nats")]
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) options: NatsOptions,
    /// The URL at which other hubs reach this one.
    pub(super) advertised: Option<String>,
}

#[cfg(feature = "nats")]
impl Cluster {
    /// Applies the settings to the hub.
    pub(super) fn apply(&self, hub: HubOptions) -> Result<HubOptions, Failure> {
        let hub = hub.shared_log();
        match &self.advertised {
            Some(url) => hub
                .advertise(url)
                .map_err(|error| Failure::other(error.to_string())),
            None => Ok(hub),
        }
    }

    /// Describes how other hubs reach this one, as a sentence.
    pub(super) fn describe(&self) -> String {
        match &self.advertised {
            Some(url) => format!("The hubs of the log reach this one at {url}."),
            None => {
                "Other hubs of the log don't reach this one, for want of --advertise.".to_owned()
            }
        }
    }

    /// Opens the log. Returns it with a description of its location.
    pub(super) async fn open(&self) -> Result<(Arc<dyn Log>, String), Failure> {
        use headwater_nats::Durability;
        let when = match self.options.durability {
            Durability::Synced => "acknowledged after most of three servers or more have synced it",
            Durability::Replicated => "acknowledged once most of three servers or more have it",
            Durability::Memory => "acknowledged as the servers' settings say",
        };
        let opened = NatsLog::open(self.options.clone()).await;
        let log = opened.map_err(|error| Failure::other(causes::text(&error)))?;
        Ok((Arc::new(log), format!("on NATS JetStream, {when}")))
    }
}

/// Returns the servers that `--data` names, or `None` if it is a folder.
pub(super) fn servers(data: &Path) -> Option<Vec<String>> {
    let text = data.to_str()?;
    let scheme = SCHEMES.iter().find(|scheme| text.starts_with(**scheme))?;
    let servers = text.split(',').map(|server| match server.contains("://") {
        true => server.to_owned(),
        false => format!("{scheme}{server}"),
    });
    Some(servers.collect())
}

/// Refuses a cluster and its settings, in a build that can't use one.
#[cfg(any(test, not(feature = "nats")))]
pub(super) fn refuse(data: &Path, args: &ClusterArgs, file: &File) -> Result<(), Failure> {
    let what = match servers(data) {
        Some(_) => "`--data nats://…`",
        None if *args != ClusterArgs::default() => "`--nats-…` or `--advertise`",
        None if *file != File::default() => "the section [nats] of the file",
        None => return Ok(()),
    };
    Err(Failure::other(format!(
        "{what} needs a build with the feature `nats`, which this one doesn't have. In a checkout of \
         Headwater: cargo install --path crates/cli --features nats"
    )))
}

#[cfg(feature = "nats")]
impl ClusterArgs {
    /// Combines the command line and the file. Returns `None` if the log isn't on a cluster.
    pub(super) fn lay(
        self,
        file: File,
        data: &Path,
        durability: Durability,
        limits: &Limits,
    ) -> Result<Option<Cluster>, Failure> {
        let Some(servers) = servers(data) else {
            // The section of the file may be there: the printed settings have it, with the defaults.
            if self != Self::default() {
                return Err(Failure::other(format!(
                    "`--nats-…` and `--advertise` are for a cluster, and `--data {}` isn't one: name its servers, as \
                     in `--data nats://a:4222,b:4222`",
                    data.display()
                )));
            }
            return Ok(None);
        };
        let mut options = NatsOptions::new(servers);
        options.durability = match durability {
            Durability::Fsync => headwater_nats::Durability::Synced,
            Durability::Replicated => headwater_nats::Durability::Replicated,
            Durability::Memory => headwater_nats::Durability::Memory,
            Durability::Os => {
                return Err(Failure::other(
                    "the durability `os` is for a folder; on a cluster there are fsync, replicated and memory",
                ));
            }
        };
        options.limits = limits.clone();
        options.credentials.file = self.nats_credentials.or(file.credentials);
        options.credentials.nkey = self.nats_nkey.or(file.nkey);
        options.tls.ca = self.nats_ca.or(file.ca);
        options.tls.identity = match (
            self.nats_cert.or(file.client_cert),
            self.nats_key.or(file.client_key),
        ) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(Failure::other(
                    "--nats-cert and --nats-key (`client_cert` and `client_key` under [nats]) need each other",
                ));
            }
        };
        options.system = self.nats_system.or(file.system);
        options.system_credentials = self.nats_system_credentials.or(file.system_credentials);
        options.domain = self.nats_domain.or(file.domain);
        if let Some(prefix) = self.nats_prefix.or(file.prefix) {
            options.prefix = prefix;
        }
        if let Some(replicas) = self.nats_replicas.or(file.replicas) {
            options.replicas = replicas;
        }
        check(&options)?;
        let advertised = self.advertise.or(file.advertise);
        Ok(Some(Cluster {
            options,
            advertised,
        }))
    }
}

/// Refuses settings that have no effect, or contradict each other.
#[cfg(feature = "nats")]
fn check(options: &NatsOptions) -> Result<(), Failure> {
    let system = options.system.as_deref();
    let systems: Vec<_> = system
        .into_iter()
        .flat_map(|urls| urls.split(','))
        .collect();
    let servers = || options.servers.iter().map(String::as_str);
    for server in servers().chain(systems.iter().copied()) {
        check_server(server)?;
    }
    let has_user = |server: &str| server.contains('@');
    let (file, nkey) = (&options.credentials.file, &options.credentials.nkey);
    let system_credentials = &options.system_credentials;
    let named = [
        (file.is_some(), "--nats-credentials"),
        (nkey.is_some(), "--nats-nkey"),
        (servers().any(has_user), "the user in a URL of --data"),
    ];
    let named: Vec<_> = named.into_iter().filter(|(is_set, _)| *is_set).collect();
    if let [(_, one), (_, other), ..] = *named {
        return Err(Failure::other(format!(
            "{one} and {other} are credentials for the same servers: name one of them"
        )));
    }
    if system_credentials.is_some() && systems.iter().copied().any(has_user) {
        return Err(Failure::other(
            "--nats-system-credentials and the user in a URL of --nats-system are credentials for the same servers: name \
             one of them",
        ));
    }
    let is_synced = options.durability == headwater_nats::Durability::Synced;
    if !is_synced && (system.is_some() || system_credentials.is_some()) {
        return Err(Failure::other(
            "--nats-system and --nats-system-credentials are for the check that the servers sync, which only the \
             durability `fsync` needs: leave them out, or leave out --durability",
        ));
    }
    let has_tls = servers().any(|server| server.starts_with("tls://"));
    if !has_tls && (options.tls.ca.is_some() || options.tls.identity.is_some()) {
        return Err(Failure::other(
            "--nats-ca, --nats-cert and --nats-key are for TLS, which `nats://` doesn't require: name the servers as in \
             `--data tls://a:4222,b:4222`",
        ));
    }
    Ok(())
}

/// Checks that a URL of a server has a host and nothing after it. Errors don't show its credentials.
#[cfg(feature = "nats")]
fn check_server(url: &str) -> Result<(), Failure> {
    let after = url.split_once("://").map_or(url, |(_, after)| after);
    let host = after.rsplit_once('@').map_or(after, |(_, host)| host);
    if host.is_empty() || after.contains(['/', '?', '#']) {
        return Err(Failure::other(format!(
            "{host:?} is not a NATS server, which is like `a:4222`, without a path; a `/` in a password is written `%2F`"
        )));
    }
    Ok(())
}

/// Refuses what only a cluster offers.
pub(super) fn check_folder(data: &Path, durability: Durability) -> Result<(), Failure> {
    let is_url = data.to_str().is_some_and(|text| text.contains("://"));
    if is_url {
        return Err(Failure::other(format!(
            "{} is not a folder, `memory` or a cluster, which is like nats://a:4222,b:4222",
            data.display()
        )));
    }
    match durability {
        Durability::Fsync | Durability::Os => Ok(()),
        Durability::Replicated | Durability::Memory => Err(Failure::other(
            "the durabilities `replicated` and `memory` are for a cluster; for a folder there are fsync and os",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_separated_by_commas_and_share_a_scheme() {
        let servers = |text: &str| servers(Path::new(text));
        assert_eq!(servers("./data"), None);
        assert_eq!(servers("memory"), None);
        assert_eq!(servers("nats://a").unwrap(), ["nats://a"]);
        assert_eq!(
            servers("tls://a:1,b,nats://c").unwrap(),
            ["tls://a:1", "tls://b", "nats://c"]
        );
    }

    #[cfg(feature = "nats")]
    #[test]
    fn options_of_a_cluster_are_refused_for_a_folder() {
        let lay = |args: ClusterArgs| {
            let (data, limits) = (Path::new("./data"), Limits::default());
            let laid = args.lay(File::default(), data, Durability::Fsync, &limits);
            laid.map_err(|failure| format!("{failure:?}"))
        };
        assert!(lay(ClusterArgs::default()).is_ok_and(|laid| laid.is_none()));
        let advertising = ClusterArgs {
            advertise: Some("http://a".to_owned()),
            ..ClusterArgs::default()
        };
        let text = lay(advertising).unwrap_err();
        assert!(
            text.contains("`--nats-…`") && text.contains("./data"),
            "{text}"
        );
    }

    #[cfg(feature = "nats")]
    #[test]
    fn options_without_effect_and_contradictory_ones_are_refused() {
        let lay = |data: &str, args: ClusterArgs, durability| {
            let laid = args.lay(
                File::default(),
                Path::new(data),
                durability,
                &Limits::default(),
            );
            laid.map(drop).map_err(|failure| format!("{failure:?}"))
        };
        let args = |options: &[&str]| {
            #[derive(clap::Parser)]
            struct Parsed {
                #[command(flatten)]
                args: ClusterArgs,
            }
            use clap::Parser as _;
            Parsed::parse_from([&["serve"], options].concat()).args
        };
        let (creds, nkey) = (["--nats-credentials", "f"], ["--nats-nkey", "f"]);
        let system = ["--nats-system", "nats://s:p@a"];
        let own = ["--nats-cert", "f", "--nats-key", "f"];
        for (data, options, part) in [
            ("nats://a/b", &[][..], "without a path"),
            ("nats://a,b/", &[], "without a path"),
            ("nats://a?b", &[], "without a path"),
            ("nats://", &[], "without a path"),
            ("nats://a,,b", &[], "without a path"),
            (
                "nats://a",
                &["--nats-system", "nats://s:p@b/c"],
                "without a path",
            ),
            ("nats://a", &[creds, nkey].concat(), "name one of them"),
            ("nats://u@a", &creds, "name one of them"),
            ("nats://u:p@a", &nkey, "name one of them"),
            (
                "nats://a",
                &[system, ["--nats-system-credentials", "f"]].concat(),
                "name one of them",
            ),
            ("nats://a", &["--nats-ca", "f"], "tls://a:4222"),
            ("nats://a", &own, "tls://a:4222"),
        ] {
            let error = lay(data, args(options), Durability::Fsync).unwrap_err();
            assert!(error.contains(part), "{data} {options:?}: {error}");
            assert!(!error.contains("p@"), "{error}");
        }
        for durability in [Durability::Replicated, Durability::Memory] {
            let error = lay("nats://a", args(&system), durability).unwrap_err();
            assert!(error.contains("only the durability"), "{error}");
        }
        for (data, options) in [
            ("nats://u:p%2Fq@a:1,b", &system[..]),
            ("tls://a", &[&["--nats-ca", "f"], &own[..], &creds].concat()),
            ("nats://a,tls://b", &["--nats-ca", "f"]),
        ] {
            lay(data, args(options), Durability::Fsync).unwrap();
        }
    }

    #[test]
    fn a_build_without_clusters_says_how_to_build_it_with_them() {
        let (args, file) = (ClusterArgs::default(), File::default());
        let refused = |data: &str, args: &ClusterArgs, file: &File| {
            let refused = refuse(Path::new(data), args, file);
            refused.err().map(|failure| format!("{failure:?}"))
        };
        assert_eq!(refused("./data", &args, &file), None);
        let advertising = ClusterArgs {
            advertise: Some("http://a".to_owned()),
            ..ClusterArgs::default()
        };
        let prefix = File {
            prefix: Some("a".to_owned()),
            ..File::default()
        };
        for (refused, what) in [
            (refused("nats://a,b", &args, &file), "--data nats://"),
            (refused("memory", &advertising, &file), "--nats-"),
            (refused("memory", &args, &prefix), "[nats]"),
        ] {
            let text = refused.unwrap_or_default();
            assert!(text.contains(what), "{text}");
            assert!(text.contains("--features nats"), "{text}");
        }
    }
}
