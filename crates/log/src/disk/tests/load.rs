//! A random load on a log, and its expected results.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use headwater_journal::Disk;
use tokio::runtime::Runtime;

use super::model::{Model, Op};
use super::observed::{self, Unread};
use super::sim::Sim;
use crate::{Clock, DiskLog, DiskOptions, Durability, Error, Log, Timestamp};

mod random;
mod results;

const START: Timestamp = Timestamp(1_700_000_000_000);

/// The end of a load.
#[derive(Debug)]
pub(super) enum Stop {
    /// The power failed.
    Off,
    Wrong(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

/// A log with the disk that it is on and the model that it is compared with.
pub(super) struct World {
    pub(super) disk: Sim,
    pub(super) model: Model,
    pub(super) rng: Rng,
    pub(super) log: Option<Arc<DiskLog>>,
    /// `true` if the power failed since the log was opened last, and not only the process ended.
    pub(super) lost_power: bool,
    /// `true` if operations of the disk can fail.
    pub(super) can_fail: bool,
    /// The models after each batch of operations since everything was synced, each with the
    /// operations that followed. Only without a sync for each commit.
    pub(super) history: Vec<Model>,
    options: DiskOptions,
    clock: Clock,
    runtime: Runtime,
    /// Number of messages so far.
    count: u64,
    /// The latest actions, for reports.
    trace: Vec<String>,
}

impl World {
    pub(super) fn new(seed: u64, durability: Durability) -> Self {
        let mut rng = Rng::with_seed(seed);
        let clock = Clock::by_hand(START);
        let options = DiskOptions {
            durability,
            clock: clock.clone(),
            segment_bytes: [16 << 10, 40 << 10][rng.usize(..2)],
            checkpoint_bytes: [3000, 30_000, 1 << 20][rng.usize(..3)],
            hot_streams: [1, 1000][rng.usize(..2)],
            recent_bytes: [0, 10_000][rng.usize(..2)],
            cache_bytes: 64 << 10,
            give_back_bytes: [1, 20_000][rng.usize(..2)],
            reclaim_every: [Duration::from_millis(2), Duration::from_secs(3600)][rng.usize(..2)],
            reserve_bytes: 0,
            sort_idle_after: match seed % 2 {
                0 => Duration::from_millis(1),
                _ => Duration::from_secs(3600),
            },
            ..DiskOptions::default()
        };
        Self {
            disk: Sim::new(seed),
            model: Model::default(),
            rng,
            log: None,
            lost_power: false,
            can_fail: false,
            history: Vec::new(),
            options,
            clock,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap(),
            count: 0,
            trace: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.now().0
    }

    pub(super) fn is_strict(&self) -> bool {
        self.options.durability == Durability::Fsync
    }

    pub(super) fn note(&mut self, action: String) {
        if self.trace.len() == 60 {
            self.trace.remove(0);
        }
        self.trace.push(action);
    }

    pub(super) fn trace(&self) -> String {
        format!("{:?}\n{}", self.options, self.trace.join("\n"))
    }

    fn log(&self) -> Arc<DiskLog> {
        Arc::clone(self.log.as_ref().unwrap())
    }

    /// Continues on the disk as a loss of power leaves it.
    pub(super) fn lose_power(&mut self) {
        self.disk = self.disk.after_power_loss();
        self.lost_power = true;
    }

    /// Opens the log on the disk as it is.
    pub(super) fn open(&mut self) -> Result<(), Error> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let opened = DiskLog::open_on(&disk, None, self.options.clone());
        self.note(format!(
            "open: {:?}",
            opened.as_ref().map(DiskLog::recovery)
        ));
        self.log = Some(Arc::new(opened?));
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.note("close".into());
        if let Some(log) = self.log.take() {
            let closed = self.runtime.block_on(log.close());
            // Only a disk that fails keeps it from being whole.
            assert!(
                closed.is_ok() || self.can_fail || self.disk.is_off(),
                "{closed:?}"
            );
        }
    }

    /// Turns an error into the end of the load, unless operations of the disk can fail.
    fn stopped<T>(&self, done: Result<T, Error>) -> Result<Option<T>, Stop> {
        match done {
            Ok(done) => Ok(Some(done)),
            Err(_) if self.disk.is_off() => Err(Stop::Off),
            Err(error) if self.can_fail && !error.is_damaged() => Ok(None),
            Err(error) => Err(Stop::Wrong(format!("{error:?}"))),
        }
    }

    /// Reads everything and compares it with the model. `is_opened` tells that the log was just opened,
    /// so that every outcome is known. Returns `false` if the disk failed.
    pub(super) fn compare(&mut self, is_opened: bool) -> Result<bool, Stop> {
        let log = self.log();
        // Otherwise the background would change things during the comparison.
        while match self.stopped(log.reclaim())? {
            Some(more) => more,
            None => return Ok(false),
        } {}
        let read = observed::observe(&log, &mut self.rng);
        let seen = match self.runtime.block_on(read) {
            Ok(seen) => seen,
            Err(Unread::Wrong(why)) => return Err(Stop::Wrong(why)),
            Err(Unread::Failed(error)) => {
                self.stopped::<()>(Err(error))?;
                return Ok(false);
            }
        };
        let now = self.now();
        if !is_opened {
            let unknown = std::mem::take(&mut self.model.unknown);
            let checked = self.model.check(&seen, now);
            self.model.unknown = unknown;
            checked?;
            return Ok(true);
        }
        if self.is_strict() || !self.lost_power {
            self.model.check(&seen, now)?;
        } else {
            self.model = self.latest(&seen, now)?;
        }
        // Opening has made everything durable.
        self.synced();
        self.lost_power = false;
        Ok(true)
    }

    /// Returns the latest model of the history with which the log agrees.
    fn latest(&self, seen: &observed::Observed, now: u64) -> Result<Model, String> {
        let mut why = Vec::new();
        for model in self.history.iter().chain([&self.model]).rev() {
            let mut model = model.clone();
            match model.check(seen, now) {
                Ok(()) => return Ok(model),
                Err(wrong) => why.push(wrong),
            }
        }
        Err(why.join("\n"))
    }

    /// Performs some of the load.
    pub(super) fn work(&mut self, steps: usize) -> Result<(), Stop> {
        for _ in 0..steps {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Stop> {
        let log = self.log();
        match self.rng.u8(..100) {
            0..4 => {
                let seconds = self.rng.u64(1..30);
                self.note(format!("advance {seconds} s"));
                self.clock.advance(Duration::from_secs(seconds));
            }
            4..8 => {
                self.note("reclaim".into());
                while self.stopped(log.reclaim())? == Some(true) {}
            }
            8..12 => {
                self.note("give back".into());
                let given = self.stopped(log.give_back())?;
                if given.is_some() {
                    self.synced();
                }
            }
            12..15 => {
                self.note("compare".into());
                self.compare(false)?;
            }
            15 => {
                drop(log);
                self.close();
                if self.disk.is_off() {
                    return Err(Stop::Off);
                }
                if !self.can_fail {
                    self.synced();
                }
                loop {
                    let opened = self.open();
                    let is_open = self.stopped(opened)?.is_some();
                    if is_open && self.compare(true)? {
                        break;
                    }
                    if is_open {
                        // Every outcome has to be found out before the next operation.
                        self.close();
                    }
                }
            }
            16..30 => {
                let ops = self.several();
                self.perform(&ops)?;
            }
            30..45 => {
                if let Some(op) = self.creation() {
                    self.perform(&[op])?;
                }
            }
            45..50 => {
                let now = self.now();
                let streams: Vec<_> = self.model.usable(now).map(|(id, _)| id).collect();
                if let Some(id) = self.rng.choice(streams) {
                    let name = self.model.streams[&id].name.clone();
                    self.perform(&[Op::Delete { id, name }])?;
                }
            }
            _ => {
                if let Some(op) = self.append() {
                    self.perform(&[op])?;
                }
            }
        }
        Ok(())
    }

    /// Forgets the earlier models: everything is durable.
    fn synced(&mut self) {
        self.history = vec![self.model.clone()];
    }
}
