//! Connecting to a cluster, and the checks of it.

use std::slice;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RawMessageErrorKind, Republish, RetentionPolicy, StorageType,
    Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use headwater_log::Identity;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::connect::{client, system_client};
use crate::leader::{Choice, hears_most};
use crate::limits::{
    ACK_TIMEOUT, MAX_REPLICAS, MIN_PAYLOAD, PART_BYTES, PART_MARGIN, PREFIX_BYTES, REPLICAS,
    REQUEST_TIMEOUT, SERVER_VERSION, SYSTEM_DEADLINE,
};
use crate::open_error::Why;
use crate::options::{Durability, NatsOptions};
use crate::snapshots::{Store, subjects};

/// The entry of the JetStream stream's metadata that has the log's identity.
const IDENTITY: &str = "headwater-identity";
/// The entry that has the version of the layout.
const LAYOUT: &str = "headwater-layout";
const LAYOUT_VERSION: &str = "1";

/// A connection to the log's JetStream stream.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) choice: Choice,
    pub(crate) context: Context,
    pub(crate) stream: Stream<()>,
    pub(crate) name: String,
    pub(crate) subject: String,
    pub(crate) identity: Identity,
    pub(crate) snapshots: Store,
    /// Maximum bytes of a part of a batch.
    pub(crate) part_bytes: usize,
}

impl Cluster {
    pub(crate) async fn connect(options: &NatsOptions) -> Result<Self, Why> {
        check_prefix(&options.prefix)?;
        if !(1..=MAX_REPLICAS).contains(&options.replicas) {
            return Err(Why::ReplicaCount(options.replicas));
        }
        let choice = Choice::default();
        let client = client(options, &choice).await?;
        check_version(&client)?;
        let payload = client.server_info().max_payload;
        if payload < MIN_PAYLOAD {
            return Err(Why::Payload(payload));
        }
        let mut context = match &options.domain {
            Some(domain) => jetstream::with_domain(client.clone(), domain),
            None => jetstream::new(client.clone()),
        };
        let account = context.query_account().await;
        account.map_err(|error| Why::JetStream(error.into()))?;
        context.set_timeout(ACK_TIMEOUT);
        let name = options.prefix.clone();
        let subject = format!("{}.log", options.prefix);
        let republish = Some(Republish {
            source: subject.clone(),
            destination: live_subject(&options.prefix),
            headers_only: false,
        });
        let config = Config {
            description: Some("The log of Headwater hubs".to_owned()),
            num_replicas: options.replicas,
            storage: StorageType::File,
            republish: republish.clone(),
            ..config(&name, vec![subject.clone()], Identity::random())
        };
        let info = find_or_create(&context, config).await?;
        let identity = check_stream(&info, &name, slice::from_ref(&subject))?;
        if info.config.republish != republish {
            let stream = name;
            let what = format!(
                "its records aren't republished to {}",
                live_subject(&stream)
            );
            return Err(Why::Changed { stream, what });
        }
        check_durability(&info, options, &name).await?;
        let part_bytes = payload.min(PART_BYTES) - PART_MARGIN;
        let chunk_bytes = part_bytes.min(options.snapshots.chunk_bytes);
        let snapshots = snapshots(&context, options, &info, identity, chunk_bytes).await?;
        let found = context.get_stream_no_info(&name).await;
        let stream = found.map_err(|error| Why::JetStream(error.into()))?;
        Ok(Self {
            client,
            choice,
            context,
            stream,
            name,
            subject,
            identity,
            snapshots,
            part_bytes,
        })
    }

    /// Subscribes to the records that are stored from now on.
    pub(crate) async fn live(&self) -> Result<Subscriber, Why> {
        let live = self.client.subscribe(live_subject(&self.name)).await;
        live.map_err(|error| Why::JetStream(error.into()))
    }

    /// Returns the bytes of a record, if the leader has it.
    pub(crate) async fn record(&self, sequence: u64) -> Result<Option<Bytes>, String> {
        let request = self.stream.get_raw_message(sequence);
        match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
            Ok(Ok(message)) => Ok(Some(message.payload)),
            Ok(Err(error)) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the leader doesn't answer".to_owned()),
        }
    }

    /// Returns the sequence number of the last record, as the leader knows it.
    pub(crate) async fn last(&self) -> Result<u64, String> {
        let info = tokio::time::timeout(REQUEST_TIMEOUT, self.stream.get_info()).await;
        match info {
            Ok(Ok(info)) if hears_most(&info) => Ok(info.state.last_sequence),
            Ok(Ok(_)) => Err("the leader doesn't hear most of the replicas".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the leader doesn't answer".to_owned()),
        }
    }
}

/// Returns the subject on which the leader publishes records when they are stored.
fn live_subject(prefix: &str) -> String {
    format!("{prefix}.live")
}

/// Finds or creates the stream of the snapshots. It is as durable as the log, as it takes the place of removed records.
async fn snapshots(
    context: &Context,
    options: &NatsOptions,
    log: &Info,
    identity: Identity,
    chunk_bytes: usize,
) -> Result<Store, Why> {
    // No prefix has a `+`.
    let name = format!("{}+snapshots", options.prefix);
    let subjects = subjects(&options.prefix);
    let config = Config {
        description: Some("Snapshots of the log of Headwater hubs".to_owned()),
        num_replicas: log.config.num_replicas,
        storage: log.config.storage,
        ..config(&name, subjects.clone(), identity)
    };
    let info = find_or_create(context, config).await?;
    if check_stream(&info, &name, &subjects)? != identity {
        let stream = name;
        let what = "it has the snapshots of another log".to_owned();
        return Err(Why::Changed { stream, what });
    }
    check_durability(&info, options, &name).await?;
    let found = context.get_stream_no_info(&name).await;
    Ok(Store {
        context: context.clone(),
        stream: found.map_err(|error| Why::JetStream(error.into()))?,
        name,
        prefix: options.prefix.clone(),
        chunk_bytes,
    })
}

/// Returns the settings that both streams of a log have.
fn config(name: &str, subjects: Vec<String>, identity: Identity) -> Config {
    let identity = format!("{:016x}", identity.number());
    Config {
        name: name.to_owned(),
        subjects,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        duplicate_window: Duration::from_secs(1),
        allow_direct: true,
        metadata: [(IDENTITY, identity.as_str()), (LAYOUT, LAYOUT_VERSION)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..Config::default()
    }
}

fn check_prefix(prefix: &str) -> Result<(), Why> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match (1..=PREFIX_BYTES).contains(&prefix.len()) && prefix.bytes().all(is_word) {
        true => Ok(()),
        false => Err(Why::Prefix(prefix.to_owned())),
    }
}

fn check_version(client: &Client) -> Result<(), Why> {
    let server = client.server_info();
    let mut numbers = server.version.split(['.', '-']).map(str::parse::<u64>);
    let version = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (0, 0),
    };
    match version >= SERVER_VERSION {
        true => Ok(()),
        false => Err(Why::Version {
            server: server.server_name,
            found: server.version,
        }),
    }
}

async fn find_or_create(context: &Context, config: Config) -> Result<Info, Why> {
    let (name, replicas) = (config.name.clone(), config.num_replicas);
    let failed = |cause: Box<dyn std::error::Error + Send + Sync>| Why::Create {
        stream: name.clone(),
        cause,
    };
    match context.get_stream(&name).await {
        Ok(stream) => return Ok(stream.cached_info().clone()),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            _ => return Err(failed(error.into())),
        },
    }
    match context.create_stream(config).await {
        Ok(stream) => Ok(stream.cached_info().clone()),
        Err(error) => match error.kind() {
            // Another hub has created it since.
            CreateStreamErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_NAME_EXIST =>
            {
                let found = context.get_stream(&name).await;
                let stream = found.map_err(|error| failed(error.into()))?;
                Ok(stream.cached_info().clone())
            }
            CreateStreamErrorKind::JetStream(cause)
                if cause.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED =>
            {
                Err(Why::Alone { replicas })
            }
            _ => Err(failed(error.into())),
        },
    }
}

/// Checks that a stream is one of ours, and that its settings remove nothing. Returns the log's
/// identity.
fn check_stream(info: &Info, name: &str, subjects: &[String]) -> Result<Identity, Why> {
    let config = &info.config;
    let changed = |what: String| Why::Changed {
        stream: name.to_owned(),
        what,
    };
    let layout = config.metadata.get(LAYOUT).map(String::as_str);
    if layout != Some(LAYOUT_VERSION) {
        return Err(changed(format!(
            "its metadata has the layout {layout:?}, and this version reads {LAYOUT_VERSION}"
        )));
    }
    if config.subjects != subjects {
        return Err(changed(format!("its subjects are {:?}", config.subjects)));
    }
    let removes = config.retention != RetentionPolicy::Limits
        || config.discard != DiscardPolicy::New
        || !config.max_age.is_zero()
        || config.max_messages > 0
        || config.max_messages_per_subject > 0;
    if removes {
        let what = "its limits remove records (retention, discard, max_age or max_msgs)";
        return Err(changed(what.to_owned()));
    }
    if config.deny_delete || config.deny_purge {
        let what = "deny_delete or deny_purge is on, so hubs can't remove records";
        return Err(changed(what.to_owned()));
    }
    if !config.allow_direct {
        return Err(changed("allow_direct is off".to_owned()));
    }
    let identity = config.metadata.get(IDENTITY);
    let number = identity.and_then(|text| u64::from_str_radix(text, 16).ok());
    let missing = || changed(format!("its metadata has no {IDENTITY}"));
    number.map(Identity::new).ok_or_else(missing)
}

async fn check_durability(info: &Info, options: &NatsOptions, name: &str) -> Result<(), Why> {
    if options.durability == Durability::Memory {
        return Ok(());
    }
    let stream = name.to_owned();
    let found = info.config.num_replicas;
    if found < REPLICAS {
        return Err(Why::Replicas { stream, found });
    }
    if info.config.storage != StorageType::File {
        return Err(Why::InMemory { stream });
    }
    match options.durability {
        Durability::Synced => check_sync(info, options).await,
        Durability::Replicated | Durability::Memory => Ok(()),
    }
}

#[derive(Deserialize)]
struct Answer {
    server: Server,
    data: Option<Jsz>,
}

#[derive(Deserialize)]
struct Server {
    name: String,
}

#[derive(Deserialize)]
struct Jsz {
    config: Option<JszConfig>,
}

#[derive(Deserialize)]
struct JszConfig {
    #[serde(default)]
    sync_always: bool,
}

/// Asks the servers with replicas whether they sync. Most of them have to answer, so that a hub can start
/// while one of three servers is down.
async fn check_sync(info: &Info, options: &NatsOptions) -> Result<(), Why> {
    let failed = |what: String| Why::System { what };
    let client = system_client(options).await?;
    let inbox = client.new_inbox();
    let asked = client.subscribe(inbox.clone()).await;
    let mut answers = asked.map_err(|error| failed(error.to_string()))?;
    let sent = client
        .publish_with_reply(
            "$SYS.REQ.SERVER.PING.JSZ",
            inbox,
            "{\"config\":true}".into(),
        )
        .await;
    sent.map_err(|error| failed(error.to_string()))?;
    let mut wanted: Vec<String> = match &info.cluster {
        Some(cluster) => {
            let replicas = cluster.replicas.iter().map(|peer| peer.name.clone());
            cluster.leader.iter().cloned().chain(replicas).collect()
        }
        None => Vec::new(),
    };
    let replicas = wanted.len();
    let mut lax = Vec::new();
    let deadline = Instant::now() + SYSTEM_DEADLINE;
    while !wanted.is_empty()
        && let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await
    {
        let Ok(answer) = serde_json::from_slice::<Answer>(&answer.payload) else {
            continue;
        };
        let config = answer.data.and_then(|data| data.config);
        let is_wanted = wanted.contains(&answer.server.name);
        if is_wanted && let Some(config) = config {
            wanted.retain(|name| *name != answer.server.name);
            if !config.sync_always {
                lax.push(answer.server.name);
            }
        }
    }
    if !lax.is_empty() {
        lax.sort();
        let servers = lax.join(", ");
        return Err(Why::Sync { servers });
    }
    let silent = wanted.join(", ");
    if wanted.len() * 2 >= replicas {
        return Err(failed(format!("these servers didn't answer: {silent}")));
    }
    if !wanted.is_empty() {
        tracing::warn!(%silent, "servers with replicas didn't answer, so it isn't known whether they sync");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_one_word() {
        for good in ["headwater", "a", "A-b_9", &"p".repeat(PREFIX_BYTES)] {
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a.b",
            "a b",
            "*",
            ">",
            "é",
            &"p".repeat(PREFIX_BYTES + 1),
        ] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }
}
