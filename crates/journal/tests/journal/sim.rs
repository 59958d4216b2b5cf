//! A disk in memory that can lose power after any operation, and fail any of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, ErrorKind, IoSlice},
    mem,
    sync::{Arc, Mutex, MutexGuard},
};

use fastrand::Rng;
use headwater_journal::{Disk, DiskFile};

/// The unit that is on the disk as a whole or not at all.
const SECTOR: usize = 512;

/// A fault of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The power fails. This operation has happened in part, and all later ones fail.
    PowerLoss,
    /// The operation fails. It may have happened in part.
    Failure,
    /// As `Failure`, because the disk is full.
    Full,
}

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub(crate) struct Sim(Arc<Mutex<State>>);

struct State {
    rng: Rng,
    /// Operations so far.
    operations: u64,
    /// The operation with an event.
    event: Option<(u64, Event)>,
    is_off: bool,
    /// The names as programs see them, and as they are on the disk.
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of names that aren't on the disk, in order.
    changes: Vec<BTreeMap<String, usize>>,
    files: Vec<Content>,
    /// The most bytes that one sync of a file wrote.
    most_synced: u64,
}

#[derive(Clone, Default)]
struct Content {
    /// As programs see it, in the page cache.
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// The sectors that the next sync writes.
    dirty: BTreeSet<usize>,
}

impl Content {
    fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if self.cached.len() < end {
            self.cached.resize(end, 0);
        }
        self.cached[at..end].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR..end.div_ceil(SECTOR));
    }

    /// Writes the dirty sectors that `keeps` selects to the disk.
    fn flush(&mut self, mut keeps: impl FnMut() -> bool) {
        for sector in mem::take(&mut self.dirty) {
            if !keeps() {
                continue;
            }
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.cached.len());
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[start..end].copy_from_slice(&self.cached[start..end]);
        }
    }
}

impl State {
    /// Counts an operation. Returns its event, if it has one.
    fn step(&mut self) -> io::Result<Option<Event>> {
        if self.is_off {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        let event = self
            .event
            .filter(|(at, _)| *at == self.operations)
            .map(|(_, event)| event);
        self.is_off = event == Some(Event::PowerLoss);
        Ok(event)
    }

    /// Counts an operation that either happens or not.
    fn all_or_nothing(&mut self) -> io::Result<bool> {
        Ok(match self.step()? {
            None => true,
            Some(_) if self.rng.bool() => false,
            Some(event) => {
                // It happens, and still fails.
                self.event = Some((self.operations, event));
                true
            }
        })
    }

    /// Returns the error of the current operation, if its event is one.
    fn outcome(&self) -> io::Result<()> {
        match self.event {
            Some((at, event)) if at == self.operations => Err(match event {
                Event::Full => ErrorKind::StorageFull.into(),
                Event::PowerLoss | Event::Failure => io::Error::other("it fails"),
            }),
            _ => Ok(()),
        }
    }

    fn change_names(&mut self, change: impl FnOnce(&mut BTreeMap<String, usize>)) {
        change(&mut self.names);
        self.changes.push(self.names.clone());
    }

    fn id(&self, name: &str) -> io::Result<usize> {
        let id = self.names.get(name).copied();
        id.ok_or_else(|| ErrorKind::NotFound.into())
    }
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: Rng::with_seed(seed),
            operations: 0,
            event: None,
            is_off: false,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            files: Vec::new(),
            most_synced: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics in it")
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Returns `true` once the power has failed.
    #[allow(dead_code, reason = "the tests of the log use it")]
    pub(crate) fn is_off(&self) -> bool {
        self.state().is_off
    }

    /// Returns the most bytes that one sync of a file wrote.
    #[allow(dead_code, reason = "the tests of the journal use it")]
    pub(crate) fn most_synced(&self) -> u64 {
        self.state().most_synced
    }

    /// Sets the event of an operation, counted from now on.
    pub(crate) fn plan(&self, after: u64, event: Event) {
        let mut state = self.state();
        state.event = Some((state.operations + after, event));
    }

    /// Returns the disk after a loss of power: any part of what wasn't synced is on it.
    pub(crate) fn after_power_loss(&self) -> Self {
        let state = &mut *self.state();
        let mut rng = state.rng.fork();
        let mut files = mem::take(&mut state.files);
        for file in &mut files {
            file.flush(|| rng.bool());
            file.cached.clone_from(&file.durable);
        }
        let kept = rng.usize(..=state.changes.len());
        let names = match kept.checked_sub(1) {
            Some(last) => state.changes[last].clone(),
            None => state.durable_names.clone(),
        };
        Self(Arc::new(Mutex::new(State {
            rng,
            operations: 0,
            event: None,
            is_off: false,
            durable_names: names.clone(),
            names,
            changes: Vec::new(),
            files,
            most_synced: 0,
        })))
    }

    /// Returns the disk for another process, after the end of the one before: what wasn't synced is
    /// still in the page cache.
    #[allow(dead_code, reason = "the tests of the log use it")]
    pub(crate) fn after_exit(&self) -> Self {
        let disk = self.copy();
        {
            let mut state = disk.state();
            state.event = None;
            state.is_off = false;
        }
        disk
    }

    /// Returns another disk with the same content.
    pub(crate) fn copy(&self) -> Self {
        let state = self.state();
        Self(Arc::new(Mutex::new(State {
            rng: state.rng.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            changes: state.changes.clone(),
            files: state.files.clone(),
            most_synced: 0,
            ..*state
        })))
    }

    /// Flips a bit of a file, as programs see it.
    pub(crate) fn flip(&self, name: &str, byte: usize, bit: u8) {
        let state = &mut *self.state();
        let id = state.names[name];
        state.files[id].cached[byte] ^= 1 << bit;
    }

    /// Replaces the content of a file, as programs see it.
    pub(crate) fn replace(&self, name: &str, content: Vec<u8>) {
        let state = &mut *self.state();
        let id = state.names[name];
        state.files[id].cached = content;
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].cached.clone()
    }
}

impl Disk for Sim {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.all_or_nothing()?;
        state.outcome()?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if state.names.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let id = state.files.len();
        if state.all_or_nothing()? {
            state.files.push(Content::default());
            state.change_names(|names| {
                names.insert(name.to_owned(), id);
            });
        }
        state.outcome()?;
        drop(state);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            id,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.all_or_nothing()?;
        state.outcome()?;
        let id = state.id(name)?;
        drop(state);
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            id,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        let id = state.id(from)?;
        if state.all_or_nothing()? {
            state.change_names(|names| {
                names.remove(from);
                names.insert(to.to_owned(), id);
            });
        }
        state.outcome()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.id(name)?;
        if state.all_or_nothing()? {
            state.change_names(|names| {
                names.remove(name);
            });
        }
        state.outcome()
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.all_or_nothing()? {
            state.durable_names = state.names.clone();
            state.changes.clear();
        }
        state.outcome()
    }
}

pub(crate) struct SimFile {
    disk: Sim,
    id: usize,
}

impl DiskFile for SimFile {
    fn write_at(&self, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut bytes = Vec::new();
        for part in parts.iter() {
            bytes.extend_from_slice(part);
        }
        let state = &mut *self.disk.state();
        if state.step()?.is_some() {
            bytes.truncate(state.rng.usize(..=bytes.len()));
        }
        let at = usize::try_from(at).expect("it is small");
        state.files[self.id].write(&bytes, at);
        state.outcome()
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.all_or_nothing()?;
        state.outcome()?;
        let at = usize::try_from(at).expect("it is small");
        let cached = &state.files[self.id].cached;
        let Some(found) = cached.get(at..at + buffer.len()) else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.disk.state();
        let event = state.step()?;
        let file = &mut state.files[self.id];
        let synced = (file.dirty.len() * SECTOR) as u64;
        state.most_synced = state.most_synced.max(synced);
        match event {
            None => file.flush(|| true),
            // Sectors that aren't written now are dropped: the kernel counts them as clean.
            Some(Event::Failure | Event::Full) => file.flush(|| state.rng.bool()),
            Some(Event::PowerLoss) => {}
        }
        state.outcome()
    }

    fn length(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        state.all_or_nothing()?;
        state.outcome()?;
        Ok(state.files[self.id].cached.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.all_or_nothing()? {
            let length = usize::try_from(length).expect("it is small");
            let file = &mut state.files[self.id];
            file.cached.truncate(length);
            file.dirty.retain(|sector| sector * SECTOR < length);
        }
        state.outcome()
    }
}
