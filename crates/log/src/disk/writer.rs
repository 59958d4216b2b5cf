//! The writer thread. It takes all waiting requests of all streams, makes one commit of them, syncs
//! once, and responds to all of them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use fjall::{AbstractTree, PersistMode};

use super::compaction;
use super::draft::{Draft, Sealed};
use super::engine::Engine;
use super::format::commits_file::{Mark, Marker};
use super::options::Durability;
use super::queue::{Request, Taken};
use super::recovery;
use super::runway::Runway;
use super::store::{Store, failure};
use super::stream::Stream;
use crate::error::{Error, Kind};

/// Bytes of messages at which a commit accepts no more requests.
const COMMIT_BYTES: usize = 8 << 20;
/// Interval between checks of the free disk space, in time and in bytes written.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOK_BYTES: u64 = 4 << 20;
/// Wait after a failure of the disk.
const RETRY: Duration = Duration::from_secs(1);
/// Free bytes without which a failed database isn't reopened.
const REOPEN_BYTES: u64 = 8 << 20;
/// Number of sealed tables in memory above which the writer waits for them to be written out.
const TABLES: usize = 2;
/// Number of tables that wait to be merged above which the writer waits.
const RUNS: usize = 24;
/// Interval between checks if tables still wait to be merged.
const LOOK_BEHIND: Duration = Duration::from_millis(10);

pub(crate) struct Writer {
    engine: Arc<Engine>,
    marker: Marker,
    runway: Runway,
    /// The streams that keep recent records, oldest first, with the bytes of each.
    recent: VecDeque<(Weak<Stream>, usize)>,
    recent_bytes: usize,
    looked: Option<Instant>,
    written: u64,
    full: bool,
    /// If the database has failed: the earliest time to reopen it.
    failed: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(engine: Arc<Engine>, marker: Marker) -> Self {
        Self {
            runway: Runway::new(&Engine::database(&engine.folder)),
            engine,
            marker,
            recent: VecDeque::new(),
            recent_bytes: 0,
            looked: None,
            written: 0,
            full: false,
            failed: None,
        }
    }

    /// Writes until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut taken = Taken::default();
        let mut expected = 0;
        let mut patience = RETRY;
        while self.engine.queue.take(&mut taken, expected, patience) {
            expected = taken.small.len();
            self.reopen();
            for pending in [&mut taken.small, &mut taken.large] {
                while !pending.is_empty() {
                    let commit = AssertUnwindSafe(|| self.commit(pending));
                    // fjall panics on some malformed data. A dropped draft has changed nothing, and
                    // its callers learn of it from their closed channels.
                    if catch_unwind(commit).is_err() {
                        tracing::error!("a commit panicked; the log is about to be reopened");
                        self.set_failed(Some(Instant::now()));
                    }
                }
            }
            let behind = self.is_behind();
            self.engine.queue.set_behind(behind);
            patience = if behind { LOOK_BEHIND } else { RETRY };
        }
        if let Err(error) = self.marker.sync() {
            tracing::warn!(%error, "the marker of the last commit could not be synced");
        }
    }

    /// Commits the pending requests, or as many of them as fit.
    fn commit(&mut self, pending: &mut VecDeque<Request>) {
        let engine = Arc::clone(&self.engine);
        let store = match engine.store() {
            Ok(store) if self.failed.is_none() => store,
            _ => {
                let full = self.full;
                pending
                    .drain(..)
                    .for_each(|request| request.fail(|| unavailable(full)));
                return;
            }
        };
        self.look();
        let mut draft = Draft::new(&engine, &store, self.full);
        while draft.bytes() < COMMIT_BYTES
            && let Some(request) = pending.pop_front()
        {
            draft.take(request);
        }
        if engine.options.durability == Durability::Fsync {
            self.runway.extend(draft.weight());
        }
        let (batch, sealed) = draft.seal();
        if let Some(batch) = batch
            && let Err(error) = self.write(&store, batch, sealed.head.commit)
        {
            self.fail(sealed, &error);
            return;
        }
        let kept = sealed.publish(&engine);
        self.keep(kept);
    }

    fn write(
        &mut self,
        store: &Store,
        batch: fjall::OwnedWriteBatch,
        commit: u64,
    ) -> Result<(), Error> {
        let failed = |error| failure(error, "a commit");
        self.wait_for_tables(store)?;
        batch.commit().map_err(failed)?;
        let mode = match self.engine.options.durability {
            Durability::Fsync => PersistMode::SyncData,
            Durability::Os => PersistMode::Buffer,
        };
        store.db.persist(mode).map_err(failed)?;
        let synced = self.engine.options.durability == Durability::Fsync;
        // If the commit couldn't be recorded, its loss would go unnoticed.
        self.marker
            .write(Mark { commit, synced })
            .map_err(super::store::io_failure)
    }

    /// Seals tables in memory that are much larger than they should be, and waits until few sealed
    /// tables wait to be written out.
    ///
    /// fjall's thread seals them too, but not while it merges tables on the disk, which can take
    /// long. All commits of that time would be held in memory. fjall would also wait, but without
    /// end if the disk fails meanwhile. Persisting nothing reports such a failure.
    fn wait_for_tables(&self, store: &Store) -> Result<(), Error> {
        let failed = |error| failure(error, "a commit");
        let keyspaces = [&store.meta, &store.order, &store.records];
        for keyspace in keyspaces {
            if keyspace.tree.active_memtable().size() > 2 * self.engine.options.table_bytes {
                keyspace.rotate_memtable().map_err(failed)?;
            }
        }
        let many = |keyspace: &fjall::Keyspace| {
            keyspace.tree.sealed_memtable_count() > TABLES || keyspace.tree.l0_run_count() > RUNS
        };
        while keyspaces.into_iter().any(many) {
            store.db.persist(PersistMode::Buffer).map_err(failed)?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Returns `true` if so many tables wait to be written out or merged that large appends must
    /// wait. They don't wait on a disk that is full or has failed: nothing would end the wait, so
    /// they are refused like others.
    fn is_behind(&self) -> bool {
        let waits = |store: &Store| {
            let records = &store.records.tree;
            records.sealed_memtable_count() >= TABLES
                || records.l0_run_count() >= compaction::BEHIND_AT
        };
        self.failed.is_none()
            && self.engine.store().is_ok_and(|store| waits(&store))
            && !is_full(&self.engine)
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

    fn keep(&mut self, kept: Vec<(Arc<Stream>, usize)>) {
        for (stream, bytes) in kept {
            self.recent_bytes += bytes;
            self.written += bytes as u64;
            self.engine
                .since_checkpoint
                .fetch_add(bytes as u64, Ordering::Relaxed);
            self.recent.push_back((Arc::downgrade(&stream), bytes));
        }
        while self.recent_bytes > self.engine.options.recent_bytes
            && let Some((stream, bytes)) = self.recent.pop_front()
        {
            self.recent_bytes -= bytes;
            if let Some(stream) = stream.upgrade() {
                stream.let_go();
            }
        }
    }

    /// Handles a failed commit. fjall accepts no more writes then, and only reopening it shows
    /// which part of the commit it has.
    fn fail(&mut self, sealed: Sealed, error: &Error) {
        tracing::error!(error = error as &dyn std::error::Error, "a commit failed");
        let full = error.is_storage_full();
        let text = match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        sealed.fail(|| {
            if full {
                let cause = std::io::Error::new(std::io::ErrorKind::StorageFull, text.clone());
                return Kind::Full {
                    cause: Some(cause),
                    unknown: true,
                }
                .into();
            }
            Kind::Failed(text.clone().into()).into()
        });
        self.full |= full;
        self.set_failed(Some(Instant::now() + RETRY));
    }

    fn set_failed(&mut self, retry_at: Option<Instant>) {
        self.failed = retry_at;
        self.engine
            .failed
            .store(retry_at.is_some(), Ordering::Release);
    }

    /// Reopens the database after a failure. On a full disk too, if there is space for that alone:
    /// streams can be deleted then, which frees space.
    fn reopen(&mut self) {
        let Some(after) = self.failed else { return };
        if Instant::now() < after {
            return;
        }
        self.failed = Some(Instant::now() + RETRY);
        self.looked = None;
        self.look();
        if self.full {
            // Tables that couldn't be finished may be a part of what fills the disk. Once the database is open, deleting
            // streams frees more.
            if let Ok(store) = self.engine.store() {
                compaction::remove_unfinished(&self.engine, &store);
            }
            if free(&self.engine).is_some_and(|free| free < REOPEN_BYTES) {
                return;
            }
        }
        // Reads use the old database up to here. It must be closed before the new one opens.
        if let Some(old) = self.engine.replace_store(None) {
            let mut old = Some(old);
            while let Some(held) = old.take() {
                match Arc::try_unwrap(held) {
                    Ok(store) => drop(store),
                    Err(held) => {
                        old = Some(held);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            }
        }
        match recovery::reopen(&self.engine) {
            Ok(()) => {
                tracing::info!("the log is open again");
                self.set_failed(None);
                self.runway = Runway::new(&Engine::database(&self.engine.folder));
                self.recent.clear();
                self.recent_bytes = 0;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the log could not be reopened");
            }
        }
    }
}

pub(super) fn unavailable(full: bool) -> Error {
    if full {
        return Kind::Full {
            cause: None,
            unknown: false,
        }
        .into();
    }
    Kind::Storage("the disk failed; the log is about to be reopened".into()).into()
}

/// Returns `true` if the disk has less free space than the reserve, or tables pile up because there
/// is no space to merge them.
pub(super) fn is_full(engine: &Engine) -> bool {
    engine.cramped.load(Ordering::Relaxed)
        || free(engine).is_some_and(|free| free < engine.options.reserve_bytes)
}

/// Returns the bytes of the disk that are free for this process, if known.
pub(super) fn free(engine: &Engine) -> Option<u64> {
    let disk = rustix::fs::statvfs(&engine.folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::disk::{FjallLog, FjallOptions};
    use crate::{Append, Create, Log, Settings, StreamName};

    #[tokio::test]
    async fn tables_in_memory_stay_small_while_the_flush_thread_is_busy() {
        const TABLE: u64 = 256 << 10;
        const MESSAGE: usize = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let options = FjallOptions {
            durability: Durability::Os,
            table_bytes: TABLE,
            ..FjallOptions::default()
        };
        let log = FjallLog::open(folder.path(), options).unwrap();
        let name = StreamName::new("a").unwrap();
        let create = Create::new(Settings::of_type("application/octet-stream"));
        log.create(&name, create).await.unwrap();
        let message = Bytes::from(vec![b'x'; MESSAGE]);
        for _ in 0..30 {
            let append = Append::new(vec![message.clone()]);
            log.append(&name, append).await.unwrap();
            let held = log
                .engine
                .store()
                .unwrap()
                .records
                .tree
                .active_memtable()
                .size();
            assert!(held <= 2 * TABLE + MESSAGE as u64 + 4096, "{held} bytes");
        }
        log.close().await.unwrap();
    }

    #[test]
    fn large_appends_wait_for_merges_but_not_for_space() {
        let folder = tempfile::tempdir().unwrap();
        let options = FjallOptions {
            durability: Durability::Os,
            ..FjallOptions::default()
        };
        let log = Arc::new(FjallLog::open(folder.path(), options).unwrap());
        let engine = &log.engine;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let names = ["a", "b"].map(|name| StreamName::new(name).unwrap());
        for name in &names {
            let create = Create::new(Settings::of_type("application/octet-stream"));
            runtime.block_on(log.create(name, create)).unwrap();
        }
        let append_to = |name: &StreamName, bytes: usize| {
            let (log, name) = (Arc::clone(&log), name.clone());
            let append = Append::new(vec![Bytes::from(vec![b'x'; bytes])]);
            runtime.spawn(async move { log.append(&name, append).await })
        };
        let append = |bytes| append_to(&names[0], bytes);
        // To both streams, so that the tables overlap. Others needn't be merged.
        let small = || {
            for name in &names {
                runtime.block_on(append_to(name, 1)).unwrap().unwrap();
            }
        };

        // Nothing is merged while this is held.
        let unmerged = engine.giving.lock();
        let (marker, _) = Marker::open(&Engine::marker(folder.path())).unwrap();
        let mut writer = Writer::new(Arc::clone(engine), marker);
        let mut tables = 0;
        while !writer.is_behind() {
            small();
            assert!(super::super::maintenance::flush(engine).unwrap());
            tables += 1;
            // fjall may have moved a table out of the way before there were others.
            assert!(tables <= compaction::BEHIND_AT + 2);
        }
        assert!(tables >= compaction::BEHIND_AT);
        writer.set_failed(Some(Instant::now()));
        assert!(!writer.is_behind());
        writer.set_failed(None);
        small();
        let large = append(1 << 20);
        std::thread::sleep(Duration::from_millis(300));
        small();
        assert!(!large.is_finished());

        // The thread that merges resets this, because there is space.
        while !large.is_finished() {
            engine.cramped.store(true, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        }
        let refused = runtime.block_on(large).unwrap().unwrap_err();
        assert!(refused.is_storage_full());

        let accepted = || runtime.block_on(append(1)).unwrap().is_ok();
        while !accepted() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let large = append(1 << 20);
        std::thread::sleep(Duration::from_millis(300));
        assert!(!large.is_finished());
        drop(unmerged);
        runtime.block_on(large).unwrap().unwrap();
        runtime.block_on(log.close()).unwrap();
    }

    #[tokio::test]
    async fn a_failed_database_is_opened_again_while_the_disk_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let name = StreamName::new("a").unwrap();
        let log = FjallLog::open(folder.path(), FjallOptions::default()).unwrap();
        let create = Create::new(Settings::of_type("text/plain"));
        log.create(&name, create).await.unwrap();
        log.close().await.unwrap();
        drop(log);

        let options = FjallOptions {
            reserve_bytes: u64::MAX,
            ..FjallOptions::default()
        };
        let log = FjallLog::open(folder.path(), options).unwrap();
        let (marker, _) = Marker::open(&Engine::marker(folder.path())).unwrap();
        let mut writer = Writer::new(Arc::clone(&log.engine), marker);
        writer.set_failed(Some(Instant::now()));
        writer.reopen();
        assert!(writer.full && writer.failed.is_none());
        let append = Append::new(vec![Bytes::from_static(b"more")]);
        assert!(
            log.append(&name, append)
                .await
                .unwrap_err()
                .is_storage_full()
        );
        assert!(log.delete(&name).await.is_ok());
    }
}
