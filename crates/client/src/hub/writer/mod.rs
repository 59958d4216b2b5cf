//! Appending to a stream, exactly once.

mod answer;
mod earlier;
mod gather;
mod worker;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use headwater_wire::{Limits, json};
use http::{Method, StatusCode, header};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::{
    earlier::Published,
    worker::{Command, Worker},
};
use super::{Info, Offset, Stream, names};
use crate::error::{Error, Kind};

/// How many bytes of messages a writer holds that are not acknowledged, with 64 more for each.
const ROOM: usize = 16 * 1024 * 1024;
/// The greatest epoch that the protocol has.
const MAX_EPOCH: u64 = (1 << 53) - 1;

/// The most appends of one writer from the oldest without an answer on: of so many of a producer's newest appends the hub can
/// tell a repetition from another append.
const MAX_IN_FLIGHT: usize = 32;

/// Who appends, as the hub sees it.
#[derive(Clone, Debug)]
enum Producer {
    /// Somebody who was never there before.
    New,
    /// This one, who takes over from whoever had the name before.
    Named(String),
    /// This one, who gives the same messages again, from the first.
    Repeating(String),
}

/// A writer to be opened: options first, then [`open`](Self::open).
#[must_use = "nothing is written before `open`"]
pub struct WriterOptions {
    stream: Stream,
    producer: Producer,
    create: bool,
    max_batch_bytes: usize,
    max_in_flight: usize,
    linger: Duration,
}

impl WriterOptions {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            producer: Producer::New,
            create: false,
            max_batch_bytes: 1024 * 1024,
            max_in_flight: 4,
            linger: Duration::ZERO,
        }
    }

    /// Writes as the producer of this id, 1 to 256 bytes of visible ASCII, and takes over from
    /// whoever wrote as it before: of an earlier life of this program nothing is stored any more,
    /// once the first message is acknowledged. Where it had got to, the caller knows.
    ///
    /// Default: an id that nobody had before.
    pub fn producer(mut self, id: impl Into<String>) -> Self {
        self.producer = Producer::Named(id.into());
        self
    }

    /// Writes as the producer of this id, where the caller gives the same messages in the same order every time it starts,
    /// from the first. So a program that reads a file can just be started again: what was published before, by whoever had
    /// this id, isn't sent again.
    ///
    /// [`open`](Self::open) asks the hub how many messages the producer has published, and for their digest. The writer takes
    /// as many off, and compares. They count as [acknowledged](Writer::acknowledged) and [skipped](Writer::skipped) when all of
    /// them were given and are the same; no earlier, so that a [`flush`](Writer::flush) before is an error
    /// ([`Error::is_not_repeated`]), as it is where other messages are given, or fewer. Nothing is stored then.
    ///
    /// What follows them is sent under a new epoch, on condition that the producer has published nothing else meanwhile. An
    /// earlier run that still writes is shut out by that ([`Error::is_fenced`]); of two that start at the same time, one is.
    ///
    /// It needs a hub of Headwater's: others don't say what a producer has published.
    pub fn repeating(mut self, id: impl Into<String>) -> Self {
        self.producer = Producer::Repeating(id.into());
        self
    }

    /// Creates the stream, for JSON, if there's none. Default: no.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How large the body of one request becomes, about, where more messages wait; a message that is
    /// larger goes alone. Default: 1 MiB. In a stream that isn't of JSON each message goes alone.
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.max_batch_bytes = bytes.max(1);
        self
    }

    /// How many requests may be on the way at a time, at least 1. Default: 4. The order of messages
    /// is kept in any case. More than 32 are 32: of so many a hub knows which ones it has.
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests.clamp(1, MAX_IN_FLIGHT);
        self
    }

    /// How long a message waits for others to share its request while it could be sent. Default:
    /// not at all; then messages are gathered only while all requests are on the way.
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// Asks for the stream, or creates it, and opens the writer.
    ///
    /// # Errors
    /// There's no answer; there's no such stream and none is to be created; it is closed. This is
    /// tried once, unless the client
    /// [says otherwise](crate::ClientBuilder::retry_first_connect).
    ///
    /// # Panics
    /// It isn't called in a tokio runtime.
    pub async fn open(self) -> Result<Writer, Error> {
        let (writer, worker) = self.prepare().await?;
        tokio::spawn(worker.run());
        Ok(writer)
    }

    /// The writer, and what does its work; that can run elsewhere, with other connections.
    pub(crate) async fn prepare(self) -> Result<(Writer, Worker), Error> {
        self.check()?;
        let info = self.find().await?;
        let published = self.published().await?;
        // What is there already may be all that is given.
        let may_be_done = published.is_some_and(|published| published.messages > 0);
        if info.closed && !may_be_done {
            let place = self.stream.plan(Method::POST).place();
            return Err(Error::new(Kind::StreamClosed).at(&place));
        }
        Ok(Worker::new(&self, &info, published))
    }

    fn check(&self) -> Result<(), Error> {
        if let Producer::Named(id) | Producer::Repeating(id) = &self.producer
            && (id.is_empty() || id.len() > 256 || !id.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Error::request(
                "a producer id is 1 to 256 bytes of visible ASCII",
            ));
        }
        Ok(())
    }

    async fn find(&self) -> Result<Info, Error> {
        if self.create {
            let mut plan = self.stream.plan(Method::PUT);
            plan.default_header(header::CONTENT_TYPE, "application/json");
            let plan = plan.checked()?;
            let reply = worker::patiently(&self.stream, &plan).await?;
            // Of other settings, but there: that is enough.
            if reply.status != StatusCode::CONFLICT {
                return match reply.status.is_success() {
                    true => Ok(Info::of(&reply.headers)),
                    false => Err(reply.error().at(&plan.place())),
                };
            }
        }
        let plan = self.stream.plan(Method::HEAD).checked()?;
        let reply = worker::patiently(&self.stream, &plan).await?;
        match reply.status.is_success() {
            true => Ok(Info::of(&reply.headers)),
            false => Err(reply.error().at(&plan.place())),
        }
    }

    /// What a producer that repeats itself has published before.
    async fn published(&self) -> Result<Option<Published>, Error> {
        let Producer::Repeating(id) = &self.producer else {
            return Ok(None);
        };
        let mut plan = self.stream.plan(Method::HEAD);
        plan.header(names::PRODUCER_ID, id);
        let plan = plan.checked()?;
        let reply = worker::patiently(&self.stream, &plan).await?;
        if !reply.status.is_success() {
            return Err(reply.error().at(&plan.place()));
        }
        let published = Published::of(&reply).map_err(|error| error.at(&plan.place()))?;
        Ok(Some(published))
    }

    /// The producer's id and the epoch to start with.
    fn identity(&self, published: Option<Published>) -> (String, u64) {
        match &self.producer {
            Producer::New => (format!("w-{:032x}", fastrand::u128(..)), 0),
            Producer::Named(id) => (id.clone(), epoch_of_now()),
            Producer::Repeating(id) => {
                let current = published.and_then(|published| published.epoch);
                // Two that start at the same time take different ones.
                (id.clone(), epoch_after(current.unwrap_or(0)))
            }
        }
    }
}

impl fmt::Debug for WriterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriterOptions")
            .field("stream", &self.stream)
            .field("producer", &self.producer)
            .finish_non_exhaustive()
    }
}

/// An epoch that is later than those of earlier lives, and that no other life has: that it is one
/// that the hub knows would make the first append look like one that is there already. Milliseconds,
/// and ten random bits, reach to the year 2248.
fn epoch_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    let epoch = millis.saturating_mul(1024) + fastrand::u64(0..1024);
    epoch.min(MAX_EPOCH)
}

/// An epoch after this one, that hardly anybody else takes.
fn epoch_after(current: u64) -> u64 {
    current
        .saturating_add(fastrand::u64(1..=1024))
        .min(MAX_EPOCH)
}

/// What a writer and its worker share.
#[derive(Debug)]
struct Shared {
    acknowledged: AtomicU64,
    skipped: AtomicU64,
    next: Mutex<Option<Offset>>,
    error: Mutex<Option<Error>>,
    /// How much more the writer may take: one for each byte.
    room: Semaphore,
    capacity: usize,
}

impl Shared {
    /// Why the worker has ended; to whoever asks first.
    fn error(&self) -> Error {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.take().unwrap_or_else(|| Error::new(Kind::WriterOver))
    }
}

/// Appends messages to a stream: each once, in the order in which they are given, whatever happens
/// on the way.
///
/// A message is sent as soon as a request is free, together with all that wait by then. A request
/// that gets no answer, or one of 5xx or 429, is sent again, with backoff
/// ([`max_attempts`](crate::ClientBuilder::max_attempts) times in a row); the hub knows what it has
/// stored already.
///
/// [`append`](Self::append) takes the message and returns; it waits only while too much is on the
/// way (16 MiB). [`flush`](Self::flush) waits until all that was given is acknowledged. A writer that
/// is dropped sends what it has as long as its runtime runs, and nobody hears how that went.
///
/// **After an error** the writer is over: the first call after it gives it, the others say that it
/// was given. [`Error::message_number`] says which message it is about. What is
/// [acknowledged](Self::acknowledged) then is all that is stored where the hub has refused the message; where it gave no answer,
/// more can be, and that is all of it up to some message.
///
/// A writer can be shared: all methods but [`close_stream`](Self::close_stream) take `&self`.
pub struct Writer {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
    json: bool,
    content_type: String,
    place: String,
}

impl Writer {
    /// Appends a message to a stream of JSON.
    ///
    /// Cancel-safe: if the future is dropped before it is done, the message isn't taken.
    ///
    /// # Errors
    /// The message can't be serialised, or has a float that isn't finite; or the stream isn't of JSON; the writer goes on. Or an earlier
    /// message could not be stored.
    pub async fn append<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), Error> {
        if !self.json {
            return Err(self.refuse(format!(
                "the stream is of type {}, not JSON: append_raw takes its messages",
                self.content_type
            )));
        }
        let mut text = Vec::new();
        json::encode_on_one_line(message, &mut text).map_err(|error| {
            Error::request("the message can't be serialised as JSON")
                .with_source(error)
                .at(&self.place)
        })?;
        self.give(text.into()).await
    }

    /// Appends a message as it is: the text of one JSON value (a byte order mark before it is left out), or in a stream of another type any
    /// bytes but none.
    ///
    /// Cancel-safe: if the future is dropped before it is done, the message isn't taken.
    ///
    /// # Errors
    /// The message isn't JSON where it must be, or is empty; the writer goes on. Or an earlier message
    /// could not be stored.
    pub async fn append_raw(&self, message: impl Into<Bytes>) -> Result<(), Error> {
        let mut message = message.into();
        if self.json {
            message = message.slice_ref(json::without_bom(&message));
            json::check(&message, Limits::DEFAULT_MAX_DEPTH)
                .map_err(|error| Error::new(Kind::MessageNotJson(error)).at(&self.place))?;
            // As the hub stores it.
            let message = json::on_one_line(message);
            return self.give(message.slice_ref(message.trim_ascii())).await;
        }
        if message.is_empty() {
            return Err(self.refuse("a message has at least one byte".to_owned()));
        }
        self.give(message).await
    }

    async fn give(&self, message: Bytes) -> Result<(), Error> {
        let cost = gather::cost(&message).min(self.shared.capacity);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let Ok(room) = self.shared.room.acquire_many(cost).await else {
            return Err(self.shared.error());
        };
        // The worker makes the room again when the message is acknowledged.
        room.forget();
        self.command(Command::Message(message))
    }

    fn command(&self, command: Command) -> Result<(), Error> {
        let sent = self.commands.send(command);
        sent.map_err(|_| self.shared.error())
    }

    fn refuse(&self, what: String) -> Error {
        Error::request(what).at(&self.place)
    }

    /// Waits until all messages that were given before are acknowledged.
    ///
    /// # Errors
    /// A message could not be stored.
    pub async fn flush(&self) -> Result<(), Error> {
        let (done, wait) = oneshot::channel();
        self.command(Command::Flush(done))?;
        wait.await.map_err(|_| self.shared.error())
    }

    /// Waits until a message could not be stored, and gives that error: for a program that waits for its next message for long.
    /// It waits for ever where all is stored. Cancel-safe.
    pub async fn failed(&self) -> Error {
        self.commands.closed().await;
        self.shared.error()
    }

    /// Closes the stream with the last message that was given, and waits until that is acknowledged.
    ///
    /// # Errors
    /// A message could not be stored, or the stream not be closed.
    pub async fn close_stream(self) -> Result<(), Error> {
        let (done, wait) = oneshot::channel();
        self.command(Command::Close(done))?;
        wait.await.map_err(|_| self.shared.error())
    }

    /// How many messages are acknowledged, from the first on: those that were there already
    /// included.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Acquire)
    }

    /// How many messages were there already, from an earlier life of a [repeating](WriterOptions::repeating) producer: none
    /// before all of these were given again.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.shared.skipped.load(Ordering::Acquire)
    }

    /// The stream's end after the last acknowledged request; `None` before the first.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        let next = self.shared.next.lock();
        next.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the stream's messages are JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Writer({}, {} so far)", self.place, self.acknowledged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_of_now_is_one_that_the_protocol_has_for_a_long_time() {
        let epoch = epoch_of_now();
        assert!(epoch < MAX_EPOCH / 4 * 3, "{epoch}");
        assert_eq!(epoch_after(MAX_EPOCH), MAX_EPOCH);
        assert!(epoch_after(5) > 5);
    }
}
