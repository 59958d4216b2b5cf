//! Markers: what says, after a restart, which streams were being filled.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use headwater::Problem;
use headwater_log::{Append, Create, Error, Info, Log, Outcome, Settings, StreamName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the names of markers start with. What follows is random, so that two of one stream are two.
pub(super) const PREFIX: &str = "__ds/filling/";

/// A stream of the log that is there as long as another one is being filled. Each message is a [`Record`]: one for each
/// process that filled it.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    name: StreamName,
    pub(super) record: Record,
}

/// What a marker says, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// The name of the stream that is being filled.
    pub(super) stream: String,
    /// For how many milliseconds it goes on with nobody watching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_for: Option<u64>,
    /// What it needs to be taken up again, if it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resume: Option<Value>,
}

impl Record {
    pub(super) fn keep_for(&self) -> Option<Duration> {
        self.keep_for.map(Duration::from_millis)
    }
}

impl Marker {
    /// A marker for a stream, which is not stored yet.
    ///
    /// # Errors
    /// There is no randomness.
    pub(super) fn new(
        stream: &StreamName,
        keep_for: Option<Duration>,
        resume: Option<Value>,
    ) -> Result<Self, Problem> {
        let mut random = [0; 16];
        rand::fill(&mut random)?;
        let name = format!("{PREFIX}{}", BASE64.encode(random));
        Ok(Self {
            name: StreamName::new(&name)?,
            record: Record {
                stream: stream.as_str().to_owned(),
                keep_for: keep_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                resume,
            },
        })
    }

    /// A marker that was found.
    pub(super) fn found(name: StreamName, record: Record) -> Self {
        Self { name, record }
    }

    pub(super) fn name(&self) -> &StreamName {
        &self.name
    }

    /// What makes this one's name different from others.
    fn nonce(&self) -> &str {
        let name = self.name.as_str();
        name.strip_prefix(PREFIX).unwrap_or(name)
    }

    fn message(&self) -> Bytes {
        // A struct of strings, numbers and JSON has a JSON form.
        serde_json::to_vec(&self.record).unwrap_or_default().into()
    }

    /// Stores it, as that of the process with this number among those that filled the stream.
    pub(super) async fn write(&self, log: &dyn Log, life: u64) -> Result<(), Error> {
        if life == 0 {
            let mut create = Create::new(Settings::of_type("application/json"));
            create.messages = vec![self.message()];
            return log.create(&self.name, create).await.map(drop);
        }
        let append = Append::new(vec![self.message()]);
        match log.append(&self.name, append).await? {
            Outcome::Appended(_) | Outcome::Duplicate(_) => {}
            // Nobody else writes it.
            Outcome::Refused(refusal) => tracing::error!(?refusal, "a marker takes no record"),
        }
        Ok(())
    }

    /// Deletes it. What fails is left for the next start.
    pub(super) async fn remove(&self, log: &dyn Log) {
        match log.delete(&self.name).await {
            Err(error) if error.is_closed() || error.is_not_found() || error.is_gone() => {}
            Err(error) => tracing::warn!(%error, "the marker of a filled stream can't be deleted"),
            Ok(()) => {}
        }
    }
}

/// What the note of a filled stream says, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The end of its marker's name.
    filling: String,
    /// What whoever had it filled wants to know of it.
    #[serde(default)]
    note: Value,
}

impl Note {
    pub(super) fn new(marker: &Marker, note: Value) -> Self {
        Self {
            filling: marker.nonce().to_owned(),
            note,
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        // A struct of a string and JSON has a JSON form.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    fn read(info: &Info) -> Option<Self> {
        serde_json::from_slice(&info.settings.note).ok()
    }

    /// Whether a stream is the one that a marker was made for.
    pub(super) fn is_of(info: &Info, marker: &Marker) -> bool {
        Self::read(info).is_some_and(|note| note.filling == marker.nonce())
    }
}

/// What whoever had a stream filled noted of it; `None` if it is not a stream that the hub filled.
pub(crate) fn note(info: &Info) -> Option<Value> {
    Note::read(info).map(|note| note.note)
}
