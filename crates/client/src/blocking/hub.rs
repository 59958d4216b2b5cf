//! Streams of a hub for code that isn't async: the names and the behaviour of [`crate::hub`].
//!
//! ```no_run
//! # fn main() -> Result<(), headwater_client::Error> {
//! let orders = headwater_client::blocking::stream("http://127.0.0.1:8000/streams/orders");
//! let writer = orders.writer().create(true).open()?;
//! writer.append("tea")?;
//! writer.flush()?;
//! for message in orders.reader().open::<String>()? {
//!     println!("{}", message?.value);
//! }
//! # Ok(())
//! # }
//! ```

use std::{sync::Arc, thread, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Engine, Runtime, items::waiting};
pub use crate::hub::{Info, Message, Offset, ReadFrom};
use crate::{Token, error::Error, hub, plan::Settings};

/// A stream of a hub: see [`crate::hub::Stream`]. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Stream {
    /// `None` if it couldn't be created; the stream then has the error.
    engine: Option<Engine>,
    stream: hub::Stream,
}

impl Stream {
    pub(super) fn new(engine: Result<Engine, Error>, settings: Settings, url: &str) -> Self {
        let http = engine.as_ref().map(|engine| engine.http.clone());
        let http = http.map_err(|error| Error::request(error.to_string()));
        Self {
            engine: engine.ok(),
            stream: hub::Stream::new(http, settings, url),
        }
    }

    /// The URL as passed in.
    #[must_use]
    pub fn url(&self) -> &str {
        self.stream.url()
    }

    /// Sends the token of this source with all requests to the stream, in place of the client's:
    /// see [`crate::hub::Stream::token`].
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.stream = self.stream.token(token);
        self
    }

    /// Starts the creation of the stream.
    pub fn create(&self) -> Create {
        Create {
            engine: self.engine.clone(),
            create: self.stream.create(),
        }
    }

    /// Requests the stream's metadata: see [`crate::hub::Stream::info`].
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn info(&self) -> Result<Info, Error> {
        engine(self.engine.as_ref())?
            .runtime
            .start(self.stream.info())
    }

    /// Deletes the stream with all its messages.
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn delete(&self) -> Result<(), Error> {
        engine(self.engine.as_ref())?
            .runtime
            .start(self.stream.delete())
    }

    /// Closes the stream: see [`crate::hub::Stream::close`].
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn close(&self) -> Result<Offset, Error> {
        engine(self.engine.as_ref())?
            .runtime
            .start(self.stream.close())
    }

    /// Starts a writer of the stream.
    pub fn writer(&self) -> WriterOptions {
        WriterOptions {
            engine: self.engine.clone(),
            options: self.stream.writer(),
        }
    }

    /// Starts a reader of the stream.
    pub fn reader(&self) -> ReaderOptions {
        ReaderOptions {
            engine: self.engine.clone(),
            options: self.stream.reader(),
        }
    }
}

/// The parts that run the requests, or an error if they couldn't be created.
fn engine(engine: Option<&Engine>) -> Result<&Engine, Error> {
    engine.ok_or_else(|| Error::request("there is no client"))
}

/// Defines methods that set one option, each as the async method of the same name does.
macro_rules! options {
    ($inner:ident: $($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $($arg: $type),*) -> Self {
            self.$inner = self.$inner.$name($($arg),*);
            self
        }
    )*};
}

/// The options of a new stream: see [`crate::hub::Create`].
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Create {
    engine: Option<Engine>,
    create: hub::Create,
}

impl Create {
    options! { create:
        /// Sets the content type of the messages. Default: `application/json`, or for a fork that
        /// of its source.
        content_type(content_type: &str);
        /// Expires the stream after this time without a read or write, in whole seconds.
        ttl(span: Duration);
        /// Expires the stream at this time (RFC 3339).
        expires_at(time: &str);
        /// Trims messages older than this, in whole seconds.
        max_age(age: Duration);
        /// Trims the oldest messages when all messages exceed this many bytes.
        max_bytes(bytes: u64);
        /// Validates every message against this JSON Schema, passed as its JSON text.
        schema(json: &str);
        /// Creates the stream as a fork of another stream on the same hub, named by the path of its
        /// URL.
        fork_of(path: &str);
        /// Forks at this offset. Default: the source's tail.
        fork_at(offset: &Offset);
    }

    /// Creates the stream. Returns `true` if it is new: see [`crate::hub::Create::send`].
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn send(self) -> Result<bool, Error> {
        engine(self.engine.as_ref())?
            .runtime
            .start(self.create.send())
    }
}

/// The options of a [`Writer`]: see [`crate::hub::WriterOptions`].
#[derive(Debug)]
#[must_use = "nothing is written before `open`"]
pub struct WriterOptions {
    engine: Option<Engine>,
    options: hub::WriterOptions,
}

impl WriterOptions {
    options! { options:
        /// Writes as this producer, and fences earlier writers with its id: see
        /// [`crate::hub::WriterOptions::producer`].
        producer(id: impl Into<String>);
        /// Writes as this producer, for a caller that passes the same messages again, from the
        /// first: see [`crate::hub::WriterOptions::repeating`].
        repeating(id: impl Into<String>);
        /// If `true`, creates the stream, for JSON, if it doesn't exist. Default: `false`.
        create(create: bool);
        /// Sets the approximate maximum size of a request's body. Default: 1 MiB.
        max_batch_bytes(bytes: usize);
        /// Sets the maximum number of requests in flight. Default: 4.
        max_in_flight(requests: usize);
        /// Sets how long a message waits for others while it could be sent. Default: zero.
        linger(time: Duration);
    }

    /// Looks up the stream, or creates it, and opens the writer. The writer works on its own
    /// thread, with its own connections.
    ///
    /// # Errors
    /// As the async method of the same name; or the thread can't be started.
    pub fn open(self) -> Result<Writer, Error> {
        let engine = engine(self.engine.as_ref())?.clone();
        let (writer, worker) = engine.runtime.start(self.options.prepare())?;
        let runtime = Runtime::new()?;
        let worker = worker.over(engine.parts.again()?);
        thread::Builder::new()
            .name("headwater-writer".to_owned())
            .spawn(move || runtime.block_on(worker.run()))
            .map_err(|error| {
                Error::request("the writer's thread can't be started").with_source(error)
            })?;
        Ok(Writer {
            runtime: engine.runtime,
            writer,
        })
    }
}

/// A writer that appends messages to a stream, each once and in order: see [`crate::hub::Writer`].
///
/// A dropped writer still sends its queued messages while the process runs, but can't report the
/// result.
#[derive(Debug)]
pub struct Writer {
    runtime: Arc<Runtime>,
    writer: hub::Writer,
}

impl Writer {
    /// Appends a message to a stream of JSON: see [`crate::hub::Writer::append`].
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn append<T: Serialize + ?Sized>(&self, message: &T) -> Result<(), Error> {
        self.runtime.block_on(self.writer.append(message))
    }

    /// Appends a message as it is: see [`crate::hub::Writer::append_raw`].
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn append_raw(&self, message: impl Into<Bytes>) -> Result<(), Error> {
        self.runtime.block_on(self.writer.append_raw(message))
    }

    /// Waits until all messages that were appended before are acknowledged.
    ///
    /// # Errors
    /// A message could not be stored.
    pub fn flush(&self) -> Result<(), Error> {
        self.runtime.block_on(self.writer.flush())
    }

    /// Waits until a message could not be stored, and returns that error: see
    /// [`crate::hub::Writer::failed`].
    #[must_use]
    pub fn failed(&self) -> Error {
        self.runtime.block_on(self.writer.failed())
    }

    /// Closes the stream with the last appended message, and waits until that is acknowledged.
    ///
    /// # Errors
    /// A message could not be stored, or the stream could not be closed.
    pub fn close_stream(self) -> Result<(), Error> {
        self.runtime.block_on(self.writer.close_stream())
    }

    /// The number of acknowledged messages: see [`crate::hub::Writer::acknowledged`].
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.writer.acknowledged()
    }

    /// The number of messages that were already published: see [`crate::hub::Writer::skipped`].
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.writer.skipped()
    }

    /// The stream's tail after the last acknowledged request; `None` before the first.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        self.writer.next_offset()
    }

    /// Returns `true` if the stream's messages are JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.writer.is_json()
    }
}

/// The options of a [`Reader`]: see [`crate::hub::ReaderOptions`].
#[derive(Debug)]
#[must_use = "nothing is read before `open`"]
pub struct ReaderOptions {
    engine: Option<Engine>,
    options: hub::ReaderOptions,
}

impl ReaderOptions {
    options! { options:
        /// Sets the start of the read. Default: the first message that still exists.
        from(from: impl Into<ReadFrom>);
        /// If `true`, the reader follows the stream until it is closed. If `false`, it ends at the
        /// tail. Default: `true`.
        live(live: bool);
    }

    /// Opens a reader of JSON messages.
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn open<T: DeserializeOwned>(self) -> Result<Reader<T>, Error> {
        let engine = engine(self.engine.as_ref())?.clone();
        let reader = engine.runtime.start(self.options.open())?;
        Ok(Reader::new(reader, engine.runtime))
    }

    /// Opens a reader of messages as bytes: see [`crate::hub::ReaderOptions::open_raw`].
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn open_raw(self) -> Result<Reader<Bytes>, Error> {
        let engine = engine(self.engine.as_ref())?.clone();
        let reader = engine.runtime.start(self.options.open_raw())?;
        Ok(Reader::new(reader, engine.runtime))
    }
}

/// The messages of a stream: see [`crate::hub::Reader`]. The iterator waits for the next message.
pub struct Reader<T> {
    reader: hub::Reader<T>,
    runtime: Arc<Runtime>,
}

impl<T> Reader<T> {
    fn new(reader: hub::Reader<T>, runtime: Arc<Runtime>) -> Self {
        Self { reader, runtime }
    }

    /// The offset from which a later reader continues: see [`crate::hub::Reader::position`].
    #[must_use]
    pub fn position(&self) -> &Offset {
        self.reader.position()
    }
}

waiting!(Reader.reader -> Message<T>);
