//! Recovery records: they identify, after a restart, the streams that ingest jobs were filling.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bytes::Bytes;
use headwater::Problem;
use headwater_log::{Append, Create, Error, Info, Log, Outcome, Settings, StreamName};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Prefix of the names of record streams. A random nonce follows, so that two records for one
/// stream are distinct.
pub(super) const PREFIX: &str = "__ds/filling/";

/// A stream of the log that exists for as long as an ingest job fills another stream. Each message
/// is a [`RecordBody`], one for each process that ran the job.
#[derive(Clone, Debug)]
pub(super) struct RecoveryRecord {
    name: StreamName,
    pub(super) record: RecordBody,
}

/// A recovery record, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RecordBody {
    /// The name of the stream that is being filled.
    pub(super) stream: String,
    /// Time in milliseconds that the job continues without watchers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep_for: Option<u64>,
    /// Data from which the job can be resumed, if it can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resume: Option<Value>,
}

impl RecordBody {
    pub(super) fn keep_for(&self) -> Option<Duration> {
        self.keep_for.map(Duration::from_millis)
    }
}

impl RecoveryRecord {
    /// Creates a record for a stream. Nothing is stored yet.
    ///
    /// # Errors
    /// There is no randomness.
    pub(super) fn new(
        stream: &StreamName,
        keep_for: Option<Duration>,
        resume: Option<Value>,
    ) -> Result<Self, Problem> {
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random)?;
        let name = format!("{PREFIX}{}", BASE64.encode(random));
        Ok(Self {
            name: StreamName::new(&name)?,
            record: RecordBody {
                stream: stream.as_str().to_owned(),
                keep_for: keep_for.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                resume,
            },
        })
    }

    /// Returns a record that was found in the log.
    pub(super) fn found(name: StreamName, record: RecordBody) -> Self {
        Self { name, record }
    }

    pub(super) fn name(&self) -> &StreamName {
        &self.name
    }

    /// Returns the random part of the name, which distinguishes this record from all others.
    fn nonce(&self) -> &str {
        let name = self.name.as_str();
        name.strip_prefix(PREFIX).unwrap_or(name)
    }

    fn message(&self) -> Bytes {
        // A struct of strings, numbers and JSON always has a JSON form.
        serde_json::to_vec(&self.record).unwrap_or_default().into()
    }

    /// Stores the record. `life` is the number of processes that ran the job before.
    pub(super) async fn write(&self, log: &dyn Log, life: u64) -> Result<(), Error> {
        if life == 0 {
            let mut create = Create::new(Settings::of_type("application/json"));
            create.messages = vec![self.message()];
            return log.create(&self.name, create).await.map(drop);
        }
        let append = Append::new(vec![self.message()]);
        match log.append(&self.name, append).await? {
            Outcome::Appended(_) | Outcome::Duplicate(_) => {}
            // Nothing else writes to this stream.
            Outcome::Refused(refusal) => tracing::error!(?refusal, "a record takes no record"),
        }
        Ok(())
    }

    /// Deletes the record. If that fails, the next start deletes it.
    pub(super) async fn remove(&self, log: &dyn Log) {
        match log.delete(&self.name).await {
            Err(error) if error.is_closed() || error.is_not_found() || error.is_gone() => {}
            Err(error) => tracing::warn!(%error, "the record of a filled stream can't be deleted"),
            Ok(()) => {}
        }
    }
}

/// The note of a stream that an ingest job fills, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// The nonce of the record's name.
    filling: String,
    /// The note of the code that started the job.
    #[serde(default)]
    note: Value,
    /// `true` if the job ends when it has no watchers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    watched: bool,
}

impl Note {
    pub(super) fn new(record: &RecoveryRecord, note: Value) -> Self {
        Self {
            filling: record.nonce().to_owned(),
            note,
            watched: record.record.keep_for.is_some(),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        // A struct of a string and JSON always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    fn read(info: &Info) -> Option<Self> {
        serde_json::from_slice(&info.settings.note).ok()
    }

    /// Returns `true` if the record was created for this stream.
    pub(super) fn is_of(info: &Info, record: &RecoveryRecord) -> bool {
        Self::read(info).is_some_and(|note| note.filling == record.nonce())
    }
}

/// Returns `true` if an ingest job that ends without watchers fills the stream, on whichever hub.
pub(crate) fn is_watched(info: &Info) -> bool {
    !info.closed && Note::read(info).is_some_and(|note| note.watched)
}

/// Returns the note of the code that started the stream's ingest job, or `None` if the stream isn't
/// filled by the hub.
pub(crate) fn note(info: &Info) -> Option<Value> {
    Note::read(info).map(|note| note.note)
}
