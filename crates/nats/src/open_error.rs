use crate::limits::{MIN_PAYLOAD, PREFIX_BYTES, REPLICAS, SERVER_VERSION};

/// The reason for which a log can't be opened, with a remedy.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct OpenError(#[from] pub(crate) Why);

impl OpenError {
    /// Returns `true` if the cluster offers less than the [durability](crate::Durability) that was
    /// requested.
    #[must_use]
    pub fn is_too_weak(&self) -> bool {
        matches!(
            self.0,
            Why::Alone { .. }
                | Why::Replicas { .. }
                | Why::Sync { .. }
                | Why::SyncUnknown
                | Why::InMemory { .. }
        )
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Why {
    #[error("the prefix `{0}` isn't 1 to {PREFIX_BYTES} letters, digits, `-` and `_`")]
    Prefix(String),
    #[error("{0} replicas aren't 1 to 5, which is what JetStream has")]
    ReplicaCount(usize),
    #[error("can't connect to the servers {servers}")]
    Connect {
        servers: String,
        #[source]
        cause: Source,
    },
    #[error("the credentials can't be used: {what}")]
    Credentials {
        what: String,
        #[source]
        cause: std::io::Error,
    },
    #[error(
        "the server {server} is of version {found}, and {}.{} or a newer one is required",
        SERVER_VERSION.0,
        SERVER_VERSION.1
    )]
    Version { server: String, found: String },
    #[error(
        "the server's max_payload of {0} bytes is too small: {MIN_PAYLOAD} or more are required"
    )]
    Payload(usize),
    #[error("JetStream can't be used: is it enabled on the servers, and for this account?")]
    JetStream(#[source] Source),
    #[error("the JetStream stream {stream} can't be created")]
    Create {
        stream: String,
        #[source]
        cause: Source,
    },
    #[error(
        "the server isn't part of a cluster, and {replicas} replicas need {replicas} servers. With one \
         server, a lost machine loses acknowledged messages. Name a cluster, or accept the loss: \
         --durability memory --nats-replicas 1"
    )]
    Alone { replicas: usize },
    #[error(
        "the JetStream stream {stream} wasn't created by Headwater, or was changed: {what}. Use \
         another prefix, or restore it"
    )]
    Changed { stream: String, what: String },
    #[error(
        "the JetStream stream {stream} has {found} replicas. With fewer than {REPLICAS}, one lost \
         machine loses acknowledged messages. Give it {REPLICAS}: nats stream edit {stream} \
         --replicas {REPLICAS}; or accept the loss: --durability memory"
    )]
    Replicas { stream: String, found: usize },
    #[error(
        "the JetStream stream {stream} is stored in memory. If its servers stop together, \
         acknowledged messages are lost. Accept that with --durability memory"
    )]
    InMemory { stream: String },
    #[error(
        "the servers {servers} don't sync what they acknowledge. If machines crash together, \
         acknowledged messages are lost. Set `jetstream {{ sync_interval: always }}` on every \
         server, or accept the loss: --durability replicated"
    )]
    Sync { servers: String },
    #[error(
        "whether the servers sync what they acknowledge isn't known: their default is to sync every \
         two minutes, which loses acknowledged messages if machines crash together. Name the system \
         account, so that the servers can be asked: --nats-system nats://USER:PASSWORD@HOST, or \
         --nats-system-credentials FILE; or \
         accept the loss: --durability replicated"
    )]
    SyncUnknown,
    #[error("the system account can't be used to see whether the servers sync: {what}")]
    System { what: String },
    #[error("the snapshots in the JetStream stream {stream} can't be read: {what}")]
    Snapshots { stream: String, what: String },
    #[error(
        "the JetStream stream {stream} begins at record {first}, as the records before it were removed, and no \
         snapshot in the JetStream stream {snapshots} can be used in their place. Restore both streams from one \
         backup, or use another prefix"
    )]
    Removed {
        stream: String,
        first: u64,
        snapshots: String,
    },
    #[error("the log can't be read")]
    Read(#[source] headwater_log::Error),
}
