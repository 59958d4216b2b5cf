//! The writer thread. It takes all waiting requests of all streams, makes one commit of them, syncs
//! once, and responds to all of them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use headwater_journal::{Journal, WriteError};
use headwater_wire::causes;

use super::draft::{Draft, Sealed, Written};
use super::engine::Engine;
use super::format::commits_file::{Mark, Marker};
use super::format::log_head::Head;
use super::options::Durability;
use super::priority;
use super::queue::{Request, Taken};
use super::segments::SegmentFile;
use super::store::Store;
use super::stream::Recent;
use crate::error::{Error, Kind};

/// Bytes of messages at which a commit accepts no more requests.
const COMMIT_BYTES: usize = 8 << 20;
/// Interval between checks of the free disk space, in time and in bytes written.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_BYTES: u64 = 4 << 20;
/// Wait after a failure of the disk.
const RETRY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });
/// Number of commits after which the index is written out, however small they are.
const COMMITS: u64 = 20_000;
/// Bytes of changes of the index in memory after which it is written out.
const INDEX_BYTES: usize = 16 << 20;
/// Bytes of changes of the index in memory above which large appends wait.
const INDEX_BEHIND: usize = 64 << 20;
/// Bytes of segments that wait to be sorted above which large appends wait.
const SEGMENTS_BEHIND: u64 = 2 << 30;
/// Interval between checks if large appends wait.
const LOOK_BEHIND: Duration = Duration::from_millis(10);

pub(crate) struct Writer {
    engine: Arc<Engine>,
    store: Arc<Store>,
    journal: Journal,
    marker: Marker,
    /// The list that each of the newest records is in, oldest first, and the memory of each.
    recent: VecDeque<(Weak<Recent>, usize)>,
    recent_bytes: usize,
    looked: Option<Instant>,
    written: u64,
    /// Bytes and the number of the last commit before the index was last written out.
    since_freeze: u64,
    frozen_at: u64,
    full: bool,
    /// If a commit has failed: the earliest time of the next attempt.
    failed: Option<Instant>,
    /// `true` once the journal has given up commits that were acknowledged.
    is_broken: bool,
}

impl Writer {
    pub(crate) fn new(
        engine: Arc<Engine>,
        store: Arc<Store>,
        journal: Journal,
        marker: Marker,
    ) -> Self {
        Self {
            frozen_at: engine.committed().commit,
            engine,
            store,
            journal,
            marker,
            recent: VecDeque::new(),
            recent_bytes: 0,
            looked: None,
            written: 0,
            since_freeze: 0,
            full: false,
            failed: None,
            is_broken: false,
        }
    }

    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        priority::run_at_once();
        let mut taken = Taken::default();
        let mut expected = 0;
        let mut patience = RETRY;
        while self.engine.queue.take(&mut taken, expected, patience) {
            expected = taken.small.len();
            self.retry();
            for pending in [&mut taken.small, &mut taken.large] {
                while !pending.is_empty() {
                    let commit = AssertUnwindSafe(|| self.commit(pending));
                    // A dropped draft has changed nothing, and its callers learn of it from their
                    // closed channels.
                    if catch_unwind(commit).is_err() {
                        tracing::error!("a commit panicked");
                        self.set_failed(Some(Instant::now()));
                    }
                }
            }
            self.freeze();
            let behind = self.is_behind();
            self.engine.queue.set_behind(behind);
            patience = if behind { LOOK_BEHIND } else { RETRY };
        }
        *self.engine.ended.lock() = Some(self.end());
    }

    /// Makes all commits durable. Otherwise a crash of the machine could lose them after all.
    fn end(&mut self) -> Result<(), Error> {
        let synced = self.journal.sync();
        synced.map_err(|error| Kind::Storage(Failure::from(error).error))?;
        if let Err(error) = self.marker.file().sync() {
            tracing::warn!(%error, "the marker of the last commit could not be synced");
        }
        self.store.freeze(self.engine.committed());
        Ok(())
    }

    /// Commits the pending requests, or as many of them as fit.
    fn commit(&mut self, pending: &mut VecDeque<Request>) {
        let engine = Arc::clone(&self.engine);
        let store = Arc::clone(&self.store);
        if self.failed.is_some() {
            let full = self.full;
            pending
                .drain(..)
                .for_each(|request| request.fail(|| unavailable(full)));
            return;
        }
        self.look();
        let mut draft = Draft::new(&engine, &store, self.full);
        while draft.bytes() < COMMIT_BYTES
            && let Some(request) = pending.pop_front()
        {
            draft.take(request);
        }
        let checkpoint = draft.take_checkpoint();
        let (written, sealed) = draft.seal();
        let head = sealed.head;
        let written = written.map_or(Ok(()), |written| {
            let _alone = engine.committing.lock();
            self.write(written, &sealed)
        });
        let is_written = written.is_ok();
        match written {
            Ok(()) => {
                let kept = sealed.publish(&engine);
                self.keep(kept);
            }
            Err(failure) => self.fail(sealed, failure),
        }
        let Some(checkpoint) = checkpoint else { return };
        let mut is_done = is_written;
        if is_written && let Err(error) = self.checkpoint(checkpoint.rotates, head) {
            tracing::error!(%error, "the journal could not be synced");
            self.note_failure(head.commit);
            is_done = false;
        }
        let full = self.full;
        checkpoint.reply(|| match is_done {
            true => Ok(()),
            false => Err(unavailable(full)),
        });
    }

    fn write(&mut self, written: Written, sealed: &Sealed) -> Result<(), Failure> {
        let number = sealed.head.commit;
        if self.journal.next() != number {
            return Err(Failure::broken());
        }
        let Written {
            mut commit,
            implied,
            ..
        } = written;
        let head = commit.encode();
        let data = sealed.records.iter();
        let data: Vec<&[u8]> = data.map(|(_, record)| &*record.data).collect();
        let start = self.journal.tail();
        let place = self.journal.append(&head, &data)?;
        let synced = self.engine.options.durability == Durability::Fsync;
        if synced {
            self.journal.sync()?;
        }
        let mark = Mark {
            commit: number,
            synced,
        };
        if let Err(error) = self.marker.write(mark) {
            // The commit is in the journal, so it stays. Its loss would go unnoticed.
            tracing::error!(%error, "the marker of the last commit could not be written");
            self.set_failed(Some(Instant::now() + RETRY));
        }
        let segment = self.journal.segment();
        let mut is_new = false;
        self.store.segments.write().add(&commit, place, start, || {
            is_new = true;
            // The frame was written to it just now.
            #[expect(
                clippy::expect_used,
                reason = "the journal has a segment after an append"
            )]
            let segment = segment.expect("a frame is in a segment");
            Arc::new(SegmentFile {
                number: segment.number,
                file: segment.file,
                bytes: segment.bytes,
            })
        });
        let appended = commit.parts.iter().map(|it| u64::from(it.head.bytes)).sum();
        let counters = &self.engine.counters;
        counters.appended.fetch_add(appended, Ordering::Relaxed);
        let frame = place.end() - place.frame();
        counters.commits.fetch_add(frame, Ordering::Relaxed);
        commit.changes.extend(implied);
        self.store.apply(commit.changes);
        self.since_freeze += u64::from(place.body);
        self.written += u64::from(place.body);
        if is_new {
            self.engine.files.wake();
            self.engine.spares.wake();
        }
        Ok(())
    }

    /// Freezes the changes of the index. If `rotates`, it also ends the current segment, so that it can be
    /// sorted.
    fn checkpoint(&mut self, rotates: bool, head: Head) -> Result<(), WriteError> {
        // The index must not have what a crash of the machine takes from the journal.
        self.journal.sync()?;
        if rotates {
            self.journal.rotate()?;
            self.store.segments.write().seal(self.journal.tail());
        }
        self.freeze_at(head);
        Ok(())
    }

    /// Has the changes of the index written out, if there are many. Opening the log applies those
    /// that aren't.
    fn freeze(&mut self) {
        let commit = self.engine.committed().commit;
        let is_due = self.since_freeze >= self.engine.options.checkpoint_bytes
            || commit >= self.frozen_at + COMMITS
            || self.store.index.changed_bytes() >= INDEX_BYTES;
        if !is_due || self.failed.is_some() || commit == self.frozen_at {
            return;
        }
        // The index must not have what a crash of the machine takes from the journal.
        if self.engine.options.durability == Durability::Os
            && let Err(error) = self.journal.sync()
        {
            tracing::error!(%error, "the journal could not be synced");
            self.note_failure(commit);
            return;
        }
        self.freeze_at(self.engine.committed());
    }

    fn freeze_at(&mut self, head: Head) {
        if self.store.freeze(head) {
            self.frozen_at = head.commit;
            self.since_freeze = 0;
            self.engine.files.wake();
        }
    }

    /// Returns `true` if so much waits to be written out or sorted that large appends must wait. They
    /// don't wait on a disk that is full or has failed: nothing would end the wait, so they are refused
    /// like others.
    fn is_behind(&self) -> bool {
        let (_, backlog) = self.store.segments.read().backlog();
        self.failed.is_none()
            && !self.full
            && (backlog >= SEGMENTS_BEHIND || self.store.index.changed_bytes() >= INDEX_BEHIND)
    }

    /// Updates whether the disk has space.
    fn look(&mut self) {
        let due = self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if !due && self.written < LOOK_BYTES {
            return;
        }
        self.looked = Some(Instant::now());
        self.written = 0;
        let full = is_full(&self.engine);
        if full != self.full {
            self.full = full;
            if full {
                tracing::warn!("the disk is full: appends are refused until there is space");
            } else {
                tracing::info!("the disk has space again: appends are accepted");
            }
        }
    }

    fn keep(&mut self, kept: Vec<(Weak<Recent>, usize)>) {
        self.recent_bytes += kept.iter().map(|(_, bytes)| bytes).sum::<usize>();
        self.recent.extend(kept);
        while self.recent_bytes > self.engine.options.recent_bytes
            && let Some((recent, bytes)) = self.recent.pop_front()
        {
            self.recent_bytes -= bytes;
            if let Some(recent) = recent.upgrade() {
                recent.let_go();
            }
        }
    }

    /// Handles a failed commit. The journal has given it up, and writes the next one to another
    /// segment.
    fn fail(&mut self, sealed: Sealed, failure: Failure) {
        let Failure { error, unknown } = failure;
        tracing::error!(error = &*error as &dyn std::error::Error, "a commit failed");
        let full = is_space(&*error);
        let text = causes::text(&*error);
        sealed.fail(|| {
            if full {
                let cause = std::io::Error::new(std::io::ErrorKind::StorageFull, text.clone());
                return Kind::Full {
                    cause: Some(cause),
                    unknown,
                }
                .into();
            }
            match unknown {
                true => Kind::Failed(text.clone().into()).into(),
                false => Kind::Storage(text.clone().into()).into(),
            }
        });
        self.full |= full;
        if unknown || !full {
            self.note_failure(self.engine.committed().commit);
        }
    }

    /// Refuses requests after a failure, until the disk works again. `last` is the last commit that
    /// must be in the journal.
    fn note_failure(&mut self, last: u64) {
        self.is_broken = self.journal.next() != last + 1;
        if self.is_broken {
            tracing::error!(
                "acknowledged commits may be lost: the log accepts nothing until it is opened again"
            );
        }
        self.set_failed(Some(Instant::now() + RETRY));
    }

    fn set_failed(&mut self, retry_at: Option<Instant>) {
        self.failed = retry_at;
        self.engine
            .failed
            .store(retry_at.is_some(), Ordering::Release);
    }

    /// Accepts requests again after a failure, if the disk works.
    fn retry(&mut self) {
        let Some(after) = self.failed else { return };
        if Instant::now() < after || self.is_broken {
            return;
        }
        self.failed = Some(Instant::now() + RETRY);
        self.looked = None;
        self.look();
        let mark = Mark {
            commit: self.engine.committed().commit,
            synced: self.engine.options.durability == Durability::Fsync,
        };
        let attempt = self.marker.write(mark);
        match attempt.and_then(|()| self.marker.file().sync()) {
            Ok(()) => {
                tracing::info!("the disk works again: appends are accepted");
                self.set_failed(None);
            }
            Err(error) => tracing::error!(%error, "the disk still fails"),
        }
    }
}

/// The error of a commit that wasn't written.
struct Failure {
    error: Box<dyn std::error::Error + Send + Sync>,
    /// `true` if it may be in the log if the process ends now.
    unknown: bool,
}

impl Failure {
    fn broken() -> Self {
        Self {
            error: "the journal has given up commits that were acknowledged".into(),
            unknown: false,
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let (error, unknown) = match error {
            WriteError::Segment(error) => (error.into(), false),
            WriteError::Disk(error) => (error.into(), true),
            error @ WriteError::Length { .. } => (error.into(), false),
        };
        Self { error, unknown }
    }
}

/// Returns `true` if an error says that the disk is full.
fn is_space(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let error = error.downcast_ref::<std::io::Error>();
    error.is_some_and(|it| matches!(it.kind(), StorageFull | QuotaExceeded | FileTooLarge))
}

pub(super) fn unavailable(full: bool) -> Error {
    if full {
        return Kind::Full {
            cause: None,
            unknown: false,
        }
        .into();
    }
    Kind::Storage("the disk failed; it is tried again each second".into()).into()
}

/// Returns `true` if the disk has less free space than the reserve.
pub(super) fn is_full(engine: &Engine) -> bool {
    free(engine).is_some_and(|free| free < engine.options.reserve_bytes)
}

/// Returns the bytes of the disk that are free for this process, if known.
pub(super) fn free(engine: &Engine) -> Option<u64> {
    let disk = rustix::fs::statvfs(engine.folder.as_ref()?).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
