//! The bodies of requests, as JSON. Their schemas both validate requests and describe them in the
//! OpenAPI document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::SHOWN_STREAMS;

/// The configuration of a subscription: the streams to watch and how to wake workers.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NewSubscription {
    /// The way in which workers are woken.
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// Pattern of streams to watch, including streams that are created later: `*` matches one
    /// segment of a path, `**` any number. Paths are relative to the root of the streams. At least
    /// one of `pattern` and `streams` is required.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub(super) pattern: Option<String>,
    /// Paths of further streams to watch.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub(super) streams: Option<Vec<String>>,
    /// The receiver of wakes, required for `webhook`.
    #[serde(default)]
    pub(super) webhook: Option<NewWebhook>,
    /// The JSON stream to which wake events are written, required for `pull-wake`. It has to be
    /// created before, and to be open.
    #[serde(default)]
    pub(super) wake_stream: Option<String>,
    /// Time in milliseconds after which a silent worker loses its lease. Default: 30,000.
    #[serde(default)]
    #[schemars(range(min = 1000, max = 600_000))]
    pub(super) lease_ttl_ms: Option<u64>,
    /// A description for humans.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub(super) description: Option<String>,
}

/// The part of a subscription's streams that is requested.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Streams {
    /// The path after which to continue: the `after` of the previous response.
    pub(super) after: Option<String>,
    /// Maximum number of streams in the response.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = SHOWN_STREAMS))]
    pub(super) limit: u32,
}

pub(super) fn thousand() -> u32 {
    1000
}

/// The way in which workers are woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// By a signed request to a URL.
    Webhook,
    /// By an event in a stream. Workers then claim the work.
    PullWake,
}

/// The receiver of wakes.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct NewWebhook {
    /// An `https` URL on a public host.
    #[schemars(length(min = 1, max = 2048))]
    pub(super) url: String,
}

/// Streams to add.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct AddStreams {
    /// Their paths, relative to the root of the streams.
    #[schemars(length(min = 1, max = 1000))]
    pub(super) streams: Vec<String>,
}

/// The worker that claims.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Worker {
    /// A name. It is reported to other workers while this one holds the lease.
    #[schemars(length(min = 1, max = 256))]
    pub(super) worker: String,
}

/// The progress of a worker.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Progress {
    /// The wake that the worker processes.
    pub(super) wake_id: String,
    /// The wake's generation.
    pub(super) generation: u64,
    /// The streams that were processed since the last acknowledgement.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    pub(super) acks: Vec<StreamAck>,
    /// If `true`, the wake is complete. If `false`, its lease is renewed.
    #[serde(default)]
    pub(super) done: bool,
}

/// The progress of a worker with one stream.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct StreamAck {
    /// The stream's path, relative to the root of the streams.
    pub(super) stream: String,
    /// The offset up to which the stream is processed.
    pub(super) offset: String,
}

/// The wake to release.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Release {
    /// The id of the wake.
    pub(super) wake_id: String,
    /// Its generation.
    pub(super) generation: u64,
}
