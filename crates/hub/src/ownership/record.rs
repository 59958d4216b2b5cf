//! The stored form of the lease.
//!
//! The stream `__ds/owner` has one message for each beginning of a term, each renewal and each release,
//! as JSON:
//!
//! ```text
//! {"hub":"5d0…","term":7,"url":"http://10.0.0.1:8000"}     begins the term, or renews it
//! {"hub":"5d0…","term":7,"released":true}                  ends it
//! ```
//!
//! All are appended by one producer, whose epoch is the term. The beginning is number 0 of it. Only the
//! newest message counts, and older ones are trimmed.

use bytes::Bytes;
use headwater_log::{
    Append, Create, Error, Follower, Known, Log, Offset, Outcome, ReadFrom, Settings, StreamName,
};
use serde::{Deserialize, Serialize};

use crate::limits::OWNER_STREAM_BYTES;

/// The name of the stream and the id of its producer.
const NAME: &str = "__ds/owner";

/// Number of bytes that are read at once. No record is larger than a URL and a few words.
const READ_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The random id of the hub's process.
    pub(super) hub: String,
    pub(super) term: u64,
    /// The URL at which other hubs reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// `true` if the hub isn't the owner any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) released: bool,
}

impl Record {
    fn encode(&self) -> Bytes {
        // A struct of strings and a number always has a JSON form.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The state of the stream.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Identifies the newest record. `None`: there is none.
    pub(super) known: Option<Known>,
    /// That record or a later one. `None`: there is none, or this version can't read it.
    pub(super) record: Option<Record>,
}

/// The stream.
pub(super) struct Records<'a> {
    log: &'a dyn Log,
    name: StreamName,
}

impl<'a> Records<'a> {
    pub(super) fn new(log: &'a dyn Log) -> Result<Self, Error> {
        let name = StreamName::new(NAME)?;
        Ok(Self { log, name })
    }

    /// Creates the stream unless it exists, and follows it.
    pub(super) async fn follow(&self) -> Result<Follower, Error> {
        let mut settings = Settings::of_type("application/json");
        settings.max_bytes = Some(OWNER_STREAM_BYTES);
        self.log.create(&self.name, Create::new(settings)).await?;
        self.log.follow(&self.name).await
    }

    /// Reads the newest record.
    pub(super) async fn read(&self) -> Result<Seen, Error> {
        // First: a record that is newer than this makes the precondition of taking over fail. An older
        // one could show the release of an earlier term.
        let known = self.log.producer(&self.name, NAME).await?;
        let tail = self.log.info(&self.name).await?.tail.number();
        let mut record = None;
        if tail > 0 {
            let from = ReadFrom::At(Offset::new(tail - 1));
            let chunk = self.log.read(&self.name, from, READ_BYTES).await?;
            let last = chunk.messages().last();
            record = last.and_then(|message| serde_json::from_slice(&message.bytes).ok());
        }
        Ok(Seen { known, record })
    }

    /// Begins the term of `record` unless anything was appended after `known`.
    pub(super) async fn begin(
        &self,
        record: &Record,
        known: Option<Known>,
    ) -> Result<Outcome, Error> {
        let mut append = self.of(record, 0);
        append.continues = Some(known.map(|known| known.published).unwrap_or_default());
        self.log.append(&self.name, append).await
    }

    /// Appends a record of a term that has begun, under the next number.
    pub(super) async fn append(&self, record: &Record, number: u64) -> Result<Outcome, Error> {
        self.log.append(&self.name, self.of(record, number)).await
    }

    fn of(&self, record: &Record, number: u64) -> Append {
        Append::new(vec![record.encode()]).by(NAME, record.term, number)
    }
}
