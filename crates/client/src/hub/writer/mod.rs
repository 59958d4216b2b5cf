//! Exactly-once appends to a stream.

mod answer;
mod batcher;
mod published;
mod worker;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use headwater_wire::{Limits, json};
use http::{Method, StatusCode, header};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot};

use self::{
    published::Published,
    worker::{Command, Worker},
};
use super::{Info, Offset, Stream, names};
use crate::error::{Error, Kind};

/// Bytes of unacknowledged messages that a writer holds, with 64 more for each message.
const ROOM: usize = 16 * 1024 * 1024;
/// The largest epoch of the protocol.
const MAX_EPOCH: u64 = (1 << 53) - 1;

/// The most appends of one writer from the oldest unacknowledged one on. The hub remembers this
/// many of a producer's newest appends, and can recognise only those as repeated.
const MAX_IN_FLIGHT: usize = 32;

/// The producer as which a writer appends.
#[derive(Clone, Debug)]
enum Producer {
    /// A producer with a new, random id.
    New,
    /// A producer that fences earlier writers with its id.
    Named(String),
    /// A producer that is given the same messages again, from the first.
    Repeating(String),
}

/// The options of a [`Writer`]: set them first, then call [`open`](Self::open).
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

    headwater_wire::setters! {
        /// Writes as the producer with this id, 1 to 256 bytes of visible ASCII, and fences earlier
        /// writers with the same id: once the first message is acknowledged, no append of an earlier
        /// run of this program can be stored any more. The caller has to know where to continue.
        ///
        /// Default: a new id.
        producer(id: impl Into<String>) => producer = Producer::Named(id.into());
        /// Writes as the producer with this id, for a caller that passes the same messages in the same
        /// order at every start, from the first. A program that reads a file can therefore simply be
        /// started again: messages that a producer with this id has already published aren't sent
        /// again.
        ///
        /// [`open`](Self::open) requests from the hub the number of messages that the producer has
        /// published, and their digest. The writer compares as many of the caller's messages. Once all
        /// of them were passed and match, they count as [acknowledged](Writer::acknowledged) and
        /// [skipped](Writer::skipped). Before that, a [`flush`](Writer::flush) is an error
        /// ([`Error::is_not_repeated`]), and so are other or fewer messages. Nothing is stored then.
        ///
        /// Later messages are sent under a new epoch, on the condition that the producer has published
        /// nothing else meanwhile. This fences an earlier run that is still writing
        /// ([`Error::is_fenced`]). Of two runs that start at the same time, one is fenced.
        ///
        /// This option needs a Headwater hub: other servers don't report what a producer has published.
        repeating(id: impl Into<String>) => producer = Producer::Repeating(id.into());
        /// If `true`, creates the stream, for JSON, if it doesn't exist. Default: `false`.
        create(create: bool) => create = create;
        /// Sets the approximate maximum size of a request's body. A larger message is sent alone.
        /// Default: 1 MiB. In a stream that isn't JSON, each message is sent alone.
        max_batch_bytes(bytes: usize) => max_batch_bytes = bytes.max(1);
        /// Sets the maximum number of requests in flight, at least 1. Default: 4. Messages stay in
        /// order in any case. The maximum is 32, the number of appends that a hub remembers.
        max_in_flight(requests: usize) => max_in_flight = requests.clamp(1, MAX_IN_FLIGHT);
        /// Sets how long a message waits for others to share its request while it could be sent.
        /// Default: zero; messages are then batched only while all requests are in flight.
        linger(time: Duration) => linger = time;
    }

    /// Looks up the stream, or creates it, and opens the writer.
    ///
    /// # Errors
    /// There is no response; the stream doesn't exist and is not to be created; it is closed. Each
    /// request is tried once, unless the client [retries
    /// it](crate::ClientBuilder::retry_first_connect). A response of 502, 503 or 504 is retried.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub async fn open(self) -> Result<Writer, Error> {
        let (writer, worker) = self.prepare().await?;
        tokio::spawn(worker.run());
        Ok(writer)
    }

    /// Creates the writer and its worker, which can run elsewhere, with other connections.
    pub(crate) async fn prepare(self) -> Result<(Writer, Worker), Error> {
        self.check()?;
        let info = self.find().await?;
        let published = self.published().await?;
        // All messages to come may already be published.
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
            let reply = self.stream.patiently(&plan, true).await?;
            // The stream exists, with other settings: that is enough.
            if reply.status != StatusCode::CONFLICT {
                return match reply.status.is_success() {
                    true => Ok(Info::of(&reply.headers)),
                    false => Err(reply.error().at(&plan.place())),
                };
            }
        }
        let plan = self.stream.plan(Method::HEAD).checked()?;
        let reply = self.stream.patiently(&plan, true).await?;
        match reply.status.is_success() {
            true => Ok(Info::of(&reply.headers)),
            false => Err(reply.error().at(&plan.place())),
        }
    }

    /// Requests what a repeating producer has published before.
    async fn published(&self) -> Result<Option<Published>, Error> {
        let Producer::Repeating(id) = &self.producer else {
            return Ok(None);
        };
        let mut plan = self.stream.plan(Method::HEAD);
        plan.header(names::PRODUCER_ID, id);
        let plan = plan.checked()?;
        let reply = self.stream.patiently(&plan, true).await?;
        if !reply.status.is_success() {
            return Err(reply.error().at(&plan.place()));
        }
        let published = Published::of(&reply).map_err(|error| error.at(&plan.place()))?;
        Ok(Some(published))
    }

    /// Returns the producer's id and its first epoch.
    fn identity(&self, published: Option<Published>) -> (String, u64) {
        match &self.producer {
            Producer::New => (format!("w-{:032x}", fastrand::u128(..)), 0),
            Producer::Named(id) => (id.clone(), epoch_of_now()),
            Producer::Repeating(id) => {
                let current = published.and_then(|published| published.epoch);
                // Two writers that start at the same time choose different epochs.
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

/// An epoch that is higher than those of earlier runs and differs from every other run's. If the
/// hub knew it already, the first append would look like a repeated one. Milliseconds and ten
/// random bits last until the year 2248.
fn epoch_of_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    let epoch = millis.saturating_mul(1024) + fastrand::u64(0..1024);
    epoch.min(MAX_EPOCH)
}

/// An epoch after this one, which another writer is unlikely to choose.
fn epoch_after(current: u64) -> u64 {
    current
        .saturating_add(fastrand::u64(1..=1024))
        .min(MAX_EPOCH)
}

/// The state that a writer and its worker share.
#[derive(Debug)]
struct Shared {
    acknowledged: AtomicU64,
    skipped: AtomicU64,
    next: Mutex<Option<Offset>>,
    error: Mutex<Option<Error>>,
    /// The remaining capacity of the writer, one permit for each byte.
    room: Semaphore,
    capacity: usize,
}

impl Shared {
    /// Returns the worker's error to the first caller, and [`Kind::WriterOver`] to later ones.
    fn error(&self) -> Error {
        let error = self.error.lock().take();
        error.unwrap_or_else(|| Error::new(Kind::WriterOver))
    }
}

/// A writer that appends messages to a stream: each once, and in the order in which they are
/// passed, across broken connections.
///
/// A message is sent as soon as a request slot is free, together with all messages that wait by
/// then. A request without a response, or with a 5xx or 429, is sent again with backoff
/// ([`max_attempts`](crate::ClientBuilder::max_attempts) times in a row). The hub recognises
/// messages that it has already stored.
///
/// [`append`](Self::append) queues the message and returns; it waits only while 16 MiB are
/// unacknowledged. [`flush`](Self::flush) waits until all queued messages are acknowledged. A
/// dropped writer still sends its queued messages while its runtime runs, but can't report the
/// result.
///
/// **After an error** the writer is over: the next call returns the error, and later calls only
/// that it was already returned. [`Error::message_number`] identifies the message. If the hub
/// refused the message, exactly the [acknowledged](Self::acknowledged) messages are stored. If the
/// hub didn't respond, more messages may be stored, always without a gap.
///
/// A writer can be shared: all methods but [`close_stream`](Self::close_stream) borrow it as
/// `&self`.
///
/// ```no_run
/// # async fn run() -> Result<(), headwater_client::Error> {
/// let orders = headwater_client::stream("http://127.0.0.1:8000/streams/orders");
/// let writer = orders.writer().create(true).open().await?;
/// for n in 0..1000 {
///     writer.append(&serde_json::json!({ "n": n })).await?;
/// }
/// writer.flush().await?;
/// assert_eq!(writer.acknowledged(), 1000);
/// # Ok(())
/// # }
/// ```
pub struct Writer {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
    json: bool,
    content_type: String,
    place: String,
}

impl Writer {
    /// Appends a message to a JSON stream.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped before it completes, the message isn't
    /// appended.
    ///
    /// # Errors
    /// The message can't be serialised or has a float that isn't finite, or the stream isn't JSON;
    /// the writer remains usable. Or an earlier message could not be stored.
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

    /// Appends a message as it is: in a JSON stream the text of one JSON value (a leading byte
    /// order mark is removed), in another stream any bytes, at least one.
    ///
    /// # Cancel safety
    /// This method is cancel-safe: if the future is dropped before it completes, the message isn't
    /// appended.
    ///
    /// # Errors
    /// The message isn't JSON in a JSON stream, or is empty; the writer remains usable. Or an
    /// earlier message could not be stored.
    pub async fn append_raw(&self, message: impl Into<Bytes>) -> Result<(), Error> {
        let mut message = message.into();
        if self.json {
            message = message.slice_ref(json::without_bom(&message));
            json::check(&message, Limits::DEFAULT_MAX_DEPTH)
                .map_err(|error| Error::new(Kind::MessageNotJson(error)).at(&self.place))?;
            // The form in which the hub stores it.
            let message = json::on_one_line(message);
            return self.give(message.slice_ref(message.trim_ascii())).await;
        }
        if message.is_empty() {
            return Err(self.refuse("a message has at least one byte".to_owned()));
        }
        self.give(message).await
    }

    async fn give(&self, message: Bytes) -> Result<(), Error> {
        let cost = batcher::cost(&message).min(self.shared.capacity);
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        let Ok(room) = self.shared.room.acquire_many(cost).await else {
            return Err(self.shared.error());
        };
        // The worker returns these permits when the message is acknowledged.
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

    /// Waits until all messages that were appended before are acknowledged.
    ///
    /// # Errors
    /// A message could not be stored.
    pub async fn flush(&self) -> Result<(), Error> {
        let (done, wait) = oneshot::channel();
        self.command(Command::Flush(done))?;
        wait.await.map_err(|_| self.shared.error())
    }

    /// Waits until a message could not be stored, and returns that error, for a program that waits
    /// a long time for its next message. It never completes while all messages are stored.
    ///
    /// # Cancel safety
    /// This method is cancel-safe.
    pub async fn failed(&self) -> Error {
        self.commands.closed().await;
        self.shared.error()
    }

    /// Closes the stream with the last appended message, and waits until that is acknowledged.
    ///
    /// # Errors
    /// A message could not be stored, or the stream could not be closed.
    pub async fn close_stream(self) -> Result<(), Error> {
        let (done, wait) = oneshot::channel();
        self.command(Command::Close(done))?;
        wait.await.map_err(|_| self.shared.error())
    }

    /// The number of acknowledged messages, without a gap from the first, including skipped ones.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Acquire)
    }

    /// The number of messages that a [repeating](WriterOptions::repeating) producer had already
    /// published in an earlier run. It stays 0 until all of these were passed again.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.shared.skipped.load(Ordering::Acquire)
    }

    /// The stream's tail after the last acknowledged request; `None` before the first.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        self.shared.next.lock().clone()
    }

    /// Returns `true` if the stream's messages are JSON.
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
    fn an_epoch_of_now_stays_within_the_protocols_range() {
        let epoch = epoch_of_now();
        assert!(epoch < MAX_EPOCH / 4 * 3, "{epoch}");
        assert_eq!(epoch_after(MAX_EPOCH), MAX_EPOCH);
        assert!(epoch_after(5) > 5);
    }
}
