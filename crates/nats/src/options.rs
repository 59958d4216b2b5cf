//! Settings of the engine.

use std::path::PathBuf;
use std::time::Duration;

use headwater_log::{Clock, Limits};

use crate::limits::{HASHES, PART_BYTES, SNAPSHOT_BYTES, SNAPSHOT_CHECK, SNAPSHOT_RECORDS};
use crate::servers::shown;

/// The copies of a message that exist when it is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// At least three servers have the message, and each synced it to its disk: `sync_interval:
    /// always`. It survives the loss of any one machine, and a power failure of all.
    ///
    /// Only the [system account](NatsOptions::system) shows if the servers sync.
    #[default]
    Synced,
    /// At least three servers have the message, but may not have synced it. It survives the loss of
    /// any one machine. **If machines crash together, or one after the other within
    /// `sync_interval`, acknowledged messages can be lost.** The default of the servers is to sync
    /// every two minutes.
    Replicated,
    /// The servers have the message as their settings say, which may be one server that keeps it in
    /// memory. **If that server's machine crashes, acknowledged messages are lost.**
    Memory,
}

/// Credentials for the servers, besides those in a URL.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Credentials {
    /// A credentials file, with a JSON Web Token and a seed.
    pub file: Option<PathBuf>,
    /// A file with the seed of an `NKey`.
    pub nkey: Option<PathBuf>,
    /// A token.
    pub token: Option<String>,
}

/// The text hides the token.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("file", &self.file)
            .field("nkey", &self.nkey)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish()
    }
}

/// Settings of TLS.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tls {
    /// `true` to refuse servers without TLS. The scheme `tls://` requires it too.
    pub required: bool,
    /// A file with the certificates of the authorities that are trusted besides the system's.
    pub ca: Option<PathBuf>,
    /// Files with the certificate and the key that are presented to the servers.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The pace of snapshots, which tests change.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Snapshots {
    /// Bytes of records after which one is stored.
    pub bytes: u64,
    /// Number of records after which one is stored.
    pub records: u64,
    /// Interval at which a hub looks whether one is due.
    pub every: Duration,
    /// Maximum bytes of a part of one.
    pub chunk_bytes: usize,
    /// Number of records before a snapshot that are kept besides those that it refers to.
    pub kept: u64,
    /// The time for which a snapshot is there before records are removed for the next one. `None` if that follows from
    /// the durability.
    pub pause: Option<Duration>,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self {
            bytes: SNAPSHOT_BYTES,
            records: SNAPSHOT_RECORDS,
            every: SNAPSHOT_CHECK,
            chunk_bytes: PART_BYTES,
            kept: HASHES as u64,
            pause: None,
        }
    }
}

/// Options of a log on a cluster.
#[derive(Clone)]
#[non_exhaustive]
pub struct NatsOptions {
    /// URLs of the servers: `nats://host:4222`. One that can be reached is enough: it names the
    /// others.
    pub servers: Vec<String>,
    /// Credentials for the servers.
    pub credentials: Credentials,
    /// Settings of TLS.
    pub tls: Tls,
    /// URLs with the credentials of the system account, separated by commas:
    /// `nats://user:password@a:4222,b:4222`. They are used at the start, to see whether the servers
    /// sync.
    pub system: Option<String>,
    /// A credentials file of the system account. It is used in place of the credentials of
    /// [`system`](Self::system), and without that with the [`servers`](Self::servers).
    pub system_credentials: Option<PathBuf>,
    /// The `JetStream` domain.
    pub domain: Option<String>,
    /// The prefix of names and subjects in the cluster: letters, digits, `-` and `_`. Logs with
    /// different prefixes are independent. Defaults to `headwater`.
    pub prefix: String,
    /// Number of replicas of a log that doesn't exist yet. Defaults to 3.
    pub replicas: usize,
    /// The durability of acknowledged messages. A cluster that offers less is refused.
    pub durability: Durability,
    /// Limits. The numbers of streams, producers and ends are those of the log as a whole: the hub
    /// that was started last sets them.
    pub limits: Limits,
    /// Bytes of records that are kept in memory for readers. Defaults to 64 MiB.
    pub cache_bytes: u64,
    /// Interval at which expired streams are ended and old messages are trimmed. Defaults to 250
    /// ms.
    pub reclaim_every: Duration,
    /// The source of time.
    pub clock: Clock,
    /// For tests.
    #[doc(hidden)]
    pub snapshots: Snapshots,
}

/// The text hides the credentials in URLs.
impl std::fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            servers,
            credentials,
            tls,
            system,
            system_credentials,
            domain,
            prefix,
            replicas,
            durability,
            limits,
            cache_bytes,
            reclaim_every,
            clock,
            snapshots,
        } = self;
        f.debug_struct("NatsOptions")
            .field("servers", &shown(servers))
            .field("credentials", credentials)
            .field("tls", tls)
            .field("system", &shown(system.as_slice()))
            .field("system_credentials", system_credentials)
            .field("domain", domain)
            .field("prefix", prefix)
            .field("replicas", replicas)
            .field("durability", durability)
            .field("limits", limits)
            .field("cache_bytes", cache_bytes)
            .field("reclaim_every", reclaim_every)
            .field("clock", clock)
            .field("snapshots", snapshots)
            .finish()
    }
}

impl NatsOptions {
    /// Creates options for a cluster of these servers.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            credentials: Credentials::default(),
            tls: Tls::default(),
            system: None,
            system_credentials: None,
            domain: None,
            prefix: "headwater".to_owned(),
            replicas: crate::limits::REPLICAS,
            durability: Durability::default(),
            limits: Limits::default(),
            cache_bytes: 64 << 20,
            reclaim_every: Duration::from_millis(250),
            clock: Clock::system(),
            snapshots: Snapshots::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_options_has_no_secrets() {
        let mut options = NatsOptions::new(["nats://me:secret@a:4222"]);
        options.system = Some("nats://sys:secret@a:4222".to_owned());
        options.credentials.token = Some("secret".to_owned());
        let text = format!("{options:?}");
        assert!(
            text.contains("a:4222") && !text.contains("secret"),
            "{text}"
        );
    }
}
