//! A random load on a log, and its expected results.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use headwater_journal::Disk;
use tokio::runtime::Runtime;

use super::model::{Model, Op, check};
use super::observed::{self, PRODUCERS, Unread};
use super::sim::Sim;
use crate::{
    Append, Clock, Create, Created, DiskLog, DiskOptions, Durability, Error, Expiry, ForkFrom, Log,
    Offset, Outcome, Refusal, Settings, Skip, StreamName, Timestamp,
};

const START: Timestamp = Timestamp(1_700_000_000_000);
const NAMES: [&str; 7] = ["a", "a/b", "b", "c", "long/er", "x", "y"];

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

enum Done {
    Created(Box<Created>),
    Judged(Outcome),
    Deleted,
}

async fn perform(log: Arc<DiskLog>, op: Op) -> Result<Done, Error> {
    match op {
        Op::Create { name, create, .. } => log
            .create(&name, *create)
            .await
            .map(|created| Done::Created(Box::new(created))),
        Op::Append {
            name,
            messages,
            by,
            close,
            ..
        } => {
            let mut append = Append::new(messages);
            if let Some((producer, seq)) = by {
                append = append.by(&format!("p{producer}"), 0, seq);
            }
            append.close = close;
            log.append(&name, append).await.map(Done::Judged)
        }
        Op::Delete { name, .. } => log.delete(&name).await.map(|()| Done::Deleted),
    }
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
            self.runtime.block_on(log.close()).unwrap();
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

    fn content(&mut self) -> Bytes {
        let size = match self.rng.u8(..200) {
            0 => self.rng.usize(60_000..90_000),
            1..20 => self.rng.usize(..5000),
            _ => self.rng.usize(..200),
        };
        self.count += 1;
        let mut text = format!("{} ", self.count).into_bytes();
        let filler = self.rng.u8(b'a'..=b'z');
        text.resize(text.len().max(size), filler);
        text.into()
    }

    fn contents(&mut self, least: usize) -> Vec<Bytes> {
        let most = [2, 2, 5, 40][self.rng.usize(..4)];
        let count = self.rng.usize(least..most);
        (0..count).map(|_| self.content()).collect()
    }

    fn creation(&mut self) -> Option<Op> {
        let name = StreamName::new(self.rng.choice(NAMES)?).unwrap();
        let mut settings = Settings::of_type("text/plain");
        match self.rng.u8(..8) {
            0..2 => settings.max_bytes = Some(self.rng.u64(100..20_000)),
            2 => settings.max_age = Some(Duration::from_secs(self.rng.u64(10..60))),
            3 => {
                let at = self
                    .clock
                    .now()
                    .after(Duration::from_secs(self.rng.u64(1..90)));
                settings.expiry = Some(Expiry::At(at));
            }
            _ => {}
        }
        let mut create = Create::new(settings);
        create.messages = self.contents(0);
        create.closed = self.rng.u8(..20) == 0;
        let mut of = None;
        let now = self.now();
        let sources: Vec<_> = self.model.usable(now).map(|(id, _)| id).collect();
        if self.rng.u8(..4) == 0
            && let Some(source) = self.rng.choice(sources)
        {
            let stream = &self.model.streams[&source];
            let at = self.rng.u64(stream.first()..=stream.tail());
            of = Some((source, stream.before(at)));
            create.fork = Some(ForkFrom {
                source: stream.name.clone(),
                at: Some(Offset::new(at)),
                of: None,
                skip: Skip::NONE,
            });
        }
        Some(Op::Create {
            name,
            create: Box::new(create),
            fork: of,
        })
    }

    fn append(&mut self) -> Option<Op> {
        let now = self.now();
        let streams: Vec<_> = self.model.usable(now).map(|(id, _)| id).collect();
        let id = self.rng.choice(streams)?;
        let stream = self.model.streams[&id].clone();
        let mut messages = self.contents(1);
        let mut close = self.rng.u8(..25) == 0;
        if close && self.rng.bool() {
            messages.clear();
        }
        let mut by = None;
        if self.rng.u8(..3) == 0 {
            let producer = self.rng.u8(..PRODUCERS);
            by = Some((producer, 0));
            if let Some((seq, last)) = stream.producers.get(&producer) {
                by = Some((producer, seq + 1));
                // A repetition.
                if self.rng.u8(..3) == 0 && !last.is_empty() {
                    by = Some((producer, *seq));
                    messages.clone_from(last);
                    close = false;
                }
            }
        }
        Some(Op::Append {
            id,
            name: stream.name,
            messages,
            by,
            close,
        })
    }

    /// Returns appends that are in progress together, and some other operations on other streams.
    fn several(&mut self) -> Vec<Op> {
        let mut ops: Vec<Op> = Vec::new();
        for _ in 0..self.rng.usize(2..7) {
            let op = match self.rng.u8(..6) {
                0 => self.creation(),
                _ => self.append(),
            };
            // Those on one stream are plain appends.
            let touches = |op: &Op| match op {
                Op::Create { name, create, .. } => {
                    let source = create.fork.as_ref().map(|fork| fork.source.clone());
                    [Some(name.clone()), source]
                }
                Op::Append { name, .. } | Op::Delete { name, .. } => [Some(name.clone()), None],
            };
            let is_plain = |op: &Op| {
                matches!(
                    op,
                    Op::Append {
                        by: None,
                        close: false,
                        ..
                    }
                )
            };
            let Some(op) = op else { continue };
            let fits = |other: &Op| {
                let (mine, others) = (touches(&op), touches(other));
                let is_apart = mine
                    .iter()
                    .flatten()
                    .all(|name| !others.contains(&Some(name.clone())));
                is_apart || is_plain(&op) && is_plain(other)
            };
            if ops.iter().all(fits) {
                ops.push(op);
            }
        }
        ops
    }

    /// Performs operations at the same time, and adds what is known of their results to the model.
    fn perform(&mut self, ops: &[Op]) -> Result<(), Stop> {
        self.model.batch += 1;
        if !self.is_strict() {
            // A prefix of the operations can be left.
            let mut model = self.model.clone();
            model.unknown.extend(ops.iter().cloned());
            self.history.push(model);
        }
        let now = self.now();
        let log = self.log();
        let results = self.runtime.block_on(async {
            let started: Vec<_> = ops
                .iter()
                .map(|op| tokio::spawn(perform(Arc::clone(&log), op.clone())))
                .collect();
            let mut results = Vec::new();
            for (op, started) in ops.iter().zip(started) {
                results.push((op, started.await.unwrap()));
            }
            results
        });
        // Appends to one stream can have been taken in any order.
        let mut results = results;
        results.sort_by_key(|(_, done)| match done {
            Ok(Done::Judged(Outcome::Appended(receipt))) => receipt.next.number(),
            _ => 0,
        });
        let before = self.model.unknown.len();
        let mut is_written = false;
        for (op, done) in &results {
            self.note(format!("{} → {}", describe(op), outcome(done)));
            match done {
                Ok(done) => is_written |= self.accept(op, done, now)?,
                Err(error) if error.is_outcome_unknown() => self.model.unknown.push((*op).clone()),
                Err(error) => self.refused(op, error, now)?,
            }
        }
        if is_written {
            // A frame after those of unknown outcome says that they aren't there.
            self.model.unknown.drain(..before);
        }
        if self.disk.is_off() {
            Err(Stop::Off)
        } else {
            Ok(())
        }
    }

    /// Adds a result to the model. Returns `true` if something was written.
    fn accept(&mut self, op: &Op, done: &Done, now: u64) -> Result<bool, String> {
        match (op, done) {
            (Op::Create { name, .. }, Done::Created(created)) => {
                let there = self.model.named(name, now);
                check!(
                    created.is_new == there.is_none(),
                    "{name} is new: {}",
                    created.is_new
                );
                check!(
                    there.is_none_or(|it| it == created.info.id),
                    "{name} is another stream"
                );
                if created.is_new {
                    self.model.create(created.info.id, op, now)?;
                }
                Ok(created.is_new)
            }
            (
                Op::Append {
                    id, messages, by, ..
                },
                Done::Judged(outcome),
            ) => {
                let stream = &self.model.streams[id];
                let known = by.and_then(|(producer, seq)| {
                    let known = stream.producers.get(&producer)?;
                    (known.0 == seq).then_some(())
                });
                match outcome {
                    Outcome::Appended(receipt) => {
                        check!(known.is_none(), "a repetition is taken");
                        // Closing a closed stream changes nothing.
                        let is_none = messages.is_empty() && by.is_none();
                        check!(!stream.closed || is_none, "a closed stream takes an append");
                        let (next, expected) =
                            (receipt.next.number(), stream.tail() + messages.len() as u64);
                        check!(
                            next == expected,
                            "the append ends at {next}, and not at {expected}"
                        );
                        let was_closed = stream.closed;
                        self.model
                            .append(op, Some(receipt.position.number()), now)?;
                        Ok(!was_closed)
                    }
                    Outcome::Duplicate(_) => {
                        check!(known.is_some(), "a new append is a duplicate");
                        Ok(false)
                    }
                    Outcome::Refused(Refusal::Closed { .. }) => {
                        check!(stream.closed && known.is_none(), "an open stream is closed");
                        Ok(false)
                    }
                    Outcome::Refused(refusal) => Err(format!("refused: {refusal:?}")),
                }
            }
            (Op::Delete { id, .. }, Done::Deleted) => {
                // The order of all streams has its position.
                self.model.deleted(*id);
                Ok(true)
            }
            _ => Err("another response".into()),
        }
    }

    /// Checks that an operation was refused for a reason.
    fn refused(&mut self, op: &Op, error: &Error, now: u64) -> Result<(), String> {
        let is_right = match op {
            Op::Create { name, .. } if error.is_gone() => self.model.is_taken(name, now),
            // The source was trimmed since it was last read.
            Op::Create { create, .. } if error.is_trimmed() => create.fork.is_some(),
            _ => false,
        };
        let fails = self.disk.is_off() || self.can_fail && !error.is_damaged();
        check!(is_right || fails, "{op:?}: {error:?}");
        Ok(())
    }
}

fn describe(op: &Op) -> String {
    match op {
        Op::Create { name, create, fork } => format!(
            "create {name}: {} messages, closed {}, most {:?}, age {:?}, ends {:?}, of {:?}",
            create.messages.len(),
            create.closed,
            create.settings.max_bytes,
            create.settings.max_age,
            create.settings.expiry,
            fork.as_ref()
                .map(|(id, of)| (id, of.first, of.messages.len())),
        ),
        Op::Append {
            id,
            name,
            messages,
            by,
            close,
        } => {
            let bytes: usize = messages.iter().map(Bytes::len).sum();
            let count = messages.len();
            format!("append to {name} ({id}): {count} of {bytes} bytes, by {by:?}, closes {close}")
        }
        Op::Delete { id, name } => format!("delete {name} ({id})"),
    }
}

fn outcome(done: &Result<Done, Error>) -> String {
    match done {
        Ok(Done::Created(created)) => format!("{} new {}", created.info.id, created.is_new),
        Ok(Done::Judged(Outcome::Appended(receipt))) => {
            format!("{} at {}", receipt.next, receipt.position)
        }
        Ok(Done::Judged(Outcome::Duplicate(_))) => "duplicate".into(),
        Ok(Done::Judged(Outcome::Refused(_))) => "refused".into(),
        Ok(Done::Deleted) => "done".into(),
        Err(error) if error.is_outcome_unknown() => "unknown".into(),
        Err(error) => format!("{error}"),
    }
}
