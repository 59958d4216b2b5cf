//! The engine in a folder. `format.md`, shown on [`DiskLog`]'s page, documents the on-disk format and
//! the commit protocol.

mod catalog;
mod damage;
mod draft;
mod engine;
mod failure;
mod files;
mod format;
mod give_back;
mod inspect;
mod listing;
mod maintenance;
mod measure;
mod options;
mod order;
mod pace;
mod parting;
mod priority;
mod queue;
mod reader;
mod rebuild;
mod recovery;
mod rewrite;
mod segments;
mod sorted;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod writer;
mod written;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::append::{Append, Outcome};
use crate::encoding::birth::Fork;
use crate::error::{Error, Kind};
use crate::follow::{Follower, OrderFollower};
use crate::incarnation::Identity;
use crate::limits;
use crate::log::{Answer, Log};
use crate::name::StreamName;
use crate::offset::Position;
use crate::producers::Known;
use crate::read::{Chunk, Created, Extent, Info, Matching, OrderChunk, Page, ReadFrom, Usage};
use crate::restore::{Image, ProducerImage, Restore, Restored};
use crate::settings::{self, Create, ForkFrom};
use engine::Engine;
use headwater_journal::Disk;
use queue::{Appended, Reply, Request};
use reader::Span;
use store::Store;
use stream::{Stream, usable};
use writer::Writer;
use written::{Counted, Counters};

pub use inspect::BadFile;
pub use options::{DiskOptions, Durability};
pub use rebuild::Rebuilt;
pub use recovery::{GivenUp, Recovery};
pub use written::Written;

/// Maximum number of times that an operation looks up a stream again because it ended while the
/// operation waited.
const AGAIN: usize = 16;

#[doc = include_str!("format.md")]
pub struct DiskLog {
    engine: Arc<Engine>,
    recovery: Recovery,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<recovery::Lock>>,
}

impl std::fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskLog")
            .field("folder", &self.engine.folder)
            .finish_non_exhaustive()
    }
}

impl DiskLog {
    /// Opens the log in `folder`, or creates one there. It blocks while it reads the segments of the
    /// journal that aren't in sorted files yet, usually less than 256 MiB.
    ///
    /// # Errors
    ///
    /// [Locked](Error::is_locked) if another process has the log open; [damaged](Error::is_damaged)
    /// if acknowledged data is missing or differs from what was written; storage.
    pub fn open(folder: impl AsRef<Path>, options: DiskOptions) -> Result<Self, Error> {
        let folder = folder.as_ref();
        let lock = recovery::lock(folder)?;
        let disk = recovery::disk(folder)?;
        let opened = Self::open_on(&disk, Some(folder), options);
        let log = opened.map_err(|error| blame(folder, error))?;
        *log.lock.lock() = Some(lock);
        Ok(log)
    }

    /// Opens the log on a disk. `folder` is its folder, if it has one.
    fn open_on(
        disk: &Arc<dyn Disk>,
        folder: Option<&Path>,
        options: DiskOptions,
    ) -> Result<Self, Error> {
        let counters = Arc::new(Counters::default());
        let disk: Arc<dyn Disk> = Arc::new(Counted::new(Arc::clone(disk), Arc::clone(&counters)));
        let opened = recovery::open(&disk, &options)?;
        let (store, marker) = (Arc::new(opened.store), opened.marker.file());
        let (head, damage) = (opened.head, opened.damage);
        let engine = Engine::new(folder, options, Arc::clone(&store), head, counters, damage);
        let engine = Arc::new(engine);
        let spares = opened.journal.spares();
        let shared = (Arc::clone(&engine), Arc::clone(&store));
        let writer = Writer::new(shared.0, shared.1, opened.journal, opened.marker);
        let log = Self {
            engine: Arc::clone(&engine),
            recovery: opened.recovery,
            threads: Mutex::default(),
            lock: Mutex::default(),
        };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::Builder::new().name(name.into()).spawn(work);
            thread
                .map(|thread| log.threads.lock().push(thread))
                .map_err(failure::io_failure)
        };
        spawn("log:writer", Box::new(move || writer.run()))?;
        let cleans = Arc::clone(&engine);
        let cleans = move || maintenance::run(&cleans, &*marker);
        spawn("log:cleanup", Box::new(cleans))?;
        let prepares = Arc::clone(&engine);
        let of_files = Arc::clone(&spares);
        let prepares = move || files::prepare(&prepares, &spares);
        spawn("log:segments", Box::new(prepares))?;
        let files = move || files::run(&engine, &store, &of_files);
        spawn("log:files", Box::new(files))?;
        Ok(log)
    }

    /// Reads the files of the log in `folder`, open or not, and returns those that are damaged or
    /// can't be read. Segments of the journal are only opened: [`open`](Self::open) checks their
    /// content. It changes nothing, and blocks until everything is read. Files of an open log can
    /// disappear meanwhile.
    ///
    /// # Errors
    ///
    /// If the folder can't be read, or the log is of another format.
    pub fn bad_files(folder: impl AsRef<Path>) -> Result<Vec<BadFile>, Error> {
        inspect::bad_files(folder.as_ref(), true)
    }

    /// Rebuilds the index of the log in `folder`, which must not be open, and the manifest if it is
    /// damaged: for a log whose files of the index are damaged or missing. The catalog and the
    /// sorted files have all that was in them. If the catalog is damaged or missing, it is rebuilt from
    /// the index. It blocks until the index is written, and needs as much space as the index.
    ///
    /// # Errors
    ///
    /// [Locked](Error::is_locked) if a process has the log open; [damaged](Error::is_damaged) if
    /// both the index and the catalog are, or the manifest and its copy are, or the end of a sorted
    /// file; storage. The log is as it was then.
    pub fn rebuild_index(folder: impl AsRef<Path>) -> Result<Rebuilt, Error> {
        let folder = folder.as_ref();
        let _lock = recovery::lock(folder)?;
        let disk = recovery::disk(folder)?;
        rebuild::rebuild(&disk).map_err(|error| blame(folder, error))
    }

    /// Returns what was found when the log was opened.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Returns the bytes that were written to the disk since the log was opened.
    #[must_use]
    pub fn written(&self) -> Written {
        self.engine.counters.written()
    }

    /// Performs one step of the work that is due: expiry, trimming, and removal of deleted data.
    /// Returns `true` if more is due. The log does this in the background; call it to avoid the
    /// wait. It blocks.
    ///
    /// # Errors
    ///
    /// Storage.
    pub fn reclaim(&self) -> Result<bool, Error> {
        maintenance::step(&self.engine)
    }

    /// Rewrites all files without the removed data, as far as there is space for that. Segments
    /// leave the disk once no reader uses them. The log does this in the background once enough was
    /// removed; call it to avoid the wait. It blocks.
    ///
    /// # Errors
    ///
    /// Storage.
    pub fn give_back(&self) -> Result<(), Error> {
        give_back::give_back(&self.engine)
    }

    /// Runs work that may wait for the disk on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine, &Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let engine = Arc::clone(&self.engine);
        let done = tokio::task::spawn_blocking(move || work(&engine, &*engine.store()?));
        let done = match done.await {
            Ok(done) => done,
            Err(failed) => Err(Kind::Storage(failed.into()).into()),
        };
        done.inspect_err(|error| self.engine.note_damage(error))
    }

    /// Returns the stream of this name, even if it can't be used.
    async fn find(&self, name: &StreamName) -> Result<Arc<Stream>, Error> {
        if self.engine.is_closing() {
            return Err(Kind::Closed.into());
        }
        if let Some(stream) = self.engine.cache.peek(name) {
            return Ok(stream);
        }
        let name = name.clone();
        let found = self
            .blocking(move |engine, store| engine.cache.load(store, &name))
            .await?;
        found.ok_or_else(|| Kind::NotFound.into())
    }

    /// Returns the stream of this name, if it can be used.
    async fn usable(&self, name: &StreamName) -> Result<Arc<Stream>, Error> {
        let stream = self.find(name).await?;
        usable(&stream, || self.engine.now())?;
        Ok(stream)
    }

    /// Sends a request to the writer. Returns `None` if the stream of the request has ended.
    async fn write<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<Option<T>, Error> {
        let (reply, answer) = oneshot::channel();
        self.engine.queue.push(request(reply)).await?;
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(Kind::Closed.into()),
        }
    }

    async fn fork_point(&self, from: ForkFrom) -> Result<(Fork, Arc<Stream>), Error> {
        let source = self
            .usable(&from.source)
            .await
            .map_err(|error| match error.kind() {
                Kind::Gone => Kind::SourceGone.into(),
                Kind::NotFound => Kind::SourceNotFound.into(),
                _ => error,
            })?;
        let tail = source.progress().tail.number();
        let at = settings::fork_offset(&source.lineage, &from, source.floor(), tail)?;
        let mut next = None;
        if at < tail && matches!(from.skip, settings::Skip::Bytes(1..)) {
            let source = Arc::clone(&source);
            let size = self
                .blocking(move |engine, store| reader::size_of(engine, store, &source, at))
                .await?;
            next = Some(size);
        }
        let (point, cut) = settings::fork_point(from, at, tail, next)?;
        Ok((
            Fork {
                id: source.id,
                point,
                cut,
            },
            source,
        ))
    }

    async fn read_chunk(
        &self,
        name: &StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Result<Chunk, Error> {
        let stream = self.usable(name).await?;
        if let Some(span) = Span::of(&stream, from)?
            && let Some(chunk) = span.at_hand(&stream, budget)
        {
            return Ok(chunk);
        }
        self.blocking(move |engine, store| reader::read(engine, store, &stream, from, budget))
            .await
    }

    /// Closes the log. A second call does nothing.
    fn shut(&self) -> Result<(), Error> {
        self.engine.close();
        self.engine.queue.close();
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
        self.engine.end();
        let ended = self.engine.ended.lock().take();
        if let Some(Ok(())) = ended
            && let Ok(store) = self.engine.store()
            && let Err(error) = finish(&store, &self.engine)
        {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "the index could not be written out; opening the log makes up for it"
            );
        }
        self.engine.drop_store();
        // Last: from here on another process can open the log.
        self.lock.lock().take();
        ended.unwrap_or(Ok(()))
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        if let Err(error) = self.shut() {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the last commits could not be made durable");
        }
    }
}

impl Log for DiskLog {
    fn create<'a>(&'a self, name: &'a StreamName, create: Create) -> Answer<'a, Created> {
        Box::pin(async move {
            create.check(&self.engine.options.limits)?;
            for _ in 0..AGAIN {
                let fork = match &create.fork {
                    // An existing stream is returned as it is, whatever happened to the fork's
                    // source.
                    Some(from) => match self.fork_point(from.clone()).await {
                        Ok(fork) => Some(fork),
                        Err(error) => match self.usable(name).await {
                            Ok(there) => {
                                return Ok(Created {
                                    info: there.info(),
                                    is_new: false,
                                });
                            }
                            Err(other) if other.is_gone() || other.is_restoring() => {
                                return Err(other);
                            }
                            Err(_) => return Err(error),
                        },
                    },
                    None => None,
                };
                let create = Box::new(create.clone());
                let name = name.clone();
                let request = |reply| Request::Create {
                    name,
                    create,
                    fork,
                    reply,
                };
                if let Some(created) = self.write(request).await? {
                    return Ok(created);
                }
            }
            Err(Kind::NotFound.into())
        })
    }

    fn append<'a>(&'a self, name: &'a StreamName, append: Append) -> Answer<'a, Outcome> {
        Box::pin(async move {
            append.check(&self.engine.options.limits)?;
            let mut append = append;
            for _ in 0..AGAIN {
                let stream = self.usable(name).await?;
                let (reply, answer) = oneshot::channel();
                let request = Request::Append {
                    stream,
                    append,
                    reply,
                };
                self.engine.queue.push(request).await?;
                append = match answer.await {
                    Ok(Ok(Appended::Judged(outcome))) => return Ok(outcome),
                    Ok(Ok(Appended::Again(append))) => append,
                    Ok(Err(error)) => return Err(error),
                    Err(_) => return Err(Kind::Closed.into()),
                };
            }
            Err(Kind::NotFound.into())
        })
    }

    fn read<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: usize,
    ) -> Answer<'a, Chunk> {
        Box::pin(self.read_chunk(name, from, budget))
    }

    fn measure<'a>(
        &'a self,
        name: &'a StreamName,
        from: ReadFrom,
        budget: u64,
    ) -> Answer<'a, Extent> {
        Box::pin(async move {
            let stream = self.usable(name).await?;
            self.blocking(move |engine, store| {
                measure::measure(engine, store, &stream, from, budget)
            })
            .await
        })
    }

    fn follow<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Follower> {
        Box::pin(async move { Ok(Follower::new(self.usable(name).await?.subscribe())) })
    }

    fn info<'a>(&'a self, name: &'a StreamName) -> Answer<'a, Info> {
        Box::pin(async move { Ok(self.usable(name).await?.info()) })
    }

    fn producer<'a>(
        &'a self,
        name: &'a StreamName,
        producer: &'a str,
    ) -> Answer<'a, Option<Known>> {
        Box::pin(async move {
            let stream = self.usable(name).await?;
            if let Some(state) = stream.producer(producer) {
                return Ok(Some(state.known()));
            }
            let producer = producer.to_owned();
            let state = self
                .blocking(move |_, store| store.producer(stream.id, &producer))
                .await?;
            Ok(state.map(|state| state.known()))
        })
    }

    fn image<'a>(&'a self, name: &'a StreamName) -> Answer<'a, (Image, Vec<ProducerImage>)> {
        Box::pin(async move {
            let stream = self.usable(name).await?;
            self.blocking(move |engine, store| image(engine, store, &stream))
                .await
        })
    }

    fn restore<'a>(&'a self, name: &'a StreamName, restore: Restore) -> Answer<'a, Restored> {
        Box::pin(async move {
            restore.check(&self.engine.options.limits)?;
            let request = |reply| Request::Restore {
                name: name.clone(),
                restore,
                reply,
            };
            let restored = self.write(request).await?;
            restored.ok_or_else(|| Kind::NotFound.into())
        })
    }

    fn touch<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()> {
        Box::pin(async move {
            let stream = self.usable(name).await?;
            if stream.touch(self.engine.now()) {
                self.engine.queue.push_now(Request::Touch(stream))?;
            }
            Ok(())
        })
    }

    fn delete<'a>(&'a self, name: &'a StreamName) -> Answer<'a, ()> {
        Box::pin(async move {
            for _ in 0..AGAIN {
                let stream = match self.usable(name).await {
                    Err(error) if error.is_restoring() => self.find(name).await?,
                    stream => stream?,
                };
                let request = |reply| Request::Delete { stream, reply };
                if self.write(request).await?.is_some() {
                    self.engine.cleanup.wake();
                    return Ok(());
                }
            }
            Err(Kind::NotFound.into())
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<StreamName>,
        limit: usize,
    ) -> Answer<'a, Page> {
        let prefix = prefix.to_owned();
        let limit = limit.min(limits::PAGE);
        Box::pin(self.blocking(move |engine, store| {
            listing::list(engine, store, &prefix, after.as_ref(), limit)
        }))
    }

    fn read_order(
        &self,
        from: Position,
        budget: usize,
        matching: Option<Matching>,
    ) -> Answer<'_, OrderChunk> {
        Box::pin(self.blocking(move |engine, store| {
            order::read_order(engine, store, from, budget, matching.as_ref())
        }))
    }

    fn follow_order(&self) -> OrderFollower {
        OrderFollower::new(self.engine.follow())
    }

    fn identity(&self) -> Identity {
        self.engine.cache.identity
    }

    fn usage(&self) -> Usage {
        let head = self.engine.committed();
        Usage {
            streams: head.streams,
            bytes: head.bytes,
            head: Position::new(head.position),
        }
    }

    fn writable(&self) -> Result<(), Error> {
        let engine = &self.engine;
        if engine.is_closing() {
            return Err(Kind::Closed.into());
        }
        let full = writer::is_full(engine);
        match full || engine.failed.load(Ordering::Acquire) {
            true => Err(writer::unavailable(full)),
            false => Ok(()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.engine.damage_met.load(Ordering::Relaxed) {
            warnings.push(
                "some data is damaged: the logged errors give the locations, and `headwater check` lists the damaged streams"
                    .to_owned(),
            );
        }
        warnings.extend(self.engine.time.warning());
        warnings
    }

    fn close(&self) -> Answer<'_, ()> {
        Box::pin(async {
            // This waits for threads. On a single-threaded runtime that is safe, because they wait
            // for nothing that runs on it.
            self.shut()
        })
    }
}

/// Returns the image of a stream and its producers. Commits wait meanwhile.
fn image(
    engine: &Engine,
    store: &Store,
    stream: &Stream,
) -> Result<(Image, Vec<ProducerImage>), Error> {
    let _alone = engine.committing.lock();
    let Some(state) = store.state(stream.id)?.filter(|state| !state.hidden) else {
        return Err(Kind::NotFound.into());
    };
    let (settings, created) = (&stream.birth.settings, stream.birth.created);
    let image = Image::of(settings, created, &stream.lineage, stream.floor(), &state);
    let producers = store.producers(stream.id, None, usize::MAX)?.into_iter();
    let producers = producers.map(|(id, state)| ProducerImage::of(id, &state));
    Ok((image, producers.collect()))
}

/// Writes out the changes of the index, and gives back the unused end of the last segment.
fn finish(store: &Store, engine: &Engine) -> Result<(), Error> {
    // Older changes may be frozen still.
    store.checkpoint()?;
    store.freeze(engine.committed());
    store.checkpoint()?;
    // No frame follows in the segment: the next one of the log is in another.
    let open = store.segments.read().open_file();
    if let Some((segment, end)) = open {
        segment.file.truncate(end).map_err(failure::io_failure)?;
    }
    Ok(())
}

/// Maximum size of a folder that is read in full to find the damaged file if it can't be opened.
const THOROUGH: u64 = 1 << 30;

/// Adds the names of the damaged files to an error that reports damage.
fn blame(folder: &Path, error: Error) -> Error {
    if !error.is_damaged() {
        return error;
    }
    let mut place = error.damaged_place().unwrap_or_default();
    let is_small = inspect::bytes(folder) <= THOROUGH;
    for file in inspect::bad_files(folder, is_small).unwrap_or_default() {
        place = format!("{place}; {}: {}", file.path.display(), file.why);
    }
    Kind::Damaged {
        place,
        remedy: error.remedy(),
        cause: Some(error.into()),
    }
    .into()
}
