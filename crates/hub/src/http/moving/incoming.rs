//! A stream that is being imported.

use std::sync::Arc;

use bytes::Bytes;
use headwater::StatusCode;
use headwater_log::{
    Clock, Digest, Error, Expiry, Image, Log, Offset, ProducerImage, Restore, StreamName, Timestamp,
};

use super::line::{End, MessageLine, digest};
use crate::{
    error::Failure,
    limits::{IMPORT_BYTES, IMPORT_MESSAGES, IMPORT_PRODUCERS},
    protocol::{json, media_type::is_json},
};

/// The result of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was restored by this import.
    Imported,
    /// It was there already.
    Unchanged,
    /// Another stream of its name was there, which is left as it is.
    Skipped,
    /// It has expired since it was exported.
    Expired,
}

/// A stream whose lines are being read.
pub(super) struct Incoming {
    log: Arc<dyn Log>,
    pub(super) name: StreamName,
    /// The number of its first line.
    pub(super) line: u64,
    may_skip: bool,
    image: Box<Image>,
    tail: Offset,
    is_json: bool,
    /// Its fate, once it is known.
    fate: Option<Fate>,
    /// The tail in the log. `None` until it is begun there.
    restored: Option<Offset>,
    producers: Vec<ProducerImage>,
    /// The offset of the first of the messages that wait.
    at: Offset,
    times: Vec<Timestamp>,
    messages: Vec<Bytes>,
    /// Bytes of the messages that wait.
    waiting: usize,
    /// The least offset of the next message.
    next: Offset,
    count: u64,
    bytes: u64,
    digest: Digest,
    most: usize,
}

impl Incoming {
    pub(super) fn new(
        log: &Arc<dyn Log>,
        name: StreamName,
        image: Image,
        (line, text): (u64, &Bytes),
        may_skip: bool,
        most: usize,
    ) -> Self {
        let mut digest = Digest::EMPTY;
        digest.add(text);
        let is_expired =
            matches!(image.settings.expiry, Some(Expiry::At(end)) if end <= Clock::system().now());
        Self {
            log: Arc::clone(log),
            name,
            line,
            may_skip,
            tail: image.tail().at,
            is_json: is_json(&image.settings.content_type),
            fate: is_expired.then_some(Fate::Expired),
            restored: None,
            producers: Vec::new(),
            at: image.floor,
            times: Vec::new(),
            messages: Vec::new(),
            waiting: 0,
            next: image.floor,
            count: 0,
            bytes: 0,
            digest,
            most: most.clamp(1, IMPORT_MESSAGES),
            image: Box::new(image),
        }
    }

    /// Returns the bytes of messages that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns `true` if nothing of the stream was written.
    pub(super) fn is_whole(&self) -> bool {
        self.restored.is_none()
    }

    pub(super) async fn put_producer(
        &mut self,
        producer: ProducerImage,
        text: &Bytes,
    ) -> Result<(), Failure> {
        if self.count > 0 {
            return Err(Failure::bad_request("a producer comes after a message"));
        }
        self.digest.add(text);
        self.producers.push(producer);
        match self.producers.len() < IMPORT_PRODUCERS {
            true => Ok(()),
            false => self.write().await,
        }
    }

    pub(super) async fn put_message(
        &mut self,
        line: &MessageLine<'_>,
        text: &Bytes,
    ) -> Result<(), Failure> {
        let offset = Offset::new(line.offset);
        if offset < self.next || offset >= self.tail || line.offset > Offset::MAX.number() {
            return Err(Failure::bad_request(format!(
                "the offset {} isn't from {} to {}",
                line.offset,
                self.next.number(),
                self.tail.number()
            )));
        }
        let (message, was_json) = line.message(text).map_err(Failure::bad_request)?;
        let message = match (self.is_json, was_json) {
            (true, true) => json::message(message)?,
            (true, false) => {
                return Err(Failure::bad_request("a message of a JSON stream is JSON"));
            }
            (false, _) => message,
        };
        self.digest.add(text);
        self.count += 1;
        self.bytes += message.len() as u64;
        if offset > self.next || self.messages.len() >= self.most || self.waiting >= IMPORT_BYTES {
            // A gap was trimmed at the source.
            self.write().await?;
            self.at = offset;
        }
        self.next = Offset::new(line.offset + 1);
        self.waiting += message.len();
        self.times.push(Timestamp(line.time));
        self.messages.push(message);
        Ok(())
    }

    /// Checks that the lines are those that were exported.
    pub(super) fn check(&self, end: &End<'_>) -> Result<(), Failure> {
        let found = (self.name.as_str(), self.count, self.bytes, self.digest);
        let expected = digest(&end.digest).map_err(Failure::bad_request)?;
        if found != (&*end.end, end.messages, end.bytes, expected) {
            return Err(Failure::bad_request(
                "lines of the stream are missing, or were changed since the export",
            ));
        }
        Ok(())
    }

    /// Begins the stream in the log, unless its fate is known.
    async fn begin(&mut self) -> Result<(), Failure> {
        if self.fate.is_some() || self.restored.is_some() {
            return Ok(());
        }
        match self.step(Restore::Begin(self.image.clone())).await {
            Ok(restored) if restored.complete => self.fate = Some(Fate::Unchanged),
            Ok(restored) => self.restored = Some(restored.tail),
            Err(error) if error.is_taken() || error.is_gone() => {
                if !self.may_skip {
                    let detail = format!(
                        "a stream named {:?} exists, and isn't this one or has another part of it: delete it, or skip streams that exist",
                        self.name.as_str()
                    );
                    return Err(Failure::conflict(detail).with("code", "stream_exists"));
                }
                self.fate = Some(Fate::Skipped);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn step(&self, step: Restore) -> Result<headwater_log::Restored, Error> {
        self.log.restore(&self.name, step).await
    }

    /// Writes what waits.
    async fn write(&mut self) -> Result<(), Failure> {
        self.begin().await?;
        let producers = std::mem::take(&mut self.producers);
        let mut messages = std::mem::take(&mut self.messages);
        let mut times = std::mem::take(&mut self.times);
        self.waiting = 0;
        let Some(restored) = self.restored else {
            return Ok(());
        };
        if !producers.is_empty() {
            self.step(Restore::Producers(producers)).await?;
        }
        // An earlier import has written some of the messages.
        let there = restored.number().saturating_sub(self.at.number());
        let there = usize::try_from(there).unwrap_or(usize::MAX);
        if there < messages.len() {
            messages.drain(..there);
            times.drain(..there);
            let at = self.at.max(restored);
            self.add(at, times, messages).await?;
        }
        Ok(())
    }

    async fn add(
        &mut self,
        at: Offset,
        times: Vec<Timestamp>,
        messages: Vec<Bytes>,
    ) -> Result<(), Failure> {
        let end = at.number() + messages.len() as u64;
        let step = Restore::Messages {
            at,
            times,
            messages,
        };
        let tail = self.step(step).await?.tail;
        self.restored = Some(tail);
        if tail.number() != end {
            let detail = format!(
                "another import writes the stream {:?} at the same time",
                self.name.as_str()
            );
            return Err(Failure::conflict(detail));
        }
        Ok(())
    }

    /// Writes the rest, and completes the stream.
    pub(super) async fn complete(mut self) -> Result<Fate, (u64, Failure)> {
        let line = self.line;
        self.finish().await.map_err(|failure| (line, failure))
    }

    async fn finish(&mut self) -> Result<Fate, Failure> {
        self.write().await?;
        if let Some(fate) = self.fate {
            return Ok(fate);
        }
        if self.restored.is_some_and(|restored| restored < self.tail) {
            // The last messages were trimmed at the source.
            self.add(self.tail, Vec::new(), Vec::new()).await?;
        }
        let done = self.step(Restore::End).await?;
        match done.complete {
            true => Ok(Fate::Imported),
            false => Err(Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the stream isn't complete after its last step",
            )),
        }
    }

    /// Removes what was written of a stream that was deleted at the source during its export.
    pub(super) async fn abandon(self) -> Result<(), Failure> {
        if self.restored.is_some() {
            self.log.delete(&self.name).await?;
        }
        Ok(())
    }
}
