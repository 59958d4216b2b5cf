//! What comes in, as JSON: the bodies of requests. Their schemas are what is checked, and what the document
//! shows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::SHOWN_STREAMS;

/// What to watch, and how to wake.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NewSubscription {
    /// How workers are woken.
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// Streams to watch, those included that come later: `*` stands for one segment of a path, `**` for any number.
    /// Paths are from the root of the streams. At least one of `pattern` and `streams` is needed.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub(super) pattern: Option<String>,
    /// Streams to watch besides, by their paths.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub(super) streams: Option<Vec<String>>,
    /// Where to send wakes: for `webhook`.
    #[serde(default)]
    pub(super) webhook: Option<NewWebhook>,
    /// The stream, of JSON, to write wakes to: for `pull-wake`. It is to be created as any other.
    #[serde(default)]
    pub(super) wake_stream: Option<String>,
    /// How long a worker may be silent, in milliseconds. Default: 30,000.
    #[serde(default)]
    #[schemars(range(min = 1000, max = 600_000))]
    pub(super) lease_ttl_ms: Option<u64>,
    /// What it is for.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub(super) description: Option<String>,
}

/// Which of a subscription's streams are asked for.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Streams {
    /// The path to go on after: the `after` of the answer before.
    pub(super) after: Option<String>,
    /// How many streams the answer has, at the most.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = SHOWN_STREAMS))]
    pub(super) limit: u32,
}

pub(super) fn thousand() -> u32 {
    1000
}

/// How workers are woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// By a signed request to a URL.
    Webhook,
    /// By an event in a stream; workers then claim.
    PullWake,
}

/// Where to send wakes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NewWebhook {
    /// An `https` URL on a public host.
    #[schemars(length(min = 1, max = 2048))]
    pub(super) url: String,
}

/// Streams to add.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct AddStreams {
    /// Their paths, from the root of the streams.
    #[schemars(length(min = 1, max = 1000))]
    pub(super) streams: Vec<String>,
}

/// Who claims.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Worker {
    /// A name, which others are told while this worker holds the lease.
    #[schemars(length(min = 1, max = 256))]
    pub(super) worker: String,
}

/// How far a worker is.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Progress {
    /// The wake that it works on.
    pub(super) wake_id: String,
    /// The wake's generation.
    pub(super) generation: u64,
    /// What it has processed since.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    pub(super) acks: Vec<StreamAck>,
    /// Whether it is done with the wake. If not, its lease starts anew.
    #[serde(default)]
    pub(super) done: bool,
}

/// How far a worker is with one stream.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct StreamAck {
    /// The stream's path, from the root of the streams.
    pub(super) stream: String,
    /// All before this offset is processed.
    pub(super) offset: String,
}

/// Which wake to give back.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Release {
    /// The wake.
    pub(super) wake_id: String,
    /// Its generation.
    pub(super) generation: u64,
}
