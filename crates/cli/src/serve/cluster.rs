//! The log on a cluster of NATS servers: `--data nats://a,b,c`.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use headwater_log::Limits;
use headwater_nats::NatsOptions;
use serde::Deserialize;

use super::Durability;
use crate::exit::Failure;

/// The schemes of `--data` for a cluster.
const SCHEMES: [&str; 2] = ["nats://", "tls://"];

#[derive(ClapArgs)]
pub(super) struct ClusterArgs {
    /// Run what belongs to one hub of a log: subscriptions, relays and durable handlers
    ///
    /// At most one of the hubs that share a log may have this. The others refuse these requests, so
    /// the proxy in front of them has to send them to this hub.
    #[arg(long)]
    nats_owner: bool,

    /// A credentials file for the NATS servers
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_CREDENTIALS")]
    nats_credentials: Option<PathBuf>,

    /// A file with the seed of an NKey for the NATS servers
    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_NKEY")]
    nats_nkey: Option<PathBuf>,

    /// Certificates of authorities that are trusted for the NATS servers: a PEM file
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_CA")]
    nats_ca: Option<PathBuf>,

    /// The certificate that is presented to the NATS servers: a PEM file
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_CERT")]
    nats_cert: Option<PathBuf>,

    /// The private key of that certificate: a PEM file
    #[arg(long, value_name = "FILE", env = "HEADWATER_NATS_KEY")]
    nats_key: Option<PathBuf>,

    /// A server with the credentials of the system account: `nats://USER:PASSWORD@HOST`
    ///
    /// It is used at the start, to see whether the servers sync what they acknowledge.
    #[arg(
        long,
        value_name = "URL",
        env = "HEADWATER_NATS_SYSTEM",
        hide_env_values = true
    )]
    nats_system: Option<String>,

    #[allow(
        clippy::doc_markdown,
        reason = "it is shown as it stands, not rendered"
    )]
    /// The JetStream domain
    #[arg(long, value_name = "NAME", env = "HEADWATER_NATS_DOMAIN")]
    nats_domain: Option<String>,

    /// The prefix of names in the cluster [default: headwater]
    ///
    /// Logs with different prefixes are independent.
    #[arg(long, value_name = "NAME", env = "HEADWATER_NATS_PREFIX")]
    nats_prefix: Option<String>,

    /// The number of replicas of a log that doesn't exist yet [default: 3]
    #[arg(long, value_name = "NUMBER", env = "HEADWATER_NATS_REPLICAS")]
    nats_replicas: Option<usize>,
}

/// The section `[nats]` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    owner: bool,
    credentials: Option<PathBuf>,
    nkey: Option<PathBuf>,
    ca: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    system: Option<String>,
    domain: Option<String>,
    prefix: Option<String>,
    replicas: Option<usize>,
}

/// The settings of the cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) options: NatsOptions,
    /// `true` if the hub runs what belongs to one hub.
    pub(super) is_owner: bool,
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
        options.domain = self.nats_domain.or(file.domain);
        if let Some(prefix) = self.nats_prefix.or(file.prefix) {
            options.prefix = prefix;
        }
        if let Some(replicas) = self.nats_replicas.or(file.replicas) {
            options.replicas = replicas;
        }
        let is_owner = self.nats_owner || file.owner;
        Ok(Some(Cluster { options, is_owner }))
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
}
