//! Snapshots in the JetStream stream that keeps them.
//!
//! A snapshot is a run of chunks and the manifest after them. Each of these messages is stored only if the one
//! before it is the last of the stream, so a second writer ends the first one's run, and every manifest is of the
//! chunks right before it.

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, ErrorCode, response::Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_64;

use crate::format::manifest::{Manifest, NoManifest};
use crate::limits::{FETCH_ATTEMPTS, REQUEST_TIMEOUT, RETRY_PAUSE, SNAPSHOT_LENGTH};

/// A complete snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The sequence number of the manifest.
    pub(crate) at: u64,
    pub(crate) manifest: Manifest,
}

impl Stored {
    /// Returns the sequence number of the first chunk.
    fn first(&self) -> u64 {
        self.at.saturating_sub(self.manifest.chunks)
    }
}

/// The result of reading what is stored.
#[derive(Debug)]
pub(crate) enum Found<T> {
    Whole(T),
    /// Something is missing, or isn't as it was written.
    Damaged,
}

/// The JetStream stream of the snapshots.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) context: Context,
    pub(crate) stream: Stream<()>,
    pub(crate) name: String,
    pub(crate) prefix: String,
    /// Maximum bytes of a chunk.
    pub(crate) chunk_bytes: usize,
}

/// The subjects of the stream of snapshots.
pub(crate) fn subjects(prefix: &str) -> Vec<String> {
    let subject = |kind| format!("{prefix}.snapshot.{kind}");
    [CHUNK, MANIFEST, SWEPT].map(subject).into()
}

const CHUNK: &str = "chunk";
const MANIFEST: &str = "manifest";
/// A message for each snapshot after which all records were removed that it allows to remove.
const SWEPT: &str = "swept";

impl Store {
    fn subject(&self, kind: &str) -> String {
        format!("{}.snapshot.{kind}", self.prefix)
    }

    /// Returns the newest message of a kind, with its sequence number.
    async fn last(&self, kind: &str) -> Result<Option<(u64, Bytes)>, String> {
        let subject = self.subject(kind);
        let request = self.stream.get_last_raw_message_by_subject(&subject);
        match timeout(REQUEST_TIMEOUT, request).await {
            Ok(Ok(message)) => Ok(Some((message.sequence, message.payload))),
            Ok(Err(error)) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the leader of the snapshots doesn't answer".to_owned()),
        }
    }

    /// Returns the newest snapshot. A damaged manifest is removed, as nothing refers to it.
    pub(crate) async fn newest(&self) -> Result<Option<Stored>, String> {
        while let Some((at, payload)) = self.last(MANIFEST).await? {
            match Manifest::decode(&payload) {
                Ok(manifest) => return Ok(Some(Stored { at, manifest })),
                Err(error @ NoManifest::Version(_)) => return Err(error.to_string()),
                Err(NoManifest::Damaged) => {
                    tracing::error!(at, "a manifest of a snapshot is damaged, and is removed");
                    self.delete(at).await?;
                }
            }
        }
        Ok(None)
    }

    /// Returns the snapshot before another one, if it is there.
    pub(crate) async fn before(&self, newer: &Stored) -> Result<Option<Stored>, String> {
        let at = newer.manifest.before;
        if at == 0 {
            return Ok(None);
        }
        let message = self.message(at).await?;
        let manifest = message.and_then(|message| Manifest::decode(&message).ok());
        Ok(manifest.map(|manifest| Stored { at, manifest }))
    }

    /// Returns `true` if all was removed that a snapshot allows to remove.
    pub(crate) async fn is_swept(&self, snapshot: &Stored) -> Result<bool, String> {
        let swept = self.last(SWEPT).await?;
        let swept = swept.and_then(|(_, payload)| payload.as_ref().try_into().ok());
        Ok(swept.map(u64::from_le_bytes) >= Some(snapshot.manifest.sequence))
    }

    /// Records that all was removed that a snapshot allows to remove.
    pub(crate) async fn set_swept(&self, snapshot: &Stored) -> Result<(), String> {
        let sequence = snapshot.manifest.sequence.to_le_bytes();
        let sent = self.put(SWEPT, Bytes::copy_from_slice(&sequence), snapshot.at);
        match sent.await {
            Err(_) if self.is_swept(snapshot).await? => Ok(()),
            sent => sent.map(|_| ()),
        }
    }

    /// Returns `true` if the last message, which has this sequence number, is a chunk: that of an incomplete
    /// snapshot.
    pub(crate) async fn is_incomplete(&self, end: u64) -> Result<bool, String> {
        let chunk = self.last(CHUNK).await?;
        Ok(chunk.is_some_and(|(at, _)| at == end))
    }

    /// Returns the sequence number of the last message.
    pub(crate) async fn end(&self) -> Result<u64, String> {
        let info = timeout(REQUEST_TIMEOUT, self.stream.get_info()).await;
        let info = info.map_err(|_| "the leader of the snapshots doesn't answer".to_owned())?;
        let info = info.map_err(|error| error.to_string())?;
        Ok(info.state.last_sequence)
    }

    async fn message(&self, at: u64) -> Result<Option<Bytes>, String> {
        let mut last = String::new();
        for _ in 0..FETCH_ATTEMPTS {
            match timeout(REQUEST_TIMEOUT, self.stream.get_raw_message(at)).await {
                Ok(Ok(message)) => return Ok(Some(message.payload)),
                Ok(Err(error)) if error.kind() == RawMessageErrorKind::NoMessageFound => {
                    return Ok(None);
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => "the leader of the snapshots doesn't answer".clone_into(&mut last),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Err(last)
    }

    /// Reads a snapshot.
    pub(crate) async fn read(&self, snapshot: &Stored) -> Result<Found<Bytes>, String> {
        let manifest = &snapshot.manifest;
        let mut all = Vec::new();
        for at in snapshot.first()..snapshot.at {
            let Some(chunk) = self.message(at).await? else {
                return Ok(Found::Damaged);
            };
            all.extend_from_slice(&chunk);
            if all.len() as u64 > manifest.length.min(SNAPSHOT_LENGTH) {
                return Ok(Found::Damaged);
            }
        }
        let is_whole = all.len() as u64 == manifest.length && xxh3_64(&all) == manifest.sum;
        Ok(match is_whole {
            true => Found::Whole(all.into()),
            false => Found::Damaged,
        })
    }

    /// Stores a snapshot after the message `end`. Fails if another hub has stored something since. `manifest`
    /// has the description of it but for its bytes. Incomplete snapshots are removed: the messages from `remains`
    /// on.
    ///
    /// After an error it may be complete or not.
    pub(crate) async fn write(
        &self,
        snapshot: &Bytes,
        mut manifest: Manifest,
        end: u64,
        remains: u64,
    ) -> Result<Stored, String> {
        if snapshot.len() as u64 > SNAPSHOT_LENGTH {
            return Err(format!(
                "{} bytes are too many for a snapshot",
                snapshot.len()
            ));
        }
        let mut last = end;
        for start in (0..snapshot.len()).step_by(self.chunk_bytes) {
            let chunk = snapshot.slice(start..snapshot.len().min(start + self.chunk_bytes));
            last = self.put(CHUNK, chunk, last).await?;
            if start == 0 {
                // From here on no other run continues, so what is incomplete stays so.
                for at in remains..=end {
                    self.delete(at).await?;
                }
            }
        }
        manifest.length = snapshot.len() as u64;
        manifest.chunks = snapshot.len().div_ceil(self.chunk_bytes) as u64;
        manifest.sum = xxh3_64(snapshot);
        let at = self.put(MANIFEST, manifest.encode().into(), last).await?;
        Ok(Stored { at, manifest })
    }

    /// Stores a message if `last` is the sequence number of the last one. Returns its own.
    async fn put(&self, kind: &str, payload: Bytes, last: u64) -> Result<u64, String> {
        let message = PublishMessage::build().payload(payload);
        let message = message.expected_last_sequence(last);
        let sent = self.context.send_publish(self.subject(kind), message).await;
        let failed = |error| format!("a {kind} of a snapshot isn't stored: {error}");
        let stored = sent.map_err(failed)?.await.map_err(failed)?;
        Ok(stored.sequence)
    }

    /// Removes what is before a snapshot.
    pub(crate) async fn forget_before(&self, snapshot: &Stored) -> Result<(), String> {
        let purge = self.stream.purge().sequence(snapshot.first());
        let failed = |error| format!("old snapshots aren't removed: {error}");
        purge.await.map_err(failed)?;
        Ok(())
    }

    /// Removes a message, if it is there.
    pub(crate) async fn delete(&self, at: u64) -> Result<(), String> {
        delete(&self.context, &self.name, at).await
    }
}

#[derive(Deserialize)]
struct Deleted {}

/// Removes a message of a JetStream stream, if it is there. Its bytes aren't overwritten.
pub(crate) async fn delete(context: &Context, stream: &str, at: u64) -> Result<(), String> {
    let subject = format!("STREAM.MSG.DELETE.{stream}");
    let request = json!({ "seq": at, "no_erase": true });
    let response: Response<Deleted> = context
        .request(subject, &request)
        .await
        .map_err(|error| format!("message {at} of {stream} isn't removed: {error}"))?;
    match response {
        Response::Ok(_) => Ok(()),
        Response::Err { error } => match error.error_code() {
            // It isn't there any more.
            ErrorCode::NO_MESSAGE_FOUND
            | ErrorCode::SEQUENCE_NOT_FOUND
            | ErrorCode::STREAM_MESSAGE_DELETE_FAILED => Ok(()),
            _ => Err(error.to_string()),
        },
    }
}
