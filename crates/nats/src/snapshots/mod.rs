//! Snapshots of the state, and the removal of the records that they replace.

mod load;
mod removal;
mod store;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::engine::{Engine, jitter};
use crate::format::manifest::Manifest;
use crate::options::Snapshots;

pub(crate) use load::load;
pub(crate) use store::{Store, Stored, subjects};

/// The knowledge that one hub has of the snapshots.
#[derive(Debug)]
pub(crate) struct Keeper {
    store: Store,
    pace: Snapshots,
    /// The time for which a snapshot is there before another one replaces records.
    pause: Duration,
    newest: Option<Stored>,
    /// The time at which this hub has first seen the newest snapshot.
    seen: Instant,
    /// The end of the stream when its last message was that of an incomplete snapshot.
    incomplete: Option<u64>,
    /// `true` if this hub has begun to remove records and hasn't finished.
    is_sweeping: bool,
}

impl Keeper {
    pub(crate) fn new(
        store: Store,
        pace: Snapshots,
        pause: Duration,
        newest: Option<Stored>,
    ) -> Self {
        Self {
            store,
            pace,
            pause,
            newest,
            seen: Instant::now(),
            incomplete: None,
            is_sweeping: false,
        }
    }

    /// Returns `true` if the log has grown enough since the newest snapshot: by a number of records or bytes, and
    /// by as many bytes as the snapshot has.
    fn is_due(&self, engine: &Engine) -> bool {
        let (applied, written) = {
            let replica = engine.replica.lock();
            (replica.applied, replica.written)
        };
        let newest = self.newest.map(|newest| newest.manifest);
        let at = newest.map_or((0, 0, 0), |it| (it.sequence, it.written, it.length));
        let records = applied.saturating_sub(at.0);
        let bytes = written.saturating_sub(at.1);
        (records >= self.pace.records || bytes >= self.pace.bytes) && bytes >= at.2
    }

    /// Learns the newest snapshot.
    fn learn(&mut self, newest: Option<Stored>) {
        if self.newest != newest {
            self.newest = newest;
            self.seen = Instant::now();
            self.is_sweeping = false;
        }
    }

    /// Stores a snapshot if one is due, and removes the records that it replaces. Returns `true` if it has stored one.
    async fn step(&mut self, engine: &Engine, is_forced: bool) -> Result<bool, String> {
        if self.is_sweeping {
            self.sweep(engine).await?;
        }
        if !is_forced && !self.is_due(engine) {
            return Ok(false);
        }
        // Another hub may have stored one.
        let newest = self.store.newest().await?;
        self.learn(newest);
        if !is_forced && (!self.is_due(engine) || self.seen.elapsed() < self.pause) {
            return Ok(false);
        }
        // Its records are removed before the next one is stored, which takes them for removed.
        self.sweep(engine).await?;
        let end = self.store.end().await?;
        if self.store.is_incomplete(end).await? && !is_forced && self.incomplete != Some(end) {
            // Another hub is storing one, or it has ended on the way. Then nothing will have changed next time.
            self.incomplete = Some(end);
            return Ok(false);
        }
        let is_stored = self.write(engine, end).await?;
        self.sweep(engine).await?;
        Ok(is_stored)
    }

    /// Stores a snapshot. Returns `false` if this hub knows nothing that the newest one doesn't have.
    async fn write(&mut self, engine: &Engine, end: u64) -> Result<bool, String> {
        let start = Instant::now();
        let frozen = engine.replica.lock().freeze(engine.cluster.identity);
        let locked = start.elapsed();
        let before = self.newest;
        let sequence = before.map_or(0, |before| before.manifest.sequence);
        if frozen.applied <= sequence {
            return Ok(false);
        }
        let manifest = Manifest {
            sequence: frozen.applied,
            hash: frozen.hash(),
            written: frozen.written,
            length: 0,
            chunks: 0,
            sum: 0,
            before: before.map_or(0, |before| before.at),
            removable: sequence.saturating_sub(self.pace.kept),
        };
        let encoded = tokio::task::spawn_blocking(move || frozen.encode()).await;
        let snapshot = encoded.map_err(|error| error.to_string())?;
        // Right after the newest one is the mark that its records are removed.
        let remains = before.map_or(1, |before| before.at + 2);
        let stored = self.store.write(&snapshot, manifest, end, remains).await?;
        self.learn(Some(stored));
        self.is_sweeping = true;
        let elapsed = start.elapsed();
        let bytes = snapshot.len();
        let sequence = manifest.sequence;
        tracing::info!(
            sequence,
            bytes,
            ?locked,
            ?elapsed,
            "a snapshot of the log was stored"
        );
        if let Some(before) = before {
            self.store.forget_before(&before).await?;
        }
        Ok(true)
    }

    /// Removes the records that the newest snapshot allows to remove, unless a hub has done so.
    async fn sweep(&mut self, engine: &Engine) -> Result<(), String> {
        let Some(newest) = self.newest else {
            return Ok(());
        };
        self.is_sweeping = true;
        if !self.store.is_swept(&newest).await? {
            removal::remove(&self.store, &engine.cluster, &newest).await?;
            self.store.set_swept(&newest).await?;
        }
        self.is_sweeping = false;
        Ok(())
    }
}

/// Stores snapshots until the hub fails or the task is aborted.
pub(crate) async fn keep(engine: Arc<Engine>) {
    let every = engine.keeper.lock().await.pace.every;
    loop {
        sleep(jitter(every)).await;
        if engine.check().is_err() {
            return;
        }
        let mut keeper = engine.keeper.lock().await;
        if let Err(reason) = keeper.step(&engine, false).await {
            tracing::warn!(%reason, "a snapshot of the log is stored later, or its records are removed later");
        }
    }
}

/// Stores a snapshot now, and removes the records that it replaces. Returns `false` if another hub has stored one
/// meanwhile.
pub(crate) async fn store_now(engine: &Engine) -> Result<bool, String> {
    engine.keeper.lock().await.step(engine, true).await
}
