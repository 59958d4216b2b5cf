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

use std::{fmt, sync::Arc, thread, time::Duration};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Engine, Runtime};
pub use crate::hub::{Info, Message, Offset, ReadFrom};
use crate::{error::Error, hub, plan::Settings};

/// A stream of a hub: see [`crate::hub::Stream`]. Cloning it is cheap.
#[derive(Clone)]
pub struct Stream {
    /// None if it couldn't be made; then the stream has the error.
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

    /// The URL, as it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        self.stream.url()
    }

    /// Starts to create the stream.
    pub fn create(&self) -> Create {
        Create {
            engine: self.engine.clone(),
            create: self.stream.create(),
        }
    }

    /// What is known of the stream: see [`crate::hub::Stream::info`].
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn info(&self) -> Result<Info, Error> {
        engine(self.engine.as_ref())?
            .runtime
            .start(self.stream.info())
    }

    /// Deletes the stream and all that it holds.
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

    /// Starts to write to the stream.
    pub fn writer(&self) -> WriterOptions {
        WriterOptions {
            engine: self.engine.clone(),
            options: self.stream.writer(),
        }
    }

    /// Starts to read the stream.
    pub fn reader(&self) -> ReaderOptions {
        ReaderOptions {
            engine: self.engine.clone(),
            options: self.stream.reader(),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stream.fmt(f)
    }
}

/// What runs the requests. Without one the first step says why.
fn engine(engine: Option<&Engine>) -> Result<&Engine, Error> {
    engine.ok_or_else(|| Error::request("there is no client"))
}

/// Each gives the options with one thing changed, as the async method of the same name does.
macro_rules! options {
    ($inner:ident: $($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*);)*) => {$(
        $(#[$doc])*
        pub fn $name(mut self, $($arg: $type),*) -> Self {
            self.$inner = self.$inner.$name($($arg),*);
            self
        }
    )*};
}

/// A stream to be created: see [`crate::hub::Create`].
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Create {
    engine: Option<Engine>,
    create: hub::Create,
}

impl Create {
    options! { create:
        /// Sets what the messages are. Default: `application/json`; a fork has its source's.
        content_type(content_type: &str);
        /// Ends the stream when it is neither read nor written for so long, in whole seconds.
        ttl(span: Duration);
        /// Ends the stream at this time (RFC 3339).
        expires_at(time: &str);
        /// Lets messages go when they are so old, in whole seconds.
        max_age(age: Duration);
        /// Lets the oldest messages go when all are more bytes than this.
        max_bytes(bytes: u64);
        /// Has every message checked against this JSON Schema, given as its JSON text.
        schema(json: &str);
        /// Makes the stream a fork of another on the same hub, named by the path of its URL.
        fork_of(path: &str);
        /// Forks at this offset. Default: the source's tail.
        fork_at(offset: &Offset);
    }

    /// Creates the stream; whether it is new: see [`crate::hub::Create::send`].
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn send(self) -> Result<bool, Error> {
        engine(self.engine.as_ref())?
            .runtime
            .start(self.create.send())
    }
}

/// A writer to be opened: see [`crate::hub::WriterOptions`].
#[derive(Debug)]
#[must_use = "nothing is written before `open`"]
pub struct WriterOptions {
    engine: Option<Engine>,
    options: hub::WriterOptions,
}

impl WriterOptions {
    options! { options:
        /// Writes as this producer, who takes over from whoever wrote as it before: see
        /// [`crate::hub::WriterOptions::producer`].
        producer(id: impl Into<String>);
        /// Writes as this producer, who gives the same messages again, from the first: see
        /// [`crate::hub::WriterOptions::repeating`].
        repeating(id: impl Into<String>);
        /// Creates the stream, for JSON, if there's none. Default: no.
        create(create: bool);
        /// How large the body of one request becomes, about. Default: 1 MiB.
        max_batch_bytes(bytes: usize);
        /// How many requests may be on the way at a time. Default: 4.
        max_in_flight(requests: usize);
        /// How long a message waits for others while it could be sent. Default: not at all.
        linger(time: Duration);
    }

    /// Asks for the stream, or creates it, and opens the writer. It works on a thread of its own,
    /// with connections of its own.
    ///
    /// # Errors
    /// As the async method of the same name; or the system gives no thread.
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

/// Appends messages to a stream, each once and in order: see [`crate::hub::Writer`].
///
/// One that is dropped sends what it has as long as the process runs, and nobody hears how that went.
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

    /// Waits until all messages that were given before are acknowledged.
    ///
    /// # Errors
    /// A message could not be stored.
    pub fn flush(&self) -> Result<(), Error> {
        self.runtime.block_on(self.writer.flush())
    }

    /// Waits until a message could not be stored, and gives that error: see [`crate::hub::Writer::failed`].
    #[must_use]
    pub fn failed(&self) -> Error {
        self.runtime.block_on(self.writer.failed())
    }

    /// Closes the stream with the last message that was given, and waits until that is acknowledged.
    ///
    /// # Errors
    /// A message could not be stored, or the stream not be closed.
    pub fn close_stream(self) -> Result<(), Error> {
        self.runtime.block_on(self.writer.close_stream())
    }

    /// How many messages are acknowledged: see [`crate::hub::Writer::acknowledged`].
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.writer.acknowledged()
    }

    /// How many messages were there already: see [`crate::hub::Writer::skipped`].
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.writer.skipped()
    }

    /// The stream's end after the last acknowledged request; `None` before the first.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        self.writer.next_offset()
    }

    /// Whether the stream's messages are JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.writer.is_json()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.writer.fmt(f)
    }
}

/// A reader to be opened: see [`crate::hub::ReaderOptions`].
#[derive(Debug)]
#[must_use = "nothing is read before `open`"]
pub struct ReaderOptions {
    engine: Option<Engine>,
    options: hub::ReaderOptions,
}

impl ReaderOptions {
    options! { options:
        /// Where to start. Default: with the first message that is still there.
        from(from: impl Into<ReadFrom>);
        /// Whether to follow the stream until it is closed, and not to end at its tail. Default: yes.
        live(live: bool);
    }

    /// Opens a reader of messages that are JSON.
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn open<T: DeserializeOwned>(self) -> Result<Reader<T>, Error> {
        let engine = engine(self.engine.as_ref())?.clone();
        let reader = engine.runtime.start(self.options.open())?;
        Ok(Reader::new(reader, engine.runtime))
    }

    /// Opens a reader of messages as the bytes that they are: see
    /// [`crate::hub::ReaderOptions::open_raw`].
    ///
    /// # Errors
    /// As the async method of the same name.
    pub fn open_raw(self) -> Result<Reader<Bytes>, Error> {
        let engine = engine(self.engine.as_ref())?.clone();
        let reader = engine.runtime.start(self.options.open_raw())?;
        Ok(Reader::new(reader, engine.runtime))
    }
}

/// The messages of a stream: see [`crate::hub::Reader`]. The iterator waits where there's none yet.
pub struct Reader<T> {
    reader: hub::Reader<T>,
    runtime: Arc<Runtime>,
}

impl<T> Reader<T> {
    fn new(reader: hub::Reader<T>, runtime: Arc<Runtime>) -> Self {
        Self { reader, runtime }
    }

    /// A message that is already here. `None` says nothing about the end.
    ///
    /// # Errors
    /// As the iterator's.
    pub fn next_ready(&mut self) -> Option<Result<Message<T>, Error>> {
        self.reader.next_ready()
    }

    /// Where a later reader goes on: see [`crate::hub::Reader::position`].
    #[must_use]
    pub fn position(&self) -> &Offset {
        self.reader.position()
    }
}

impl<T> Iterator for Reader<T> {
    type Item = Result<Message<T>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.reader.next_ready() {
            Some(message) => Some(message),
            None => self.runtime.block_on(self.reader.next()),
        }
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        if self.reader.close() {
            self.runtime.settle();
        }
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt(f)
    }
}
