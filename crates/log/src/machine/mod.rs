//! The state of all streams, and how each operation changes it.
//!
//! A [`Machine`] is deterministic: its state depends on the operations that were applied to it, on
//! their order and on the time that each was given, and on nothing else. It does no I/O, reads no
//! clock and knows no bytes of messages but their number. The engine keeps those and hands in a
//! handle for them ([`Stored`]).
//!
//! The log in memory is a machine behind a lock. An engine on a replicated log applies the same
//! operations in the same order in several processes, which therefore agree on every outcome.

mod append;
mod create;
mod decoding;
mod ended;
mod frozen;
mod measuring;
mod reading;
mod restore;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::watch;

use crate::append_rules::State;
use crate::clock::Timestamp;
pub use crate::encoding::restore::{put_restore, take_restore};
pub use crate::encoding::{Cursor, Malformed, put_bytes, put_number};
use crate::error::{Error, Kind};
use crate::follow::{Follower, Progress};
use crate::incarnation::{Identity, Lineage};
use crate::limits::Limits;
use crate::name::StreamName;
use crate::offset::{Offset, Position};
use crate::producers::ProducerState;
use crate::read::{EndCause, Usage};
use crate::settings::{Expiry, ForkPoint, Settings};
pub use decoding::TakeHandle;
use ended::Ends;
pub use frozen::{Frozen, PutHandle};
pub use reading::{OrderEntry, OrderPlan, Piece, ReadPlan};

const PER_MESSAGE: u64 = 64;
const PER_STREAM: u64 = 512;
const PER_PRODUCER: u64 = 320;
/// Maximum number of records that one read of the order looks at.
const SCAN: usize = 10_000;

/// A handle for the messages of one record, wherever the engine keeps them. A clone shares them.
pub trait Stored: Clone + Send + Sync + 'static {
    /// Returns the size of a message of the record, in bytes.
    fn size(&self, index: usize) -> usize;
}

impl Stored for Arc<[Bytes]> {
    fn size(&self, index: usize) -> usize {
        self.get(index).map_or(0, Bytes::len)
    }
}

/// Creates the handle for a range of an operation's messages.
pub type Store<'a, S> = &'a mut dyn FnMut(Range<usize>) -> S;

/// Messages that were appended in one step, or a part of them.
#[derive(Clone, Debug)]
struct Record<S> {
    first: u64,
    position: u64,
    time: Timestamp,
    messages: S,
    count: u64,
    bytes: u64,
}

#[derive(Clone, Debug)]
struct Fork {
    source: u64,
    point: ForkPoint,
    /// Number of bytes of the last inherited message, if the fork has only a part of it.
    cut: Option<usize>,
}

#[derive(Clone, Debug)]
struct Stream<S> {
    name: StreamName,
    lineage: Lineage,
    settings: Settings,
    created: Timestamp,
    used: Timestamp,
    state: State,
    producers: HashMap<String, ProducerState>,
    /// No producer has been idle for long enough before this time.
    none_idle_before: u64,
    records: VecDeque<Record<S>>,
    /// Few streams are forks, and a box is smaller.
    fork: Option<Box<Fork>>,
    depth: usize,
}

impl<S> Stream<S> {
    fn expires(&self) -> Option<Timestamp> {
        self.settings.expiry.map(|expiry| expiry.after(self.used))
    }

    /// Returns the time at which the stream next needs attention.
    fn due(&self) -> u64 {
        if self.state.restoring {
            return 0;
        }
        let ends = self.expires().filter(|_| !self.state.hidden);
        let ages = match (self.settings.max_age, self.records.front()) {
            (Some(age), Some(oldest)) => Some(oldest.time.after(age)),
            _ => None,
        };
        ends.into_iter()
            .chain(ages)
            .min()
            .map_or(0, |due| due.0.max(1))
    }
}

/// A stream and its followers.
#[derive(Debug)]
struct Followed<S> {
    /// Shared with [`Frozen`] copies of the state. A change of a shared one copies it first.
    stream: Arc<Stream<S>>,
    /// There from the first follower on, until a change finds that there is none any more.
    progress: OnceLock<watch::Sender<Progress>>,
}

impl<S> Deref for Followed<S> {
    type Target = Stream<S>;

    fn deref(&self) -> &Stream<S> {
        &self.stream
    }
}

impl<S> Followed<S> {
    fn new(stream: Stream<S>) -> Self {
        Self {
            stream: Arc::new(stream),
            progress: OnceLock::new(),
        }
    }

    fn follow(&self) -> Follower {
        let now = || watch::Sender::new(progress(&self.stream, false));
        Follower::new(self.progress.get_or_init(now).subscribe())
    }

    fn publish(&mut self, gone: bool) {
        if let Some(sender) = self.progress.get()
            && sender.send(progress(&self.stream, gone)).is_err()
        {
            self.progress.take();
        }
    }
}

fn progress<S>(stream: &Stream<S>, gone: bool) -> Progress {
    Progress {
        tail: Offset::new(stream.state.tail),
        closed: stream.state.closed,
        gone,
    }
}

/// The settings that the state depends on besides the operations. All machines of a log need the same ones.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Maximum bytes in use: messages, and an estimate of the memory for each message, producer and
    /// stream. Above it, appends and creations are refused as [full](Error::is_storage_full).
    pub max_bytes: u64,
    /// The limits of which the machine applies the numbers of streams, producers and ends.
    pub limits: Limits,
    /// The identity from which the incarnations of streams are derived.
    pub identity: Identity,
}

/// The state of all streams.
#[derive(Debug)]
pub struct Machine<S> {
    rules: Rules,
    closed: bool,
    names: BTreeMap<StreamName, u64>,
    by_id: HashMap<u64, Followed<S>>,
    /// First position of a record, with its stream and first offset.
    order: BTreeMap<u64, (u64, u64)>,
    /// For each trimmed stream: the position after its newest removed message.
    trimmed: BTreeMap<u64, u64>,
    ends: Ends,
    timetable: BTreeSet<(u64, u64)>,
    next_id: u64,
    head: watch::Sender<Position>,
    bytes: u64,
    /// Bytes in use, counted as for [`Rules::max_bytes`].
    taken: u64,
    now: Timestamp,
}

impl<S: Stored> Machine<S> {
    /// Creates the state of an empty log. It reports the end of the order to `head`.
    #[must_use]
    pub fn new(rules: Rules, head: watch::Sender<Position>) -> Self {
        Self {
            rules,
            closed: false,
            names: BTreeMap::new(),
            by_id: HashMap::new(),
            order: BTreeMap::new(),
            trimmed: BTreeMap::new(),
            ends: Ends::default(),
            timetable: BTreeSet::new(),
            next_id: 1,
            head,
            bytes: 0,
            taken: 0,
            now: Timestamp(0),
        }
    }

    /// Returns what a machine that takes the place of this one is created with.
    pub(crate) fn surroundings(&self) -> (Rules, watch::Sender<Position>) {
        (self.rules.clone(), self.head.clone())
    }

    /// Returns the time of the last operation.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Sets the time of the following operations.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Sets the limits for the following operations.
    pub fn set_limits(&mut self, limits: Limits) {
        self.rules.limits = limits;
    }

    /// Sets times that are in the future to now. To be called when the clock was set back.
    pub fn take_back(&mut self) {
        let now = self.now;
        let ids: Vec<u64> = self.by_id.keys().copied().collect();
        for id in ids {
            let stream = self.stream(id);
            stream.used = stream.used.min(now);
            for record in &mut stream.records {
                record.time = record.time.min(now);
            }
            self.reschedule(id);
        }
    }

    /// Returns the number of a stream that is in use, also if its expiry has passed.
    fn get(&self, name: &StreamName) -> Result<u64, Error> {
        let id = *self.names.get(name).ok_or(Kind::NotFound)?;
        match &self.by_id[&id].state {
            State {
                restoring: true, ..
            } => Err(Kind::Restoring.into()),
            State { hidden: true, .. } => Err(Kind::Gone.into()),
            _ => Ok(id),
        }
    }

    /// Returns the number of a stream that is in use. Ends it if its expiry has passed.
    fn find(&mut self, name: &StreamName) -> Result<u64, Error> {
        self.expire(name);
        self.get(name)
    }

    /// Returns `true` if the expiry of a stream that is in use has passed at a time.
    #[must_use]
    pub fn is_expired(&self, name: &StreamName, now: Timestamp) -> bool {
        self.get(name).is_ok_and(|id| {
            let expires = self.by_id[&id].expires();
            expires.is_some_and(|end| end <= now)
        })
    }

    /// Ends a stream if its expiry has passed.
    pub fn expire(&mut self, name: &StreamName) {
        if self.is_expired(name, self.now)
            && let Ok(id) = self.get(name)
        {
            self.end(id, EndCause::Expired);
        }
    }

    fn stream(&mut self, id: u64) -> &mut Stream<S> {
        stream_of(&mut self.by_id, id)
    }

    fn publish(&mut self, id: u64, gone: bool) {
        if let Some(followed) = self.by_id.get_mut(&id) {
            followed.publish(gone);
        }
    }

    fn reschedule(&mut self, id: u64) {
        let stream = stream_of(&mut self.by_id, id);
        let (old, new) = (stream.state.due, stream.due());
        stream.state.due = new;
        self.timetable.remove(&(old, id));
        if new != 0 {
            self.timetable.insert((new, id));
        }
    }

    fn take(&mut self, bytes: u64) -> Result<(), Error> {
        self.has_room(bytes)?;
        self.taken += bytes;
        Ok(())
    }

    fn has_room(&self, bytes: u64) -> Result<(), Error> {
        if self.taken + bytes > self.rules.max_bytes {
            return Err(Kind::Full {
                cause: None,
                unknown: false,
            }
            .into());
        }
        Ok(())
    }

    /// Checks that there is room for a message of 1 KiB.
    ///
    /// # Errors
    ///
    /// [Full](Error::is_storage_full), [closed](Error::is_closed).
    pub fn writable(&self) -> Result<(), Error> {
        const SMALL_MESSAGE: u64 = 1 << 10;
        match self.closed {
            true => Err(Kind::Closed.into()),
            false => self.has_room(SMALL_MESSAGE),
        }
    }

    /// Marks a stream as in use, as [`Log::touch`](crate::Log::touch) does.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone).
    pub fn touch(&mut self, name: &StreamName) -> Result<(), Error> {
        let id = self.find(name)?;
        let now = self.now;
        let stream = self.stream(id);
        if matches!(stream.settings.expiry, Some(Expiry::Idle(_))) {
            stream.used = now;
            self.reschedule(id);
        }
        Ok(())
    }

    /// Deletes a stream, as [`Log::delete`](crate::Log::delete) does.
    ///
    /// # Errors
    ///
    /// [Not found](Error::is_not_found), [gone](Error::is_gone).
    pub fn delete(&mut self, name: &StreamName) -> Result<(), Error> {
        let id = match self.find(name) {
            Err(error) if error.is_restoring() => self.names[name],
            found => found?,
        };
        self.end(id, EndCause::Deleted);
        Ok(())
    }

    /// Returns the number of streams, the bytes and the end of the order.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let streams = self.by_id.len() as u64;
        Usage {
            streams,
            bytes: self.bytes,
            head: *self.head.borrow(),
        }
    }

    /// Returns `true` if the machine was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the place of an earlier state of the same log: its followers follow this one.
    pub fn succeed(&mut self, earlier: Self) {
        for (id, Followed { stream, progress }) in earlier.by_id {
            match self.by_id.get_mut(&id) {
                Some(now) => {
                    now.progress = progress;
                    now.publish(now.state.hidden);
                }
                None => {
                    if let Some(followers) = progress.get() {
                        followers.send_replace(self::progress(&stream, true));
                    }
                }
            }
        }
        let head = *self.head.borrow();
        self.head = earlier.head;
        self.head.send_replace(head);
    }

    /// Forgets everything, and notifies all followers.
    pub fn close(&mut self) {
        self.closed = true;
        self.by_id.clear();
        self.names.clear();
        self.order.clear();
        self.trimmed.clear();
        self.ends = Ends::default();
        self.timetable.clear();
        // The dropped sender tells followers of the end.
        let head = *self.head.borrow();
        self.head = watch::Sender::new(head);
    }
}

/// Returns a stream to change it.
fn stream_of<S: Clone>(by_id: &mut HashMap<u64, Followed<S>>, id: u64) -> &mut Stream<S> {
    let followed = by_id.get_mut(&id);
    let followed = followed.expect("ids come from the maps, and both are changed together");
    Arc::make_mut(&mut followed.stream)
}

fn weight(name: &StreamName, settings: &Settings) -> u64 {
    let schema = settings.schema.as_ref().map_or(0, Bytes::len);
    (name.as_str().len() + settings.content_type.len() + schema + settings.note.len()) as u64
}

fn producer_weight(id: &str) -> u64 {
    PER_PRODUCER + id.len() as u64
}

#[cfg(test)]
mod tests;
