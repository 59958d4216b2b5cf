use headwater_log::StreamName;
use ring::digest;
use serde::{Deserialize, Serialize};

use headwater_auth::StreamPattern as Pattern;

/// The configuration of a subscription in normal form: requests with the same meaning have the same
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::subscriptions) struct Config {
    pub(in crate::subscriptions) pattern: Option<Pattern>,
    /// Sorted and without duplicates.
    pub(in crate::subscriptions) streams: Vec<StreamName>,
    pub(in crate::subscriptions) target: Target,
    pub(in crate::subscriptions) lease_ms: u64,
    pub(in crate::subscriptions) description: Option<String>,
}

/// The way in which workers are woken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::subscriptions) enum Target {
    /// A request to this URL.
    Webhook(String),
    /// An event in this stream.
    WakeStream(StreamName),
}

/// A [`Config`] as it is stored and hashed. The order of the fields is part of the hash.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::subscriptions) struct ConfigRecord {
    pattern: Option<String>,
    streams: Vec<String>,
    webhook: Option<String>,
    wake_stream: Option<String>,
    lease_ms: u64,
    description: Option<String>,
}

impl Config {
    /// Returns `true` if the pattern matches this stream. The subscription's own wake stream never
    /// matches; otherwise, each wake would cause the next one.
    pub(in crate::subscriptions) fn matches(&self, name: &StreamName) -> bool {
        self.pattern
            .as_ref()
            .is_some_and(|pattern| pattern.matches(name.as_str()))
            && !matches!(&self.target, Target::WakeStream(wake) if wake == name)
            && !crate::protocol::path::is_reserved(name.as_str())
    }

    /// Returns the approximate size in bytes.
    pub(in crate::subscriptions) fn bytes(&self) -> usize {
        let target = match &self.target {
            Target::Webhook(url) => url.len(),
            Target::WakeStream(name) => name.as_str().len(),
        };
        let streams = self.streams.iter();
        let streams: usize = streams.map(|name| 32 + name.as_str().len()).sum();
        let pattern = self.pattern.as_ref().map_or(0, Pattern::bytes);
        target + streams + pattern + self.description.as_ref().map_or(0, String::len)
    }

    /// Returns a hash that identifies the configuration.
    pub(in crate::subscriptions) fn digest(&self) -> Vec<u8> {
        // A struct of strings and numbers always has a JSON form.
        let text = serde_json::to_vec(&self.to_record()).unwrap_or_default();
        digest::digest(&digest::SHA256, &text).as_ref().to_vec()
    }

    pub(in crate::subscriptions) fn to_record(&self) -> ConfigRecord {
        let (webhook, wake_stream) = match &self.target {
            Target::Webhook(url) => (Some(url.clone()), None),
            Target::WakeStream(name) => (None, Some(name.to_string())),
        };
        ConfigRecord {
            pattern: self
                .pattern
                .as_ref()
                .map(|pattern| pattern.as_str().to_owned()),
            streams: self.streams.iter().map(ToString::to_string).collect(),
            webhook,
            wake_stream,
            lease_ms: self.lease_ms,
            description: self.description.clone(),
        }
    }

    /// Returns `None` if this version doesn't write such a record.
    pub(in crate::subscriptions) fn from_record(record: ConfigRecord) -> Option<Self> {
        let target = match (record.webhook, record.wake_stream) {
            (Some(url), None) => Target::Webhook(url),
            (None, Some(name)) => Target::WakeStream(StreamName::new(&name).ok()?),
            _ => return None,
        };
        let streams = record.streams.iter().map(|name| StreamName::new(name).ok());
        Some(Self {
            pattern: record
                .pattern
                .map(|text| Pattern::stored(&text))
                .transpose()
                .ok()?,
            streams: streams.collect::<Option<_>>()?,
            target,
            lease_ms: record.lease_ms,
            description: record.description,
        })
    }
}
